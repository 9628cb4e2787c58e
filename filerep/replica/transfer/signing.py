"""Signatures of files here, made when they are wanted, and of large ones when nothing is to be done."""

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

_SIGNED_BYTES = 1 << 16  # files of so much are worth a signature of their own


class Signing:
    """Reads files for their signatures; what is made for a path is kept in the table."""

    def __init__(self, source: Source, table: Table, economy: Economy) -> None:
        self._source = source
        self._table = table
        self._economy = economy
        self._unsigned: Optional[list[bytes]] = None

    def sign_one(self) -> bool:
        """Make the signature of a large file that has none; is there more to do?

        What was there at the start has none. It is made while nothing else is to be done, so
        that of a log which grows only the new lines go.
        """
        if not self._economy.reuses:
            return False
        if self._unsigned is None:
            self._unsigned = [
                path
                for path, value in self._table.below(b"")
                if not path.endswith(b"/")
                and stat.S_ISREG(entries.mode_of(value))
                and entries.size_of(value) >= _SIGNED_BYTES
                and not entries.signature(value)
            ]
        if not self._unsigned:
            return False
        path = self._unsigned.pop()
        try:
            status = self._source.look(path)
        except OSError:
            status = None
        if status is not None and unchanged(self._table, path, status, b""):
            signed = self.file(path, status)
            value = self._table.get(path)
            if value is not None and signed:
                self._table.put(path, entries.signed(value, signed))
        return bool(self._unsigned)

    def file(self, path: bytes, status: os.stat_result) -> bytes:
        """The signature of another file as it is here, or nothing."""
        try:
            fd = self._source.open(path)
        except OSError:
            return b""
        try:
            if not same(os.fstat(fd), status):
                return b""
            return self.opened(fd, status.st_size)
        finally:
            os.close(fd)

    def opened(self, fd: int, size: int) -> bytes:
        """The signature of what is open as ``fd``, or nothing if that is shorter by now."""
        signer = Signer(self._economy.block)
        at = 0
        while at < size:
            data = os.pread(fd, 1 << 20, at)
            if not data:
                return b""
            signer.feed(data)
            at += len(data)
        return signer.signature()


def compare(
    economy: Economy, fd: int, size: int, signed: bytes = b"", old_size: int = 0
) -> Optional[Comparison]:
    """Read what is open as ``fd`` for its digest and its signature, and what of it is as in the
    file of ``old_size`` that was ``signed``; None if it is shorter by now."""
    assert economy.tools is not None
    digest = economy.tools.digest()
    compared = Comparison(signed, old_size, digest, economy.block)
    return compared if compared.read(fd, size) else None
