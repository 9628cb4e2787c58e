"""What file-replicator does once its arguments are understood: replicate, wait, or look after runs."""

from __future__ import annotations

import os
import select
import sys
import time
from importlib import import_module

from filerep import __version__, command
from filerep.command import Command, Stop
from filerep.pathstream import quote
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
from filerep.wrapper.terminal.formatting import bare
from filerep.wrapper.waiting import STILL_WAITING, Waiters, ask, lock, wait
from filerep.wrapping import hanging, is_terminal, is_tty, terminal_width

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Optional

    from filerep.wrapper.each.child import Parent

# What the processes of many far ends have in memory once, if it is there before they are.
_OF_EACH = (
    "json",
    "filerep.pack",
    "filerep.replica.known.openstate",
    "filerep.replica.wiremode",
    "filerep.wrapper.runs",
)
PROGRAM = "file-replicator"
_PATIENCE, _TURN = 5.0, 0.05  # seconds


def main(run: Command, typed: Typed) -> int:
    """The exit status; raises ``Stop``."""
    if typed.folder:
        os.chdir(typed.folder)
    if run.args["--status"] or run.args["--forget"]:
        return _look_after(run)
    jobs = each.jobs(run.args)
    if run.args["--save"] is not None:
        path, others = profiles.save(run.args["--save"], typed.to_save)
        path = bare(quote(os.path.join(typed.folder, path)))
        name = bare(quote(f"@{run.args['--save']}"))
        instead = ", in the place of other words" if others else ""
        run.say(f"saved {path}{instead}; start it by `{PROGRAM} {name}`")
        return command.OK
    if run.args["--wait"] or run.args["--wait-on-sync"]:
        return _wait(run, jobs)
    if "" not in jobs:
        return _replicate_each(run, jobs)
    job = jobs[""]
    need_descriptors()
    asking, waiters = (
        (None, _waiters(job, run.say)) if job.run is None else _turn(run, job)
    )
    display = _display(run, "", job.run is not None)
    events = open_events(run.args["--events"], display.message)
    signals = Signals(display, events)

    def body() -> int:
        if asking is not None:
            from filerep.wrapper.beside import Beside

            return Beside(job, signals, asking, display.message).run()
        stages = lambda processes, again: Stages(job, processes, _run_stage, again)
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
    stages = lambda processes, again: FedStages(
        job, processes, _run_stage, parent, again
    )
    new = lambda: Session(job, display, events, waiters, signals, stages)

    def body() -> int:
        nonlocal waiters
        waiters = _waiters(job, display.message)
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
    if runs and not is_tty(sys.stderr):
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

    width = terminal_width(sys.stdout) if is_terminal(sys.stdout) else 0

    def say(line: str) -> None:
        rows = hanging(line, width) if width else line
        command.write_all(1, os.fsencode(rows) + b"\n")

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


def _waiters(job: Job, say: Callable[[str], None]) -> Waiters:
    """Where --wait can reach this run; raises ``Stop`` if the like of it is under way.

    ``say`` is told if nobody can.
    """
    waiters = Waiters()
    if job.args["--dry-run"]:
        return waiters
    try:
        path, door = job.state_file(".lock"), job.state_file(".sock")
    except OSError:
        return waiters  # what that means is said by the session
    try:
        fd = lock(path)
        there = os.path.join(job.parent, job.name)
        about = Record(fd, job.source, there, job.connection)
        waiters = Waiters(fd, door, about)
        if job.watches:
            waiters.listen()
    except OSError as error:
        say(f"--wait and --status cannot find this run: {command.reason(error)}")
    return waiters


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
