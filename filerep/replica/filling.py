"""Batches are filled here, from what the schedule says is next."""

from __future__ import annotations

import time

from filerep.farend.batch import Batch
from filerep.replica.scheduling.inflight import NotInThisBatch, Sent
from filerep.replica.scheduling.queues import Paths, Rows
from filerep.replica.transfer.economy import TINY
from filerep.replica.transfer.pace import MOST_FILES

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Optional

    from filerep.farend.ways import Way
    from filerep.replica.known.inventory import Inventory
    from filerep.replica.planning.plan import Plan
    from filerep.replica.scheduling.failures import Retry
    from filerep.replica.scheduling.inflight import Flight
    from filerep.replica.scheduling.judging import Judging
    from filerep.replica.scheduling.removals import Removals
    from filerep.replica.scheduling.schedule import Queue, Schedule
    from filerep.replica.scheduling.since import Since
    from filerep.replica.transfer.economy import Economy
    from filerep.replica.transfer.pace import Pace
    from filerep.replica.transfer.pieces import Pieces

MOST_PATHS = 12 if TINY else MOST_FILES
_AHEAD_TIME = 0.005


class Filler:
    """Takes paths from the queues and has the plan put what follows into a batch."""

    def __init__(
        self,
        staging: bytes,
        schedule: Schedule,
        flight: Flight,
        inventory: Inventory,
        pace: Pace,
        economy: Economy,
        judging: Judging,
        since: Since,
        on_sync_point: Callable[[], None],
    ) -> None:
        self._staging = staging
        self._schedule = schedule
        self._flight = flight
        self._inventory = inventory
        self._pace = pace
        self._economy = economy
        self._judging = judging
        self._since = since
        self._on_sync_point = on_sync_point
        self.plan: Plan  # which is told of this filler's rules for large files
        self.pieces: Pieces

    def command(self, *commands: bytes) -> Sent:
        """A batch of nothing but these lines."""
        sent = self._new()
        sent.batch.commands += commands
        return sent

    def _new(self, retry: Retry | None = None) -> Sent:
        most = min(self._pace.files, MOST_PATHS)
        return Sent(Batch(self._staging, self._pace.limit, most), retry)

    def from_queue(self, queue: Queue) -> Sent:
        sent = self._new()
        schedule = self._schedule
        self._fill(sent, queue)
        if queue is schedule.urgent:
            schedule.put_behind()
        saves = queue is schedule.urgent or queue is schedule.backlog
        if saves and not schedule.pressing:
            gone = schedule.gone()
            if gone:
                self._fill(sent, gone)
        return sent

    def from_retry(self, retry: Retry) -> tuple[Sent, list[bytes]]:
        """What has failed, as a batch of its own, and what found no room in it."""
        # It may have waited for long, and be ignored by now.
        self._schedule.again(self._judging.edited())
        queue = Paths((path, None) for path in retry.paths)
        sent = self._new(retry)
        self._fill(sent, queue)
        return sent, list(queue)

    def planned_ahead(self) -> Sent | None:
        """The batch that is planned ahead, which is about to be sent, filled up."""
        sent, self._flight.ahead = self._flight.ahead, None
        if sent is not None and not self._schedule.pressing:
            self._fill(sent, self._schedule.bulk)
        return sent

    def plan_ahead(self) -> bool:
        """Plan the next batch of what fr-walk named, a row a call; is there more to plan?

        That hides the time it takes behind the far end's, which has two batches to deal with.
        """
        if self._schedule.pressing or not self._schedule.bulk:
            return False
        ahead = self._flight.ahead
        if ahead is None:
            ahead = self._flight.ahead = self._new()
        elif ahead.batch.full:
            return False
        before = ahead.taken
        self._fill(ahead, self._schedule.bulk, 1)
        return ahead.taken > before

    def piece(self) -> Sent:
        """The next piece of a large file, unless that is ignored by now, or has another's name."""
        sent = self._new()
        for path in self.pieces.paths():
            if not self._judging.sift([path]) or self._gives_way(path):
                self.pieces.abandon(path)
                return sent
        self.pieces.next(sent, self.plan.place)
        return sent

    def _gives_way(self, path: bytes) -> bool:
        try:
            return self.plan.gives_way(path)
        except OSError:
            return False  # who goes on with it looks, too

    def answered(self, sent: Sent, now: float) -> None:
        """The far end has answered ``sent``."""
        self._pace.answered(sent, now)
        if self._flight.ahead is not None:
            self._flight.ahead.batch.limit = self._pace.limit
            self._flight.ahead.batch.most = min(self._pace.files, MOST_PATHS)

    def look_ahead(self) -> bool:
        """Use the time that the far end takes to list; is there more to look at?"""
        bulk = self._schedule.bulk
        while bulk:
            directory, row = bulk.take()
            if self._inventory.knows(directory):
                bulk.put_back(directory, row)
                break
            self._inventory.wait(directory, row)
        until = time.monotonic() + _AHEAD_TIME
        while self._inventory.look_ahead(self.plan.altered):
            if time.monotonic() > until:
                return True
        return False

    def removals(self, sent: Sent, queue: Queue) -> Optional[Removals]:
        """Where what is gone waits for the turn of all that is, unless that has come."""
        removals = self._schedule.removals
        return None if sent.retry or queue is removals.queue else removals

    def put_off(
        self,
        path: bytes,
        status: os.stat_result,
        way: Optional[Way],
        sent: Sent,
        queue: Queue,
    ) -> bool:
        """Leave a large file for when nothing else is to be sent, or begin with its pieces.

        Raises ``NotInThisBatch`` if another goes in pieces now.
        """
        size = status.st_size if way is None else way.size
        schedule = self._schedule
        if sent.retry:
            self.pieces.abandon(path)
            return False
        if self.pieces.takes(path, status):
            return True
        if self._economy.in_pieces(size):
            if queue is not schedule.big:
                schedule.big[path] = None
            elif self.pieces:
                # Put behind the others it would come again, and so would they: for ever.
                raise NotInThisBatch
            else:
                self.pieces.begin(path, status, way)
            return True
        if size <= self._pace.limit or queue is schedule.big:
            return False
        if not (sent.batch.members or schedule.pressing):
            return False
        schedule.big[path] = None
        return True

    def _fill(self, sent: Sent, queue: Queue, rows: int = 1 << 62) -> None:
        """Take from ``queue`` what makes a batch, or all of it that needs nothing."""
        again = self._schedule.urgent if isinstance(queue, Rows) else queue
        left = 4 * MOST_PATHS
        while queue and left > 0 and rows > 0 and not sent.batch.full:
            directory, row = queue.take()
            if len(row) > left:
                queue.put_back(directory, row[left:])
                del row[left:]
            rows -= 1
            left -= len(row)
            sent.taken += len(row)
            if row[0] == b".":
                self._on_sync_point()
                continue
            if row[0].endswith(b"/"):
                self.plan.gone.verify(row[0], again)
                continue
            row = self._judging.sift(row)
            if not row:
                continue
            if not self._inventory.knows(directory):
                self._inventory.wait(directory, row)
            else:
                if queue is self._schedule.bulk:
                    row = self._since.listed(row)
                done = self.plan.row(directory, row, sent, again) if row else 0
                if done < len(row):
                    queue.put_back(directory, row[done:])
                    sent.taken -= len(row) - done
                    return
