"""How far the first copy has come, drawn as a bar as wide as the terminal lets it be.

Of one file that takes long, later, it is told in words.
"""

from __future__ import annotations

from filerep.wrapper.terminal.formatting import (
    countdown,
    ending,
    files,
    size,
    size_of,
)
from filerep.wrapping import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LEAST_CELLS, _FEW_CELLS = 20, 12  # the few where the terminal is narrow
_NARROW = 60
_FRAME = len("100% || ")
_MEMORY, _LEAST_TIME = 2.0, 0.02  # seconds


class Bar:
    """What was reported last, and how fast it goes."""

    def __init__(self, clock: Callable[[], float], unicode: bool) -> None:
        self._clock = clock
        self._unicode = unicode
        self._at = clock()
        self._rate = 0.0  # bytes a second
        self.files = self.bytes = 0
        self.of_files = self.of_bytes = 0  # 0 while nobody knows

    def update(self, what: dict[str, Any]) -> None:
        now = self._clock()
        passed = now - self._at
        if passed > _LEAST_TIME:
            rate = (what["bytes"] - self.bytes) / passed
            part = passed / (passed + _MEMORY) if self._rate else 1.0
            self._rate += part * (rate - self._rate)
        self._at = now
        self.files, self.bytes = what["files"], what["bytes"]
        if what["of_bytes"]:
            self.of_bytes = max(what["of_bytes"], self.bytes)
        if what["of_files"]:
            self.of_files = max(what["of_files"], self.files)

    def seconds_left(self) -> float:
        """For what is known to be left, 0 while that cannot be told."""
        return (self.of_bytes - self.bytes) / self._rate if self._rate else 0.0

    def text(self, width: int) -> str:
        """One line of at most ``width`` columns."""
        if not (self.of_bytes or self.bytes or self.files):
            return "sending"
        if not self.of_bytes:
            words = [size(self.bytes), files(self.files)]
            words += [self._speed()] if self._rate else []
            text = f"sending: {', '.join(words)}"
            return text if columns(text) <= width else text[:width]
        cells = _FEW_CELLS if width < _NARROW else _LEAST_CELLS
        words_ = self._words(width - _FRAME - cells)
        return self._drawn(width - _FRAME - len(words_)) + words_

    def _words(self, room: int) -> str:
        """As much as there is room for, and at least how much of how much."""
        done = size_of(self.bytes, self.of_bytes)
        count = f"{self.files:,} of {files(self.of_files)}"
        speed = left = []
        if self._rate:
            speed, left = [self._speed()], [f"{countdown(self.seconds_left())} left"]
        for words in (
            [done, count, *speed, *left],
            [done, count, *left],
            [done, *speed, *left],
            [done, *left],
        ):
            text = ", ".join(words)
            if len(text) <= room:
                return text
        return done if len(done) <= room else ""

    def _speed(self) -> str:
        return f"{size(self._rate)}/s"

    def _drawn(self, cells: int) -> str:
        """The percentage and the bar of so many ``cells``."""
        from tqdm import tqdm

        return str(
            tqdm.format_meter(
                self.bytes,
                self.of_bytes,
                0,
                ncols=cells + _FRAME,
                bar_format="{percentage:3.0f}% |{bar}| ",
                ascii=not self._unicode,
            )
        )


class OneFile(Bar):
    """The same of a single file, in words: there may be saves to tell of, too."""

    def __init__(self, clock: Callable[[], float], path: str) -> None:
        super().__init__(clock, False)
        self.path = path  # quoted

    def told(self, what: dict[str, Any]) -> None:
        """Take in what is reported of it. One that was changed meanwhile begins anew."""
        if what["bytes"] < self.bytes:
            self.bytes, self._rate = what["bytes"], 0.0
        self.update({**what, "files": 0, "of_files": 1})

    def text(self, width: int) -> str:
        """One line of at most ``width`` columns, or as little as is of any use."""
        named = f"{ending(self.path, width // 3)}: {size_of(self.bytes, self.of_bytes)}"
        speed = left = ""
        if self._rate:
            speed = f", {self._speed()}"
            left = f", {countdown(self.seconds_left())} left"
        for text in (f"sending {named}{speed}", f"sending {named}", named):
            if columns(text + left) <= width:
                return text + left
        return named
