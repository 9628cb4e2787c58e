# shellcheck shell=sh disable=SC2034,SC2154,SC2094,SC2317 # it is part of the receiver, which follows
# The mover: `moved` in a commit has a perl that runs all the time read the list `moves` and rename;
# PROTOCOL.md has the list. It answers with lines of a commit for what cannot be done so, which find
# out why, and an empty one. Its descriptors are 7 and 8; nothing that outlives a batch may have
# them, or it would not see the end. RACE: as for `at`. Names are bytes, whatever the user's
# settings for perl are.
mover='' perl=''
# open_pipes: for both directions first, which waits for nobody, then each end alone, so that who
# holds one sees the end of the other. The perl opens none by name. An `exec` that fails would end
# this shell, but for `command`.
open_pipes() {
  mkfifo -m 600 "$pipes-to" "$pipes-from" && command exec 7<>"$pipes-to" 9<>"$pipes-from" &&
    command exec 6<"$pipes-to" 5>"$pipes-from" 8<"$pipes-from"
} 2>"$null"
start_mover() {
  command -v perl >"$null" || return
  opened=''
  # Not in the destination if that can be: whoever reads all that is there would wait in them.
  for pipes in "$tmp/${S#./}" "$S/."; do
    if open_pipes; then opened=1; fi
    rm -f "$pipes-to" "$pipes-from"
    [ ! "$opened" ] || break
  done
  if [ "$opened" ]; then
    PERL5OPT='' PERLIO='' perl -C0 -e '
      sub word {
        my $word = shift;
        $word =~ s/\x27/\x27\\\x27\x27/g;
        $word =~ s/\n/\x27"\$nl"\x27/g;
        "\x27$word\x27";
      }
      sub flush {
        return unless $staged;
        $words = join " ", map { word($_) } @way ? @way : ".";
        print "at $id $words && i=$first && $verb$staged\n";
        $staged = "";
      }
      # What is run, and what is renamed, is by the name that nobody else can have: see hold.
      ($stage, $held) = @ARGV;
      $| = 1;
      binmode $_ for *STDIN, *STDOUT;
      sub mode { (stat shift)[2] & 0777 }
      $file = "$held/.mode";
      open FILE, ">", $file and close FILE and chmod 0640, $file;
      print "perl ", mode("$held/.") == 0700 && (!-e $file || mode($file) == 0640) ? 1 : 0, "\n";
      while ($whole = <STDIN>) {
        open LIST, "<", "$held/moves" or exit;
        binmode LIST;
        $list = do { local $/; <LIST> };
        # Else the disk has not given it, or not to its end.
        exit unless length $list && length $list == -s LIST;
        close LIST;
        @list = split /\0/, $list;
        %there = ();
        while (@list) {
          ($verb, $id, $directory, $from, $count) = splice @list, 0, 5;
          ($at, @way) = ".";
          push @way, $at .= "/$_" for split m{/}, $directory;
          exit if grep { $_ eq ".." } split m{/}, $directory;
          $good = !grep { !($there{$_} ||= lstat && -d _) } @way;
          $number = $id + (@way || 1);
          for (splice @list, 0, $count) {
            $here = "$held/$from$_";
            if ($good && ($whole eq "1\n" || -l $here || !-d _) && rename $here, "$at/$_") {
              flush();
            } else {
              flush() if length $staged > 48_000;
              $first = $number unless $staged;
              $staged .= " " . word "$stage/$from$_";
            }
            $number++;
          }
          flush();
        }
        print "\n";
      }' "$S" "$H" <&6 >&5 2>"$null" 5>&- 6<&- 7>&- 8<&- 9>&- &
    perl=$!
    # mksh keeps a copy of the first: of 5 it would be one by which the end of the perl is never seen.
    exec 6<&- 5>&- 9>&-
    read -r mover modes <&8 # it may have ended at once
  else
    exec 5>&- 6<&- 7>&- 8<&- 9>&-
  fi
}
moved() {
  if [ "$absent" ]; then echo >&7; else echo 1 >&7; fi
  while read -r trouble <&8; do
    [ "$trouble" ] || return 0
    eval "$trouble"
  done
  exit 1
}
stop_mover() {
  if [ "$perl" ]; then
    exec 7>&-
    exec 8<&-
    stop "$perl"
  fi
}
