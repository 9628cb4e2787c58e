"""How far the first copy has come, for who looks at it: told a few times a second.

So is, later, how far one file has come that takes long.

How much there is to send is found out while the connection takes no more, as nothing else can
be done then. The paths that wait are looked at from the last to the first, until that meets those
that were sent meanwhile. On a connection that never keeps anyone waiting nobody misses the number.

What was written may lie in the buffers of the way for long: a pipe of 1 MB is twenty seconds
of a slow link. So what counts is what the far end has answered for. Of a file as large as a
whole batch there would be nothing to tell until its end: what was written of it counts as well,
less what such buffers may hold.
"""

from __future__ import annotations

from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Optional

    from filerep.farend.batch import Member

_INTERVAL = 0.1
_LONG = 1.0  # seconds: of one file that takes no longer nothing is told
_HEAVY = 100_000_000  # bytes: less in one directory is nothing to think about
_BUFFERED = 4 << 20  # bytes: pipe, ssh and sockets have some megabytes
_STEP = 32  # paths to look at before looking whether there is something better to do


class Tally:
    """Counts what has arrived, and what is left."""

    def __init__(
        self, report: Callable[[dict[str, Any]], None], clock: Callable[[], float]
    ) -> None:
        self._report = report
        self._clock = clock
        self._told = clock()
        self._left: Optional[Iterator[None]] = None
        self._file_left = 0
        self._batch_files = self._batch_bytes = 0  # of the one that is being sent
        self._under_way = 0  # bytes that were written, and not answered for
        self.started = False
        self.files = 0
        self.bytes = 0
        self.planned_files = 0
        self.planned_bytes = 0
        self.of_files: Optional[int] = None
        self.of_bytes: Optional[int] = None
        self.heavy: Optional[tuple[str, int]] = None  # a directory with most of it

    def plan(self, files: int, size: int) -> None:
        """So much is not waiting any more, but about to be sent."""
        self.planned_files += files
        self.planned_bytes += size

    def there(self, size: int) -> None:
        """So much of a file that is next has arrived in an earlier run."""
        self.planned_bytes += size
        self.bytes += size

    def begin(self, size: int) -> None:
        """A file of ``size`` is next."""
        self._file_left = size

    def written(self, count: int) -> None:
        """So many bytes have gone out, most of them the present file's if it is large."""
        count = min(count, self._file_left)
        self._file_left -= count
        self._add(count)
        self._tell_now_and_then()

    def end(self, whole: bool, last: bool = True) -> None:
        """The file is done, or a piece of it if not ``last``; it counts if ``whole``."""
        self._batch_files += whole and last
        self._add(self._file_left if whole else 0)
        self._file_left = 0

    def _add(self, count: int) -> None:
        self._batch_bytes += count
        self._under_way += count

    def sent(self) -> tuple[int, int]:
        """The batch is on its way: how many files it has, and bytes."""
        found = self._batch_files, self._batch_bytes
        self._batch_files = self._batch_bytes = 0
        return found

    def answered(self, batch: tuple[int, int], arrived: bool) -> None:
        """A batch, as ``sent`` has told of it, is under way no more."""
        files, size = batch
        self._under_way -= size
        if arrived:
            self.files += files
            self.bytes += size
        self._tell_now_and_then()

    def close(self) -> None:
        """The first copy is done: what is written from now on is not told."""
        self._report = lambda what: None

    def _tell_now_and_then(self) -> None:
        if self._clock() - self._told >= _INTERVAL:
            self.tell()

    def tell(self) -> None:
        self._told = self._clock()
        self._report(
            {
                "is": "progress",
                "files": self.files,
                "bytes": self.bytes + max(0, self._under_way - _BUFFERED),
                "of_files": self.of_files,
                "of_bytes": self.of_bytes,
                "heavy": self.heavy,
            }
        )

    def start(
        self,
        waiting: list[bytes],
        still: Callable[[], int],
        size: Callable[[bytes], Optional[int]],
        aside: Callable[[], Iterable[bytes]] = tuple,
    ) -> None:
        """Measure ``waiting``, the last first, of which the last ``still()`` still wait.

        ``size`` tells how much is to be sent of a path, None if nothing is. Those that do not
        wait there any more are in a batch, or are ``aside``, until there is nothing else.
        """
        self.started = True
        self._left = self._measure(waiting, still, size, aside)

    def measuring(self) -> bool:
        return self._left is not None

    def step(self) -> bool:
        """Measure some more; is there still more to measure?"""
        if self._left is not None and next(self._left, self) is self:
            self._left = None
            self.tell()
        return self._left is not None

    def _measure(
        self,
        paths: list[bytes],
        still: Callable[[], int],
        size: Callable[[bytes], Optional[int]],
        aside: Callable[[], Iterable[bytes]],
    ) -> Iterator[None]:
        lengths: list[Optional[int]] = []
        seen: list[bytes] = []
        for path in reversed(paths):
            if len(lengths) >= still():
                break
            lengths.append(size(path))
            seen.append(path)
            if not len(lengths) % _STEP:
                yield
        # Sending may have gone past where measuring is: that part is planned as well.
        del lengths[still() :], seen[len(lengths) :]
        for path in aside():
            lengths.append(size(path))
            seen.append(path)
        counted = [length for length in lengths if length is not None]
        self.of_files = self.planned_files + len(counted)
        self.of_bytes = self.planned_bytes + sum(counted)
        self.heavy = _heaviest(zip(seen, lengths), self.of_bytes)


