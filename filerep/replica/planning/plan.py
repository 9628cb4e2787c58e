"""What follows from a look: what to send, what to remove, and what the table says then.

The one rule: look at the path now. It is there, and the far end has something else: send
it. It is gone, and the far end has it: remove it. What is a directory here, and was a file or
nothing there, needs nothing by itself: directories exist at the far end because files in
them do.

The table is changed when a batch is planned (what it removes) and when it is about to be sent
(what it puts there), not when it is acknowledged: a path named twice is compared with what is
under way, and the next batch can be planned while this one is being sent. When a batch fails,
what it changed is doubted (see undo.py) and looked at again.
"""

from __future__ import annotations

import os
import stat
import time

from filerep.replica.known import entries
from filerep.replica.known.inventory import STAGING_PREFIX
from filerep.replica.known.unchanged import unchanged
from filerep.replica.planning.deletions import Deletions
from filerep.replica.planning.echoes import Echoes
from filerep.replica.planning.fastpath import FastPath
from filerep.replica.planning.gone import Gone
from filerep.replica.planning.placing import Placing
from filerep.replica.planning.spelling import Spelling
from filerep.replica.planning.twins import Twins, one_name
from filerep.replica.scheduling.inflight import NotInThisBatch
from filerep.replica.scheduling.unreadable import LIST, OfMany
from filerep.source import changed_meanwhile, kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

    from filerep.replica.planning.sides import Aside, Sides
    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.scheduling.queues import Paths
    from filerep.replica.transfer.reuse import Reuse

# How long a file that was just emptied is given to be written, in seconds.
EMPTIED_WAIT = 0.05
_JUST = 50_000_000  # the same in ns

_NO_LINKS = OfMany(
    "the far end's file system has no symbolic links, so others are missing, too"
)
# A path there is no longer than PATH_MAX of Linux, with what stands before it in the staging
# directory. What is longer, tars write or do not, and no shell removes it.
_LONGEST = 4095 - len(b"./.filerep-01234567-0123456789abcdef/000/")
_LONGEST_NAME = 255
_TOO_LONG = OfMany("the path is too long for the far end, so others are missing, too")


