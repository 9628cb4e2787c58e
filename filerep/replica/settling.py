"""What is done when nothing else is: the steps from the first copy to "in sync" and the end.

In this order, as each may bring new work and what follows needs that done: what only earlier
runs knew is looked at, what only the far end has is removed (--mirror), the first copy is
done, the --on-sync command runs, those who wait are answered, "in sync" is told, the end.
"""

from __future__ import annotations

import time

from filerep.command import UNAVAILABLE
from filerep.pathstream import in_rows
from filerep.replica.known.table import place
from filerep.replica.onsync import OnSync
from filerep.replica.planning import mirror
from filerep.replica.transfer.economy import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

    from filerep.replica.known.forgotten import Forgotten
    from filerep.replica.known.inventory import Inventory
    from filerep.replica.options import Here, Options
    from filerep.replica.planning.plan import Plan
    from filerep.replica.reporting import Reporter
    from filerep.replica.scheduling.failures import Failures
    from filerep.replica.scheduling.restless import Restless
    from filerep.replica.scheduling.schedule import Schedule
    from filerep.replica.scheduling.unreadable import Unreadable

# Where changes never pause, so long is tried to reach a point with nothing under way.
_QUIET_WAIT = 0.5
_MANY_FILES = 100


class Settling:
    """Takes the next of these steps whenever nothing is under way or waits."""

    def __init__(
        self,
        here: Here,
        options: Options,
        schedule: Schedule,
        inventory: Inventory,
        plan: Plan,
        failures: Failures,
        unreadable: Unreadable,
        reporter: Reporter,
        on_sync: OnSync,
        restless: Restless,
        forgotten: Forgotten,
    ) -> None:
        self._source = here.source
        self._table = here.table
        self._rules = here.rules
        self._options = options
        self._schedule = schedule
        self._inventory = inventory
        self._plan = plan
        self._failures = failures
        self._unreadable = unreadable
        self._reporter = reporter
        self._on_sync = on_sync
        self._restless = restless
        self._forgotten = forgotten
        self._unseen_queued = False
        self._ignored = (
            0  # files that an earlier run sent, and that do not count by now
        )
        self.initial_done = False
        self.walked = False  # has fr-walk named anything?
        self._sync_points = 0
        self._awaited: Optional[float] = None  # since when `step` is waited for

    def nothing_unseen(self) -> None:
        """The far end is empty: nothing of an earlier run is there."""
        self._unseen_queued = True

    def changed(self, paths: Iterable[bytes]) -> None:
        """``paths`` were changed at the far end."""
        if self.initial_done:
            self._on_sync.changed(paths)

    def sync_point(self) -> None:
        """A script waits for what was named before this; told once nothing is left."""
        self._sync_points += 1
        self._failures.sync_point()
        self._schedule.again(self._unreadable.take())
        self._schedule.again(self._restless.owe())

    def holds_back(self) -> bool:
        """Is it time to take no more changes until all named so far is acknowledged?

        In a tree that never rests one is always under way, and who waits for the moment when
        none is would wait for ever. What fr-watch cannot hand over it merges, so nothing is
        lost and little delayed.
        """
        if not (self._sync_points or self._on_sync.presses() or not self.initial_done):
            self._awaited = None
            return False
        if self._schedule.removals.held:
            self._awaited = None
            return False  # they are what is waited for, and may come back
        if self._restless.owed and not self._on_sync.presses():
            return False  # the moment has come, and it is them who are waited for
        now = time.monotonic()
        if self._awaited is None:
            self._awaited = now
        return now - self._awaited > _QUIET_WAIT

    def in_the_first_copy(self) -> None:
        """There is much to come yet: nothing is held back."""
        self._awaited = None

    def step(self, run_on_sync: Callable[[], None], inputs_ended: bool) -> bool:
        """Nothing is left to do: take the next step. Is it the last?"""
        if not self._unseen_queued:
            self._unseen_queued = True
            self._queue_unseen()
            if self._schedule.bulk:
                return False
        if self._rules is not None and self._mirror():
            return False
        asked = bool(self._sync_points) or inputs_ended
        if self._forgotten.due(asked) and self._forgotten.look():
            self._unseen_queued = False  # what the listing will show is looked at so
            return False
        self._restless.settle()
        if (inputs_ended or not self.initial_done) and not self._owe():
            return False
        if not self.initial_done:
            self.initial_done = True
            self._reporter.first(
                self._options.initial,
                self._table.ours() - self._ignored,
                self._ignored,
                len(self._failures),
            )
            if not self._options.dry_run:
                self._schedule.removals.seconds = self._options.hold
                self._on_sync.copied()
        if self._on_sync.ready(inputs_ended):
            run_on_sync()
            return False
        if (
            self._sync_points
            and not self._restless.owed
            and not self._failures.before_sync_point()
        ):
            for _ in range(self._sync_points):
                missing = len(self._failures) + self._unreadable.count()
                self._reporter.sync_point(missing, self._on_sync.to_end)
            self._sync_points = 0
        if not self._failures:
            self._failures.all_well()
        self._reporter.sync(len(self._failures))
        busy = self._on_sync.due or self._on_sync.runs
        return inputs_ended and not busy and not self._failures.hurry()

    def _owe(self) -> bool:
        """Have those sent that rest; is there none left?"""
        self._schedule.again(self._restless.owe())
        return not self._restless.owed

    def _queue_unseen(self) -> None:
        """Look at what earlier runs have sent and this one has not seen.

        Raises ``Refused`` where that is all there ever was: a file system that is not mounted
        leaves an empty directory.
        """
        unseen = self._table.unseen()
        known = [path for path in unseen if not path.endswith(b"/")]
        files = [path for path in known if not self._plan.gone.is_there(path)]
        here = set(known).difference(files, self._failures.why)
        self._ignored = len(here)
        first = not (self.walked or self.initial_done)
        if self._options.delete and len(files) >= _MANY_FILES and first:
            raise Refused(
                UNAVAILABLE,
                f"the source is empty, and {len(files):,} files at the far end came from"
                " it: nothing was removed, as something may not be mounted here;"
                " --clean-out-first removes them",
            )
        bulk = self._schedule.bulk
        for directory, row in in_rows(files, self._schedule.name):
            bulk.add(directory, row)
        # The inner ones first, and behind what is in them.
        for path in reversed(unseen):
            if path.endswith(b"/"):
                bulk.add(place(path)[0], [path[:-1]])

    def _mirror(self) -> bool:
        """Queue what only the far end has, or ask for more listings; is there any of it?"""
        rules, inventory = self._rules, self._inventory
        assert rules is not None
        if not inventory.needed and inventory.impossible:
            raise Refused(UNAVAILABLE, "--mirror needs find or stat at the far end")
        links = mirror.links(self._table, rules, self._source)
        for directory in links:
            if inventory.needed and not inventory.asked(directory):
                inventory.ask(directory)
        if inventory.wanted:
            return True
        self._rules = None
        paths, count, files = mirror.victims(self._table, links, self._source)
        if self._options.mirror < 2 and files >= 100 and count > files / 2:
            raise Refused(
                UNAVAILABLE,
                f"--mirror would remove {count:,} of {files:,} files at the far end:"
                " nothing was removed; give --mirror twice if that is right",
            )
        mirror.claim(self._table, paths)
        for path in (path.rstrip(b"/") for path in paths):
            self._schedule.bulk.add(path.rpartition(b"/")[0], [path])
        return bool(self._schedule.bulk)
