"""Who wants to hear of what: each wd stands for directories of the tree, and for others.

The kernel has one watch for one inode, whoever asks for it and by whatever name. A directory
can be in the tree twice, by a bind mount for good or by an unfinished rename for a while, and
one above the root may hold rule files as well. One mapping too many costs a look in vain.
"""

from __future__ import annotations

import os

from filerep.watching import inotifyevents
from filerep.watching.outsidefiles import Places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from filerep.watching.inotifyevents import Kernel
    from filerep.watching.nodes import Directory


class Watches:
    """The watches in place, and for whom: nodes, the way up from the root, files outside."""

    def __init__(self, inotify: Kernel, root: bytes) -> None:
        self.kernel = inotify
        self._root = root
        self.nodes: dict[int, tuple[Directory, ...]] = {}
        self.above: set[int] = set()
        self.places = Places(inotify, root)

    def add(self, node: Directory, fd: int) -> None:
        """Watch the directory open as ``fd`` for ``node``; raises ``LimitReached``."""
        wd = self.kernel.watch(
            fd, inotifyevents.INSIDE if node.parent else inotifyevents.ROOT
        )
        if self._outside(wd):
            self.kernel.watch(fd, inotifyevents.PARENT)
        if wd != node.wd:
            self.remove(node)
            node.wd = wd
            self.nodes[wd] = (*self.nodes.get(wd, ()), node)

    def remove(self, node: Directory) -> None:
        wd, node.wd = node.wd, 0
        if not wd:
            return
        others = tuple(other for other in self.nodes.get(wd, ()) if other is not node)
        if others:
            self.nodes[wd] = others
            return
        self.nodes.pop(wd, None)
        if not self._outside(wd):
            self.kernel.unwatch(wd)

    def forget(self, wd: int) -> None:
        """The kernel has ended the watch."""
        for node in self.nodes.pop(wd, ()):
            node.wd = 0

    def _outside(self, wd: int) -> bool:
        return wd in self.above or wd in self.places

    def watch_above(self) -> None:
        """Hear of it when the root, or a directory above it, is moved."""
        path = os.path.realpath(self._root)
        mask = inotifyevents.PARENT
        while path != b"/":
            path = os.path.dirname(path)
            try:
                self.above.add(self.kernel.watch_name(path, mask))
            except OSError:
                pass  # may be passed through but not read; the next event finds it out
            mask = inotifyevents.ABOVE

    def follow(self, files: Iterable[bytes], since_ns: int) -> set[bytes]:
        """Have ``places`` follow ``files``; those that may have changed after ``since_ns``."""
        before = self.places.wds()
        changed = self.places.follow(files, since_ns)
        for wd in before - self.places.wds():
            if wd not in self.nodes and wd not in self.above:
                self.kernel.unwatch(wd)
        return changed
