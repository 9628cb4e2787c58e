"""Is a file that is to be sent over there by another name, as it was moved or copied?"""

from __future__ import annotations

import stat

from filerep.farend.ways import Way
from filerep.replica.known import entries
from filerep.replica.known.unchanged import unchanged
from filerep.replica.transfer.signing import compare

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Optional

    from filerep.replica.known.table import Table
    from filerep.replica.transfer.economy import Economy
    from filerep.replica.transfer.signing import Signing
    from filerep.source import Source

_CANDIDATES = 4  # other paths to look at


class Alike:
    """Paths of files of one size, to be found by what else they may have in common.

    There may be thousands, all moved at once: none of them is to be compared with each other.
    """

    def __init__(self) -> None:
        self.paths: list[bytes] = []
        self._having: Optional[dict[object, list[bytes]]] = None

    def nearest(self, path: bytes, status: os.stat_result, table: Table) -> list[bytes]:
        """A few of them but ``path``, those that seem to be the same file first."""
        if self._having is None:
            self._having = {}
            for one in self.paths:
                value = table.get(one)
                if value is not None:
                    inode, mtime_ns = entries.inode_of(value), entries.mtime_of(value)
                    for key in _keys(one, inode, mtime_ns):
                        having = self._having.setdefault(key, [])
                        if len(having) <= _CANDIDATES:
                            having.append(one)
        found: dict[bytes, None] = {}
        for key in _keys(path, status.st_ino, status.st_mtime_ns):
            found.update(dict.fromkeys(self._having.get(key, ())))
        found.update(dict.fromkeys(self.paths[: _CANDIDATES + 1]))
        found.pop(path, None)
        return list(found)[:_CANDIDATES]


def _keys(path: bytes, inode: int, mtime_ns: int) -> tuple[object, ...]:
    """What two files may have in common, what tells most first."""
    name = path.rpartition(b"/")[2]
    return ("inode", inode), (mtime_ns, name), mtime_ns, name


class Elsewhere:
    """Finds the files of the table by their size."""

    def __init__(
        self, source: Source, table: Table, economy: Economy, signing: Signing
    ) -> None:
        self._source = source
        self._table = table
        self._economy = economy
        self._signing = signing
        self._by_size: Optional[dict[int, Alike]] = None
        self._by_inode: dict[int, bytes] = {}  # of what has a signature

    def forget(self) -> None:
        """Nothing is to be sent for now."""
        self._by_size = None
        self._by_inode.clear()

    def moved(self, inode: int) -> Optional[tuple[bytes, int, bytes]]:
        """What a new path was before it was moved: its path, its size, its signature."""
        self._index()
        other = self._by_inode.get(inode, b"")
        value = self._table.get(other) if other else None
        if value is None or entries.inode_of(value) != inode:
            return None
        return other, entries.size_of(value), entries.signature(value)

    def find(self, path: bytes, fd: int, status: os.stat_result) -> Optional[Way]:
        """Is ``path`` a file that was moved, or a copy of another?"""
        known = self._table.get(path)
        if known is not None and entries.inode_of(known) == status.st_ino:
            return None  # it was written to in its place
        signature = b""
        for other in self._candidates(path, status):
            value = self._table.get(other)
            if value is None or not entries.tells_content(value):
                continue
            here = self._look(other)
            was = (  # this file, before it was moved; the name may be another's now
                entries.inode_of(value) == status.st_ino
                and entries.mtime_of(value) == status.st_mtime_ns
                and entries.marks(value) & entries.OURS
            )
            if not was:
                signed = entries.signature(value)
                if not signed and here and unchanged(self._table, other, here, b""):
                    signed = self._signing.file(other, here)
                if not signed:
                    continue
                signature = signature or self._signing.opened(fd, status)
                if signed != signature:
                    continue
            found = compare(self._economy, fd, status.st_size)
            if found is None:
                return None
            as_it_is = (entries.mode_of(value) ^ status.st_mode) & 0o777 == 0
            goes = was and here is None and entries.may_go(value)
            verb = b"take" if goes and as_it_is else b"copy"
            digest = found.digest.hexdigest()
            return Way(verb, digest, other, signature=found.signature)
        return None

    def _candidates(self, path: bytes, status: os.stat_result) -> list[bytes]:
        """A few paths of files of the same size, those that seem to be the same file first."""
        alike = self._index().get(status.st_size)
        return alike.nearest(path, status, self._table) if alike is not None else []

    def _index(self) -> dict[int, Alike]:
        """The files of the table by their size."""
        if self._by_size is None:
            self._by_size = {}
            for one, value in self._table.below(b""):
                if not one.endswith(b"/") and stat.S_ISREG(entries.mode_of(value)):
                    size = entries.size_of(value)
                    if self._economy.worth(size):
                        self._by_size.setdefault(size, Alike()).paths.append(one)
                        if entries.signature(value):
                            self._by_inode[entries.inode_of(value)] = one
        return self._by_size

    def _look(self, path: bytes) -> Optional[os.stat_result]:
        try:
            return self._source.look(path)
        except OSError:
            return None
