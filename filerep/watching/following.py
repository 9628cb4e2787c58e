"""Rules that are edited while they are followed: what they let appear, what they hide."""

from __future__ import annotations

import time

from filerep.watching import kernel
from filerep.watching.pending import SETTLE_SECONDS, Holds
from filerep.watching.roots import Descent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filerep.rules.ignore import Rules
    from filerep.watching.links import OtherNames
    from filerep.watching.nodes import Directory
    from filerep.watching.pending import Pending
    from filerep.watching.roots import Root
    from filerep.watching.tree import Tree
    from filerep.watching.watches import Watches

# Stands for git's index among the directories whose rules were edited; no path is this.
_INDEX = b"/index"


class Following:
    """Keeps the tree's rules as those are that are written down now."""

    def __init__(
        self,
        root: Root,
        load: Callable[[], Rules],
        tree: Tree,
        watches: Watches,
        links: OtherNames,
        pending: Pending,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._load = load
        self._tree = tree
        self._watches = watches
        self._links = links
        self._pending = pending
        self._clock = clock
        self._edited = Holds(SETTLE_SECONDS)
        self._index = b""

    def deadline(self) -> float | None:
        return self._edited.deadline()

    def load(self) -> None:
        """The root's rules as they are now, and watches on where they come from."""
        self._tree.top.rules = self._load()
        self.watch()

    def watch(self) -> None:
        """Watch the rule files outside the tree."""
        inputs = self._tree.top.rules.inputs()
        files = inputs.rules
        self._index = inputs.index or b""
        self._watches.watch_names([*files, *([self._index] if self._index else [])])

    def outside(self, name: bytes, mask: int) -> None:
        """A rule file, or index, of that name was edited outside the tree."""
        if name == b"index":
            self._edited.hold(_INDEX, self._clock())
        else:
            self.changed(b"", mask)

    def changed(self, path: bytes, mask: int) -> None:
        """Rules in the directory ``path`` were edited, or are being edited.

        Between truncation and writing an ignore file is empty, and everything counts.
        """
        if mask & kernel.AT_ONCE:
            self._edited.forget(path)
            self._read(path)
        else:
            self._edited.hold(path, self._clock())

    def work(self, now: float) -> None:
        """Read what was edited until then, and has settled."""
        for path in self._edited.release(now):
            self._read(path)

    def _read(self, path: bytes) -> None:
        if path == _INDEX:
            # git writes it for many reasons; rarely to track a file that is ignored.
            if self._tree.top.rules.reload_tracked() is None:
                return
            path = b""
        node = self._tree.top.find(path)
        if node is None:
            return
        self._links.forget()
        # What was deleted while it was ignored, and is not ignored now.
        self._pending.now((path or b".") + b"/")
        with Descent(self._root) as descent:
            for each in node.family():
                self._apply(each, descent)

    def _apply(self, node: Directory, descent: Descent) -> None:
        """Name what new rules let appear in ``node``, unwatch what they hide."""
        try:
            fd = descent.open(node.path)
        except OSError:
            return  # gone or unreadable, which has an event of its own
        before, _ = self._tree.contents(fd, node)
        if node.parent is None:
            self.load()
        else:
            node.rules = node.parent.rules.enter(node.name(), fd)
        files, dirs = self._tree.contents(fd, node)
        for name in set(files).difference(before):
            self._pending.now(node.join(name))
        self._tree.drop_all_but(node, dirs)
        for name in dirs:
            if node.child(name) is None:
                self._tree.look(node, name, moved=True)
