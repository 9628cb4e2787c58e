"""Rules are others: what of the tree is made anew for it, named, or dropped.

The directories get their rules from above, the upper before the lower. Where they turn out the
same, all below is passed over. Where they do not, what appears is named, what is hidden is no
longer watched, and what waits to be named is judged once more.
"""

from __future__ import annotations

from filerep.rules.inputs import alike, inputs_of, reload_tracked
from filerep.watching.rootcheck import ABSENT, Descent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filerep.rules.ignore import Rules
    from filerep.rules.worktree import Inputs
    from filerep.watching.nodes import Directory
    from filerep.watching.tree import Tree


class Renewal:
    """Gives the directories of ``tree`` their rules anew."""

    def __init__(
        self,
        tree: Tree,
        load: Callable[[], Rules],
        known: Callable[[bytes], Inputs],
    ) -> None:
        """``load`` reads the rules of the root; ``known`` tells what those of a directory stood on."""
        self._tree = tree
        self._load = load
        self._known = known
        #: How often what counts has changed.
        self.generation = 0

    def load(self) -> None:
        """Begin with the root's rules as they are now; all below is to be taken in anew."""
        self._tree.top.rules = self._load()
        self.generation += 1

    def take(self, indexes: set[bytes], places: set[bytes]) -> None:
        """Make anew what depends on the ``indexes`` of these directories, and the rules of ``places``."""
        before = self.generation
        anew = set(places)
        tracked: list[bytes] = []
        for path in indexes:
            self._reload(path, tracked, anew)
        if anew:
            with Descent(self._tree.root) as descent:
                self._descend(anew, descent)
        for path in tracked:
            self._ask(path)
        if self.generation != before:
            self._tree.links.forget()
            self._tree.pending.revise(self._tree.revised)

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
        known = self._known(node.path)
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


def _same(one: Inputs, other: Inputs) -> bool:
    return (one.rules, one.index, one.absent) == (
        other.rules,
        other.index,
        other.absent,
    )
