"""The source tree, held open: every look at a path stays below one descriptor.

Resolving ``a/f`` from the root by name would follow ``a`` if it has become a symlink
meanwhile, and send some other file as ``a/f``. So each part is opened from the one above
it with O_NOFOLLOW. That also works for paths longer than PATH_MAX.
"""

from __future__ import annotations

import errno
import os
import stat
from itertools import islice

from filerep.filesystem import file_system, is_made_up
from filerep.pathstream import inside, normalize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a fifo put where a file was must not hold up the run. O_NOATIME is not used:
# it is refused for other people's files.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# A part of the path is no directory, or a symlink: there is nothing at that path.
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))

# None is left, of this process or of the machine.
_NO_DESCRIPTOR = frozenset((errno.EMFILE, errno.ENFILE))

_CACHED_DIRECTORIES = 64


class RootGone(Exception):
    """The source root was moved, deleted, unmounted or mounted over."""


class Spelling:
    """Tells how names are really spelled, where a file system takes other cases for them.

    There (exFAT, NTFS, APFS) a file that was renamed to another case is still found under
    its old name, which only the directory's listing tells apart. Such a file system may also
    be mounted in one that tells them apart, and the other way round.
    """

    def __init__(self) -> None:
        self._folds: dict[int, bool] = {}  # by device, as soon as anything tells
        self._names: dict[tuple[int, int], set[bytes]] = {}

    def folds(self, dir_fd: int) -> bool:
        """Is what is in the open directory found under other cases of its name too?"""
        try:
            device = os.fstat(dir_fd).st_dev
            known = self._folds.get(device)
            if known is None:
                known = _folds(dir_fd)
        except OSError:
            known = None  # as where a share's root is gone; who reads there will say so
        if known is None:
            return False
        self._folds[device] = known
        return known

    def forget(self) -> None:
        """What is in directories may have changed."""
        self._names.clear()

    def right(self, name: bytes, dir_fd: int) -> bool:
        """Is there an entry spelled just so in the open directory?"""
        status = os.fstat(dir_fd)
        key = (status.st_dev, status.st_ino)
        if key not in self._names:
            self._names[key] = set(map(os.fsencode, os.listdir(dir_fd)))
        return name in self._names[key]


def _folds(fd: int) -> Optional[bool]:
    """Are other cases of a name in the open directory taken for it? None: nothing tells.

    Where no name in it does, as it is empty, its own may.
    """
    with os.scandir(fd) as entries:
        for name in [entry.name for entry in islice(entries, 50)]:
            other = name.swapcase()
            if other == name:
                continue
            try:
                os.stat(other, dir_fd=fd, follow_symlinks=False)
            except OSError:
                if name.isascii():
                    return False
                continue  # some fold no other letters
            if other not in os.listdir(fd):
                return True
            if name.isascii():
                return False
    return True if _answers_to_another_case(fd) else None


def _answers_to_another_case(fd: int) -> bool:
    """Is the open directory found under another case of its own name, too?"""
    try:
        above, name = os.path.split(os.readlink(f"/proc/self/fd/{fd}"))
        other = name.swapcase()
        if other == name or os.stat(above).st_dev != os.fstat(fd).st_dev:
            return False
        # FUSE may give it another inode under each name.
        os.lstat(os.path.join(above, other))
        return other not in os.listdir(above)
    except OSError:
        return False


