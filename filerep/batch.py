"""One batch for the receiver: which members it has, and the script that puts them in place.

receiver.sh tells how a batch is applied. What is decided here: each directory of the
destination that gets something has a numbered directory in the stage, which holds its new
files under their own names; a directory the destination lacks is staged whole and moved as
one. All names in the script are in single quotes and begin with ``./``.

A stanza is one row of calls that stands or falls together: ``at`` checks the directories,
what follows works in them. Every directory and path of a batch has a number, by which the
receiver's answers name it.
"""

from __future__ import annotations

import os
import stat

from filerep import tarstream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# The words of one call stay far below the 128 KiB that POSIX systems allow them in all.
_CALL_BYTES = 48_000
_CALL_NAMES = 1_000

# Of a directory's mode these are sent, and its owner can always write into it.
_DIRECTORY_BITS = 0o777
_OWNER_BITS = 0o700

COMMIT = b"commit"


def shell_quote(word: bytes) -> bytes:
    return b"'" + word.replace(b"'", b"'\\''") + b"'"


def _chain(directory: bytes) -> list[bytes]:
    """``a``, ``a/b`` and ``a/b/c`` for ``a/b/c``; the root is always there."""
    chain = []
    while directory:
        chain.append(directory)
        directory = directory.rpartition(b"/")[0]
    return chain[::-1]


def directory_mode(status: os.stat_result) -> int:
    return status.st_mode & _DIRECTORY_BITS | _OWNER_BITS


class Member:
    """A file or symlink to send: where it is, as what it was looked at, its staged name."""

    __slots__ = ("path", "status", "target", "name")

    def __init__(
        self, path: bytes, status: os.stat_result, target: bytes, name: bytes
    ) -> None:
        self.path = path
        self.status = status
        self.target = target
        self.name = name

    @property
    def size(self) -> int:
        """Bytes of file data, without padding."""
        return 0 if stat.S_ISLNK(self.status.st_mode) else self.status.st_size

    def header(self, precise: bool) -> bytes:
        if stat.S_ISLNK(self.status.st_mode):
            kind, mode = tarstream.SYMLINK, 0o777
        else:
            kind, mode = tarstream.FILE, self.status.st_mode & 0o777
        return tarstream.member(
            self.name,
            kind,
            mode,
            self.size,
            self.status.st_mtime_ns,
            self.target,
            precise,
        )


class Stanza:
    """Calls that work in the same directories; ``put``, ``del`` or ``rmd`` of ``paths``."""

    __slots__ = ("verb", "directories", "paths", "staged", "first")

    def __init__(self, verb: bytes, directories: list[bytes]) -> None:
        self.verb = verb
        self.directories = directories
        self.paths: list[bytes] = []
        self.staged: list[bytes] = []
        self.first = 0


