"""What failed at the far end: tried again, more and more rarely.

So one path that cannot be written holds up nothing else, and arrives by itself once it can.
What failed together is tried again together, as a batch of its own: a retry. That may be one bad
path and many good ones, or a tar that was killed; such a retry is mixed, and does not wait when
somebody needs to know.
"""

from __future__ import annotations

import heapq
import time

from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

# All in seconds.
_RETRY_WAIT = (0.5, 30.0)
_RETRY_PAUSE = 4.0  # times what the failure took, before the next retry is tried
_SYNC_POINT_PATIENCE = 3.0
_LATELY = 10.0

_LINES, _NAMED = 4, 4  # of those that fail for one reason: lines lately, paths in each

DISK_FULL = "its disk is full"
# Room is there, but not for this user: with it all goes as with a full disk.
QUOTA = "its disk quota is used up"
FULL = frozenset((DISK_FULL, QUOTA))


class Retry:
    """Paths that failed over there, to be tried again together after ``wait`` seconds."""

    def __init__(
        self, paths: list[bytes], wait: float, words: str, mixed: bool = False
    ) -> None:
        self.paths = paths
        self.wait = wait
        self.words = words  # why
        self.mixed = mixed  # it may be that some of them, or all, are good

    def __lt__(self, other: Retry) -> bool:
        return id(self) < id(other)


