"""A directory tree looked at again and again: which paths have changed.

For file systems that others change, and systems without inotify. What is remembered of
a directory is its names in one string and a 64-bit hash of each status in one array, about
10 bytes a file beside its name, and two equal directories are found equal without looking
at a single file of theirs.

RACE: two changes within one step of the file system's clock look like one. A file that was
changed a moment ago is therefore looked upon as changed once more at the next look.
"""

from __future__ import annotations

import os
import stat
import time
from array import array

from filerep.pathstream import WHOLE_TREE
from filerep.rules.walking import listing
from filerep.watching.roots import ABSENT, Descent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filerep.rules.ignore import OnError, Rules
    from filerep.watching.pending import Pending
    from filerep.watching.roots import Root


DEFAULT_SECONDS = 1.0
_LOOK_FACTOR = 9  # rest nine times as long as a look took: a tenth of a core
_SLICE_SECONDS = 0.005
_WORD = 0xFFFFFFFFFFFFFFFF
_RECENT_NS = 100_000_000
_RECENT_IN_WHOLE_SECONDS_NS = 2_100_000_000


class Listing:
    """What was seen of one directory."""

    __slots__ = ("identity", "names", "states", "turn")

    def __init__(
        self, identity: tuple[int, int], names: bytes, states: array[int], turn: int
    ) -> None:
        self.identity = identity
        self.names = names
        self.states = states
        self.turn = turn

    def entries(self) -> dict[bytes, int]:
        return dict(zip(self.names.split(b"\0"), self.states)) if self.states else {}


class Snapshots:
    """The tree below ``root``, looked at every ``seconds`` or more rarely."""

    def __init__(
        self,
        root: Root,
        load: Callable[[], Rules],
        pending: Pending,
        on_error: OnError,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._root = root
        self._load = load
        self._pending = pending
        self._on_error = on_error
        self._clock = clock
        self._wall_ns = wall_ns
        self._seconds = seconds
        self._seen: dict[bytes, Listing] = {}
        self._rules: Rules | None = None
        self._rules_stamp: list[object] = []
        self._turn = 0
        self._look: Iterator[None] | None = None
        self._due = 0.0

    # What the loop calls.

    def descriptors(self) -> dict[int, int]:
        return {}

    def close(self) -> None:
        pass

    def start(self, naming: bool = False) -> None:
        """Take the first snapshot; raises OSError if there is no root."""
        for _ in self._looking(naming):
            pass

    def directories(self) -> int:
        return len(self._seen)

    def read(self, mounted: bool = True) -> None:
        pass

    def deadline(self) -> float | None:
        return 0.0 if self._look else self._due

    def work(self) -> None:
        """A piece of a look at the tree, if one is due."""
        if self._look is None and self._clock() >= self._due:
            self._look = self._looking(naming=True)
        if self._look:
            if next(self._look, self) is self:
                self._look = None

    def sync(self) -> None:
        """Bring everything that has changed until now to ``pending``."""
        for _ in self._look or ():
            pass
        self._look = None
        for _ in self._looking(naming=True):
            pass

    # One look.

    def _looking(self, naming: bool) -> Iterator[None]:
        """Compare the tree with what was seen of it; yields now and then."""
        self._turn += 1
        took = 0.0
        rest = [(b"", self._current_rules())]
        while rest:
            started = self._clock()
            with Descent(self._root) as descent:
                while rest and self._clock() - started < _SLICE_SECONDS:
                    rest.extend(self._compare(*rest.pop(), naming, descent))
            took += self._clock() - started
            yield
        self._root.check()
        gone = [path for path, seen in self._seen.items() if seen.turn != self._turn]
        for path in gone:
            del self._seen[path]
            if path.rpartition(b"/")[0] in self._seen:
                self._pending.now(path + b"/")
        self._due = self._clock() + max(self._seconds, _LOOK_FACTOR * took)

    def _current_rules(self) -> Rules:
        """The root's rules, read again if a file that they come from has changed.

        Reading them starts git, which would be most of a look at a small tree.
        """
        if self._rules is None or self._stamp(self._rules) != self._rules_stamp:
            self._rules = self._load()
            self._rules_stamp = self._stamp(self._rules)
        return self._rules

    def _stamp(self, rules: Rules) -> list[object]:
        own = [os.path.join(self._root.path, name) for name in (b".gitignore", b".git")]
        inputs = rules.inputs()
        index = [inputs.index] if inputs.index else []
        stamps: list[object] = []
        for path in [*own, *inputs.rules, *index]:
            try:
                status = os.stat(path)
            except OSError:
                stamps.append(path)
            else:
                stamps.append((status.st_ino, status.st_size, status.st_ctime_ns))
        return stamps

    def _compare(
        self, path: bytes, above: Rules, naming: bool, descent: Descent
    ) -> list[tuple[bytes, Rules]]:
        """Name what has changed in one directory; returns what is below it."""
        try:
            fd = descent.open(path)
        except OSError as error:
            if error.errno not in ABSENT:
                self._on_error("read", path, error)
            return []
        rules = above.enter(path.rpartition(b"/")[2], fd) if path else above
        files, dirs = listing(fd, path or b".", rules, self._on_error)
        prefix = path + b"/" if path else b""
        below = [(prefix + name, rules) for name in dirs]
        status = os.fstat(fd)
        identity = (status.st_dev, status.st_ino)
        now = self._wall_ns()
        names = sorted(files) + sorted(dirs)
        states = array("Q", [self._state(fd, name, now) for name in names])
        old = self._seen.get(path)
        new = Listing(identity, b"\0".join(names), states, self._turn)
        self._seen[path] = new
        if not naming:
            return below
        if old and old.identity != identity:
            self._pending.now(prefix or WHOLE_TREE)
            old = None
        if old and old.names == new.names and old.states == states and 0 not in states:
            return below
        before = old.entries() if old else {}
        for name, state in zip(names, states):
            if before.pop(name, 0) != state or not state:
                self._pending.now(prefix + name)
        for name in before:
            try:
                os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError:
                self._pending.now(prefix + name)
        return below

    def _state(self, fd: int, name: bytes, now: int) -> int:
        """The entry's state as a number, 0 where it cannot be relied on."""
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            return 0
        if stat.S_ISDIR(status.st_mode):
            # What happens in it is found in it.
            return hash((status.st_ino, status.st_mode)) & _WORD | 1
        recent = _RECENT_NS
        if status.st_ctime_ns % 1_000_000_000 == 0:
            recent = _RECENT_IN_WHOLE_SECONDS_NS
        if abs(now - status.st_ctime_ns) < recent:
            return 0
        key = (
            status.st_ino,
            status.st_mode,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        return hash(key) & _WORD | 1
