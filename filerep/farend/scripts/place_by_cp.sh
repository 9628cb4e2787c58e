# shellcheck shell=sh disable=SC2034,SC2154,SC2317 # it is part of a commit, in the receiver
# link DIR...: put all that is staged under its own path into place, in one process; DIRs are the
# directories that it goes into, and cp would make those that are gone. GNU cp, from 8.27
# on, replaces by a link with a temporary name and a rename, and goes through no symlink. RACE:
# killed in between, it leaves a file CuXXXXXX. Where it cannot, `at` and `put` follow, which find
# out why. No other cp is known to replace by rename.
# It would not miss what tar could not make.
link() {
  dirty=1
  [ ! "$absent" ] || return
  for D; do is_dir "$D" || return; done
  case ${cp:=$(cp --version 2>"$null")} in
  *'(GNU coreutils) 8.2'[789]* | *'(GNU coreutils) 8.3'* | *'(GNU coreutils) '[91]*)
    (umask 0; exec cp -rlfPT "$S/t" . 2>"$null") ;;
  *) false ;;
  esac
}
