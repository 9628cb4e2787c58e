"""--wait: how a script learns that everything saved by now has arrived.

A running file-replicator listens on a unix socket beside its state file; to connect is to
ask. It then has fr-watch name a sync point (SIGUSR1, the record ``.``) behind all changes
it knows of, and answers when fr-pack has told that everything up to there is acknowledged.
Who asks while that is under way waits for the next sync point: the one under way may have
been drawn before his last save. A lost connection makes nobody's wait end; it is asked
again over the next one.

Only the run that holds the lock file touches the socket, so a socket found there by that run
is a dead run's. The lock goes with the process, however it ends, and the file stays:
were it removed, two runs could hold locks on two files of that name.
"""

from __future__ import annotations

import os
import select
import socket

from filerep import ownfiles
from filerep.command import OK, UNAVAILABLE, Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Optional

_PATIENCE = 5.0  # seconds
_NONE_RUNS = "no file-replicator is running with these arguments; start one first"


class Waiters:
    """Those who wait for a sync point, and the socket by which they come."""

    def __init__(self, lock_fd: Optional[int] = None, path: str = "") -> None:
        self._lock = lock_fd
        self._path = path
        self._socket: Optional[socket.socket] = None
        self._new: list[socket.socket] = []
        self._asked: list[socket.socket] = []

    def listen(self) -> None:
        """From now on they can come. To be called by the run that holds the lock."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass
        door = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            _at(self._path, door.bind)
        finally:
            os.umask(before)
        door.setblocking(False)
        door.listen(64)
        self._socket = door

    def fds(self) -> list[int]:
        """What to poll for reading before ``hear``."""
        return [self._socket.fileno()] if self._socket else []

    def hear(self, ready: Collection[int]) -> None:
        if self._socket is None or self._socket.fileno() not in ready:
            return
        try:
            self._new.append(self._socket.accept()[0])
        except OSError:
            pass  # gone again, or no descriptor left: they stay in the queue

    def due(self) -> bool:
        """Must a sync point be asked for? Then it counts as asked for."""
        if self._asked or not self._new:
            return False
        self._asked, self._new = self._new, []
        return True

    def answer(self, failing: int) -> None:
        """The sync point has been reached, but for ``failing`` paths."""
        for one in self._asked:
            try:
                one.sendall(b"%d\n" % failing)
            except OSError:
                pass  # no longer waiting
            one.close()
        self._asked = []

    def again(self) -> None:
        """The connection is lost, and with it the sync point."""
        self._new, self._asked = self._asked + self._new, []

    def close(self) -> None:
        """Send all away unanswered; the lock is let go last."""
        for one in self._asked + self._new:
            one.close()
        if self._socket is not None:
            try:
                os.unlink(self._path)
            except OSError:
                pass
            self._socket.close()
        if self._lock is not None:
            os.close(self._lock)


def lock(path: str) -> int:
    """A descriptor that holds the lock file ``path``; raises OSError, and ``Stop`` with the
    process that has it."""
    fd = ownfiles.open_file(path)
    try:
        ownfiles.lock(fd)
    except ownfiles.Held:
        holder = os.read(fd, 20).decode("ascii", "replace").strip()
        os.close(fd)
        who = f"process {holder}" if holder.isdigit() else "another process"
        said = f"{who} is replicating this already; stop it first, or use --wait"
        raise Stop(UNAVAILABLE, said) from None
    os.ftruncate(fd, 0)
    os.write(fd, b"%d\n" % os.getpid())
    return fd


def wait(path: str, say: Callable[[str], None]) -> int:
    """Ask the run that listens at ``path``; the exit status once it has answered.

    ``say`` is told if that takes long.
    """
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            _at(path, asking.connect)
        except (FileNotFoundError, ConnectionRefusedError):
            raise Stop(UNAVAILABLE, _NONE_RUNS) from None
        answer = b""
        if not select.select([asking], [], [], _PATIENCE)[0]:
            say("waiting for the one that runs, which says what it is doing")
        try:
            while not answer.endswith(b"\n"):
                chunk = asking.recv(64)
                if not chunk:
                    break
                answer += chunk
        except ConnectionError:
            pass
    if not answer.endswith(b"\n"):
        said = "the file-replicator that was asked ended before everything had arrived"
        raise Stop(UNAVAILABLE, said)
    failing = int(answer)
    if failing:
        paths = "one path" if failing == 1 else f"{failing:,} paths"
        said = (
            f"{paths} could not be read here or written at the far end;"
            " the running one says why"
        )
        raise Stop(UNAVAILABLE, said)
    return OK


def _at(path: str, act: Callable[[str], None]) -> None:
    """Do ``act`` with the name of ``path``, in its directory.

    An address of a unix socket is 108 bytes at most (104 on macOS, unix(7)); a home directory
    may be longer.
    """
    here = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.chdir(os.path.dirname(path))
        act(os.path.basename(path))
    finally:
        os.fchdir(here)
        os.close(here)
