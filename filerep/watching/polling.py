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
from filerep.rules.ignore import RULE_FILE
from filerep.watching.currentrules import Judge, Way, recent
from filerep.watching.entries import Entries
from filerep.watching.repeating import Confirming
from filerep.watching.rootcheck import ABSENT, Descent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from filerep.rules.ignore import Rules
    from filerep.rules.origin import OnError
    from filerep.watching.pending import Pending
    from filerep.watching.rootcheck import Root


DEFAULT_SECONDS = 1.0
_REST_FACTOR = 9  # rest nine times as long as a look took: a tenth of a core
_SLICE_SECONDS = 0.005
# For so long fr-walk and its reader may know of names that came and went between two looks.
_WALK_SECONDS = 60.0
_WORD = 0xFFFFFFFFFFFFFFFF


class Listing:
    """What was seen of one directory."""

    __slots__ = ("identity", "names", "stamp", "states", "turn")

    def __init__(
        self, identity: tuple[int, int], names: bytes, states: array[int], turn: int
    ) -> None:
        self.identity = identity
        self.names = names
        self.states = states
        self.turn = turn
        # When something came or went in it, 0 where that cannot be relied on.
        self.stamp = 0

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
        self.rest_factor = _REST_FACTOR
        self._seen: dict[bytes, Listing] = {}
        self._judge = Judge(root, load, clock, wall_ns)
        self._confirming = Confirming()
        self._ruled: set[bytes] = set()  # directories with rules of their own
        self._turn = 0
        self._walked = 0.0
        # Directories that could not be read in this look, and in the last one.
        self._unreadable: list[bytes] = []
        self._missing: set[bytes] = set()
        self._verified = False
        self._look: Iterator[None] | None = None
        self._due = 0.0

    # What the loop calls.

    def descriptors(self) -> dict[int, int]:
        return {}

    def close(self) -> None:
        pass

    def start(self, naming: bool = False) -> None:
        """Take the first snapshot; raises OSError if there is no root."""
        self._walked = self._clock() + _WALK_SECONDS
        for _ in self._looking(naming):
            pass

    def directories(self) -> int:
        return len(self._seen)

    def read(self, mounted: bool = True) -> None:
        pass

    def deadline(self) -> float | None:
        if self._look:
            return 0.0
        due = self._due if self.settled() else min(self._due, self._judge.due)
        return None if due == float("inf") else due

    def work(self) -> None:
        """A piece of a look at the tree, if one is due."""
        if self._look is None and self._clock() >= self._due:
            self._look = self._looking(naming=True)
        if self._look:
            if next(self._look, self) is self:
                self._look = None

    def sync(self) -> bool:
        """Bring everything that has changed until now to ``pending``, if that can be told."""
        for _ in self._look or ():
            pass
        self._look = None
        for _ in self._looking(naming=True):
            pass
        return self._judge.rests(self._ruled) and b"" not in self._missing

    def look_at_everything(self) -> None:
        """Name whatever is there."""
        self._look = None
        self._seen.clear()
        self._hasten(self._clock())

    def settled(self) -> bool:
        """Can it be told what counts? Not while a rule file is being written."""
        return self._judge.settled()

    def judged(self, paths: list[bytes]) -> list[bytes] | None:
        """Those of ``paths`` that count now; None if it can't be told.

        The others are named by the next look, should they count again by then: it may be that
        no look has seen that they did not.
        """
        judged = self._judge.judged(paths)
        if judged is None:
            return None
        for path in set(paths).difference(judged):
            above, _, name = path.rpartition(b"/")
            seen = self._seen.get(above)
            names = seen.names.split(b"\0") if seen else []
            if seen and name in names:
                seen.states[names.index(name)] = 0
        return judged

    # One look.

    def _looking(self, naming: bool) -> Iterator[None]:
        """Compare the tree with what was seen of it; yields now and then."""
        self._turn += 1
        took = 0.0
        self._confirming.begin(self._clock())
        rest = [(b"", self._judge.top())]
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
            self._ruled.discard(path)
            self._judge.left(path)
            if path.rpartition(b"/")[0] in self._seen:
                self._verify(path)
                self._confirming.named(path + b"/", gone=True)
        for path in self._confirming.end():
            self._pending.now(path)
        self._name_unreadable()
        self._due = self._clock() + max(self._seconds, self.rest_factor * took)

    def _hasten(self, due: float) -> None:
        """Look at everything at ``due``, if that is earlier."""
        self._due = min(self._due, due)

    def knows(self, path: bytes) -> bool:
        """Was anything at ``path`` when it was last looked at?"""
        above, _, name = path.rpartition(b"/")
        seen = self._seen.get(above)
        return bool(seen and name in seen.names.split(b"\0"))

    def forget(self, path: bytes) -> None:
        """Have all that is in the directory ``path`` named when it is looked at next."""
        below = path + b"/"
        for one in [*self._seen]:
            if one == path or one.startswith(below):
                del self._seen[one]
        self._verify(path)

    def look_at(self, paths: Iterable[bytes]) -> None:
        """Name ``paths``, and what has changed in those that are directories."""
        with Descent(self._root) as descent:
            way = Way(self._judge.top(), descent)
            for path in paths:
                if path:
                    self._pending.now(path)
                    if not self._root.there(path):
                        self._verify(path)
                rest = way.into(path)
                while rest:
                    path, above = rest.pop()
                    known = path in self._seen
                    below = self._compare(path, above, True, descent)
                    rest += [b for b in below if not known or b[0] not in self._seen]

    def _name_unreadable(self) -> None:
        """Name directories, as what is in them cannot be: so their reader misses it.

        Who is told to look for what has gone forgets that, and is told once more.
        """
        unreadable, self._unreadable = self._unreadable, []
        for path in unreadable:
            if path and (self._verified or path not in self._missing):
                self._pending.now(path)
        self._missing = set(unreadable)
        self._verified = False

    def _verify(self, path: bytes) -> None:
        """Have what has gone at or below the directory ``path`` looked for."""
        self._pending.now((path or b".") + b"/")
        self._verified = True

    def _name(self, path: bytes, gone: bool) -> None:
        self._pending.now(path)
        self._confirming.named(path, gone)

    def _compare(
        self, path: bytes, above: Rules, naming: bool, descent: Descent
    ) -> list[tuple[bytes, Rules]]:
        """Name what has changed in one directory; returns what is below it."""
        try:
            fd = descent.open(path)
            entries = Entries(fd)
            status = os.fstat(fd)  # fails on FUSE if it is gone by now
        except OSError as error:
            if error.errno not in ABSENT:
                self._on_error("read", path or b".", error)
                self._unreadable.append(path)
            return []
        rules = above
        if path:
            rules = above.enter(path.rpartition(b"/")[2], fd, entries.whole())
            self._judge.entered(path, rules)
        files, dirs = entries.picked(rules)
        prefix = path + b"/" if path else b""
        below = [(prefix + name, rules) for name in dirs]
        identity = (status.st_dev, status.st_ino)
        now = self._wall_ns()
        names = sorted(files) + sorted(dirs)
        states = array("Q", [self._state(fd, name, now) for name in names])
        old = self._seen.get(path)
        new = Listing(identity, b"\0".join(names), states, self._turn)
        new.stamp = 0 if recent(now, status.st_ctime_ns) else status.st_ctime_ns
        self._seen[path] = new
        ruled = rules.begins or entries.have(RULE_FILE)
        (self._ruled.add if ruled else self._ruled.discard)(path)
        if not (old and old.stamp and old.stamp == new.stamp):
            self._confirming.changed(path)
            if naming and self._clock() < self._walked:
                self._verify(path)
        if not naming:
            return below
        if old and old.identity != identity:
            self._verify(path)
            self._confirming.named(prefix or WHOLE_TREE, gone=True)
            old = None
        if old and old.names == new.names and old.states == states and 0 not in states:
            return below
        before = old.entries() if old else {}
        for name, state in zip(names, states):
            if before.pop(name, 0) != state or not state:
                self._name(prefix + name, gone=False)
        # Not by a look at each: where case is folded, what was renamed seems to be there.
        for name in before.keys() - entries.names() if before else ():
            self._name(prefix + name, gone=True)
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
        if recent(now, status.st_ctime_ns):
            return 0
        key = (
            status.st_ino,
            status.st_mode,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        return hash(key) & _WORD | 1
