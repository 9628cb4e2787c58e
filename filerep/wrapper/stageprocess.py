"""A stage in a process of its own, forked from this one.

A fork has Python and the modules that all commands share in memory: it is at work within some
milliseconds, where a new Python takes 30, and what is shared counts once. This process has one
thread, so nothing is left locked in the child.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess

from filerep.command import OS_ERROR, leave, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Optional

_OWN_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class Stage:
    """The child; asked and told as a ``subprocess.Popen`` is."""

    def __init__(
        self,
        name: str,
        body: Callable[[], int],
        files: tuple[int, int, int],
        keep: Sequence[int] = (),
    ) -> None:
        """Run ``body``, whose value is the exit status, on ``files`` as descriptors 0 to 2.

        ``name`` is what the system calls the process. Of the other descriptors it has only
        ``keep``, none of which is below 3. Raises OSError.
        """
        self.returncode: Optional[int] = None
        # Only the child has the other end, so this one can be read once it has ended.
        self._life, life = os.pipe()
        held = fcntl.fcntl(life, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(life)
        # A signal in between would be handled over there as if it were meant for this one.
        before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        try:
            self.pid = os.fork()
            if not self.pid:
                _become(name, body, files, (*keep, held), before)
        except OSError:
            os.close(self._life)
            raise
        finally:
            os.close(held)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def poll(self) -> Optional[int]:
        """Its exit status, -N if signal N killed it, None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float = float("inf")) -> int:
        """Its exit status, when it has ended; raises ``subprocess.TimeoutExpired``."""
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._life, select.POLLIN)
            if not poll.poll(None if timeout == float("inf") else timeout * 1000):
                raise subprocess.TimeoutExpired("", timeout)
        status = self._reap(0)
        assert status is not None
        return status

    def _reap(self, options: int) -> Optional[int]:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                os.close(self._life)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _become(
    name: str,
    body: Callable[[], int],
    files: tuple[int, int, int],
    keep: Sequence[int],
    mask: set[int | signal.Signals],
) -> None:
    """Be the child; does not return, as all that is below on the stack is the parent's."""
    try:
        signal.set_wakeup_fd(-1)
        for number in _OWN_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, signal.SIG_DFL)
        # A terminal sends Ctrl-C to all of its foreground processes. Only the parent acts on it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # The three may be among each other's numbers, where the user had closed these.
        copies = [fcntl.fcntl(fd, fcntl.F_DUPFD, 3) for fd in files]
        for standard, fd in enumerate(copies):
            os.dup2(fd, standard)
        for fd in keep:
            os.set_inheritable(fd, False)
        for fd in _open_descriptors():
            if fd > 2 and fd not in keep:
                with contextlib.suppress(OSError):
                    os.close(fd)
        with contextlib.suppress(OSError):
            with open("/proc/self/comm", "w") as comm:
                comm.write(name)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        leave(body())
    except BaseException as error:
        why = refused(error) or f"internal error, please report it: {error!r}"
        os.write(2, f"{name}: {why}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(OS_ERROR)


def _open_descriptors() -> list[int]:
    """Those that are, or where nobody tells those that may be."""
    try:
        return [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        return list(range(min(os.sysconf("SC_OPEN_MAX"), 1 << 16)))
