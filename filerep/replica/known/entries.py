"""What the table has of one path, as bytes: five numbers, mostly, and a byte of marks.

The numbers are those of the source file at the time it was looked at: inode, mode, size, mtime,
ctime. The marks decide what may be removed: OURS, the source has shown this path, in this run or
an earlier one; LISTED, the far end has it and no more is known.

What is remembered may be OLD: the state file could not be written for a while, or a piece
of it is gone. Since then the path may have been removed over there, and made again there by
somebody else. So it is ours only if the listing shows it as it was sent, and if it shows
anything else, that is the far end's.

What is UNMOUNTED was in a file system that was mounted in the source, and is not now: it stays, until
that is mounted again, or the source has something else of that name.
"""

from __future__ import annotations

import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

OURS = 1
LISTED = 2
UNSURE = 4  # ours, but what the far end holds there is not known
UNSEEN = 8  # remembered from an earlier run, not looked at in this one
OLD = 16  # so remembered that it may not be true any more
UNMOUNTED = 32  # ours, from what is not mounted any more

_LOOK = struct.Struct("<QHQqq")  # inode, mode, size, mtime_ns, ctime_ns
_pack = _LOOK.pack
_unpack = _LOOK.unpack_from
# The same where a time has no room in 64 bits of nanoseconds, which end in 2262 and begin in
# 1677: seconds and nanoseconds apart. Such a size has a bit that none else has.
_FAR_LOOK = struct.Struct("<QHQqIqI")
_FAR = 1 << 63
_FAR_AT = 17  # the byte of an entry which has that bit
_MARKS = [bytes((marks,)) for marks in range(64)]  # the last byte of an entry
ENTRY_BYTES = _LOOK.size + 1
WIDTHS = (ENTRY_BYTES, _FAR_LOOK.size + 1)  # all lengths that an entry has

# Ours, whatever the far end holds there.
DOUBTED = _pack(0, 0, 0, 0, 0) + _MARKS[OURS | UNSURE]
UNSEEN_DOUBTED = _pack(0, 0, 0, 0, 0) + _MARKS[OURS | UNSURE | UNSEEN]

SECOND = 1_000_000_000


def entry(status: os.stat_result, marks: int) -> bytes:
    return look(status) + _MARKS[marks]


def looks_like(value: bytes, status: os.stat_result) -> bool:
    """Has ``value`` the mode, size and mtime of ``status``, whatever else it has?"""
    _, mode, size, mtime, _ = numbers(value)
    return (
        size == status.st_size
        and mtime == status.st_mtime_ns
        and mode == status.st_mode
    )


def look(status: os.stat_result) -> bytes:
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
    times = (*divmod(mtime, SECOND), *divmod(ctime, SECOND))
    return _FAR_LOOK.pack(inode, mode, size | _FAR, *times)


def numbers(value: bytes) -> tuple[int, int, int, int, int]:
    """Inode, mode, size, mtime and ctime in ns."""
    if value[_FAR_AT] < 0x80:
        return _unpack(value)
    inode, mode, size, mtime, mtime_ns, ctime, ctime_ns = _FAR_LOOK.unpack_from(value)
    mtime, ctime = mtime * SECOND + mtime_ns, ctime * SECOND + ctime_ns
    return inode, mode, size & ~_FAR, mtime, ctime


def directory_entry(mode: int, marks: int) -> bytes:
    return listed(stat.S_IFDIR | mode, marks)


def listed(
    mode: int, marks: int, size: int = 0, mtime: int = 0, inode: int = 0
) -> bytes:
    try:
        return _pack(inode, mode, size, mtime, 0) + _MARKS[marks]
    except struct.error:
        return _far_look(inode, mode, size, mtime, 0) + _MARKS[marks]


def marks(value: bytes) -> int:
    return value[-1]


def may_go(value: bytes) -> bool:
    """Is it to be removed over there once it is gone here?"""
    return value[-1] & (OURS | UNMOUNTED) == OURS


def marked(value: bytes, new: int) -> bytes:
    return value[:-1] + _MARKS[new]


def mode_of(value: bytes) -> int:
    return numbers(value)[1]


def size_of(value: bytes) -> int:
    return numbers(value)[2]


def inode_of(value: bytes) -> int:
    return numbers(value)[0]


def mtime_of(value: bytes) -> int:
    return numbers(value)[3]


def signature(value: bytes) -> bytes:
    """What of an entry is a signature (see signature.py): nothing, mostly."""
    return value[_width(value) : -1]


def tells_content(value: bytes) -> bool:
    """Is what the far end holds known? Of what was sent a moment after it was written it is, by
    its signature, though it is UNSURE whether the file here has been the same since."""
    return not marks(value) & UNSURE or bool(signature(value))


def signed(value: bytes, signature: bytes) -> bytes:
    """The entry ``value`` with that signature, which stands behind the numbers."""
    return value[: _width(value)] + signature + value[-1:]


def _width(value: bytes) -> int:
    return _LOOK.size if value[_FAR_AT] < 0x80 else _FAR_LOOK.size


def fold(target: bytes) -> int:
    """A symlink's target as 64 bits; the same within one process, which is enough."""
    return hash(target) & 0xFFFF_FFFF_FFFF_FFFF
