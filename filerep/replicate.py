"""file-replicator: keep a copy of a directory up to date in any shell you reach.

Usage:
  file-replicator [options] [--exclude PATTERN]... [--include PATTERN]...
                  [--exclude-from FILE]... [--include-from FILE]...
                  [--mirror]... [--each WORD]...
                  SRC_DIR DEST_PARENT_DIR CONNECTION_COMMAND...
  file-replicator [options] @NAME
  file-replicator [options]

Copies SRC_DIR to DEST_PARENT_DIR at the far end, under its own name, then
watches it and sends each change at once, until Ctrl-C. CONNECTION_COMMAND is
any command that gives a shell on its standard input. Nothing is installed at
the far end; it needs a POSIX shell and a tar.

DEST_PARENT_DIR begins with `/`, or with `~`, which is the home directory at
the far end (in quotes, or the shell here puts its own in), or else is relative
to where the shell over there starts. The name is that of SRC_DIR as typed, a
symbolic link's own; that of `.` is the real name of the directory.

@NAME stands for the words in .file-replicator/NAME, in the current directory
or one above: a word a line, # begins a comment, paths are relative to the
directory that .file-replicator is in. Without any words @default is taken.
That folder is not copied.

Options stand before SRC_DIR, or anywhere before a `--`.

Options:
  -n, --dry-run        List what would be sent and removed; change nothing.
  --once               End after the first copy.
  --as NAME            Call the copy NAME, and not as SRC_DIR is called.
  --exclude PATTERN    Leave out what matches too; as a line of .gitignore.
  --mirror             First, also remove what only the destination has.
                       What is ignored stays. More than half of what is there
                       is removed only when this is given twice.
  --on-sync COMMAND    Have sh run COMMAND there after each change.
                       It runs in the destination directory, first after the
                       first copy, one at a time, once for a burst. The file
                       named by $FILEREP_CHANGED lists what has changed since,
                       each path with a NUL behind it; `./` is everything.
  --run COMMAND        Copy, then have sh run COMMAND there, as if it ran here.
                       What it prints comes as it is; its exit status is ours,
                       Ctrl-C reaches it, standard input does not. If one with
                       the same arguments runs, its next sync is waited for,
                       and nothing is copied.
  --wait               Wait until the one that runs has sent all saved by now.
                       The one with the same arguments, that is. No other
                       options are needed with it.
  --save NAME          Only keep these words, for @NAME.
  --help               Show all options; -h shows these.

Options for what is copied:
  --include PATTERN    Copy what matches whatever any other rule says.
  --exclude-from FILE  Leave out what matches a line of FILE, a .gitignore or a
                       .dockerignore (by its name).
  --include-from FILE  Copy what matches a line of FILE.
  --editor-files       Copy editors' swap, lock and backup files too.
  --gitignore          Leave out what git would ignore, and .git (the default).
  --no-gitignore       Copy what git ignores too, and .git.
  --no-delete          Remove nothing at the far end.
  --hold SECONDS       Where more than half of the files, of a hundred or more,
                       go at once, and git did not do it, say so and remove
                       them at the far end only SECONDS later, if they are not
                       back by then. 0 is at once [default: 5].
  --clean-out-first    Empty the destination directory first, completely.
  --with-initial-replication
                       Copy the tree at the start (the default).
  --no-initial-replication
                       Only send what changes from now on.

Options for watching:
  --replicate-on-change
                       Watch, and send each change (the default).
  --no-replicate-on-change
                       End after the first copy, as --once.
  --poll SECONDS       Look for changes every SECONDS rather than use inotify,
                       which is the default where it sees them.
  --watch-with COMMAND
                       Have COMMAND, run in SRC_DIR, print what has changed, as
                       `fswatch -0 -r .` does; see fr-watch --help.
  --audit SECONDS      How often to look for changes that inotify cannot tell.
                       0 is never; the default is every minute, or more rarely
                       in a large tree.

Options for the connection:
  --each WORD...       Copy to many far ends, each WORD in the place of {}:
                       `my_project /srv/app --each web1 web2 -- ssh {} sh`.
                       The words go up to the next option or `--`. {} may also
                       be in DEST_PARENT_DIR and in --as. SRC_DIR is
                       watched once. One that is slow or down delays no other;
                       it is tried again, and catches up. Lines name the WORD;
                       the exit status is the worst.
  --connect-timeout SECONDS
                       How long to wait for the shell to answer [default: 60].
  --keepalive SECONDS  Ask for a sign of life after a silence of SECONDS; three
                       times that without one and the connection is taken for
                       lost. 0 is never [default: 15].
  --retry              Connect again when it is lost (the default).
  --no-retry           End when it is lost.
  --compress           Compress what is sent. The default is to do so where the
                       connection is slow.
  --no-compress        Compress nothing.
  --whole-file         Send whole files. The default is to do so where the
                       connection is fast.
  --no-whole-file      Send nothing that the far end holds already, in parts of
                       the file or under another name.
  --checksum           At the start, compare files by their contents, whatever
                       size and time say. With --dry-run it is the proof that
                       the copy is right.

Options for those that run, or have run:
  --wait-on-sync       As --wait, and until --on-sync has run on all of it.
                       The exit status is that of its COMMAND.
  --status             Say what runs, from where to where, and how it is.
                       With other words, only the one that they start.
  --forget             Remove what is kept of copies whose SRC_DIR is gone.
                       With other words, of that copy: what is removed here
                       before the next start then stays there.

Options for what is said:
  -q, --quiet          Only say what is wrong.
  -v, --verbose        Say what was found at the far end, what was decided, and
                       how files went: whole, compressed, in pieces; or made of
                       what was there: in parts, copied, moved, touched.
  --debugging          Say everything, for those who work on it.
  --events FD|FILE     Write a line of JSON to descriptor FD, or FILE, for each
                       thing that happens: see docs/events.md. It never waits
                       for who reads; what is not read in time is left out, and
                       counted.
  -V, --version        Show the version.

Exit status:
  0    the destination was made the same (--once, --wait)
  1    the same, but some paths could not be read, each with a message; or
       there is something to be done (--dry-run --once)
  64   wrong usage
  66   SRC_DIR cannot be used, or was moved, deleted or unmounted
  69   the connection or the far end failed, or refused some of the files; none
       runs that could be waited for, or another runs already
  70   a bug
  71   the system refused: no process, no descriptor, no memory, a bad disk

Ctrl-C, SIGTERM and SIGHUP end it by the signal itself, once the far end is
tidied up; a shell shows that as 130, 143 and 129. What has not arrived by then
is named.

Files:
  $XDG_STATE_HOME/file-replicator  (~/.local/state) what was sent, so that what
       is removed here while nothing runs is removed there at the next start
  .file-replicator/NAME  words for @NAME

Examples:
  file-replicator my_project /tmp bash
  file-replicator my_project '~/code' -- ssh host sh
  file-replicator my_project /home/code -- docker exec -i my_container sh
  file-replicator . /app -- kubectl exec -i my_pod -- sh
"""

