"""Files with several names in the tree: a write through one name is a change of all.

An event comes for the name that was used, and inotify has no word for the others.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Links:
    """Where the files with several names are, by inode."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._paths: dict[int, bytes] = {}
        self._inodes: dict[bytes, int] = {}
        self.grown = True  # are there names that were not looked for?

    def last_names(self, path: bytes) -> list[bytes]:
        """The other names of the file that was at ``path`` when it was last looked at.

        What is there now may be another, as a file can be written and replaced before
        the event for the writing is read.
        """
        names = self._paths.get(self._inodes.get(path, 0), b"").split(b"\0")
        return [name for name in names if name and name != path]

    def add(self, path: bytes) -> None:
        """Remember ``path`` if it is a file with several names."""
        try:
            status = os.lstat(os.path.join(self._root, path))
        except OSError:
            return
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
            known = self._paths.get(status.st_ino, b"")
            if path not in known.split(b"\0"):
                self._paths[status.st_ino] = known + path + b"\0"
                self.grown = True
            self._inodes[path] = status.st_ino

    def names(self, status: os.stat_result, path: bytes) -> list[bytes]:
        """The names of the file ``status`` other than ``path``."""
        names = []
        known = self._paths.get(status.st_ino, b"").split(b"\0")
        self.grown = self.grown or path not in known
        for other in known:
            if other and other != path:
                try:
                    found = os.lstat(os.path.join(self._root, other))
                except OSError:
                    continue
                if os.path.samestat(found, status):
                    names.append(other)
        self._paths[status.st_ino] = b"\0".join([path, *names, b""])
        self._inodes[path] = status.st_ino
        return names

    def known(self, inode: int) -> list[bytes]:
        """The names that are known of the file with that number, as far as they are its own."""
        names = []
        for name in self._paths.get(inode, b"").split(b"\0"):
            try:
                if name and os.lstat(os.path.join(self._root, name)).st_ino == inode:
                    names.append(name)
            except OSError:
                pass
        return names


class OtherNames:
    """Answers which other names a file has, and has them looked for when it must.

    Most trees have no such file, and then nothing is remembered. Names not met before
    are looked for by one walk for all files that were met meanwhile: see ``complete``.
    What is written by a name that does not count may have one that does. Builds make many
    such files, of which nearly none has: so they are looked for only when somebody wants to
    know that nothing is missing, see ``uncover``.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._links: Links | None = None
        self._incomplete: list[bytes] = []
        # The numbers of files met by names that do not count: to be looked for, found in vain.
        self._hidden: set[int] = set()
        self._vain: set[int] = set()

    def __bool__(self) -> bool:
        """Has any file had several names?"""
        return self._links is not None

    def forget(self) -> None:
        """Other files count now; those that do are looked for again."""
        if self._links is not None:
            self._links = Links(self._root)
        self._vain.clear()

    def of(self, path: bytes) -> list[bytes]:
        """The other names in the tree of the file at ``path``, now and when last seen."""
        before = self._links.last_names(path) if self._links else []
        try:
            status = os.lstat(b"%s/%s" % (self._root, path))
        except OSError:
            return before
        if status.st_nlink < 2 or not stat.S_ISREG(status.st_mode):
            return before
        if self._links is None:
            self._links = Links(self._root)
        names = self._links.names(status, path)
        if self._links.grown and 1 + len(names) < status.st_nlink:
            self._incomplete.append(path)
        return before + names

    def behind(self, path: bytes) -> list[bytes]:
        """The names that count, of the file at ``path``, which does not, as far as known."""
        try:
            status = os.lstat(b"%s/%s" % (self._root, path))
        except OSError:
            return []
        inode = status.st_ino
        if status.st_nlink < 2 or not stat.S_ISREG(status.st_mode):
            return []
        names = self._links.known(inode) if self._links else []
        if 1 + len(names) < status.st_nlink and inode not in self._vain:
            self._hidden.add(inode)
        return names

    def uncover(self, files: Callable[[], Iterable[bytes]]) -> list[bytes]:
        """Names, among all ``files``, of those that were met by one that does not count."""
        hidden, self._hidden = self._hidden, set()
        if not hidden:
            return []
        if self._links is None:
            self._links = Links(self._root)
        for file in files():
            self._links.add(file)
        found: list[bytes] = []
        for inode in hidden:
            names = self._links.known(inode)
            found += names
            if not names:
                self._vain.add(inode)
        return found

    def made(self, path: bytes) -> None:
        """A file came up at ``path``, perhaps as another name of one."""
        if self._links:
            self._links.add(path)

    def complete(self, files: Callable[[], Iterable[bytes]]) -> list[bytes]:
        """Names, among all ``files``, of those that were met under a new one."""
        paths, self._incomplete = self._incomplete, []
        links = self._links
        if not paths or links is None:
            return []
        for file in files():
            links.add(file)
        links.grown = False
        return [other for path in paths for other in self.of(path)]
