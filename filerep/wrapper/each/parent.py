"""--each: many far ends, each a process of its own, fed by one fr-watch and one fr-walk.

What is wanted is that a far end fails, connects again and catches up by itself, and never slows
another. For one far end all of that is there: a run of file-replicator that supervises one
connection. So each far end has such a run, forked from this process (child.py), which differs
from any other in one thing: its fr-pack reads what is named here (sources.py, feeds.py).

One process that listens to all connections would hold less memory, by some MB for each. But a
connection is waited for in many places, in words that read as what happens; and a bug, a
signal or a debugger that stops one of these processes stops no other.

A far end that cannot be had at the start is tried again, as one that was lost: of fifty
machines one may be down. If none of them was ever had, and all have failed, it is the command
that is wrong, and all ends. What is no use to try again (no such command, a destination that
cannot be made) ends that far end alone.

When this process ends, however it does, the sockets to the others end, and so do they.
"""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import time

from filerep import command
from filerep.command import Stop
from filerep.wrapper.each.child import CONNECTED, FEED, SYNC_POINT, UNREACHED, Parent
from filerep.wrapper.each.sources import Sources
from filerep.wrapper.processes import Processes
from filerep.wrapper.stageprocess import Stage
from filerep.wrapper.stderr import Errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Optional

    from filerep.wrapper.events import Events
    from filerep.wrapper.job import Job
    from filerep.wrapper.signals import Signals
    from filerep.wrapper.stages import RunStage
    from filerep.wrapper.terminal.display import Display

    # Does the job of one far end; its exit status. The descriptor is for its events.
    Body = Callable[[str, Job, Parent, int], int]

DESCRIPTORS = 8  # for each far end
_GRACE = 5.0
_SOON = 1.0


class FarEnd:
    """One of them: its process, and what is to be told to it."""

    def __init__(self, name: str, job: Job, sources: Sources, events: Events) -> None:
        self.name = name
        self.job = job
        self._sources = sources
        self._events = events
        self._feed, self._unsent = sources.feed(rests=False)
        self._socket, self._other = socket.socketpair()
        self._told, self._to_tell = os.pipe()
        self._line = b""  # of its events, not yet whole
        self._child: Optional[Stage] = None
        self.connected = False  # now or before
        self.unreached = False  # has the first attempt failed?
        self.status: Optional[int] = None

    def start(self, body: Body) -> None:
        parent, to_tell = Parent(self._other), self._to_tell
        self._child = Stage(
            "file-replicator",
            lambda: body(self.name, self.job, parent, to_tell),
            self._sources.standard_files(),
            (parent.fileno(), to_tell, *self.job.events_fds()),
        )
        self._other.close()
        os.close(self._to_tell)

    def fds(self) -> list[int]:
        """What to poll for reading before ``hear``."""
        if self.status is not None:
            return []
        return [self._socket.fileno(), *([self._told] if self._told >= 0 else [])]

    def hear(self, ready: set[int], processes: Processes) -> None:
        if self._told in ready:
            self._hear_events()
        if self._socket.fileno() not in ready:
            return
        try:
            asked = self._socket.recv(64)
        except ConnectionError:
            asked = b""
        if not asked:
            self.ended()
            return
        if CONNECTED in asked:
            self.connected = True
            self._feed.connected()
        self.unreached = self.unreached or UNREACHED in asked
        if SYNC_POINT in asked:
            self._sources.ask_sync_point(self._feed)
        if FEED in asked:
            self._send_feed(processes)

    def _send_feed(self, processes: Processes) -> None:
        if not self._unsent:
            self._sources.drop(self._feed)
            self._feed, self._unsent = self._sources.feed(rests=True)
        try:
            socket.send_fds(self._socket, [FEED], self._unsent)
        except OSError:
            pass  # it has ended, which is seen by its socket
        processes.close(*self._unsent)
        self._unsent = []

    def _hear_events(self) -> None:
        chunk = os.read(self._told, 1 << 16)
        if not chunk:
            os.close(self._told)
            self._told = -1
        *lines, self._line = (self._line + chunk).split(b"\n")
        for line in lines:
            self._events.pass_on(line + b"\n")

    # -- the end ----------------------------------------------------------------------

    def ask_to_end(self) -> None:
        if self._child is not None and self.status is None:
            self._child.terminate()

    def ended(self, deadline: float = 0.0) -> None:
        """Its end of the socket is closed, or it is to be ended by ``deadline``."""
        if self._child is None or self.status is not None:
            return
        deadline = deadline or time.monotonic() + _SOON
        try:
            status = self._child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._child.kill()
            status = self._child.wait()
        self.status = 128 - status if status < 0 else status
        self._sources.drop(self._feed)
        while self._told >= 0:  # nobody else writes there
            self._hear_events()


