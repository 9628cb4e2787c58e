# shellcheck shell=sh
# shellcheck disable=SC1091,SC2034,SC2154,SC2317,SC3013 # others go before, and `commit` comes later
{
# The far end of file-replicator: POSIX sh, run from memory, nothing installed. PROTOCOL.md, one
# directory up, says what comes and what is answered; probe.sh has come before this, and of the
# other scripts what this far end needs.
#
# What is staged goes into place by `mv FILE... DIR/`, a plain rename; `mv FILE NAME` goes into a
# directory and through a symlink that stands at NAME. When it fails, what is in the way is
# looked at.
#
# $1 nonce  $2 directory the destination is in  $3 its name
# $4 the staging directory's name, less nonce  $5 clean, dry or nothing; $form and $full are what probe.sh has found
nl='
'
nonce=$1 dest=${2%/}/$3 S=./$4-$1
LC_ALL=C EXTRACT_UNSAFE_SYMLINKS=1 # old busybox holds some symlinks back without that
export LC_ALL EXTRACT_UNSAFE_SYMLINKS
say() { printf '%s\n' "filerep-$nonce $*"; }
fail() { rest; say error "$1"; leave; }
# What runs beside is waited for once it is killed. SIGTERM may be lost: dash and mksh lose one that
# a subshell gets before it has forgotten the traps of the shell around it, and who has started
# this shell may have had it ignored. Some shells speak of that.
stop() { kill -9 "$1"; wait "$1"; } 2>"$null"
try() {
  words=$("$@" 2>&1) && return
  case $words in '' | Killed* | *': Killed'*) words='one of its programs was killed' ;; esac
  fail "${words%%"$nl"*}"
}
# See probe.sh.
hears() { true 3<&0 || fail 'its shell could not make a pipe; are too many files open?'; }
exists() { [ -e "$1" ] || [ -L "$1" ]; }
closed() { [ -e "$1" ] && [ ! -w "$1" ]; }
is_dir() { [ -d "$1" ] && [ ! -L "$1" ]; }
# staged: the staging directory is the one that was made. Who can write in the destination could put
# another one there, or a link, for us to unpack into, clear, or run.
staged() { is_dir "$S" && { [ ! "$owned" ] || [ -O "$S" ]; }; }
# number_in FILE: read what stands there into $pid, if it is a file: who reads a fifo waits
number_in() { [ -f "$1" ] && [ ! -L "$1" ] && { read -r pid <"$1"; } 2>&-; }
# runs: the process $pid of our own does. One that was killed has a number until it is reaped, which the
# first process of a container may never do; but it is in no directory.
runs() { if [ -e /proc/self/cwd ]; then [ -e "/proc/$pid/cwd" ]; else kill -0 "$pid" 2>&-; fi; }
# at_work FILE: a receiver whose number stands there is at work in this directory. A number may be
# another process's by now; the directory that one is in tells.
at_work() {
  number_in "$1" || return
  if [ -e /proc/self/cwd ]; then [ "/proc/$pid/cwd" -ef . ]; else kill -0 "$pid" 2>&-; fi
}
# alone NAME: another source may be replicated to this directory, by a shell that is at work beside
# this one: the two would get mixed. What one has left that is no more, or runs elsewhere, is not
# judged, nor is what NAME begins: a run of the same words.
alone() {
  for f in ./.filerep-*/.pid; do
    case $f in "./$1-"*) continue ;; esac
    ! at_work "$f" || fail 'another run, of another source or by another command, replicates to this directory'
  done
}
# Another run of the same words, from another machine or by another user, clears our staging
# directory away. Were that only a lost connection, the two would do so in turns for ever.
taken_over() {
  for f in "./$ours-"*/.pid; do
    if [ "$f" != "$S/.pid" ] && at_work "$f"; then say taken; return; fi
  done
  return 1
}
# hooked: does the command of --on-sync run, as $job? That may be another process's number by now. If
# /proc tells whose child it is, all the same if the command has removed the staging directory.
hooked() {
  [ "$job" ] || return
  if [ ! -e "/proc/$$/stat" ]; then [ -e "$S/.hook" ]; return; fi
  { read -r line <"/proc/$job/stat"; } 2>&- || return
  [ "${line##*") "? "$$" }" != "$line" ] # its name, in brackets, and its state stand in front
}
drop() {
  ! hooked || kill "$job"
  stop_mover
  case $H in /proc/*) command exec 4<&- ;; esac # see hold
  rm -rf "$S" 2>&- || rm -rf "$S"
}
# What takes its time is heard of meanwhile, as long as this shell lives, but for $patience seconds at
# most, if that is not 0. It may be done at once.
working() {
  (
    cd / && k=$patience
    while sleep 1 <&- >&- 2>&-; do
      k=$((k - 1))
      kill -0 $$ 2>&- && say working && [ $k != 0 ] || exit
    done
  ) &
  worker=$!
}
rest() { [ ! "$worker" ] || stop "$worker"; worker=''; }
# mkdir -m would take the bit by which a directory hands its group down. Where a default ACL is
# handed down no umask counts; chmod sees to both, and FAT refuses it.
make_staging() {
  umask 077
  mkdir "$S" || exit
  chmod u+rwx,go-rwx "$S" 2>&- || :
}
# hold: by a descriptor, $H is the directory that was made, whoever puts another one, or a link, in its
# place meanwhile: nothing is run, emptied or cleared that is elsewhere. Linux has a name for that,
# which may be another process's in a container that sees its host's.
hold() {
  H=$S
  is_dir "$S" && [ -e "/proc/$$/fd" ] && command exec 4<"$S" || return
  for f in "/proc/$$/fd/4"/* "/proc/$$/fd/4"/.[!.]*; do
    if exists "$f"; then return; fi # another one it was already
  done
  [ ! "/proc/$$/fd/4/." -ef "$S" ] || H=/proc/$$/fd/4
} 2>&-
make_sentinel() { true >"$S"; }
# clear_away DIR: whoever was killed amid an archive may have left a tar that is at work there yet
clear_away() {
  for k in 1 2 3; do
    if rm -rf "$1" 2>&-; then return; fi
    sleep 1
  done
  try rm -rf "$1"
}
worker='' job='' patience=0 ours='' H='' tmp=/tmp null=/dev/null
umask u+rwx # a directory that is made must be open to who made it
# It may be another user's, as behind sudo.
case ${TMPDIR-} in /*) if [ -d "$TMPDIR" ] && [ -w "$TMPDIR" ]; then tmp=$TMPDIR; fi ;; esac

# keep_parts: a large file that was under way goes on from here with the next connection.
keep_parts() {
  [ "$H" ] || return
  rmdir "$H/.parts" 2>"$null" # if none is
  if is_dir "$H/.parts" && mkdir -m 700 "$S-" 2>"$null"; then mv "$H/.parts" "$S-/"; fi
}
leave() {
  trap - EXIT
  # Where nobody hears any more dash tries its last words again and again, and each is a SIGPIPE.
  trap '' HUP INT TERM PIPE
  [ ! "$ours" ] || taken_over || staged ||
    say error "the directory $ours-... in the destination was removed or replaced"
  command exec >"$null" 2>&1 # it would end here where it can open nothing
  rest
  keep_parts
  drop
  exit 1
}
# EXIT too: a shell ends where it may open no more files, or a limit is met.
trap leave EXIT HUP INT TERM PIPE
# shellcheck disable=SC3049 # what has no such signals says so
command trap leave XCPU XFSZ 2>&-

for f in "$tmp/$4"-*; do # what a killed --dry-run has left, or one killed while its mover started
  if [ ! -O "$f" ] || ! { is_dir "$f" || [ -p "$f" ]; }; then continue; fi
  # Another --dry-run may be at work with it, or have just made it.
  [ -p "$f" ] || [ -e "$f/.pid" ] || sleep 1
  if number_in "$f/.pid" && runs; then continue; fi
  rm -rf "$f"
done
if [ "$5" = dry ]; then # nothing is touched but a directory of our own, elsewhere
  S=$tmp/$4-$nonce
  try make_staging
  hold
  [ -d "$dest" ] || { dest=$S/.none && try mkdir "$dest"; }
else
  [ -d "$dest" ] || try mkdir -p "$dest"
fi
try cd -P "$dest"
cd -P "$dest" || exit
if [ "$5" = clean ]; then
  [ "$(pwd -P)" != / ] || fail 'will not clean out /'
  alone "$4"
  # Is this the source, by a way that nothing has told? A file of the staging directory's name is
  # looked for there.
  try make_sentinel
  say sentinel
  read -r line || leave
  case $line in go | look\ *) ;; *) leave ;; esac
  working
  if [ "$line" != go ] && [ "$(find . -name "${line#look }" 2>"$null")" ]; then
    rest
    say around
    leave
  fi
  try find . ! -name . -prune -exec rm -rf {} +
fi
[ "$5" = dry ] || { try make_staging; hold; }
echo $$ >"$H/.pid"
if [ "$5" != dry ]; then
  for f in "./$4"-*; do # what a cut run left, but for the pieces of a large file
    if [ "$f" = "$S" ] || ! exists "$f"; then continue; fi
    [ "$worker" ] || working
    if [ "$5" != clean ] && is_dir "$f" && is_dir "$f/.parts"; then mv "$f/.parts" "$S/" 2>"$null"; fi
    clear_away "$f"
  done
fi
rest
owned='' # who made it may not own it: NFS for root
[ ! -O "$S" ] || owned=1
if [ ! -e $null ]; then # no file is made of that name
  case $S in /*) null=$S/.null ;; *) null=$dest/$S/.null ;; esac
fi
: >"$null"
[ "$5" = dry ] || alone "$4" # once more, as two may have begun at once
modes=''
[ "$5" = dry ] || start_mover

empty=1 cp=''
for f in * .[!.]* ..?*; do
  if exists "$f" && [ "./$f" != "$S" ]; then empty=0; break; fi
done

# at ID DIR...: the directories of an operation are as thought; $D is the last of them.
# RACE: one that is swapped for a symlink after this look is followed.
# No path of a commit has a part `..`. That is the sender's to see to; should it fail, this ends.
at() {
  staged || exit 1 # another receiver has begun: what it has listed is its own now
  i=$1
  shift
  for D; do
    case $D/ in */../*) exit 1 ;; esac
    is_dir "$D" || { astray=$((n + 2)); tell "lost $n $i"; return 1; }
    i=$((i + 1))
  done
}
# tell WORD...: answer for one path; something may be left in the staging directory
tell() { dirty=1; printf '%s\n' "$*"; }
# bad DIR: what was said of a path in DIR ($words, kept off a disk that may be full), without the
# names in front; or who owns a DIR that is closed to us, asked once for all that goes there
bad() {
  words=${words##*: }
  case $words in Killed*) words='' ;; esac # a shell said that
  if closed "$1"; then
    [ "$1" = "$shut" ] || shut=$1 who="$(id -un 2>"$null"), $(ls -ld "$1" 2>"$null")"
    words="not writable by $who"
  fi
  tell "bad $n $i ${words%%"$nl"*}"
}
# A verb tries all of its paths at once. Only if that fails they are gone through one by one.
each() {
  one=$1
  shift
  for p; do
    "$one"
    i=$((i + 1))
  done
}
# put STAGED...: move into $D; what a rename cannot replace is got out of the way. Where tar could not
# make all, a directory may lack some of what is to be in it.
put() {
  all=1
  for p; do exists "$p" || all=''; done
  { [ ! "$absent" ] && mv -f "$@" "$D/" 2>"$null"; } || each put_one "$@"
}
put_one() {
  f=$D/${p##*/}
  # It went with the others, if all were there.
  exists "$p" || { [ "$all" ] || { why_absent; bad "$D"; }; return; }
  # Where place_by_cp.sh has come so far, mv finds two names of one file.
  [ -L "$p" ] || [ -L "$f" ] || [ ! "$p" -ef "$f" ] || return
  if is_dir "$p" && is_dir "$f"; then tell "there $n $i"; return; fi
  # busybox mv cannot replace a symlink that leads to itself.
  if is_dir "$p" && [ "$keep" ] && exists "$f"; then aside
  elif is_dir "$p" || [ -L "$f" ]; then rm -f "$f" 2>"$null"
  elif is_dir "$f" && ! rmdir "$f" 2>"$null"; then
    # Ours are gone from it by now, unless something was not removed that was to be: the two
    # batches behind such a one may have been sent before. The rest was made here, and is kept.
    if [ "$n" -le "$astray" ]; then words='Directory not empty'; bad "$D"; return; fi
    aside
  fi
  closed "$D" || if [ "$absent" ] && is_dir "$p"; then
    words=$(mkdir "$f" 2>&1) && { tell "there $n $i"; return; }
  else
    words=$(mv -f "$p" "$D/" 2>&1) && return
    case $words in *'No space left'* | *'uota exceeded'*) not_a_piece ;; esac
  fi
  bad "$D"
}
# not_a_piece: where $D is of another file system, it was copied, and as much of it as found room is
# there under its name. In one and the same it is as it was.
not_a_piece() {
  case $(ln "$p" "$D/${S#./}" 2>&1) in
  *'ross-device'*) rm -f "$f" 2>"$null" ;;
  *) rm -f "$D/${S#./}" 2>"$null" ;;
  esac
}
# why_absent: what tar has said of $p, which is not there; of some names, which it writes in a way of its
# own, what it has said first
why_absent() {
  words=${absent:-'it was unpacked, and is gone'}
  case $absent in *" ${p#"$S/"}: Cannot open: "*) words=${absent#*" ${p#"$S/"}: Cannot open: "} ;; esac
  words=${words%%"$nl"*}
}
aside() {
  k=1
  while exists "$f.kept-$k"; do k=$((k + 1)); done
  mv "$f" "$f.kept-$k" 2>"$null"
  ! exists "$f.kept-$k" || tell "aside $n $i .kept-$k" # also if it was killed behind that
}
# del PATH...: remove files; a directory that stands there by now is none of ours
del() {
  case "$*" in */../*) exit 1 ;; esac
  rm -f "$@" 2>"$null" || each del_one "$@"
}
del_one() {
  is_dir "$p" || words=$(rm -f "$p" 2>&1) || unlisted || { astray=$((n + 2)); bad "${p%/*}"; }
}
# unlisted: $p is not in its directory, whatever is said of it: its name may be too long, or one that
# cannot be there
unlisted() {
  ! exists "$p" && ls -a "${p%/*}" >"$null" 2>&1 || return
  for f in "${p%/*}"/* "${p%/*}"/.*; do [ "$f" != "$p" ] || return; done
}
# rmd DIR...: remove directories, the inner ones first, unless something is left or mounted in them
rmd() {
  case "$*" in */../*) exit 1 ;; esac
  rmdir "$@" 2>"$null" || each rmd_one "$@"
}
rmd_one() {
  ! is_dir "$p" || words=$(rmdir "$p" 2>&1) || ! is_dir "$p" && return
  case $words in *'not empty'* | *' exists'* | *' busy'*) tell "kept $n $i" ;; *) bad "${p%/*}" ;; esac
}
# spell OLD NEW: of what is in $D, where they are one name. Most systems do nothing if that is asked
# for, and FUSE may show NEW for a while after it is gone, into which mv would go: but not once rmdir
# has been told. RACE: a cut in between leaves a third name, and what has it as something made here.
spell() {
  k=1
  while exists "$D/$2.kept-$k"; do k=$((k + 1)); done
  mv "$D/$1" "$D/$2.kept-$k" 2>"$null"
  exists "$D/$2.kept-$k" || return # else what was killed had done it
  ! is_dir "$D/$2" || rmdir "$D/$2" 2>"$null"
  mv "$D/$2.kept-$k" "$D/$2" 2>"$null" || mv "$D/$2.kept-$k" "$D/$1" 2>"$null"
}
# mod MODE: of $D; a directory of somebody else's keeps the bits it has. busybox's chmod takes away
# the bit by which it hands its group down.
mod() {
  down=''
  [ ! -g "$D" ] || down=1
  chmod "$1" "$D" 2>"$null" || tell "mode $n $i"
  [ ! "$down" ] || [ -g "$D" ] || chmod g+s "$D" 2>"$null"
}
# finish: not before the commit is closed; FUSE gives a name to what is removed and open.
finish() { over=1; }
# again: find the place in the stream once more, as whoever unpacked was killed amid an archive. Then
# the sender ends what it is at, says a line that no data can hold, and waits: whoever looks for
# that may read ahead. But not wait for more, as the seds of busybox and toybox do.
again() {
  tell "torn $n $code ${words%%"$nl"*}"
  line=$(grep -a -m 1 "^$marker [0-9]* [0-9]*\$" 2>"$null") ||
    line=$(sed -n "/^$marker [0-9]* [0-9]*\$/{p;q;}" 2>"$null")
  [ "$line" ] || return
  line=${line#* }
  n=${line% *} blocks=${line#* }
  staged && rm -rf "${H:?}"/* || return
  echo again
}

# one_for_two PREFIX: which names that begin so are one there, into $p; $f is one that was made. Some
# systems take no letters but those of ASCII.
one_for_two() {
  p=''
  for f in "$1Abé" "$1Ab" ''; do
    ! { true >"$f"; } 2>"$null" || break
  done
  [ "$f" ] || return
  if [ -e "$1aB${f#"$1Ab"}" ]; then p=case; fi
  if [ -e "$1Abé" ]; then p=$p,form; fi
}

# What the file system of the destination can do. Some say that they keep modes, and do not; FAT may
# give to directories what they are to have, and to files what it likes.
folds='' same=-p both='' links=''
if [ "$5" != dry ] && one_for_two "$H/."; then
  folds=$p
  if [ ! "$modes" ] && command -v chmod >"$null"; then
    chmod 640 "$f" 2>"$null"
    case $(ls -ld "$S" "$f" 2>"$null") in drwx--[-S]---*"$nl"-rw-r-----* | '') ;; *) modes=0 ;; esac
  fi
  # Those that have no symbolic links have names or modes of their own, too.
  if { [ "$folds" ] || [ "$modes" = 0 ]; } && command -v ln >"$null"; then
    ln -s x "$S/.link" 2>"$null" || ln -s x "$S/.link" 2>"$null" || [ -L "$S/.link" ] || links=0
  fi
  # The older FUSE sets a time only together with the other; -G has GNU tar tell both.
  if [ "$form" = gnu ] && touch -m -t 200001010000 "$f" 2>"$null"; then
    [ "$f" -ot "$S/.pid" ] || both=-G
  fi
fi
# What is mounted in it may be so, too. A name with a blank is another in that list. What never is
# so is not asked, nor what often does not answer.
within=''
case $5 in dry) line='' ;; *) line=$(pwd -P) ;; esac
if [ "$line" ] && [ -r /proc/self/mountinfo ]; then
  words=$(grep -F -e " $line/" /proc/self/mountinfo 2>"$null")
  while [ "$words" ]; do
    f=${words%%"$nl"*}
    words=${words#"$f"} words=${words#"$nl"}
    case ${f##* - } in ext[234]' '* | xfs' '* | btrfs' '* | tmpfs' '* | overlay' '* | nfs* | fuse.sshfs' '*) continue ;; esac
    f=${f#* * * * }
    case $f in "$line/"*) ;; *) continue ;; esac
    x=${f#"$line/"} x=${x%% *}
    case $x in *\\* | *//* | *:*) continue ;; esac
    if ! is_dir "./$x" || ! one_for_two "./$x/${S#./}-"; then continue; fi
    if command -v chmod >"$null"; then
      chmod 640 "$f" 2>"$null"
      case $(ls -l "$f" 2>"$null") in -rw-r-----* | '') ;; *) p=$p,nomodes ;; esac
    fi
    [ ! "$p" ] || within=$within//$p:$x
    rm -f "$f"
  done
fi

parts=''
for f in "$S/.parts"/*; do
  if [ -f "$f" ] && [ ! -L "$f" ]; then parts=$parts,${f##*/}:$(($(wc -c <"$f"))); fi
