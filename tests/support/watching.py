"""fr-watch running on a tree, with a replica fed from what it prints."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from programs import Running
from sink import Sink


class Watching:
    """A running fr-watch and the reader of its stdout."""

    def __init__(self, program: Running, out: int, source: Path) -> None:
        self.program = program
        self.out = out
        self.sink = Sink(source)
        self.sink.walk()
        self.sink.sent.clear()

    def pump(self, seconds: float = 0.0) -> bool:
        """Look at what has been printed, if anything comes within ``seconds``."""
        if not select.select([self.out], [], [], seconds)[0]:
            return False
        chunk = os.read(self.out, 1 << 16)
        self.sink.feed(chunk)
        return bool(chunk)

    def sync(self, seconds: float = 60.0) -> list[bytes]:
        """The records up to a new sync point: all that has changed until now."""
        self.program.signal(signal.SIGUSR1)
        return self.until(b".", seconds)

    def until(self, wanted: bytes, seconds: float = 20.0) -> list[bytes]:
        """The records since the last call, up to ``wanted``."""
        deadline = time.monotonic() + seconds
        seen = 0
        while wanted not in self.sink.records[seen:]:
            seen = len(self.sink.records)
            left = deadline - time.monotonic()
            said = bytes(self.program.errors)
            assert left > 0, f"no {wanted!r}, only {self.sink.records[-20:]}; {said!r}"
            assert self.pump(left) or left < 1, f"the end; {said!r}"
        taken, self.sink.records = self.sink.records, []
        return taken[: taken.index(wanted)]

    def leave(self) -> None:
        """End reading, as `head` does."""
        os.close(self.out)
        self.out = os.open(os.devnull, os.O_RDONLY)

    def assert_converged(self) -> None:
        self.sync()
        assert not self.sink.differences(), self.sink.differences()


@contextlib.contextmanager
def watching(
    source: Path,
    *options: str,
    before: Sequence[str] = (),
    audit: str = "0",
    **popen: Any,
) -> Iterator[Watching]:
    """fr-watch on ``source``, with every watch in place; ``before`` is what runs it."""
    ready, says_ready = os.pipe()
    out, into = os.pipe()
    argv = [*before, "fr-watch", "--audit", audit, "--ready-fd", str(says_ready)]
    program = Running(
        [*argv, *options, str(source)], stdout=into, pass_fds=[says_ready], **popen
    )
    os.close(into)
    os.close(says_ready)
    try:
        assert select.select([ready], [], [], 30)[0], "not ready within 30 s"
        assert os.read(ready, 2) == b"\n", f"{program.end()}: {bytes(program.errors)!r}"
        it = Watching(program, out, source)
        yield it
        out = it.out
    finally:
        program.close()
        os.close(ready)
        with contextlib.suppress(OSError):
            os.close(out)
