"""What earlier runs have sent, in one small file that is only appended to.

It lets a file that was removed while nothing ran be removed over there at the next start.
Losing it loses only that (and, with a tar that keeps whole seconds, some sending anew).

The file is a header, then records: ``+`` and an entry of the table (36 bytes) and a path,
``-`` and a path, or ``?`` and a path, each path ended by NUL; a directory's ends in ``/``.
``+`` and ``-`` are appended when a batch is acknowledged. An answer can be lost on its way
while what it answers was done, so ``?`` is appended before a new path is sent: what the far
end holds there is not known, but if it holds anything, it is ours. So a run killed at any
moment has remembered all it may later delete. A record cut short is left out.
"""

from __future__ import annotations

import errno
import fcntl
import os

from filerep import table as tables

_HEADER = b"file-replicator state 1\n"
_ENTRY_BYTES = 36

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

    def load(self, into: tables.Table, marks: int) -> None:
        """Put all that is remembered into ``into`` with ``marks``, and tidy the file."""
        enter(self._tidy(), into, marks)

    def _tidy(self) -> dict[bytes, bytes]:
        """Cut off what is no whole record, leave out what is void; what is remembered."""
        size = os.fstat(self._fd).st_size
        kept, whole = parse(os.pread(self._fd, size, 0))
        os.ftruncate(self._fd, whole)
        self._rewrite(kept, whole)
        self._room = max(_LEAST_ROOM, os.fstat(self._fd).st_size)
        return kept

    def _rewrite(self, kept: dict[bytes, bytes], size: int) -> None:
        """Leave out what later records made void, once that is half of the file."""
        records = b"".join([b"+%s%s\0" % (value, path) for path, value in kept.items()])
        if size and size < 2 * (len(_HEADER) + len(records)):
            os.lseek(self._fd, 0, os.SEEK_END)
            return
        old = self._fd
        fresh = self._path + b".new"
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.write(fd, _HEADER + records)
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

    def intend(self, paths: list[bytes]) -> None:
        """Remember that ``paths`` are about to be sent, a directory's ending in ``/``."""
        self._write([b"?%s\0" % path for path in paths])

    def append(self, put: list[tuple[bytes, bytes]], removed: list[bytes]) -> None:
        """Remember ``put``, pairs of path and entry, and forget ``removed``."""
        records = [b"-%s\0" % path for path in removed]
        records += [b"+%s%s\0" % (value, path) for path, value in put]
        self._write(records)

    def _write(self, records: list[bytes]) -> None:
        if records:
            self._room -= os.write(self._fd, b"".join(records))
            if self._room < 0:
                self._tidy()


def parse(data: bytes) -> tuple[dict[bytes, bytes], int]:
    """What a state file's bytes remember, and how many of them are whole records.

    Entries by path, a directory's path ending in ``/``.
    """
    kept: dict[bytes, bytes] = {}
    if not data.startswith(_HEADER):
        return kept, 0
    at = len(_HEADER)
    while at < len(data):
        sign = data[at : at + 1]
        start = at + 1 + (_ENTRY_BYTES if sign == b"+" else 0)
        stop = data.find(b"\0", start)
        if stop < 0:
            break
        path = data[start:stop]
        if sign == b"+":
            kept[path] = data[at + 1 : start]
        elif sign == b"?":
            kept.setdefault(path, tables.DOUBTED)
        else:
            kept.pop(path, None)
        at = stop + 1
    return kept, at


def enter(kept: dict[bytes, bytes], into: tables.Table, marks: int) -> None:
    """Put what ``parse`` found into a table, with ``marks``.

    A path can be both, where a file was to become a directory and nobody knows whether it
    did. Directories come first, as one that is entered takes the place of a file.
    """
    for path in sorted(kept, key=lambda path: not path.endswith(b"/")):
        value = kept[path]
        value = tables.marked(value, marks | tables.marks(value) & tables.UNSURE)
        if path.endswith(b"/"):
            into.put_directory(path[:-1], value)
        else:
            into.put(path, value)
