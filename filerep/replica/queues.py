"""Queues of paths, handed out by the row: what stands together in one directory.

Nearly all that there is to know before a file is looked at (which directory it is in, what
the far end holds there, where it is staged) is the same for the whole row.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from filerep.pathstream import normalize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Tuple

    Row = Tuple[bytes, "list[bytes]"]  # a directory, and paths of what is in it

_NO_NAMES = (b"", b".", b"..")
_LONG_ROW = 1000


def in_rows(records: Iterable[bytes], odd: Callable[[bytes], None]) -> Iterator[Row]:
    """``records`` normalized, in rows; those that say more or less than "look" go to ``odd``.

    These are `.`, those that end in ``/``, and those that name nothing below the root.
    """
    directory = b""
    row: list[bytes] = []
    above = None  # what stands in front of a name that needs no closer look
    for record in records:
        parent, _, name = record.rpartition(b"/")
        if parent == above and name not in _NO_NAMES:
            row.append(record)
            continue
        path = normalize(record)
        if path is None or path.endswith(b"/") or path == b".":
            odd(record)
            continue
        parent = path.rpartition(b"/")[0]
        if row and parent != directory:
            yield directory, row
            row = []
        row.append(path)
        directory = parent
        above = parent or None
    if row:
        yield directory, row


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
    _Ordered = (
        OrderedDict  # a plain dict, asked for its first key, passes over all gone
    )


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