class Failures:
    """The paths the far end could not write or remove, and when they are tried again."""

    def __init__(
        self,
        say: Callable[[str], None],
        failing: Callable[[list[bytes], str], None] = lambda paths, why: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``failing`` is told of each path that fails, ``say`` of each reason."""
        self._failing = failing
        self._clock = clock
        self.why: dict[bytes, str] = {}  # by path
        self._say = say
        self._said: set[str] = set()  # why, as far as the user was told
        # By that, when a path was named for it, and in which directory.
        self._named: dict[str, list[tuple[float, bytes]]] = {}
        self._retries: list[tuple[float, Retry]] = []
        self._next = 0.0  # not before this the next retry
        self._last_sync_point = 0.0
        # How long a sync point waits for what failed, once all else is done.
        self._patient_until: Optional[float] = None

    def __len__(self) -> int:
        return len(self.why)

    def add(
        self,
        paths: list[bytes],
        words: str,
        verb: str,
        retry: Optional[Retry],
        mixed: bool = False,
        alone: bool = False,
    ) -> None:
        """``paths`` failed together, in the far end's ``words``; they were of ``retry``.

        ``alone``: each of them did, for that reason.
        """
        common, words = words, plainly(words)
        one_by_one = retry is None and alone and words == common
        directory = paths[0].rpartition(b"/")[0]
        if words not in self._said or one_by_one and self._may_name(words, directory):
            self._said.add(words)
            self._named.setdefault(words, []).append((self._clock(), directory))
            named = ", ".join(map(quote, paths[:_NAMED]))
            more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
            self._say(
                f"cannot {verb} {named}{more} at the far end: {words};"
                " it is tried again while this runs"
            )
        self._failing(paths, words)
        for path in paths:
            self.why[path] = words
        wait = min(retry.wait * 2 if retry else _RETRY_WAIT[0], _RETRY_WAIT[1])
        self._push(wait, Retry(paths, wait, words, mixed))

    def _may_name(self, words: str, directory: bytes) -> bool:
        """May another be named that fails for that? Thousands may, one behind the other."""
        now = self._clock()
        named = [one for one in self._named[words] if now - one[0] < _LATELY]
        self._named[words] = named
        return len(named) < _LINES and directory not in (there for _, there in named)

    def _push(self, wait: float, retry: Retry) -> None:
        heapq.heappush(self._retries, (self._clock() + wait, retry))

    def pause(self, took: float) -> None:
        """What failed took so many seconds, in which nothing else went through."""
        self._next = self._clock() + _RETRY_PAUSE * took

    def all_well(self) -> None:
        """What fails from now on is told again."""
        self._said.clear()

    def due(self) -> Optional[float]:
        """When the next retry is to be tried, by the monotonic clock."""
        return max(self._retries[0][0], self._next) if self._retries else None

    def take(self) -> Retry:
        """The next retry, whose paths are about to be tried."""
        retry = heapq.heappop(self._retries)[1]
        for path in retry.paths:
            self.why.pop(path, None)
        return retry

    def put_back(self, paths: list[bytes], retry: Retry) -> None:
        """These of ``retry`` were not tried after all."""
        self.why.update(dict.fromkeys(paths, retry.words))
        self._push(0.0, Retry(paths, retry.wait, retry.words, retry.mixed))

    def tried(self, retry: Retry) -> None:
        """``retry`` was tried. If it went through, a disk that was full has room again.

        Of what was tried one by one since, twice as much is tried next, and at once: room may
        be scarce. Another cause may be one path's own, which would spoil it for the others.
        """
        if retry.words not in FULL or not self.why.keys().isdisjoint(retry.paths):
            return
        paths: list[bytes] = []
        for entry in sorted(self._retries):
            other = entry[1]
            alone = other.words == retry.words and len(other.paths) == 1
            if alone and len(paths) < 2 * len(retry.paths):
                self._retries.remove(entry)
                paths += other.paths
        heapq.heapify(self._retries)
        if paths:
            self._push(0.0, Retry(paths, _RETRY_WAIT[0], retry.words))

    def sync_point(self) -> None:
        """Somebody waits for what was named before now: each retry is tried once more."""
        self._last_sync_point = self._next = self._clock()
        self._patient_until = None
        self._make_due(retry for _, retry in self._retries)

    def _make_due(self, retries: Iterable[Retry]) -> None:
        hurried = set(map(id, retries))
        now = self._next
        self._retries = [
            (now if id(retry) in hurried else due, retry)
            for due, retry in self._retries
        ]
        heapq.heapify(self._retries)

    def before_sync_point(self) -> bool:
        """Are there retries to be tried before a sync point is answered?

        The cause may be mended, or have passed, and the bad ones among what failed together
        are to be found.
        """
        now = self._clock()
        if self._patient_until is None:
            self._patient_until = now + _SYNC_POINT_PATIENCE
        if now > self._patient_until:
            return False
        return (
            self.hurry()
            or bool(self._retries)
            and self._retries[0][0] <= self._last_sync_point
        )

    def hurry(self) -> bool:
        """Have the bad ones found among what failed together; is there anything to find?"""
        mixed = [
            retry for _, retry in self._retries if retry.mixed and not self._full(retry)
        ]
        if mixed:
            self._next = self._clock()
            self._make_due(mixed)
        return bool(mixed)

    def _full(self, retry: Retry) -> bool:
        """Is a full disk behind it, which will be full for a while?

        Not yet where one file failed once: in pieces it took more room than it does whole.
        """
        if len(retry.paths) == 1 and retry.wait <= _RETRY_WAIT[0]:
            return False
        return any(self.why.get(path) in FULL for path in retry.paths)


def plainly(words: str) -> str:
    """The far end's words, with what to do where a common cause is behind them."""
    if "No space left" in words or "Wrote only " in words:  # the second is GNU tar's
        return DISK_FULL
    if "uota exceeded" in words:
        return QUOTA
    if words.startswith("not writable by "):
        who, _, line = words[len("not writable by ") :].partition(", ")
        fields = line.split(None, 8)
        if len(fields) == 9:
            mode, _, owner, *_, name = fields
            which = f"directory {quote(name)}" if name != "." else "the destination"
            whose = f"belongs to {owner} and cannot be written by {who or 'this user'}"
            mode = f", as its mode is {mode}" if who == owner else ""
            return f"{which} {whose}{mode}"
    return words
