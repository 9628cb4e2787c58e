"""One connection, and the stages that feed it."""

from __future__ import annotations

import os
import select
import signal
import time

from filerep import command, ownfiles
from filerep.command import Stop
from filerep.farend.abilities import heard
from filerep.pathstream import quote
from filerep.wrapper.bootstrap import Bootstrap
from filerep.wrapper.endings import (
    Endings,
    Lost,
    closed,
    is_other_shell,
    last_line,
    not_ready,
    not_typed,
    other_shell,
    unanswered,
    unanswered_yet,
    unready,
)
from filerep.wrapper.mistakes import no_answer, not_answered
from filerep.wrapper.processes import Outlet, Processes
from filerep.wrapper.reports import Reports
from filerep.wrapper.runrecord import CONNECTING
from filerep.wrapper.stderr import Errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Optional

    from filerep.wrapper.events import Events
    from filerep.wrapper.job import Job
    from filerep.wrapper.signals import Signals
    from filerep.wrapper.stages import Stages
    from filerep.wrapper.terminal.display import Display
    from filerep.wrapper.waiting import Waiters

    StartStages = Callable[[Processes, bool], Stages]

_END_GRACE = 0.7
_LAST_WORDS = 0.5  # seconds
_STOPPED = 0.5  # seconds; who is so late was stopped, by Ctrl-Z, and so were others


