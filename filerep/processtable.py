"""Which processes are below one, as Linux tells; elsewhere none are known of."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def children(pid: str) -> list[str]:
    """Those that it has started, and not left."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as table:
            return table.read().split()
    except OSError:
        return []  # it has ended, or there is no such table


def family(pid: str) -> Iterator[str]:
    """It, and all that are below it."""
    yield pid
    for one in children(pid):
        yield from family(one)
