# shellcheck shell=sh disable=SC2034
# What the far end is asked first, in a shell of our own (see start.sh): where the destination would be,
# and what there is to work with. On the same machine a copy into the source, or cleaning out
# the source itself, must be refused, so nothing is touched before the sender knows that. It
# answers with receiver.sh, which has the same arguments, and what that needs here.
unset FILEREP_SCRIPT TMOUT # TMOUT is a limit for `read`
[ -z "${ZSH_VERSION-}" ] || emulate sh
set +aCefuvx
# Where the shell's standard error is closed, what is started could take a file of its own for that,
# and --on-sync's command, whose output goes there, would not be started. In a subshell, as zsh keeps in
# mind that it could not say what was wrong.
[ ! -e /dev/null ] || (true >&2) || exec 2>/dev/null

# What is told is listed in PROTOCOL.md. Only what find says counts: its status is bad where it may
# not come back to the directory it was started in.
(
  LC_ALL=C
  export LC_ALL
  # escape TEXT CHARACTER CODE: put the code in its place, as in mountinfo
  escape() {
    left=$1 told=''
    while case $left in *"$2"*) ;; *) false ;; esac do
      told=$told${left%%"$2"*}$3 left=${left#*"$2"}
    done
    told=$told$left
  }
  unset TAR_OPTIONS TAR_READER_OPTIONS POSIXLY_CORRECT
  # With fewer some shells hang, or end so that something stays.
  # shellcheck disable=SC3045 # what has no such limit says so
  most=$(ulimit -n 2>&1)
  case $most in
  [0-9] | 1[0-9]) printf '%s\n' "filerep-$1 error only $most files may be open at once, and 20 are needed"; exit 1 ;;
  esac
  # What nobody is to see goes to descriptor 9: a root without /dev gets no file of that name.
  if [ -e /dev/null ]; then exec 9>/dev/null; else exec 9>&2; fi
  nl='
'
  nonce=$1 up=${2%/}/$3 boot='' ids='' there=''
  if [ -r /proc/sys/kernel/random/boot_id ]; then read -r boot </proc/sys/kernel/random/boot_id; fi
  if [ -d "$up/" ]; then there=1; fi
  until [ -d "$up/" ]; do up=${up%/*}; done
  up=$(cd -P "$up/" 2>&9 && pwd -P; echo .) # the dot keeps newlines at the end of a name
  case $up in /*) up=${up%"$nl".} ;; *) up='' ;; esac
  # Where it really is, and what is mounted above and below; see overlap.py.
  if [ "$up" ] && [ "$5${6-}" ] && { [ "$5" = clean ] || [ "$boot" = "${6-}" ]; } && [ -r /proc/self/mountinfo ]; then
    escape "$up" \\ '\134'
    escape "$told" "$nl" '\012'
    printf '%s\n' "filerep-$nonce real $told"
    while read -r a b device root at rest; do
      case ${up%/}/ in
      "${at%/}"/*) ;;
      *) case $at in "${up%/}"/* | *\\*) ;; *) continue ;; esac ;;
      esac
      printf '%s\n' "filerep-$nonce mount $device $root $at"
    done </proc/self/mountinfo
  fi
  set -- /
  while [ "$up" ]; do set -- "$@" "$up"; up=${up%/*}; done
  tar=other list=none full='' shell='sh'
  if [ -r "/proc/$$/comm" ]; then read -r shell <"/proc/$$/comm"; fi
  case $shell in '' | *[!a-z0-9]*) shell='sh' ;; esac
  command -v tar >&9 || tar=none
  version=$(tar --version 2>&1 <&-)
  # Killed, or not even begun for want of memory: another connection asks again.
  [ $? -lt 126 ] || [ $tar = none ] || { printf '%s\n' "$version" >&2; exit 1; }
  case $version in *'GNU tar'*) tar=gnu ;; *bsdtar*) tar=bsd ;; esac
  if [ $tar != gnu ] && echo | dd bs=1 count=1 iflag=fullblock >&9 2>&9; then full=1; fi
  case $(find / -prune -printf '%y %m %s %T@' 2>&9) in
  d*.*) list='find' ;;
  *) case $(find / -prune -exec stat -c '%f %s %Y %y %n//' {} + 2>&9) in
    *///) list='stat' ;;
    *) case $(find / -prune -exec stat -f '%p %z %Fm %N//' {} + 2>&9) in 4[0-7]*.*' ///') list=bsd ;; esac ;;
    esac ;;
  esac
  # With GNU's stat -f tells of file systems.
  how=-c
  if [ $list = bsd ]; then how=-f; fi
  for id in $(stat "$how" %d:%i "$@" 2>&9); do ids=$ids$id,; done
  printf '%s\n' "filerep-$nonce here ids=$ids boot=$boot there=$there tar=$tar list=$list full=$full shell=$shell"
) || exit

# The receiver arrives between two lines of # and the nonce; the end of start.sh may stand in front.
# `read` takes a byte at a time, dd all that has come by now, and nothing comes behind the
# second one before this has said `ready`. The dot keeps newlines at the end.
nl='
'
# bash closes its standard input where it cannot make a pipe for $(...): the next such pipe would be
# that input, and who reads it there would wait for itself, for ever. It may also keep its standard
# error there while that is redirected: so what it says of this is not hidden, and comes first.
true 3<&0 || { echo 'its shell could not make a pipe; are too many files open?' >&2; exit 1; }
script=$(dd bs=16384 count=1 2>/dev/null; echo .)
script=${script%.}
until case $script in *"#$1$nl"*"#$1$nl") ;; *) false ;; esac do
  IFS= read -r line || exit
  script=$script$line$nl
done
eval "${script#*"#$1$nl"}"
