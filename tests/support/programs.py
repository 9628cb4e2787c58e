"""Running the project's programs, and waiting for what they do."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
T = TypeVar("T")
Word = Union[str, bytes, "os.PathLike[str]"]


def environment(**changes: str) -> dict[str, str]:
    """An environment in which fr-walk and the others are those of this checkout.

    ``env python3`` in their first line finds the Python that runs the tests.
    """
    own = [str(ROOT / "bin"), os.path.dirname(sys.executable)]
    path = os.pathsep.join([*own, os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **changes}


def run(
    argv: Sequence[Word],
    stdin: bytes = b"",
    timeout: float = 60,
    env: dict[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, with its output as bytes."""
    return subprocess.run(
        argv,
        input=stdin,
        capture_output=True,
        timeout=timeout,
        env=environment() if env is None else env,
        **options,
    )


class Running:
    """A program that is running: its output so far, and whatever it has started.

    Its stderr is kept in ``errors``; its stdout in ``output`` unless it goes elsewhere.
    """

    def __init__(
        self,
        argv: Sequence[Word],
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.mark = uuid.uuid4().hex
        marked = dict(environment() if env is None else env)
        marked["FILEREP_TEST_MARK"] = self.mark
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        self.process = subprocess.Popen(
            argv, env=marked, start_new_session=True, **options
        )
        self.output = bytearray()
        self.errors = bytearray()
        self._threads = []
        for stream, into in (
            (self.process.stdout, self.output),
            (self.process.stderr, self.errors),
        ):
            if stream is not None:
                thread = threading.Thread(
                    target=self._collect, args=(stream.fileno(), into), daemon=True
                )
                thread.start()
                self._threads.append(thread)

    @staticmethod
    def _collect(fd: int, into: bytearray) -> None:
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(fd, 1 << 16):
                into += chunk

    def says(self, text: str | bytes, timeout: float = 20) -> str:
        """Wait until ``text`` stands in stderr; all of stderr so far."""
        wanted = text.encode() if isinstance(text, str) else text
        self.wait_for(lambda: wanted in self.errors, timeout, f"for {text!r}")
        return self.errors.decode(errors="backslashreplace")

    def wait_for(
        self, condition: Callable[[], T], timeout: float = 20, what: object = ""
    ) -> T:
        """Wait for ``condition()``; fails with the program's words if it ends first."""

        def seen() -> str:
            said = bytes(self.errors[-3000:]).decode(errors="backslashreplace")
            return f"{what() if callable(what) else what}\nit said: {said}"

        def complete() -> T:
            if self.process.poll() is not None:
                for thread in self._threads:  # its last words may not be read yet
                    thread.join(1)
            return condition()

        return wait_for(complete, timeout, self.process, what=seen)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, number: int | None = None, timeout: float = 20) -> int:
        """Send signal ``number``, if any, and wait for the end; the status as a shell has it."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout)
        for thread in self._threads:
            thread.join(timeout)
        return 128 - status if status < 0 else status

    def family(self) -> list[int]:
        """The processes that descend from this program, however they were started."""
        return [pid for pid in marked(self.mark) if pid != self.process.pid]

    def close(self) -> None:
        """Kill it and all its descendants."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


@contextlib.contextmanager
def running(
    *argv: Word,
    env: dict[str, str] | None = None,
    **options: Any,
) -> Iterator[Running]:
    """A program that runs during the block and is killed, with its family, after it."""
    program = Running(argv, env, **options)
    try:
        yield program
    finally:
        program.close()


def marked(mark: str) -> list[int]:
    """The living processes that carry ``mark`` in their environment."""
    wanted = f"FILEREP_TEST_MARK={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                with open(f"/proc/{name}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        found.append(int(name))
    return found


def stop(process: subprocess.Popen[bytes], timeout: float = 20) -> None:
    """Ask ``process`` to end, then insist."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def alive(pid: int) -> bool:
    """It runs: not gone, and no zombie whose new parent has yet to notice."""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False


def wait_for(
    condition: Callable[[], T],
    timeout: float = 20,
    process: subprocess.Popen[bytes] | None = None,
    what: object = "",
) -> T:
    """Wait until ``condition()`` is true and return what it gave.

    For what nothing announces. Fails when ``process`` ends first, and after ``timeout``
    seconds; ``what`` says what was awaited, or is called to say what was seen.
    """
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while True:
        ended = process is not None and process.poll() is not None
        value = condition()
        if value:
            return value
        if ended or time.monotonic() > deadline:
            said = what() if callable(what) else what
            why = f"it ended with {process.returncode}" if ended and process else ""
            why = why or f"{timeout} s had passed"
            raise AssertionError(f"still waiting when {why}: {said}")
        pause.wait(0.005)


def read_until(fd: int, wanted: bytes, timeout: float = 20) -> bytes:
    """Read from ``fd`` until ``wanted`` has come; everything read."""
    got = b""
    deadline = time.monotonic() + timeout
    while wanted not in got:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise AssertionError(f"no {wanted!r} in {timeout} s, only {got!r}")
        chunk = os.read(fd, 1 << 16)
        if not chunk:
            raise AssertionError(f"no {wanted!r} before the end, only {got!r}")
        got += chunk
    return got
