# shellcheck shell=sh disable=SC2154
# For --run where another run keeps the destination the same: no receiver, only its directory. It is
# started by start.sh, as probe.sh is, and has the same arguments; run.sh stands before it.
unset FILEREP_SCRIPT TMOUT
[ -z "${ZSH_VERSION-}" ] || emulate sh
set +aCefuvx
[ ! -e /dev/null ] || (true >&2) || exec 2>/dev/null # see probe.sh
run_words=$(cd -P "${2%/}/$3" 2>&1) || { printf '%s\n' "filerep-$1 error ${run_words##*: }"; exit 1; }
cd -P "${2%/}/$3" || exit
printf '%s\n' "filerep-$1 inside"
run_there "$1"
exit 0
