"""A state file's bytes: a header, a flag, then frames, each with a check of its own.

What the frames hold, staterows.py knows; when they are written, statefile.py.
"""

from __future__ import annotations

import os
import struct
from zlib import crc32

from filerep import ownfiles
from filerep.digest import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int, int], bytes]  # of a size, from an offset, as pread(2)

NAME = b"file-replicator state "
HEADER = NAME + b"3\n"

# What became of the run that wrote last: it has ended in order, with so many frames; it is
# under way, or was killed; it could not write any more.
ENDED, OPEN, UNWRITTEN = b"E", b"O", b"U"
_FLAG = struct.Struct("<cI16sI")  # sign, frames, what no copy of the file has, checksum
_AT_ONCE = 100_000  # microseconds from one write of a flag to the next
BEGIN = len(HEADER) + _FLAG.size

_MAGIC = b"\xf5\x1eFR"
_FRAME = struct.Struct("<4scIII")  # magic, kind, length, number, checksum
FRAME_BYTES = _FRAME.size  # in front of what a frame holds
_CHECKSUM = struct.Struct("<I")

# Bounds for what is damaged, or was not written by us: it costs little time and memory.
_MOST_FRAME = 8 << 20
_MOST_DAMAGE = 64 << 20  # bytes in which the next frame is looked for
_WINDOW = 1 << 20


def flag(sign: bytes, frames: int, about: os.stat_result | None = None) -> bytes:
    """What follows the header, and is overwritten in place, in the file that is known by ``about``."""
    if sign == ENDED and about:
        own = b"%016d" % (about.st_ctime_ns // 1000)
    else:
        inode = about.st_ino if about else 0
        own = digest(f"{ownfiles.running_kernel() or ''} {inode}".encode())
    data = _FLAG.pack(sign, frames, own, 0)[:-4]
    return data + _CHECKSUM.pack(crc32(data))


def is_true(found: bytes, frames: int, about: os.stat_result | None = None) -> bool:
    """Does the flag ``found`` tell that ``frames`` is all there is?

    Not in a copy of the file, as out of a backup: it does not tell what has happened since.
    """
    if len(found) < _FLAG.size or _CHECKSUM.pack(crc32(found[:-4])) != found[-4:]:
        return False
    sign, count, own = _FLAG.unpack(found)[:3]
    if sign == ENDED and about and own.isdigit():
        # It was the last write, and nobody can give a copy the time of that.
        after = about.st_ctime_ns // 1000 - int(own)
        return bool(count == frames and 0 <= after < _AT_ONCE)
    return bool(sign == OPEN and found == flag(OPEN, count, about))


def frame(kind: bytes, data: bytes, number: int) -> bytes:
    head = _FRAME.pack(_MAGIC, kind, len(data), number, 0)[:-4]
    return b"%s%s%s" % (head, _CHECKSUM.pack(crc32(data, crc32(head))), data)


class Frames:
    """Goes through the frames of a file, and over what is none."""

    def __init__(self, size: int, read: Read) -> None:
        self._size = size
        self._read = read
        self._base, self._window = 0, b""  # what was read last, and from where
        self.count = 0  # of frames, or the number behind the last
        self.end = min(size, BEGIN)  # of the last whole frame
        self.damaged = 0  # bytes of the file that are none, or out of their place

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Kind and content of each."""
        at = BEGIN
        while at < self._size and self.damaged <= _MOST_DAMAGE:
            head = self._bytes(at, FRAME_BYTES)
            if self._is_cut(at, head):
                return
            data = self._content(at, head)
            if data is None:
                at = self._next(at)
                continue
            kind, length, number = _FRAME.unpack(head)[1:4]
            stop = at + FRAME_BYTES + length
            if number != self.count:
                self.damaged += stop - at  # some are missing, or stand here once more
            if number >= self.count:
                self.count = number + 1
                yield kind, data
            at = self.end = stop

    def _bytes(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``at`` on."""
        start = at - self._base
        if not 0 <= start <= start + size <= len(self._window):
            self._base, start = at, 0
            self._window = self._read(max(_WINDOW, size), at)
        return self._window[start : start + size]

    def _is_cut(self, at: int, head: bytes) -> bool:
        """Is the last frame cut short, as by the end of a process?

        Not if another one follows: then it is its length that is wrong.
        """
        if len(head) < FRAME_BYTES:
            return _MAGIC.startswith(head[: len(_MAGIC)])
        magic, _, length, number, _ = _FRAME.unpack(head)
        left = self._size - at
        return (
            magic == _MAGIC
            and number == self.count
            and left - FRAME_BYTES < length <= _MOST_FRAME
            and _MAGIC not in self._bytes(at, left)[len(_MAGIC) :]
        )

    def _content(self, at: int, head: bytes) -> bytes | None:
        """What the frame at ``at`` holds, None if it is none."""
        if len(head) < FRAME_BYTES or not head.startswith(_MAGIC):
            return None
        _, _, length, _, check = _FRAME.unpack(head)
        if length > min(_MOST_FRAME, self._size - at - FRAME_BYTES):
            return None
        data = self._bytes(at, FRAME_BYTES + length)[FRAME_BYTES:]
        return data if crc32(data, crc32(head[:-4])) == check else None

    def _next(self, at: int) -> int:
        """Where behind ``at`` a frame may begin."""
        self._bytes(at, _WINDOW)
        start = at - self._base
        found = self._window.find(_MAGIC, start + 1)
        if found < 0:  # it may begin in the last bytes of the window
            found = max(start + 1, len(self._window) - len(_MAGIC) + 1)
        self.damaged += found - start
        return self._base + found
