# shellcheck shell=sh disable=SC2154,SC2317 # it is part of the receiver, which follows
# unpack: the next archive into the staging directory. GNU tar stops reading where the archive's last
# record ends.
unpack() {
  umask 0
  cd -P "$H" || exit # -C would be looked up when the archive comes
  unset TAR_OPTIONS POSIXLY_CORRECT
  if [ "$blocks" = 0 ]; then packed; exit; fi # see reuse.sh
  exec tar -b "$blocks" "$same" ${both:+"$both"} -xof -
}
