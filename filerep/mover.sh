# shellcheck shell=sh disable=SC2034,SC2154 # it shares variables with the receiver, which follows
# A mv takes longer to start than all the rest of a save. Where there is perl, one that runs all the
# time renames instead: it reads a count, a directory and so many staged paths, each ended by
# NUL, and answers with a line, which is empty unless all were renamed. What it cannot do is left
# to mv. Its descriptors are 7 and 8; nothing that outlives a batch may have them, or it would not
# see the end.
mover='' perl=''
start_mover() {
  if command -v perl >/dev/null && mkfifo -m 600 "$S/.to" "$S/.from" 2>/dev/null; then
    perl -e '
      $/ = "\0"; $| = 1; binmode STDIN; print "new\n";
      while (defined($count = <STDIN>)) {
        chomp $count; chomp($directory = <STDIN>); $moved = 1;
        for (1..$count) {
          chomp($staged = <STDIN>);
          ($name = $staged) =~ s{.*/}{}s;
          rename $staged, "$directory/$name" or $moved = "";
        }
        print "$moved\n";
      }' <"$S/.to" >"$S/.from" 2>/dev/null &
    perl=$! mover=started
    exec 7>"$S/.to" 8<"$S/.from"
  fi
}
# renamed STAGED...: are they in $D now?
renamed() {
  if [ "$mover" = started ]; then read -r mover <&8 || mover=''; fi # it may have ended at once
  [ "$mover" ] || return
  printf '%s\0' "$#" "$D" "$@" >&7
  read -r moved <&8 && [ "$moved" ]
}
stop_mover() {
  if [ "$perl" ]; then exec 7>&- 8<&-; wait "$perl"; fi
}
