"""What got another name here that is the same name at the far end is renamed there.

Either name may be looked at first: the old one, which is gone here, or the new one. What was
known by the old one is known by the new one from then on, and nothing is sent for it.
"""

from __future__ import annotations

from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.known.unchanged import renamed
from filerep.replica.scheduling.inflight import NotInThisBatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filerep.replica.planning.twins import Twins
    from filerep.replica.scheduling.inflight import Sent
    from filerep.source import Source


class Spelling:
    """Adds to a batch what is to be called otherwise over there."""

    def __init__(
        self,
        source: Source,
        table: Table,
        twins: Twins,
        later: Callable[[bytes, float], None],
        on_directory: Callable[[bytes], None],
    ) -> None:
        """``on_directory`` is told of a directory that is about to get another name."""
        self._source = source
        self._table = table
        self._twins = twins
        self._later = later
        self._on_directory = on_directory

    def is_renamed(self, path: bytes, sent: Sent) -> bool:
        """Is what is over there at ``path``, which is gone, here by a name that is the same there?

        It has that name from now on, and is looked at.
        """
        twin = self._twins.of(path)
        if twin is None or self._twins.before(twin) is not None:
            return False
        self._later(twin, 0.0)
        self.spell(twin, sent)
        if self._table.get(path) is not None or path in self._table.directories:
            self._table.remove(path)
            if self._table.get(twin) is not None:
                self._table.doubt(twin)
        return True

    def spell(self, path: bytes, sent: Sent) -> None:
        """Have ``path`` and the directories above it called over there as they are here.

        Raises ``NotInThisBatch`` where something else is planned for it by its name there.
        """
        directory = b""
        for name in path.split(b"/"):
            names = self._table.directories.get(directory)
            if names is None:
                return
            known = self._twins.known(directory, name, names)
            if known is not None:
                self._rename(directory, known, name, sent)
            directory = directory + b"/" + name if directory else name

    def spell_first(self, path: bytes, sent: Sent) -> None:
        """As ``spell``, if another that is here has not the one name over there."""
        if self._twins.before(path) is None:
            self.spell(path, sent)

    def _rename(self, directory: bytes, old: bytes, new: bytes, sent: Sent) -> None:
        prefix = directory + b"/" if directory else b""
        before, path = prefix + old, prefix + new
        for planned in (*sent.planned, *sent.batch.staged):
            if planned == before or planned.startswith(before + b"/"):
                raise NotInThisBatch
        sent.batch.spelled.append((path, old))
        self._twins.spelled(directory, new)
        moved = self._table.rename(before, path)
        value, status = self._table.get(path), self._source.look(path)
        if value is not None and status is not None:
            renamed(self._table, path, value, status)
        for was, now, entry in moved:
            if not entries.marks(entry) & entries.OURS:
                continue  # nothing is remembered of it
            self._later(was, 0.0)  # what the one held may not be what the other holds
            self._later(now, 0.0)
            sent.removed.append(was)
            sent.intended.append(now)
            sent.respelled.append((now, self._table.get(now) or entry))
        if path in self._table.directories:
            self._on_directory(path)
            raise NotInThisBatch  # what is in it may be known only now
