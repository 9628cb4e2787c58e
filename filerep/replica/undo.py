"""The table is put right where a batch was not done as it was planned.

The table says what the far end will have once all batches under way are done (see plan.py).
Where one of them was not, what it changed there is doubted: such an entry equals nothing, so
its path is sent once more.
"""

from __future__ import annotations

from filerep.replica.known import entries
from filerep.replica.known.table import Table, directories_above

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from filerep.replica.scheduling.inflight import Sent


class Undo:
    """Doubts what the table took for done."""

    def __init__(self, table: Table) -> None:
        self._table = table
        # By a file that was sent to take a directory's place: what of ours may still be in that.
        self._hidden: dict[bytes, set[bytes]] = {}

    def doubt(self, sent: Sent, unapplied: set[bytes]) -> None:
        """Doubt what was thought to be there, or gone, since this batch was sent."""
        touched = {
            above for path in unapplied for above in directories_above(path)
        } | unapplied
        unsure = entries.directory_entry(0, entries.OURS | entries.UNSURE)
        own = {path for path, _ in sent.entries}
        for directory, _ in sent.batch.directories:
            if directory not in touched:
                continue
            # What could not be removed from it before is still there, and so is it.
            if all(path in own for path, _ in self._table.below(directory)):
                self._table.remove(directory)
            else:
                self._table.put_directory(directory, unsure)
        for directory, _ in sent.batch.modes:
            if directory in unapplied and directory in self._table.directories:
                self._table.put_directory(directory, unsure)
        for path, _ in sent.entries:
            if path in unapplied:
                self._table.doubt(path)
        for path in sent.removed:
            if path.rstrip(b"/") not in unapplied:
                continue
            if self._make_directories(path, own) and not path.endswith(b"/"):
                self._table.doubt(path)
        for path in self._hidden.keys() & unapplied:
            self._table.put_back(path, None)
            self.may_be_there(self._hidden.pop(path))

    def placed(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """What was sent of these is in its place, where no directory can be."""
        if self._hidden:
            for path, _ in entries:
                self._hidden.pop(path, None)

    def hides(self, directory: bytes) -> bool:
        """Is anything of ours in it, for all that is known, and not in the table?"""
        start = directory + b"/"
        return any(
            path.startswith(start) for paths in self._hidden.values() for path in paths
        )

    def restore(self, sent: Sent, unapplied: set[bytes]) -> list[bytes]:
        """Doubt what ``sent`` has put in place and the table has lost since; those paths.

        Not what is ``unapplied``: that was not put in place, or later batches remove it.
        """
        lost = []
        own = {path for path, _ in sent.entries}
        for path, _ in sent.entries:
            if (
                path not in unapplied
                and not path.endswith(b"/")
                and self._table.get(path) is None
                and self._make_directories(path, own)
            ):
                self._table.doubt(path)
                lost.append(path)
        return lost

    def may_be_there(self, paths: Iterable[bytes]) -> None:
        """Nobody knows whether the far end has ``paths``, but if so, they are ours."""
        for path in paths:
            if self._make_directories(path, ()):
                self._table.doubt(path)

    def _make_directories(self, path: bytes, own: Container[bytes]) -> bool:
        """The far end has the directories above ``path``, and they are ours.

        Unless a file takes the place of one that is not of the same batch, ``own``, but was
        sent since: whether it did will be heard.
        """
        for above in directories_above(path):
            if above not in own and self._table.get(above) is not None:
                if not path.endswith(b"/"):
                    self._hidden.setdefault(above, set()).add(path)
                return False
        entry = entries.directory_entry(0, entries.OURS | entries.UNSURE)
        for above in directories_above(path):
            if above not in self._table.directories:
                self._table.put_directory(above, entry)
        return True

    def known_below(self, directory: bytes) -> list[bytes]:
        return [
            path
            for path, value in self._table.below(directory)
            if entries.marks(value) & entries.OURS and not path.endswith(b"/")
        ]
