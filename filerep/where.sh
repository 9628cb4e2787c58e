# shellcheck shell=sh
# What the shell at the far end is told first: whether another shell is to go on, and to say
# where the destination would be. On the same machine a copy into the source, or cleaning out the
# source itself, must be refused, so nothing is touched before the sender knows that. It answers
# with receiver.sh, which has the same arguments.

# dash starts a process in less time than bash does, if it is the shell of that name. bash reads
# its script one byte at a time, so all that follows this line is there for dash to read.
if [ "${BASH_VERSION-}" ] && [ "$(command dash -c 'echo dash' 2>/dev/null </dev/null)" = dash ]; then
  exec dash -s -- "$@"
fi
[ -z "${ZSH_VERSION-}" ] || emulate sh

# Told are the running kernel, each directory down to the destination that is there, and
# whether that is.
(
  LC_ALL=C
  nl='
'
  nonce=$1 up=${2%/}/$3 boot='' ids='' there=''
  if [ -r /proc/sys/kernel/random/boot_id ]; then read -r boot </proc/sys/kernel/random/boot_id; fi
  if [ -d "$up/" ]; then there=1; fi
  until [ -d "$up/" ]; do up=${up%/*}; done
  up=$(cd -P "$up/" 2>/dev/null && pwd -P; echo .) # the dot keeps newlines at the end of a name
  case $up in /*) up=${up%"$nl".} ;; *) up='' ;; esac
  set -- /
  while [ "$up" ]; do set -- "$@" "$up"; up=${up%/*}; done
  for id in $(stat -c %d:%i "$@" 2>/dev/null); do ids=$ids$id,; done
  printf '%s\n' "filerep-$nonce here ids=$ids boot=$boot there=$there"
)
