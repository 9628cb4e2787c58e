"""A directory tree under inotify(7): which paths may have changed.

Level-triggered: an event says "this name in this directory is dirty, look", whatever its
type and its place in the order. RENAME_EXCHANGE of a and b arrives as FROM a, TO b, FROM b,
TO a; whoever takes FROM for "gone" unwatches the new b.

Overflow: when its event has been read, whatever was lost happened before, so taking the tree
in again covers it. ctime could not narrow that down: what is below a renamed directory
keeps its own.

What is mounted has no event, but polling the mount table tells of it.
"""

from __future__ import annotations

import os
import select
import stat
import time

from filerep.pathstream import SYNC, WHOLE_TREE
from filerep.rules.ignore import REPOSITORY, rule_file
from filerep.source import RootGone
from filerep.watching.audit import Audit
from filerep.watching.hardlinks import OtherNames
from filerep.watching.inotifyevents import (
    AT_ONCE,
    ATTRIB,
    CLOSE_WRITE,
    CREATE,
    DELETE,
    GONE,
    IGNORED,
    ISDIR,
    MODIFY,
    MOVED_TO,
    Q_OVERFLOW,
    UNMOUNT,
    Kernel,
    events,
)
from filerep.watching.limits import queue_limit
from filerep.watching.mounts import Mounts
from filerep.watching.rulechanges import Following
from filerep.watching.tree import Tree
from filerep.watching.watches import Watches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filerep.rules.ignore import Rules
    from filerep.rules.origin import OnError
    from filerep.watching.inotifyevents import Event
    from filerep.watching.nodes import Directory
    from filerep.watching.pending import Pending
    from filerep.watching.rootcheck import Root

_WRITTEN = MODIFY | CLOSE_WRITE | ATTRIB | MOVED_TO
# A git at work tells nobody when it is done, once the kernel has lost events.
_GIT_SECONDS = 0.1


