"""What git tracks in one work tree: which files count though a rule ignores them."""

from __future__ import annotations

import os
import sys
import time
from bisect import bisect_left
from itertools import islice

from filerep.pathstream import quote
from filerep.rules import gitindex
from filerep.rules.untrustedfile import RECENT_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.rules import gitobjects
    from filerep.rules.gitindex import Index
    from filerep.rules.lastread import Hearer
    from filerep.rules.repository import Repository

    Entry = tuple[bytes, bytes]  # mode, as a tree object spells it, and object

DIRECTORY, LINK = b"40000", b"160000"
#: Entries of directories that the index has as one: so many are kept. A few kilobytes tell of more.
MOST_LISTED = 300_000


class Changes:
    """What another index means.

    ``paths`` are tracked now and were not, or the other way round; the rules of the
    directories in ``places`` are to be made anew.
    """

    __slots__ = ("paths", "places")

    def __init__(self, paths: list[bytes], places: list[bytes]) -> None:
        self.paths = paths
        self.places = places


class Tracked:
    """The tracked files of one work tree, read when they are first asked for.

    All paths are from its top. What is found stays as it is until ``reload``.
    """

    def __init__(
        self, repo: Repository, sha256: bool, fold: bool, hearer: Hearer
    ) -> None:
        self._repo = repo
        #: Of the hashes in its index, in bytes.
        self.width = 32 if sha256 else 20
        self._fold = fold
        self._hearer = hearer
        self._index: Index | None = None
        #: Could the index not be read, now or ever before?
        self.unknown = False
        self._stamp: object = None
        self._folded: dict[bytes, bytes] | None = None
        self._sorted: list[bytes] | None = None
        self._links: set[bytes] | None = None
        self._objects: gitobjects.Objects | None = None
        self._trees: dict[bytes, Optional[dict[bytes, Entry]]] = {}
        self._listed = 0  # entries in these
        self._embedded: dict[bytes, bool] = {}
        #: May rule files be in the index alone? None until it is looked at.
        self.keeps: bool | None = None
        self._said: set[str] = set()

    def file(self, path: bytes) -> bool:
        """Is this very path tracked, as whatever?"""
        found = self._loaded()
        if self._fold:
            return path.lower() in self._spellings()
        return found.holds(path) or bool(found.sparse and self._in_sparse(path))

    @property
    def has_submodules(self) -> bool:
        """May it have any? Most have none, and each directory asks."""
        found = self._loaded()
        return bool(found.links or found.sparse)

    def submodule(self, path: bytes) -> bool:
        found = self._loaded()
        if path in found.links or self._fold and path.lower() in self._lower_links():
            return True
        entry = self._in_sparse(path) if found.sparse else None
        return entry is not None and entry[0] == LINK

    def below(self, path: bytes) -> bool:
        """Is anything tracked below this directory?"""
        found = self._loaded()
        if self._fold:
            start = path.lower() + b"/"
            names = self._lower_names()
            at = bisect_left(names, start)
            return at < len(names) and names[at].startswith(start)
        if found.below(path):
            return True
        entry = self._in_sparse(path) if found.sparse else None
        return entry is not None and entry[0] == DIRECTORY

    def spelling(self, path: bytes) -> bytes | None:
        """How a path that is tracked, without regard to case, is spelled in the index.

        None where it is tracked as it stands, or not at all.
        """
        # Where no two files differ in case alone, there is nothing to tell apart.
        if not self._fold or sys.platform == "darwin" or self._loaded().holds(path):
            return None
        return self._spellings().get(path.lower())

    def embeds(self, path: bytes) -> bool:
        """Do files in the directory, which has a `.git`, belong to this work tree?"""
        self._embedded[path] = self.below(path)
        return self._embedded[path]

    def keeps_rule_files(self) -> bool:
        """May there be any that is to be read from the index?"""
        if self.keeps is None:
            if self._index is None and self._surely_whole():
                self.keeps = False
            else:
                found = self._loaded()
                self.keeps = bool(found.rule_files or found.sparse or self.unknown)
        return self.keeps

    def rule_file(self, path: bytes) -> bytes | None:
        """What stands in a rule file that a sparse checkout left out of the work tree."""
        found = self._loaded()
        blob = found.rule_files.get(path)
        if blob is None and found.sparse:
            entry = self._in_sparse(path)
            if entry and entry[0] not in (DIRECTORY, LINK):
                blob = entry[1]
        if blob is None:
            return None
        got = self._get(blob)
        if got is None:
            self._note(f"cannot read the rules of {self._show(path)}: {MISSING}")
        return got

    def reload(self) -> Changes | None:
        """Read the index again if it has changed; None if no answer can be another.

        Where nobody has asked yet, no answer depends on it, and nothing is read.
        """
        before = self._index
        if before is None:
            # Nobody has asked for a tracked path; but perhaps for rule files.
            if self.keeps is None or self._surely_whole():
                return None
            self.keeps = None
            places = {os.path.dirname(path) for path in self._loaded().rule_files}
            places |= {path.rstrip(b"/") for path in self._loaded().sparse}
            return Changes([], sorted(places)) if places else None
        stamp = self._look()
        if stamp is not None and stamp == self._stamp:
            return None
        unknown = self.unknown
        after = self._load(before)
        self._index = after
        self.keeps = bool(after.rule_files or after.sparse or self.unknown)
        self._folded = self._sorted = self._links = None
        self._trees = {}
        self._listed = 0
        # In place of a submodule, files count only where it is checked out.
        places = before.links ^ after.links
        paths = after.differing(before) | places
        places |= {
            os.path.dirname(path)
            for path in _changed(before.rule_files, after.rule_files)
        }
        for path in _changed(before.sparse, after.sparse):
            paths.add(path)
            places.add(path)
        for path, was in self._embedded.items():
            if self.below(path) != was:
                places.add(path)
        if unknown and not self.unknown:
            places.add(b"")
        if not paths and not places:
            return None
        return Changes(
            sorted({path.rstrip(b"/") for path in paths}),
            sorted({path.rstrip(b"/") for path in places}),
        )

    # What it stands on.

    def _loaded(self) -> Index:
        if self._index is None:
            self._index = self._load(None)
        return self._index

    def _load(self, before: Index | None) -> Index:
        self._stamp = self._look()
        path = self._repo.index
        try:
            found = gitindex.load(path, self.width, before)
        except gitindex.Unreadable as error:
            self._stamp = None
            last = self._hearer.last.index(path)
            self.unknown = last is None
            left = "what was tracked last still is"
            if self.unknown:
                left = "files that it tracks and rules ignore are left out"
            self._hearer.on_read(path, OSError(f"{error}; {left}"))
            return last or gitindex.EMPTY
        self.unknown = False
        self._hearer.on_read(path, None)
        self._hearer.last.put_index(path, found)
        return found

    def _look(self) -> object:
        """What the file is known by, None where that may stay the same when it changes.

        Its last bytes are a hash of all the others, so an index just written need not be
        read again for fear that its times do not show another write.
        """
        try:
            about = os.stat(self._repo.index)
            end = gitindex.checksum(self._repo.index, self.width, about)
        except OSError:
            return ()
        if not end and time.time_ns() - about.st_ctime_ns < RECENT_NS:
            return None
        return (about.st_dev, about.st_ino, about.st_size, about.st_ctime_ns, end)

    def _surely_whole(self) -> bool:
        """Does the index say at a glance that nothing is left out of the work tree?

        Version 2 has no room for that mark, but may be a part of a split index.
        """
        path = self._repo.index
        if not os.path.isfile(path):
            return True
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if os.read(fd, 8) != b"DIRC\0\0\0\2":
                    return False
            finally:
                os.close(fd)
            names = os.listdir(self._repo.git_dir)
        except OSError:
            return False
        return not any(name.startswith(b"sharedindex.") for name in names)

    def _spellings(self) -> dict[bytes, bytes]:
        """The tracked paths by what they are in lower case."""
        if self._folded is None:
            self._folded = {name.lower(): name for name in self._loaded().names}
        return self._folded

    def _lower_links(self) -> set[bytes]:
        if self._links is None:
            self._links = {name.lower() for name in self._loaded().links}
        return self._links

    def _lower_names(self) -> list[bytes]:
        if self._sorted is None:
            self._sorted = sorted(self._spellings())
        return self._sorted

    def _in_sparse(self, path: bytes) -> Entry | None:
        """The entry of ``path`` if it lies in a directory that the index has as one."""
        found = self._loaded()
        end = path.find(b"/")
        while end >= 0:
            tree = found.sparse.get(path[: end + 1])
            if tree is not None:
                return self._descend(path[:end], tree, path[end + 1 :])
            end = path.find(b"/", end + 1)
        return None

    def _descend(self, place: bytes, tree: bytes, rest: bytes) -> Entry | None:
        entry: Entry = (DIRECTORY, tree)
        for name in rest.split(b"/"):
            if entry[0] != DIRECTORY:
                return None
            if place not in self._trees:
                listed = self._list(place, entry[1])
                self._listed += len(listed or ())
                if self._listed > MOST_LISTED:
                    self._trees.clear()
                    self._listed = len(listed or ())
                self._trees[place] = listed
            names = self._trees[place]
            if not names or name not in names:
                return None
            entry = names[name]
            place += b"/" + name
        return entry

    def _list(self, place: bytes, tree: bytes) -> dict[bytes, Entry] | None:
        from filerep.rules import gitobjects

        data = self._get(tree)
        try:
            if data is not None:
                found = gitobjects.entries(data, self.width)
                some = islice(found, MOST_LISTED + 1)
                listed = {name: (mode, blob) for mode, name, blob in some}
                if len(listed) <= MOST_LISTED:
                    return listed
        except ValueError:
            pass
        why = MISSING if data is None else "its object is damaged, or too large"
        self._note(f"cannot tell what is tracked in {self._show(place)}: {why}")
        return None

    def _get(self, name: bytes) -> bytes | None:
        from filerep.rules import gitobjects  # few repositories are sparse

        if self._objects is None:
            self._objects = gitobjects.Objects(self._repo.objects, self.width)
        found = self._objects.get(name)
        return found[1] if found else None

    def _show(self, path: bytes) -> str:
        return quote(os.path.join(self._repo.top, path))

    def _note(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._hearer.on_note(text)


MISSING = "its object is not in the repository"


def _changed(before: dict[bytes, bytes], after: dict[bytes, bytes]) -> set[bytes]:
    return {name for name, _ in before.items() ^ after.items()}
