# shellcheck shell=sh disable=SC2030,SC2031,SC2154 # $run is set ahead of it; it may share a shell with the receiver
# run_there NONCE: for --run. Once the line `go` comes, run $run in the directory this shell is in, with
# nothing on its standard input; what it prints goes out as it is. Behind that come, on standard
# output, the byte 0xff and a line with its status. Lines that come meanwhile are signals for it; an
# empty one is a sign of life. When no more come before `end`, whoever asked is gone: so is what runs.
#
# The command stands in a session of its own, all of which a signal reaches. It is on the left of
# a pipe and not behind a `&`: that would have it ignore SIGINT, which a shell cannot undo. The
# pipe is how the one that reads the lines learns whom to send signals to.
run_locale=${LC_ALL-}
run_there() {
  run_session='' run_reset=''
  case $(command -v setsid) in ?*) run_session=- ;; esac
  # The connection command is made to ignore SIGINT, and with it what it starts here.
  if env --default-signal=INT true >&- 2>&-; then run_reset='env'
  elif perl -e 1 >&- 2>&-; then run_reset='perl'
  elif [ "$(sh -c 'kill -s INT $$; echo lives' 2>&-)" ]; then run_reset='no'; fi # nothing undoes it
  run_word=''
  until [ "$run_word" = go ]; do IFS= read -r run_word || return; done # the end of start.sh may stand in front
  exec 3<&0 5>&1
  {
    (run_start 7>&- 8>&1 9<&- >&5 5>&- 3<&-)
    # ksh93 has 256 in the place of 128.
    printf "\\377filerep-$1 status %s\\n" $(($? > 255 ? $? - 128 : $?)) >&5
  } | {
    run_pid='' run_ended=''
    IFS= read -r run_pid
    while IFS= read -r run_word <&3; do
      case $run_word in
      '') ;;
      end) run_ended=1; break ;;
      *)
        run_signal "$run_word"
        # What cannot be interrupted is ended.
        [ "$run_word$run_reset" != INTno ] || run_signal TERM
        ;;
      esac
    done
    if [ ! "$run_ended" ]; then
      run_signal TERM
      sleep 1
      run_signal KILL
    fi
  } 5>&-
}
run_signal() { [ ! "$run_pid" ] || kill -s "$1" -- "$run_session$run_pid" 2>&-; }
# The number is told before the command has begun, and by the process that becomes it.
run_start() {
  if [ "$run_locale" ]; then LC_ALL=$run_locale; else unset LC_ALL; fi
  unset EXTRACT_UNSAFE_SYMLINKS
  if [ -e /dev/null ]; then exec </dev/null; else exec <&-; fi # no file is made of that name
  # shellcheck disable=SC2016
  set -- sh -c 'echo "$$" >&8; exec sh -c "$1" 8>&-' sh "$run"
  [ ! "$run_session" ] || set -- setsid "$@"
  case $run_reset in
  env) exec env --default-signal=INT,QUIT "$@" ;;
  perl) exec perl -e '$SIG{INT} = $SIG{QUIT} = "DEFAULT"; exec { $ARGV[0] } @ARGV' "$@" ;;
  *) exec "$@" ;;
  esac
}
