"""What earlier runs have sent, in one small file that is mostly appended to.

It lets a file that was removed while nothing ran be removed over there at the next start.
Losing it loses only that (and, with a tar that keeps whole seconds, some sending anew).

The file is a header, then records. A path ends in NUL, a directory's in ``/`` and NUL:

* ``+`` and an entry of the table (35 bytes) and a path: acknowledged.
* ``-`` and a path: removed over there.
* ``?`` and a path, written before a new path is sent. An answer can be lost on its way
  while what it answers was done: what the far end holds there is not known, but if it
  holds anything, it is ours. So a run killed at any moment has remembered all it may
  later delete.
* ``#`` and a digest (16 bytes) and a directory: a listing of it with this digest shows
  what is remembered at this point of the file, no less and no more. It is void once a
  later record changes that, and saves reading that listing word by word.
* ``=`` and a directory and all of it at once, so that a start costs little for each file:
  a count, the length of the names, a digest or zeros, then the entries, then the names
  with NUL in between. The file is rewritten as these when much was appended.

A record cut short is left out.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from filerep.digest import BYTES as DIGEST_BYTES
from filerep.pathstream import inside
from filerep.replica import table as tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER = b"file-replicator state 2\n"
_BLOCK = struct.Struct("<II16s")  # entries, bytes of names, digest
_NO_DIGEST = bytes(DIGEST_BYTES)
_FIXED = {b"+": tables.ENTRY_BYTES, b"#": DIGEST_BYTES}  # bytes in front of the path

# A log that is saved all day must not fill the disk: once so much was appended, and at
# least as much as there was, the file is tidied as at a start.
_LEAST_ROOM = 4 << 20


class Busy(Exception):
    """Another run holds the state file."""


class State:
    """The open, locked state file."""

    def __init__(self, path: bytes) -> None:
        """Open or make ``path``; raises ``Busy`` or OSError."""
        self._path = path
        self._room = _LEAST_ROOM  # how much more is written before the file is tidied
        self._lock(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise Busy from None
            raise
        self._fd = fd

    def tidy(self) -> Remembered:
        """What is remembered. What is no whole record is cut off, what is void left out."""
        kept = parse(os.pread(self._fd, os.fstat(self._fd).st_size, 0))
        os.ftruncate(self._fd, kept.whole)
        os.lseek(self._fd, 0, os.SEEK_END)
        self._room = max(_LEAST_ROOM, kept.whole)
        if not kept.whole or 8 * kept.logged > kept.whole:
            try:
                self._rewrite(kept)
            except OSError:
                if not kept.whole:
                    raise  # else a full disk, say: the old file says the same
        return kept

    def _rewrite(self, kept: Remembered) -> None:
        """Write everything anew, a block a directory, in a file that takes the old one's place."""
        old = self._fd
        fresh = self._path + b".new"
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, kept.encode())
        except OSError:
            os.close(fd)
            os.unlink(fresh)
            raise
        self._lock(fd)
        os.rename(fresh, self._path)
        os.close(old)

    def close(self) -> None:
        """Let another run have the file."""
        os.close(self._fd)

    def clear(self) -> None:
        """The far end is empty: nothing that was sent is there."""
        os.ftruncate(self._fd, len(_HEADER))
        os.lseek(self._fd, 0, os.SEEK_END)

    def intend(self, paths: Sequence[bytes]) -> None:
        """Remember that ``paths`` are about to be sent, a directory's ending in ``/``."""
        self._write([b"?%s\0" % path for path in paths])

    def append(
        self,
        put: list[tuple[bytes, bytes]],
        removed: list[bytes],
        grown: Sequence[bytes] = (),
    ) -> None:
        """Remember ``put``, pairs of path and entry, and forget ``removed``.

        Those of ``put`` in ``grown`` were intended, and not remembered before.
        """
        self._room += _lasting(grown) - _lasting(removed)
        records = [b"-%s\0" % path for path in removed]
        records += [b"+%s%s\0" % (value, path) for path, value in put]
        self._write(records)

    def confirm(self, digests: dict[bytes, bytes]) -> None:
        """Remember listings, by directory, that showed just what is remembered now."""
        self._write([b"#%s%s\0" % (digests[one], one) for one in digests])

    def _write(self, records: list[bytes]) -> None:
        if records:
            data = b"".join(records)
            _write_all(self._fd, data)
            self._room -= len(data)
            if self._room < 0:
                self.tidy()


