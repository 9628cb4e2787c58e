"""What a person, an editor or git does to a tree, as data that can be drawn and shrunk.

Everything stays below one directory: the paths come from a fixed set of names without
``..``, an operation whose way leads through a symlink is skipped, and a symlink's target
is one name of the same set. So it may be run as root.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

NAMES = [b"a", b"b", b"c", b"\xff\n", b"-rf *"]
RENAME_EXCHANGE = 2
AT_FDCWD = -100

Operation = tuple[str, bytes, bytes]

KINDS = [
    "mkdir",
    "mkdir",
    "write",
    "write",
    "write",
    "append",
    "truncate",
    "save",
    "unlink",
    "rmtree",
    "rename",
    "rename",
    "exchange",
    "symlink",
    "link",
    "chmod",
    "utime",
    "out",
    "in",
    "hold",
    "write held",
    "release",
]


def draw(random: random.Random, kinds: Sequence[str] = KINDS) -> Operation:
    return random.choice(kinds), draw_path(random), draw_path(random)


def draw_path(random: random.Random) -> bytes:
    return b"/".join(random.choices(NAMES, k=random.choice([1, 1, 2, 2, 3, 4])))


def exchange(one: bytes, other: bytes) -> None:
    """renameat2(2) with RENAME_EXCHANGE."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


class Hands:
    """Does operations to the tree ``root``; ``outside`` is where things are moved out to."""

    def __init__(self, root: Path | bytes, outside: Path | bytes) -> None:
        self.root = os.path.realpath(os.fsencode(root))
        self.outside = os.fsencode(outside)
        self.serial = 0
        self.held: list[int] = []
        self.linked: set[int] = set()
        self.do_for: dict[str, Callable[[bytes, bytes], None]] = {
            "mkdir": lambda one, _: os.makedirs(one),
            "write": self.write,
            "append": lambda one, _: self.put(one, "ab"),
            "truncate": lambda one, _: os.truncate(self.regular(one), 1),
            "save": self.save,
            "unlink": lambda one, _: os.unlink(one),
            "rmtree": lambda one, _: shutil.rmtree(self.no_link(one)),
            "rename": os.rename,
            "exchange": exchange,
            "symlink": lambda one, _: os.symlink(NAMES[self.serial % 3], one),
            "link": self.link,
            "chmod": self.chmod,
            "utime": lambda one, _: os.utime(
                self.no_link(one), ns=(0, 10**18 + self.serial)
            ),
            "out": lambda one, other: os.rename(one, self.slot(other)),
            "in": lambda one, other: os.rename(self.slot(other), one),
            "hold": self.hold,
            "write held": self.write_held,
            "release": lambda *_: os.close(self.held.pop(0)),
        }

    def do(self, operation: Operation) -> None:
        """Do it if it can be done."""
        kind, *paths = operation
        self.serial += 1
        with contextlib.suppress(OSError, LookupError, shutil.Error):
            self.do_for[kind](*(self.inside(path) for path in paths))

    def do_all(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            self.do(operation)

    def close(self) -> None:
        while self.held:
            os.close(self.held.pop())

    def inside(self, path: bytes) -> bytes:
        full = os.path.join(self.root, path)
        above = os.path.dirname(full)
        if os.path.realpath(above) != above:
            raise NotADirectoryError(path)
        return full

    def no_link(self, path: bytes) -> bytes:
        if os.path.islink(path):
            raise FileExistsError(path)
        return path

    def regular(self, path: bytes) -> bytes:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise FileExistsError(path)
        return path

    def slot(self, path: bytes) -> bytes:
        return os.path.join(self.outside, b"%d" % (sum(path) % 3))

    def content(self) -> bytes:
        return b"%d\n" % self.serial * (self.serial % 7)

    def put(self, path: bytes, how: str) -> None:
        with open(self.no_link(path), how) as file:
            file.write(self.content())

    def write(self, path: bytes, _: bytes) -> None:
        if b"/" in path:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        self.put(path, "wb")

    def save(self, path: bytes, _: bytes) -> None:
        temporary = path + b".tmp"
        self.put(temporary, "wb")
        os.rename(temporary, path)

    def link(self, path: bytes, other: bytes) -> None:
        status = os.lstat(path)
        os.link(path, other, follow_symlinks=False)
        self.linked.add(status.st_ino)

    def chmod(self, path: bytes, _: bytes) -> None:
        bits = (0o644, 0o600, 0o755)[self.serial % 3]
        if os.path.isdir(path):
            bits = (0o755, 0o700, 0o711)[self.serial % 3]
        os.chmod(self.no_link(path), bits)

    def hold(self, path: bytes, _: bytes) -> None:
        self.held.append(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_APPEND))

    def write_held(self, *_: bytes) -> None:
        # A file whose name was unlinked while it has another is out of inotify's sight.
        fd = self.held[-1]
        if os.fstat(fd).st_ino not in self.linked:
            os.write(fd, self.content())
