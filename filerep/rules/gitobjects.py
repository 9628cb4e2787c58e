"""The objects of a git repository: what stands in them, by their name.

Read here and not by git: where an object is missing, git may run a command of the
repository's to fetch it. Loose objects, packs (versions 1 and 2 of their index) and
alternates, by gitrepository-layout(5) and gitformat-pack(5).
"""

from __future__ import annotations

import os
import zlib
from binascii import hexlify

from filerep.rules.untrustedfile import LARGEST, opened, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST_ALTERNATE = 5  # as git
DEEPEST_DELTA = 4096
KINDS = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}
OFFSET_DELTA, NAMED_DELTA = 6, 7


class Damaged(ValueError):
    """What should be an object is none."""


class Objects:
    """All that is in one object directory and those that it names."""

    def __init__(self, place: bytes, width: int) -> None:
        """``width`` is that of an object's name, in bytes."""
        self._place = place
        self._width = width
        self._packs: list[Pack] | None = None

    def get(self, name: bytes) -> tuple[bytes, bytes] | None:
        """Kind and contents of an object; None if it is not there, or damaged."""
        listed = self._packs is not None
        found = self._try(name)
        if found is None and listed:
            # A fetch brings more packs, and `git gc` puts others in their place.
            self._packs = None
            found = self._try(name)
        return found

    def _try(self, name: bytes) -> tuple[bytes, bytes] | None:
        try:
            return self._get(name)
        except (Damaged, IndexError, ValueError, OSError, zlib.error):
            return None

    def _get(self, name: bytes) -> tuple[bytes, bytes] | None:
        digits = hexlify(name)
        for place in self._places():
            data = read(os.path.join(place, digits[:2], digits[2:]))
            if data is not None:
                head, _, body = inflate(data, LARGEST).partition(b"\0")
                return head.partition(b" ")[0], body
        if self._packs is None:
            self._packs = [
                pack for place in self._places() for pack in packs(place, self._width)
            ]
        for pack in self._packs:
            at = pack.find(name)
            if at is not None:
                return self._unpack(pack, at)
        return None

    def _places(self) -> Iterator[bytes]:
        rest = [(self._place, 0)]
        seen = set()
        while rest:
            place, depth = rest.pop(0)
            if place in seen or depth > DEEPEST_ALTERNATE:
                continue
            seen.add(place)
            yield place
            try:
                more = read(os.path.join(place, b"info/alternates")) or b""
            except OSError:
                continue
            for line in more.split(b"\n"):
                if line and not line.startswith(b"#"):
                    rest.append(
                        (os.path.normpath(os.path.join(place, line)), depth + 1)
                    )

    def _unpack(self, pack: Pack, at: int) -> tuple[bytes, bytes]:
        deltas = []
        total = 0
        while True:
            kind, size, base, data = pack.entry(at)
            if kind in KINDS:
                break
            deltas.append(data)
            total += len(data)
            if len(deltas) > DEEPEST_DELTA or total > LARGEST:
                raise Damaged("too many deltas")
            if isinstance(base, int):
                at = base
                continue
            # It is in the same pack. Elsewhere a search could go round in circles.
            found = pack.find(base)
            if found is None:
                raise Damaged("a delta has no base")
            at = found
        for delta in reversed(deltas):
            data = patch(data, delta)
        return KINDS[kind], data


class Pack:
    """One pack and its index, of which only what is asked for is read: they may have gigabytes."""

    def __init__(self, path: bytes, width: int) -> None:
        self._path = path  # without what is behind the full stop
        self._width = width
        self._fd: int | None = None

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def find(self, name: bytes) -> int | None:
        """Where in the pack the object is."""
        fd = opened(self._path + b".idx")
        if fd is None:
            return None
        try:
            return _found(fd, name, self._width)
        finally:
            os.close(fd)  # there may be more packs than descriptors

    def entry(self, at: int) -> tuple[int, int, int | bytes, bytes]:
        """Kind, size, base and data of the entry at ``at``."""
        if self._fd is None:
            self._fd = opened(self._path + b".pack")
            if self._fd is None:
                raise Damaged("a pack is not there")
        head = os.pread(self._fd, 64, at)
        kind = (head[0] >> 4) & 7
        size = head[0] & 15
        here, shift = 1, 4
        while head[here - 1] & 0x80:
            size |= (head[here] & 0x7F) << shift
            here, shift = here + 1, shift + 7
        base: int | bytes = b""
        if kind == OFFSET_DELTA:
            back = head[here] & 0x7F
            while head[here] & 0x80:
                here += 1
                back = ((back + 1) << 7) | (head[here] & 0x7F)
            here += 1
            if not 0 < back <= at:
                raise Damaged("a delta leads nowhere")
            base = at - back
        elif kind == NAMED_DELTA:
            base, here = head[here : here + self._width], here + self._width
        elif kind not in KINDS:
            raise Damaged("an entry of an unknown kind")
        if size > LARGEST:
            raise Damaged("too large")
        return kind, size, base, _inflate_at(self._fd, at + here, size)