from __future__ import annotations

import os
import select
import sys
import time
from importlib import import_module

from filerep import __version__, command
from filerep.command import Command, Stop
from filerep.wrapper import profiles
from filerep.wrapper.commandline import Typed
from filerep.wrapper.each import jobs as each
from filerep.wrapper.events import Events, open_events
from filerep.wrapper.job import Job
from filerep.wrapper.processes import need_descriptors
from filerep.wrapper.reconnecting import replicate
from filerep.wrapper.runrecord import Record
from filerep.wrapper.session import Session
from filerep.wrapper.signals import Signalled, Signals
from filerep.wrapper.stages import Stages
from filerep.wrapper.terminal.display import Display
from filerep.wrapper.waiting import STILL_WAITING, Waiters, ask, lock, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from typing import Optional, TextIO

    from filerep.wrapper.each.child import Parent

# What the processes of many far ends have in memory once, if it is there before they are.
_OF_EACH = (
    "json",
    "filerep.pack",
    "filerep.replica.conversation",
    "filerep.replica.known.statefile",
    "filerep.wrapper.runs",
)
PROGRAM = "file-replicator"
_PATIENCE, _TURN = 5.0, 0.05  # seconds


def main(argv: Sequence[str] | None = None) -> int:
    typed = Typed()

    def body(run: Command) -> int:
        return _main(run, typed)

    return command.run(PROGRAM, __doc__ or "", body, argv, typed.arrange)


def _main(run: Command, typed: Typed) -> int:
    if typed.folder:
        os.chdir(typed.folder)
    if run.args["--status"] or run.args["--forget"]:
        return _look_after(run)
    jobs = each.jobs(run.args)
    if run.args["--save"]:
        path = profiles.save(run.args["--save"], typed.to_save)
        run.say(f"saved {path}; start it by `file-replicator @{run.args['--save']}`")
        return command.OK
    if run.args["--wait"] or run.args["--wait-on-sync"]:
        return _wait(run, jobs)
    if "" not in jobs:
        return _replicate_each(run, jobs)
    job = jobs[""]
    need_descriptors()
    asking, waiters = (None, _waiters(job)) if job.run is None else _turn(run, job)
    display = _display(run, "", job.run is not None)
    events = open_events(run.args["--events"], display.message)
    signals = Signals(display, events)

    def body() -> int:
        if asking is not None:
            from filerep.wrapper.beside import Beside

            return Beside(job, signals, asking).run()
        stages = lambda processes: Stages(job, processes, _run_stage)
        new = lambda: Session(job, display, events, waiters, signals, stages)
        return replicate(new, job.retries, display, events, signals)

    waiters.say = display.message
    try:
        return _told(body, job, display, events)
    finally:
        waiters.close()


