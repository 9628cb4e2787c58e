# shellcheck shell=sh disable=SC2154,SC2317 # it is part of the receiver, which follows
# unpack: the next archive into the staging directory. A tar that is not GNU's reads on behind the
# archive, so dd hands over just as many records as the line in front says; one byte at a time where
# it cannot tell how much it got ($full).
unpack() {
  umask 0
  cd -P "$H" || exit # -C would be looked up when the archive comes
  unset TAR_OPTIONS TAR_READER_OPTIONS POSIXLY_CORRECT
  if [ "$blocks" = 0 ]; then packed; exit; fi # see reuse.sh
  {
    read -r records || exit
    if [ "$full" ]; then exec dd bs=10240 "count=$records" iflag=fullblock 2>"$null"; fi
    exec dd ibs=1 obs=10240 "count=$((records * 10240))" 2>"$null"
  } | {
    tar -xpof -
    code=$?
    # What tar leaves must not be read as lines. bsdtar has read on, unless it gave up.
    [ "$form$code" = bsd0 ] || cat >"$null"
    exit $code
  }
}