class Plan:
    """Looks at paths and puts what follows into a batch, or the path aside."""

    def __init__(
        self,
        sides: Sides,
        aside: Aside,
        reuse: Reuse,
        twins: Optional[Twins] = None,
        on_spelled: Callable[[bytes], None] = lambda path: None,
    ) -> None:
        """``twins``: the far end folds names; ``on_spelled`` is told of a directory that
        gets another name there.
        """
        source, table = sides.source, sides.table
        self._source = source
        self._table = table
        self._deletes = sides.deletes
        self._has_links = sides.has_links
        self._aside = aside
        self._reuse = reuse
        self._twins = twins
        self._emptied: dict[bytes, int] = {}  # since when, in ns
        self._echoes = Echoes(source, sides.times_links)
        self._spelling = (
            Spelling(source, table, twins, aside.later, on_spelled) if twins else None
        )
        deletions = Deletions(table, sides.complete, reuse, self._spelling)
        self.gone = Gone(sides, aside, deletions)
        self._placing = Placing(sides, aside, reuse, self._echoes, deletions)
        self.place = self._placing.file
        self._fast = FastPath(sides, aside, self._placing.claim, reuse, self.gone)
        self.altered = self._fast.altered

    def named(self, path: bytes, directory: bool) -> None:
        """``path`` is to be looked at whatever is there; it was a ``directory`` then."""
        self.gone.name(path, directory)

    def arrived(self, sent: Sent, paths: Iterable[bytes]) -> None:
        """These ``paths`` of ``sent`` are over there as they were sent."""
        self._echoes.arrived(paths, sent.echoes)

    def row(
        self, directory: bytes, paths: list[bytes], sent: Sent, queue: Paths
    ) -> int:
        """Look at ``paths``, all in ``directory``, until the batch is full; at how many?"""
        done = 0
        while done < len(paths) and not sent.batch.full:
            if self._twins is None and len(directory) < _LONGEST - _LONGEST_NAME:
                done = self._fast.look(directory, paths, done, sent)
            if done == len(paths) or sent.batch.full:
                break
            if not self.look(paths[done], sent, queue):
                break
            done += 1
        return done

    def look(self, path: bytes, sent: Sent, queue: Paths) -> bool:
        """Look at ``path`` and plan what follows from it; False: not in this batch.

        One batch has one plan for a path. Were there two, what came of them could not be
        told apart: one torn, say, and one whole.
        """
        if b"/" not in path and path.startswith(STAGING_PREFIX):
            return True
        if path in sent.planned or path in sent.batch.staged:
            return False
        gone_only = self.gone.looked_at(path)
        try:
            status = self._source.look(path)
            found = kind(status)
            is_file = found == stat.S_IFREG or found == stat.S_IFLNK
            unnamed = gone_only or path in self.gone.directories
            if is_file and unnamed and self._table.get(path) is None:
                self.gone.hidden(path, sent, queue)
            elif is_file:
                assert status is not None
                if path in self._aside.failing:
                    return True  # it has its own time
                if self._source.left_out(path, status):
                    return True
                if self.gives_way(path):
                    return True
                if len(path) > _LONGEST:
                    self._aside.unreadable("send", path, _TOO_LONG)
                    return True
                if found == stat.S_IFLNK and not self._has_links:
                    self._aside.unreadable("send", path, _NO_LINKS)
                    if self.gone.was_ours(path):
                        self.gone.absent(path, sent, queue)
                    return True
                if self._spelling:
                    self._spelling.spell(path, sent)
                self._plan_file(path, status, sent, queue)
            elif found == stat.S_IFDIR:
                if len(path) > _LONGEST:
                    return True  # what is in it is refused
                assert status is not None
                if self._spelling and not gone_only:
                    self._spelling.spell_first(path, sent)
                self._placing.directory(path, status, sent)
                self._enter(path)
            else:
                self.gone.absent(path, sent, queue)
        except NotInThisBatch:
            return False
        except OSError as error:
            if changed_meanwhile(error):
                self._aside.later(path, EMPTIED_WAIT)
            else:
                self._aside.unreadable("read", path, error)
        return True

    def _enter(self, path: bytes) -> None:
        """What is in a directory that cannot be read is missing over there."""
        try:
            with os.scandir(self._source.directory(path)) as entries:
                next(entries, None)
        except OSError as error:
            if not changed_meanwhile(error):
                self._aside.unreadable(LIST, path, error)

    def _plan_file(
        self,
        path: bytes,
        status: os.stat_result,
        sent: Sent,
        queue: Paths,
    ) -> None:
        link = stat.S_ISLNK(status.st_mode)
        target = b""
        if link:
            target = self._source.target(path)
        if unchanged(self._table, path, status, target):
            self._placing.claim(path, sent)
            if link or not self._reuse.checks:
                return
            way = self._reuse.check(path, status)
            if way is not None:
                sent.batch.add(path, status, b"", [], way)
                sent.planned.add(path)
                return
        if path in self._table.directories:
            if self.gone.replaced(path, sent, queue):
                return
        if not link and self._was_just_emptied(path, status):
            self._aside.later(path, EMPTIED_WAIT)
            return
        value = self._table.get(path)
        crossing = self._echoes.crosses(path, status, value) if value else 0.0
        if crossing:
            self._aside.later(path, crossing)
            return
        way = None if link else self._reuse.looks_same(path, status)
        known = way is None and value is not None
        if known and value and self._echoes.heard(path, status, target, value):
            value = entries.entry(status, entries.OURS)
            self._table.put(path, value)
            self._table.adopted.append((path, value))
            self._placing.claim(path, sent)
            return
        if way is None and not link:
            way = self._reuse.way(path, status)
        if way is not None and way.verb == b"take":
            # It is taken by a link. Both names would be one file, were the other one to stay.
            if not self._deletes or way.source in sent.planned:
                way.verb = b"copy"
        if not link and self._aside.too_big(path, status, way, sent, queue):
            return
        self.place(path, status, target, sent, way)

    def _was_just_emptied(self, path: bytes, status: os.stat_result) -> bool:
        """Is it about to be written, as by most programs that save in place?

        One that is emptied again and again is sent as it is: who waits would wait for ever.
        """
        before = self._table.get(path)
        now = time.time_ns()
        if (
            status.st_size == 0
            and before is not None
            and entries.size_of(before)
            and 0 <= now - status.st_mtime_ns < _JUST
            and now - self._emptied.get(path, now) < 2 * _JUST
        ):
            self._emptied.setdefault(path, now)
            return True
        self._emptied.pop(path, None)
        return False

    def gives_way(self, path: bytes) -> bool:
        """Is ``path`` not to be sent, as another that is here has its one name over there?"""
        other = self._twins.before(path) if self._twins else None
        if other is not None:
            self._aside.unreadable("send", path, one_name(other))
            if self._table.get(path) is not None:
                self._aside.later(other, 0.0)  # it has gone first up to now
        return other is not None
