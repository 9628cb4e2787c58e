"""What a batch removes at the far end; what is only spelled otherwise here stays (spelling.py)."""

from __future__ import annotations

from filerep.replica.known import entries
from filerep.replica.known.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.replica.planning.spelling import Spelling
    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.transfer.reuse import Reuse


class Deletions:
    """Adds removals to a batch, and takes what goes out of the table."""

    def __init__(
        self,
        table: Table,
        complete: bool,
        reuse: Reuse,
        spelling: Optional[Spelling],
    ) -> None:
        self._table = table
        self._complete = complete  # is what the table has not got not there?
        self._reuse = reuse
        self._spelling = spelling

    def file(self, path: bytes, sent: Sent) -> None:
        """The file or symlink ``path`` goes."""
        if self._spelling and self._spelling.is_renamed(path, sent):
            return
        self._reuse.replaced(path, sent.batch)
        inside = path.rpartition(b"/")[0] in self._table.directories
        if inside or not self._complete:
            sent.batch.deletions.append(path)
            sent.planned.add(path)
            sent.removed.append(path)
        parent, _, name = path.rpartition(b"/")
        self._table.directories.get(parent, {}).pop(name, None)

    def directory(self, path: bytes, sent: Sent) -> None:
        """The directory ``path`` goes, if it is ours, with those of ours in it: all are empty."""
        if self._spelling and self._spelling.is_renamed(path, sent):
            return
        value = self._table.get_directory(path)
        if value is not None and entries.marks(value) & entries.OURS:
            for inner, other in self._table.below(path):
                if inner.endswith(b"/") and entries.marks(other) & entries.OURS:
                    sent.batch.removals.append(inner[:-1])
                    sent.removed.append(inner)
            sent.batch.removals.append(path)
            sent.removed.append(path + b"/")
            sent.planned.add(path)
            self._table.remove(path)
