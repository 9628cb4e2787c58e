"""Rules that change while they are followed.

Which files count is a function of many inputs, and after a change of any of them the tree
must hold the answer that fr-walk would give then. Names go to people's servers, so a wrong
answer for a moment is enough to give a secret away.

Therefore: an event for an input only marks the directories whose rules come from it as dirty.
Before the next name is handed over, and after all events up to then were read, these get
their rules anew, the upper before the lower, so that no directory has rules made from others
that are out of date. Where they turn out the same, all below is passed over. Where they do
not, what appears is named, what is hidden is no longer watched, and what waits to be named
is judged once more.

An input that is being written says something else than it will: an ignore file between
truncation and writing is empty, and everything counts; so it does where git takes one away and
puts it back. So nothing at all is named from its first event until it is closed or replaced, or
0.4 s are over (150 ms were seen where a machine had much to do). For longer nothing is
held back, as a file may never come to rest: what is named then goes by the rules as they were
read last, and not by what a file holds that is being written.

To read an input takes place after its event, and it may be written again meanwhile: git does
so with each commit of a rebase. So once inputs have been read, the events that came meanwhile
are read, too, before anything is named.
"""

from __future__ import annotations

import os
import time

from filerep.rules.ignore import rule_file
from filerep.rules.inputs import alike, inputs_of, reload_tracked
from filerep.rules.worktree import NO_INPUTS
from filerep.watching import inotifyevents
from filerep.watching.pending import Holds
from filerep.watching.rootcheck import ABSENT, Descent
from filerep.watching.unreadable import Again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filerep.rules.ignore import Rules
    from filerep.rules.worktree import Inputs
    from filerep.watching.inotifyevents import Event
    from filerep.watching.nodes import Directory
    from filerep.watching.tree import Tree

# Nothing is held back for longer, however often an input is written. Nearly as long it is held
# for one that is gone, or not closed: on a busy machine its writer may have to wait for his turn.
_MOST_SECONDS, _UNCLOSED_SECONDS = 0.5, 0.4
# What was read makes new inputs known, and those may have changed meanwhile. Not for ever.
_ROUNDS = 10


