"""Without a first copy, and after a loss: what has changed since the run began.

Such a run sends what changes while it goes on. What changed while nothing was connected nobody
has seen, so fr-walk names all there is, as after every loss; and of that goes what was changed
by then, as its ctime tells, be it sent before or not: the far end may be a new container. What
came in with a directory that was moved has an older ctime, but the directory has not; if the far
end lacks that, all that is in it goes.

RACE: where a directory was moved to the place of another meanwhile, what is older in it does not
go; and what was removed here stays over there, if it was not sent from here.
"""

from __future__ import annotations

import stat

from filerep.replica.known import entries
from filerep.replica.known.table import directories_above
from filerep.source import kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.replica.known.table import Table
    from filerep.source import Source


class Since:
    """Leaves out what is older, of what fr-walk names."""

    def __init__(self, source: Source, table: Table, since_ns: Optional[int]) -> None:
        """``since_ns`` is by `time.time_ns`; None: nothing is left out."""
        self._source = source
        self._table = table
        self._since_ns = since_ns
        self._entered: dict[bytes, bool] = {}
        self._lacking: dict[bytes, bool] = {}

    def named(self, row: list[bytes]) -> list[bytes]:
        """Those of ``row``, all in one directory, that are new, or may be."""
        if self._since_ns is None or self._may_be_new(row[0]):
            return row
        return [path for path in row if self._is_new(path)]

    def listed(self, row: list[bytes]) -> list[bytes]:
        """Those that are, as it is known by now whether the far end has that directory."""
        if self._since_ns is None or self._is_lacking(row[0]):
            return row
        new = [path for path in row if self._is_new(path)]
        for path in new:
            value = self._table.get(path)
            if value is not None and entries.marks(value) == entries.LISTED:
                # Of what was moved here meanwhile, size and time may be those of what it replaced.
                unsure = entries.LISTED | entries.UNSURE
                self._table.put(path, entries.marked(value, unsure))
        return new

    def _is_lacking(self, path: bytes) -> bool:
        """Is a directory above ``path`` a new one that the far end did not have?"""
        lacking = False
        # From the top: once something in it was sent, a directory is there.
        for above in directories_above(path):
            if above not in self._lacking:
                there = above in self._table.directories
                new = not there and self._may_be_new(above + b"/")
                self._lacking[above] = lacking or new
            lacking = self._lacking[above]
        return lacking

    def _may_be_new(self, path: bytes) -> bool:
        """Was something put in a directory above ``path``, or was one of them moved?"""
        entered = False
        for above in directories_above(path):
            if above not in self._entered:
                self._entered[above] = entered or self._changed(above)
            entered = self._entered[above]
        return entered

    def _is_new(self, path: bytes) -> bool:
        value = self._table.get(path)
        unsure = value is not None and entries.marks(value) & entries.UNSURE
        return bool(unsure) or self._changed(path)

    def _changed(self, path: bytes) -> bool:
        """True also for what is gone, or cannot be told."""
        try:
            status = self._source.look(path)
        except OSError:
            return True
        if kind(status) not in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR):
            return True
        assert status is not None and self._since_ns is not None
        return status.st_ctime_ns >= self._since_ns
