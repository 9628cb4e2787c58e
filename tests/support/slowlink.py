"""An ssh ProxyCommand: a TCP connection that is as slow as a distant one.

Usage: slowlink.py HOST PORT DELAY_MS BYTES_PER_SECOND [PID_FILE]

Each direction is delayed by DELAY_MS and limited to BYTES_PER_SECOND (0: no limit). Sent
SIGSTOP, it is a link that died without a word.
"""

from __future__ import annotations

import collections
import os
import select
import socket
import sys
import time

# As much as may be under way in one direction before the sender has to wait.
WINDOW = 1 << 18


class Direction:
    """What was read from ``source`` and when it is due at ``sink``."""

    def __init__(self, source: int, sink: int, delay: float, rate: float) -> None:
        self.source, self.sink = source, sink
        self.delay, self.rate = delay, rate
        self.waiting: collections.deque[tuple[float, bytes]] = collections.deque()
        self.held = 0
        self.free_at = 0.0
        self.ended = False

    def read(self, now: float) -> None:
        data = os.read(self.source, 1 << 14)
        self.ended = not data
        start = max(now, self.free_at)
        self.free_at = start + (len(data) / self.rate if self.rate else 0)
        self.waiting.append((self.free_at + self.delay, data))
        self.held += len(data)

    def write(self, now: float) -> bool:
        """Pass on what is due; True when the end itself was passed on."""
        while self.waiting and self.waiting[0][0] <= now:
            _, data = self.waiting.popleft()
            if not data:
                return True
            self.held -= len(data)
            while data:
                data = data[os.write(self.sink, data) :]
        return False


def main() -> int:
    host, port, delay_ms, rate, *pid_file = sys.argv[1:]
    if pid_file:
        with open(pid_file[0], "w") as file:
            file.write(str(os.getpid()))
    link = socket.create_connection((host, int(port)))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    up = Direction(0, link.fileno(), float(delay_ms) / 1000, float(rate))
    down = Direction(link.fileno(), 1, float(delay_ms) / 1000, float(rate))
    while True:
        now = time.monotonic()
        if down.write(now):
            return 0
        if up.write(now):
            link.shutdown(socket.SHUT_WR)
        due = [one.waiting[0][0] - now for one in (up, down) if one.waiting]
        sources = [
            one.source for one in (up, down) if not one.ended and one.held < WINDOW
        ]
        readable, _, _ = select.select(
            sources, [], [], max(0, min(due)) if due else None
        )
        for one in (up, down):
            if one.source in readable:
                one.read(time.monotonic())


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except (BrokenPipeError, ConnectionError):
        raise SystemExit(1) from None
