"""What is kept of a file that was sent, to find out later which parts of it are still the same.

A signature has a fingerprint of 16 bytes for each block of the file: the six bytes that the block
begins with, and twenty bits of a CRC for each quarter of it. The CRCs tell whether a block, or a
quarter of it, is the same. Its first bytes find it again where something was put before it: to
search for bytes is a hundred times as fast as a checksum at every place (rsync's rolling one is
too slow in Python).

A fingerprint can be wrong about a block, by chance or on purpose. So the far end shows by a digest
of the whole that what it has built is right, before it is put into place; a wrong fingerprint
costs another sending, and no more. A block of a large file is of a size that the fingerprints take
0.1 % of what they stand for. Each edit costs a quarter of a block, which in a smaller file would be
more than rsync sends (a block of it is the root of the size): so it has smaller ones, of which the
fingerprints take 0.2 %, 0.4 %, or, of the smallest files, 128 bytes.
All of it, with that digest, costs 1 to 2 ms for each megabyte.
"""

from __future__ import annotations

import os
from zlib import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLOCK = 1 << 14
# Of files that have no more bytes than this.
_BLOCKS = ((1 << 14, 1 << 11), (1 << 20, 1 << 12), (1 << 23, 1 << 13))
FINGERPRINT_BYTES = 16
_HEAD = 6  # bytes of a block's beginning
QUARTERS = 4
_BITS = 20  # of each CRC
_ONES = (1 << _BITS) - 1
_WINDOW = 1 << 24  # bytes that are looked through at a time

# What a search may cost, where little is as it was: bytes to look through for a block, in sizes
# of the file, where a place that looks right at first counts as so many bytes; such places, for
# one search; and stretches of a block's length in which any block is looked for, and one more for
# each megabyte.
_SEARCHED_SIZES = 16
_TRY_BYTES = 1 << 9
_TRIES, _TRIES_NEAR = 64, 1 << 10
_STRETCHES = 16
_NEAR = 2  # blocks: so far ahead is believed at once


def block_of(size: int) -> int:
    """How large a block is in a file of ``size``; the same for all of that size."""
    return next((block for most, block in _BLOCKS if size <= most), BLOCK)


def fingerprint(block: bytes | memoryview, size: int = BLOCK) -> bytes:
    """Of a block, the last of which may be shorter than ``size``."""
    quarter = size // QUARTERS
    sums = 0
    for number in range(QUARTERS):
        part = block[number * quarter : (number + 1) * quarter]
        sums |= (crc32(part) & _ONES) << number * _BITS
    head = bytes(block[:_HEAD]).ljust(_HEAD, b"\0")
    return head + sums.to_bytes(FINGERPRINT_BYTES - _HEAD, "little")


def _sums(known: bytes) -> int:
    return int.from_bytes(known[_HEAD:], "little")


