"""What is to be named downstream: an ordered set, some of it still held back."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Editors and git take a name away and put it back within a few milliseconds. 50 ms covers
# what they were seen to do and is too short for a person to notice.
SETTLE_SECONDS = 0.05
ASIDE_SECONDS = 0.3


class Holds:
    """Keys that fall due a fixed time after they were first named."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # The delay is the same for all and a key that waits keeps its place, so the order
        # of insertion is the order of falling due.
        self._due: dict[bytes, float] = {}

    def hold(self, key: bytes, now: float) -> None:
        if key not in self._due:
            self._due[key] = now + self._seconds

    def forget(self, key: bytes) -> None:
        self._due.pop(key, None)

    def __bool__(self) -> bool:
        return bool(self._due)

    def __iter__(self) -> Iterator[bytes]:
        return iter(list(self._due))

    def deadline(self) -> float | None:
        """When the first key falls due."""
        for due in self._due.values():
            return due
        return None

    def release(self, now: float) -> list[bytes]:
        """The keys due at ``now``, which are held no longer."""
        keys = []
        for key, due in self._due.items():
            if due > now:
                break
            keys.append(key)
        for key in keys:
            del self._due[key]
        return keys


class Pending:
    """The paths that wait for the reader, each once, in the order they came up.

    A path stands here until the moment it is handed over: as it means "look", one look
    after the last change is enough, however many changes there were. So memory is bounded
    by the number of different paths, whatever the reader does.
    """

    def __init__(
        self, clock: Callable[[], float], settle_seconds: float = SETTLE_SECONDS
    ) -> None:
        self._clock = clock
        self._ready: dict[bytes, None] = {}
        self._held = Holds(settle_seconds)
        self._deferred = Holds(ASIDE_SECONDS)

    def now(self, path: bytes) -> None:
        """Name ``path`` as soon as the reader takes it."""
        self._held.forget(path)
        self._deferred.forget(path)
        self._ready[path] = None

    def later(self, path: bytes) -> None:
        """Name ``path`` after a moment, in which ``now`` may be said of it."""
        if path not in self._ready:
            self._held.hold(path, self._clock())

    def defer(self, path: bytes) -> None:
        """Name ``path`` when what matters more is likely to be done."""
        if path not in self._ready:
            self._deferred.hold(path, self._clock())

    def last(self, path: bytes) -> None:
        """Name everything, held or not, and ``path`` after it."""
        self.settle(float("inf"))
        self._ready.pop(path, None)
        self._ready[path] = None

    def withdraw(self, path: bytes) -> None:
        """Do not name ``path`` for now."""
        self._ready.pop(path, None)
        self._held.forget(path)
        self._deferred.forget(path)

    def drop(self, last: bytes) -> bool:
        """Forget all that waits; was ``last`` among it?"""
        waited = last in self._ready
        self._ready = {}
        for holds in (self._held, self._deferred):
            holds.release(float("inf"))
        return waited

    def settle(self, now: float) -> None:
        for path in self._held.release(now) + self._deferred.release(now):
            self._ready[path] = None

    def deadline(self) -> float | None:
        due = [self._held.deadline(), self._deferred.deadline()]
        return min((time for time in due if time is not None), default=None)

    def __bool__(self) -> bool:
        """Is there anything the reader could have now?"""
        return bool(self._ready)

    def take(self, size: int) -> list[bytes]:
        """The first paths, of ``size`` bytes as records at most, but at least one."""
        taken: list[bytes] = []
        length = 0
        for path in self._ready:
            length += len(path) + 1
            if taken and length > size:
                break
            taken.append(path)
        for path in taken:
            del self._ready[path]
        return taken

    def put_back(self, paths: list[bytes]) -> None:
        """They were not handed over, and are the first again."""
        if paths:
            self._ready = {**dict.fromkeys(paths), **self._ready}

    def revise(self, judge: Callable[[bytes], bytes | None]) -> None:
        """Put what ``judge`` says in place of each path; None drops it."""
        ready = [judge(path) for path in self._ready]
        for holds in (self._held, self._deferred):
            for path in holds:
                other = judge(path)
                if other != path:
                    holds.forget(path)
                    ready.append(other)
        self._ready = {path: None for path in ready if path is not None}
