"""Rules that change while they are followed.

Which files count is a function of many inputs, and after a change of any of them the tree
must hold the answer that fr-walk would give then. Names go to people's servers, so a wrong
answer for a moment is enough to give a secret away.

Therefore: an event for an input only marks the directories whose rules come from it as dirty.
Before the next name is handed over, and after all events up to then were read, these get
their rules anew (renewal.py), the upper before the lower, so that no directory has rules made
from others that are out of date.

An input that is being written says something else than it will: an ignore file between
truncation and writing is empty, and everything counts; so it does where git takes one away and
puts it back. So nothing at all is named from its first event until it is closed or replaced, or
0.4 s are over (150 ms were seen where a machine had much to do). For longer nothing is
held back, as a file may never come to rest: what is named then goes by the rules as they were
read last, and not by what a file holds that is being written.

A git that changes a large work tree first takes away what goes, rule files too, and then writes
what stands in their place: other rule files, or an index that says what a sparse checkout left
out. So a rule file that has gone still holds while a git is at work.

To read an input takes place after its event, and it may be written again meanwhile: git does
so with each commit of a rebase. So once inputs have been read, the events that came meanwhile
are read, too, before anything is named.
"""

from __future__ import annotations

import os
import time

from filerep.rules import repository
from filerep.rules.ignore import rule_file
from filerep.rules.inputs import inputs_of
from filerep.rules.worktree import NO_INPUTS
from filerep.watching import inotifyevents
from filerep.watching.patience import Patience
from filerep.watching.pending import Holds
from filerep.watching.renewal import Renewal
from filerep.watching.unreadable import Again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filerep.rules.ignore import Rules
    from filerep.rules.worktree import Inputs
    from filerep.watching.inotifyevents import Event
    from filerep.watching.nodes import Directory
    from filerep.watching.tree import Tree

# One that is gone, or not closed, is waited for: on a busy machine its writer may have to wait for
# his turn. It is nearly as long as names are held back for one (patience.py).
_UNCLOSED_SECONDS = 0.4
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
        self._renewal = Renewal(tree, load, self._known)
        self._clock = clock
        self._wall_ns = wall_ns
        self._root = os.path.realpath(tree.root.path)
        # Inputs that are being edited, and that are known to have been.
        self._edited = Holds(_UNCLOSED_SECONDS)
        self._dirty: set[bytes] = set()
        self._patience = Patience(clock)
        self._since_ns = 0  # when no input was dirty
        # Of SRC and of each directory with a repository in it, and by file whose they are.
        self._inputs: dict[bytes, Inputs] = {}
        self._places: dict[bytes, set[bytes]] = {}
        # Where a repository may begin in directories above the root: busy ones, perhaps
        # (/tmp, a home), which are looked at before anything is named instead of watched.
        self._absent: tuple[bytes, ...] = ()
        self._again = Again(clock)

    @property
    def generation(self) -> int:
        """How often what counts has changed."""
        return self._renewal.generation

    def start(self, since_ns: int) -> None:
        """Watch the inputs of the tree, whose rules were made after ``since_ns``."""
        self._follow(since_ns)
        self._since_ns = self._wall_ns()

    def load(self) -> None:
        """Begin with the root's rules as they are now; all below is to be taken in anew."""
        since_ns = self._wall_ns()
        self._renewal.load()
        self.start(since_ns)

    def settled(self) -> bool:
        """Is no input being written?"""
        return not self._edited and not self._dirty

    def rests(self) -> bool:
        """May names be handed over? Not while an input is being written."""
        return self._patience.over((*self._edited, *self._dirty))

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
        for file in self._edited.release(now):
            if self._git_took(file):
                self._edited.hold(file, now)
            else:
                self._dirty.add(file)
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
        last = self._tree.top.rules.origin.last
        if not last.unread and not last.unfetched:
            self._again.end()
        elif self._again.deadline() is None:
            self._again.begin()
        return turn > 0

    def _git_took(self, file: bytes) -> bool:
        """Is the input not there, and a git at work that may put something in its place?"""
        if os.path.lexists(file):
            return False
        place = os.path.dirname(file)[len(self._root) + 1 :]
        inside = file.startswith(os.path.join(self._root, b""))
        node = self._tree.top.find(place) if inside else None
        return self.git_is_at_work(node or self._tree.top)

    def git_is_at_work(self, node: Directory) -> bool:
        """Does a git change the work tree that ``node`` is in?"""
        tree = node.rules.tree
        if tree is None or tree.repo is None:
            return False
        return repository.at_work_since(tree.repo.index, self._wall_ns()) is not None

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

    def _known(self, path: bytes) -> Inputs:
        """What the rules of the directory ``path`` stand on, as was seen last."""
        return self._inputs.get(path, NO_INPUTS)

    def _take(self, dirty: set[bytes]) -> None:
        """Make anew what depends on the inputs ``dirty``."""
        indexes: set[bytes] = set()
        places: set[bytes] = set()
        for file in dirty:
            for path in self._places.get(file, ()):
                (indexes if self._inputs[path].index == file else places).add(path)
            directory, name = os.path.split(file)
            if rule_file(name) and (directory + b"/").startswith(self._root + b"/"):
                places.add(directory[len(self._root) + 1 :])
        self._renewal.take(indexes, places)