class Signer:
    """Makes a signature of what it is fed, in pieces of any size."""

    def __init__(self, block: int = BLOCK) -> None:
        self._block = block
        self._fingerprints = bytearray()  # a list of them takes four times as much
        self._rest = b""

    def feed(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        if self._rest:
            lacks = self._block - len(self._rest)
            self._rest += view[:lacks]
            view = view[lacks:]
            if len(self._rest) < self._block:
                return
            self._fingerprints += fingerprint(self._rest, self._block)
            self._rest = b""
        whole = len(view) - len(view) % self._block
        for at in range(0, whole, self._block):
            self._fingerprints += fingerprint(view[at : at + self._block], self._block)
        self._rest = bytes(view[whole:])

    def signature(self) -> bytes:
        """Of all that was fed."""
        last = fingerprint(self._rest, self._block) if self._rest else b""
        return bytes(self._fingerprints) + last


class Range:
    """``length`` bytes of the new file: at ``old`` in the old one, or, if -1, new."""

    __slots__ = ("old", "start", "length")

    def __init__(self, old: int, start: int, length: int) -> None:
        self.old = old
        self.start = start
        self.length = length


class Comparison:
    """Goes through a file that has changed, and finds what of it the old one holds.

    Afterwards ``ranges`` make up the file in their order, ``signature`` is its own and
    ``digest`` that of the whole.
    """

    def __init__(
        self,
        old: bytes,
        old_size: int,
        digest: Any,
        block: int = BLOCK,
        new_block: int = 0,
    ) -> None:
        """``old``: the old file's signature, of such blocks. ``digest`` is fed, as a hashlib object
        is. ``new_block`` is for the new signature, if another than ``block``."""
        self._block = block
        self.quarter = block // QUARTERS
        self._old = old
        self._old_count = len(old) // FINGERPRINT_BYTES
        self._old_size = old_size
        self._heads: set[bytes] = set()
        self._fronts: set[tuple[bytes, int]] = set()  # and the first quarter's CRC
        self._numbers: dict[bytes, int] = {}  # by fingerprint
        self._far: dict[int, int] = {}  # where in the file an old block is further on
        self._beyond = -1  # one of them: the first behind many that are gone
        self._signer = Signer(new_block or block)
        self.digest = digest
        self.ranges: list[Range] = []
        self._expected = 0  # the old block that comes next if nothing has changed
        self._stretches = 0
        self._to_search = 0

    @property
    def signature(self) -> bytes:
        return self._signer.signature()

    @property
    def new_bytes(self) -> int:
        """How many bytes the old file does not hold."""
        return sum(one.length for one in self.ranges if one.old < 0)

    @property
    def appended(self) -> bool:
        """Is all that the old file held there still, and what is new behind it?"""
        first = self.ranges[0] if self.ranges else None
        if first is None or first.old or first.length != self._old_size:
            return False
        return all(one.old < 0 for one in self.ranges[1:])

    def read(self, fd: int, size: int) -> bool:
        """Take in ``size`` bytes of the file open as ``fd``; False if it has less."""
        self._to_search = _SEARCHED_SIZES * size + _WINDOW
        self._stretches = _STRETCHES + (size >> 20)
        data = b""
        base = 0  # where in the file ``data`` begins
        ended = False
        while not ended:
            at = base + len(data)
            # pread has memory made for all that it is asked for.
            more = os.pread(fd, min(_WINDOW, size - at), at)
            self._signer.feed(more)
            self.digest.update(more)
            data += more
            ended = at + len(more) >= size or not more
            if ended and not base and size == self._old_size == len(data):
                if self.signature == self._old:  # as of a file that was touched
                    self._add(0, 0, size)
                    return True
            done = self._compare(data, base, ended)
            data = data[done:]
            base += done
        return base == size

    def _compare(self, data: bytes, base: int, ended: bool) -> int:
        """Find the ranges of ``data``, which lies at ``base``; how much of it was done."""
        if not self._old:
            self._add(-1, base, len(data))
            return len(data)
        at, end = 0, len(data)
        block = self._block
        while at < end and (ended or at + 2 * block <= end):
            if self._same(data, at, self._expected):
                at += self._take(base + at, self._expected)
                continue
            found, old = self._find(data, base, at, ended)
            begin, there = self._back(data, at, found, old, ended)
            self._over(data, base, at, begin)
            self._add(there, base + begin, found - begin)
            at, self._expected = found, old
        return at

    def _back(
        self, data: bytes, at: int, end: int, old: int, ended: bool
    ) -> tuple[int, int]:
        """Where behind ``at`` the quarters begin that go before what is at ``end``, as they do in
        the old file, and where in that: something was put in, or removed, before them.

        That is the old block of that number, or the end of both.
        """
        if ended and end == len(data):
            there = self._old_size
        elif self._same(data, end, old):
            there = old * self._block
        else:
            return end, 0
        view, quarter = memoryview(data), self.quarter
        while there:
            before = (there - 1) // quarter * quarter
            begin = end - (there - before)
            number, place = divmod(before // quarter, QUARTERS)
            known = _sums(self._known(number)) >> place * _BITS
            if begin < at or (crc32(view[begin:end]) ^ known) & _ONES:
                break
            end, there = begin, before
        return end, there

    def _same(self, data: bytes, at: int, old: int) -> bool:
        """Is the old block of that number at ``at``?"""
        if not 0 <= old < self._old_count:
            return False
        known, length = self._known(old), self._length(old)
        head = min(_HEAD, length)
        if len(data) - at < length or data[at : at + head] != known[:head]:
            return False
        view = memoryview(data)[at : at + length]
        if (crc32(view[: self.quarter]) ^ _sums(known)) & _ONES:
            return False
        return fingerprint(view, self._block) == known

    def _known(self, old: int) -> bytes:
        return self._old[old * FINGERPRINT_BYTES : (old + 1) * FINGERPRINT_BYTES]

    def _length(self, old: int) -> int:
        return min(self._block, self._old_size - old * self._block)

    def _find(self, data: bytes, base: int, at: int, ended: bool) -> tuple[int, int]:
        """Where behind ``at`` an old block begins, and which is expected there.

        If none does so soon, the end of this block, or of the file if that is near.
        """
        block, expected = self._block, self._expected
        # Written over in place: the next block is where it was.
        for ahead in (1, 2):
            if self._same(data, at + ahead * block, expected + ahead):
                return at + ahead * block, expected + ahead
        # A little was put in or cut out: what follows is near. Else a file with many such places
        # would be searched through to its end for each.
        for old in (expected + 1, expected + 2, expected):
            found = self._search(data, at, old, at + (_NEAR + 1) * block)
            if found >= 0:
                return found, old
        # Something was put before it, or the first of some blocks was removed.
        far = len(data)
        if not at or self._in_step:
            self._beyond = self._look_beyond(data, base, at)
        for old in (expected, expected + 1, self._beyond):
            found = self._far.get(old, -1) - base
            if found < at:
                found = self._search(data, at, old)
            if at <= found < at + _NEAR * block:
                return found, old
            if found >= 0:
                self._far[old] = base + found
                far = min(far, found)
        # Any block at all: what was moved within the file, what is left behind a removal.
        if self._stretches > 0 and self._to_search > 0:
            self._stretches -= 1
            place, old = self._any(data, at)
            if place >= 0:
                self._stretches += 1
                return place, old
        if far < len(data):  # not to be passed over while another may be nearer
            return min(at + block, far), expected
        near = ended and len(data) < at + 2 * block
        return len(data) if near else at + block, expected + 1

    @property
    def _in_step(self) -> bool:
        """Was what came last in the old file?"""
        return bool(self.ranges) and self.ranges[-1].old >= 0

    def _look_beyond(self, data: bytes, base: int, at: int) -> int:
        """The first old block behind many that are gone, if it is found; else -1.

        Looked for at steps that double, and then back from where one was found.
        """
        step = 2
        while self._expected + step < self._old_count:
            old = self._expected + step
            found = self._search(data, at, old)
            if found >= 0:
                while found - self._block >= at and self._same(
                    data, found - self._block, old - 1
                ):
                    found, old = found - self._block, old - 1
                self._far[old] = base + found
                return old
            step *= 2
        return -1

    def _search(self, data: bytes, at: int, old: int, most: int = 1 << 62) -> int:
        """Where behind ``at``, and before ``most``, that old block begins, -1 for nowhere."""
        if not 0 <= old < self._old_count or self._length(old) < _HEAD:
            return -1
        head = self._known(old)[:_HEAD]
        for _ in range(_TRIES if most > len(data) else _TRIES_NEAR):
            if self._to_search <= 0:
                return -1
            found = data.find(head, at, min(most, at + self._to_search))
            self._to_search -= (found if found >= 0 else min(most, len(data))) - at
            if found < 0 or self._same(data, found, old):
                return found
            self._to_search -= _TRY_BYTES
            at = found + 1
        return -1

    def _any(self, data: bytes, at: int) -> tuple[int, int]:
        """Where in the next block's length any old block begins, and which; -1 for nowhere."""
        if not self._numbers:
            for number in range(self._old_count):
                if self._length(number) == self._block:
                    self._numbers.setdefault(self._known(number), number)
            self._heads = {known[:_HEAD] for known in self._numbers}
            self._fronts = {
                (known[:_HEAD], _sums(known) & _ONES) for known in self._numbers
            }
        heads, fronts, numbers = self._heads, self._fronts, self._numbers
        block, quarter, view = self._block, self.quarter, memoryview(data)
        for place in range(at, min(at + block, len(data) - block + 1)):
            head = data[place : place + _HEAD]
            if head not in heads:
                continue
            self._to_search -= _TRY_BYTES
            front = crc32(view[place : place + quarter]) & _ONES
            if (head, front) in fronts:
                old = numbers.get(fingerprint(view[place : place + block], block), -1)
                if old >= 0:
                    return place, old
        return -1, 0

    def _take(self, start: int, old: int) -> int:
        """An old block is at ``start``; its length."""
        length = self._length(old)
        self._add(old * self._block, start, length)
        self._expected = old + 1
        return length

    def _over(self, data: bytes, base: int, at: int, end: int) -> None:
        """From ``at`` to ``end`` no old block is whole; what is left of those expected there."""
        view = memoryview(data)
        old, quarter = self._expected, self.quarter
        while at < end:
            stop = min(at + self._block, end)
            differs = -1
            if old < self._old_count:
                now = fingerprint(view[at : at + self._block], self._block)
                differs = _sums(now) ^ _sums(self._known(old))
            for number in range(QUARTERS):
                start, length = at + number * quarter, min(quarter, stop - at)
                length = min(length, stop - start)
                if length <= 0:
                    break
                there = self._length(old) - number * quarter if differs >= 0 else 0
                if there >= length == quarter and not differs & _ONES:
                    self._add(
                        old * self._block + number * quarter, base + start, length
                    )
                else:
                    self._add(-1, base + start, length)
                differs >>= _BITS
            at, old = stop, old + 1

    def _add(self, old: int, start: int, length: int) -> None:
        last = self.ranges[-1] if self.ranges else None
        if last and last.old < 0 and old < 0:
            last.length += length
        elif last and 0 <= last.old == old - last.length:
            last.length += length
        elif length:
            self.ranges.append(Range(old, start, length))
