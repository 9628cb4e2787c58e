"""Queues of paths, handed out by the row: what stands together in one directory.

Nearly all that there is to know before a file is looked at (which directory it is in, what
the far end holds there, where it is staged) is the same for the whole row.
"""

from __future__ import annotations

from collections import OrderedDict, deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from filerep.pathstream import Row

_LONG_ROW = 1000


class Rows:
    """A queue of rows."""

    def __init__(self) -> None:
        self._rows: deque[Row] = deque()
        self._count = 0

    def __len__(self) -> int:
        """How many paths there are."""
        return self._count

    def paths(self) -> list[bytes]:
        return [path for _, row in self._rows for path in row]

    def add(self, directory: bytes, row: list[bytes]) -> None:
        self._rows.append((directory, row))
        self._count += len(row)

    def take(self) -> Row:
        """The first row, which is not empty."""
        directory, row = self._rows.popleft()
        self._count -= len(row)
        return directory, row

    def put_back(self, directory: bytes, row: list[bytes]) -> None:
        """It is the first again."""
        if row:
            self._rows.appendleft((directory, row))
            self._count += len(row)


if TYPE_CHECKING:
    _Ordered = OrderedDict[bytes, None]
else:
    # A plain dict, asked for its first key, passes over all gone.
    _Ordered = OrderedDict


class Paths(_Ordered):
    """A queue in which each path is once. `.` and what ends in ``/`` is a row of its own."""

    def take(self) -> Row:
        """The first paths, which stand in one directory."""
        first = self.popitem(last=False)[0]
        if first == b"." or first.endswith(b"/"):
            return b"", [first]
        directory = first.rpartition(b"/")[0]
        row = [first]
        for path in self:
            parent, _, name = path.rpartition(b"/")
            if parent != directory or not name or name == b".":
                break
            if len(row) >= _LONG_ROW:  # what is put back costs as much again
                break
            row.append(path)
        for path in row[1:]:
            del self[path]
        return directory, row

    def put_back(self, directory: bytes, row: list[bytes]) -> None:
        for path in reversed(row):
            self[path] = None
            self.move_to_end(path, last=False)


class Backlog(Paths):
    """Such a queue, of which can be said when all that is in it now has left it."""

    entered = 0  # how many ever were put behind the others

    def append(self, paths: Iterable[bytes]) -> None:
        before = len(self)
        for path in paths:
            self[path] = None
        self.entered += len(self) - before

    @property
    def left(self) -> int:
        """How many of those that ever entered are in it no more."""
        return self.entered - len(self)
