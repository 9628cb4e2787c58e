# shellcheck shell=sh
# Sent ahead of probe.sh where DEST_PARENT_DIR does not begin with /: it becomes absolute here, and is
# told. `~` and `~USER` are home directories as the shell has them; all else is relative to where
# the shell has started. Only a name is evaluated.
place=$2
case $place in
'~'*)
  home=${place%%/*}
  rest=${place#"$home"}
  case $home in *[!~A-Za-z0-9_.-]*) ;; *) eval "home=$home" ;; esac
  place=$home$rest
  case $home in /*) ;; *) printf '%s\n' "filerep-$1 error $2: no such home directory"; exit 1 ;; esac
  ;;
*)
  place=$(pwd -P) # nothing, or a dot, where that was removed
  case $place in /*) place=${place%/}/$2 ;; esac
  ;;
esac
case $place in /*) ;; *) printf '%s\n' "filerep-$1 error the shell's directory is gone"; exit 1 ;; esac
printf '%s\n' "filerep-$1 at $place"
set -- "$1" "$place" "$3" "$4" "${5-}" "${6-}"
