"""file-replicator: keep a copy of a directory up to date in any shell you can reach.

Usage:
  file-replicator [options] [--exclude PATTERN]... [--include PATTERN]... [--mirror]...
                  SRC_DIR DEST_PARENT_DIR CONNECTION_COMMAND...

Copies SRC_DIR to DEST_PARENT_DIR at the far end, under its own name, then watches it and
sends each change at once, until Ctrl-C. A link's own name counts; `.` and a `/` behind mean
the real name of the directory. DEST_PARENT_DIR is an absolute path. CONNECTION_COMMAND is
any command that gives a shell on its standard input: bash, ssh host sh, docker exec -i
my_container sh. A `--` may stand before it. Nothing is installed at the far end; it needs a
POSIX shell and a tar.

Options stand before SRC_DIR, or anywhere before a `--`.

Options:
  --clean-out-first               Empty the destination directory first, completely.
  --with-initial-replication      Copy the tree at the start [default].
  --no-initial-replication        Only send what changes from now on.
  --replicate-on-change           Watch, and send each change [default].
  --no-replicate-on-change        End after the first copy.
  --gitignore                     Leave out what git would ignore, and .git [default].
  --no-gitignore                  Copy everything.
  --exclude PATTERN               Leave out what matches too; as a line of .gitignore.
  --include PATTERN               Copy what matches whatever any other rule says.
  --no-delete                     Remove nothing at the far end.
  --mirror                        At the start, also remove what only the destination has,
                                  except what is ignored. More than half of it: only when
                                  given twice.
  --dry-run                       List on standard output what would be sent and removed;
                                  change nothing.
  --on-sync COMMAND               Have sh run COMMAND in the destination directory after
                                  the first copy and after each change, one at a time.
  --wait                          Wait until the file-replicator that runs with the same
                                  arguments has replicated all that is saved by now. No
                                  other options are needed with it.
  --retry                         Connect again when the connection is lost [default].
  --no-retry                      End when the connection is lost.
  --keepalive SECONDS             Ask for a sign of life after a silence of SECONDS; three
                                  times that without one and the connection is taken for
                                  lost. 0: never [default: 15].
  --connect-timeout SECONDS       How long to wait for the shell to answer [default: 60].
  --poll SECONDS                  Look for changes every SECONDS rather than use inotify.
  --audit SECONDS                 How often to look for changes inotify cannot tell; 0: never.
  --quiet                         Only say what is wrong.
  --debugging                     Say everything.
  -h, --help                      Show this.
  -V, --version                   Show the version.

Exit status:
  0    the destination was made the same (--no-replicate-on-change, --wait)
  1    so it was, but for some paths that could not be read, each with a message
  64   wrong usage
  66   SRC_DIR cannot be used, or was moved, deleted or unmounted
  69   the connection or the far end failed, or refused some of the files; none runs
       that could be waited for, or another runs already
  70   a bug
  71   the system refused (no process, no descriptor)
  130  after Ctrl-C; 143 after SIGTERM, 129 after SIGHUP

Files:
  $XDG_STATE_HOME/file-replicator  (~/.local/state) what was sent, so that what is removed
       here while nothing runs is removed there at the next start

Example:
  file-replicator my_project /home/code -- docker exec -i my_container sh
"""

from __future__ import annotations

import sys
from importlib import import_module

from filerep import command
from filerep.command import Command, Stop
from filerep.wrapper.display import Display
from filerep.wrapper.job import Job, arrange
from filerep.wrapper.session import Session
from filerep.wrapper.signals import Signalled, Signals
from filerep.wrapper.supervising import replicate
from filerep.wrapper.waiting import Waiters, lock, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("file-replicator", __doc__ or "", _main, argv, arrange)


def _main(run: Command) -> int:
    job = Job(run.args)
    if run.args["--wait"]:
        return _wait(run, job)
    waiters = _waiters(job)
    quiet, debugging = bool(run.args["--quiet"]), bool(run.args["--debugging"])
    display = Display(sys.stderr, run.program, quiet, debugging)
    signals = Signals(display)
    try:
        return replicate(
            lambda: Session(job, display, waiters, signals, _run_stage),
            job.retries,
            display,
            signals,
        )
    except Signalled as error:
        display.interrupted()
        return error.status
    except Stop as stop:
        if str(stop):
            display.failure(str(stop))
        return stop.status
    finally:
        display.close()
        waiters.close()


def _wait(run: Command, job: Job) -> int:
    try:
        return wait(job.state_file(".sock"), run.say)
    except OSError as error:
        said = f"cannot reach one that runs: {command.reason(error)}"
        raise Stop(command.UNAVAILABLE, said) from None


def _run_stage(name: str, words: list[str]) -> int:
    """Run a stage in a process of its own; its exit status, a number in any case."""
    return int(import_module(f"filerep.{name}").main(words))


def _waiters(job: Job) -> Waiters:
    """Where --wait can reach this run; raises ``Stop`` if the like of it is under way."""
    if job.args["--dry-run"]:
        return Waiters()
    try:
        waiters = Waiters(lock(job.state_file(".lock")), job.state_file(".sock"))
        if job.watches:
            waiters.listen()
        return waiters
    except OSError:
        return Waiters()  # what that means is said by the session
