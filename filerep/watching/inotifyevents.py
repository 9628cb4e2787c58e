"""What the kernel says by inotify(7): watches put in place, and their events.

The queue in the kernel is bounded and memory is not, so `Kernel.soak` empties the one into
the other at every occasion, and what an event means is asked later.
"""

from __future__ import annotations

import errno
import os
import struct

from inotify_simple import INotify, flags

from filerep.watching.limits import LimitReached, NoInotify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# As plain numbers: a member of an enumeration takes ten times as long to look up.
MODIFY = int(flags.MODIFY)
ATTRIB = int(flags.ATTRIB)
CLOSE_WRITE = int(flags.CLOSE_WRITE)
MOVED_FROM = int(flags.MOVED_FROM)
MOVED_TO = int(flags.MOVED_TO)
CREATE = int(flags.CREATE)
DELETE = int(flags.DELETE)
UNMOUNT = int(flags.UNMOUNT)
Q_OVERFLOW = int(flags.Q_OVERFLOW)
IGNORED = int(flags.IGNORED)
ISDIR = int(flags.ISDIR)
_SELF = int(flags.DELETE_SELF | flags.MOVE_SELF)
_ADD = int(flags.ONLYDIR | flags.MASK_ADD)

# MODIFY: truncate(2) and a log held open give nothing else.
_EVENTS = CREATE | DELETE | MOVED_FROM | MOVED_TO | CLOSE_WRITE | MODIFY | ATTRIB
#: A directory of the tree.
INSIDE = _EVENTS | int(flags.EXCL_UNLINK | flags.ONLYDIR | flags.DONT_FOLLOW)
#: The root.
ROOT = INSIDE | _SELF
#: Above the root: only what takes the root away.
ABOVE = _SELF | _ADD
#: While anyone holds the root open, its deletion is an event in its parent and nowhere else.
PARENT = ABOVE | DELETE
#: A directory on the way to a file outside the tree: what comes and goes in it.
WAY = CREATE | DELETE | MOVED_FROM | MOVED_TO | _ADD
#: Such a file.
FILE = MODIFY | CLOSE_WRITE | ATTRIB | int(flags.MASK_ADD | flags.DONT_FOLLOW)
#: A directory at the end of such a way.
OWNED = ATTRIB | _ADD | int(flags.DONT_FOLLOW)

#: What is no intermediate state, and may be looked at at once.
AT_ONCE = CLOSE_WRITE | MOVED_TO | ATTRIB
GONE = DELETE | MOVED_FROM
# Not only of one file.
_WIDER = ISDIR | IGNORED | UNMOUNT | Q_OVERFLOW

_READ_SIZE = 1 << 18
# More than a queue holds, and an end to it when a writer is as fast as the reader.
_READS = 1024
_HEADER = struct.Struct("iIII")


class Kernel:
    """An inotify instance, and those of its events that were read and not yet handled."""

    def __init__(self) -> None:
        """Raises ``NoInotify``, ``LimitReached`` or OSError."""
        if not os.path.isdir("/proc/self/fd"):
            raise NoInotify("there is no /proc, which inotify is used through")
        try:
            self._inotify = INotify(nonblocking=True)
        except AttributeError:
            raise NoInotify("this system has no inotify") from None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise LimitReached(error) from None
            if error.errno == errno.ENOSYS:
                raise NoInotify("this kernel has no inotify") from None
            raise
        self._fd: int = self._inotify.fileno()
        self.backlog: list[bytes] = []

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        self._inotify.close()

    def watch(self, fd: int, mask: int) -> int:
        """The wd of the directory open as ``fd``; raises ``LimitReached`` or OSError.

        A watch on ``/proc/self/fd/N`` without the dot would be one on the magic link.
        """
        return self.watch_name(f"/proc/self/fd/{fd}/.", mask)

    def watch_name(self, path: bytes | str, mask: int) -> int:
        """The wd of what is at ``path``; raises ``LimitReached`` or OSError."""
        try:
            wd: int = self._inotify.add_watch(path, mask)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise LimitReached(error) from None
            raise
        return wd

    def unwatch(self, wd: int) -> None:
        try:
            self._inotify.rm_watch(wd)
        except OSError:
            pass  # the kernel was faster: the directory is deleted

    def soak(self) -> None:
        """Empty the kernel's queue into memory."""
        try:
            for _ in range(_READS):
                self.backlog.append(os.read(self._fd, _READ_SIZE))
        except BlockingIOError:
            pass

    def take(self) -> list[bytes]:
        """What was read, which is the caller's from now on."""
        taken, self.backlog = self.backlog, []
        return taken


class Event:
    """One name in one directory, and what happened to it: the first, all, the last."""

    __slots__ = ("wd", "name", "first", "mask", "last")

    def __init__(self, wd: int, name: bytes, mask: int) -> None:
        self.wd = wd
        self.name = name
        self.first = self.mask = self.last = mask


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """The events in ``chunks``, those of one file between wider ones as one.

    A save by rename has five events, and one look at each of two names is enough.
    """
    files: dict[tuple[int, bytes], Event] = {}
    for data in chunks:
        for wd, mask, name in _unpack(data):
            if not name or mask & _WIDER:
                yield from files.values()
                files.clear()
                yield Event(wd, name.rstrip(b"\0"), mask)
                continue
            # By the name as it is padded: most need no look at it before they are merged.
            event = files.get((wd, name))
            if event is None:
                files[wd, name] = Event(wd, name.rstrip(b"\0"), mask)
            else:
                event.mask |= mask
                event.last = mask
        yield from files.values()
        files.clear()


def _unpack(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The events in ``data`` as wd, mask and name, which NULs follow."""
    unpack, size_of_header = _HEADER.unpack_from, _HEADER.size
    position, end = 0, len(data)
    while position < end:
        wd, mask, _, size = unpack(data, position)
        start = position + size_of_header
        position = start + size
        yield wd, mask, data[start:position]
