"""git's index, read as gitformat-index(5) describes it: what is tracked.

A tracked file counts though a rule ignores it, and of a rule file that a sparse checkout
left out, the index says what stands in it. To ask git for it is not safe (see gitversion.py)
and was most of a walk: here a list of names is made of 40,000 entries in 15 ms, and only
when some name is left out by a rule.

Versions 2, 3 and 4; hashes of both widths; the split index (`link`) and the sparse index
(`sdir`). Another extension that is marked as needed makes it one that cannot be read.
"""

from __future__ import annotations

import os
import stat
import struct
from bisect import bisect_left
from itertools import chain, islice

from filerep.rules.untrustedfile import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Odd = tuple[int, bool, bytes]  # mode, skip-worktree, object

RULE_FILE = b".gitignore"
# One of three million files takes so much.
_LARGEST = 1 << 29
# In version 4 a name is told by what differs from the one before. In all they are hardly ever
# longer than the file; without a bound a thousand times.
_SWELLS = 8
_BLOCK = 512  # entries
_LONGEST = 1 << 16  # bytes of a path

_FILE = 0x81  # the first of a mode's last two bytes: a regular file
_EXTENDED = 0x40  # in the first byte of an entry's flags
_SKIP_WORKTREE = 0x40  # in the first byte of the further flags
_LINK = 0xE0  # of a mode's two bytes, the first: a submodule
_DIRECTORY = 0x40  # the same: a directory of a sparse index

# Of an entry as nearly all are: a byte of the mode, one of the flags, and the name, whose
# length is in the byte before it. To take all three by one call is what takes least time.
_PLAIN = {width: struct.Struct(f"26xB{13 + width}xB256p") for width in (20, 32)}


class Block:
    """Some entries in a row, as the file had them."""

    __slots__ = ("length", "key", "names", "odd")

    def __init__(
        self, length: int, key: int, names: list[bytes], odd: list[tuple[int, Odd]]
    ) -> None:
        self.length = length  # in bytes
        self.key = key  # a hash of these, and of what else the entries depend on
        self.names = names
        self.odd = odd


class Unreadable(ValueError):
    """The index cannot be read; the message says why."""


class Index:
    """What is tracked in one work tree, by paths from its top, as of one moment."""

    def __init__(self, part: Part, base: Base | None = None) -> None:
        #: Sorted; a path with a conflict comes several times.
        self.names = part.names
        #: Submodules.
        self.links: set[bytes] = set()
        #: Rule files that need not be in the work tree, and their objects.
        self.rule_files: dict[bytes, bytes] = {}
        #: Directories, with a last ``/``, that the index has as one entry: their objects.
        self.sparse: dict[bytes, bytes] = {}
        #: What a sparse checkout left out of the work tree, if that was asked for.
        self.absent: set[bytes] = set()
        # What the next one is made of, as far as the files are the same then.
        self.blocks = part.blocks
        self.base = base
        for at, (mode, skipped, blob) in part.odd:
            name = part.names[at]
            if mode == _LINK:
                self.links.add(name)
            elif mode == _DIRECTORY:
                self.sparse[name] = blob
            elif skipped:
                self.absent.add(name)
                if (b"/" + name).endswith(b"/" + RULE_FILE):
                    self.rule_files[name] = blob

    def holds(self, path: bytes) -> bool:
        """Is there an entry of this very path?"""
        at = bisect_left(self.names, path)
        return at < len(self.names) and self.names[at] == path

    def below(self, path: bytes) -> bool:
        """Is there an entry below the directory ``path``? Its top is b""."""
        start = path + b"/" if path else b""
        at = bisect_left(self.names, start)
        return at < len(self.names) and self.names[at].startswith(start)

    def differing(self, before: Index) -> set[bytes]:
        """The names that only one of the two holds."""
        if self.base or before.base:
            return set(self.names) ^ set(before.names)
        # The blocks that were not read again are the same objects.
        ours, theirs = (
            {id(block): block for block in one.blocks} for one in (self, before)
        )
        new = [block.names for at, block in ours.items() if at not in theirs]
        old = [block.names for at, block in theirs.items() if at not in ours]
        return set(chain.from_iterable(new)) ^ set(chain.from_iterable(old))