def _found(fd: int, name: bytes, width: int) -> int | None:
    """Where the object is in the pack whose index is open."""
    fans = os.pread(fd, 1032, 0)
    if len(fans) < 1032:
        return None
    second = fans.startswith(b"\xfftOc")
    before = 8 if second else 0
    first = name[0]
    low = _number(fans, before + 4 * first - 4) if first else 0
    high = _number(fans, before + 4 * first)
    count = _number(fans, before + 4 * 255)
    names = before + 1024
    step = width if second else width + 4
    skip = 0 if second else 4
    while low < high:
        middle = (low + high) // 2
        at = names + middle * step + skip
        there = os.pread(fd, width, at)
        if there == name:
            if not second:
                return _number(os.pread(fd, 4, at - 4), 0)
            offsets = names + count * (width + 4)
            offset = _number(os.pread(fd, 4, offsets + 4 * middle), 0)
            if not offset >> 31:
                return offset
            large = offsets + 4 * count + 8 * (offset & 0x7FFFFFFF)
            return int.from_bytes(os.pread(fd, 8, large), "big")
        if there < name:
            low = middle + 1
        else:
            high = middle
    return None


def _inflate_at(fd: int, at: int, size: int) -> bytes:
    decoder = zlib.decompressobj()
    out = b""
    while len(out) < size and not decoder.eof:
        chunk = os.pread(fd, max(4096, min(size, 1 << 20)), at)
        if not chunk:
            break
        at += len(chunk)
        out += decoder.decompress(chunk, size - len(out))
    if len(out) != size:
        raise Damaged("cut short")
    return out


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def packs(place: bytes, width: int) -> list[Pack]:
    """The packs in an object directory."""
    try:
        names = os.listdir(os.path.join(place, b"pack"))
    except OSError:
        return []
    return [
        Pack(os.path.join(place, b"pack", name[:-4]), width)
        for name in sorted(names)
        if name.endswith(b".idx")
    ]


def inflate(data: bytes, most: int) -> bytes:
    decoder = zlib.decompressobj()
    out = decoder.decompress(data, most)
    if not decoder.eof:
        raise Damaged("too large, or cut short")
    return out


def patch(base: bytes, delta: bytes) -> bytes:
    """``base`` as ``delta`` changes it."""
    at = 0

    def size() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = delta[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    if size() != len(base):
        raise Damaged("a delta of another base")
    whole = size()
    if whole > LARGEST:
        raise Damaged("too large")
    out = []
    left = whole
    while at < len(delta):
        code = delta[at]
        at += 1
        if not code & 0x80:
            if not code or at + code > len(delta):
                raise Damaged("a delta that ends too soon")
            out.append(delta[at : at + code])
            at += code
            continue
        start = length = 0
        for bit in range(4):
            if code & (1 << bit):
                start |= delta[at] << (8 * bit)
                at += 1
        for bit in range(3):
            if code & (0x10 << bit):
                length |= delta[at] << (8 * bit)
                at += 1
        piece = base[start : start + (length or 0x10000)]
        left -= len(piece)
        if left < 0:
            raise Damaged("a delta of another size")
        out.append(piece)
    made = b"".join(out)
    if len(made) != whole:
        raise Damaged("a delta of another size")
    return made


def entries(tree: bytes, width: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Mode, name and object of each entry of a tree object's contents."""
    at = 0
    while at < len(tree):
        space = tree.index(b" ", at)
        end = tree.index(b"\0", space)
        yield tree[at:space], tree[space + 1 : end], tree[end + 1 : end + 1 + width]
        at = end + 1 + width
