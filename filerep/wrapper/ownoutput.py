"""The files that what we say goes to: where one is in SRC_DIR, each save would cause the next.

It may go there by a pipe: `file-replicator ... | tee log`. What reads it was started beside us,
by the same shell, and has the file open. Others are not looked for: a program that has started
us and hears what we say may have much else open.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 64  # files of one that reads; a tee has few
_kept: dict[tuple[int, int], int] = {}  # the descriptors of those that stay open


def own_files(*fds: int) -> set[tuple[int, int]]:
    """Device and inode of each file that what is written to ``fds`` goes to."""
    found = set()
    for fd in fds:
        try:
            status = os.fstat(fd)
        except OSError:
            continue  # it is closed
        if stat.S_ISREG(status.st_mode):
            found.add((status.st_dev, status.st_ino))
        elif stat.S_ISFIFO(status.st_mode):
            found.update(_behind(status))
    return found


def _behind(pipe: os.stat_result) -> Iterator[tuple[int, int]]:
    """What those who read ``pipe`` write to.

    Each stays open here, too: else the inode of one that is removed may be that of any new file.
    """
    for pid in _beside():
        reads = False
        written = []
        try:
            for link in os.scandir(f"/proc/{pid}/fd"):
                mode, status = link.stat(follow_symlinks=False).st_mode, link.stat()
                reads |= bool(mode & stat.S_IRUSR) and os.path.samestat(status, pipe)
                if mode & stat.S_IWUSR and stat.S_ISREG(status.st_mode):
                    written.append(link.path)
            for path in written[:_MOST] if reads else ():
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
                status = os.fstat(fd)
                identity = status.st_dev, status.st_ino
                if _kept.setdefault(identity, fd) != fd:
                    os.close(fd)  # it is, since an earlier connection
                yield identity
        except OSError:
            continue  # it has ended, or is somebody else's


def _beside() -> Iterator[str]:
    """The children of each process above this one: with --each, the shell is not the next.

    But for those that are above it themselves: what has started us may edit the source.
    """
    above = str(os.getpid())
    try:
        while True:
            below = above
            with open(f"/proc/{below}/stat", "rb") as file:
                above = file.read().rpartition(b")")[2].split()[1].decode()
            with open(f"/proc/{above}/task/{above}/children") as children:
                yield from (pid for pid in children.read().split() if pid != below)
    except (OSError, ValueError, IndexError):
        pass  # there is none above, or no such table
