"""When the --on-sync command runs at the far end, and which names it is given.

One save is often several changes, and a formatter or `git switch` many: so it runs once they have
paused for a moment, and not while git holds `index.lock`, as what is there then is half of one
commit and half of another. Changes that never pause are not waited for long, and a lock that
nobody has taken away not for ever.
"""

from __future__ import annotations

from filerep.pathstream import WHOLE_TREE, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

NAMES = b".changed"  # the member of a batch that holds the names, see on_sync.sh

_PAUSE = 0.2  # seconds
_PATIENCE = 2.0
_LOCK_PATIENCE = 10.0  # since the last change: git may be at work between two
_LOCK_LOOK = 0.05
_MOST_NAMES = 50_000


class OnSync:
    """Knows what has changed since the command began last, and whether it runs."""

    def __init__(
        self, wanted: bool, clock: Callable[[], float], locked: Callable[[], bool]
    ) -> None:
        """``locked`` says whether git is changing the work tree."""
        self._wanted = wanted
        self._clock = clock
        self._locked = locked
        self._names: dict[bytes, None] = {}
        self._since: Optional[float] = None  # of the first change it has not run for
        self._last = 0.0
        self._look = 0.0  # at the lock again
        self._was_locked = False
        self._began: Optional[float] = None  # when what runs was started

    @property
    def due(self) -> bool:
        """Is it to be run, now or in a moment?"""
        return self._since is not None

    @property
    def runs(self) -> bool:
        return self._began is not None

    @property
    def to_end(self) -> int:
        """How many runs will have ended once one has seen all there is by now."""
        return self.due + self.runs

    def changed(self, paths: Iterable[bytes]) -> None:
        """``paths`` were changed at the far end."""
        if not self._wanted:
            return
        self._last = self._clock()
        if self._since is None:
            self._since = self._last
        if WHOLE_TREE not in self._names:
            self._names.update(dict.fromkeys(paths))
            if len(self._names) > _MOST_NAMES:
                self._names = {WHOLE_TREE: None}

    def copied(self) -> None:
        """The first copy is done; there is nothing more to wait for."""
        self.changed([WHOLE_TREE])
        self._last -= _PAUSE

    def next(self) -> Optional[float]:
        """When ``ready`` may have become true, None if only an event can bring that."""
        if self._since is None or self.runs:
            return None
        paused = min(self._last + _PAUSE, self._since + _PATIENCE)
        return max(paused, self._look)

    def ready(self, at_the_end: bool = False) -> bool:
        """Is this the moment to run it? ``at_the_end`` there is no pause to wait for."""
        due = self.next()
        now = self._clock()
        if due is None or (now < due and not at_the_end):
            return False
        if now - self._last < _LOCK_PATIENCE and self._locked():
            self._look, self._was_locked = now + _LOCK_LOOK, True
            return False
        if self._was_locked:
            # What git did last may be on its way here yet.
            self._look, self._was_locked = now + _PAUSE, False
            return at_the_end
        return True

    def presses(self) -> bool:
        """Is it ready, but for changes that come and come?"""
        due = self.next()
        return due is not None and self._clock() >= due and self.ready()

    def begin(self) -> bytes:
        """It is started now: the names of what has changed since it was last."""
        names = encode(self._names)
        self._names, self._since = {}, None
        self._began = self._clock()
        return names

    def ended(self) -> float:
        """It has ended; how many milliseconds it took."""
        began, self._began = self._began, None
        return 0.0 if began is None else (self._clock() - began) * 1000
