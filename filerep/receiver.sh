{
# The far end of file-replicator: POSIX sh, run from memory, nothing installed.
#
# Reading ahead. This text arrives on the same standard input as the data that follows, and
# dash and busybox sh read their script in pieces of up to 8192 bytes: what stands behind the
# script in such a piece never reaches a child. So the sender sends nothing before it has seen
# the line `ready`, and all of this is one compound command, which no shell starts before it
# has read its end. From then on only `read` (one byte at a time on a pipe, in every shell) and
# tar take from standard input. `exit` at the end keeps the shell from reading data as script.
#
# The stream is a row of batches: an archive, padded to tar's records of 10240 bytes, then the
# line `batch N`. GNU tar stops reading just there, so it is started ahead of the data and its
# own start costs no time. Every other tar reads on; there the number of records comes first, in
# a line of its own, and dd hands over just so many. The line behind shows that both sides count
# alike, and tells a lost connection (no line) from a tar that failed.
#
# An archive is unpacked into the stage, a hidden directory on the destination's file system.
# Its last member is `commit`, a script the sender wrote, which calls the functions below to move
# things into place. A tar whose input is cut between two members exits 0, and bsdtar fills up
# a cut file: so both a status of 0 and a commit are needed before anything is moved. Directories
# 0, 1, ... of the stage each hold what goes into one directory of the destination, because
# only `mv FILE... DIR/` is a plain rename: `mv FILE NAME` goes into a directory and through a
# symlink that stands at NAME. When it fails, what is in the way is looked at.
#
# Answers are lines on standard output: `ok N` or `failed N WHY` ends a batch; before it come
# `bad N ID WHY` (one path), `lost N ID` (a directory that is none, or a symlink by now),
# `there N ID` (a directory thought new), `kept N ID` (not empty), `aside N ID NAME` (moved out of
# the way), and listings.
#
# $1 nonce  $2 directory the destination is in  $3 its name  $4 stage's name, without nonce
# $5 options: words out of clean, dry
[ -z "${ZSH_VERSION-}" ] || emulate sh
nonce=$1 dest=${2%/}/$3 stage=$4 asked=" $5 "
say() { echo "filerep-$nonce" "$@"; }
fail() { say error "$@"; exit 1; }
why() { # the first line of what the last command complained of
  words=; IFS= read -r words <"$S/err"; words=${words:-no reason given}
}

command -v tar >/dev/null || fail "tar: not found"
case $asked in
*' dry '*)
  S=${TMPDIR:-/tmp}/$stage-$nonce
  if [ ! -d "$dest" ]; then say ready new=1 empty=1; cat >/dev/null; exit 0; fi ;;
*)
  words=$(mkdir -p -- "$dest" 2>&1) || fail "$words"
  S=./$stage-$nonce ;;
esac
words=$(cd -P -- "$dest" 2>&1) || fail "$words"
cd -P -- "$dest" || exit
case $asked in
*' clean '*)
  [ "$(pwd -P)" != / ] || fail "will not clean out /"
  words=$(find . ! -name . -prune -exec rm -rf {} + 2>&1) || fail "$words" ;;
esac
case $asked in
*' dry '*) ;;
*) rm -rf "./$stage"-* 2>/dev/null ;; # what a cut run left
esac
# mkdir before the trap: what was not made here is not removed here.
words=$( (umask 077 && mkdir "$S") 2>&1) || fail "$words"
trap 'rm -rf "$S"; exit 1' HUP INT TERM

empty=1
for f in * .[!.]* ..?*; do
  case $f in '*' | '.[!.]*' | '..?*' | "$stage-"*) [ -e "$f" ] && [ "./$f" != "$S" ] || continue ;; esac
  empty=0
  break
