"""Which paths count by the rules as they are written down at this moment.

Without events there is only one way to know: to go down to the directory of a path and
read the rules on the way, after the path was seen there. That is done twice, as a rule can be
moved from one file to another between the reading of the one and of the other.
"""

from __future__ import annotations

import os
import stat

from filerep.rules import repository
from filerep.rules.ignore import REPOSITORY, RULE_FILE
from filerep.rules.inputs import inputs_of, reload_tracked
from filerep.watching.mounts import Mounts
from filerep.watching.patience import MOST_SECONDS, Patience
from filerep.watching.pending import SETTLE_SECONDS
from filerep.watching.rootcheck import Descent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from filerep.rules.ignore import Rules
    from filerep.watching.rootcheck import Root

_SETTLE_NS = int(SETTLE_SECONDS * 1e9)
# One that is empty, or gone, may wait for its writer, who waits for his turn on a busy machine.
_EMPTY_SETTLE_NS = 400_000_000
# Two changes within a step of a file system's clock look like one.
_STEP_NS = 100_000_000
_STEP_OF_SECONDS_NS = 2_100_000_000


class Judge:
    """Reads the rules anew whenever it is asked, the root's only if an input has changed."""

    def __init__(
        self,
        root: Root,
        load: Callable[[], Rules],
        clock: Callable[[], float],
        wall_ns: Callable[[], int],
    ) -> None:
        self._root = root
        self._load = load
        self._clock = clock
        self._wall_ns = wall_ns
        self._rules: Rules | None = None
        self._mounts: Mounts | None = None  # as what is mounted decides what counts
        try:
            self._mounts = Mounts(root.path)
        except OSError:
            pass
        self._stamps: dict[bytes, tuple[int, ...]] = {}
        self._known: set[bytes] = set()  # files that were there once
        # What the repositories in some directories below the root depend on.
        self._inner: dict[bytes, tuple[bytes, ...]] = {}
        self._patience = Patience(clock)
        self.due = 0.0

    def begin(self, rules: Rules, since_ns: int) -> None:
        """Begin with ``rules``, which were read after ``since_ns``, if they still hold."""
        stamps = _stamps(self._files(rules))
        if all(at < since_ns - _STEP_OF_SECONDS_NS for at in _changes(stamps)):
            self._rules, self._stamps = rules, stamps
        self._known |= {file for file, stamp in stamps.items() if stamp}

    def top(self) -> Rules:
        """The root's rules, made anew or brought up to date if one of their inputs changed."""
        if self._mounts and self._mounts.stirred() and self._mounts.changed():
            self._rules = None
        unread = self._rules is not None and self._rules.origin.last.still_unread()
        if self._rules and not unread and self._stamps == _stamps(self._stamps):
            return self._rules
        inputs = inputs_of(self._rules) if self._rules else None
        index = inputs.index if inputs else None
        others = {file: stamp for file, stamp in self._stamps.items() if file != index}
        changes = None
        if self._rules and others == _stamps(others):
            changes = reload_tracked(self._rules)
        if (
            not self._rules
            or unread
            or others != _stamps(others)
            or (changes and b"" in changes.places)
        ):
            self._rules = self._load()
        self._stamps = _stamps(self._files(self._rules))
        now = self._wall_ns()
        for file, stamp in self._stamps.items():
            if len(stamp) > 2 and recent(now, stamp[-1]):
                self._stamps[file] = (-1,)  # which it never is: it is read again
        return self._rules

    def _files(self, rules: Rules) -> Iterator[bytes]:
        inputs = inputs_of(rules)
        yield self._root.path  # whose owner git takes notice of
        yield os.path.join(self._root.path, RULE_FILE)
        yield os.path.join(self._root.path, REPOSITORY)
        yield from inputs.rules
        yield from inputs.absent
        if inputs.index:
            yield inputs.index

    def entered(self, path: bytes, rules: Rules) -> None:
        """The directory ``path`` was come to: a repository in it has inputs of its own."""
        if not rules.begins:
            self._inner.pop(path, None)
            return
        files = inputs_of(rules).rules
        if files != self._inner.get(path):
            self._inner[path] = files
            self._known |= {file for file in files if os.path.isfile(file)}

    def left(self, path: bytes) -> None:
        self._inner.pop(path, None)

    def settled(self) -> bool:
        return self._clock() >= self.due

    def rests(self, directories: Iterable[bytes]) -> bool:
        """Is no input of the rules in ``directories`` being written, as far as stamps tell?

        One that has gone, or is empty, may be there again in a moment: so git replaces it.
        """
        now = self._wall_ns()
        files = {os.path.join(self._root.path, d, RULE_FILE) for d in directories}
        if self._rules:
            files.update(self._files(self._rules))
        for directory in self._inner.keys() & set(directories):
            files.update(self._inner[directory])
        stamps = _stamps(files)
        there = {file for file, stamp in stamps.items() if stamp}
        self._known |= there
        gone = self._known.intersection(stamps) - there
        took = self._git_took(gone, now)
        written = [file for file in gone if took or _is_gone_lately(file, now)]
        written += [file for file, stamp in stamps.items() if _is_lately(stamp, now)]
        most = repository.PATIENCE_NS / 1e9 if took else MOST_SECONDS
        if self._patience.over(written, most):
            self._patience.forget()
            return True
        self.due = self._clock() + SETTLE_SECONDS
        return False

    def _git_took(self, gone: Iterable[bytes], now: int) -> bool:
        """Is a git at work that may have taken one of ``gone`` away, to put another in its place?"""
        tree = self._rules.tree if self._rules else None
        if not gone or tree is None or tree.repo is None:
            return False
        since_ns = repository.at_work_since(tree.repo.index, now)
        if since_ns is None:
            return False
        return any(
            at >= since_ns for at in _written({os.path.dirname(f) for f in gone})
        )

    def judged(self, paths: list[bytes]) -> list[bytes] | None:
        """Those of ``paths`` that count now; None if that can't be told.

        What is hidden may have gone before it was, and is to be looked for in any case.
        """
        above = {parent for path in paths for parent in _above(path)}
        for turn in range(2):
            with Descent(self._root) as descent:
                way = Way(self.top(), descent)
                judged = [self._judged(path, way) for path in paths]
            # Not before: what was read may have been emptied just then.
            if not turn and not self.rests(above):
                return None
            paths = [path for path in judged if path]
        return paths

    def _judged(self, path: bytes, way: Way) -> bytes | None:
        if path == b"." or path.endswith(b"/") or way.counts(path):
            return path
        return None if self._root.there(path) else path + b"/"