def _lasting(paths: Sequence[bytes]) -> int:
    """Bytes that ``?`` and ``+`` of each path take, which are there to stay until it is removed.

    They leave the room as it is: to tidy a file that only grew would save little, and takes
    the memory of a second table.
    """
    return 2 * sum(map(len, paths)) + (4 + tables.ENTRY_BYTES) * len(paths)


def _write_all(fd: int, data: bytes) -> None:
    """Or OSError: the rest is tried, as a full disk takes a part without a word."""
    while data:
        data = data[os.write(fd, data) :]


class Remembered:
    """What a state file's bytes say."""

    def __init__(self) -> None:
        # By directory, as in a table; entries are marked UNSEEN.
        self.rows: dict[bytes, dict[bytes, bytes]] = {}
        self.digests: dict[bytes, bytes] = {}
        self.whole = 0  # bytes of whole records, and the header
        self.logged = 0  # how many of them are not in blocks

    def encode(self) -> bytes:
        """A state file that says the same."""
        blocks = [_HEADER]
        for directory, row in self.rows.items():
            names = b"\0".join(row)
            digest = self.digests.get(directory, _NO_DIGEST)
            blocks.append(b"=%s\0" % directory)
            blocks.append(_BLOCK.pack(len(row), len(names), digest))
            blocks += row.values()
            blocks.append(names)
        return b"".join(blocks)

    def enter(self, into: tables.Table, marks: int) -> None:
        """Put it into a table that is empty, with ``marks``."""
        for directory, row in self.rows.items():
            if marks != tables.OURS | tables.UNSEEN:
                for name, value in row.items():
                    sure = tables.marks(value) & tables.UNSURE
                    row[name] = tables.marked(value, marks | sure)
            into.put_row(directory, row)
        into.digests = self.digests


def parse(data: bytes) -> Remembered:
    """What a state file's bytes remember."""
    kept = Remembered()
    if not data.startswith(_HEADER):
        return kept
    rows, digests = kept.rows, kept.digests
    at = len(_HEADER)
    while at < len(data):
        sign = data[at : at + 1]
        start = at + 1 + _FIXED.get(sign, 0)
        stop = data.find(b"\0", start)
        if stop < 0:
            break
        path = data[start:stop]
        if sign == b"=":
            stop = _parse_block(data, stop + 1, path, kept)
            if stop < 0:
                break
            at = stop
            continue
        kept.logged += stop + 1 - at
        if sign == b"#":
            digests[path] = data[at + 1 : start]
            at = stop + 1
            continue
        if not inside(path):
            at = stop + 1
            continue
        parent, name = tables.place(path)
        digests.pop(parent, None)
        row = rows.get(parent)
        if row is None:
            row = rows[parent] = {}
        if sign == b"+":
            value = data[at + 1 : start]
            row[name] = tables.marked(value, tables.marks(value) | tables.UNSEEN)
        elif sign == b"?":
            row.setdefault(name, tables.UNSEEN_DOUBTED)
        else:
            row.pop(name, None)
        at = stop + 1
    kept.whole = at
    kept.rows = {directory: row for directory, row in rows.items() if row}
    return kept


def _parse_block(data: bytes, start: int, directory: bytes, kept: Remembered) -> int:
    """Take in the block of ``directory`` whose counts begin at ``start``; its end, or -1."""
    entries = start + _BLOCK.size
    if entries > len(data):
        return -1
    count, length, digest = _BLOCK.unpack_from(data, start)
    names = entries + count * tables.ENTRY_BYTES
    stop = int(names + length)
    if stop > len(data):
        return -1
    values = [
        data[at : at + tables.ENTRY_BYTES]
        for at in range(entries, names, tables.ENTRY_BYTES)
    ]
    row = dict(zip(data[names:stop].split(b"\0"), values))
    prefix = directory + b"/" if directory else b""
    if not all(inside(prefix + name) for name in row):
        return stop
    kept.rows[directory] = row
    if digest != _NO_DIGEST:
        kept.digests[directory] = digest
    return stop
