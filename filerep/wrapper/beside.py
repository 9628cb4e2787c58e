"""--run, where another run keeps the destination the same: a connection for the command alone.

It is made while the other run is asked whether all that is saved has arrived, so the longer of
the two counts. To have the command run over the other's connection would save a login, but all that it
prints would have to go between what the far end answers there, and wait for large archives.
"""

from __future__ import annotations

import os
import time

from filerep.command import UNAVAILABLE, Stop
from filerep.farend.shell import script_text
from filerep.wrapper import waiting
from filerep.wrapper.bootstrap import MOST_SAID, begun, run_script, start
from filerep.wrapper.endings import (
    Lost,
    closed,
    last_line,
    not_ready,
    one_line,
    unanswered,
    unanswered_yet,
)
from filerep.wrapper.farrun import FarRun
from filerep.wrapper.mistakes import not_answered
from filerep.wrapper.processes import Outlet, Processes
from filerep.wrapper.stderr import LAST_WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Optional

    from filerep.wrapper.job import Job
    from filerep.wrapper.signals import Signals

_GRACE = 0.7


class Beside:
    """Waits for the other run and for a shell in the destination, then has the command run."""

    def __init__(
        self,
        job: Job,
        signals: Signals,
        asking: socket.socket,
        say: Callable[[str], None],
    ) -> None:
        """``say`` is told if the other run takes long."""
        self._job = job
        self._signals = signals
        self._say = say
        self._asking: Optional[socket.socket] = asking
        self._answer = b""
        self._processes = Processes()
        self._nonce = os.urandom(8).hex()
        self._said = self._words = b""  # on stdout, and stderr

    def run(self) -> int:
        """The command's exit status; raises ``Stop``."""
        processes = self._processes
        try:
            far_reads, to_far = processes.pipe()
            from_far, far_writes = processes.pipe()
            errors, far_complains = processes.pipe()
            processes.start_connection(
                self._job.connection, (far_reads, far_writes, far_complains)
            )
            words = [self._nonce.encode(), self._job.parent, self._job.name]
            script = run_script(self._job) + script_text("enter")
            outlet = Outlet(to_far)
            outlet.write(start(words, script))
            self._await(from_far, errors, outlet)
            waiting.verdict(self._answer)
            run = FarRun(
                processes, self._signals, self._nonce, (to_far, from_far, errors)
            )
            return run.run(self._job.connection, self._job.keepalive)
        except Lost as error:
            raise Stop(UNAVAILABLE, str(error)) from None
        finally:
            processes.end(_GRACE, [])
            if self._asking is not None:
                self._asking.close()

    def _await(self, from_far: int, errors: int, outlet: Outlet) -> None:
        began = time.monotonic()
        deadline, told = began + self._job.timeout, False
        inside = f"filerep-{self._nonce} inside\n".encode()
        while self._asking is not None or inside not in self._said:
            fds = self._processes.open([from_far, errors])
            now = time.monotonic()
            late = began + waiting.PATIENCE
            if self._asking is not None and now >= late and not told:
                self._say(waiting.held_up(self._asking))
                told = True
            due = [] if inside in self._said else [deadline]
            due += [] if told or self._asking is None else [late]
            limit = max(0.0, min(due) - now) if due else None
            asking = -1 if self._asking is None else self._asking.fileno()
            outlets = outlet.fds()
            ready = self._signals.poll(
                [*fds, *([asking] if asking >= 0 else [])], limit, outlets
            )
            if not ready.isdisjoint(outlets):
                outlet.flush()
            if asking in ready:
                self._hear_answer()
            if errors in ready:
                self._words = (self._words + self._read(errors))[-LAST_WORDS:]
            if from_far in ready:
                self._said += self._read(from_far)
                self._check(from_far)
            if time.monotonic() >= deadline and inside not in self._said:
                why = last_line(self._words, self._other_words)
                if begun(self._nonce) in self._said:
                    raise not_ready(why)
                raise unanswered_yet(self._job.timeout, why)

    @property
    def _other_words(self) -> bytes:
        return self._said.replace(begun(self._nonce), b"")

    def _hear_answer(self) -> None:
        assert self._asking is not None
        chunk = waiting.answered(self._asking)
        self._answer += chunk
        whole = chunk.endswith(b"\n") or len(self._answer) > waiting.MOST_ANSWER
        if whole or not chunk:
            self._asking.close()
            self._asking = None

    def _read(self, fd: int) -> bytes:
        chunk = os.read(fd, 65536)
        if not chunk:
            self._processes.close(fd)
        return chunk

    def _check(self, from_far: int) -> None:
        if len(self._said) > MOST_SAID:
            raise Lost("the connection command talks without end, and is not ready")
        error = f"filerep-{self._nonce} error ".encode()
        why, ended, _ = self._said.partition(error)[2].partition(b"\n")
        if ended:
            raise Lost(f"the far end refused: {one_line(os.fsdecode(why))}")
        if not self._processes.open([from_far]):
            words = self._job.connection
            status = self._processes.status_soon("connection", 1)
            if status is None:
                raise Lost(closed(words))
            hint = not_answered(words, status, self._job.args)
            why_ = last_line(self._words, self._other_words)
            raise unanswered(words, status, why_, hint)
