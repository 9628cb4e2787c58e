"""Lines that stay, and below them, on a terminal, the bottom line.

That is the first of these that there is: the bar of the first copy, a burst of batches that
runs, a file that takes long. A burst stays as one line when it has been quiet for a moment, and
so does a line of the far end's that has not ended. Where there is no bottom line, a burst is a
line a second.

Drawing waits for nothing and comes after the work: who loops asks ``due`` when to call ``tick``.
"""

from __future__ import annotations

from filerep.wrapper.terminal.bursts import QUIET, TimedBurst
from filerep.wrapper.terminal.fartext import FarText, marked
from filerep.wrapper.terminal.formatting import beginning
from filerep.wrapper.terminal.screen import GREEN, RED
from filerep.wrapping import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional

    from filerep.wrapper.terminal.progressbar import Bar, OneFile
    from filerep.wrapper.terminal.screen import Screen

BUG = "internal error"
_FAILURES = ("cannot ", "not in sync", BUG, "the connection was lost")
_IN_SYNC = "in sync"


class Console:
    """What stands on a ``screen``, and what is to be drawn on it when."""

    def __init__(
        self, screen: Screen, clock: Callable[[], float], verbose: bool
    ) -> None:
        """Times are by ``clock``, in seconds. ``verbose``: bursts tell how they went."""
        self.screen = screen
        self._clock = clock
        self._verbose = verbose
        self._far = FarText(screen.encoding, screen.coloured)
        self._far_last = 0.0
        self._burst = TimedBurst(screen)
        self._bar: Optional[Bar] = None
        self._one_file: Optional[OneFile] = None

    # -- lines ------------------------------------------------------------------------

    def say(self, text: str, failure: bool = False) -> None:
        """A line of ours, after what the burst has come to."""
        self._end_burst()
        if failure or text.startswith(_FAILURES):
            self.screen.say(text, RED)
        elif text.startswith(_IN_SYNC):
            self.screen.say(text, GREEN, _IN_SYNC)
        else:
            self.screen.say(text)

    def far_end(self, data: bytes) -> None:
        """What a program wrote that is not ours: marked lines on a terminal, else bytes."""
        self._end_burst()
        if not self.screen.marks:
            self.screen.raw(data)
            return
        self._far_lines(self._far.feed(data))
        self._far_last = self._clock()
        if not self._far.partial:
            self._draw()

    def _far_lines(self, lines: list[str]) -> None:
        front, width = self.screen.front, self.screen.width
        room = max(width - columns(front), 1) if width else 0
        if lines:
            rows = [row for one in lines for row in marked(one, room)]
            self.screen.lines([front + row for row in rows])

    # -- the bottom line --------------------------------------------------------------

    @property
    def bar(self) -> Optional[Bar]:
        """How far the first copy has come."""
        return self._bar

    @bar.setter
    def bar(self, bar: Optional[Bar]) -> None:
        self._bar = bar
        self._draw()

    @property
    def one_file(self) -> Optional[OneFile]:
        """A file that takes long."""
        return self._one_file

    @one_file.setter
    def one_file(self, file: Optional[OneFile]) -> None:
        self._one_file = file
        self._draw()

    def clear(self) -> None:
        """What ran there does not go on."""
        self._bar = self._one_file = None
        self._end_burst()
        self._draw()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.clear()
        self._far_lines(self._far.end())
        self.screen.close()

    def batch(self, what: dict[str, Any]) -> None:
        """Take a batch, as it is reported, into the burst."""
        if self._one_file is not None:
            named = what["sent"] + what["removed"]
            all_named = len(named) == what["files"] + what["deletions"]
            if self._one_file.path in named or not all_named:
                self._one_file = None
        now = self._clock()
        self._burst.add(what, now)
        if self._burst.due() <= now:
            self._show_burst()

    def _show_burst(self) -> None:
        self._burst.drawn = self._clock()
        if self.screen.draws:
            self._draw()
        else:
            self._end_burst()

    def _end_burst(self) -> None:
        """Let what has come so far stay as a line."""
        if not self._burst:
            return
        text = self._burst.end(self.screen.room, self._verbose)
        self._draw()
        if text:
            self.screen.say(text)

    def _draw(self) -> None:
        if self._bar is not None:
            self.screen.draw(self._bar.text(self.screen.bottom_width))
        elif self._burst:
            room = self.screen.bottom_room  # what is wider cannot be drawn over
            text = self._burst.line(room, self._verbose)
            self.screen.draw_timed(beginning(text, room) if room else text)
        elif self._one_file is not None:
            width = self.screen.bottom_width
            self.screen.draw(beginning(self._one_file.text(width), width))
        else:
            self.screen.draw("")

    # -- when -------------------------------------------------------------------------

    def due(self) -> Optional[float]:
        """When ``tick`` is to be called, by the clock; None for never."""
        times = []
        if self._burst:
            times.append(self._burst.due())
        if self._far_waits:
            times.append(self._far_last + QUIET)
        return min(times, default=None)

    def tick(self) -> None:
        """Draw what is due."""
        now = self._clock()
        if self._burst and now >= self._burst.due():
            if now >= self._burst.over():
                self._end_burst()
            else:
                self._show_burst()
        if self._far_waits and now >= self._far_last + QUIET:
            self._far_lines(self._far.end())

    @property
    def _far_waits(self) -> bool:
        # Below a bar it would be drawn over at once.
        return bool(self._far.partial) and self._bar is None
