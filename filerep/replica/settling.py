"""What is done when nothing else is: the steps from the first copy to "in sync" and the end.

In this order, as each may bring new work and what follows needs that done: what only earlier
runs knew is looked at, what only the far end has is removed (--mirror), the first copy is
done, the --on-sync command runs, those who wait are answered, "in sync" is told, the end.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Optional

    from filerep.replica.known.table import Table
    from filerep.replica.leftovers import Leftovers
    from filerep.replica.onsync import OnSync
    from filerep.replica.options import Options
    from filerep.replica.reporting import Reporter
    from filerep.replica.scheduling.missing import Missing
    from filerep.replica.scheduling.schedule import Schedule

# Where changes never pause, so long is tried to reach a point with nothing under way.
_QUIET_WAIT = 0.5


class Settling:
    """Takes the next of these steps whenever nothing is under way or waits."""

    def __init__(
        self,
        options: Options,
        table: Table,
        schedule: Schedule,
        missing: Missing,
        leftovers: Leftovers,
        reporter: Reporter,
        on_sync: OnSync,
    ) -> None:
        self._options = options
        self._table = table
        self._schedule = schedule
        self._missing = missing
        self._leftovers = leftovers
        self._reporter = reporter
        self._on_sync = on_sync
        self.initial_done = False
        self._sync_points = 0
        self._awaited: Optional[float] = None  # since when `step` is waited for
        self._large: Optional[bytes] = None  # the last large file of then
        self._entered = 0  # to the backlog by then
        self._owed: set[bytes] = set()  # for the first "in sync", or for the end

    def changed(self, paths: Iterable[bytes]) -> None:
        """``paths`` were changed at the far end."""
        if self.initial_done:
            self._on_sync.changed(paths)

    def sync_point(self) -> None:
        """A script waits for what was named before this; told once nothing is left."""
        self._sync_points += 1
        self._schedule.rested(self._missing.sync_point())

    def holds_back(self, in_pieces: Sequence[bytes]) -> bool:
        """Is it time to take no more changes until all named so far is acknowledged?

        In a tree that never rests one is always under way, and who waits for the moment when
        none is would wait for ever. What fr-watch cannot hand over it merges, so nothing is
        lost and little delayed. The backlog of then and its large files, one of which goes
        ``in_pieces``, take their time, in which saves go on; what is named later may be without
        end.
        """
        if not (self._sync_points or self._on_sync.presses() or not self.initial_done):
            self._awaited = None
            return False
        if self._schedule.removals.held:
            self._awaited = None
            return False  # they are what is waited for, and may come back
        if self._missing.restless.owed and not self._on_sync.presses():
            return False  # the moment has come, and it is them who are waited for
        now, big, backlog = time.monotonic(), self._schedule.big, self._schedule.backlog
        if self._awaited is None:
            self._awaited = now
            self._large = next(reversed(big or in_pieces), None)
            self._entered = backlog.entered
        large = self._large in big or self._large in in_pieces
        if large or backlog.left < self._entered:
            self._awaited = now
        return now - self._awaited > _QUIET_WAIT

    def in_the_first_copy(self) -> None:
        """There is much to come yet: nothing is held back."""
        self._awaited = None

    def step(self, run_on_sync: Callable[[], None], inputs_ended: bool) -> bool:
        """Nothing is left to do: take the next step. Is it the last?"""
        if self._leftovers.queue(bool(self._sync_points) or inputs_ended):
            return False
        self._missing.restless.settle(bool(self._sync_points))
        if (inputs_ended or not self.initial_done) and not self._owe():
            return False
        if not self.initial_done:
            self._finish_first_copy()
        if self._on_sync.ready(inputs_ended):
            run_on_sync()
            return False
        if self._sync_points and not self._missing.before_sync_point():
            for _ in range(self._sync_points):
                self._reporter.sync_point(self._missing.count(), self._on_sync.to_end)
            self._sync_points = 0
        failures = self._missing.failures
        if not failures:
            failures.all_well()
        self._reporter.sync(len(failures))
        unreadable = self._missing.unreadable
        self._reporter.unread(unreadable.count(), unreadable.first())
        busy = self._on_sync.due or self._on_sync.runs
        return inputs_ended and not busy and not failures.hurry()

    def _finish_first_copy(self) -> None:
        self.initial_done = self._leftovers.walked = True
        self._owed.clear()
        ignored, failed = self._leftovers.ignored, self._missing.failures.why
        doubted = sum(1 for path in failed if self._table.get(path) is not None)
        self._reporter.first(
            self._options.initial and self._options.since_ns is None,
            self._table.ours() - ignored - doubted,
            ignored,
            len(failed),
        )
        if not self._options.dry_run:
            self._schedule.removals.seconds = self._options.removal.hold
            self._on_sync.copied()

    def _owe(self) -> bool:
        """Have those sent that rest, each once; is there none left?"""
        restless = self._missing.restless
        owed = restless.owe(self._owed)
        self._owed.update(owed)
        self._schedule.rested(owed)
        return not restless.owed
