"""One batch for the receiver: which members its archive has, and where they are staged.

The script that puts them into place is in commit.py. Each directory of the destination that gets
something has a numbered one in the staging directory, which holds its new files under their own
names. A directory that the destination lacks is staged whole and moved as one.
"""

from __future__ import annotations

import os
import stat

from filerep.archive import tarstream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.farend.abilities import Far
    from filerep.farend.ways import Way

# Of a directory's mode these are sent, and its owner can always write into it.
_DIRECTORY_BITS = 0o1777
_OWNER_BITS = 0o700

# What is made of files over there is read through at both ends. With so many bytes of them a
# batch is full, so that the far end can begin while the next ones are read here.
_MOST_READ = 1 << 22

LINKED = b"t"  # in the staging directory: what `link` puts into place

# So many directories are filled by one mv each before that takes longer than one cp.
_MOST_MOVES = 8


def directory_mode(status: os.stat_result) -> int:
    return status.st_mode & _DIRECTORY_BITS | _OWNER_BITS


class Member:
    """A file or symlink to send: where it is, as what it was looked at, where it is staged."""

    __slots__ = ("path", "status", "target", "group", "inner", "size", "way")

    def __init__(
        self,
        path: bytes,
        status: os.stat_result,
        target: bytes,
        group: Group,
        inner: bytes,
        way: Optional[Way] = None,
    ) -> None:
        self.path = path
        self.status = status
        self.target = target
        self.group = group
        self.inner = inner
        # Bytes of file data, without padding.
        self.size = 0 if stat.S_ISLNK(status.st_mode) else status.st_size
        self.way = way  # None: it is sent whole
        if way is not None:
            self.size = way.size

    @property
    def name(self) -> bytes:
        """Its name in the archive, good once the batch is arranged."""
        return self.group.prefix + self.inner

    @property
    def in_new_directory(self) -> bool:
        return b"/" in self.inner

    def header(self, precise: bool) -> bytes:
        name, status = self.group.prefix + self.inner, self.status
        if self.way is not None:
            mode, mtime_ns = status.st_mode & 0o777, status.st_mtime_ns
            kind, size = tarstream.FILE, self.size
            return tarstream.member(name, kind, mode, size, mtime_ns, b"", precise)
        if not self.target:
            return tarstream.file_member(name, status, precise)
        mtime_ns, target = status.st_mtime_ns, self.target
        return tarstream.member(
            name, tarstream.SYMLINK, 0o777, 0, mtime_ns, target, precise
        )


class Group:
    """What goes into one directory of the destination: whole new directories and files."""

    __slots__ = ("directory", "number", "paths", "inner", "prefix")

    def __init__(self, directory: bytes, number: int) -> None:
        self.directory = directory
        self.number = number
        self.paths: list[bytes] = []
        self.inner: list[bytes] = []  # their names in it
        self.prefix = b""  # where in the staging directory they are

    def fit(self, unfit: set[bytes]) -> list[tuple[bytes, bytes]]:
        """Paths and names, without those in ``unfit``."""
        return [pair for pair in zip(self.paths, self.inner) if pair[0] not in unfit]


class Shelf:
    """The place in the staging directory of what goes into one directory."""

    __slots__ = ("_batch", "_group", "_above")

    def __init__(self, batch: Batch, group: Group, above: bytes) -> None:
        self._batch = batch
        self._group = group
        self._above = above  # the new directory it is in, with a slash; or nothing

    def put(
        self, name: bytes, path: bytes, status: os.stat_result, target: bytes = b""
    ) -> None:
        """Send ``path``, which is called ``name`` there."""
        member = Member(path, status, target, self._group, self.enter(name, path))
        batch = self._batch
        batch.members.append(member)
        batch.bytes += member.size

    def reuse(self, name: bytes, path: bytes, status: os.stat_result, way: Way) -> None:
        """Have ``path`` made of what is there; its operations put it into place."""
        member = Member(path, status, b"", self._group, self._above + name, way)
        batch = self._batch
        batch.members.append(member)
        batch.reused.append(member)
        batch.bytes += member.size
        if way.verb != b"piece":  # nothing is read there before the last one
            batch.read += status.st_size

    def enter(self, name: bytes, path: bytes) -> bytes:
        """Its name in the group. What is not inside a new directory is put by name."""
        if self._above:
            return self._above + name
        group = self._group
        group.paths.append(path)
        group.inner.append(name)
        return name

    def stage(self, name: bytes, path: bytes) -> tuple[Group, bytes]:
        return self._group, self.enter(name, path)


class Operation:
    """``put``, ``del``, ``rmd``, ``mod`` or another verb, of ``paths``, if their directories are as thought."""

    __slots__ = ("verb", "paths")

    def __init__(self, verb: bytes, paths: list[bytes]) -> None:
        self.verb = verb
        self.paths = paths


