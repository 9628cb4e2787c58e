"""What the far end has, as far as fr-pack knows: path to what was last acknowledged.

An entry is five numbers of the source file at the time it was looked at (inode, mode, size,
mtime, ctime) and marks. The marks decide what may be removed: OURS, the source has shown
this path, in this run or an earlier one; LISTED, the far end has it and no more is known.

When is a file the same as what the far end holds? Three cases, by what is known:

* It was sent in this run, or in an earlier one that remembered it: inode, mode, size, mtime
  and ctime must all be the same. No ordinary program can set ctime, so an edit that keeps
  size and mtime (``cp -p``, ``touch -r``) shows. Remembered from an earlier run, the far
  end's listing must besides show the size, mode and mtime that were sent then; if it shows
  others, a version may have arrived whose answer was lost, and the file is sent.
* Only the far end's listing is known: type, size, mode and mtime to the nanosecond must be
  the same. Two edits within one second differ in the fraction. A tar that drops the
  fraction (busybox) leaves a whole second that equals no fraction, and the file is sent.
* A source mtime without a fraction was set by a program (``touch -d``, tar) where ctime has
  one; there a whole second at the far end will do. Where ctime has none either, the file
  system is coarse, two edits may share the second, and the file is sent.

A symlink from a listing is the same if its target is. Where the listing tells no targets,
one that was sent is the same while it is a symlink of the same length.

A ctime says nothing while it is younger than the clock that made it: two changes in one
tick look alike. ``ticks`` below gives the age from which on a look can be trusted; an entry
made earlier is marked UNSURE, equals nothing, and costs one more sending if it is named
again.

What is remembered may be OLD: the state file could not be written for a while, or a piece
of it is gone. Since then the path may have been removed over there, and made again there by
somebody else. So it is ours only if the listing shows it as it was sent, and if it shows
anything else, that is the far end's.
"""

from __future__ import annotations

import os
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Optional

    from filerep.farend.listing import Listed

OURS = 1
LISTED = 2
UNSURE = 4  # ours, but what the far end holds there is not known
UNSEEN = 8  # remembered from an earlier run, not looked at in this one
OLD = 16  # so remembered that it may not be true any more

_LOOK = struct.Struct("<QHQqq")  # inode, mode, size, mtime_ns, ctime_ns
_pack = _LOOK.pack
_unpack = _LOOK.unpack_from
# The same where a time has no room in 64 bits of nanoseconds, which end in 2262 and begin in
# 1677: seconds and nanoseconds apart. Such a size has a bit that none else has.
_FAR_LOOK = struct.Struct("<QHQqIqI")
_FAR = 1 << 63
_FAR_AT = 17  # the byte of an entry which has that bit
_MARKS = [bytes((marks,)) for marks in range(32)]  # the last byte of an entry
ENTRY_BYTES = _LOOK.size + 1
WIDTHS = (ENTRY_BYTES, _FAR_LOOK.size + 1)  # all lengths that an entry has
_SLASH = ord("/")

# Ours, whatever the far end holds there.
DOUBTED = _pack(0, 0, 0, 0, 0) + _MARKS[OURS | UNSURE]
UNSEEN_DOUBTED = _pack(0, 0, 0, 0, 0) + _MARKS[OURS | UNSURE | UNSEEN]

_SECOND = 1_000_000_000
_MODE_BITS = stat.S_IFMT(0xFFFF) | 0o777
# Of times, in ns: Windows and SMB, microseconds, exFAT, a tar that keeps seconds, FAT.
_STEPS = (100, 1000, 10_000_000, _SECOND, 2 * _SECOND)
_TYPES = {b"f": stat.S_IFREG, b"l": stat.S_IFLNK, b"d": stat.S_IFDIR}

# Since Linux 6.13 these give the next change after a stat a stamp of its own.
_MULTIGRAIN = frozenset((b"ext4", b"xfs", b"btrfs", b"tmpfs"))


