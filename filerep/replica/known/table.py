"""What the far end has, as far as fr-pack knows: path to what was last acknowledged.

What an entry is says entries.py; when it is the same as what the source shows, unchanged.py.
"""

from __future__ import annotations

import stat

from filerep.replica.known.entries import (
    DOUBTED,
    OURS,
    UNMOUNTED,
    UNSEEN,
    UNSURE,
    directory_entry,
    marked,
    marks,
    may_go,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

_SLASH = ord("/")
_MODE_BITS = stat.S_IFMT(0xFFFF) | 0o777


def place(path: bytes) -> tuple[bytes, bytes]:
    """The directory ``path`` is in, and its name there; a directory's ends in ``/``."""
    if path.endswith(b"/"):
        parent, _, name = path[:-1].rpartition(b"/")
        return parent, name + b"/"
    parent, _, name = path.rpartition(b"/")
    return parent, name


def directories_above(path: bytes) -> Iterator[bytes]:
    """The directories above ``path``, from the top."""
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


class Table:
    """Path to entry, a dictionary a directory: 100 bytes a file less than one flat one.

    In the dictionary of ``a``, the file ``a/f`` is ``b"f"`` and the directory ``a/d`` is
    ``b"d/"``. A directory that has a dictionary exists at the far end.
    """

    def __init__(self) -> None:
        self.directories: dict[bytes, dict[bytes, bytes]] = {b"": {}}
        self.keeps_modes = True  # does the far end?
        self._mode_bits = _MODE_BITS
        self._without_modes: tuple[bytes, ...] = ()
        # Entries that became ours because the far end has them already, to be remembered.
        self.adopted: list[tuple[bytes, bytes]] = []
        # By directory, of a listing that says what is here; good until it is changed.
        self.digests: dict[bytes, bytes] = {}

    def ignore_modes(self) -> None:
        """The far end keeps no permission bits, or those that it likes."""
        self.keeps_modes = False
        self._mode_bits = stat.S_IFMT(0xFFFF)

    def ignore_modes_in(self, directory: bytes) -> None:
        """It does not in ``directory``, where something is mounted."""
        self._without_modes += (directory + b"/",)

    def mode_bits(self, path: bytes) -> int:
        """Which bits of the mode of ``path`` count; a directory's ends in ``/``."""
        if self._without_modes and path.startswith(self._without_modes):
            return stat.S_IFMT(0xFFFF)
        return self._mode_bits

    def __len__(self) -> int:
        return sum(
            1
            for names in self.directories.values()
            for name in names
            if not name.endswith(b"/")
        )

    def ours(self) -> int:
        """How many files and symlinks came from here."""
        return sum(
            1
            for names in self.directories.values()
            for name, value in names.items()
            if value[-1] & OURS and name[-1] != _SLASH
        )

    def get(self, path: bytes) -> Optional[bytes]:
        parent, _, name = path.rpartition(b"/")
        names = self.directories.get(parent)
        return names.get(name) if names is not None else None

    def get_directory(self, path: bytes) -> Optional[bytes]:
        parent, _, name = path.rpartition(b"/")
        names = self.directories.get(parent)
        return names.get(name + b"/") if names is not None else None

    def put(self, path: bytes, value: bytes) -> Optional[bytes]:
        """Enter the file ``path``; what was there before?"""
        parent, _, name = path.rpartition(b"/")
        names = self.directories.get(parent)
        if names is None:
            names = self._make(parent)
        before = names.get(name)
        names[name] = value
        return before

    def put_back(self, path: bytes, value: Optional[bytes]) -> None:
        """Enter for the file ``path`` what ``put`` has found."""
        if value is not None:
            self.put(path, value)
        else:
            parent, _, name = path.rpartition(b"/")
            self.directories.get(parent, {}).pop(name, None)

    def put_directory(self, path: bytes, value: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        names = self.directories.get(parent)
        if names is None:
            names = self._make(parent)
        names.pop(name, None)
        names[name + b"/"] = value
        if path not in self.directories:
            self.directories[path] = {}

    def _make(self, path: bytes) -> dict[bytes, bytes]:
        self.put_directory(path, directory_entry(0, UNSURE))
        return self.directories[path]

    def put_row(
        self, directory: bytes, names: dict[bytes, bytes], marks_above: int
    ) -> None:
        """Enter all of a directory at once, into an empty table.

        Directories above it that are in no row have ``marks_above``.
        A name can be that of a file and of a directory, where one was to become the other
        and nobody knows whether it did.
        """
        row = self.directories.setdefault(directory, names)
        if row is not names:
            row.update(names)
        prefix = directory + b"/" if directory else b""
        for name in names:
            if name.endswith(b"/"):
                self.directories.setdefault(prefix + name[:-1], {})
        while directory:
            directory, name = place(directory + b"/")
            above = self.directories.setdefault(directory, {})
            if name in above:
                break
            above[name] = directory_entry(0, marks_above)

    def see_directory(self, path: bytes) -> None:
        """The source has the directory ``path``, just as it is remembered."""
        parent, name = place(path + b"/")
        names = self.directories[parent]
        names[name] = marked(names[name], marks(names[name]) & ~UNSEEN)

    def claim_directories(self, path: bytes) -> list[bytes]:
        """Mark the directories above ``path`` ours; those that were not, from the top."""
        claimed = []
        above = path.rpartition(b"/")[0]
        while above:
            parent, _, name = above.rpartition(b"/")
            names = self.directories[parent]
            value = names[name + b"/"]
            if may_go(value):
                break
            names[name + b"/"] = marked(value, marks(value) & UNSURE | OURS)
            claimed.append(above)
            above = parent
        return claimed[::-1]

    def remove(self, path: bytes) -> None:
        """Nothing is at ``path`` over there any more: no file, no directory."""
        parent, _, name = path.rpartition(b"/")
        names = self.directories.get(parent)
        if names is not None:
            names.pop(name, None)
            if names.pop(name + b"/", None) is not None:
                self.drop(path)

    def mark_unmounted(
        self, directory: bytes, unmounted: bool, but: tuple[bytes, ...] = ()
    ) -> bool:
        """What is ours below ``directory`` is UNMOUNTED from now on, or not; was any else?

        That in directories whose paths, with the slash, are in ``but`` remains as it is.
        """
        changed = False
        for path, value in list(self.below(directory)):
            other = bool(marks(value) & UNMOUNTED) != unmounted
            if other and marks(value) & OURS and not path.startswith(but):
                parent, name = place(path)
                value = marked(value, marks(value) ^ UNMOUNTED)
                self.directories[parent][name] = value
                changed = True
        return changed

    def unmounted(self, directory: bytes) -> Iterator[bytes]:
        """What is UNMOUNTED below ``directory``."""
        return (
            path for path, value in self.below(directory) if marks(value) & UNMOUNTED
        )

    def rename(self, old: bytes, new: bytes) -> list[tuple[bytes, bytes, bytes]]:
        """What is at ``old`` and below it has the name ``new``; of each what it was called,
        what it is called now and its entry. Directories end in ``/``."""
        names = self.directories[old.rpartition(b"/")[0]]
        before, after = old.rpartition(b"/")[2], new.rpartition(b"/")[2]
        moved = []
        for end in (b"", b"/"):
            if before + end in names:
                value = names[after + end] = names.pop(before + end)
                moved.append((old + end, new + end, value))
        inside = [old] if old in self.directories else []
        for path, value in self.below(old):
            moved.append((path, new + path[len(old) :], value))
            if path.endswith(b"/"):
                inside.append(path[:-1])
        for path in inside:
            self.directories[new + path[len(old) :]] = self.directories.pop(path)
        return moved

    def doubt(self, path: bytes) -> None:
        """What the far end holds at the file ``path`` is not known; it stays ours."""
        parent, _, name = path.rpartition(b"/")
        if parent in self.directories:
            self.directories[parent][name] = DOUBTED

    def remembered(self, path: bytes) -> bool:
        """Is ``path``, a directory's ending in ``/``, ours already?"""
        parent, _, name = path.rstrip(b"/").rpartition(b"/")
        names = self.directories.get(parent, {})
        value = names.get(name + b"/" if path.endswith(b"/") else name)
        return value is not None and bool(marks(value) & OURS)

    def below(self, path: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every entry below the directory ``path``, top down; directories end in ``/``."""
        stack = [path]
        while stack:
            directory = stack.pop()
            prefix = directory + b"/" if directory else b""
            for name, value in self.directories.get(directory, {}).items():
                yield prefix + name, value
                if name.endswith(b"/"):
                    stack.append(prefix + name[:-1])

    def unseen(self) -> list[bytes]:
        """The paths that only an earlier run has shown; directories end in ``/``.

        What is in a directory comes behind it.
        """
        found = []
        for directory, names in self.directories.items():
            for name, value in names.items():
                if value[-1] & UNSEEN:
                    found.append(b"%s/%s" % (directory, name) if directory else name)
        return sorted(found)

    def drop(self, directory: bytes) -> None:
        """The directory is none over there any more, and nothing is in it."""
        for path, _ in list(self.below(directory)):
            if path.endswith(b"/"):
                self.directories.pop(path[:-1], None)
        self.directories.pop(directory, None)
