"""Signatures of files here, made when they are wanted, and ahead when nothing is to be done.

That of a file of some GB takes many seconds. What is made while nothing is to be done is made
in slices, so that a save waits for one of them at most.
"""

from __future__ import annotations

import os
import stat

from filerep.replica.known import entries
from filerep.replica.known.unchanged import unchanged
from filerep.replica.transfer.signature import Comparison, Signer
from filerep.source import same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.replica.known.table import Table
    from filerep.replica.transfer.economy import Economy
    from filerep.source import Source

_SIGNED_BYTES = 1 << 16  # files of so much are all worth being read ahead of any need
# Of smaller ones those that were written last, as far as it takes a second or so. More than a few
# of them are edited at once only where a branch is switched, or a project is small.
_SMALL_BYTES = 1 << 26
_SLICE = 1 << 22  # some milliseconds
_READ = 1 << 20


class Begun:
    """A file of whose signature a part is made."""

    __slots__ = ("path", "status", "signer", "at")

    def __init__(self, path: bytes, status: os.stat_result, block: int) -> None:
        self.path = path
        self.status = status
        self.signer = Signer(block)
        self.at = 0

    def read(self, fd: int, most: int) -> bool:
        """Go on with what is open as ``fd``; False if it is shorter than it was."""
        most = min(self.at + most, self.status.st_size)
        while self.at < most:
            data = os.pread(fd, min(_READ, most - self.at), self.at)
            if not data:
                return False
            self.signer.feed(data)
            self.at += len(data)
        return True

    @property
    def ended(self) -> bool:
        return self.at == self.status.st_size


class Signing:
    """Reads files for their signatures; what is made for a path is kept in the table."""

    def __init__(self, source: Source, table: Table, economy: Economy) -> None:
        self._source = source
        self._table = table
        self._economy = economy
        self._unsigned: Optional[list[bytes]] = None
        self._begun: Optional[Begun] = None

    def sign_one(self) -> bool:
        """Go on with the signature of a file that has none; is there more to do?

        What was there at the start has none. It is made while nothing else is to be done, so
        that of a log which grows only the new lines go, and of a branch what is other in it.
        """
        if not self._economy.reuses:
            return False
        if self._unsigned is None:
            self._unsigned = self._find_unsigned()
        if self._begun is None and self._unsigned:
            path = self._unsigned.pop()
            status = self._unchanged(path)
            if status is not None:
                self._begun = Begun(path, status, self._economy.block(status.st_size))
        if self._begun is not None and not self._go_on(self._begun):
            self._begun = None
        return bool(self._unsigned or self._begun)

    def _find_unsigned(self) -> list[bytes]:
        """The files that are to be signed, the last one first."""
        large: list[bytes] = []
        small: list[tuple[int, int, bytes]] = []  # mtime, size
        for path, value in self._table.below(b""):
            if path.endswith(b"/") or entries.signature(value):
                continue
            _, mode, size, mtime_ns, _ = entries.numbers(value)
            if not stat.S_ISREG(mode) or not self._economy.worth(size):
                continue
            if size >= _SIGNED_BYTES:
                large.append(path)
            else:
                small.append((mtime_ns, size, path))
        small.sort(reverse=True)
        left, count = _SMALL_BYTES, 0
        while count < len(small) and left >= small[count][1]:
            left -= small[count][1]
            count += 1
        return large + [path for _, _, path in reversed(small[:count])]

    def _go_on(self, begun: Begun) -> bool:
        """Sign the next slice of ``begun``; is there more of it?"""
        if not self._read(begun, _SLICE):
            return False
        if not begun.ended:
            return True
        value = self._table.get(begun.path)
        status = self._unchanged(begun.path)
        if value is not None and status is not None and same(status, begun.status):
            signed = entries.signed(value, begun.signer.signature())
            self._table.put(begun.path, signed)
        return False

    def _unchanged(self, path: bytes) -> Optional[os.stat_result]:
        """``path`` as it is, if it is what the far end holds."""
        try:
            status = self._source.look(path)
        except OSError:
            return None
        if status is None or not unchanged(self._table, path, status, b""):
            return None
        return status

    def _read(self, begun: Begun, most: int) -> bool:
        """Read so much more of ``begun``; False if it is another file by now, or has changed."""
        try:
            fd = self._source.open(begun.path)
        except OSError:
            return False
        try:
            return same(os.fstat(fd), begun.status) and begun.read(fd, most)
        except OSError:
            return False  # whoever sends it says why
        finally:
            os.close(fd)

    def file(self, path: bytes, status: os.stat_result) -> bytes:
        """The signature of another file as it is here, or nothing."""
        begun = Begun(path, status, self._economy.block(status.st_size))
        whole = self._read(begun, status.st_size)
        return begun.signer.signature() if whole else b""

    def opened(self, fd: int, status: os.stat_result) -> bytes:
        """The signature of what is open as ``fd``, or nothing if that is shorter by now."""
        begun = Begun(b"", status, self._economy.block(status.st_size))
        return begun.signer.signature() if begun.read(fd, status.st_size) else b""


def compare(
    economy: Economy, fd: int, size: int, signed: bytes = b"", old_size: int = 0
) -> Optional[Comparison]:
    """Read what is open as ``fd`` for its digest and its signature, and what of it is as in the
    file of ``old_size`` that was ``signed``; None if it is shorter by now."""
    assert economy.tools is not None
    digest = economy.tools.digest()
    block, new_block = economy.block(old_size), economy.block(size)
    compared = Comparison(signed, old_size, digest, block, new_block)
    return compared if compared.read(fd, size) else None
