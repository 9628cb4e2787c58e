"""The signals that ask for the end, and waiting that they interrupt."""

from __future__ import annotations

import os
import select
import signal
import time

from filerep.command import BySignal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Optional

    from filerep.wrapper.events import Events
    from filerep.wrapper.terminal.display import Display

# Who sends a signal to all of us (timeout, a service manager) may come to this process last.
_ALL_OF_US = 0.1  # seconds

# Ctrl-C, a request, a terminal that was closed.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signalled(Exception):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = BySignal(128 + number)


class Signals:
    """Takes the signals that ask for the end; they are seen where something is waited for."""

    def __init__(self, display: Display, events: Events, parent: int = -1) -> None:
        """While something is waited for ``display`` draws, and ``events`` are written.

        ``parent``: a socket whose end asks for ours too, and whose other end acts on Ctrl-C.
        Nothing else can be read there while it is waited for something else.
        """
        self._parent = parent
        self._display = display
        self._events = events
        # Whoever started this may have blocked some, which outlives execve(2).
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._told, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        for number in (*_ENDING, signal.SIGCHLD):
            ignored = signal.getsignal(number) == signal.SIG_IGN  # nohup
            others = number == signal.SIGHUP or number == signal.SIGINT and parent >= 0
            if not (others and ignored):
                signal.signal(number, lambda *_: None)

    def poll(
        self,
        fds: Iterable[int],
        seconds: Optional[float],
        outlets: Iterable[int] = (),
    ) -> set[int]:
        """Which of ``fds`` can be read, and of ``outlets`` be written to.

        None waits for ever. The end of a child ends the wait too. Raises ``Signalled``.
        """
        poll = select.poll()
        for fd in [*fds, self._told]:
            poll.register(fd, select.POLLIN)
        for fd in outlets:
            poll.register(fd, select.POLLOUT)
        if self._parent >= 0:
            poll.register(self._parent, select.POLLIN)
        ready = self._ready(poll, seconds)
        if self._parent in ready:
            raise Signalled(signal.SIGTERM)
        if self._told in ready:
            for number in os.read(self._told, 64):
                if number in _ENDING:
                    raise Signalled(number)
        return ready

    def _ready(self, poll: select.poll, seconds: Optional[float]) -> set[int]:
        deadline = None if seconds is None else time.monotonic() + max(0.0, seconds)
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            drawing = self._display.due()
            first = drawing is not None and (left is None or drawing < left)
            shortest = drawing if first else left
            outlet = self._events.fd if self._events.pending else -1
            if outlet >= 0:
                poll.register(outlet, select.POLLOUT)
            told = poll.poll(None if shortest is None else shortest * 1000 + first)
            ready = {fd for fd, _ in told}
            if outlet >= 0:
                poll.unregister(outlet)
                ready.discard(outlet)
                self._events.flush()
            if ready or not told and not first:
                return ready
            if not told:
                self._display.tick()

    def wait_for_ours(self) -> None:
        """Something has ended; raises ``Signalled`` if that is because all are to end."""
        self.wait(_ALL_OF_US)

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass; raises ``Signalled``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.poll([], deadline - time.monotonic())
