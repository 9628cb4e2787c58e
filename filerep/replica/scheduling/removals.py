"""When what is gone here is removed over there: at once, or first said and done in some seconds.

`rm -rf *` in the wrong directory would empty the far end a moment later. So when more than half
of a hundred files or more go at once, a line says so, and they are removed only after a time in
which they may come back, or the run be ended. All else that changes is sent meanwhile.

One rm is seen in pieces, the first of a few files. So how many go is known only when no more of
them go, and they wait for that: the longer, the more they are. They also wait until all that was
named with them has been looked at: when a directory gets another name, its files are over there
under the new one by then, and the old ones are no more than half of all.

Nobody is surprised when git removes: it holds `index.lock` meanwhile, and when it is done its
index does not name them any more.
"""

from __future__ import annotations

import itertools
import time

from filerep.replica.scheduling.queues import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

    from filerep.replica.known.table import Table

_MANY = 100  # files: with fewer, most of them go often
_FEW = 10
_FEW_PAUSE = 0.02  # seconds
_PAUSE = 0.1
_PATIENCE = 2.0
_LOCK_PATIENCE = 10.0
_BEFORE = 10.0
_GIT_BEFORE = 1.0  # git may have been done so long before its removals were seen


class Removals:
    """The paths that are gone here, and when they have their turn."""

    def __init__(
        self,
        clock: Callable[[], float],
        seconds: float,
        table: Table,
        say: Callable[[str], None],
        locked: Callable[[], bool] = lambda: False,
        by_git: Callable[[float, Iterable[bytes]], bool] = lambda since, paths: False,
    ) -> None:
        """``seconds`` is how long most of all wait; ``locked`` says whether git is changing the
        work tree, ``by_git`` whether it has removed these paths since then, by `time.time`.
        """
        self._clock = clock
        self.seconds = seconds
        self._table = table
        self._say = say
        self._locked = locked
        self._by_git = by_git
        self.queue = Paths()
        self.ready = False  # may they go now?
        self._passed = 0  # have gone shortly before these
        # How many files there were before all of them went, and until when that is of use.
        self._before: Optional[int] = None
        self._before_until = 0.0
        self._first = self._last = self._look = 0.0
        self._until: Optional[float] = None  # they are held

    @property
    def held(self) -> bool:
        return self._until is not None

    def put(self, path: bytes) -> None:
        """``path`` is gone here."""
        now = self._clock()
        if not self.queue:
            self._first = now
        if now - self._last > _PATIENCE:
            self._passed, self._before = 0, None
        self._last = now
        self.queue[path] = None

    def due(self) -> Optional[float]:
        """When to call ``judge``."""
        return None if self.ready or not self.queue else self._look

    def judge(self, more: bool) -> None:
        """Find out whether they may go; ``more`` is there to be looked at before."""
        now = self._clock()
        if not self.queue:
            if self.held:
                self._say("they are back here, so nothing is removed at the far end")
            self.ready, self._until = False, None
        elif self.ready or self._until is not None and now < self._look:
            pass
        elif not self.seconds or not self._may_be_many():
            self._open()
        elif self._until is not None and now >= self._until:
            self._open()
        elif more and len(self.queue) + self._passed >= _FEW:
            self._last = now
            self._look = now + _PAUSE
        elif self._until is None and self._goes_on(now):
            pass
        elif self._are_few():
            self._open()
        elif self._until is None:
            self._until = now + self.seconds
            self._look = now + _PAUSE
            self._announce()
        else:
            self._look = min(now + _PAUSE, self._until)

    def _open(self) -> None:
        self.ready, self._until = True, None
        self._passed += self._files()

    def _may_be_many(self) -> bool:
        """Has the far end so many files, or more?"""
        count = self._passed
        for names in self._table.directories.values():
            count += len(names)
            if count >= _MANY:
                return True
        return False

    def _goes_on(self, now: float) -> bool:
        """Are more of them to be expected?"""
        # What got another name is over there by that one: only its directories are left to go.
        few = self._passed + self._files(_FEW) < _FEW
        pause = _FEW_PAUSE if few else _PAUSE
        self._look = min(self._last + pause, self._first + _PATIENCE)
        if now < self._look:
            return True
        if few:
            return False
        if now - self._last < _LOCK_PATIENCE and self._locked():
            self._look = now + _PAUSE
            return True
        return False

    def _are_few(self) -> bool:
        """Is it no more than half of all, or git's doing?"""
        if len(self.queue) + self._passed <= _MANY / 2:
            return True
        gone, all_files = self._counts()
        now = self._clock()
        if self._before is None or now > self._before_until:
            self._before, self._before_until = all_files, now + _BEFORE
        # Half as many are left, though by other names, perhaps for the second time.
        left = all_files - gone
        if all_files < _MANY or left >= min(self._before, all_files) / 2:
            return True
        went = time.time() - (now - self._first)
        return self._by_git(went - _GIT_BEFORE, self.queue)

    def _counts(self) -> tuple[int, int]:
        """How many files go, and of how many, with those that have gone shortly before."""
        passed = self._passed
        return self._files() + passed, self._table.ours() + passed

    def _files(self, most: int | None = None) -> int:
        there = (path for path in self.queue if self._table.get(path) is not None)
        return sum(1 for _ in itertools.islice(there, most))

    def _announce(self) -> None:
        gone, all_files = self._counts()
        which = f"the last {self._files():,}" if self._passed else "they"
        self._say(
            f"{gone:,} of {all_files:,} files are gone here; {which} are removed at the far end in"
            f" {self.seconds:g} s, unless they come back (Ctrl-C keeps them there until the next start)"
        )
