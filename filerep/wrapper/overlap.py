"""Is the destination inside the source, or the source inside the destination?

Names do not tell: either may be mounted a second time, elsewhere, in a container. So two
things are compared that are the same however a directory is reached, if both ends run on the
same kernel. One is device and inode, of SRC_DIR and the directories above it here, and of those
from the root down to the destination there. The other is the place within a file system, as
/proc/self/mountinfo has it for each mount (proc(5)): it is seen there what a directory that is
mounted on its own is part of, and what is mounted below.

Nothing has been made or cleaned out when this is asked.

Where two machines share a file system (NFS, a folder of a virtual machine), or one is stacked on
another (overlay), none of that tells. So before anything is cleaned out the far end makes a
file of a name that nobody else has, and else its staging directory has one. If that is to be
seen here as well, in SRC_DIR or above or below, the one is in the other. And where SRC_DIR is
a share, which may be of a part of what is to be cleaned out, a file is made in SRC_DIR, and looked
for over there.
"""

from __future__ import annotations

import os
import re

from filerep import command
from filerep.command import Stop
from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NamedTuple, Optional

    class Place(NamedTuple):
        """A directory: which file system, and the path in it."""

        device: bytes
        path: bytes

    class Mount(NamedTuple):
        """What is mounted at ``point``."""

        place: Place
        point: bytes

else:
    from collections import namedtuple

    Place = namedtuple("Place", "device path")
    Mount = namedtuple("Mount", "place point")

_ESCAPE = re.compile(rb"\\([0-7]{3})")
_LOOP = "each change would cause the next"
SAME = "the destination is SRC_DIR itself"
INSIDE = f"the destination is inside SRC_DIR: {_LOOP}"
AROUND = "SRC_DIR is inside the destination"


# There is no such file, or not for us. With any other error what must be refused would not be.
_UNTOLD = (FileNotFoundError, NotADirectoryError, PermissionError)


def boot_id() -> str:
    """The running kernel; nothing where it cannot be told. Raises OSError."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except _UNTOLD:
        return ""


def mounts_here() -> list[Mount]:
    """What is mounted, as far as that is told; raises OSError."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            return [mount(b" ".join(line.split(b" ")[2:5])) for line in file]
    except _UNTOLD:
        return []


def mount(words: bytes) -> Mount:
    """From the device, the path and the mount point in a line of mountinfo; raises ValueError."""
    device, path, point = words.split(b" ")
    return Mount(Place(device, _plain(path)), _plain(point))


def _plain(path: bytes) -> bytes:
    return _ESCAPE.sub(lambda octal: bytes([int(octal[1], 8)]), path)


def place_of(path: bytes, mounts: Iterable[Mount]) -> Optional[Place]:
    """Where ``path``, which is real, is; the last mount at a point hides those before."""
    best: Optional[Mount] = None
    for one in mounts:
        if _inside(path, one.point) and not (best and len(best.point) > len(one.point)):
            best = one
    if best is None:
        return None
    rest = path[len(best.point.rstrip(b"/")) :]
    return Place(best.place.device, best.place.path.rstrip(b"/") + rest or b"/")


def _inside(path: bytes, directory: bytes) -> bool:
    """Is ``path`` that directory, or below it?"""
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _holds(outer: Optional[Place], inner: Optional[Place]) -> bool:
    if outer is None or inner is None:
        return False
    return outer.device == inner.device and _inside(inner.path, outer.path)


class Destination:
    """What the far end tells of it: see PROTOCOL.md, `real` and `mount`."""

    def __init__(self) -> None:
        self.real = b""  # of what is there of the way down to it
        self.mounts: list[Mount] = []  # those above it and below

    def hear(self, word: str, rest: bytes) -> None:
        if word == "real":
            self.real = _plain(rest)
        else:
            try:
                self.mounts.append(mount(rest))
            except ValueError:
                pass  # its own name says nothing


