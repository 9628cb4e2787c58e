"""What git's index tells by an object alone: a directory that it has as one entry (a sparse
index), and what stands in a rule file that a sparse checkout left out of the work tree.
"""

from __future__ import annotations

from itertools import islice

from filerep.rules import gitobjects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from filerep.rules.gitindex import Index

    Entry = tuple[bytes, bytes]  # mode, as a tree object spells it, and object

_DIRECTORY, _LINK = b"40000", b"160000"
# Entries of directories that are kept. A few kilobytes may tell of more.
_MOST_LISTED = 300_000


class Sparse:
    """Objects of one repository, and the directories that were found in them."""

    def __init__(
        self,
        objects: bytes,
        width: int,
        on_note: Callable[[str, bytes, str], None],
        missing: str,
    ) -> None:
        """``objects`` is where they are; hashes are ``width`` bytes.

        What cannot be had goes to ``on_note``: what cannot be done, for which path, and why:
        ``missing`` where there is no such object.
        """
        self._objects = gitobjects.Objects(objects, width)
        self._width = width
        self._on_note = on_note
        self._missing = missing
        self._trees: dict[bytes, dict[bytes, Entry]] = {}
        self._missed: set[bytes] = set()  # directories
        self._listed = 0  # entries in these

    def forget(self) -> None:
        """The index is another: its directories may be."""
        self._trees = {}
        self._missed = set()
        self._listed = 0

    def holds(self, index: Index, path: bytes) -> bool:
        """Does ``path``, as whatever, lie in a directory that ``index`` has as one entry?"""
        return self._entry(index, path) is not None

    def submodule(self, index: Index, path: bytes) -> bool:
        """The same, as a submodule."""
        return _mode(self._entry(index, path)) == _LINK

    def directory(self, index: Index, path: bytes) -> bool:
        """The same, as a directory."""
        return _mode(self._entry(index, path)) == _DIRECTORY

    def rule_file(self, index: Index, path: bytes) -> tuple[bytes | None, bool]:
        """What stands in the rule file ``path`` by ``index``, and whether that is unknown.

        None if it has none to tell of.
        """
        self._missed.clear()  # they may have been fetched
        blob = index.rule_files.get(path)
        if blob is None and index.sparse:
            entry = self._entry(index, path)
            if entry and entry[0] not in (_DIRECTORY, _LINK):
                blob = entry[1]
            if entry is None and self._was_missed(path):
                return None, True
        if blob is None:
            return None, False
        got = self._get(blob)
        if got is None:
            self._on_note("cannot read the rules of", path, self._missing)
        return got, got is None

    def _was_missed(self, path: bytes) -> bool:
        """Is it in a directory whose object is missing?"""
        while path := path.rpartition(b"/")[0]:
            if path in self._missed:
                return True
        return False

    def _entry(self, index: Index, path: bytes) -> Entry | None:
        end = path.find(b"/")
        while end >= 0:
            tree = index.sparse.get(path[: end + 1])
            if tree is not None:
                return self._descend(path[:end], tree, path[end + 1 :])
            end = path.find(b"/", end + 1)
        return None

    def _descend(self, place: bytes, tree: bytes, rest: bytes) -> Entry | None:
        entry: Entry = (_DIRECTORY, tree)
        for name in rest.split(b"/"):
            if entry[0] != _DIRECTORY:
                return None
            if place not in self._trees:
                data = None if place in self._missed else self._get(entry[1])
                if data is None:
                    self._miss(place)
                    return None
                listed = self._list(place, data)
                self._listed += len(listed)
                if self._listed > _MOST_LISTED:
                    self._trees.clear()
                    self._listed = len(listed)
                self._trees[place] = listed
            names = self._trees[place]
            if name not in names:
                return None
            entry = names[name]
            place += b"/" + name
        return entry

    def _miss(self, place: bytes) -> None:
        self._missed.add(place)
        self._on_note("cannot tell what is tracked in", place, self._missing)

    def _list(self, place: bytes, data: bytes) -> dict[bytes, Entry]:
        try:
            found = gitobjects.entries(data, self._width)
            some = islice(found, _MOST_LISTED + 1)
            listed = {name: (mode, blob) for mode, name, blob in some}
            if len(listed) <= _MOST_LISTED:
                return listed
        except ValueError:
            pass
        why = "its object is damaged, or too large"
        self._on_note("cannot tell what is tracked in", place, why)
        return {}

    def _get(self, name: bytes) -> bytes | None:
        found = self._objects.get(name)
        return found[1] if found else None


def _mode(entry: Entry | None) -> bytes:
    return entry[0] if entry else b""