class Part:
    """What one index file holds: names, and by their place the entries that are odd."""

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.odd: list[tuple[int, Odd]] = []
        self.blocks: list[Block] = []
        #: The extension of a split index, None for one that is whole.
        self.link: bytes | None = None


EMPTY = Index(Part())


class Base:
    """The shared part of a split index, whose name is a hash of what it holds."""

    def __init__(self, path: bytes, part: Part) -> None:
        self.path = path
        self.part = part


def load(
    path: bytes, width: int, before: Index | None = None, absent: bool = False
) -> Index:
    """The index at ``path``, whose hashes are ``width`` bytes; raises ``Unreadable``.

    It is empty where there is none. ``before`` is what it was: what has not changed
    since is not read again. With ``absent`` all names are found that a sparse checkout
    left out, else only rule files.
    """
    try:
        data = _read(path)
        if data is None:
            return EMPTY
        part = _parse(data, width, before.blocks if before else [], absent)
        if part.link is None:
            return Index(part)
        base = before.base if before else None
        shared = part.link[:width]
        if shared.strip(b"\0"):
            place = os.path.dirname(path)
            name = os.path.join(place, b"sharedindex." + shared.hex().encode())
            if base is None or base.path != name:
                data = _read(name)
                if data is None:
                    raise Unreadable("its shared part is not there")
                base = Base(name, _parse(data, width, [], absent))
        else:
            base = None
        return Index(_joined(base.part if base else Part(), part, width), base)
    except (IndexError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("it is cut short") from None


def checksum(path: bytes, width: int, about: os.stat_result) -> bytes:
    """The hash at the end of the index at ``path``; empty where git was told to write none.

    ``about`` is what stat(2) says of it. Raises OSError.
    """
    if not stat.S_ISREG(about.st_mode):
        return b""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.pread(fd, width, max(about.st_size - width, 0)).strip(b"\0")
    finally:
        os.close(fd)


def _read(path: bytes) -> bytes | None:
    try:
        data = read(path, largest=_LARGEST)
        if data is None and os.path.exists(path):
            raise Unreadable("it is no file, or too large")
        return data
    except OSError as error:
        raise Unreadable(os.strerror(error.errno or 0)) from None


def _parse(data: bytes, width: int, before: list[Block], absent: bool) -> Part:
    """The index file ``data``, whose blocks were once ``before``."""
    part = Part()
    version = int.from_bytes(data[4:8], "big")
    if data[:4] != b"DIRC" or len(data) < 12 + width:
        raise Unreadable("it is no index")
    if not 2 <= version <= 4:
        raise Unreadable(f"version {version} is not known")
    count = int.from_bytes(data[8:12], "big")
    end = len(data) - width
    at = 12
    turn = 0
    left = _SWELLS * len(data)
    while len(part.names) < count:
        last = part.names[-1] if part.names and version == 4 else b""
        if turn < len(before):
            block = before[turn]
            if hash((version, last, data[at : at + block.length])) == block.key:
                at = _add(part, block, at)
                turn += 1
                continue
        until = before[turn + 1].names[0] if turn + 1 < len(before) else None
        most = min(_BLOCK, count - len(part.names))
        block, whole = _entries(data, at, version, width, most, last, until, absent)
        turn += not whole
        if block.names:
            at = _add(part, block, at)
            left -= sum(map(len, block.names)) if version == 4 else 0
        if left < 0:
            raise Unreadable("its names are too long, all in all")
        if at > end:
            raise Unreadable("it is cut short")
    part.link = _link(data, at, end)
    return part


def _add(part: Part, block: Block, at: int) -> int:
    part.blocks.append(block)
    part.odd += [(len(part.names) + place, what) for place, what in block.odd]
    part.names += block.names
    return at + block.length


def _entries(
    data: bytes,
    first: int,
    version: int,
    width: int,
    most: int,
    last: bytes,
    until: bytes | None,
    absent: bool,
) -> tuple[Block, bool]:
    """``most`` entries from ``first`` on; False if it ends where ``until`` would stand."""
    names: list[bytes] = []
    odd: list[tuple[int, Odd]] = []
    flags = 40 + width
    fixed = flags + 2
    find, append = data.index, names.append
    plain = _PLAIN[width]
    unpack, size = plain.unpack_from, fixed + 8
    plain_until = len(data) - plain.size if version < 4 and until is None else 0
    at = first
    whole = True
    name = last
    for _ in range(most):
        if at < plain_until:
            mode, high, name = unpack(data, at)
            if mode == _FILE and not high:
                append(name)
                at += size + len(name) & -8
                continue
        start = at + fixed
        mode = data[at + 26]
        further = 0
        if data[at + flags] & _EXTENDED:
            further = data[start] & _SKIP_WORKTREE
            start += 2
        if version == 4:
            byte = data[start]
            strip = byte & 0x7F
            while byte & 0x80:
                start += 1
                byte = data[start]
                strip = (strip + 1) << 7 | byte & 0x7F
            end = find(b"\0", start + 1)
            name = name[: len(name) - strip] + data[start + 1 : end]
            if len(name) > _LONGEST:  # each may be longer than the one before
                raise Unreadable("a name in it is too long")
            next_at = end + 1
        else:
            end = find(b"\0", start)
            name = data[start:end]
            next_at = end + 8 - (end - at & 7)
        if until is not None and name >= until:
            whole = False
            break
        if further or mode == _LINK or mode == _DIRECTORY:
            known = mode in (_LINK, _DIRECTORY) or name.endswith(RULE_FILE)
            if not name or known or absent:
                blob = data[at + 40 : at + 40 + width]
                odd.append((len(names), (mode, bool(further), blob)))
        append(name)
        at = next_at
    key = hash((version, last, data[first:at]))
    return Block(at - first, key, names, odd), whole


def _link(data: bytes, at: int, end: int) -> bytes | None:
    """The extension that makes an index a split one, if it is among those at ``at``."""
    link = None
    while at + 8 <= end:
        name = data[at : at + 4]
        start = at + 8
        at = start + int.from_bytes(data[at + 4 : start], "big")
        if at > end:
            raise Unreadable("it is cut short")
        if name == b"link":
            link = data[start:at]
        elif not 0x41 <= name[0] <= 0x5A and name != b"sdir":
            shown = name.decode("ascii", "replace")
            raise Unreadable(f"its extension {shown!r} is not known")
    return link


def _joined(base: Part, own: Part, width: int) -> Part:
    """A split index as a whole one: some of ``base`` is gone, some replaced, some added."""
    assert own.link is not None
    deleted: set[int] = set()
    replaced: list[int] = []
    if len(own.link) > width:
        deleted_bits, at = _bitmap(own.link, width, len(base.names))
        replaced_bits, _ = _bitmap(own.link, at, len(base.names))
        deleted, replaced = set(deleted_bits), list(replaced_bits)
    odd = dict(base.odd)
    own_odd = dict(own.odd)
    if len(replaced) > len(own.names):
        raise Unreadable("its parts do not fit together")
    for at, place in enumerate(replaced):
        # It has no name of its own: that is the one it replaces.
        odd.pop(place, None)
        if at in own_odd:
            odd[place] = own_odd[at]
    found = [
        (name, odd.get(place))
        for place, name in enumerate(base.names)
        if place not in deleted
    ]
    added = range(len(replaced), len(own.names))
    found += [(own.names[place], own_odd.get(place)) for place in added]
    found.sort(key=lambda entry: entry[0])
    whole = Part()
    whole.names = [name for name, _ in found]
    whole.odd = [(at, what) for at, (_, what) in enumerate(found) if what]
    return whole


def _bitmap(data: bytes, at: int, most: int) -> tuple[Iterator[int], int]:
    """The places below ``most`` of the ones in an EWAH bitmap (gitformat-bitmap(5)), and its end."""
    size = min(most, int.from_bytes(data[at : at + 4], "big"))
    count = int.from_bytes(data[at + 4 : at + 8], "big")
    start = at + 8
    words = [
        int.from_bytes(data[here : here + 8], "big")
        for here in range(start, min(start + 8 * count, len(data)), 8)
    ]
    return _ones(words, size), start + 8 * count + 4


def _ones(words: list[int], size: int) -> Iterator[int]:
    place = 0
    rest = iter(words)
    for word in rest:
        # How many words of one bit follow, and how many that are spelled out.
        run, literal = (word >> 1 & 0xFFFFFFFF) * 64, word >> 33
        if word & 1:
            yield from range(place, min(place + run, size))
        place += run
        for bits in islice(rest, literal):
            for bit in range(64):
                if bits >> bit & 1 and place + bit < size:
                    yield place + bit
            place += 64