class Following:
    """Keeps the rules of every directory of the tree as those are that are written down now."""

    def __init__(
        self,
        tree: Tree,
        load: Callable[[], Rules],
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._tree = tree
        self._load = load
        self._clock = clock
        self._wall_ns = wall_ns
        self._root = os.path.realpath(tree.root.path)
        # Inputs that are being edited, and that are known to have been.
        self._edited = Holds(_UNCLOSED_SECONDS)
        self._dirty: set[bytes] = set()
        self._waiting_since: float | None = None
        self._since_ns = 0  # when no input was dirty
        # Of SRC and of each directory with a repository in it, and by file whose they are.
        self._inputs: dict[bytes, Inputs] = {}
        self._places: dict[bytes, set[bytes]] = {}
        # Where a repository may begin in directories above the root: busy ones, perhaps
        # (/tmp, a home), which are looked at before anything is named instead of watched.
        self._absent: tuple[bytes, ...] = ()
        self._again = Again(clock)
        #: How often what counts has changed.
        self.generation = 0

    def start(self, since_ns: int) -> None:
        """Watch the inputs of the tree, whose rules were made after ``since_ns``."""
        self._follow(since_ns)
        self._since_ns = self._wall_ns()

    def load(self) -> None:
        """Begin with the root's rules as they are now; all below is to be taken in anew."""
        since_ns = self._wall_ns()
        self._tree.top.rules = self._load()
        self.generation += 1
        self.start(since_ns)

    def settled(self) -> bool:
        """Is no input being written?"""
        return not self._edited and not self._dirty

    def rests(self) -> bool:
        """May names be handed over? Not while an input is being written."""
        now = self._clock()
        if not self.settled():
            if self._waiting_since is None:
                self._waiting_since = now
            return now >= self._waiting_since + _MOST_SECONDS
        self._waiting_since = None
        return True

    def deadline(self) -> float | None:
        if self._dirty:
            return 0.0
        due = [self._edited.deadline(), self._again.deadline()]
        return min((time for time in due if time is not None), default=None)

    # What changes.

    def hear(self, event: Event) -> None:
        """An event that may be one of an input outside the tree, or in a ``.git``."""
        for file in self._tree.watches.places.concerned(event):
            if file == self._tree.root.path:
                self._tree.root.check()  # a link on the way to it may lead elsewhere now
            else:
                self._changed(file, event)

    def changed(self, path: bytes, event: Event) -> None:
        """A rule file in the tree was edited, or is being edited."""
        self._changed(os.path.join(self._root, path), event)

    def stale(self, path: bytes) -> None:
        """A rule file in the tree may say something else, of which there is no event."""
        self._dirty.add(os.path.join(self._root, path))

    def _changed(self, file: bytes, event: Event) -> None:
        if event.mask & inotifyevents.AT_ONCE:
            self._edited.forget(file)
        # A file that is removed has its attributes changed by that, too.
        if event.last & inotifyevents.AT_ONCE and os.path.lexists(file):
            self._dirty.add(file)
        elif not event.last & inotifyevents.IGNORED or file not in self._dirty:
            self._dirty.discard(file)  # it was whole, and is being edited again
            self._edited.hold(file, self._clock())

    def retry(self) -> None:
        """Try again what could not be read: no event tells of the end of a disk's trouble."""
        self._dirty |= self._tree.top.rules.origin.last.still_unread()

    def look_above(self) -> None:
        """See whether a repository has begun above the root."""
        for file in self._absent:
            if os.access(file, os.F_OK):
                self._dirty.add(file)

    def work(self, now: float) -> bool:
        """Make the rules anew of what was edited until ``now``, and is not being edited.

        Was there anything of the kind?
        """
        self._dirty.update(self._edited.release(now))
        if self._again.due():
            self.retry()
        for turn in range(_ROUNDS):
            if not self._dirty and self._inputs.keys() == self._expected():
                break
            since_ns, self._since_ns = self._since_ns, self._wall_ns()
            dirty, self._dirty = self._dirty, set()
            self._take(dirty)
            self._follow(since_ns)
        self._since_ns = self._wall_ns()
        if not self._tree.top.rules.origin.last.unread:
            self._again.end()
        elif self._again.deadline() is None:
            self._again.begin()
        return turn > 0

    def _expected(self) -> set[bytes]:
        return {b"", *self._tree.repositories}

    def _follow(self, since_ns: int) -> None:
        """Watch all inputs there are; those that have changed after ``since_ns`` are dirty."""
        self._inputs = {path: self._inputs_of(path) for path in self._expected()}
        places: dict[bytes, set[bytes]] = {}
        for path, inputs in self._inputs.items():
            for file in (*inputs.rules, *((inputs.index,) if inputs.index else ())):
                places.setdefault(file, set()).add(path)
        self._places = places
        followed = {self._tree.root.path, *places}
        self._absent = self._inputs[b""].absent
        for file in self._absent:
            places.setdefault(file, set()).add(b"")
        changed = self._tree.watches.follow(followed, since_ns)
        self._dirty |= changed - {self._tree.root.path}

    def _inputs_of(self, path: bytes) -> Inputs:
        node = self._tree.top.find(path)
        return inputs_of(node.rules) if node else NO_INPUTS

    # What follows from it.

    def _take(self, dirty: set[bytes]) -> None:
        """Make anew what depends on the inputs ``dirty``."""
        before = self.generation
        anew: set[bytes] = set()
        tracked: list[bytes] = []
        for file in dirty:
            for path in self._places.get(file, ()):
                if self._inputs[path].index == file:
                    self._reload(path, tracked, anew)
                else:
                    anew.add(path)
            directory, name = os.path.split(file)
            if rule_file(name) and (directory + b"/").startswith(self._root + b"/"):
                anew.add(directory[len(self._root) + 1 :])
        if anew:
            with Descent(self._tree.root) as descent:
                self._descend(anew, descent)
        for path in tracked:
            self._ask(path)
        if self.generation != before:
            self._tree.links.forget()
            self._tree.pending.revise(self.revised)

    def _reload(self, path: bytes, tracked: list[bytes], anew: set[bytes]) -> None:
        """git has written an index, which it does for many reasons."""
        node = self._tree.top.find(path)
        changes = reload_tracked(node.rules) if node else None
        if changes:
            self.generation += 1
            tracked += changes.paths
            for place in changes.places:
                anew.add(place)
                if place and node and node.rules.tree and node.rules.tree.fold:
                    anew.update(self._spelled_like(place))

    def _spelled_like(self, path: bytes) -> list[bytes]:
        """Directories that are called so, whatever their case: those that git takes for it."""
        nodes = [self._tree.top]
        for name in path.lower().split(b"/"):
            below = [
                child for node in nodes for child in (node.children or {}).values()
            ]
            nodes = [child for child in below if child.name().lower() == name]
        return [node.path for node in nodes]

    def _ask(self, path: bytes) -> None:
        """``path`` is tracked now or no longer: name, take in or drop what that shows or hides."""
        node = self._tree.top
        names = path.split(b"/")
        for name in names[:-1]:
            child = self._directory(node, name)
            if child is None:
                return
            node = child
        name = names[-1]
        if node.child(name) or node.rules.counts(name, True):
            self._directory(node, name)
        if node.rules.counts(name, False):
            self._tree.pending.now(path)

    def _directory(self, node: Directory, name: bytes) -> Directory | None:
        """The directory ``name`` of ``node``, as far as it counts and is there."""
        child = node.child(name)
        if not node.rules.counts(name, True):
            if child:
                self._tree.drop(child)
            return None
        if child is None and self._tree.is_directory(node.join(name)):
            self._tree.look(node, name, moved=True)
        return node.child(name)

    def _descend(self, dirty: set[bytes], descent: Descent) -> None:
        """Make anew the rules of ``dirty``, and of all below that are others for it."""
        towards = {b"", *dirty}
        for path in dirty:
            while path:
                path = path.rpartition(b"/")[0]
                towards.add(path)
        rest = [(self._tree.top, False)]
        while rest:
            node, other = rest.pop()
            told = other
            if other or node.path in dirty:
                other = self._renew(node, other, descent)
            if other and not told:
                # What was deleted while it was ignored, and is not ignored now.
                self._tree.verify(node.path)
            for child in list((node.children or {}).values()):
                if other or child.path in towards:
                    rest.append((child, other))

    def _renew(self, node: Directory, must: bool, descent: Descent) -> bool:
        """Make the rules of ``node`` anew; are they others? Names what they let appear.

        They ``must`` be replaced where those above have been: all of a work tree share
        what is tracked in it.
        """
        try:
            fd = descent.open(node.path)
        except OSError as error:
            if error.errno not in ABSENT:
                self._tree.unread(node, error)
            return False
        if node.parent:
            rules = node.parent.rules.enter(node.name(), fd)
        else:
            rules = self._load()
        try:
            entries = self._tree.scan(fd, node)
        except OSError as error:
            self._tree.unread(node, error)
            self.generation += 1
            node.rules = rules
            return True
        known = self._inputs.get(node.path, NO_INPUTS)
        same = alike(rules, node.rules) and _same(inputs_of(rules), known)
        if same and not must:
            return False
        self.generation += 1
        before, _ = entries.picked(node.rules)
        node.rules = rules
        files, dirs = entries.picked(rules)
        for name in set(files).difference(before):
            self._tree.pending.now(node.join(name))
        self._tree.drop_all_but(node, dirs)
        for name in dirs:
            if node.child(name) is None:
                self._tree.look(node, name, moved=True)
        return True

    def revised(self, path: bytes) -> bytes | None:
        """What is to be named in place of ``path``: itself, if it counts still.

        What is hidden now may have gone before it was, and that is to be looked for.
        """
        if path == b"." or path.endswith(b"/") or self._tree.counts(path):
            return path
        return None if self._tree.root.there(path) else path + b"/"


def _same(one: Inputs, other: Inputs) -> bool:
    return (one.rules, one.index, one.absent) == (
        other.rules,
        other.index,
        other.absent,
    )