def ticks(device: int, release: str) -> int:
    """How old, in ns, a ctime on ``device`` must be before it can tell two changes apart.

    0 where the kernel (``release`` as uname(2) has it) keeps multigrain time stamps, else
    two ticks of the slowest common clock (HZ=100). Stamps in whole seconds are seen by
    their fraction and treated as such wherever they occur.
    """
    try:
        version = tuple(int(part) for part in release.split(".")[:2])
        with open("/proc/self/mountinfo", "rb") as mounts:
            for line in mounts:
                front, _, back = line.partition(b" - ")
                major, _, minor = front.split()[2].partition(b":")
                if os.makedev(int(major), int(minor)) == device:
                    if version >= (6, 13) and back.split()[0] in _MULTIGRAIN:
                        return 0
                    break
    except (OSError, ValueError, IndexError):
        pass
    return 20_000_000


def entry(status: os.stat_result, marks: int) -> bytes:
    return _look(status) + _MARKS[marks]


def looks_like(value: bytes, status: os.stat_result) -> bool:
    """Has ``value`` the mode, size and mtime of ``status``, whatever else it has?"""
    _, mode, size, mtime, _ = _numbers(value)
    return (
        size == status.st_size
        and mtime == status.st_mtime_ns
        and mode == status.st_mode
    )


