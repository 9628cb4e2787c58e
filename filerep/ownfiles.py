"""Files that a run keeps for itself: state, locks. Nobody else may have a hand in them.

They stand in a directory that may have been there before us, and be open to others: a symlink
put there would have us empty, or write to, whatever it leads to. So a link is not followed,
and what belongs to somebody else or can be written by others is refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

_OTHERS = 0o022
_LOCK_PAUSE = 0.02  # seconds
# What flock(2) and fcntl(2) say where a file system has no locks (NFS without lockd, some FUSE).
_NO_LOCKS = frozenset(
    (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
)


class Unusable(OSError):
    """What stands there is not used; its words say why."""


class Held(Exception):
    """Another process has locked the file."""


def open_file(path: str | bytes) -> int:
    """A descriptor to read and write ``path``, which is made if need be; raises OSError."""
    # O_NONBLOCK: a fifo must not hold up the run.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise Unusable("it is a symbolic link") from None
        raise
    try:
        _check(os.fstat(fd), stat.S_ISREG, "file")
    except OSError:
        os.close(fd)
        raise
    return fd


def make_directory(path: str) -> None:
    """Make sure that ``path`` is a directory of ours; raises OSError."""
    os.makedirs(path, 0o700, exist_ok=True)
    _check(os.lstat(path), stat.S_ISDIR, f"directory {quote(path)}")


def _check(status: os.stat_result, is_kind: object, kind: str) -> None:
    if not is_kind(status.st_mode):  # type: ignore[operator]
        raise Unusable(f"it is no ordinary {kind}")
    if status.st_uid != os.geteuid():
        raise Unusable(f"the {kind} belongs to another user")
    if status.st_mode & _OTHERS:
        mode = f"{status.st_mode & 0o7777:o}"
        raise Unusable(f"the {kind} can be written by others (mode {mode}); chmod go-w")


def lock(fd: int, patience: float = 0.0) -> bool:
    """Lock ``fd`` as long as it is open; False where nothing can be locked.

    Raises ``Held`` if another process has it for so many seconds.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return _try_lock(fd)
        except Held:
            if time.monotonic() >= until:
                raise
        time.sleep(_LOCK_PAUSE)  # a blocking flock has no limit of time


def _try_lock(fd: int) -> bool:
    for attempt in (fcntl.flock, fcntl.lockf):
        try:
            attempt(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise Held from None
            if error.errno not in _NO_LOCKS:
                raise
    return False


def state_home() -> str:
    """Where this user's programs keep state; raises OSError where no place is known."""
    home = os.environ.get("XDG_STATE_HOME", "")
    if not home.startswith("/"):
        home = os.path.expanduser("~/.local/state")
    if not home.startswith("/"):
        raise Unusable("no home directory is known; set HOME")
    return home


def running_kernel() -> Optional[str]:
    """What tells one start of the machine from the next; None if that cannot be told."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().strip().decode()
    except (OSError, ValueError):
        return None
