"""The watched directories of a tree, each brought in line with what is there.

Watch, then list, and both on one inode. A directory is opened without following a link,
the watch is added through that descriptor, and the same descriptor is listed. What is in the
directory was there before the listing and is listed, or came after the watch and has an
event. By name, the two could be two directories.

No memory of files, one node for each directory. When one has left its place, everything
known below is to be looked for (``path/``); where it turns up every name in it is named. A
reader may have looked at ``d/f`` while d was away: only naming ``d/f`` again puts that right.
"""

from __future__ import annotations

from filerep.rules.walking import listing
from filerep.watching.nodes import Directory
from filerep.watching.roots import ABSENT, Descent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from filerep.rules.ignore import OnError, Rules
    from filerep.watching.links import OtherNames
    from filerep.watching.pending import Pending
    from filerep.watching.roots import Root
    from filerep.watching.watches import Watches


class Tree:
    """Takes directories into the tree and drops them, naming what may have changed."""

    def __init__(
        self,
        root: Root,
        rules: Rules,
        watches: Watches,
        links: OtherNames,
        pending: Pending,
        on_error: OnError,
    ) -> None:
        self._root = root
        self._watches = watches
        self._links = links
        self._pending = pending
        self._on_error = on_error
        self._unreadable: dict[bytes, Directory] = {}
        self.top = Directory(b"", None, rules)

    def look(self, parent: Directory, name: bytes, moved: bool) -> None:
        """Bring the node of a directory in line with what is there now."""
        path = parent.join(name)
        node = parent.child(name)
        with Descent(self._root) as descent:
            try:
                fd = descent.open(path)
            except OSError as error:
                if error.errno not in ABSENT:
                    self._pending.now(path)
                    self._unread(node or parent.add(name), error)
                    return
                if node:
                    self.drop(node)
                self._pending.later(path)
                self._pending.later(path + b"/")
                return
            if node is None:
                node = parent.add(name)
            before = node.wd
            self._watches.add(node, fd)
            self._pending.now(path)
            if moved or before not in (0, node.wd):
                self._pending.now(path + b"/")
            elif before and node.named:
                # Watched since it was listed, and never away: nothing can have been missed.
                return
            self.take_in(node, True, descent)

    def retry(self, path: bytes) -> None:
        """Try again what could not be read at or below ``path``."""
        if not self._unreadable:
            return
        below = path + b"/" if path else b""
        for other, node in list(self._unreadable.items()):
            if (other == path or other.startswith(below)) and node.attached():
                if node.parent:
                    self.look(node.parent, node.name(), moved=False)

    def take_in(self, node: Directory, naming: bool, descent: Descent) -> None:
        """Watch and list ``node``, known or new, and everything below."""
        rest = [node]
        turn = 0
        while rest:
            node = rest.pop()
            try:
                fd = descent.open(node.path)
            except OSError as error:
                if error.errno not in ABSENT:
                    self._unread(node, error)
                elif not node.wd and node.parent:
                    self.drop(node)
                continue
            self._watches.add(node, fd)
            rest.extend(self._enter(node, fd, naming))
            turn += 1
            if turn % 64 == 0:
                self._watches.kernel.soak()

    def take_in_all(self, naming: bool) -> None:
        with Descent(self._root) as descent:
            self.take_in(self.top, naming, descent)

    def _enter(self, node: Directory, fd: int, naming: bool) -> list[Directory]:
        """List the watched ``node``, open as ``fd``; returns the nodes of what is below."""
        self._unreadable.pop(node.path, None)
        if node.parent:
            node.rules = node.parent.rules.enter(node.name(), fd)
        node.named = naming
        files, dirs = self.contents(fd, node)
        if naming:
            for name in files + dirs:
                self._pending.now(node.join(name))
            for name in files:
                for other in self._links.of(node.join(name)):
                    self._pending.now(other)
        self.drop_all_but(node, dirs)
        return [node.child(name) or node.add(name) for name in dirs]

    def contents(self, fd: int, node: Directory) -> tuple[list[bytes], list[bytes]]:
        """What counts in the directory ``node``, open as ``fd``: files and directories."""
        return listing(fd, node.path or b".", node.rules, self._on_error)

    def files(self) -> Iterator[bytes]:
        """Every file that counts, listed anew."""
        with Descent(self._root) as descent:
            for node in self.top.family():
                try:
                    files, _ = self.contents(descent.open(node.path), node)
                except OSError:
                    continue
                for name in files:
                    yield node.join(name)

    def drop(self, node: Directory) -> None:
        """Forget ``node`` and what is below."""
        node.detach()
        for each in node.family():
            self._watches.remove(each)
            self._unreadable.pop(each.path, None)

    def drop_all_but(self, node: Directory, names: list[bytes]) -> None:
        for name in set(node.children or ()).difference(names):
            child = node.child(name)
            if child:
                self.drop(child)

    def _unread(self, node: Directory, error: OSError) -> None:
        self._unreadable[node.path] = node
        self._on_error("read", node.path or b".", error)