def _look(status: os.stat_result) -> bytes:
    try:
        return _pack(
            status.st_ino,
            status.st_mode,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
    except struct.error:
        return _far_look(
            status.st_ino,
            status.st_mode,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )


def _far_look(inode: int, mode: int, size: int, mtime: int, ctime: int) -> bytes:
    times = (*divmod(mtime, _SECOND), *divmod(ctime, _SECOND))
    return _FAR_LOOK.pack(inode, mode, size | _FAR, *times)


def _numbers(value: bytes) -> tuple[int, int, int, int, int]:
    """Inode, mode, size, mtime and ctime in ns."""
    if value[_FAR_AT] < 0x80:
        return _unpack(value)
    inode, mode, size, mtime, mtime_ns, ctime, ctime_ns = _FAR_LOOK.unpack_from(value)
    mtime, ctime = mtime * _SECOND + mtime_ns, ctime * _SECOND + ctime_ns
    return inode, mode, size & ~_FAR, mtime, ctime


def directory_entry(mode: int, marks: int) -> bytes:
    return _listed(stat.S_IFDIR | mode, marks)


def _listed(
    mode: int, marks: int, size: int = 0, mtime: int = 0, inode: int = 0
) -> bytes:
    try:
        return _pack(inode, mode, size, mtime, 0) + _MARKS[marks]
    except struct.error:
        return _far_look(inode, mode, size, mtime, 0) + _MARKS[marks]


def marks(value: bytes) -> int:
    return value[-1]


def marked(value: bytes, new: int) -> bytes:
    return value[:-1] + _MARKS[new]


def place(path: bytes) -> tuple[bytes, bytes]:
    """The directory ``path`` is in, and its name there; a directory's ends in ``/``."""
    if path.endswith(b"/"):
        parent, _, name = path[:-1].rpartition(b"/")
        return parent, name + b"/"
    parent, _, name = path.rpartition(b"/")
    return parent, name


def directories_above(path: bytes) -> Iterator[bytes]:
    """The directories above ``path``, from the top."""
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def mode_of(value: bytes) -> int:
    return _numbers(value)[1]


def size_of(value: bytes) -> int:
    return _numbers(value)[2]


def inode_of(value: bytes) -> int:
    return _numbers(value)[0]


def mtime_of(value: bytes) -> int:
    return _numbers(value)[3]


def signature(value: bytes) -> bytes:
    """What of an entry is a signature (see signature.py): nothing, mostly."""
    return value[_width(value) : -1]


def signed(value: bytes, signature: bytes) -> bytes:
    """The entry ``value`` with that signature, which stands behind the numbers."""
    return value[: _width(value)] + signature + value[-1:]


def _width(value: bytes) -> int:
    return _LOOK.size if value[_FAR_AT] < 0x80 else _FAR_LOOK.size


class Table:
    """Path to entry, a dictionary a directory: 100 bytes a file less than one flat one.

    In the dictionary of ``a``, the file ``a/f`` is ``b"f"`` and the directory ``a/d`` is
    ``b"d/"``. A directory that has a dictionary exists at the far end.
    """

    def __init__(self) -> None:
        self.directories: dict[bytes, dict[bytes, bytes]] = {b"": {}}
        self.keeps_modes = True  # does the far end?
        self._mode_bits = _MODE_BITS
        # Entries that became ours because the far end has them already, to be remembered.
        self.adopted: list[tuple[bytes, bytes]] = []
        # By directory, of a listing that says what is here; good until it is changed.
        self.digests: dict[bytes, bytes] = {}

    def ignore_modes(self) -> None:
        """The far end keeps no permission bits, or those that it likes."""
        self.keeps_modes = False
        self._mode_bits = stat.S_IFMT(0xFFFF)

    def __len__(self) -> int:
        return sum(
            1
            for names in self.directories.values()
            for name in names
            if not name.endswith(b"/")
        )

    def ours(self) -> int:
        """How many files and symlinks came from here."""
        return sum(
            1
            for names in self.directories.values()
            for name, value in names.items()
            if value[-1] & OURS and name[-1] != _SLASH
        )

    def get(self, path: bytes) -> Optional[bytes]:
        parent, _, name = path.rpartition(b"/")
        names = self.directories.get(parent)
        return names.get(name) if names is not None else None

    def get_directory(self, path: bytes) -> Optional[bytes]:
        parent, _, name = path.rpartition(b"/")
        names = self.directories.get(parent)
        return names.get(name + b"/") if names is not None else None

    def put(self, path: bytes, value: bytes) -> Optional[bytes]:
        """Enter the file ``path``; what was there before?"""
        parent, _, name = path.rpartition(b"/")
        names = self.directories.get(parent)
        if names is None:
            names = self._make(parent)
        before = names.get(name)
        names[name] = value
        return before

    def put_back(self, path: bytes, value: Optional[bytes]) -> None:
        """Enter for the file ``path`` what ``put`` has found."""
        if value is not None:
            self.put(path, value)
        else:
            parent, _, name = path.rpartition(b"/")
            self.directories.get(parent, {}).pop(name, None)

    def put_directory(self, path: bytes, value: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        names = self.directories.get(parent)
        if names is None:
            names = self._make(parent)
        names.pop(name, None)
        names[name + b"/"] = value
        if path not in self.directories:
            self.directories[path] = {}

    def _make(self, path: bytes) -> dict[bytes, bytes]:
        self.put_directory(path, directory_entry(0, UNSURE))
        return self.directories[path]

    def put_row(self, directory: bytes, names: dict[bytes, bytes]) -> None:
        """Enter all of a directory at once, into an empty table.

        A name can be that of a file and of a directory, where one was to become the other
        and nobody knows whether it did.
        """
        row = self.directories.setdefault(directory, names)
        if row is not names:
            row.update(names)
        prefix = directory + b"/" if directory else b""
        for name in names:
            if name.endswith(b"/"):
                self.directories.setdefault(prefix + name[:-1], {})
        while directory:
            directory, name = place(directory + b"/")
            above = self.directories.setdefault(directory, {})
            if name in above:
                break
            above[name] = directory_entry(0, UNSURE)

    def see_directory(self, path: bytes) -> None:
        """The source has the directory ``path``, just as it is remembered."""
        parent, name = place(path + b"/")
        names = self.directories[parent]
        names[name] = marked(names[name], marks(names[name]) & ~UNSEEN)

    def claim_directories(self, path: bytes) -> list[bytes]:
        """Mark the directories above ``path`` ours; those that were not, from the top."""
        claimed = []
        above = path.rpartition(b"/")[0]
        while above:
            parent, _, name = above.rpartition(b"/")
            names = self.directories[parent]
            value = names[name + b"/"]
            if marks(value) & OURS:
                break
            names[name + b"/"] = marked(value, marks(value) & UNSURE | OURS)
            claimed.append(above)
            above = parent
        return claimed[::-1]

    def remove(self, path: bytes) -> None:
        """Nothing is at ``path`` over there any more: no file, no directory."""
        parent, _, name = path.rpartition(b"/")
        names = self.directories.get(parent)
        if names is not None:
            names.pop(name, None)
            if names.pop(name + b"/", None) is not None:
                self._drop(path)

    def rename(self, old: bytes, new: bytes) -> list[tuple[bytes, bytes, bytes]]:
        """What is at ``old`` and below it has the name ``new``; of each what it was called,
        what it is called now and its entry. Directories end in ``/``."""
        names = self.directories[old.rpartition(b"/")[0]]
        before, after = old.rpartition(b"/")[2], new.rpartition(b"/")[2]
        moved = []
        for end in (b"", b"/"):
            if before + end in names:
                value = names[after + end] = names.pop(before + end)
                moved.append((old + end, new + end, value))
        inside = [old] if old in self.directories else []
        for path, value in self.below(old):
            moved.append((path, new + path[len(old) :], value))
            if path.endswith(b"/"):
                inside.append(path[:-1])
        for path in inside:
            self.directories[new + path[len(old) :]] = self.directories.pop(path)
        return moved

    def doubt(self, path: bytes) -> None:
        """What the far end holds at the file ``path`` is not known; it stays ours."""
        parent, _, name = path.rpartition(b"/")
        if parent in self.directories:
            self.directories[parent][name] = DOUBTED

    def remembered(self, path: bytes) -> bool:
        """Is ``path``, a directory's ending in ``/``, ours already?"""
        parent, _, name = path.rstrip(b"/").rpartition(b"/")
        names = self.directories.get(parent, {})
        value = names.get(name + b"/" if path.endswith(b"/") else name)
        return value is not None and bool(marks(value) & OURS)

    def below(self, path: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every entry below the directory ``path``, top down; directories end in ``/``."""
        stack = [path]
        while stack:
            directory = stack.pop()
            prefix = directory + b"/" if directory else b""
            for name, value in self.directories.get(directory, {}).items():
                yield prefix + name, value
                if name.endswith(b"/"):
                    stack.append(prefix + name[:-1])

    def unchanged(self, path: bytes, status: os.stat_result, target: bytes) -> bool:
        """Does the far end hold just what the source shows (see the essay above)?

        A listed entry that does becomes ours, with what the look found.
        """
        parent, _, name = path.rpartition(b"/")
        names = self.directories.get(parent)
        if names is None:
            return False
        value = names.get(name)
        if value is None:
            return False
        if stat.S_ISLNK(status.st_mode):
            return self._same_link(names, name, path, value, status, target)
        return self.same_file(names, name, path, value, status)

    def same_file(
        self,
        names: dict[bytes, bytes],
        name: bytes,
        path: bytes,
        value: bytes,
        status: os.stat_result,
    ) -> bool:
        """``unchanged`` for ``name`` in the directory ``names``, where it has ``value``."""
        look = _look(status)
        bits = value[-1]
        if value.startswith(look):
            if bits & UNSEEN and not bits & UNSURE:
                names[name] = marked(value, OURS)
            return not bits & UNSURE
        if bits & UNSURE or not bits & LISTED:
            return False
        _, mode, size, mtime, _ = _numbers(value)
        if (
            mtime != status.st_mtime_ns
            or size != status.st_size
            or not stat.S_ISREG(status.st_mode)
            or (mode ^ status.st_mode) & self._mode_bits
            or mtime % _SECOND == 0
            and status.st_ctime_ns % _SECOND == 0
        ):
            return False
        names[name] = look + _MARKS[OURS]
        self.adopted.append((path, names[name]))
        return True

    def renamed(self, path: bytes, value: bytes, status: os.stat_result) -> bool:
        """Is what the far end has, ``value``, the file that is ``path`` now? It is, then.

        A new name changes the ctime, which is not looked at here.
        """
        inode, mode, size, mtime, _ = _numbers(value)
        if (
            value[-1] & UNSURE
            or inode not in (0, status.st_ino)
            or size != status.st_size
            or not same_time(status.st_mtime_ns, mtime)
            or (mode ^ status.st_mode) & self._mode_bits
        ):
            return False
        new = entry(status, OURS)
        self.put(path, new)
        self.adopted.append((path, new))
        return True

    def _same_link(
        self,
        names: dict[bytes, bytes],
        name: bytes,
        path: bytes,
        value: bytes,
        status: os.stat_result,
        target: bytes,
    ) -> bool:
        fresh = entry(status, OURS)
        inode, mode = _numbers(value)[:2]
        bits = value[-1]
        if value == fresh:
            return True
        if not bits & LISTED or not stat.S_ISLNK(mode) or inode != _fold(target):
            return False
        names[name] = fresh
        if not bits & OURS:
            self.adopted.append((path, fresh))
        return True

    def unseen(self) -> list[bytes]:
        """The paths that only an earlier run has shown; directories end in ``/``.

        What is in a directory comes behind it.
        """
        found = []
        for directory, names in self.directories.items():
            for name, value in names.items():
                if value[-1] & UNSEEN:
                    found.append(b"%s/%s" % (directory, name) if directory else name)
        return sorted(found)

    def merge_listing(self, directory: bytes, listed: Iterable[Listed]) -> bool:
        """Take in all that the far end has in ``directory`` itself.

        What was remembered as sent and is there unaltered is kept with what is known of
        it; altered, it stays ours but UNSURE; what is not there any more is dropped.
        Was it all just as remembered?
        """
        if directory and self.get_directory(directory) is None:
            return False
        names = self.directories[directory]
        prefix = directory + b"/" if directory else b""
        found: dict[bytes, bytes] = {}
        for name, letter, permissions, size, mtime, target in listed:
            key = name + b"/" if letter == b"d" else name
            before = names.get(key)
            mode = _TYPES.get(letter, 0) | permissions
            if before is not None and before[-1] & OLD:
                before = _proven(before, mode, size, mtime, self._mode_bits)
                if before is not None:
                    self.adopted.append((prefix + key, before))
            if before is None:
                inode = _fold(target) if letter == b"l" else 0
                found[key] = _listed(mode, LISTED, size, mtime, inode)
                continue
            if before[_FAR_AT] < 0x80:
                _, sent_mode, sent_size, sent_mtime, _ = _unpack(before)
            else:
                _, sent_mode, sent_size, sent_mtime, _ = _numbers(before)
            bits = before[-1]
            if letter == b"d":
                if bits & OURS and self.keeps_modes and (mode ^ sent_mode) & 0o1777:
                    bits |= UNSEEN  # to be looked at, if it was already
                found[key] = _listed(mode, bits)
            elif (
                letter == b"l"
                and not target
                and stat.S_ISLNK(sent_mode)
                and size == sent_size
            ):
                found[key] = before
            elif letter == b"l":
                found[key] = _listed(mode, LISTED | bits, size, mtime, _fold(target))
            elif (
                size == sent_size
                and same_time(sent_mtime, mtime)
                and not (mode ^ sent_mode) & self._mode_bits
            ):
                found[key] = before
            else:
                # Ours, but not what was acknowledged last: a version whose answer was
                # lost, say. A later edit that kept its mtime would look like that one.
                bits |= LISTED | (UNSURE if bits & OURS else 0)
                found[key] = _listed(mode, bits, size, mtime)
        if found == names:
            return True
        for key in names:
            if key not in found and key.endswith(b"/"):
                self._drop(prefix + key[:-1])
        names.clear()
        names.update(found)
        for key in found:
            if key.endswith(b"/"):
                self.directories.setdefault(prefix + key[:-1], {})
        return False

    def _drop(self, directory: bytes) -> None:
        for path, _ in list(self.below(directory)):
            if path.endswith(b"/"):
                self.directories.pop(path[:-1], None)
        self.directories.pop(directory, None)


def same_time(sent: int, listed: int) -> bool:
    """Is ``listed`` what a file system or a tar that keeps steps makes of the time ``sent``?

    A whole second is a step of no time but one that has a fraction: programs set such.
    """
    if listed == sent:
        return True
    return bool(sent % _SECOND) and any(listed == sent - sent % step for step in _STEPS)


def _proven(
    value: bytes, mode: int, size: int, mtime: int, bits: int
) -> Optional[bytes]:
    """``value``, which is OLD, as it is remembered for sure: if a listing shows it as sent."""
    _, sent_mode, sent_size, sent_mtime, _ = _numbers(value)
    if (mode ^ sent_mode) & bits:
        return None
    if not stat.S_ISDIR(mode) and (
        size != sent_size or not same_time(sent_mtime, mtime)
    ):
        return None
    return marked(value, marks(value) & ~OLD)


def _fold(target: bytes) -> int:
    """A symlink's target as 64 bits; the same within one process, which is enough."""
    return hash(target) & 0xFFFF_FFFF_FFFF_FFFF
