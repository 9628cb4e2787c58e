"""What could not be read here: it is missing over there, and --wait says so.

Some of it could be read a moment later: a bad sector that was mended, a machine that was out of
descriptors. No event tells of that. So it is looked at again by itself, more and more rarely, and
whenever somebody waits.

fr-watch names again what counts below a directory where rules have changed, but not what it has
never read, as it knows no files. So it is found out here what counts, when a record says that
something there may be gone.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from filerep.source import Source

_WAIT = (0.5, 60.0)  # seconds: the first, the longest

# For want of rights, or as what is mounted there is dead.
_LASTING = frozenset((errno.EACCES, errno.EPERM, errno.ENOTCONN, errno.ESTALE))

# What cannot be done with a directory, as `Unreadable.add` is told.
LIST = "list"


class OfMany(OSError):
    """Why none of some kind can be sent, which is said of the first only."""


class Unreadable:
    """The paths that could not be read when they were last looked at."""

    def __init__(
        self,
        source: Source,
        counting: Callable[[list[bytes]], list[bytes]],
        on_error: Callable[[str, bytes, OSError], None],
        tell: Callable[[bytes, OSError], None],
        clock: Callable[[], float],
    ) -> None:
        """``counting`` gives those of some paths that the rules let be sent.

        ``tell`` is told of each, ``on_error`` of what the user has not heard of yet.
        """
        self._source = source
        self._counting = counting
        self._on_error = on_error
        self._tell = tell
        self._clock = clock
        self._paths: dict[bytes, OSError] = {}
        self._doubted = False  # may some of them be gone, or not count any more?
        self._said: set[bytes] = set()
        self._said_of_many: set[OSError] = set()
        self._wait = 0.0
        self._due = 0.0

    def __contains__(self, path: object) -> bool:
        return path in self._paths

    def count(self) -> int:
        """How many are missing over there."""
        self._sift()
        return len(self._paths)

    def first(self) -> Optional[tuple[bytes, OSError]]:
        """One of them, and why."""
        return next(iter(self._paths.items()), None)

    def add(self, action: str, path: bytes, error: OSError) -> None:
        if not self._paths and self._clock() > self._due:
            self._wait = _WAIT[0]
            self._due = self._clock() + self._wait
        self._paths[path] = error
        if path in self._said:
            return
        self._said.add(path)
        self._tell(path, error)
        if error in self._said_of_many:
            return
        if isinstance(error, OfMany):
            self._said_of_many.add(error)
        # Of a directory those have told who went to list it, and that is enough for what is in it.
        if action != LIST and not self._is_its_directory(path, error):
            self._on_error(action, path, error)

    def _is_its_directory(self, path: bytes, error: OSError) -> bool:
        """Is it the directory that ``path`` is in that cannot be read?"""
        if error.errno not in _LASTING:
            return False
        try:
            self._source.directory(path.rpartition(b"/")[0])
        except OSError as other:
            return other.errno == error.errno
        return False

    def named(self, path: bytes) -> list[bytes]:
        """``path`` will be looked at again; so is to be what is in it of these."""
        if path not in self._paths:
            self._said.discard(path)  # it could be read the last time
        if not self._paths:
            return []
        if path.endswith(b"/"):
            self._doubted = True
            return []
        inside = [p for p in self._paths if p.startswith(path + b"/")]
        for one in (*inside, path):
            self._paths.pop(one, None)
        return inside

    def due(self) -> Optional[float]:
        """When to call ``wake``, by the monotonic clock."""
        return self._due if self._paths else None

    def wake(self) -> list[bytes]:
        """All of them, if it is time to look again."""
        if not self._paths or self._clock() < self._due:
            return []
        self._wait = min(2 * self._wait, _WAIT[1])
        self._due = self._clock() + self._wait
        return self.take()

    def take(self) -> list[bytes]:
        """All of them: they are about to be looked at again."""
        self._sift()
        paths, self._paths = sorted(self._paths), {}
        return paths

    def _sift(self) -> None:
        """Forget those that are gone, or do not count any more."""
        if self._doubted and self._paths:
            there = self._counting(list(filter(self._is_there, self._paths)))
            self._paths = {path: self._paths[path] for path in there}
        self._doubted = False

    def _is_there(self, path: bytes) -> bool:
        try:
            return self._source.look(path) is not None
        except OSError:
            return True
