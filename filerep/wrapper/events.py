"""--events: what happens, as lines of JSON for other programs; docs/events.md is the contract.

It never holds up the replication. What the reader has not taken yet is kept, up to a bound; beyond
that events are left out, and the next one that fits is preceded by how many. A descriptor may
be shared with others, so it is not made non-blocking: what poll(2) says has room takes
PIPE_BUF bytes at once, and no more are written.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections import deque

from filerep import command
from filerep.command import USAGE, Stop
from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional

_PIECE = 4096  # PIPE_BUF
_MOST = 4 << 20
_LAST_SECONDS = 1.0  # for a reader to take what is left at the end


class Events:
    """Writes a line for each event, as fast as they are read."""

    def __init__(
        self,
        fd: int = -1,
        say: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.time,
        **always: Any,
    ) -> None:
        """Without ``fd`` nothing is told. ``say`` is told when nobody reads any more.

        ``always`` is in each.
        """
        self._always = always
        self.fd = fd
        self._say = say
        self._clock = clock
        self._lines: deque[bytes] = deque()
        self._waiting = 0  # bytes of them
        self._dropped = 0

    @property
    def wanted(self) -> bool:
        return self.fd >= 0

    @property
    def pending(self) -> bool:
        """Is there something to be written once ``fd`` can take it?"""
        return bool(self._lines) and self.wanted

    def tell(self, event: str, **what: Any) -> None:
        if self.wanted:
            self._add(self._left_out(), self._line(event, what))

    def pass_on(self, line: bytes) -> None:
        """A line that tells of an event already."""
        if self.wanted:
            self._add(self._left_out(), line)

    def _left_out(self) -> bytes:
        """The line that stands before one for which there is room again, if any does."""
        return self._line("dropped", {"count": self._dropped}) if self._dropped else b""

    def _add(self, before: bytes, line: bytes) -> None:
        room = self._waiting + len(line) <= _MOST
        if room and self._dropped:
            self._keep(before)
            self._dropped = 0
        if not room:
            self._dropped += 1
        else:
            self._keep(line)
        self.flush()

    def _line(self, event: str, what: dict[str, Any]) -> bytes:
        import json

        told = {"event": event, "time": round(self._clock(), 6)}
        told.update(self._always, **what)
        return json.dumps(told).encode() + b"\n"

    def _keep(self, line: bytes) -> None:
        self._lines.append(line)
        self._waiting += len(line)

    def flush(self, seconds: float = 0.0) -> None:
        """Write what can be written by now, or within ``seconds``."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        if self.wanted:
            poll.register(self.fd, select.POLLOUT)
        while self.pending:
            left = max(0.0, deadline - time.monotonic())
            if not poll.poll(left * 1000):
                return
            line = self._lines[0]
            try:
                count = os.write(self.fd, line[:_PIECE])
            except BlockingIOError:
                return
            except OSError as error:
                self._give_up(error)
                return
            self._waiting -= count
            if count == len(line):
                self._lines.popleft()
            else:
                self._lines[0] = line[count:]

    def _give_up(self, error: OSError) -> None:
        self.fd = -1
        why = "nobody reads them any more"
        if error.errno != errno.EPIPE:
            why = command.reason(error)
        self._say(f"cannot write events: {why}; it goes on without")

    def close(self) -> None:
        """Give a reader who is at work the time to take what is left."""
        if self._dropped:
            self._keep(self._line("dropped", {"count": self._dropped}))
        self.flush(_LAST_SECONDS)


def open_events(where: Optional[str], say: Callable[[str], None]) -> Events:
    """What writes to ``where``, a descriptor or a file; raises ``Stop``."""
    if where is None:
        return Events()
    if where == "-":
        said = "cannot write events to '-': standard output is --events 1"
        raise Stop(USAGE, f"{said}, a file of that name ./-")
    try:
        if where.isascii() and where.removeprefix("-").isdigit():
            fd = int(where)
            # What was opened here is closed when another program is run; what came from the
            # caller is not, or it would not be here.
            if not os.get_inheritable(fd):
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        else:
            # A fifo, which may have no reader yet, is opened for both, or it would be waited for.
            is_fifo = os.path.exists(where) and stat.S_ISFIFO(os.stat(where).st_mode)
            flags = os.O_RDWR | os.O_NONBLOCK if is_fifo else os.O_WRONLY | os.O_APPEND
            fd = os.open(where, flags | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (OSError, OverflowError) as error:
        why = command.reason(error) if isinstance(error, OSError) else "no descriptor"
        raise Stop(USAGE, f"cannot write events to {quote(where)}: {why}") from None
    return Events(fd, say)
