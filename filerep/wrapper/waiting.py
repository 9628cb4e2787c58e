"""--wait: how a script learns that everything saved by now has arrived.

A running file-replicator listens on a unix socket beside its state file; who connects sends
a line, `saved`, or `on-sync` to wait for the --on-sync command too. It then has fr-watch name
a sync point (SIGUSR1, the record ``.``) behind all changes it knows of, and answers when
fr-pack has told that everything up to there is acknowledged, by a line: how many paths failed,
and the status of the --on-sync command. Who asks while that is under way waits for the next
sync point: the one under way may have been drawn before his last save. A lost connection makes
nobody's wait end; it is asked again over the next one.

Only the run that holds the lock file touches the socket, so a socket found there by that run
is a dead run's. The lock goes with the process, however it ends, and the file stays:
were it removed, two runs could hold locks on two files of that name.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time

from filerep import ownfiles, processtable
from filerep.command import UNAVAILABLE, Stop
from filerep.pathstream import quote
from filerep.wrapper.runrecord import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Optional

SAVED, ON_SYNC = b"saved\n", b"on-sync\n"
_WAITING_FOR = "waiting for {}; --status says what it is doing"
STILL_WAITING = _WAITING_FOR.format("the one that runs")
PATIENCE = 5.0  # seconds
_MOST = 500  # who may wait at once
_SHUT_TIME = 1.0  # seconds
MOST_ANSWER = 64  # bytes
_PEER = struct.Struct("iII")  # struct ucred, see unix(7): process, user, group
_NONE_RUNS = (
    "no file-replicator is running with these arguments; start one first (--status"
    " shows what runs)"
)


class Asker:
    """One who waits, and what for."""

    def __init__(self, socket: socket.socket, on_sync: bool) -> None:
        self.socket = socket
        self.on_sync = on_sync
        self.failing = 0
        self.hooks = 0  # how many runs of the --on-sync command are to end yet

    def answer(self, status: int) -> None:
        told = b"%d %d\n" % (self.failing, status if self.on_sync else 0)
        try:
            self.socket.sendall(told)
        except OSError:
            pass  # no longer waiting
        self.socket.close()


class Waiters:
    """Those who wait for a sync point, and the socket by which they come."""

    def __init__(
        self,
        lock_fd: Optional[int] = None,
        path: str = "",
        about: Optional[Record] = None,
    ) -> None:
        """``about`` is kept in the lock file."""
        self.record = about or Record()
        self._lock = lock_fd
        self._path = path
        self._socket: Optional[socket.socket] = None
        self._arrived: dict[int, socket.socket] = {}  # but have not said what for
        self._new: list[Asker] = []
        self._asked: list[Asker] = []
        self._answered: list[Asker] = []  # but for what --on-sync has to say
        self._status = 0  # of the --on-sync command when it ended last
        self._shut_until = 0.0  # nobody can come before that, as no descriptor is left
        self._full = False
        self.say: Callable[[str], object] = bool

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
        if self._socket is None:
            return []
        waiting = [one.socket.fileno() for one in self._waiting()]
        door = [] if self.pause() is not None else [self._socket.fileno()]
        return [*door, *self._arrived, *waiting]

    def pause(self) -> Optional[float]:
        """Seconds until more can come, None if they can: to be polled for no longer."""
        left = self._shut_until - time.monotonic()
        return left if left > 0 else None

    def hear(self, ready: Collection[int]) -> None:
        self._let_go(ready)
        for fd in [fd for fd in self._arrived if fd in ready]:
            self._asks(self._arrived.pop(fd))
        if self._socket is None or self._socket.fileno() not in ready:
            return
        many = len(self._arrived) + len(self._waiting()) >= _MOST
        try:
            one = None if many else self._socket.accept()[0]
        except BlockingIOError:
            return  # gone again
        except OSError:
            one = None
        if one is None and self._arrived:
            # Who has said nothing for longest makes room.
            self._arrived.pop(next(iter(self._arrived))).close()
            return
        if one is None:
            # They stay in the queue, which can be read from all the time.
            self._shut_until = time.monotonic() + _SHUT_TIME
            if not self._full:
                self.say("too many wait at once (--wait): some are heard later")
            self._full = True
            return
        one.setblocking(False)
        self._arrived[one.fileno()] = one

    def _waiting(self) -> list[Asker]:
        return [*self._new, *self._asked, *self._answered]

    def _let_go(self, ready: Collection[int]) -> None:
        """Forget those of ``ready`` who have gone, or say what they are not asked for."""
        gone = [one for one in self._waiting() if one.socket.fileno() in ready]
        for one in gone:
            one.socket.close()
            for some in (self._new, self._asked, self._answered):
                if one in some:
                    some.remove(one)
        if gone:
            self._shut_until, self._full = 0.0, False

    def _asks(self, one: socket.socket) -> None:
        try:
            said = one.recv(64)
        except OSError:
            said = b""
        if said in (SAVED, ON_SYNC):
            self._new.append(Asker(one, said == ON_SYNC))
        else:
            one.close()

    def due(self) -> bool:
        """Must a sync point be asked for? Then it counts as asked for."""
        if self._asked or not self._new:
            return False
        self._asked, self._new = self._new, []
        return True

    def answer(self, failing: int, hooks: int) -> None:
        """The sync point has been reached, but for ``failing`` paths.

        The --on-sync command has seen all up to it once it has ended ``hooks`` times.
        """
        for one in self._asked:
            one.failing, one.hooks = failing, hooks if one.on_sync else 0
        self._answered += self._asked
        self._asked = []
        self._answer()

    def on_sync_ended(self, status: int) -> None:
        self._status = status
        for one in self._answered:
            one.hooks -= 1
        self._answer()

    def _answer(self) -> None:
        for one in self._answered:
            if one.hooks <= 0:
                one.answer(self._status)
        self._answered = [one for one in self._answered if one.hooks > 0]

    def again(self) -> None:
        """The connection is lost, and with it the sync point."""
        self._new = self._answered + self._asked + self._new
        self._asked, self._answered = [], []

    def close(self) -> None:
        """Send all away unanswered; the lock is let go last."""
        for one in self._answered + self._asked + self._new:
            one.socket.close()
        for other in self._arrived.values():
            other.close()
        if self._socket is not None:
            try:
                os.unlink(self._path)
            except OSError:
                pass
            self._socket.close()
        if self._lock is not None:
            os.close(self._lock)
        self._socket = self._lock = None


def lock(path: str) -> int:
    """A descriptor that holds the lock file ``path``; raises OSError, and ``Stop`` with the
    process that has it."""
    fd = ownfiles.open_file(path)
    try:
        ownfiles.lock(fd)
    except ownfiles.Held:
        holder = os.read(fd, 20).partition(b"\n")[0].decode("ascii", "replace")
        os.close(fd)
        who = f"process {holder}" if holder.isdigit() else "another process"
        said = f"{who} is replicating this already; stop it first, or use --wait"
        raise Stop(UNAVAILABLE, said) from None
    if not _is_at(path, fd):
        os.close(fd)
        return lock(path)  # --forget has removed it meanwhile
    os.ftruncate(fd, 0)
    os.write(fd, b"%d\n" % os.getpid())
    return fd


def _is_at(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def ask(path: str, on_sync: bool = False) -> Optional[socket.socket]:
    """Ask the run that listens at ``path``, which answers by a line; None if none does.

    With ``on_sync`` it answers when the --on-sync command has seen all, and the exit status
    is that command's.
    """
    asking = socket.socket(socket.AF_UNIX)
    try:
        _at(path, asking.connect)
        asking.sendall(ON_SYNC if on_sync else SAVED)
    except (FileNotFoundError, ConnectionRefusedError):
        asking.close()
        return None
    except ConnectionError:
        pass  # nor will there be an answer
    except BaseException:
        asking.close()
        raise
    return asking


def wait(asking: Optional[socket.socket], say: Callable[[str], None]) -> int:
    """The exit status once the run that was asked has answered; raises ``Stop``.

    ``say`` is told if it takes long, and why as far as that is known.
    """
    if asking is None:
        raise Stop(UNAVAILABLE, _NONE_RUNS)
    with asking:
        answer = b""
        poll = select.poll()
        poll.register(asking, select.POLLIN)
        told: set[str] = set()
        while not poll.poll(PATIENCE * 1000):
            held = held_up(asking)
            if held not in told:
                say(held)
            told.add(held)
        while not answer.endswith(b"\n") and len(answer) < MOST_ANSWER:
            chunk = answered(asking)
            if not chunk:
                break
            answer += chunk
    return verdict(answer)


def held_up(asking: socket.socket) -> str:
    """What is said to one who has waited for long."""
    process = _listener(asking)
    if process <= 0:
        return STILL_WAITING
    if processtable.stopped(process):
        on = f"fg in its shell, or kill -CONT {process}, has it go on"
        return f"waiting for process {process}, which is stopped (Ctrl-Z): {on}"
    from filerep.wrapper import runs

    connecting = runs.connecting(process)
    if connecting:
        return f"waiting for process {process}, which is {connecting}"
    return _WAITING_FOR.format(f"process {process}")


def _listener(asking: socket.socket) -> int:
    """The process at the other end, -1 where the system does not tell."""
    try:
        told = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        return int(_PEER.unpack(told)[0])
    except (AttributeError, OSError, struct.error):  # AttributeError: not Linux
        return -1


def answered(asking: socket.socket) -> bytes:
    """What has come of the answer; nothing if no more will."""
    try:
        return asking.recv(64)
    except ConnectionError:
        return b""


def verdict(answer: bytes) -> int:
    """The exit status that ``answer`` comes to; raises ``Stop`` if it is not in sync."""
    if not answer.endswith(b"\n") and len(answer) < MOST_ANSWER:
        said = "the file-replicator that was asked ended before everything had arrived"
        raise Stop(UNAVAILABLE, said)
    try:
        failing, status = map(int, answer[:MOST_ANSWER].split())
    except ValueError:
        said = f"what runs answers {quote(answer[:MOST_ANSWER])}, which makes no sense"
        raise Stop(UNAVAILABLE, said) from None
    if failing:
        paths = "one path" if failing == 1 else f"{failing:,} paths"
        said = (
            f"{paths} could not be read here or written at the far end;"
            " --status says why"
        )
        raise Stop(UNAVAILABLE, said)
    return status


def _at(path: str, act: Callable[[str], None]) -> None:
    """Do ``act`` with the name of ``path``, in its directory.

    An address of a unix socket is 108 bytes at most (104 on macOS, unix(7)); a home directory
    may be longer.
    """
    # O_PATH: one may be in a directory that one cannot read.
    here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    try:
        os.chdir(os.path.dirname(path))
        act(os.path.basename(path))
    finally:
        os.fchdir(here)
        os.close(here)