done
case $(tar --version 2>&1 </dev/null) in
*'GNU tar'*) form=gnu ;;
*bsdtar*) form=bsd ;;
*) form=other ;;
esac
if [ -n "$(find . -maxdepth 0 -printf x 2>/dev/null)" ]; then list=find
elif [ -n "$(find . -maxdepth 0 -exec stat -c %f {} + 2>/dev/null)" ]; then list=stat
else list=none; fi
# Where this is, for a sender on the same machine: the running kernel and each directory above.
boot=
[ ! -r /proc/sys/kernel/random/boot_id ] || read -r boot </proc/sys/kernel/random/boot_id
here=$(pwd -P)
set -- /
while [ -n "$here" ]; do set -- "$@" "$here"; here=${here%/*}; done
ids=$(stat -c %d:%i -- "$@" 2>/dev/null | while read -r id; do echo "$id,"; done)
full=1
dd if=/dev/null bs=1 count=1 iflag=fullblock 2>/dev/null || full=

# at ID DIR...: the paths that follow are inside DIRs, the last of which is $D. All must be
# directories and no symlinks; RACE: one that is swapped for a symlink after this look and
# before the rename a moment later is followed.
at() {
  i=$1 lost=; shift
  for D; do
    if [ -L "$D" ] || [ ! -d "$D" ]; then echo "lost $n $i"; lost=1 dirty=1; return; fi
    i=$((i + 1))
  done
}
bad() { # ID DIR: report the last command's words; name the owner where DIR is closed to us
  why
  if [ ! -w "$2" ]; then
    words="not writable by $(id -un 2>/dev/null), $(ls -ld "$2" 2>/dev/null)"
  fi
  IFS= read -r words <<END_OF_WORDS
$words
END_OF_WORDS
  cat <<END_OF_WORDS
bad $n $1 $words
END_OF_WORDS
  dirty=1
}
put() { # ID STAGED...: move into $D, as one rename each
  [ -z "$lost" ] || return
  i=$1; shift
  ! mv -f "$@" "$D/" 2>"$S/err" || return 0
  for p; do
    f=$D/${p##*/}
    if [ ! -e "$p" ] && [ ! -L "$p" ]; then : # went with the others
    elif [ ! -L "$p" ] && [ -d "$p" ] && [ ! -L "$f" ] && [ -d "$f" ]; then
      echo "there $n $i"; dirty=1
    else
      if [ ! -L "$f" ] && [ -d "$f" ]; then
        # Ours are gone from it by now; what is left was made over here, and is kept.
        if ! rmdir "$f" 2>/dev/null; then
          k=1
          while [ -e "$f.kept-$k" ] || [ -L "$f.kept-$k" ]; do k=$((k + 1)); done
          mv "$f" "$f.kept-$k" 2>"$S/err" && echo "aside $n $i .kept-$k"
        fi
      elif [ ! -L "$p" ] && [ -d "$p" ]; then rm -f "$f" 2>"$S/err"; fi
      mv -f "$p" "$D/" 2>"$S/err" || bad $i "$D"
    fi
    i=$((i + 1))
  done
}
del() { # ID PATH...: remove files; a directory that stands there by now is none of ours
  [ -z "$lost" ] || return
  i=$1; shift
  ! rm -f "$@" 2>"$S/err" || return 0
  for p; do
    if [ -L "$p" ] || { [ -e "$p" ] && [ ! -d "$p" ]; }; then
      rm -f "$p" 2>"$S/err" || bad $i "${p%/*}"
    fi
    i=$((i + 1))
  done
}
rmd() { # ID DIR...: remove directories, the inner first, unless something is left in them
  [ -z "$lost" ] || return
  i=$1; shift
  ! rmdir "$@" 2>/dev/null || return 0
  for p; do
    if [ ! -L "$p" ] && [ -d "$p" ]; then
      rmdir "$p" 2>/dev/null || [ ! -d "$p" ] || echo "kept $n $i"
    fi
    i=$((i + 1))
  done
}
mod() { # MODE DIR...
  [ -n "$lost" ] || chmod "$@" 2>/dev/null
}
list() { # DIR...: each and what is in it, in the form the ready line named
  case $list in
  find) find "$@" -maxdepth 1 -printf '%y %m %s %T@ %p\0%l\0' 2>/dev/null ;;
  stat) find "$@" -maxdepth 1 -exec stat -c '%f %s %Y %y %n//' {} + 2>/dev/null ;;
  esac
}
hook() { # COMMAND: run beside the batches; `hook STATUS` when it ends
  (sh -c "$1" </dev/null >&2; echo "hook $?") &
}
finish() { rm -rf "$S"; echo bye; exit 0; }
unpack() { # old busybox holds back some symlinks without EXTRACT_UNSAFE_SYMLINKS
  umask 0
  LC_ALL=C EXTRACT_UNSAFE_SYMLINKS=1 tar -xpof - -C "$S" 2>"$S/err"
}

say ready empty=$empty tar=$form list=$list ids="$(echo $ids)" boot="$boot"
n=0
while :; do
  n=$((n + 1)) dirty= lost=
  if [ $form = gnu ]; then
    (unpack); code=$?
  else
    read -r records || break
    if [ $full ]; then set -- bs=10240 "count=$records" iflag=fullblock
    else set -- ibs=1 obs=10240 "count=$((records * 10240))"; fi
    # A tar that gives up early must not leave the rest of its archive to be read as lines.
    dd "$@" 2>/dev/null | (unpack; code=$?; cat >/dev/null; exit $code); code=$?
  fi
  read -r line || break
  [ "$line" = "batch $n" ] || break
  if [ $code = 0 ] && [ -s "$S/commit" ]; then
    . "$S/commit" </dev/null
    end="ok $n"
  else
    [ -d "$S" ] || break # the destination was removed or replaced: start anew
    why
    end="failed $n $words" dirty=1
  fi
  if [ "$dirty" ]; then rm -rf "$S"/*; else : >"$S/commit"; fi
  cat <<END_OF_WORDS
$end
END_OF_WORDS
done
rm -rf "$S"
exit 1
}
