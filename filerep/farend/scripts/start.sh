# shellcheck shell=sh disable=SC2016,SC2317
# What the connection's shell is told first, behind the arguments and the variable FILEREP_SCRIPT, which
# holds probe.sh: be another shell. What start-up files have made of this one (read-only names,
# functions, traps, options) ends with it. The other one reads no such file and, above all, no
# commands from standard input: what arrives there is data, whatever fails.
#
# dash starts a process in less time than bash does. Other shells that are known go on as what they
# are, if they can be called by their names; in the place of another (yash, which reads ahead even
# from a pipe) comes sh. Backslashes keep aliases off; with POSIXLY_CORRECT bash finds
# its own `exec` before a function of that name. What a shell says before it runs (of its directory
# that is gone, of an LD_PRELOAD that is) does not matter. Nothing is redirected to /dev/null, as there
# may be none, and nothing needs a variable, as its name may be read-only.
{
case ${ZSH_VERSION-} in
  '') \unset -f set command exec exit kill dash sh ;;
  *) \unset -f set command exec exit kill dash sh 2>&- || : ;; # it speaks of those that are not
esac
\set +eufx
case ${BASH_VERSION-} in ?*)
  case $(\dash -c 'echo runs' 2>&1 <&-) in *runs) \exec dash -c 'eval "$FILEREP_SCRIPT"' filerep "$@" ;; esac
  # The variable may come from the environment, where there is no bash.
  case $(\command -v "$BASH") in ?*) \exec "$BASH" --posix -p -c 'eval "$FILEREP_SCRIPT"' filerep "$@" ;; esac ;;
esac
case ${ZSH_VERSION-} in ?*)
  case $("${0#-}" --emulate sh -f -c 'echo runs' 2>&1 <&-) in
    *runs) \exec "${0#-}" --emulate sh -f -c 'eval "$FILEREP_SCRIPT"' filerep "$@" ;;
  esac ;;
esac
case ${0##*[/-]} in sh | dash | ash | ksh | ksh93 | mksh)
  case $(\command -v "${0#-}") in ?*) \exec "${0#-}" -c 'eval "$FILEREP_SCRIPT"' filerep "$@" ;; esac ;;
esac
case $(\sh -c 'echo runs' 2>&1 <&-) in *runs) \exec sh -c 'eval "$FILEREP_SCRIPT"' filerep "$@" ;; esac
case $("${0#-}" -c 'echo runs' 2>&1 <&-) in
  *runs) \exec "${0#-}" -c 'eval "$FILEREP_SCRIPT"' filerep "$@" ;;
esac
\exec "/proc/$$/exe" -c 'eval "$FILEREP_SCRIPT"' filerep "$@"
}
\exit 69
\kill -9 $$
