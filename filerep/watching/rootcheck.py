"""SRC by its name: is it still the directory it was, and the way down from it."""

from __future__ import annotations

import errno
import os
import stat

from filerep.source import RootGone, Spelling

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A part of the path is no directory, or a symlink: there is nothing at that path.
ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
_LENT = 64


class Root:
    """A directory known by absolute name, device and inode.

    It is not held open: that would keep it from being unmounted, and inotify reports
    a deleted directory only when nobody has it open any more.
    """

    def __init__(self, path: bytes) -> None:
        """Raises OSError. A symlink to a directory is followed, here and later."""
        # Not normalized: behind a symlink, `link/..` is not where it seems to be. Made
        # absolute, as `.` stays the same directory wherever it is moved. If it is absolute
        # the current directory may be gone.
        self.path = path if os.path.isabs(path) else os.path.join(os.getcwdb(), path)
        status = os.stat(self.path)
        self._identity = (status.st_dev, status.st_ino)
        self.mode = stat.S_IMODE(status.st_mode)
        self.spelling = Spelling()

    def check(self) -> os.stat_result:
        """What is at the name now; raises ``RootGone`` if it is another directory."""
        try:
            status = os.stat(self.path)
        except OSError:
            raise RootGone from None
        if (status.st_dev, status.st_ino) != self._identity:
            raise RootGone
        return status

    def folds(self) -> bool:
        """Is what is in it found under other cases of its name too?"""
        fd = self.open()
        try:
            return self.spelling.folds(fd)
        finally:
            os.close(fd)

    def there(self, path: bytes) -> bool:
        """Is there anything at ``path``, as far as can be told?"""
        try:
            os.lstat(os.path.join(self.path, path))
        except OSError as error:
            return error.errno not in ABSENT
        return True

    def mark(self, path: bytes) -> bytes:
        """What a record of ``path`` ends in: ``/`` if it is gone, ``/.`` if it is a directory."""
        try:
            status = os.lstat(os.path.join(self.path, path))
        except OSError as error:
            return b"/" if error.errno in ABSENT else b""
        return b"/." if stat.S_ISDIR(status.st_mode) else b""

    def open(self) -> int:
        """A descriptor of the root; raises ``RootGone`` or OSError."""
        self.check()
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != self._identity:
            os.close(fd)
            raise RootGone
        return fd


class Descent:
    """Opens directories below a root, part by part, no link followed.

    The way down stays open, so that the next one, if it is near, costs one call. Nothing
    is pinned by that: a directory moved meanwhile is seen where it was when it was opened,
    which is right only for a reader that will hear of the move.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._names: list[bytes] = []
        # Depth and descriptor. Deeper than the limit only the last one is kept.
        self._open: list[tuple[int, int]] = []

    def __enter__(self) -> Descent:
        self._root.spelling.forget()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for _, fd in self._open:
            os.close(fd)
        self._open.clear()
        self._names = []

    def open(self, path: bytes) -> int:
        """A descriptor of the directory ``path``, lent until the next call.

        Raises OSError, or ``RootGone``.
        """
        names = path.split(b"/") if path else []
        shared = 0
        for name, other in zip(names, self._names):
            if name != other:
                break
            shared += 1
        while self._open and self._open[-1][0] > shared:
            os.close(self._open.pop()[1])
        if not self._open:
            self._open.append((0, self._root.open()))
        spelling = self._root.spelling
        depth, fd = self._open[-1]
        self._names = names[:depth]
        for name in names[depth:]:
            if spelling.folds(fd) and not spelling.right(name, fd):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            fd = os.open(name, _OPEN_DIRECTORY, dir_fd=fd)
            if len(self._open) > _LENT:
                os.close(self._open.pop()[1])
            self._names.append(name)
            self._open.append((len(self._names), fd))
        return fd
