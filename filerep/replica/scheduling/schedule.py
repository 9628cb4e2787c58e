"""What is to be looked at, and in which order.

Each path waits in one of these places:

* ``urgent``: named by fr-watch. Goes before everything else.
* ``backlog``: urgent, but more than went into one batch: a tree that was moved in, say. What
  is named later goes before it, as somebody has saved that and looks at it now.
* ``removals``: gone, found by a look; mostly with what was urgent, see removals.py.
* ``bulk``: named by fr-walk, or found to be looked at again; read only as fast as it is used.
* ``later``: just emptied, say; urgent in a moment.
* ``big``: larger than a batch; when nothing else is to be done.

Besides, but not here: with the restless, until they have rested; in the inventory, until its
directory is listed; in the failures, with a time of its own; in a batch that is planned ahead.
"""

from __future__ import annotations

import heapq

from filerep.replica.scheduling.queues import Backlog, Paths, Rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional, Union

    from filerep.replica.scheduling.removals import Removals
    from filerep.replica.scheduling.restless import Restless

    Queue = Union[Paths, Rows]

_TURNS = 4  # batches, then one of what is less urgent


class Schedule:
    """The paths that wait, and which of them come next."""

    def __init__(
        self, clock: Callable[[], float], restless: Restless, removals: Removals
    ) -> None:
        self._clock = clock
        self._restless = restless
        self.removals = removals
        self.urgent = Paths()
        self.backlog = Backlog()
        self.bulk = Rows()
        self.big = Paths()
        self._later: list[tuple[float, bytes]] = []
        #: Of paths that have rested, those that still count.
        self.judge: Callable[[list[bytes]], list[bytes]] = lambda paths: paths
        self._turns = [0, 0]  # in a row, of what is urgent, and of what was

    def __bool__(self) -> bool:
        """Is there anything that could be looked at now?"""
        gone = self.removals.ready and self.removals.queue
        return bool(self.pressing or gone or self.bulk or self.big)

    @property
    def pressing(self) -> bool:
        """Is anything left of what fr-watch has named?"""
        return bool(self.urgent or self.backlog)

    @property
    def resting(self) -> bool:
        """Is anything to be looked at in a moment?"""
        return bool(self._later or self.removals.queue)

    def waits(self, path: bytes) -> bool:
        """Is ``path`` to be looked at as fr-watch has named it?"""
        return path in self.urgent or path in self.backlog

    def paths(self) -> list[bytes]:
        """All that wait here, and those that rest."""
        later = [path for _, path in self._later]
        pressing = (self.urgent, self.removals.queue, self.backlog)
        queues = (*pressing, self.bulk.paths(), self.big, later)
        return [path for queue in queues for path in queue] + self._restless.waiting()

    def name(self, path: bytes) -> None:
        """fr-watch has named ``path``. It comes behind what was named before, but for a backlog."""
        if self._restless.holds(path):
            return
        self.removals.queue.pop(path, None)
        self.backlog.pop(path, None)
        self.urgent[path] = None
        self.urgent.move_to_end(path)

    def again(self, paths: Iterable[bytes]) -> None:
        """Look at ``paths`` once more, soon."""
        for path in paths:
            self.urgent[path] = None

    def rested(self, paths: list[bytes]) -> None:
        """As `again`, of what waited for a time of its own."""
        self.again(self.judge(paths))

    def look_later(self, path: bytes, wait: float) -> None:
        heapq.heappush(self._later, (self._clock() + wait, path))

    def due(self) -> Optional[float]:
        """When the next of those that rest is to be looked at."""
        due = [self._restless.due(), self.removals.due()]
        due += [self._later[0][0]] if self._later else []
        return min((at for at in due if at is not None), default=None)

    def wake(self) -> None:
        """What has rested long enough is urgent now."""
        now = self._clock()
        woken = self._restless.wake()
        while self._later and self._later[0][0] <= now:
            woken.append(heapq.heappop(self._later)[1])
        self.rested(woken)
        self.gone()

    def gone(self) -> Optional[Paths]:
        """The queue of what is gone, if it may be removed now."""
        self.removals.judge(self.pressing)
        return self.removals.queue if self.removals.ready else None

    def turn(self, begun: bool = False) -> Optional[Queue]:
        """The queue that the next batch is filled from, None if all are empty.

        A large file that has ``begun`` goes before the next one; None is its turn, too. In a
        tree that never rests something is always urgent: so the others have a turn now and
        then, or the tree's other files would wait until this one rests.
        """
        last: Optional[Queue] = self.bulk or (None if begun else self.big or None)
        rest = begun or bool(last)
        earlier: Paths = self.gone() or self.backlog
        for level, queue in enumerate((self.urgent, earlier)):
            lower = rest or level == 0 and bool(earlier)
            if queue and not (lower and self._turns[level] >= _TURNS):
                self._turns[level] += 1
                return queue
            self._turns[level] = 0
        return last

    def put_behind(self) -> None:
        """What is urgent, but found no room, lets pass what will be named from now on."""
        self.backlog.append(self.urgent)
        self.urgent.clear()
