"""The directories that cannot be read: what is in them is not known, and may not be watched.

For want of rights, which has an event when it is over; but also where the machine is out of
descriptors or memory for a moment, or its disk fails, and no event tells of the end of that.
So they are tried again, more and more rarely, and whenever somebody asks for a sync point.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filerep.watching.nodes import Directory

_WAIT = (0.5, 60.0)  # seconds: the first, the longest


class Again:
    """When something is tried again that has failed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wait = 0.0
        self._due: float | None = None

    def begin(self) -> None:
        """It has failed, and had not before."""
        self._wait = _WAIT[0]
        self._due = self._clock() + self._wait

    def end(self) -> None:
        """There is nothing to be tried."""
        self._due = None

    def deadline(self) -> float | None:
        return self._due

    def due(self) -> bool:
        """Is it time? Then the next time is later."""
        if self._due is None or self._clock() < self._due:
            return False
        self._wait = min(2 * self._wait, _WAIT[1])
        self._due = self._clock() + self._wait
        return True


class Unreadable:
    """Nodes by path, and when they are tried next."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._again = Again(clock)
        self._nodes: dict[bytes, Directory] = {}

    def add(self, node: Directory) -> bool:
        """``node`` cannot be read; is that new?"""
        if not self._nodes:
            self._again.begin()
        new = node.path not in self._nodes
        self._nodes[node.path] = node
        return new

    def pop(self, path: bytes) -> None:
        """It can, or is no more."""
        self._nodes.pop(path, None)

    def __contains__(self, path: bytes) -> bool:
        return path in self._nodes

    def paths(self) -> list[bytes]:
        return list(self._nodes)

    def nodes(self) -> list[Directory]:
        return list(self._nodes.values())

    def deadline(self) -> float | None:
        return self._again.deadline() if self._nodes else None

    def due(self) -> bool:
        """Is it time to try them? Then the next time is later."""
        return bool(self._nodes) and self._again.due()
