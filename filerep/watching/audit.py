"""The audit: a slow look at everything, for what inotify has no event for.

RACE: stores through a live mmap, a write through a link outside the tree, a write through
a descriptor whose name was unlinked while the file has another, and a file system that
changes beneath the mount have no events. The audit finds them by their ctime, late; without
an audit the replica keeps the old contents.
"""

from __future__ import annotations

import os
import time

from filerep.rules.ignore import RULE_FILE
from filerep.watching.rootcheck import ABSENT, Descent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filerep.watching.nodes import Directory
    from filerep.watching.tree import Tree

_FACTOR = 100  # rest a hundred times as long as it took: less than 1 % of a core
_ASKED_FACTOR = 9  # and a tenth, where the user says how often
_LEAST_SECONDS = 60.0
_SLICE_SECONDS = 0.005
# Time stamps come in steps: 4 to 10 ms of the kernel's tick, 1 or 2 s on old file systems.
_STAMP_SLACK_NS = 2_100_000_000


class Audit:
    """When everything is looked at again, and a piece of that at a time."""

    def __init__(
        self,
        tree: Tree,
        seconds: float | None,
        clock: Callable[[], float],
        wall_ns: Callable[[], int] = time.time_ns,
        on_rules: Callable[[bytes], None] = lambda path: None,
    ) -> None:
        """``seconds`` 0 is no audit, None one of less than 1 % of a core.

        ``on_rules`` is told of rule files that have changed.
        """
        self._tree = tree
        self._on_rules = on_rules
        self._seconds = seconds
        self._clock = clock
        self._wall_ns = wall_ns
        self._pieces: Iterator[None] | None = None
        self._due: float | None = None
        self._last = (0, 0.0)
        self._named: dict[bytes, int] = {}

    def start(self) -> None:
        """All is as it is now; the first audit looks for what changes from here on."""
        self._last = (self._wall_ns(), self._clock())
        self._plan(0.0)

    def deadline(self) -> float | None:
        """When ``work`` has something to do."""
        return 0.0 if self._pieces else self._due

    def named(self, paths: list[bytes]) -> None:
        """``paths`` are handed over: what changed in them before needs no other look.

        RACE: a change without an event within the same step of the file system's clock, a
        few milliseconds, is not found. Naming all once more would have each save sent twice
        where a reader cannot tell such changes apart: on Linux before 6.13, and overlayfs.
        """
        if self._seconds != 0:
            self._named.update(dict.fromkeys(paths, self._wall_ns()))

    def begin(self) -> None:
        self._due = None
        self._pieces = self._auditing()

    def work(self) -> None:
        """Do a piece, if one is due."""
        if self._due is not None and self._clock() >= self._due:
            self.begin()
        if self._pieces and next(self._pieces, self) is self:
            self._pieces = None

    def _plan(self, took: float) -> None:
        if self._seconds is None:
            self._due = self._clock() + max(_LEAST_SECONDS, _FACTOR * took)
        elif self._seconds:
            self._due = self._clock() + max(self._seconds, _ASKED_FACTOR * took)

    def _auditing(self) -> Iterator[None]:
        """Find what had no event: changed files by ctime, other directories by their inode.

        Files whose ctime says they have changed since the last audit are named, unless they
        were after that; naming all would make a reader without a memory send the whole tree
        each time. Yields after each directory.
        """
        began = (self._wall_ns(), self._clock())
        wall_ns, clock = self._last
        since = wall_ns - _STAMP_SLACK_NS
        jumped = (began[0] - wall_ns) / 1e9 - (began[1] - clock)
        if abs(jumped) > 1:
            # The clock was set, so stamps cannot be compared with it.
            since, self._named = 0, {}
        self._tree.root.check()
        self._tree.verify(b"")
        took = 0.0
        nodes = iter(list(self._tree.top.family()))
        more = True
        while more:
            started = self._clock()
            # A descent is not kept over a yield: events are handled there, and a node
            # that has got a new inode must not be given back the old one.
            with Descent(self._tree.root) as descent:
                more = False
                for node in nodes:
                    if node.attached():
                        self._look(node, since, descent)
                    if self._clock() - started > _SLICE_SECONDS:
                        more = True
                        break
            took += self._clock() - started
            yield
        self._last = began
        until = began[0] - _STAMP_SLACK_NS  # which the next one begins with
        self._named = {path: at for path, at in self._named.items() if at > until}
        self._plan(took)

    def _look(self, node: Directory, since: int, descent: Descent) -> None:
        try:
            fd = descent.open(node.path)
            before = node.wd
            self._tree.watches.add(node, fd)
            if before != node.wd:
                self._tree.verify(node.path)
                self._tree.take_in(node, True, descent)
                return
            self._look_at_rules(node, since, fd)
            files, dirs = self._tree.contents(fd, node)
            for name in files + dirs:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                path = node.join(name)
                if status.st_ctime_ns >= max(since, self._named.get(path, 0)):
                    self._tree.pending.now(path)
            for name in dirs:
                if node.child(name) is None:
                    self._tree.look(node, name, moved=True)
        except OSError as error:
            # What is changing right now has events of its own.
            if error.errno not in ABSENT:
                self._tree.unread(node, error)

    def _look_at_rules(self, node: Directory, since: int, fd: int) -> None:
        try:
            status = os.stat(RULE_FILE, dir_fd=fd, follow_symlinks=False)
        except OSError:
            return
        if status.st_ctime_ns >= since:
            self._on_rules(node.join(RULE_FILE))
