"""A batch as a gzip stream (RFC 1952) of whole blocks of 512 bytes, so that a dd can count them.

Several members in a row are one stream to each gunzip. What does not shrink is stored: a
sample of each piece tells, and a new member begins where that changes. Not so at the levels for
the slowest links, where there is time: between pictures lie tar's headers, which do shrink. The
last member is empty, with an extra field as long as the last block has room for.
"""

from __future__ import annotations

import struct
import time
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

BLOCK = 512
_PLAIN = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_EXTRA = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"
_SAMPLE = 1 << 13
_SHRINKS = 0.95  # to at most so much of it, or compressing is a waste of time
_LEAST = 1 << 10  # bytes from which on that is asked
_PATIENT = 6  # the level from which on nothing is stored


class GzipStream:
    """Takes bytes, gives them back compressed, all at once."""

    def __init__(self, level: int) -> None:
        """``level`` as zlib has it, 1 to 9."""
        self._level = level
        self._parts: list[bytes] = []
        self._zip: Optional[zlib._Compress] = None
        self._stores = False
        self._sum = self._length = 0
        self.seconds = 0.0  # that were spent on it

    def add(self, data: bytes | memoryview) -> None:
        if not data:
            return
        began = time.perf_counter()
        stores = self._stores
        if len(data) >= _LEAST and self._level < _PATIENT:
            stores = not self._shrinks(data)
        if self._zip is None or stores != self._stores:
            self._end_member()
            self._stores = stores
            self._begin_member()
        assert self._zip is not None
        self._parts.append(self._zip.compress(data))
        self._sum = zlib.crc32(data, self._sum)
        self._length += len(data)
        self.seconds += time.perf_counter() - began

    def _shrinks(self, data: bytes | memoryview) -> bool:
        middle = max(0, len(data) // 2 - _SAMPLE // 2)
        sample = bytes(data[middle : middle + _SAMPLE])
        return len(zlib.compress(sample, 1)) < _SHRINKS * len(sample)

    def _begin_member(self) -> None:
        level = 0 if self._stores else self._level
        self._zip = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._sum = self._length = 0
        self._parts.append(_PLAIN)

    def _end_member(self) -> None:
        if self._zip is not None:
            self._parts.append(self._zip.flush())
            self._parts.append(struct.pack("<II", self._sum, self._length & 0xFFFFFFFF))
            self._zip = None

    def end(self) -> bytes:
        """The whole stream; its length is a multiple of 512."""
        self._end_member()
        empty = b"\x03\0" + bytes(8)
        length = sum(map(len, self._parts)) + len(_EXTRA) + 2 + len(empty)
        extra = -length % BLOCK
        self._parts += [_EXTRA, struct.pack("<H", extra), bytes(extra), empty]
        return b"".join(self._parts)