class Source:
    """SRC as one descriptor, and a few of the directories below it."""

    def __init__(self, root: bytes) -> None:
        """Open ``root``; raises OSError. A symlink to a directory is followed here only."""
        self._root = root
        self._names = _names(root)
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened = os.fstat(self._fd)
        self._identity = (opened.st_dev, opened.st_ino)
        # Device and inode of files that are written here ourselves, as messages in nohup.out or
        # the archive are: were they sent, each word about that would be the next change.
        self.own: set[tuple[int, int]] = set()
        self._own_told: set[bytes] = set()
        self._made_up: dict[int, bool] = {}  # by device
        self.on_own: Callable[[bytes], object] = bool  # told the path of each, once
        self._directories: dict[bytes, int] = {}
        self._spelling = Spelling()
        #: Rises whenever what was seen of directories is forgotten.
        self.turn = 0

    @property
    def root(self) -> bytes:
        """By which name it was opened."""
        return self._root

    def relative(self, path: bytes) -> bytes | None:
        """The absolute ``path`` as a record that names it; None if it is not below the root."""
        for name in self._names:
            if path == name or path.startswith(os.path.join(name, b"")):
                return normalize(path[len(name) :].lstrip(b"/") or b".")
        return None

    def forget_directories(self) -> None:
        """Close the directories kept open.

        To be called whenever new records were read. A directory that is moved after it was
        opened here is named by a record that is written later, so one that was read in the
        same go as the present records cannot have missed it.
        """
        for fd in self._directories.values():
            os.close(fd)
        self._directories.clear()
        self._spelling.forget()
        self.turn += 1

    def folds(self, dir_fd: int) -> bool:
        """Is what is in the open directory found under other cases of its name too?"""
        return self._spelling.folds(dir_fd)

    def _spelled(self, name: bytes, dir_fd: int) -> bool:
        return not self.folds(dir_fd) or self._spelling.right(name, dir_fd)

    def directory(self, path: bytes) -> int:
        """A descriptor of the directory ``path``, good until the next call; raises OSError.

        ``path`` is inside, or b"": whoever asks for another must not get a look outside.
        """
        fd = self._directories.get(path)
        if fd is not None:
            return fd
        if path and not inside(path):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            return self._walk(path)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR or not self._directories:
                raise
        self.forget_directories()
        return self._walk(path)

    def _walk(self, path: bytes) -> int:
        missing: list[bytes] = []
        above = path
        while above and above not in self._directories:
            above, _, name = above.rpartition(b"/")
            missing.append(name)
        if len(self._directories) >= _CACHED_DIRECTORIES:
            # But for the way that is gone so far: in a deep tree each look would go it anew.
            self._close_but(self._directories.get(above, -1))
        fd = self._directories[above] if above else self._fd
        while missing:
            name = missing.pop()
            try:
                inner = os.open(name, _OPEN_DIRECTORY, dir_fd=fd)
                if not self._spelled(name, fd):
                    os.close(inner)
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            finally:
                # The way down to a very deep directory would use up all descriptors.
                if above not in self._directories and above:
                    os.close(fd)
            above = above + b"/" + name if above else name
            if len(missing) < _CACHED_DIRECTORIES // 2:
                self._directories[above] = inner
            fd = inner
        return fd

    def leave_out(self, *fds: int) -> None:
        """Never send what these descriptors are, as far as they are files."""
        for fd in fds:
            try:
                status = os.fstat(fd)
            except OSError:
                continue  # it is closed
            if stat.S_ISREG(status.st_mode):
                self.own.add((status.st_dev, status.st_ino))

    def left_out(self, path: bytes, status: os.stat_result) -> bool:
        """Is ``path``, which is as ``status`` shows, one to be left out?

        Whoever names paths may not know of what the kernel makes up, as a `find`.
        """
        if status.st_dev != self._identity[0] and self._is_made_up(path, status.st_dev):
            return True
        if (status.st_dev, status.st_ino) not in self.own:
            return False
        if path not in self._own_told:
            self._own_told.add(path)
            self.on_own(path)
        return True

    def _is_made_up(self, path: bytes, device: int) -> bool:
        known = self._made_up.get(device)
        if known is None:
            try:
                kind = file_system(self.directory(path.rpartition(b"/")[0]))
            except OSError:
                return False  # it is gone
            known = self._made_up[device] = is_made_up(kind)
        return known

    def look(self, path: bytes) -> os.stat_result | None:
        """What is at ``path`` now, None for nothing; raises OSError if it cannot be told."""
        parent, _, name = path.rpartition(b"/")
        try:
            fd = self.directory(parent)
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            return status if self._spelled(name, fd) else None
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise

    def is_gone(self, path: bytes) -> bool:
        """Is nothing at ``path`` that is ever sent? False also if it cannot be told."""
        try:
            return not kind(self.look(path))
        except OSError:
            return False

    def open(self, path: bytes) -> int:
        """A descriptor of the regular file ``path``; raises OSError."""
        parent, _, name = path.rpartition(b"/")
        return self.open_in(self.directory(parent), name)

    def open_in(self, directory: int, name: bytes) -> int:
        """The same for ``name`` in what ``directory`` has given; raises OSError."""
        try:
            return os.open(name, OPEN_FILE, dir_fd=directory)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR or not self._close_but(directory):
                raise
        return os.open(name, OPEN_FILE, dir_fd=directory)

    def _close_but(self, directory: int) -> bool:
        """Close the directories kept open but for this descriptor; were there any?"""
        others = [path for path, fd in self._directories.items() if fd != directory]
        for path in others:
            os.close(self._directories.pop(path))
        return bool(others)

    def target(self, path: bytes) -> bytes:
        """Where the symlink ``path`` points; raises OSError."""
        parent, _, name = path.rpartition(b"/")
        return os.readlink(name, dir_fd=self.directory(parent))

    def check(self) -> None:
        """Raise ``RootGone`` unless the name of the root still leads to what was opened.

        Must be asked before any deletion: when the root was unmounted or moved away,
        every path in it looks deleted.
        """
        try:
            named, opened = os.stat(self._root), os.fstat(self._fd)
        except OSError:
            raise RootGone from None
        if (named.st_dev, named.st_ino) != self._identity or not opened.st_nlink:
            raise RootGone


def _names(root: bytes) -> list[bytes]:
    """Of ``root``, absolute: as it was typed, and the real one."""
    try:
        return [os.path.abspath(root), os.path.realpath(root)]
    except OSError:
        return []  # the current directory is gone


def changed_meanwhile(error: OSError) -> bool:
    """Does ``error`` only mean that another kind of thing is at a path than a moment ago?

    EISDIR comes from reading what was a file, EINVAL from readlink(2) of what was a link.
    """
    return error.errno in _ABSENT or error.errno in (errno.EISDIR, errno.EINVAL)


def kind(status: os.stat_result | None) -> int:
    """The type bits of what a look found, 0 for nothing or for what is never sent."""
    if status is None:
        return 0
    bits = stat.S_IFMT(status.st_mode)
    return bits if bits in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR) else 0


def grown(now: os.stat_result, then: os.stat_result) -> bool:
    """Do two looks show one file, with no less in it than before?"""
    return os.path.samestat(now, then) and now.st_size >= then.st_size


def same(now: os.stat_result, then: os.stat_result) -> bool:
    """Do two looks show one file, not written between them?"""
    return (
        now.st_ctime_ns == then.st_ctime_ns
        and now.st_mtime_ns == then.st_mtime_ns
        and now.st_size == then.st_size
        and now.st_ino == then.st_ino
    )
