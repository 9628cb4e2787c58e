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

import os
import stat

from filerep.rules.ignore import REPOSITORY
from filerep.watching.entries import Entries
from filerep.watching.nodes import Directory
from filerep.watching.rootcheck import ABSENT, Descent
from filerep.watching.unreadable import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filerep.rules.ignore import Rules
    from filerep.rules.origin import OnError
    from filerep.watching.hardlinks import OtherNames
    from filerep.watching.pending import Pending
    from filerep.watching.rootcheck import Root
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
        clock: Callable[[], float],
    ) -> None:
        self.root = root
        self.watches = watches
        self.links = links
        self.pending = pending
        self._on_error = on_error
        self.unreadable = Unreadable(clock)
        self._quiet = False
        self.top = Directory(b"", None, rules)
        #: Directories that have a ``.git`` in them, by path.
        self.repositories: dict[bytes, Directory] = {}

    def look(self, parent: Directory, name: bytes, moved: bool) -> None:
        """Bring the node of a directory in line with what is there now."""
        path = parent.join(name)
        node = parent.child(name)
        with Descent(self.root) as descent:
            try:
                fd = descent.open(path)
            except OSError as error:
                if error.errno not in ABSENT:
                    self.unread(node or parent.add(name), error)
                    return
                if node:
                    self.drop(node)
                # What has taken its place may be a file, which does not count.
                if self.counts(path):
                    self.pending.later(path)
                else:
                    self.pending.withdraw(path)
                self.pending.later(path + b"/")
                return
            if node is None:
                node = parent.add(name)
            before = node.wd
            self.watches.add(node, fd)
            if not self._quiet:
                self.pending.now(path)
            if moved or before not in (0, node.wd):
                self.pending.now(path + b"/")
            elif before and node.named:
                # Watched since it was listed, and never away: nothing can have been missed.
                self.unreadable.pop(path)
                return
            self.take_in(node, True, descent)

    def verify(self, path: bytes) -> None:
        """Have what has gone at or below the directory ``path`` looked for.

        The reader forgets with that what it could not read there: that is named again.
        """
        self.pending.now((path or b".") + b"/")
        for other in self.unreadable.paths():
            if other and (not path or other.startswith(path + b"/")):
                self.pending.now(other)

    def retry(self, path: bytes) -> None:
        """Try again what could not be read at or below ``path``."""
        below = path + b"/" if path else b""
        for node in self.unreadable.nodes():
            if (node.path == path or node.path.startswith(below)) and node.attached():
                if node.parent:
                    self.look(node.parent, node.name(), moved=False)
                else:
                    self.take_in_all(naming=True)

    def try_to_read(self, path: bytes) -> None:
        """See whether the known directory ``path`` can still be read, and say so if not."""
        node = self.top.find(path)
        if node is None or path in self.unreadable:
            return
        try:
            with Descent(self.root) as descent:
                descent.open(path)
        except OSError as error:
            if error.errno not in ABSENT:
                self.unread(node, error)

    def retry_all(self) -> None:
        """Try them again; what cannot be read still was named, and is not once more."""
        self._quiet = True
        self.retry(b"")
        self._quiet = False

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
                    self.unread(node, error)
                elif not node.wd and node.parent:
                    self.drop(node)
                continue
            self.watches.add(node, fd)
            rest.extend(self._enter(node, fd, naming))
            turn += 1
            if turn % 64 == 0:
                self.watches.kernel.soak()

    def take_in_all(self, naming: bool) -> None:
        with Descent(self.root) as descent:
            self.take_in(self.top, naming, descent)

    def _enter(self, node: Directory, fd: int, naming: bool) -> list[Directory]:
        """List the watched ``node``, open as ``fd``; returns the nodes of what is below."""
        try:
            entries = self.scan(fd, node)
        except OSError as error:
            node.named = False
            self.unread(node, error)
            return []
        self.unreadable.pop(node.path)
        node.named = naming
        if node.parent:
            name = node.name()
            node.rules = node.parent.rules.enter(name, fd, entries.whole())
        files, dirs = entries.picked(node.rules)
        if naming:
            for name in files + dirs:
                self.pending.now(node.join(name))
            for name in files:
                for other in self.links.of(node.join(name)):
                    self.pending.now(other)
        self.drop_all_but(node, dirs)
        return [node.child(name) or node.add(name) for name in dirs]

    def scan(self, fd: int, node: Directory) -> Entries:
        """All that is in the directory ``node``, open as ``fd``; raises OSError."""
        entries = Entries(fd)
        if entries.have(REPOSITORY):
            self.repositories[node.path] = node
        else:
            self.repositories.pop(node.path, None)
        return entries

    def contents(self, fd: int, node: Directory) -> tuple[list[bytes], list[bytes]]:
        """What counts in the directory ``node``, open as ``fd``: files and directories."""
        return self.scan(fd, node).picked(node.rules)

    def counts(self, path: bytes) -> bool:
        """Does ``path`` count by the rules as they are known?"""
        above, _, name = path.rpartition(b"/")
        parent = self.top.find(above)
        if parent is None:
            return False
        mode = self._mode(path)
        kinds = (stat.S_ISDIR(mode),) if mode else (True, False)
        return any(parent.rules.counts(name, is_dir) for is_dir in kinds)

    def revised(self, path: bytes) -> bytes | None:
        """What is to be named in place of ``path``: itself, if it counts still.

        What is hidden now may have gone before it was, and that is to be looked for.
        """
        if path == b"." or path.endswith(b"/") or self.counts(path):
            return path
        return None if self.root.there(path) else path + b"/"

    def is_directory(self, path: bytes) -> bool:
        return stat.S_ISDIR(self._mode(path))

    def _mode(self, path: bytes) -> int:
        try:
            return os.lstat(os.path.join(self.root.path, path)).st_mode
        except OSError:
            return 0

    def files(self) -> Iterator[bytes]:
        """Every file that counts, listed anew."""
        with Descent(self.root) as descent:
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
            self.watches.remove(each)
            self.unreadable.pop(each.path)
            self.repositories.pop(each.path, None)

    def drop_all_but(self, node: Directory, names: list[bytes]) -> None:
        for name in set(node.children or ()).difference(names):
            child = node.child(name)
            if child:
                self.drop(child)

    def unread(self, node: Directory, error: OSError) -> None:
        """It is named, as what is in it cannot be: the reader sees that something is missing."""
        if self.unreadable.add(node) or not self._quiet:
            if node.parent:
                self.pending.now(node.path)
        self._on_error("read", node.path or b".", error)
