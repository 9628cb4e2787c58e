"""What a batch removes at the far end; what is only spelled otherwise here stays (spelling.py)."""

from __future__ import annotations

from filerep.replica.known import entries
from filerep.replica.known.table import Table, directories_above

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
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
        """The directory ``path`` goes, if it is ours, with those of ours in it: all are empty.

        But for those in which anything stays that came from what was mounted here.
        """
        if self._spelling and self._spelling.is_renamed(path, sent):
            return
        value = self._table.get_directory(path)
        if value is None or not entries.may_go(value):
            return
        stay = {above for one in self._table.unmounted(path) for above in _above(one)}
        inner = [
            one[:-1] for one, other in self._table.below(path) if _goes(one, other)
        ]
        for one in (*inner, path):
            if one not in stay:
                sent.batch.removals.append(one)
                sent.removed.append(one + b"/")
        sent.planned.add(path)
        for one in (path,) if path not in stay else reversed(inner):
            if one not in stay:
                self._table.remove(one)


def _goes(path: bytes, value: bytes) -> bool:
    return path.endswith(b"/") and entries.may_go(value)


def _above(path: bytes) -> Iterator[bytes]:
    """The directories that ``path`` needs: those above it, and itself if it is one."""
    return directories_above(path if path.endswith(b"/") else path)