def refuse_sentinel(source: bytes, sentinel: bytes, below: bool) -> None:
    """Raise ``Stop`` if ``sentinel``, just made in the destination, is to be seen in ``source`` or
    above; ``below`` it too, which takes as long as a walk."""
    if os.path.lexists(os.path.join(source, sentinel)):
        raise Stop(command.USAGE, SAME)
    above = source
    while above != (above := os.path.dirname(above)):
        if os.path.lexists(os.path.join(above, sentinel)):
            raise Stop(command.USAGE, AROUND)
    if below:
        # Asked for by its name: a share (sshfs, NFS) may show a listing that it has kept.
        for directory, _, _ in os.walk(source):
            if os.path.lexists(os.path.join(directory, sentinel)):
                raise Stop(command.USAGE, INSIDE)


class Trace:
    """A file in SRC_DIR, to be looked for over there; none where SRC_DIR is no share, or read-only."""

    def __init__(self, source: bytes, name: bytes) -> None:
        """``name`` is one that no walk names."""
        from filerep.filesystem import shared_type  # little is cleaned out

        self._path = b""
        if not shared_type(source):
            return
        path = os.path.join(source, name)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._path = path
        except OSError:
            pass

    def __bool__(self) -> bool:
        return bool(self._path)

    def remove(self) -> None:
        try:
            os.unlink(self._path)
        except OSError:
            pass


def refuse_overlap(
    source: bytes, told: dict[str, str], destination: Destination, cleans: bool
) -> None:
    """Raise ``Stop`` if one is inside the other, or what is cleaned out is not all ours."""
    there = bool(told.get("there"))
    if cleans and there and destination.real:
        _refuse_volumes(destination)
    here = boot_id()
    if not here or told.get("boot") != here:
        return
    _compare_inodes(source, told, there)
    _compare_places(source, destination, there)


def _refuse_volumes(destination: Destination) -> None:
    for _, point in destination.mounts:
        if point != destination.real and _inside(point, destination.real):
            name = quote(point[len(destination.real.rstrip(b"/")) + 1 :])
            raise Stop(
                command.UNAVAILABLE,
                f"{name} in the destination is mounted there, and --clean-out-first would"
                " empty that too: nothing was removed; unmount it, or remove the rest by hand",
            )


def _compare_inodes(source: bytes, told: dict[str, str], there: bool) -> None:
    ids = [one for one in told.get("ids", "").split(",") if one]
    status = os.stat(source)
    own = f"{status.st_dev}:{status.st_ino}"
    if own in ids:
        if there and ids[1:2] == [own]:
            raise Stop(command.USAGE, SAME)
        raise Stop(command.USAGE, INSIDE)
    if not there:
        return
    above = source
    while ids and above != b"/":
        above = os.path.dirname(above)
        status = os.stat(above)
        if len(ids) > 1 and f"{status.st_dev}:{status.st_ino}" == ids[1]:
            raise Stop(command.USAGE, AROUND)


def _compare_places(source: bytes, destination: Destination, there: bool) -> None:
    mounts = mounts_here()
    if not destination.real:
        return  # it could not tell
    ours = place_of(source, mounts)
    theirs = place_of(destination.real, destination.mounts)
    if ours is None:
        return
    inner = [
        one for one in mounts if one.point != source and _inside(one.point, source)
    ]
    for one in [ours, *(place for place, _ in inner)]:
        if _holds(one, theirs):
            same = there and one == ours == theirs
            raise Stop(command.USAGE, SAME if same else INSIDE)
    if not there:
        return
    if _holds(theirs, ours):
        raise Stop(command.USAGE, AROUND)
    real = destination.real
    for place, point in destination.mounts:
        if point != real and _inside(point, real):
            if _holds(place, ours) or _holds(ours, place):
                said = f"{quote(point)}, in the destination, is in SRC_DIR or holds it"
                raise Stop(command.USAGE, f"{said}: {_LOOP}")
    for place, point in inner:
        if _holds(theirs, place):
            said = f"{quote(point)}, in SRC_DIR, is in the destination, too"
            raise Stop(command.USAGE, f"{said}: {_LOOP}")