class Batch:
    """What is sent, removed and changed together, and acknowledged as ``ok NUMBER``."""

    def __init__(
        self, staging: bytes, limit: int = 1 << 62, most: int = 1 << 62
    ) -> None:
        """``limit`` bytes or ``most`` files are enough for it."""
        self.number = 0  # given when it is sent
        self.staging = staging
        self.limit = limit
        self.most = most
        self.members: list[Member] = []
        self.directories: list[tuple[bytes, int]] = []  # new ones, the outer first
        self.deletions: list[bytes] = []
        self.removals: list[bytes] = []  # directories, to be removed if empty
        self.modes: list[tuple[bytes, int]] = []
        self.bytes = 0
        self.read = 0  # bytes of files that were read through, and are not sent whole
        self.numbered: list[tuple[Operation, bytes]] = []
        self.commands: list[bytes] = []  # what else the script does: list, hook, finish
        self.lessons: list[bytes] = []  # functions that it needs and are not there yet
        self.staged: dict[bytes, tuple[Group, bytes]] = {}  # new directories
        # Of paths that are to be renamed there, as one name is another's: the names they have.
        self.spelled: list[tuple[bytes, bytes]] = []
        self.keeps = False  # whatever is in the way of a new directory
        # For these: names in the staging directory, data.
        self.files: list[tuple[bytes, bytes]] = []
        # What goes from a directory and is retained, with the number of where.
        self.retained: dict[bytes, tuple[int, list[bytes]]] = {}
        self.released: list[bytes] = []  # what is retained and of no use any more
        self.groups: dict[bytes, Group] = {}
        self.reused: list[Member] = []  # those of ``members`` that have a way
        self._times: list[int] = []  # the mtimes of ``directories``, in ns
        self._bits = 0  # which the new directories have besides
        self.linked = False
        self.moved = False

    def __bool__(self) -> bool:
        return bool(
            self.members
            or self.deletions
            or self.removals
            or self.modes
            or self.spelled
            or self.commands
        )

    @property
    def count(self) -> int:
        """How many files are sent or removed."""
        return len(self.members) + len(self.deletions)

    @property
    def room(self) -> tuple[int, int]:
        """How many bytes and files are wanted yet."""
        return self.limit - self.bytes, self.most - self.count

    @property
    def full(self) -> bool:
        enough = self.bytes >= self.limit or self.count >= self.most
        return enough or self.read >= _MOST_READ

    def add(
        self,
        path: bytes,
        status: os.stat_result,
        target: bytes,
        new_directories: list[tuple[bytes, os.stat_result]],
        way: Optional[Way] = None,
    ) -> None:
        """Send ``path``, or have it made; ``new_directories`` are those above it the far end
        lacks, top first."""
        for directory, found in new_directories:
            parent, _, name = directory.rpartition(b"/")
            self.staged[directory] = self.shelf(parent).stage(name, directory)
            self.directories.append((directory, directory_mode(found)))
            self._times.append(found.st_mtime_ns)
        parent, _, name = path.rpartition(b"/")
        if way is None:
            self.shelf(parent).put(name, path, status, target)
        else:
            self.shelf(parent).reuse(name, path, status, way)

    def bytes_before(self) -> int:
        """How many bytes of its files went in pieces, in batches before this one."""
        return sum(
            member.way.before
            for member in self.reused
            if member.way is not None and member.way.puts
        )

    def compared(self) -> set[bytes]:
        """The paths of which is only asked whether they are the same."""
        return {
            member.path
            for member in self.reused
            if member.way is not None and member.way.verb == b"same"
        }

    def made(self) -> list[bytes]:
        """The paths for which the far end reads what it holds."""
        return [one.path for one in self.reused if one.way and one.way.verb != b"piece"]

    def only_compare(self) -> None:
        """Do nothing of it but that."""
        compared = self.compared()
        self.reused = [one for one in self.reused if one.path in compared]
        self.members = list(self.reused)
        self.directories, self._times, self.staged = [], [], {}
        self.deletions, self.removals, self.modes = [], [], []
        self.spelled = []
        for group in self.groups.values():
            group.paths, group.inner = [], []

    def piece(self, path: bytes, status: os.stat_result, way: Way) -> None:
        """Send the next piece of ``path``, which goes nowhere yet."""
        self.shelf(b"").reuse(b".piece", path, status, way)

    def shelf(self, directory: bytes) -> Shelf:
        """Where what goes into ``directory`` is staged, which is there or new by now."""
        above = self.staged.get(directory)
        if above is not None:
            return Shelf(self, above[0], above[1] + b"/")
        group = self.groups.get(directory)
        if group is None:
            group = self.groups[directory] = Group(directory, len(self.groups))
        return Shelf(self, group, b"")

    def arrange(self, far: Far) -> None:
        """Settle what each member is called in the archive; nothing is added afterwards.

        One mv a directory is one process a directory. Without a mover, where there are many,
        and cp may be one that replaces by rename (see place_by_cp.sh), all is staged under its own
        path.
        """
        self.moved = far.mover
        self._bits = stat.S_ISGID if far.hands_group_down else 0
        many = len(self.groups) > _MOST_MOVES
        self.linked = many and far.tar == "gnu" and not far.mover and not self.reused
        for group in self.groups.values():
            if not self.linked:
                group.prefix = b"%d/" % group.number
            elif group.directory:
                group.prefix = b"%s/%s/" % (LINKED, group.directory)
            else:
                group.prefix = LINKED + b"/"

    def headers(self) -> bytes:
        """The members that are directories; they come before what is in them."""
        headers = []
        for (directory, mode), mtime_ns in zip(self.directories, self._times):
            group, inner = self.staged[directory]
            name, mode = group.prefix + inner + b"/", mode | self._bits
            headers.append(
                tarstream.member(
                    name, tarstream.DIRECTORY, mode, 0, mtime_ns, precise=False
                )
            )
        return b"".join(headers)
