"""What git tracks in one work tree: which files count though a rule ignores them."""

from __future__ import annotations

import os
import sys
import time

from filerep.pathstream import quote
from filerep.rules import gitindex
from filerep.rules.untrustedfile import RECENT_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filerep.rules.folded import Folded
    from filerep.rules.gitindex import Index
    from filerep.rules.lastread import Hearer
    from filerep.rules.repository import Repository
    from filerep.rules.sparse import Sparse


_MISSING = "its object is not in the repository"
_NOT_FETCHED = (
    "its object has not been fetched (`git status` does it); until it is, nothing"
    " counts there that is not tracked"
)


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
        self,
        repo: Repository,
        sha256: bool,
        fold: bool,
        hearer: Hearer,
        partial: bool = False,
    ) -> None:
        """Some objects may not be here yet, if it is a ``partial`` clone."""
        self._repo = repo
        #: Of the hashes in its index, in bytes.
        self.width = 32 if sha256 else 20
        self._fold = fold
        self._hearer = hearer
        self._partial = partial
        self._index: Index | None = None
        #: Could the index not be read, now or ever before?
        self.unknown = False
        self._stamp: object = None
        self._folded: Folded | None = None
        self._sparse: Sparse | None = None
        self._embedded: dict[bytes, bool] = {}
        #: May rule files be in the index alone? None until it is looked at.
        self.keeps: bool | None = None
        self._said: set[str] = set()

    def file(self, path: bytes) -> bool:
        """Is this very path tracked, as whatever?"""
        found = self._loaded()
        if self._fold:
            held = self._by_case().spelling(path) is not None
        else:
            held = found.holds(path)
        return held or bool(found.sparse) and self._objects().holds(found, path)

    @property
    def has_submodules(self) -> bool:
        """May it have any? Most have none, and each directory asks."""
        found = self._loaded()
        return bool(found.links or found.sparse)

    def submodule(self, path: bytes) -> bool:
        found = self._loaded()
        if path in found.links or self._fold and self._by_case().submodule(path):
            return True
        return bool(found.sparse) and self._objects().submodule(found, path)

    def below(self, path: bytes) -> bool:
        """Is anything tracked below this directory?"""
        found = self._loaded()
        if self._by_case().below(path) if self._fold else found.below(path):
            return True
        return bool(found.sparse) and self._objects().directory(found, path)

    def spelling(self, path: bytes) -> bytes | None:
        """How a path that is tracked, without regard to case, is spelled in the index.

        None where it is tracked as it stands, or not at all.
        """
        # Where no two files differ in case alone, there is nothing to tell apart.
        if not self._fold or sys.platform == "darwin" or self._loaded().holds(path):
            return None
        return self._by_case().spelling(path)

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
        if not found.rule_files and not found.sparse:
            return None
        text, unknown = self._objects().rule_file(found, path)
        whole = os.path.join(self._repo.top, path)
        if unknown and self._partial:
            # git would fetch it, and list nothing at all where that fails.
            self._hearer.last.unfetched.add(whole)
            return b"*"
        self._hearer.last.unfetched.discard(whole)
        return text

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
        self._folded = None
        if self._sparse:
            self._sparse.forget()
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

    def _by_case(self) -> Folded:
        if self._folded is None:
            from filerep.rules.folded import Folded

            self._folded = Folded(self._loaded())
        return self._folded

    def _objects(self) -> Sparse:
        if self._sparse is None:
            from filerep.rules.sparse import Sparse  # few repositories are

            objects = self._repo.objects
            missing = _NOT_FETCHED if self._partial else _MISSING
            self._sparse = Sparse(objects, self.width, self._note, missing)
        return self._sparse

    def _note(self, what: str, path: bytes, why: str) -> None:
        text = f"{what} {quote(os.path.join(self._repo.top, path))}: {why}"
        if text not in self._said:
            self._said.add(text)
            self._hearer.on_note(text)


def _changed(before: dict[bytes, bytes], after: dict[bytes, bytes]) -> set[bytes]:
    return {name for name, _ in before.items() ^ after.items()}