def _replicate_each(run: Command, jobs: dict[str, Job]) -> int:
    """To many far ends: see each/jobs.py."""
    from filerep.wrapper.each.parent import DESCRIPTORS, FarEnds

    for name in _OF_EACH:
        import_module(name)
    need_descriptors(len(jobs) * DESCRIPTORS)
    display = _display(run)
    events = open_events(run.args["--events"], display.message)
    signals = Signals(display, events)

    def one(name: str, job: Job, parent: Parent, events_fd: int) -> int:
        return _one_of_many(run, name, job, parent, events_fd)

    far_ends = FarEnds(jobs, display, events, signals, _run_stage, one)
    return _told(far_ends.run, next(iter(jobs.values())), display, events)


def _one_of_many(
    run: Command, name: str, job: Job, parent: Parent, events_fd: int
) -> int:
    """One far end's process."""
    from filerep.wrapper.each.child import FedStages

    display = _display(run, name)
    wanted = run.args["--events"] is not None
    events = Events(events_fd if wanted else -1, each=name)
    signals = Signals(display, events, parent.fileno())
    waiters = Waiters()
    stages = lambda processes: FedStages(job, processes, _run_stage, parent)
    new = lambda: Session(job, display, events, waiters, signals, stages)

    def body() -> int:
        nonlocal waiters
        waiters = _waiters(job)
        waiters.say = display.message
        return replicate(
            new, job.retries, display, events, signals, parent.tell_connected
        )

    try:
        return _ended(body, display, events)
    finally:
        events.close()
        display.close()
        waiters.close()


def _display(run: Command, name: str = "", runs: bool = False) -> Display:
    """``name``: of the far end that it is about; ``runs``: a command, with --run."""
    quiet, debugging = bool(run.args["--quiet"]), bool(run.args["--debugging"])
    if runs and not _is_terminal(sys.stderr):
        quiet = not debugging  # what stands there is the command's
    verbose = bool(run.args["--verbose"])
    return Display(sys.stderr, run.program, quiet, debugging, verbose, name=name)


def _told(body: Callable[[], int], job: Job, display: Display, events: Events) -> int:
    """Do ``body``, and tell of its beginning and its end; the exit status."""
    about = {"source": os.fsdecode(job.source), "version": __version__}
    events.tell("start", pid=os.getpid(), **about)
    status = command.BUG
    try:
        status = _ended(body, display, events)
        return status
    except Exception as error:
        status = command.OS_ERROR if command.refused(error) else command.BUG
        raise
    finally:
        events.tell("end", status=int(status))
        events.close()
        display.close()


def _ended(body: Callable[[], int], display: Display, events: Events) -> int:
    """The exit status of ``body``, with what is to be said of it."""
    try:
        return body()
    except Signalled as error:
        display.interrupted()
        return error.status
    except Stop as stop:
        if str(stop):
            display.failure(str(stop))
            events.tell("message", program=PROGRAM, text=str(stop))
        return stop.status


def _look_after(run: Command) -> int:
    """--status and --forget: all runs, or those of the other words."""
    from filerep.wrapper import runs

    say = lambda line: command.write_all(1, os.fsencode(line) + b"\n")
    act = runs.status if run.args["--status"] else runs.forget
    jobs = each.jobs(run.args) if run.args["SRC_DIR"] else {}
    try:
        if not jobs:
            return act("", say)
        return each.worst(jobs, lambda job: act(job.key, say), run.say)
    except OSError as error:
        said = f"cannot read the state directory: {command.reason(error)}"
        raise Stop(command.UNAVAILABLE, said) from None


def _wait(run: Command, jobs: dict[str, Job]) -> int:
    try:
        on_sync = bool(run.args["--wait-on-sync"])
        # All are asked before the first is waited for.
        asked = {
            name: ask(job.state_file(".sock"), on_sync) for name, job in jobs.items()
        }
        return each.worst(asked, lambda asking: wait(asking, run.say), run.say)
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
        fd = lock(job.state_file(".lock"))
        there = os.path.join(job.parent, job.name)
        about = Record(fd, job.source, there, job.connection)
        waiters = Waiters(fd, job.state_file(".sock"), about)
        if job.watches:
            waiters.listen()
        return waiters
    except OSError:
        return Waiters()  # what that means is said by the session


def _turn(run: Command, job: Job) -> tuple[Optional[socket.socket], Waiters]:
    """Who keeps the destination the same, for --run: one that runs and is asked, or this one.

    One that has no time to be asked, as it copies once, is waited for.
    """
    began = time.monotonic()
    told = False
    try:
        while True:
            asking = ask(job.state_file(".sock"))
            if asking is not None:
                return asking, Waiters()
            try:
                return None, Waiters(lock(job.state_file(".lock")), "")
            except Stop:
                # Nothing tells that a lock is free but taking it, and it may be for long.
                select.select([], [], [], _TURN)
            if not told and time.monotonic() - began > _PATIENCE:
                run.say(STILL_WAITING)
                told = True
    except OSError:
        return None, Waiters()


def _is_terminal(stream: Optional[TextIO]) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False  # closed before we began
