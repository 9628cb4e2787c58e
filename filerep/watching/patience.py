"""How long names wait for inputs of the rules that are being written."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Nothing waits for longer, however often an input is written, nor for a row of them, one after
# the other.
MOST_SECONDS, _IN_A_ROW = 0.5, 2.0


class Patience:
    """For each input its own while: another may be edited just as that of the first is over.

    Otherwise a rule file that was removed half a second before would have what another file
    hides be named, as that was made just now and has not been read yet.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[bytes, float] = {}  # that it is waited for, by input
        # When the wait for some of them, one after the other, began.
        self._began: float | None = None

    def over(self, inputs: Iterable[bytes], most: float = MOST_SECONDS) -> bool:
        """Is none of these, all that are being written now, to be waited for any longer?"""
        now = self._clock()
        self._since = {one: self._since.get(one, now) for one in inputs}
        if all(now >= since + most for since in self._since.values()):
            self._began = None
            return True
        if self._began is None:
            self._began = now
        if now < self._began + max(most, _IN_A_ROW):
            return False
        self._since = dict.fromkeys(self._since, float("-inf"))
        self._began = None
        return True

    def forget(self) -> None:
        """The next time they are waited for as long."""
        self._since.clear()
        self._began = None