class Way:
    """The rules on the way down to paths, each directory entered once."""

    def __init__(self, top: Rules, descent: Descent) -> None:
        self._descent = descent
        self._top = top
        self._rules: dict[bytes, Rules | None] = {b"": top}

    def counts(self, path: bytes) -> bool:
        above, _, name = path.rpartition(b"/")
        rules = self._of(above)
        if rules is None:
            return False
        try:
            mode = os.lstat(name, dir_fd=self._descent.open(above)).st_mode
        except OSError:
            return rules.counts(name, False) or rules.counts(name, True)
        return rules.counts(name, stat.S_ISDIR(mode))

    def into(self, path: bytes) -> list[tuple[bytes, Rules]]:
        """The directory ``path`` and the rules above it, if it counts."""
        if not path:
            return [(path, self._top)]
        above, _, name = path.rpartition(b"/")
        rules = self._of(above)
        return [(path, rules)] if rules and rules.counts(name, True) else []

    def _of(self, path: bytes) -> Rules | None:
        """The rules of the directory ``path``, None if it does not count or is none."""
        if path not in self._rules:
            above, _, name = path.rpartition(b"/")
            rules = self._of(above)
            self._rules[path] = None
            if rules and rules.counts(name, True):
                try:
                    self._rules[path] = rules.enter(name, self._descent.open(path))
                except OSError:
                    pass
        return self._rules[path]


def _above(path: bytes) -> Iterator[bytes]:
    """The directories that ``path`` is in, the root last."""
    path = path.rstrip(b"/")
    while path:
        path = path.rpartition(b"/")[0]
        yield path


def _stamps(files: Iterable[bytes]) -> dict[bytes, tuple[int, ...]]:
    stamps: dict[bytes, tuple[int, ...]] = {}
    for file in files:
        try:
            status = os.stat(file)
        except OSError:
            stamps[file] = ()
            continue
        if stat.S_ISDIR(status.st_mode):
            stamps[file] = (status.st_ino, status.st_uid)
        else:
            times = (status.st_mtime_ns, status.st_ctime_ns)
            stamps[file] = (status.st_ino, status.st_size, *times)
    return stamps


def _changes(stamps: dict[bytes, tuple[int, ...]]) -> Iterator[int]:
    """When those changed that are files."""
    return (stamp[-1] for stamp in stamps.values() if len(stamp) > 2)


def _is_lately(stamp: tuple[int, ...], now: int) -> bool:
    """Was a file of that ``stamp`` written a moment ago, so that it may not be whole yet?"""
    settle_ns = _EMPTY_SETTLE_NS if stamp[1:2] == (0,) else _SETTLE_NS
    return any(abs(now - at) <= settle_ns for at in _changes({b"": stamp}))


def _is_gone_lately(file: bytes, now: int) -> bool:
    written = _written({os.path.dirname(file)})
    return any(abs(now - at) <= _EMPTY_SETTLE_NS for at in written)


def _written(directories: Iterable[bytes]) -> Iterator[int]:
    """When something last came into ``directories``, or went."""
    for directory in directories:
        try:
            yield os.stat(directory).st_mtime_ns
        except OSError:
            pass


def recent(now: int, ctime_ns: int) -> bool:
    """May a change after this one have got the same stamp?"""
    whole = ctime_ns % 1_000_000_000 == 0
    return abs(now - ctime_ns) < (_STEP_OF_SECONDS_NS if whole else _STEP_NS)
