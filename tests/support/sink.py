"""A reader of the path stream that keeps a replica, as fr-pack and a far end do.

It has the table: what it was told of and found. So a test of fr-watch can say whether the
records suffice, with no tar and no far end in it.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from filerep.pathstream import Decoder

Look = tuple[object, ...]


class Sink:
    """The replica of ``source``, as the records of ``feed`` make it."""

    def __init__(self, source: Path | bytes) -> None:
        self.source = os.fsencode(source)
        self.table: dict[bytes, Look] = {}
        self.records: list[bytes] = []
        self.sent: list[bytes] = []
        self._decoder = Decoder()

    def feed(self, chunk: bytes) -> None:
        for record in self._decoder.feed(chunk):
            self.records.append(record)
            self.take(record)

    def take(self, record: bytes) -> None:
        if record == b".":
            return
        if record.endswith(b"/"):
            below = b"" if record == b"./" else record
            for path in list(self.table):
                if path.startswith(below) or path == record[:-1]:
                    if self.look(path) is None:
                        self.forget(path)
            return
        found = self.look(record)
        if found is None:
            self.forget(record)
        elif self.table.get(record) != found:
            # A directory's record may come after those of what is in it.
            before = self.table.get(record, found)
            if found[0] != "dir" and before[0] == "dir":
                self.forget(record)
            self.table[record] = found
            self.sent.append(record)

    def forget(self, path: bytes) -> None:
        """What is gone takes with it what was below."""
        for other in [p for p in self.table if p == path or p.startswith(path + b"/")]:
            del self.table[other]

    def look(self, path: bytes) -> Look | None:
        """What is at ``path``, no link followed on the way."""
        fd = os.open(self.source, os.O_RDONLY | os.O_DIRECTORY)
        *above, name = path.split(b"/")
        try:
            for part in above:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                inner = os.open(part, flags, dir_fd=fd)
                os.close(fd)
                fd = inner
            return look_at(name, fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise
        finally:
            os.close(fd)

    def walk(self) -> None:
        """What fr-walk does at the start: a look at all there is."""
        for path in tree(self.source):
            self.take(path)

    def differences(self) -> str:
        """How the replica differs from the source, a line each."""
        found = tree(self.source)
        source = {p: look for p, look in found.items() if look[0] != "dir"}
        replica = {p: look for p, look in self.table.items() if look[0] != "dir"}
        # A directory matters by its permissions, where there is something in it.
        for path in list(source):
            while b"/" in path:
                path = path.rpartition(b"/")[0]
                source[path] = found[path]
                if path in self.table:
                    replica[path] = self.table[path]
                else:
                    replica[path] = source[path]
        lines = [
            f"{path!r}: source {source.get(path)}, replica {replica.get(path)}"
            for path in sorted({*source, *replica})
            if source.get(path) != replica.get(path)
        ]
        return "\n".join(lines[:20])


def look_at(name: bytes, dir_fd: int | None = None) -> Look | None:
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            return ("link", os.readlink(name, dir_fd=dir_fd))
        if stat.S_ISDIR(status.st_mode):
            return ("dir", mode)
        if not stat.S_ISREG(status.st_mode):
            return None
        flags = os.O_RDONLY | os.O_NOFOLLOW
        fd = os.open(name, flags, dir_fd=dir_fd)
        with open(fd, "rb") as file:
            return ("file", file.read(), mode, status.st_mtime_ns)
    except OSError as error:
        # Gone, or become something else since the stat, which a later record will tell.
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.EINVAL):
            return None
        raise


def tree(root: bytes) -> dict[bytes, Look]:
    """All that is below ``root``, ignore rules aside."""
    found: dict[bytes, Look] = {}
    for directory, dirs, files, fd in os.fwalk(root):
        for name in [*dirs, *files]:
            look = look_at(name, fd)
            if look:
                found[os.path.join(directory, name)[len(root) + 1 :]] = look
    return found
