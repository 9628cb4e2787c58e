"""Whole lines on stderr, and on a terminal one more at the bottom that is drawn over.

The bottom line is a bar, a count that still runs, or a line of the far end's that has not
ended. Whatever is written while it stands is written in its place, and it is drawn anew below.
Nothing but blanks and carriage returns is needed for that.
"""

from __future__ import annotations

import os
import time

from filerep.wrapper.terminal.formatting import beginning
from filerep.wrapping import (
    columns,
    is_terminal,
    is_tty,
    terminal_width,
    wrapped,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional, TextIO

RED, GREEN, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[0m"
_TIME = "%H:%M:%S "
_INDENT = len("00:00:00 ")


class Screen:
    """Writes to ``stream``, which is a terminal or is not; never raises for it."""

    def __init__(
        self,
        stream: Optional[TextIO],
        program: str,
        local_time: Callable[[], time.struct_time] = time.localtime,
        name: str = "",
    ) -> None:
        """With a ``name`` it stands in front of each line, and others write lines too."""
        self.front = f"{name}: " if name else ""
        self._stream = stream
        self._program = program
        self._local_time = local_time
        self._bottom = ""  # what stands in the bottom line
        self._left = True  # of a file: does it end with a line's end?
        self.terminal = is_terminal(stream)
        tty = is_tty(stream)  # a dumb terminal too
        self.marks = tty or bool(name)  # what others write, to be told from ours
        self.coloured = self.terminal and not os.environ.get("NO_COLOR")
        self.draws = self.terminal and not name  # is the bottom line ours?
        self.encoding = stream.encoding if stream and tty else "utf-8"

    @property
    def width(self) -> int:
        """Columns that a line may take, 0 for as many as it takes."""
        if not self.terminal or self._stream is None:
            return 0
        return terminal_width(self._stream)

    @property
    def room(self) -> int:
        """Columns beside the time of day, and the name."""
        taken = _INDENT + columns(self.front)
        return max(self.width - taken, 1) if self.width else 0

    @property
    def bottom_room(self) -> int:
        """The same in the bottom line."""
        return max(self.bottom_width - _INDENT, 1) if self.width else 0

    @property
    def bottom_width(self) -> int:
        """Columns of the bottom line; a ^C that is typed has its place behind it."""
        return max(self.width - len("^C"), 1) if self.width else 0

    def asked(self) -> bool:
        """Does somebody ask for a password here, whose question must stand last?"""
        if not self.terminal or self._stream is None:
            return False
        from filerep.wrapper.terminal.asking import hides_what_is_typed

        try:
            return hides_what_is_typed(self._stream.fileno())
        except (OSError, ValueError):
            return False

    # -- lines ------------------------------------------------------------------------

    def say(self, text: str, colour: str = "", what: str = "") -> None:
        """A line of our own. ``colour`` is for ``what`` it begins with, or for all of it.

        On a terminal the time of day stands in front, elsewhere the program's name.
        """
        if not self.terminal:
            self._write(f"{self._program}: {self.front}{text}\n")
            return
        said = wrapped(self._timed(self.front + text), self.width, _INDENT)
        if colour and self.coloured:
            begin = _INDENT + len(self.front)
            end = begin + len(what) if what else len(said)
            said = f"{said[:begin]}{colour}{said[begin:end]}{_PLAIN}{said[end:]}"
        self.lines([said])

    def to_margin(self) -> None:
        """Write over a ^C that the terminal has shown."""
        if self.terminal:
            self._write("\r")

    def lines(self, lines: list[str]) -> None:
        """Lines as they are."""
        bottom = self._bottom
        self.draw("")
        self._write("".join(f"{line}\n" for line in lines))
        self.draw(bottom)

    def raw(self, data: bytes) -> None:
        """The far end's bytes, into a file or a pipe."""
        if self._stream is None:
            return
        try:
            self._stream.flush()
            self._stream.buffer.write(data)
            self._stream.flush()
            self._left = data.endswith(b"\n")
        except (OSError, ValueError):
            self._stream = None

    # -- the bottom line --------------------------------------------------------------

    def draw(self, text: str) -> None:
        """Have ``text`` in the bottom line, in place of what stands there."""
        if not self.draws or not (text or self._bottom):
            return
        if not self._in_front():
            self._bottom = ""  # the line is another's by now, who may be typing there
            return
        if text == self._bottom:
            return
        left_over = columns(self._bottom) - columns(text)
        if text:
            self._write(f"\r{text}{' ' * left_over}")
        else:
            blank = max(columns(self._bottom), self.width)
            self._write(f"\r{' ' * blank}\r")
        self._bottom = text

    def _in_front(self) -> bool:
        """Is the terminal ours, and not the shell's again, as after Ctrl-Z and `bg`?"""
        try:
            group = os.tcgetpgrp(self._stream.fileno()) if self._stream else 0
        except (OSError, ValueError):
            return True  # it is not the one that we were started from
        return group in (0, os.getpgrp())  # 0 is one of another container

    def draw_timed(self, text: str) -> None:
        self.draw(beginning(self._timed(text), self.bottom_width))

    def _timed(self, text: str) -> str:
        return time.strftime(_TIME, self._local_time()) + text

    def close(self) -> None:
        """Leave the cursor at the left."""
        self.draw("")
        if not self._left:
            self._write("\n")

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            if not self._left:
                self._stream.write("\n")
            self._stream.write(text)
            self._stream.flush()
            self._left = self.terminal or text.endswith("\n") or not text
        except (OSError, ValueError):
            self._stream = None
