# shellcheck shell=sh disable=SC2034,SC2154,SC3013 # it shares variables with the receiver, which follows
# hook COMMAND: run it beside the batches; a line with the nonce and `hook STATUS`, which can be
# told from a listing under way, when it ends. `.hook` is there while it runs: a process number
# may have become another's. A session of its own lets all that it started be ended with it.
# `.changed` came with the batch: the names of what has changed, each with a NUL behind.
session='' locale=${LC_ALL-}
case $(command -v setsid) in ?*) session=- ;; esac
hook() {
  : >"$H/.hook"
  (
    exec 4<&- 7>&- 8<&- # see rename_by_perl.sh
    # Where both go one way, what it prints (`ok 3`) would be read as what we answer.
    [ ! /proc/self/fd/1 -ef /proc/self/fd/2 ] || exec 2>"$null"
    FILEREP_CHANGED=$PWD/${S#./}/.changed
    export FILEREP_CHANGED
    if [ "$locale" ]; then LC_ALL=$locale; else unset LC_ALL; fi
    ${session:+setsid} sh -c "$1" <"$null" >&2 &
    # What is stopped hears of that only once it goes on, and what does not care is killed.
    # busybox says of the -- that it is no number, and goes on.
    trap '{ kill -s TERM -- "$session$!"; kill -s CONT -- "$session$!"; } 2>&-
      cd / && exec <&- >&- 2>&-
      sleep 1; kill -s KILL -- "$session$!"; exit' TERM
    # For zsh one has ended that was stopped before it waits; and it has that go on.
    while wait $!; code=$?; [ $code -gt 146 ] && [ $code -lt 151 ] && kill -0 $! 2>&-; do sleep 1; done
    set -- $((code > 255 ? code - 128 : code)) # see run.sh
    rm -f "$H/.hook"
    say hook "$1"
  ) &
  job=$!
}