class Inotify:
    """Turns the kernel's events into looks; what may have changed goes to ``pending``."""

    def __init__(
        self,
        root: Root,
        load: Callable[[], Rules],
        pending: Pending,
        on_error: OnError,
        say: Callable[[str], None],
        audit_seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ``NoInotify``, ``LimitReached`` or OSError.

        ``audit_seconds`` 0 is no audit, None an audit of less than 1 % of a core.
        """
        self.kernel = Kernel()
        self._root = root
        self._pending = pending
        self._say = say
        self._clock = clock
        self._mounts: Mounts | None = None
        try:
            self._mounts = Mounts(root.path)
        except OSError:
            pass
        self._watches = Watches(self.kernel, root.path)
        self._links = OtherNames(root.path)
        self._began_ns = time.time_ns()
        self._tree = Tree(
            root, load(), self._watches, self._links, pending, on_error, clock
        )
        self.rules = Following(self._tree, load, clock)
        stale = self.rules.stale
        self.audit = Audit(self._tree, audit_seconds, clock, on_rules=stale)
        self._overflowed = False
        # Of the rules, when what is to be judged came up.
        self._generation: int | None = None

    # What the loop calls.

    def descriptors(self) -> dict[int, int]:
        """What to poll, and for which events, to know when to ``read``."""
        found = {self.kernel.fileno(): select.POLLIN}
        if self._mounts:
            found[self._mounts.fileno()] = select.POLLPRI
        return found

    def close(self) -> None:
        self.kernel.close()
        if self._mounts:
            self._mounts.close()

    def start(self) -> None:
        """Put every watch in place, naming nothing; raises ``LimitReached`` or OSError."""
        os.close(self._root.open())
        self.audit.start()
        self._watches.watch_above()
        self._tree.take_in_all(naming=False)
        self.rules.start(self._began_ns)

    def directories(self) -> int:
        return len(self._watches.nodes)

    def read(self, mounted: bool = True) -> None:
        """Take over the events there are now, and what was mounted if that has changed."""
        self.kernel.soak()
        for event in events(self.kernel.take()):
            self._handle(event)
        if mounted and self._mounts:
            self._root.check()
            changed = self._mounts.changed()
            if changed:
                # What is mounted decides what counts, and before it is entered.
                self.rules.stale(REPOSITORY)
                self.rules.work(self._clock())
            for path in changed:
                self._mounted(path)

    def deadline(self) -> float | None:
        """When ``work`` is to be called next."""
        if self.kernel.backlog:
            return 0.0
        if self._overflowed:
            return self._clock() + _GIT_SECONDS if self._waits_for_git() else 0.0
        due = [
            self.rules.deadline(),
            self.audit.deadline(),
            self._tree.unreadable.deadline(),
        ]
        return min((time for time in due if time is not None), default=None)

    def work(self) -> None:
        """Do what is due: heal an overflow, read edited rules, a piece of the audit."""
        if self.kernel.backlog:
            self.read()
        if self._overflowed and not self._waits_for_git():
            self._overflowed = False
            self._say(
                "the kernel lost events, as more than"
                f" {queue_limit()} waited (fs.inotify.max_queued_events);"
                " looking at everything again"
            )
            self.look_at_everything()
        self.rules.work(self._clock())
        self.audit.work()
        if self._tree.unreadable.due():
            self._tree.retry_all()
        self._written(self._links.complete(self._tree.files))

    def _waits_for_git(self) -> bool:
        """Is a git at work, whose rule files may be gone until it is done? See rulechanges.py.

        What it changes at once may well be more than the kernel's queue holds.
        """
        return self.rules.git_is_at_work(self._tree.top)

    def _written(self, paths: list[bytes]) -> None:
        """``paths`` are other names of files that were written."""
        for path in paths:
            self._pending.now(path)
            if rule_file(os.path.basename(path)):
                self.rules.stale(path)

    def sync(self) -> bool:
        """Bring everything that has changed until now to ``pending``, if that can be told."""
        self.read()
        self._tree.retry_all()
        self.rules.look_above()
        self.rules.retry()
        self.work()
        self._written(self._links.uncover(self._tree.files))
        self._written(self._mounted_files())
        known = not self._overflowed and b"" not in self._tree.unreadable
        return self.rules.rests() and known

    def settled(self) -> bool:
        """Can it be told what counts? Not while a rule file is being written."""
        return self.rules.settled()

    def judged(self, paths: list[bytes]) -> list[bytes] | None:
        """Those of ``paths``, which came up before, that count now; None if it can't be told.

        What changed the rules before a path came up had its event before.
        """
        if self._generation is None:
            self._generation = self.rules.generation
        self.read(mounted=False)
        self.rules.look_above()
        if not self.rules.settled():
            # What was edited may be a rule file elsewhere, too.
            self._written(self._links.complete(self._tree.files))
        if self.rules.work(self._clock()):
            self.read(mounted=False)
        if self._overflowed or not self.rules.rests():
            return None
        generation, self._generation = self._generation, None
        if self.rules.generation != generation:
            paths = [other for path in paths if (other := self._tree.revised(path))]
        self.audit.named(paths)
        return paths

    def look_at_everything(self) -> None:
        """Name whatever is there, and have what has gone looked for.

        What waits came up by rules that are perhaps those of before, and is covered by that.
        """
        self._root.check()
        asked = self._pending.drop(SYNC)
        self._pending.now(WHOLE_TREE)
        self.rules.load()
        self._tree.take_in_all(naming=True)
        if asked:
            self._pending.last(SYNC)

    # Events.

    def _handle(self, event: Event) -> None:
        """What the last event was tells whether to look at once, all whether it was written."""
        wd, name, mask = event.wd, event.name, event.mask
        if mask & Q_OVERFLOW:
            self._overflowed = True
            return
        if wd in self._watches.above and (not name or mask & DELETE):
            self._root.check()
        if wd in self._watches.places:
            self.rules.hear(event)
        nodes = self._watches.nodes.get(wd)
        if nodes is None:
            return
        if mask & (IGNORED | UNMOUNT):
            self._watch_ended(wd, mask)
        elif name:
            for node in nodes:
                self._changed(node, event)
        elif self._tree.top in nodes:
            self._root_changed()

    def _watch_ended(self, wd: int, mask: int) -> None:
        nodes = self._watches.nodes[wd]
        if mask & IGNORED:
            self._watches.forget(wd)
        for node in nodes:
            if node.parent is None:
                raise RootGone
            if not mask & IGNORED and node.attached():
                self._tree.look(node.parent, node.name(), moved=True)

    def _mounted(self, path: bytes) -> None:
        """Something was mounted at ``path``, or unmounted."""
        above, _, name = path.rpartition(b"/")
        parent = self._tree.top.find(above)
        if parent and parent.rules.counts(name, True):
            self._tree.look(parent, name, moved=True)

    def _mounted_files(self) -> list[bytes]:
        """Single files that are mounted in the tree: of what is written to them there is no event."""
        found = []
        for path in self._mounts.points() if self._mounts else ():
            above, _, name = path.rpartition(b"/")
            parent = self._tree.top.find(above)
            if parent and parent.rules.counts(name, False):
                if os.path.isfile(os.path.join(self._root.path, path)):
                    found.append(path)
        return found

    def _root_changed(self) -> None:
        mode = stat.S_IMODE(self._root.check().st_mode)
        self.rules.stale(REPOSITORY)  # of whose owner git takes notice
        if mode != self._root.mode:
            self._root.mode = mode
            # Not `.`, which is the answer to a request for a sync point.
            self._tree.verify(b"")
            self._tree.retry(b"")

    def _changed(self, node: Directory, event: Event) -> None:
        name, mask, last = event.name, event.mask, event.last
        if rule_file(name):
            self.rules.changed(node.join(name), event)
        is_dir = bool(mask & ISDIR)
        hint = self._pending.now if last & AT_ONCE else self._pending.later
        if not node.rules.counts(name, is_dir):
            if not is_dir and mask & (_WRITTEN | CREATE):
                # It may have been named when it was a directory, which counted.
                self._pending.withdraw(node.join(name))
                for other in self._links.behind(node.join(name)):
                    hint(other)
            return
        path = node.join(name)
        if is_dir:
            if mask & ATTRIB and node.child(name):
                self._pending.now(path)
                self._tree.retry(path)
                self._tree.try_to_read(path)
            else:
                self._tree.look(node, name, moved=not mask & CREATE)
            return
        if last & GONE and not self._links:
            # What came and went, as a file that takes another's name, is hardly known to
            # anybody, but may have been listed in between.
            (self._pending.defer if event.first & CREATE else hint)(path)
            return
        hint(path)
        # MOVED_TO too: what was written before the move had an event under a name that
        # leads nowhere by now.
        if mask & _WRITTEN:
            for other in self._links.of(path):
                hint(other)
                if rule_file(os.path.basename(other)):
                    self.rules.changed(other, event)
        elif mask & CREATE:
            self._links.made(path)