class FarEnds:
    """All of them, from the start to the end of the last."""

    def __init__(
        self,
        jobs: Mapping[str, Job],
        display: Display,
        events: Events,
        signals: Signals,
        run_stage: RunStage,
        body: Body,
    ) -> None:
        self._display = display
        self._events = events
        self._signals = signals
        self._body = body
        self._jobs = jobs
        self._first = next(iter(jobs.values()))  # the same as all the others, here
        self._processes = Processes()
        self._sources = Sources(
            self._first, self._processes, run_stage, display.message
        )
        self._errors = Errors(
            self._processes, display, events, self._sources.errors, -1
        )
        self._all: list[FarEnd] = []

    def run(self) -> int:
        """Until all have ended; the worst of their exit statuses. Raises ``Stop``."""
        try:
            self._sources.start()
            while not self._all or self._living():
                if not self._all and (
                    self._sources.watching or not self._first.watches
                ):
                    self._start()
                self._turn()
                self._end_if_none_can_be_had()
            statuses = [far.status or command.OK for far in self._all]
            skipped = command.SKIPPED if self._sources.skipped else command.OK
            return max(skipped, *statuses)
        finally:
            self._errors.drain_stages()
            self._close()

    def _living(self) -> list[FarEnd]:
        return [far for far in self._all if far.status is None]

    def _start(self) -> None:
        for name, job in self._jobs.items():
            self._all.append(FarEnd(name, job, self._sources, self._events))
        self._sources.go_on()  # fr-walk is first, while the others are made
        gc.freeze()  # what they share is not to be looked at, and so copied, by each
        for far in self._all:
            far.start(self._body)

    def _turn(self) -> None:
        fds = self._processes.open([*self._sources.fds(), *self._errors.fds()])
        fds += [fd for far in self._all for fd in far.fds()]
        outlets = self._sources.outlets()
        ready = self._signals.poll(fds, self._sources.due(), outlets)
        self._errors.hear(ready)
        self._sources.hear(ready)
        if self._sources.skipped and self._errors.only_walk_missed():
            self._sources.name_all()
        for far in self._living():
            far.hear(ready, self._processes)
            if far.status is not None:
                if far.status > 128:
                    self._signals.wait_for_ours()
                self._tell_ended(far)
        self._sources.go_on()

    def _tell_ended(self, far: FarEnd) -> None:
        self._events.tell("far_end_ended", each=far.name, status=far.status)
        if far.status in (None, command.OK, command.SKIPPED):
            return
        others, killed = len(self._living()), far.status > 128
        said = f"was killed by signal {far.status - 128}" if killed else "has ended"
        if others:
            said += f"; the {'other goes' if others == 1 else f'{others} others go'} on"
        if others or killed:  # else it has said so itself, and nothing else goes on
            self._display.message(f"{far.name} {said}")

    def _end_if_none_can_be_had(self) -> None:
        if any(far.connected for far in self._all):
            return
        living = self._living()
        if living and all(far.unreached for far in living):
            said = f"none of the {len(self._all)} far ends could be reached"
            raise Stop(command.UNAVAILABLE, said)

    def _close(self) -> None:
        """End what still runs, all at once."""
        for far in self._all:
            far.ask_to_end()
        deadline = time.monotonic() + _GRACE
        for far in self._all:
            far.ended(deadline)
        self._processes.end(_SOON, [])
