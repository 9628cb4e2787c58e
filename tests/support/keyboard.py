"""A shell at a pseudo-terminal, into which a test types."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Iterator, Sequence

from programs import Running, Word, environment, wait_for


class Keyboard:
    """What is typed into a program in the foreground of its own terminal, and shown by it."""

    def __init__(self, argv: Sequence[Word], columns: int = 80, **env: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.shown = bytearray()
        threading.Thread(target=self._collect, daemon=True).start()
        self.program = Running(
            argv,
            environment(TERM="xterm", LC_ALL="C.UTF-8", PS1="$ ", **env),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            # The session is new; the terminal becomes its own.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def _collect(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self.master, 1 << 16):
                self.shown += chunk

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def text(self) -> str:
        """All that it has shown, but for readline's way to tell a paste from typing."""
        return re.sub("\x1b\\[\\?2004[hl]\r?", "", self.shown.decode(errors="replace"))

    def shows(self, text: str, count: int = 1, timeout: float = 20) -> None:
        """Wait until it has shown ``text``, ``count`` times in all."""
        wait_for(lambda: self.text().count(text) >= count, timeout, what=self.text)


@contextlib.contextmanager
def bash(columns: int = 80, **env: str) -> Iterator[Keyboard]:
    """An interactive bash with the prompt ``$ `` and nothing of the user's own."""
    keyboard = Keyboard(["bash", "--norc", "--noprofile", "-i"], columns, **env)
    try:
        keyboard.shows("$ ")
        yield keyboard
    finally:
        keyboard.program.close()
