# shellcheck shell=sh
# shellcheck disable=SC1091,SC2034,SC2154,SC2317,SC3013 # others go before, and `commit` comes later
{
# The far end of file-replicator: POSIX sh, run from memory, nothing installed. probe.sh has come
# before it, and of the other scripts what this far end needs.
#
# Reading ahead. This text arrives on the same standard input as the data that follows, and
# dash and busybox sh read their script in pieces of up to 8192 bytes: what stands behind the
# script in such a piece never reaches a child. So the sender sends nothing before it has seen
# the line `ready`, and all of this is one compound command, which no shell starts before it
# has read its end. From then on only `read` (one byte at a time on a pipe, in every shell) and
# tar take from standard input. `exit` at the end keeps the shell from reading data as script.
#
# The stream is a row of batches: an archive, padded to tar's records of 20 blocks, 10240 bytes,
# then the line `batch N BLOCKS`, which says of how many blocks the next archive's records are.
# The tar is started ahead of the data (`unpack`, in unpack_gnu.sh or unpack_counted.sh), so that its own
# start costs no time. The line behind shows that both sides count alike, and tells a lost
# connection (no line) from a tar that failed.
#
# An archive is unpacked into the stage, a hidden directory on the destination's file system.
# Its last member is `commit`, a script the sender wrote, which calls the functions below to move
# things into place. A tar whose input is cut between two members exits 0, and bsdtar fills up
# a cut file: so both a status of 0 and a commit are needed before anything is moved. Directories
# 0, 1, ... of the stage each hold what goes into one directory of the destination, because
# only `mv FILE... DIR/` is a plain rename: `mv FILE NAME` goes into a directory and through a
# symlink that stands at NAME. When it fails, what is in the way is looked at.
#
# Answers are lines on standard output: `ok N` or `failed N STATUS WHY` ends a batch; before it come
# `bad N ID WHY` (one path), `lost N ID` (a directory that is none, or a symlink by now),
# `there N ID` (a directory thought new), `kept N ID` (not empty), `mode N ID` (could not be set),
# `aside N ID NAME` (moved out of the way), and listings.
#
# $1 nonce  $2 directory the destination is in  $3 its name  $4 the stage's name, less nonce
# $5 clean, dry or nothing; $form and $full are what probe.sh has found
nl='
'
nonce=$1 dest=${2%/}/$3 S=./$4-$1
LC_ALL=C EXTRACT_UNSAFE_SYMLINKS=1 # old busybox holds some symlinks back without that
export LC_ALL EXTRACT_UNSAFE_SYMLINKS
say() { printf '%s\n' "filerep-$nonce $*"; }
fail() { say error "$1"; exit 1; }
try() { words=$("$@" 2>&1) || fail "${words%%"$nl"*}"; }
exists() { [ -e "$1" ] || [ -L "$1" ]; }
closed() { [ -e "$1" ] && [ ! -w "$1" ]; }
is_dir() { [ -d "$1" ] && [ ! -L "$1" ]; }
drop() { [ ! -e "$S/.hook" ] || kill "$job"; stop_mover; rm -rf "$S"; }

if [ "$5" = dry ]; then # nothing is touched but a directory of our own, elsewhere
  S=${TMPDIR:-/tmp}/$4-$nonce
  try mkdir -m 700 "$S"
  [ -d "$dest" ] || dest=$S
else
  [ -d "$dest" ] || try mkdir -p "$dest"
fi
try cd -P "$dest"
cd -P "$dest" || exit
if [ "$5" = clean ]; then
  [ "$(pwd -P)" != / ] || fail 'will not clean out /'
  try find . ! -name . -prune -exec rm -rf {} +
fi
if [ "$5" != dry ]; then
  for f in "./$4"-*; do # what a cut run left
    if exists "$f"; then try rm -rf "$f"; fi
  done
  try mkdir -m 700 "$S"
fi
trap 'drop; exit 1' HUP INT TERM
[ "$5" = dry ] || start_mover

empty=1 cp='' job=''
for f in * .[!.]* ..?*; do
  if exists "$f" && [ "./$f" != "$S" ]; then empty=0; break; fi
done

# A line of a commit is mostly `at ID DIR... && VERB WORD...`: what a verb does is done in these
# directories, the last of which is $D. Each must be a directory and no symlink. ID is the number
# of the first; the others have the next ones, and after them the paths that the verb is given.
# RACE: a directory that is swapped for a symlink after this look and before the rename, a
# moment later, is followed.
at() {
  [ -d "$S" ] || exit 1 # another receiver has begun: what it has listed is its own now
  i=$1
  shift
  for D; do
    is_dir "$D" || { lost=1; tell "lost $n $i"; return 1; }
    i=$((i + 1))
  done
}
# tell WORD...: answer for one path; something may be left in the stage
tell() { dirty=1; printf '%s\n' "$*"; }
# bad DIR: what was said of a path in DIR ($words, kept off a disk that may be full), without the
# names in front; or who owns a DIR that is closed to us, asked once for all that goes there
bad() {
  words=${words##*: }
  if closed "$1"; then
    [ "$1" = "$shut" ] || shut=$1 who="$(id -un 2>/dev/null), $(ls -ld "$1" 2>/dev/null)"
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
# put STAGED...: move into $D; what a rename cannot replace is got out of the way
put() {
  all=1
  for p; do exists "$p" || all=''; done
  mv -f "$@" "$D/" 2>/dev/null || each put_one "$@"
}
put_one() {
  f=$D/${p##*/}
  # It went with the others, if all were there.
  exists "$p" || { [ "$all" ] || { words='it was unpacked, and is gone'; bad "$D"; }; return; }
  # Where place_by_cp.sh has come so far, mv finds two names of one file.
  [ -L "$p" ] || [ -L "$f" ] || [ ! "$p" -ef "$f" ] || return
  if is_dir "$p" && is_dir "$f"; then tell "there $n $i"; return; fi
  # busybox mv cannot replace a symlink that leads to itself.
  if is_dir "$p" || [ -L "$f" ]; then rm -f "$f" 2>/dev/null
  elif is_dir "$f" && ! rmdir "$f" 2>/dev/null; then
    # Ours are gone from it by now, unless there was trouble; the rest was made here, and is kept.
    if [ "$lost" ]; then words='Directory not empty'; bad "$D"; return; fi
    k=1
    while exists "$f.kept-$k"; do k=$((k + 1)); done
    mv "$f" "$f.kept-$k" 2>/dev/null && tell "aside $n $i .kept-$k"
  fi
  closed "$D" || { words=$(mv -f "$p" "$D/" 2>&1) && return; }
  bad "$D"
}
# del PATH...: remove files; a directory that stands there by now is none of ours
del() { rm -f "$@" 2>/dev/null || each del_one "$@"; }
del_one() { is_dir "$p" || words=$(rm -f "$p" 2>&1) || bad "${p%/*}"; }
# rmd DIR...: remove directories, the inner ones first, unless something is left in them
rmd() { rmdir "$@" 2>/dev/null || each rmd_one "$@"; }
rmd_one() { ! is_dir "$p" || rmdir "$p" 2>/dev/null || tell "kept $n $i"; }
# mod MODE: of $D; a directory of somebody else's keeps the bits it has
mod() { chmod "$1" "$D" 2>/dev/null || tell "mode $n $i"; }
finish() { drop; echo bye; exit 0; }

say ready "empty=$empty mover=$mover"
n=0 blocks=20
while :; do
  n=$((n + 1)) dirty='' shut='' lost=''
  words=$(unpack 2>&1)
  code=$?
  if ! read -r line || [ "${line% *}" != "batch $n" ] || [ ! -d "$S" ]; then break; fi
  blocks=${line##* }
  if [ $code = 0 ] && [ -s "$S/commit" ]; then
    . "$S/commit" </dev/null
    echo "ok $n"
  else
    case $words in *'No space left'* | *'Wrote only '*) words='No space left on device' ;; esac
    tell "failed $n $code ${words%%"$nl"*}"
  fi
  if [ "$dirty" ]; then rm -rf "${S:?}"/*; else : >"$S/commit"; fi
done
drop
exit 1
}