class OneFile:
    """A file that takes long, when the first copy is done: how much of it has arrived."""

    def __init__(
        self, report: Callable[[dict[str, Any]], None], clock: Callable[[], float]
    ) -> None:
        self._report = report
        self._clock = clock
        self._told = 0.0
        self._path, self._began = b"", 0.0
        self._of = self._done = self._left = self._arrived = 0
        self.under_way = 0  # bytes, in batches before the present one

    def begin(self, member: Member) -> None:
        """``member`` is next, perhaps a piece of a file."""
        self._path, self._left = member.path, member.size
        self._began, self._done, self._of = self._clock(), 0, member.size
        self._arrived = 0
        way = member.way
        if way is not None and way.began is not None:
            self._began, self._done, self._of = way.began, way.before, way.of
            self._arrived = max(0, way.before - self.under_way)
            self._tell_now_and_then()

    def written(self, count: int) -> None:
        """So many bytes have gone out, most of them the present file's if it is large."""
        count = min(count, self._left)
        self._left -= count
        self._done += count
        if self._left:
            self._arrived = max(self._arrived, self._done - _BUFFERED)
            self._tell_now_and_then()

    def _tell_now_and_then(self) -> None:
        now = self._clock()
        if now - self._began < _LONG or now - self._told < _INTERVAL:
            return
        self._told = now
        told = {"is": "sending", "path": quote(self._path), "bytes": self._arrived}
        self._report({**told, "of_bytes": self._of})


def _above(path: bytes) -> Iterator[bytes]:
    """The directories that ``path`` is in, but for the root."""
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def _heaviest(
    found: Iterable[tuple[bytes, Optional[int]]], whole: int
) -> Optional[tuple[str, int]]:
    """The innermost directory with most of ``whole`` bytes, if there is much in it."""
    if whole < _HEAVY:
        return None
    below: dict[bytes, int] = {}
    for path, length in found:
        if length:
            for directory in _above(path):
                below[directory] = below.get(directory, 0) + length
    heavy = [one for one in below if below[one] >= max(_HEAVY, whole / 2)]
    if not heavy:
        return None
    inner = max(heavy, key=lambda one: (one.count(b"/"), below[one]))
    return quote(inner)[1:-1], below[inner]
