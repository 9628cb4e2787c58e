"""Which processes are below one, and is one stopped, as Linux tells; elsewhere nobody knows."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


_MOST = 1000


def children(pid: str) -> list[str]:
    """Those that it has started, and not left."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as table:
            return table.read().split()
    except OSError:
        return []  # it has ended, or there is no such table


def family(*pids: str) -> Iterator[str]:
    """They, and all that are below them, each once.

    A start-up file that starts its own shell makes a chain longer than Python may call itself,
    and it may grow as fast as it is followed: so no more than the first thousand.
    """
    waiting, seen = list(reversed(pids)), set[str]()
    while waiting and len(seen) < _MOST:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            yield one
            waiting += reversed(children(one))


def stopped(pid: int) -> bool:
    """Was it stopped, by Ctrl-Z or by a signal, and has not gone on since?"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as table:
            # Its name stands in brackets, and may hold some.
            return table.read().rpartition(b")")[2].split()[:1] == [b"T"]
    except OSError:
        return False
