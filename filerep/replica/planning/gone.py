"""What is gone here: is it to be removed over there, now or in its time, and what of ours is in it?

Files go before the directories that they are in, and a directory only if it is empty then. So a
directory that has gone, or is a file now, is looked at once more when what was in it has gone.
"""

from __future__ import annotations

import stat

from filerep.replica.known import entries
from filerep.source import kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filerep.replica.planning.deletions import Deletions
    from filerep.replica.planning.sides import Aside, Sides
    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.scheduling.queues import Paths

_STALE_WAIT = 0.01  # seconds


class Gone:
    """Finds what of ours is gone, and has it removed."""

    def __init__(
        self,
        sides: Sides,
        aside: Aside,
        deletions: Deletions,
    ) -> None:
        self._source = sides.source
        self._table = sides.table
        self._deletes = sides.deletes
        self._complete = sides.complete
        self._aside = aside
        self._deletions = deletions
        #: To be looked at only to see whether they have gone.
        self.only: set[bytes] = set()
        #: Named, and not looked at since, where the far end has a directory. Such a path may wait
        #: for a listing when what has gone is asked for: its next look is not for that only.
        self.named: set[bytes] = set()
        #: Named as directories. A file that has taken the place of one has a name of its own, if
        #: it counts: by a list of what is wanted (`*`, `!*/`, `!*.py`) only the directory does.
        self.directories: set[bytes] = set()
        # Were directories and are files now: what was in them goes.
        self._in_the_way: set[bytes] = set()

    def verify(self, record: bytes, queue: Paths) -> None:
        """Look at what has gone of ours at or below ``record``, files before directories.

        What is there is passed over: if it changed, a record of its own says so, unless the
        rules ignore it by now, and then it must not be sent.
        """
        # What is a file by the time of the look, and was none over there, is not what was
        # named: its own record comes, if it counts.
        self.only.update(self._verify(record, queue))

    def _verify(self, record: bytes, queue: Paths) -> list[bytes]:
        """As ``verify``; the directories among what is queued, and not for another reason too."""
        directory = b"" if record == b"./" else record[:-1]
        stays = self._aside.mounted_away(directory)
        inner = []
        for path, value in self._table.below(directory):
            if entries.may_go(value):
                if path.endswith(b"/"):
                    inner.append(path[:-1])
                elif not self.is_there(path):
                    queue[path] = None
        if directory and not stays and (self._knows(directory) or not self._complete):
            inner.insert(0, directory)
        waits = self._aside.waits
        waiting = {path for path in inner if path in queue or waits(path)}
        for path in reversed(inner):
            queue.pop(path, None)
            queue[path] = None
        return [path for path in inner if path not in waiting | self._in_the_way]

    def name(self, path: bytes, directory: bool) -> None:
        """``path`` is to be looked at whatever is there; it was a ``directory`` then."""
        self.only.discard(path)
        if directory:
            self.directories.add(path)
        else:
            self.directories.discard(path)
        if path in self._table.directories:
            self.named.add(path)

    def looked_at(self, path: bytes) -> bool:
        """``path`` is looked at now; was that only to see whether it has gone?"""
        self._in_the_way.discard(path)
        named = path in self.named
        self.named.discard(path)
        if path in self.only:
            self.only.remove(path)
            return not named
        return False

    def absent(self, path: bytes, sent: Sent, queue: Paths) -> None:
        """Nothing is at ``path``."""
        if not self._deletes or self._aside.mounted_away(path):
            return
        if self._hold(path, sent, queue):
            self.only.add(path)
            return
        if path in self._table.directories and self._ours_below(path):
            first = path not in sent.emptied
            self._empty(path, sent, queue)
            if first:
                return
        elif path in self._table.directories:
            for one in self._table.unmounted(path):
                self._aside.mounted_away(one)
            self._deletions.directory(path, sent)
        if self._table.get(path) is not None or not self._complete:
            self._deletions.file(path, sent)

    def was_ours(self, path: bytes) -> bool:
        """Has the far end anything at ``path`` that came from here?"""
        value = self._table.get(path) or self._table.get_directory(path)
        return value is not None and bool(entries.marks(value) & entries.OURS)

    def hidden(self, path: bytes, sent: Sent, queue: Paths) -> None:
        """A file is at ``path`` that is none of ours, where it was to be seen what has gone."""
        self.absent(path, sent, queue)
        if path in self._table.directories:
            self.only.add(path)  # once more when what was in it has gone

    def replaced(self, path: bytes, sent: Sent, queue: Paths) -> bool:
        """``path`` was a directory and is a file: what came from here goes first, then itself.

        Does something of ours have to go yet?
        """
        if self._deletes and self._ours_below(path):
            self._in_the_way.add(path)
            if not self._hold(path, sent, queue):
                self._empty(path, sent, queue)
            return True
        if self._deletes:
            self._deletions.directory(path, sent)
        self._table.remove(path)
        return False

    def _hold(self, path: bytes, sent: Sent, queue: Paths) -> bool:
        """Leave ``path``, and what is ours in it, for the turn of all that is gone.

        How much goes is to be known before that. What is below is not looked at one by one for
        it: that may be more than one batch has looks for, and the next began anew, for ever.
        """
        removals = self._aside.removals(sent, queue)
        if removals is None:
            return False
        known = path in removals.queue
        removals.put(path)
        if not known and path in self._table.directories:
            self.only.update(self._verify(path + b"/", removals.queue))
        return True

    def _empty(self, path: bytes, sent: Sent, queue: Paths) -> None:
        """Look at all that is ours in ``path``, no directory any more, and at it again.

        RACE: what is in it may still be seen, through a descriptor that was opened before
        it went (see `Source.forget_directories`), or wait for a listing. So once a batch,
        as nothing else is read meanwhile; then it is looked at in a moment.
        """
        if path in sent.emptied:
            self._aside.later(path, _STALE_WAIT)
        else:
            sent.emptied.add(path)
            self._verify(path + b"/", queue)

    def _ours_below(self, path: bytes) -> bool:
        return any(
            entries.may_go(value)
            for inner, value in self._table.below(path)
            if not inner.endswith(b"/")
        )

    def _knows(self, path: bytes) -> bool:
        table = self._table
        return not (table.get(path) is None and table.get_directory(path) is None)

    def is_there(self, path: bytes) -> bool:
        """Is a file or symlink at ``path``? False also if it cannot be told."""
        try:
            return kind(self._source.look(path)) in (stat.S_IFREG, stat.S_IFLNK)
        except OSError:
            return False
