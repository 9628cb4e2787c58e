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

from filerep.farend.batch import directory_mode
from filerep.replica.known import table as tables
from filerep.replica.known.inventory import STAGE_PREFIX
from filerep.replica.planning.echoes import Echoes
from filerep.replica.planning.fastpath import Plain
from filerep.replica.planning.twins import Twins, one_name
from filerep.replica.scheduling.inflight import NotInThisBatch
from filerep.replica.scheduling.unreadable import LIST
from filerep.source import changed_meanwhile, kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from typing import Optional

    from filerep.farend.ways import Way
    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.scheduling.queues import Paths
    from filerep.replica.transfer.reuse import Reuse
    from filerep.source import Source

# How long a file that was just emptied is given to be written, in seconds.
EMPTIED_WAIT = 0.05
_STALE_WAIT = 0.01


class Plan:
    """Looks at paths and puts what follows into a batch.

    ``failing`` are paths that have a time of their own to be tried. ``later(path, wait)``
    has a path looked at again in ``wait`` seconds; ``too_big(path, status, way, sent, queue)``
    may take a file away from this batch, or raise ``NotInThisBatch``.
    """

    def __init__(
        self,
        source: Source,
        table: tables.Table,
        deletes: bool,
        complete: bool,
        failing: Container[bytes],
        on_error: Callable[[str, bytes, OSError], None],
        later: Callable[[bytes, float], None],
        too_big: Callable[[bytes, os.stat_result, Optional[Way], Sent, Paths], bool],
        reuse: Reuse,
    ) -> None:
        self._source = source
        self._table = table
        self._deletes = deletes
        self._complete = complete  # is what the table has not got not there?
        self._failing = failing
        self._on_error = on_error
        self._later = later
        self._too_big = too_big
        self._reuse = reuse
        self._plain = Plain(source, table, complete, failing, self._claim, reuse)
        self.altered = self._plain.altered
        self._echoes = Echoes(source)
        self.twins: Optional[Twins] = None  # where the far end folds names
        self._gone_only = self._plain.gone_only
        self._in_the_way: set[bytes] = (
            set()
        )  # what was in these, which are files now, goes
        #: Has the path gone with something that was mounted here?
        self.away: Callable[[bytes], bool] = lambda path: False
        #: Is it not this path's turn, which is gone? Then it is looked at again.
        self.hold: Callable[[bytes, Sent, Paths], bool] = lambda *_: False

    def verify(self, record: bytes, queue: Paths) -> None:
        """Look at what has gone of ours at or below ``record``, files before directories.

        What is there is passed over: if it changed, a record of its own says so, unless the
        rules ignore it by now, and then it must not be sent.
        """
        # What is a file by the time of the look, and was none over there, is not what was
        # named: its own record comes, if it counts.
        self._gone_only.update(self._verify(record, queue))

    def _verify(self, record: bytes, queue: Paths) -> list[bytes]:
        """As ``verify``; the directories among what is queued, and was not for another reason."""
        directory = b"" if record == b"./" else record[:-1]
        if self.away(directory):
            return []
        inner = []
        for path, value in self._table.below(directory):
            if tables.marks(value) & tables.OURS:
                if path.endswith(b"/"):
                    inner.append(path[:-1])
                elif not self.is_there(path):
                    queue[path] = None
        if directory and (self._knows(directory) or not self._complete):
            inner.insert(0, directory)
        waiting = {path for path in inner if path in queue}
        for path in reversed(inner):
            queue.pop(path, None)
            queue[path] = None
        return [path for path in inner if path not in waiting | self._in_the_way]

    def named(self, path: bytes) -> None:
        """``path`` is to be looked at whatever is there."""
        self._gone_only.discard(path)

    def arrived(self, sent: Sent, paths: Iterable[bytes]) -> None:
        """These ``paths`` of ``sent`` are over there as they were sent."""
        for path in paths:
            if path in sent.echoes:
                self._echoes.arrived(path, sent.echoes[path])

    def _knows(self, path: bytes) -> bool:
        table = self._table
        return not (table.get(path) is None and table.get_directory(path) is None)

    def is_there(self, path: bytes) -> bool:
        """Is a file or symlink at ``path``? False also if it cannot be told."""
        try:
            return kind(self._source.look(path)) in (stat.S_IFREG, stat.S_IFLNK)
        except OSError:
            return False

    def row(
        self, directory: bytes, paths: list[bytes], sent: Sent, queue: Paths
    ) -> int:
        """Look at ``paths``, all in ``directory``, until the batch is full; at how many?"""
        done = 0
        while done < len(paths) and not sent.batch.full:
            if self.twins is None:
                done = self._plain.look(directory, paths, done, sent)
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
        if b"/" not in path and path.startswith(STAGE_PREFIX):
            return True
        if path in sent.planned or path in sent.batch.staged:
            return False
        gone_only = path in self._gone_only
        self._gone_only.discard(path)
        self._in_the_way.discard(path)
        try:
            status = self._source.look(path)
            found = kind(status)
            is_file = found == stat.S_IFREG or found == stat.S_IFLNK
            if is_file and gone_only and self._table.get(path) is None:
                self._plan_absent(path, sent, queue)
                if path in self._table.directories:
                    self._gone_only.add(path)  # once more when what was in it has gone
            elif is_file:
                assert status is not None
                if path in self._failing:
                    return True  # it has its own time
                if self._source.is_own(path, status):
                    return True
                if self.twins and self._has_a_twin(path, status, sent, self.twins):
                    return True
                self._plan_file(path, status, sent, queue)
            elif found == stat.S_IFDIR:
                assert status is not None
                self._plan_directory(path, status, sent)
                self._enter(path)
            else:
                self._plan_absent(path, sent, queue)
        except NotInThisBatch:
            return False
        except OSError as error:
            if changed_meanwhile(error):
                self._later(path, EMPTIED_WAIT)
            else:
                self._on_error("read", path, error)
        return True

    def _enter(self, path: bytes) -> None:
        """What is in a directory that cannot be read is missing over there."""
        try:
            self._source.directory(path)
        except OSError as error:
            if not changed_meanwhile(error):
                self._on_error(LIST, path, error)

    def _ours_below(self, path: bytes) -> bool:
        return any(
            tables.marks(value) & tables.OURS
            for inner, value in self._table.below(path)
            if not inner.endswith(b"/")
        )

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
        if self._table.unchanged(path, status, target):
            self._claim(path, sent)
            if link or not self._reuse.checks:
                return
            way = self._reuse.check(path, status)
            if way is not None:
                sent.batch.add(path, status, b"", [], way)
                sent.planned.add(path)
                return
        if path in self._table.directories:
            # A directory was here: what came from here goes first, then itself.
            if self._deletes and self._ours_below(path):
                self._in_the_way.add(path)
                if path not in sent.emptied or not self.hold(path, sent, queue):
                    self._empty(path, sent, queue)
                return
            if self._deletes:
                self._remove_directory(path, sent)
            self._table.remove(path)
        if not link and status.st_size == 0:
            before = self._table.get(path)
            age = time.time_ns() - status.st_mtime_ns
            if before is not None and tables.size_of(before) and 0 <= age < 5e7:
                # Emptied a moment ago: most programs that save in place write next.
                self._later(path, EMPTIED_WAIT)
                return
        way = None if link else self._reuse.looks_same(path, status)
        value = self._table.get(path)
        known = way is None and not link and value is not None
        if known and value and self._echoes.heard(path, status, value):
            value = tables.entry(status, tables.OURS)
            self._table.put(path, value)
            self._table.adopted.append((path, value))
            self._claim(path, sent)
            return
        if way is None and not link:
            way = self._reuse.way(path, status)
        if way is not None and way.verb == b"take":
            # It is taken by a link. Both names would be one file, were the other one to stay.
            if not self._deletes or way.source in sent.planned:
                way.verb = b"copy"
        if not link and self._too_big(path, status, way, sent, queue):
            return
        self.place(path, status, target, sent, way)

    def place(
        self,
        path: bytes,
        status: os.stat_result,
        target: bytes,
        sent: Sent,
        way: Optional[Way] = None,
    ) -> None:
        """Have ``path`` put where it belongs, and the directories made that are not there."""
        new = self._new_directories(path, sent)
        if new is None:
            return
        if way is None or way.verb not in (b"same", b"keep"):
            self._reuse.replaced(path, sent.batch)
        sent.batch.add(path, status, target, new, way)
        sent.planned.add(path)
        found = self._echoes.asked(path)
        if found is not None:
            sent.echoes[path] = found
        if way is not None and way.verb == b"take":
            self._delete(way.source, sent)
        sent.intended += [directory + b"/" for directory, _ in new]
        if not self._table.remembered(path):
            sent.intended.append(path)
        self._claim(path, sent)

    def _empty(self, path: bytes, sent: Sent, queue: Paths) -> None:
        """Look at all that is ours in ``path``, no directory any more, and at it again.

        RACE: what is in it may still be seen, through a descriptor that was opened before
        it went (see `Source.forget_directories`), or wait for a listing. So once a batch,
        as nothing else is read meanwhile; then it is looked at in a moment.
        """
        if path in sent.emptied:
            self._later(path, _STALE_WAIT)
        else:
            sent.emptied.add(path)
            self._verify(path + b"/", queue)

    def _new_directories(
        self, path: bytes, sent: Sent
    ) -> Optional[list[tuple[bytes, os.stat_result]]]:
        """Directories above ``path`` that the far end lacks, top first; None: gone here."""
        new: list[tuple[bytes, os.stat_result]] = []
        directory = path.rpartition(b"/")[0]
        known, staged = self._table.directories, sent.batch.staged
        while directory not in known and directory not in staged:
            status = self._source.look(directory)
            if directory in sent.planned:
                raise NotInThisBatch  # it deals with what is in the way
            if kind(status) != stat.S_IFDIR:
                return None  # its own record comes, or came before this one
            assert status is not None
            if not self._deletes:
                sent.batch.keeps = True
            elif self._table.get(directory) is not None:
                self._delete(directory, sent)
            new.append((directory, status))
            directory = directory.rpartition(b"/")[0]
        return new[::-1]

    def _claim(self, path: bytes, sent: Sent) -> None:
        """The directories above are ours now, and have our permission bits."""
        directory = path.rpartition(b"/")[0]
        if directory == sent.claimed:
            return
        sent.claimed = directory
        while directory not in self._table.directories:
            path, directory = directory, directory.rpartition(b"/")[0]
        for above in self._table.claim_directories(path):
            value = self._table.get_directory(above)
            try:
                status = self._source.look(above)
            except OSError as error:
                self._on_error("read", above, error)
                continue
            if value is not None and kind(status) == stat.S_IFDIR:
                assert status is not None
                self._table.adopted.append((above + b"/", value))
                self._plan_directory(above, status, sent)

    def _plan_directory(self, path: bytes, status: os.stat_result, sent: Sent) -> None:
        if self._table.get(path) is not None and self._deletes:
            self._delete(path, sent)
        value = self._table.get_directory(path)
        if value is None or not tables.marks(value) & tables.OURS:
            return
        mode = directory_mode(status)
        if tables.marks(value) & tables.UNSEEN:
            value = tables.marked(value, tables.marks(value) & ~tables.UNSEEN)
            self._table.put_directory(path, value)
        if tables.marks(value) & tables.UNSURE or (
            self._table.keeps_modes and tables.mode_of(value) & 0o1777 != mode
        ):
            value = tables.directory_entry(mode, tables.OURS)
            self._table.put_directory(path, value)
            sent.entries.append((path + b"/", value))
            if self._table.keeps_modes:
                sent.batch.modes.append((path, mode))
                sent.planned.add(path)

    def _plan_absent(self, path: bytes, sent: Sent, queue: Paths) -> None:
        if not self._deletes or self.away(path):
            return
        full = path in self._table.directories and self._ours_below(path)
        if full and path not in sent.emptied:
            self._empty(path, sent, queue)
            return
        if self.hold(path, sent, queue):
            self._gone_only.add(path)
            return
        if full:
            self._empty(path, sent, queue)
        elif path in self._table.directories:
            self._remove_directory(path, sent)
        if self._table.get(path) is not None or not self._complete:
            self._delete(path, sent)

    def _delete(self, path: bytes, sent: Sent) -> None:
        self._reuse.replaced(path, sent.batch)
        inside = path.rpartition(b"/")[0] in self._table.directories
        if (inside or not self._complete) and not self._is_renamed(path):
            sent.batch.deletions.append(path)
            sent.planned.add(path)
            sent.removed.append(path)
        parent, _, name = path.rpartition(b"/")
        self._table.directories.get(parent, {}).pop(name, None)

    def _has_a_twin(
        self, path: bytes, status: os.stat_result, sent: Sent, twins: Twins
    ) -> bool:
        """Is ``path`` not to be sent, as the far end has it by a name that is the same there?"""
        other = twins.before(path)
        if other is not None:
            self._on_error("send", path, one_name(other))
            return True
        directory, _, name = path.rpartition(b"/")
        names = self._table.directories.get(directory, {})
        known = None if name in names else twins.known(directory, name, names)
        value = names.get(known) if known is not None else None
        if known is None or value is None:
            return False
        del names[known]
        sent.batch.called[path] = known
        return self._table.renamed(path, value, status)

    def _is_renamed(self, path: bytes) -> bool:
        """Is what is over there at ``path`` here, under a name that is the same there?"""
        twin = self.twins.of(path) if self.twins else None
        if twin is None:
            return False
        if self._table.get(twin) is not None:
            self._table.doubt(twin)
        self._later(twin, 0.0)
        return True

    def _remove_directory(self, path: bytes, sent: Sent) -> None:
        if self._is_renamed(path):
            self._table.remove(path)
            return
        value = self._table.get_directory(path)
        if value is not None and tables.marks(value) & tables.OURS:
            for inner, mark in self._table.below(path):
                if inner.endswith(b"/") and tables.marks(mark) & tables.OURS:
                    sent.batch.removals.append(inner[:-1])
                    sent.removed.append(inner)
            sent.batch.removals.append(path)
            sent.removed.append(path + b"/")
            sent.planned.add(path)
            self._table.remove(path)
