"""The burst of batches that is under way: when it has to be shown, and when it is over."""

from __future__ import annotations

from filerep.wrapper.terminal.reportlines import Burst

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from filerep.wrapper.terminal.screen import Screen

# Seconds without a change after which a burst is over: this, or what its last batch took, as
# over a slow connection the next one is seen no sooner.
QUIET = 0.33
_SLOWEST = 3.0
_LONGEST = 60.0
_REDRAW = 0.1
_A_LINE = 1.0  # so often, where lines cannot be drawn over


class TimedBurst:
    """A burst, and the times that matter for it, by the display's clock."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._burst = Burst()
        self._began = self._last = 0.0
        self._quiet = QUIET
        self.drawn = -1.0  # when it was shown last

    def __bool__(self) -> bool:
        return bool(self._burst)

    def add(self, what: dict[str, Any], now: float) -> None:
        """Take in a batch, as it is reported."""
        if not self._burst:
            self._began = now - what["ms"] / 1000
        self._last = now
        self._quiet = max(QUIET, min(what["ms"] / 1000, _SLOWEST))
        self._burst.add(what, (now - self._began) * 1000)

    def due(self) -> float:
        """When it has to be shown, as it is or for the last time."""
        if self._screen.draws and self.drawn < self._last:
            return min(self.over(), self.drawn + _REDRAW)
        return self.over()

    def over(self) -> float:
        if not self._screen.draws:
            return self.drawn + _A_LINE
        return min(self._last + self._quiet, self._began + _LONGEST)

    def line(self, width: int, how: bool) -> str:
        """See `Burst.line`."""
        return self._burst.line(width, how)

    def end(self, width: int, how: bool) -> str:
        """Its last line; the next batch begins another."""
        burst, self._burst = self._burst, Burst()
        return burst.line(width, how)
