"""Reading a file that somebody else may have made: never waiting, never without end."""

from __future__ import annotations

import errno
import os
import stat

from filerep import command
from filerep.pathstream import quote

# git dies beyond this size since 2.46; before that it would read anything.
LARGEST = 100 << 20

#: A file changed so lately may change again without a stamp that shows it.
RECENT_NS = 50_000_000

# To reach what is in a directory it need not be readable.
OPEN_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


def descriptor(path: bytes, flags: int, dir_fd: int | None = None) -> int:
    """As os.open, but raises ``Stop`` where no descriptor is left.

    Then nobody knows what counts, and it is none of what is wrong with one file: to go on
    without its rules would give away what they hide.
    """
    try:
        return os.open(path, flags, dir_fd=dir_fd)
    except OSError as error:
        if error.errno not in _NO_DESCRIPTOR:
            raise
        said = f"cannot open {quote(path)}: {command.reason(error)}"
        raise command.Stop(command.OS_ERROR, said) from None


def read(
    path: bytes,
    dir_fd: int | None = None,
    follow: bool = True,
    largest: int = LARGEST,
) -> bytes | None:
    """The contents of a regular file, None when there is none, or it is too large; raises OSError."""
    fd = opened(path, dir_fd, follow)
    if fd is None:
        return None
    try:
        size = os.fstat(fd).st_size
        if size > largest:
            return None
        chunks = []
        left = largest  # in /proc a file of no size may have no end
        while chunk := os.read(fd, max(1 << 16, size + 1)):
            chunks.append(chunk)
            left -= len(chunk)
            if left < 0:
                return None
        return b"".join(chunks)
    finally:
        os.close(fd)


def refuse_directory(path: bytes) -> None:
    """Raise OSError where a directory is in place of a file, at which git ends."""
    if os.path.isdir(path):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))


def opened(path: bytes, dir_fd: int | None = None, follow: bool = True) -> int | None:
    """A regular file, open to be read, None when there is none; raises OSError.

    What is named like a rule file may be a fifo or a device, which to open may wait for
    ever or do something: NONBLOCK keeps from the one, a look before opening from the
    other.
    """
    if b"\0" in path:
        return None  # as settings may have it
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        mode = os.stat(path, dir_fd=dir_fd, follow_symlinks=follow).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            return None
        fd = descriptor(path, flags | (0 if follow else os.O_NOFOLLOW), dir_fd)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None
