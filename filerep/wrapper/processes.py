"""The processes of one connection, and the descriptors that join them."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time

from filerep import command
from filerep.command import Stop
from filerep.pathstream import quote
from filerep.wrapper.mistakes import not_run
from filerep.wrapper.stageprocess import Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Optional

PIPE_BYTES = 1 << 20
# Seconds. All that an end may take must fit in the grace that parent.py gives for --each.
_TIDYING, _LEAST = 1.2, 0.1
_LOOK, _LOOKS = 0.4, 4  # what hangs is looked for so far apart, and so often
_FEWEST, _USUAL = 100, 256  # descriptors: fr-pack keeps 64 directories open


def need_descriptors(more: int = 0) -> None:
    """Raise ``Stop`` where the limit of open files is too low for the stages and ``more``."""
    import resource

    fewest, usual = _FEWEST + more, _USUAL + more
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < usual:
        soft = usual if hard < 0 else min(hard, usual)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if 0 <= soft < fewest:
        raise Stop(
            command.OS_ERROR,
            f"only {soft} files may be open at once, and {fewest} are needed;"
            f" raise the limit (ulimit -n {usual})",
        )


class Outlet:
    """Takes what is to be written to a pipe, and writes it when there is room."""

    def __init__(self, fd: int) -> None:
        """``fd`` is not waited for from now on, also not by others who share it."""
        os.set_blocking(fd, False)
        self._fd = fd
        self._unsent = b""

    def write(self, text: bytes) -> None:
        self._unsent += text
        self.flush()

    def fds(self) -> list[int]:
        """What to poll for writing before ``flush``."""
        return [self._fd] if self._unsent else []

    def flush(self) -> None:
        """Write what there is room for: that is two pages where the user has many pipes."""
        try:
            self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # Its end is seen where its answer is awaited, with its words.
            self._unsent = b""


class Processes:
    """Starts the connection command and the stages, owns what joins them, and ends all."""

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[bytes] | Stage] = {}
        self._fds: set[int] = set()

    # -- descriptors ------------------------------------------------------------------

    def nothing(self) -> int:
        """A descriptor that is at its end."""
        try:
            fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            said = f"cannot open {os.devnull}: {command.reason(error)}"
            raise Stop(command.OS_ERROR, said) from None
        self._fds.add(fd)
        return fd

    def pipe(self, size: int = 0) -> tuple[int, int]:
        """A reader and a writer, which has room for ``size`` bytes if the system gives it."""
        try:
            reader, writer = os.pipe()
        except OSError as error:
            said = f"cannot make a pipe: {command.reason(error)}"
            raise Stop(command.OS_ERROR, said) from None
        self._fds |= {reader, writer}
        if size and hasattr(fcntl, "F_SETPIPE_SZ"):
            try:
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, size)
            except OSError:
                pass  # the user's pipes are used up: the usual size will do
        return reader, writer

    def close(self, *fds: int) -> None:
        """Close those of ``fds`` that are open."""
        for fd in fds:
            if fd in self._fds:
                self._fds.remove(fd)
                os.close(fd)

    def own(self, *fds: int) -> None:
        """Close ``fds``, which come from elsewhere, as if they had been made here."""
        self._fds.update(fds)

    def let_go(self, *fds: int) -> None:
        """Somebody else closes ``fds``."""
        self._fds.difference_update(fds)

    def open(self, fds: Iterable[int]) -> list[int]:
        """Those of ``fds`` that are open."""
        return [fd for fd in fds if fd in self._fds]

    # -- processes --------------------------------------------------------------------

    def start_connection(
        self, words: Sequence[str], files: tuple[int, int, int]
    ) -> None:
        """Run ``words`` on ``files`` as its descriptors 0 to 2, which are closed here."""
        try:
            self._children["connection"] = subprocess.Popen(
                words,
                stdin=files[0],
                stdout=files[1],
                stderr=files[2],
                preexec_fn=_ignore_keys,
            )
        except OSError as error:
            said = f"cannot run {quote(words[0])}: {command.reason(error)}"
            said += not_run(words)
            raise Stop(command.UNAVAILABLE, said) from None
        self.close(*files)

    def start_stage(
        self,
        name: str,
        body: Callable[[], int],
        files: tuple[int, int, int],
        keep: Sequence[int] = (),
    ) -> None:
        """Run ``body`` as the stage ``name``: see ``Stage``."""
        try:
            self._children[name] = Stage(name, body, files, keep)
        except OSError as error:
            said = f"cannot start {name}: {command.reason(error)}"
            raise Stop(command.OS_ERROR, said) from None

    def names(self) -> list[str]:
        """Those that have been started."""
        return list(self._children)

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def status(self, name: str) -> Optional[int]:
        """With which status it has ended; None if it runs."""
        return self._children[name].poll()

    def status_soon(self, name: str, seconds: float) -> Optional[int]:
        """The same, if it does not run any more in ``seconds``."""
        try:
            return self._children[name].wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, name: str) -> int:
        """The status of one whose work is done."""
        return self._children[name].wait()

    def stop(self, name: str, grace: float) -> int:
        """The status of one that is made to end if it has not ended within ``grace``."""
        return _stop(self._children[name], grace, name == "connection")

    def signal(self, name: str, number: int) -> None:
        child = self._children.get(name)
        if child is not None and child.poll() is None:
            child.send_signal(number)

    def end(self, grace: float, spared: Iterable[int]) -> None:
        """End what still runs: fr-pack first, which lets the far end tidy up.

        ``spared`` are the descriptors that are read until all have ended.
        """
        deadline = time.monotonic() + grace
        for name in ("fr-watch", "fr-walk", "fr-pack"):
            self.signal(name, signal.SIGTERM)
        self.close(*(self._fds - set(spared)))
        for name in ("fr-pack", "connection", "fr-watch", "fr-walk"):
            child = self._children.get(name)
            if child is None:
                continue
            _stop(child, deadline - time.monotonic(), name == "connection")
        self.close(*list(self._fds))


def _ignore_keys() -> None:
    """A terminal sends Ctrl-C and Ctrl-\\ to all of its foreground processes.

    Only this one acts on them: the others end in their turn, so that the far end can be tidied.
    """
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


def _stop(child: subprocess.Popen[bytes] | Stage, grace: float, tidies: bool) -> int:
    """The status of ``child``: it is asked to end after ``grace``, and killed if it does not.

    A local receiver ``tidies`` up when it is asked to end, which takes a busy machine its time;
    ssh and its like end at once.
    """
    status = _soon(child, grace)
    if status is not None:
        return status
    from filerep.wrapper.hanging import Below

    below = Below(child.pid) if tidies else None
    child.terminate()
    status = _soon(child, _TIDYING if tidies else _LEAST)
    for _ in range(_LOOKS):
        if status is None and below:
            below.kill_hanging()
            status = _soon(child, _LOOK)
    if status is None:
        child.kill()
        status = child.wait()
    # It may have left what it waited for, and whom that waits for.
    if status < 0 and below:
        end, pause = time.monotonic() + 3 * _LOOK, _LOOK
        while below.left() and time.monotonic() < end:
            time.sleep(pause)
            below.kill_hanging()
            pause = _LOOK / 4  # the shell that goes on may meet the next one that hangs
    return status


def _soon(child: subprocess.Popen[bytes] | Stage, seconds: float) -> Optional[int]:
    """The status of ``child``, None if it runs on for so long."""
    try:
        return child.wait(max(_LEAST, seconds))
    except subprocess.TimeoutExpired:
        return None
