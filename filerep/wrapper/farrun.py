"""--run: a command at the far end, as if it had been started here."""

from __future__ import annotations

import errno
import os
import re
import signal
import time

from filerep.command import BySignal, OutputError, write_all
from filerep.pathstream import quote
from filerep.wrapper.endings import Lost, how_ended
from filerep.wrapper.signals import Signalled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Optional

    from filerep.wrapper.processes import Processes
    from filerep.wrapper.signals import Signals

_NAMES = {
    signal.SIGINT: b"INT",
    signal.SIGTERM: b"TERM",
    signal.SIGHUP: b"HUP",
    signal.SIGPIPE: b"PIPE",
}
# What does not end by the second Ctrl-C is left alone at the third.
_MOST_INTERRUPTS = 2
_GRACE = 2.0  # for what was asked to end
_BREATH = 0.2  # between the end of the connection, and of what it says
_LAST_WORDS = 1.0  # for what else comes behind the status
_MOST_STATUS = 3  # digits


class Output:
    """What comes from the command on stdout, and behind it its status: see run.sh."""

    def __init__(self, nonce: str) -> None:
        # What ends in the beginning of it waits for more: text never ends in this byte.
        self._marker = b"\xff" + f"filerep-{nonce} status ".encode()
        self._held = b""  # what may be the beginning of the marker
        self.status: Optional[int] = None

    def feed(self, chunk: bytes) -> bytes:
        """What of it is the command's, as soon as that can be told; raises ``Lost``."""
        data = self._held + chunk
        at = data.find(self._marker)
        if at < 0:
            at = data.rfind(b"\xff", -len(self._marker))
            if at < 0 or not self._marker.startswith(data[at:]):
                at = len(data)
        self._held = data[at:]
        told, ended, _ = self._held[len(self._marker) :].partition(b"\n")
        if ended and re.fullmatch(rb"[0-9]{1,%d}" % _MOST_STATUS, told):
            self.status = int(told)
        elif ended or len(told) > _MOST_STATUS:
            said = quote(told[: 2 * _MOST_STATUS])
            raise Lost(
                f"the far end says that it ended with {said}, which is no status"
            )
        return data[:at]


class FarRun:
    """Passes on what the command says, and the signals that are sent to us, until it ends."""

    def __init__(
        self,
        processes: Processes,
        signals: Signals,
        nonce: str,
        fds: tuple[int, int, int],
    ) -> None:
        """``fds`` are what the connection reads from, and its stdout and stderr."""
        self._processes = processes
        self._signals = signals
        self._output = Output(nonce)
        self._to_far, self._from_far, self._errors = fds
        self._sent: list[int] = []  # the signals
        self._sent_at = 0.0  # the last of them
        self._unread = False  # has a reader of its output gone?
        self._deadline: Optional[float] = None

    def run(self, words: Sequence[str], keepalive: float) -> int:
        """Let it begin; its exit status. ``words`` are the connection command.

        Where nobody reads its output any more, it gets a SIGPIPE, and so do we.
        Raises ``Lost``, ``Signalled`` if it goes on in spite of a signal or the connection
        command itself ends by it, and ``OutputError``.
        """
        self._tell(b"go")
        while self._output.status is None:
            # What the command has left behind may hold its output open after the end of all.
            ended = self._processes.status("connection") is not None
            heard = self._hear(_BREATH if ended else keepalive or None)
            if self._output.status is not None:
                break
            if not self._processes.open([self._from_far]) or ended and not heard:
                # A terminal sends Ctrl-C to the connection command too, and podman's ends by it.
                if self._sent and time.monotonic() - self._sent_at < _GRACE:
                    raise Signalled(self._sent[-1])
                raise self._lost(words)
            if not heard:
                self._tell(b"")
        self._tell(b"end")
        self._processes.close(self._to_far)
        self._hear_rest()
        status = 128 + signal.SIGPIPE if self._unread else self._output.status
        return BySignal(status) if status - 128 in self._sent else status

    def _lost(self, words: Sequence[str]) -> Lost:
        status = self._processes.stop("connection", 1)
        how = how_ended(words, status)
        return Lost(f"the connection was lost while the command ran ({how})")

    def _tell(self, line: bytes) -> None:
        try:
            for fd in self._processes.open([self._to_far]):
                os.write(fd, line + b"\n")
        except OSError:
            pass  # its end is seen where it is read from

    def _hear(self, seconds: Optional[float]) -> bool:
        """Pass on what comes; False if nothing does for ``seconds``."""
        fds = self._processes.open([self._from_far, self._errors])
        limit = seconds
        if self._deadline is not None:
            limit = max(0.0, self._deadline - time.monotonic())
        try:
            ready = self._signals.poll(fds, limit)
        except Signalled as error:
            self._pass_on(error)
            return True
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise Signalled(self._sent[-1])
        for fd in (self._errors, self._from_far):
            if fd in ready:
                self._pass(fd)
        return bool(ready)

    def _pass_on(self, error: Signalled) -> None:
        number = error.status - 128
        if self._sent.count(number) >= _MOST_INTERRUPTS:
            raise error
        self._send(number)
        if number != signal.SIGINT:  # that one is a question
            self._deadline = time.monotonic() + _GRACE

    def _send(self, number: int) -> None:
        self._sent.append(number)
        self._sent_at = time.monotonic()
        self._tell(_NAMES[signal.Signals(number)])

    def _pass(self, fd: int) -> None:
        chunk = os.read(fd, 65536)
        if not chunk:
            self._processes.close(fd)
        elif fd == self._errors:
            self._write(2, chunk)
        else:
            self._write(1, self._output.feed(chunk))

    def _write(self, fd: int, chunk: bytes) -> None:
        """Pass on ``chunk``; once a reader has gone, what comes is read and passed over.

        A connection command that can write no more would end, and might tell nothing of that to
        the far end: under podman exec the command was left running.
        """
        if self._unread:
            return
        try:
            write_all(fd, chunk)
        except OutputError as error:
            if error.errno != errno.EPIPE:
                raise
            self._unread = True
            self._send(signal.SIGPIPE)
            self._deadline = self._sent_at + _GRACE

    def _hear_rest(self) -> None:
        """What it has written to stderr may come behind its status.

        What it has started and left behind may hold that open for ever.
        """
        self._deadline = None
        end = time.monotonic() + _LAST_WORDS
        while self._processes.open([self._errors]) and time.monotonic() < end:
            ended = self._processes.status("connection") is not None
            if not self._hear(0 if ended else end - time.monotonic()) and ended:
                break