done

setgid=''
[ ! -g . ] || setgid=1
hears
[ "$5" = dry ] || ours=$4
say ready "empty=$empty mover=$mover folds=$folds modes=$modes links=$links setgid=$setgid within=$within parts=$parts" || leave
n=0 blocks=20 astray=0 over='' reuses=''
while :; do
  n=$((n + 1)) dirty='' shut='' keep='' line='' whole='' absent=''
  hears
  staged || break
  words=$(unpack 2>&1)
  code=$(($? > 255 ? $? - 128 : $?)) # ksh93 has 256 in the place of 128
  # busybox tar ends with 0 where it could not make a directory, or a link; some other file may
  # have made the directory then, with any mode.
  case $form$code$words in other0*"can't "*) code=1 ;; esac
  # GNU tar cannot be told to leave the modes of directories alone, nor the times of symlinks: sshfs
  # gives these to what they lead to, which is not there. What it ends with says no more than that it
  # failed: where the reason in front could not be written, it is not known. What it could not make, as
  # there can be no such name, is missing then, and answered for when it is to be put into place.
  case $form$code$words in
  gnu2*': Cannot '*)
    line='/: Cannot utime: No such file or directory$/d;/^tar: Exiting with failure status/d'
    [ $same = -p ] || line="/: Cannot change mode to [-rwxsStT]*: [^:]*\$/d;$line"
    line=$(printf '%s\n' "$words" | sed "$line" 2>"$null") || line=$words
    case $line in *'No space left'* | *'uota exceeded'*) rest=$line ;; *)
      rest='/: Cannot open: [^:]*$/d;/: Cannot mkdir: [^:]*$/d;/: Cannot create symlink to .*: [^:]*$/d'
      rest=$(printf '%s\n' "$line" | sed "$rest" 2>"$null") || rest=$line ;;
    esac
    [ "$rest" ] || absent=$line code=0
    line='' ;;
  esac
  # GNU tar, if it was killed, has left the rest of the archive; others do not read themselves.
  if [ $code -le 128 ] || [ "$form" != gnu ]; then read -r line || break; fi
  if [ "${line% *}" != "batch $n" ]; then
    again || break
    continue
  fi
  if [ ! "$dest" -ef . ]; then # it was removed, moved, replaced, or mounted over
    if exists "$dest"; then line='another directory is in the place of the destination'
    else line='the destination was moved or removed there'; fi
    say error "$line"
    break
  fi
  staged || break
  blocks=${line##* }
  if [ $code = 0 ] && [ -s "$H/commit" ]; then
    # By `command`, what cannot be read is no end: zsh would not even run its trap.
    command . "$H/commit" <"$null"
    [ "$whole" ] || break # the disk has not given it to its end
    [ ! "$over" ] || { trap - EXIT; keep_parts; drop; echo bye; ${run_then:+run_there "$nonce"}; exit 0; }
    echo "ok $n"
  else
    astray=$((n + 2))
    # Modes may be refused, as by FAT, and not all else; the next one is without them then.
    if [ $same = -p ] && { true >"$H/.new" && ! { chmod 700 "$H/." && chmod 640 "$H/.new"; }; } 2>"$null"; then
      same=--no-same-permissions
      tell "modes $n"
    fi
    case $words in
      Killed* | *': Killed'*) words='' code=137 ;; # what a shell says of it
      *'uota exceeded'*) words='Disk quota exceeded' ;;
      *'No space left'* | *'Wrote only '*) words='No space left on device' ;;
    esac
    tell "failed $n $code ${words%%"$nl"*}"
  fi
  # What is left would go into place with the next batch's new directories.
  # zsh would end at `:`, without a word to anybody.
  if [ "$dirty" ]; then rm -rf "${H:?}"/* 2>"$null" || break; else { true >"$H/commit"; } 2>"$null" || break; fi
done
leave
}