class Session:
    """Joins a connection and its stages, and listens to all of them until one ends."""

    def __init__(
        self,
        job: Job,
        display: Display,
        events: Events,
        waiters: Waiters,
        signals: Signals,
        start_stages: StartStages,
    ) -> None:
        self._job = job
        self._display = display
        self._events = events
        self._waiters = waiters
        self._signals = signals
        self._start_stages = start_stages
        self._processes = Processes()
        self.reports = Reports(display, events, waiters, job.watches)
        self._heard: list[int] = []  # until the end
        self._begun = False  # are there stages?
        self._end_by = 0.0  # if it was asked for

    def connect(self, first: bool, mirrors: bool, again: bool) -> str:
        """Start the connection and the receiver; what its ready line tells.

        Nothing has been connected before if ``first``, or in sync if ``mirrors``; it has been
        tried if ``again``.
        Raises ``Lost`` with the reason in words.
        """
        processes = self._processes
        self._stages = self._start_stages(processes, again)
        self._begun = True
        far_reads, self._to_far = processes.pipe(self._job.pipe_bytes)
        self._from_far, far_writes = processes.pipe(self._job.pipe_bytes)
        far_errors, far_complains = processes.pipe()
        self._errors = Errors(
            processes, self._display, self._events, self._stages.errors, far_errors
        )
        self._heard = self._errors.fds()
        self._endings = Endings(
            self._job.connection, processes, self._stages, self._errors, self.reports
        )
        # First fr-pack, as it takes longest to be ready.
        self._stages.start_pack(
            self._to_far,
            self._from_far,
            mirrors,
            self._display.bar or self._job.args["--events"] is not None,
            self._state(),
        )
        self._events.tell("connecting", command=self._job.connection)
        processes.start_connection(
            self._job.connection, (far_reads, far_writes, far_complains)
        )
        # fr-pack, which shares it, has it so at some moment.
        self._outlet = Outlet(self._to_far)
        bootstrap = Bootstrap(self._job, self._outlet.write)
        self._nonce = bootstrap.nonce
        bootstrap.ask(first)
        self._stages.start_sources()
        words = self._job.connection if first else []
        self._display.connecting(words, self._asks, no_answer(words))
        if first:
            self._waiters.record.tell(CONNECTING)
            self._prune()
        try:
            far = self._await_ready(bootstrap)
        finally:
            bootstrap.close()
        self._destination = bootstrap.destination
        self._tell_connected(bootstrap.destination, far)
        self._waiters.record.connected(bootstrap.destination)
        return self._rehearsed_clean_out(far)

    def _state(self) -> Optional[str]:
        try:
            path = self._job.state_file(".state")
            os.close(ownfiles.open_file(path))
            return path
        except OSError as error:
            path = error.filename
            where = f" in {quote(path)}" if isinstance(path, (str, bytes)) else ""
            self._display.message(
                f"cannot keep state{where}, {command.reason(error)}: what is removed here"
                " while it is not connected will not be removed at the far end"
            )
            return None

    def _prune(self) -> None:
        """Remove what is kept of copies that nobody makes any more, while nobody waits for us."""
        from filerep.wrapper import runs

        if not self._job.args["--dry-run"]:
            runs.prune()

    def _tell_connected(self, destination: bytes, far: str) -> None:
        told = heard(far)
        tools = {
            name: told.get(name) or None for name in ("shell", "tar", "list", "mover")
        }
        self._events.tell("connected", destination=os.fsdecode(destination), **tools)

    def _await_ready(self, bootstrap: Bootstrap) -> str:
        while True:
            left = bootstrap.deadline - time.monotonic()
            if left < -_STOPPED:
                bootstrap.expect()
            elif left <= 0:
                why = last_line(self._errors.words, bootstrap.words)
                if bootstrap.answered:
                    raise not_ready(why)
                if self._asks() and not bootstrap.words:
                    raise not_typed(self._job.connection, self._job.timeout, why)
                raise self._without_answer(bootstrap)
            outlets = self._outlet.fds()
            ready = self._poll([self._from_far, *self._errors.fds()], left, outlets)
            if not ready.isdisjoint(outlets):
                self._outlet.flush()
            self._errors.hear(ready)
            if not bootstrap.answered and is_other_shell(self._errors.words):
                raise other_shell()
            if self._from_far not in ready:
                continue
            chunk = os.read(self._from_far, 65536)
            if not chunk:
                raise self._unanswered(bootstrap)
            far = bootstrap.hear(chunk)
            if far is not None:
                self._errors.ready = True
                return far
            # What it has left running may hold the pipe open, and say that it is at work.
            ended = self._processes.status("connection") is not None
            if ended and not self._poll([self._from_far], 0):
                raise self._unanswered(bootstrap)

    def _without_answer(self, bootstrap: Bootstrap) -> Lost:
        """No shell has answered in time; fish says nothing before the end of its script."""
        why = last_line(self._errors.words, bootstrap.words)
        self._processes.close(self._to_far)
        self._processes.stop("fr-pack", 0.0)  # it has the other copy
        until = time.monotonic() + _LAST_WORDS
        while (left := until - time.monotonic()) > 0:
            self._errors.hear(self._poll(self._errors.fds(), left))
            if is_other_shell(self._errors.words):
                return other_shell()
        return unanswered_yet(self._job.timeout, why)

    def _asks(self) -> bool:
        """Does the connection command wait for somebody at the terminal?"""
        from filerep.wrapper.terminal.asking import asks

        return asks(self._processes.pid("connection"))

    def _unanswered(self, bootstrap: Bootstrap) -> Lost:
        words = self._job.connection
        status = self._processes.status_soon("connection", 1)
        if status is None:
            return Lost(closed(words))
        self._errors.hear_far()
        why = last_line(self._errors.words, bootstrap.words)
        if bootstrap.answered:
            return unready(words, status, why)
        hint = not_answered(words, status, self._job.args)
        return unanswered(words, status, why, hint)

    def _rehearsed_clean_out(self, far: str) -> str:
        """The ready line as it would be; with --dry-run nothing is cleaned out."""
        both = self._job.args["--dry-run"] and self._job.args["--clean-out-first"]
        if not both or "empty=0" not in far:
            return far
        self._display.message("would first remove all that is in the destination")
        return far.replace("empty=0", "empty=1")

    def replicate(self, far: str) -> None:
        """Run the stages until the far end has said bye; raises ``Lost`` or ``Stop``."""
        self._display.connected(self._destination, far)
        if self._job.run is None:
            self._processes.close(self._to_far, self._from_far)
        stages = self._stages
        if stages.begins_at_once:
            stages.begin(far)
        while not self._endings.done():
            fds = [stages.reports, stages.watch_ready, *self._errors.fds()]
            ready = self._poll(fds, self._endings.soon(self._waiters.pause()))
            self._errors.hear(ready)
            if stages.watch_ready in ready:
                stages.hear_watch(far)
            if stages.reports in ready:
                self._hear_reports()
            if stages.watching and self._waiters.due():
                stages.ask_sync_point()

    def _hear_reports(self) -> None:
        chunk = os.read(self._stages.reports, 65536)
        self.reports.hear(chunk)
        if not chunk:
            self._processes.close(self._stages.reports)

    def _poll(
        self, fds: list[int], seconds: Optional[float], outlets: Sequence[int] = ()
    ) -> set[int]:
        """Which of ``fds``, so far as they are open, can be read; those who wait are heard.

        And which of ``outlets`` can be written to.
        """
        asking = self._waiters.fds()
        fds = self._processes.open(fds)
        ready = self._signals.poll([*fds, *asking], seconds, outlets)
        self._waiters.hear(ready.intersection(asking))
        # A descriptor that was closed here may be one of theirs by now.
        return ready.difference(asking)

    def finish(self) -> int:
        """Do what is to be done once the destination is the same; the exit status."""
        if self._job.run is None:
            return self._status
        if self._status:
            said = "the command was not run, as some paths could not be read"
            raise Stop(self._status, said)
        from filerep.wrapper.farrun import FarRun

        # Others may replicate, and say what they like, while it runs.
        self._waiters.close()
        self._display.close()
        fds = (self._to_far, self._from_far, self._heard[1])
        run = FarRun(self._processes, self._signals, self._nonce, fds)
        return run.run(self._job.connection, self._job.keepalive)

    @property
    def _status(self) -> int:
        differs = self._job.compares and self.reports.differs
        return command.SKIPPED if self._endings.skipped or differs else command.OK

    def hear_last(self) -> None:
        """The end is asked for: hear what has not arrived."""
        self._end_by = time.monotonic() + _END_GRACE
        if not self._begun:
            return
        self._stages.name_last()
        self._processes.signal("fr-pack", signal.SIGTERM)
        poll = select.poll()
        poll.register(self._stages.reports, select.POLLIN)
        while self._processes.open([self._stages.reports]):
            left = self._end_by - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                break
            self._hear_reports()

    def lost(self, why: str) -> None:
        """The connection is, and another attempt is to come."""
        self._waiters.record.tell(CONNECTING, why=why)
        self._display.connecting([])

    def close(self) -> None:
        """End what still runs."""
        self._waiters.again()
        grace = self._end_by - time.monotonic() if self._end_by else _END_GRACE
        self._processes.end(grace, self._heard)
