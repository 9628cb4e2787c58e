"""When is a file the same as what the far end holds? Three cases, by what is known:

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
tick look alike. ``Ticks`` gives the age from which on a look can be trusted; an entry
made earlier is marked UNSURE, equals nothing, and costs one more sending if it is named
again.
"""

from __future__ import annotations

import stat

from filerep.replica.known.entries import (
    LISTED,
    OURS,
    SECOND,
    UNSEEN,
    UNSURE,
    entry,
    fold,
    look,
    marked,
    numbers,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from filerep.replica.known.table import Table

_OURS = bytes((OURS,))
# Of times, in ns: Windows and SMB, microseconds, exFAT, a tar that keeps seconds, FAT.
_STEPS = (100, 1000, 10_000_000, SECOND, 2 * SECOND)
# The first and the last seconds: ext3 and the older XFS, NFS 3, Windows; besides ext4, XFS.
_FIRST = (-(1 << 31), 0, -11_644_473_600)
_LAST = ((1 << 31) - 1, (1 << 32) - 1, 15_032_385_535, 16_299_260_424)
# FAT and exFAT begin and end with the local time of 1980 and of 2107.
_FAT = (315_532_800, 4_354_819_199)
_ZONE = 14 * 3600


def unchanged(table: Table, path: bytes, status: os.stat_result, target: bytes) -> bool:
    """Does the far end hold just what the source shows (see above)?

    A listed entry that does becomes ours, with what the look found.
    """
    parent, _, name = path.rpartition(b"/")
    names = table.directories.get(parent)
    if names is None:
        return False
    value = names.get(name)
    if value is None:
        return False
    if stat.S_ISLNK(status.st_mode):
        return _same_link(table, names, name, path, value, status, target)
    return same_file(table, names, name, path, value, status)


def same_file(
    table: Table,
    names: dict[bytes, bytes],
    name: bytes,
    path: bytes,
    value: bytes,
    status: os.stat_result,
) -> bool:
    """``unchanged`` for ``name`` in the directory ``names``, where it has ``value``."""
    now = look(status)
    bits = value[-1]
    if value.startswith(now):
        if bits & UNSEEN and not bits & UNSURE:
            names[name] = marked(value, OURS)
        return not bits & UNSURE
    if bits & UNSURE or not bits & LISTED:
        return False
    _, mode, size, mtime, _ = numbers(value)
    if (
        mtime != status.st_mtime_ns
        or size != status.st_size
        or not stat.S_ISREG(status.st_mode)
        or (mode ^ status.st_mode) & table.mode_bits(path)
        or mtime % SECOND == 0
        and status.st_ctime_ns % SECOND == 0
    ):
        return False
    names[name] = now + _OURS
    table.adopted.append((path, names[name]))
    return True


def renamed(table: Table, path: bytes, value: bytes, status: os.stat_result) -> bool:
    """Is what the far end has, ``value``, the file that is ``path`` now? It is, then.

    A new name changes the ctime, which is not looked at here.
    """
    inode, mode, size, mtime, _ = numbers(value)
    if (
        value[-1] & UNSURE
        or inode not in (0, status.st_ino)
        or size != status.st_size
        or not same_time(status.st_mtime_ns, mtime)
        or (mode ^ status.st_mode) & table.mode_bits(path)
    ):
        return False
    new = entry(status, OURS)
    table.put(path, new)
    table.adopted.append((path, new))
    return True


def _same_link(
    table: Table,
    names: dict[bytes, bytes],
    name: bytes,
    path: bytes,
    value: bytes,
    status: os.stat_result,
    target: bytes,
) -> bool:
    fresh = entry(status, OURS)
    inode, mode = numbers(value)[:2]
    bits = value[-1]
    if value == fresh:
        return True
    if not bits & LISTED or not stat.S_ISLNK(mode) or inode != fold(target):
        return False
    names[name] = fresh
    if not bits & OURS:
        table.adopted.append((path, fresh))
    return True


def same_time(sent: int, listed: int) -> bool:
    """Is ``listed`` what a file system or a tar makes of the time ``sent``?

    They keep steps, and those between a first and a last time.
    A whole second is a step of no time but one that has a fraction: programs set such.
    """
    if listed == sent:
        return True
    if sent % SECOND and any(listed == sent - sent % step for step in _STEPS):
        return True
    return _is_limit(sent, listed)


def _is_limit(sent: int, listed: int) -> bool:
    """Is ``sent`` before or after all times that are kept over there, ``listed`` the nearest?"""
    second = listed // SECOND
    if sent < listed:
        return second in _FIRST or abs(second - _FAT[0]) <= _ZONE
    return second in _LAST or abs(second - _FAT[1]) <= _ZONE