class Batch:
    """What is sent, removed and changed together, and acknowledged as ``ok NUMBER``."""

    def __init__(self, number: int, stage: bytes) -> None:
        self.number = number
        self.stage = stage
        self.members: list[Member] = []
        self.directories: list[tuple[bytes, int]] = []  # new ones, the outer first
        self.deletions: list[bytes] = []
        self.removals: list[bytes] = []  # directories, to be removed if empty
        self.modes: list[tuple[bytes, int]] = []
        self.bytes = 0
        self.numbered: list[tuple[Stanza, bytes]] = []
        self.commands: list[bytes] = []  # what else the script does: list, hook, finish
        self._staged: dict[bytes, bytes] = {}  # new directory: its name in the stage
        self._groups: dict[bytes, Stanza] = {}
        self._headers: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(
            self.members
            or self.deletions
            or self.removals
            or self.modes
            or self.commands
        )

    @property
    def count(self) -> int:
        """How many files are sent or removed."""
        return len(self.members) + len(self.deletions)

    def _group(self, directory: bytes) -> Stanza:
        group = self._groups.get(directory)
        if group is None:
            group = Stanza(b"put", _chain(directory) or [b"."])
            group.first = len(self._groups)
            self._groups[directory] = group
        return group

    def add(
        self,
        path: bytes,
        status: os.stat_result,
        target: bytes,
        new_directories: list[tuple[bytes, os.stat_result]],
    ) -> None:
        """Send ``path``; ``new_directories`` are those above it the far end lacks, top first."""
        parent, _, name = path.rpartition(b"/")
        for directory, found in new_directories:
            self._stage_directory(directory, found)
        staged = self._stage(parent, name, path)
        self.members.append(Member(path, status, target, staged))
        self.bytes += self.members[-1].size

    def has_staged(self, directory: bytes) -> bool:
        return directory in self._staged

    def _stage_directory(self, directory: bytes, found: os.stat_result) -> None:
        parent, _, name = directory.rpartition(b"/")
        staged = self._stage(parent, name, directory)
        self._staged[directory] = staged
        mode, mtime = directory_mode(found), found.st_mtime_ns
        self._headers.append(
            tarstream.member(
                staged + b"/", tarstream.DIRECTORY, mode, mtime_ns=mtime, precise=False
            )
        )
        self.directories.append((directory, mode))

    def _stage(self, parent: bytes, name: bytes, path: bytes) -> bytes:
        """The staged name of ``path``; what is not inside a new directory is put by name."""
        above = self._staged.get(parent)
        if above is not None:
            return above + b"/" + name
        group = self._group(parent)
        staged = b"%d/%s" % (group.first, name)
        group.paths.append(path)
        group.staged.append(staged)
        return staged

    def headers(self) -> bytes:
        """The members that are directories; they come before what is in them."""
        return b"".join(self._headers)

    def script(self, unfit: set[bytes]) -> bytes:
        """The commit; ``unfit`` are paths that changed while they were read.

        Those stay in the stage (or, in a new directory, are removed there first), and the
        stage is cleared.
        """
        self.numbered = []
        lines: list[bytes] = [b"# %d" % self.number]
        lines += self._removing(b"del", sorted(self.deletions))
        # The inner directories first: b"a/b" sorts behind b"a".
        lines += self._removing(b"rmd", sorted(self.removals, reverse=True))
        inside = [
            shell_quote(b"./" + self.stage + b"/" + member.name)
            for member in self.members
            if member.path in unfit and member.name.count(b"/") > 1
        ]
        for at in range(0, len(inside), 200):
            lines.append(b"rm -f " + b" ".join(inside[at : at + 200]))
        for group in self._groups.values():
            lines += self._putting(group, unfit)
        for directory, mode in self.modes:
            stanza = self._stanza(b"mod", _chain(directory))
            stanza.paths = [directory]
            lines.append(self._at(stanza))
            lines.append(b"mod %o %s" % (mode, shell_quote(b"./" + directory)))
        if unfit:
            lines.append(b"dirty=1")
        return b"\n".join(lines + self.commands) + b"\n"

    def _stanza(self, verb: bytes, directories: list[bytes]) -> Stanza:
        stanza = Stanza(verb, directories)
        stanza.first = len(self.numbered)
        self.numbered.extend((stanza, directory) for directory in directories)
        return stanza

    def _at(self, stanza: Stanza) -> bytes:
        words = [
            shell_quote(b"./" + directory if directory != b"." else directory)
            for directory in stanza.directories
        ]
        return b"at %d %s" % (stanza.first, b" ".join(words))

    def _call(self, stanza: Stanza, words: list[bytes]) -> bytes:
        number = len(self.numbered)
        self.numbered.extend((stanza, path) for path in stanza.paths[-len(words) :])
        return b"%s %d %s" % (stanza.verb, number, b" ".join(words))

    def _removing(self, verb: bytes, paths: list[bytes]) -> Iterator[bytes]:
        for some in _pieces(paths):
            above = {path.rpartition(b"/")[0] for path in some}
            checked = {part for directory in above for part in _chain(directory)}
            stanza = self._stanza(verb, sorted(checked) or [b"."])
            stanza.paths = some
            yield self._at(stanza)
            yield self._call(stanza, [shell_quote(b"./" + path) for path in some])

    def _putting(self, group: Stanza, unfit: set[bytes]) -> Iterator[bytes]:
        pairs = [
            (path, staged)
            for path, staged in zip(group.paths, group.staged)
            if path not in unfit
        ]
        if not pairs:
            return
        first = True
        for some in _pieces([staged for _, staged in pairs]):
            stanza = self._stanza(b"put", group.directories if first else [])
            stanza.directories = group.directories
            if first:
                yield self._at(stanza)
            first = False
            stanza.paths = [path for path, _ in pairs[: len(some)]]
            del pairs[: len(some)]
            prefix = b"./" + self.stage + b"/"
            yield self._call(stanza, [shell_quote(prefix + staged) for staged in some])


def _pieces(paths: list[bytes]) -> Iterator[list[bytes]]:
    """``paths`` in rows short enough for one call."""
    some: list[bytes] = []
    length = 0
    for path in paths:
        if some and (length + len(path) > _CALL_BYTES or len(some) >= _CALL_NAMES):
            yield some
            some, length = [], 0
        some.append(path)
        length += len(path) + 40
    if some:
        yield some
