"""A connection that is as slow as a distant one: to a TCP port, or to a command.

Usage: slowlink.py HOST PORT DELAY_MS BYTES_PER_SECOND [PID_FILE]
       slowlink.py BYTES_PER_SECOND DELAY_MS [COUNT_FILE] -- COMMAND...

The first is an ssh ProxyCommand. The second runs COMMAND and stands between its standard
input and output and our own: a connection command of file-replicator's, and rsync's
``--rsh``. Each direction is delayed by DELAY_MS and limited to BYTES_PER_SECOND (0: no
limit). It holds no more than a real link would: what is under way and one socket's buffer.

COUNT_FILE holds what went to COMMAND and what came back so far, as two numbers of 64 bits
(`counts` reads them). Sent SIGSTOP, it is a link that died without a word.
"""

from __future__ import annotations

import collections
import contextlib
import mmap
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# What a sender's socket takes before it has to wait, beside what is under way.
BUFFER = 1 << 16
# ssh's ProxyCommand: as much as ssh itself would have under way.
WINDOW = 1 << 18
COUNTS = struct.Struct("=QQ")


def counts(file: Path) -> tuple[int, int]:
    """Bytes that went there and that came back; none before the link is up."""
    try:
        found = file.read_bytes()
    except FileNotFoundError:
        return 0, 0
    return COUNTS.unpack(found) if len(found) == COUNTS.size else (0, 0)


def slow_shell(rate: float) -> str:
    """A Python script that passes its input on to a shell, at ``rate`` bytes a second."""
    return f"""
import os, subprocess, time
shell = subprocess.Popen(["bash"], stdin=subprocess.PIPE)
began, passed = time.monotonic(), 0
while data := os.read(0, 1 << 15):
    passed += len(data)
    time.sleep(max(0, began + passed / {rate} - time.monotonic()))
    while data:  # all of it: SIGCONT interrupts a write that waits
        data = data[os.write(shell.stdin.fileno(), data):]
shell.stdin.close()
raise SystemExit(shell.wait())
"""


class Direction:
    """What was read from ``source`` and when it is due at ``sink``."""

    def __init__(
        self, source: int, sink: int, delay: float, rate: float, window: int
    ) -> None:
        self.source, self.sink = source, sink
        self.delay, self.rate, self.window = delay, rate, window
        # Small pieces, so that what is read arrives as evenly as packets do.
        self.piece = int(min(max(rate / 500, 1 << 10), 1 << 16)) if rate else 1 << 16
        self.waiting: collections.deque[tuple[float, bytes]] = collections.deque()
        self.held = self.total = 0
        self.free_at = 0.0
        self.ended = False
        self.full = False
        os.set_blocking(sink, False)

    def wants_more(self) -> bool:
        return not self.ended and self.held < self.window

    def due(self, now: float) -> float | None:
        """Seconds until something has to be written; None if the sink has to say so."""
        if self.full or not self.waiting:
            return None
        return max(0, self.waiting[0][0] - now)

    def read(self, now: float) -> None:
        data = os.read(self.source, self.piece)
        self.ended = not data
        start = max(now, self.free_at)
        self.free_at = start + (len(data) / self.rate if self.rate else 0)
        self.waiting.append((self.free_at + self.delay, data))
        self.held += len(data)
        self.total += len(data)

    def write(self, now: float) -> bool:
        """Pass on what is due; True when the end itself was passed on."""
        self.full = False
        while self.waiting and self.waiting[0][0] <= now:
            due, data = self.waiting.popleft()
            if not data:
                return True
            try:
                written = os.write(self.sink, data)
            except BlockingIOError:
                written = 0
            self.held -= written
            if written < len(data):
                self.waiting.appendleft((due, data[written:]))
                self.full = True
                return False
        return False


def relay(
    up: Direction,
    down: Direction,
    close_up: Callable[[], None],
    count: Callable[[int, int], None],
) -> None:
    """Carry both directions until the far end has ended and all of it was passed on."""
    is_up = True
    while True:
        now = time.monotonic()
        if down.write(now):
            return
        if is_up:
            try:
                over = up.write(now)
            except (BrokenPipeError, ConnectionError):
                over = True  # it reads no more; what it still says is passed on
            if over:
                is_up, up.ended = False, True
                up.waiting.clear()
                close_up()
        due = [d for d in (up.due(now), down.due(now)) if d is not None]
        readable, _, _ = select.select(
            [one.source for one in (up, down) if one.wants_more()],
            [one.sink for one in (up, down) if one.full],
            [],
            min(due) if due else None,
        )
        for one in (up, down):
            if one.source in readable:
                one.read(time.monotonic())
                count(up.total, down.total)


def to_port(words: list[str]) -> int:
    host, port, delay_ms, rate, *pid_file = words
    if pid_file:
        Path(pid_file[0]).write_text(str(os.getpid()))
    link = socket.create_connection((host, int(port)))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    how = (float(delay_ms) / 1000, float(rate), WINDOW)
    up, down = Direction(0, link.fileno(), *how), Direction(link.fileno(), 1, *how)
    relay(up, down, lambda: link.shutdown(socket.SHUT_WR), lambda sent, got: None)
    return 0


def to_command(words: list[str], command: list[str]) -> int:
    rate, delay = float(words[0]), float(words[1]) / 1000
    window = int(rate * delay) + BUFFER
    with contextlib.ExitStack() as stack:
        count: Callable[[int, int], None] = lambda sent, got: None
        if words[2:]:
            file = stack.enter_context(open(words[2], "w+b"))
            file.write(bytes(COUNTS.size))
            file.flush()
            shared = stack.enter_context(mmap.mmap(file.fileno(), COUNTS.size))
            count = lambda sent, got: COUNTS.pack_into(shared, 0, sent, got)
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0)
        assert process.stdin and process.stdout
        up = Direction(0, process.stdin.fileno(), delay, rate, window)
        down = Direction(process.stdout.fileno(), 1, delay, rate, window)
        relay(up, down, process.stdin.close, count)
        process.stdin.close()
        return process.wait()


def main() -> int:
    words = sys.argv[1:]
    if "--" in words:
        at = words.index("--")
        return to_command(words[:at], words[at + 1 :])
    return to_port(words)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except (BrokenPipeError, ConnectionError):
        raise SystemExit(1) from None
