"""One batch for the receiver: which members it has, and the script that puts them in place.

PROTOCOL.md says what both mean. What is decided here: each directory of the destination that
gets something has a numbered directory in the stage, which holds its new files under their own
names; a directory the destination lacks is staged whole and moved as one.
"""

from __future__ import annotations

import os
import stat

from filerep.archive import tarstream
from filerep.farend.shell import in_calls, script_text, shell_quote
from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Optional

    from filerep.farend.abilities import Far
    from filerep.farend.ways import Way

# Of a directory's mode these are sent, and its owner can always write into it.
_DIRECTORY_BITS = 0o1777
_OWNER_BITS = 0o700

COMMIT = b"commit"
MOVES = b"moves"
LINKED = b"t"  # in the stage: what `link` puts into place

# What is done for many files of one directory at once, and for how many: a shell puts each into
# a list that it makes anew.
_MANY = (b"same", b"keep", b"copy", b"take")
_FEW = 200

# So many directories are filled by one mv each before that takes longer than one cp.
_MOST_MOVES = 8
_MANY_MODES = 1000


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
    """A file or symlink to send: where it is, as what it was looked at, where it is staged."""

    __slots__ = ("path", "status", "target", "group", "inner", "size", "way")

    def __init__(
        self,
        path: bytes,
        status: os.stat_result,
        target: bytes,
        group: Group,
        inner: bytes,
        way: Optional[Way] = None,
    ) -> None:
        self.path = path
        self.status = status
        self.target = target
        self.group = group
        self.inner = inner
        # Bytes of file data, without padding.
        self.size = 0 if stat.S_ISLNK(status.st_mode) else status.st_size
        self.way = way  # None: it is sent whole
        if way is not None:
            self.size = way.size

    @property
    def name(self) -> bytes:
        """Its name in the archive, good once the batch is arranged."""
        return self.group.prefix + self.inner

    @property
    def in_new_directory(self) -> bool:
        return b"/" in self.inner

    def header(self, precise: bool) -> bytes:
        name, status = self.group.prefix + self.inner, self.status
        if self.way is not None:
            mode, mtime_ns = status.st_mode & 0o777, status.st_mtime_ns
            kind, size = tarstream.FILE, self.size
            return tarstream.member(name, kind, mode, size, mtime_ns, b"", precise)
        if not self.target:
            return tarstream.file_member(name, status, precise)
        mtime_ns, target = status.st_mtime_ns, self.target
        return tarstream.member(
            name, tarstream.SYMLINK, 0o777, 0, mtime_ns, target, precise
        )


class Group:
    """What goes into one directory of the destination: whole new directories and files."""

    __slots__ = ("directory", "number", "paths", "inner", "prefix")

    def __init__(self, directory: bytes, number: int) -> None:
        self.directory = directory
        self.number = number
        self.paths: list[bytes] = []
        self.inner: list[bytes] = []  # their names in it
        self.prefix = b""  # where in the stage they are

    def fit(self, unfit: set[bytes]) -> list[tuple[bytes, bytes]]:
        """Paths and names, without those in ``unfit``."""
        return [pair for pair in zip(self.paths, self.inner) if pair[0] not in unfit]


class Shelf:
    """The place in the stage of what goes into one directory."""

    __slots__ = ("_batch", "_group", "_above")

    def __init__(self, batch: Batch, group: Group, above: bytes) -> None:
        self._batch = batch
        self._group = group
        self._above = above  # the new directory it is in, with a slash; or nothing

    def put(
        self, name: bytes, path: bytes, status: os.stat_result, target: bytes = b""
    ) -> None:
        """Send ``path``, which is called ``name`` there."""
        member = Member(path, status, target, self._group, self.enter(name, path))
        batch = self._batch
        batch.members.append(member)
        batch.bytes += member.size

    def reuse(self, name: bytes, path: bytes, status: os.stat_result, way: Way) -> None:
        """Have ``path`` made of what is there; its stanzas put it into place."""
        member = Member(path, status, b"", self._group, self._above + name, way)
        batch = self._batch
        batch.members.append(member)
        batch.reused.append(member)
        batch.bytes += member.size

    def enter(self, name: bytes, path: bytes) -> bytes:
        """Its name in the group. What is not inside a new directory is put by name."""
        if self._above:
            return self._above + name
        group = self._group
        group.paths.append(path)
        group.inner.append(name)
        return name

    def stage(self, name: bytes, path: bytes) -> tuple[Group, bytes]:
        return self._group, self.enter(name, path)


class Stanza:
    """``put``, ``del``, ``rmd`` or ``mod`` of ``paths``, if their directories are as thought."""

    __slots__ = ("verb", "paths")

    def __init__(self, verb: bytes, paths: list[bytes]) -> None:
        self.verb = verb
        self.paths = paths


class Batch:
    """What is sent, removed and changed together, and acknowledged as ``ok NUMBER``."""

    def __init__(self, stage: bytes, limit: int = 1 << 62, most: int = 1 << 62) -> None:
        """``limit`` bytes or ``most`` files are enough for it."""
        self.number = 0  # given when it is sent
        self.stage = stage
        self.limit = limit
        self.most = most
        self.members: list[Member] = []
        self.directories: list[tuple[bytes, int]] = []  # new ones, the outer first
        self.deletions: list[bytes] = []
        self.removals: list[bytes] = []  # directories, to be removed if empty
        self.modes: list[tuple[bytes, int]] = []
        self.bytes = 0
        self.numbered: list[tuple[Stanza, bytes]] = []
        self.commands: list[bytes] = []  # what else the script does: list, hook, finish
        self.lessons: list[bytes] = []  # functions that it needs and are not there yet
        self.staged: dict[bytes, tuple[Group, bytes]] = {}  # new directories
        # The names of paths that are called otherwise over there, see twins.py.
        self.keeps = False  # whatever is in the way of a new directory
        self.called: dict[bytes, bytes] = {}
        self.files: list[tuple[bytes, bytes]] = (
            []
        )  # for these: names in the stage, data
        # What goes from a directory and is retained, with the number of where.
        self.retained: dict[bytes, tuple[int, list[bytes]]] = {}
        self.released: list[bytes] = []  # in the stage: what is of no use any more
        self._groups: dict[bytes, Group] = {}
        self.reused: list[Member] = []  # those of ``members`` that have a way
        self._times: list[int] = []  # the mtimes of ``directories``, in ns
        self._parts: dict[bytes, bytes] = {}
        self._linked = False
        self._moved = False

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

    @property
    def room(self) -> tuple[int, int]:
        """How many bytes and files are wanted yet."""
        return self.limit - self.bytes, self.most - self.count

    @property
    def full(self) -> bool:
        return self.bytes >= self.limit or self.count >= self.most

    def add(
        self,
        path: bytes,
        status: os.stat_result,
        target: bytes,
        new_directories: list[tuple[bytes, os.stat_result]],
        way: Optional[Way] = None,
    ) -> None:
        """Send ``path``, or have it made; ``new_directories`` are those above it the far end
        lacks, top first."""
        for directory, found in new_directories:
            parent, _, name = directory.rpartition(b"/")
            self.staged[directory] = self.shelf(parent).stage(name, directory)
            self.directories.append((directory, directory_mode(found)))
            self._times.append(found.st_mtime_ns)
        parent, _, name = path.rpartition(b"/")
        if way is None:
            self.shelf(parent).put(self.called.pop(path, name), path, status, target)
        else:
            self.shelf(parent).reuse(name, path, status, way)

    def bytes_before(self) -> int:
        """How many bytes of its files went in pieces, in batches before this one."""
        return sum(
            member.way.before
            for member in self.reused
            if member.way is not None and member.way.puts
        )

    def compared(self) -> set[bytes]:
        """The paths of which is only asked whether they are the same."""
        return {
            member.path
            for member in self.reused
            if member.way is not None and member.way.verb == b"same"
        }

    def only_compare(self) -> None:
        """Do nothing of it but that."""
        compared = self.compared()
        self.reused = [one for one in self.reused if one.path in compared]
        self.members = list(self.reused)
        self.directories, self._times, self.staged = [], [], {}
        self.deletions, self.removals, self.modes = [], [], []
        for group in self._groups.values():
            group.paths, group.inner = [], []

    def piece(self, path: bytes, status: os.stat_result, way: Way) -> None:
        """Send the next piece of ``path``, which goes nowhere yet."""
        self.shelf(b"").reuse(b".piece", path, status, way)

    def shelf(self, directory: bytes) -> Shelf:
        """Where what goes into ``directory`` is staged, which is there or new by now."""
        above = self.staged.get(directory)
        if above is not None:
            return Shelf(self, above[0], above[1] + b"/")
        group = self._groups.get(directory)
        if group is None:
            group = self._groups[directory] = Group(directory, len(self._groups))
        return Shelf(self, group, b"")

    def arrange(self, far: Far) -> None:
        """Settle what each member is called in the archive; nothing is added afterwards.

        One mv a directory is one process a directory. Without a mover, where there are many,
        and cp may be one that replaces by rename (see place_by_cp.sh), all is staged under its own
        path.
        """
        self._moved = far.mover
        many = len(self._groups) > _MOST_MOVES
        self._linked = many and far.tar == "gnu" and not far.mover and not self.reused
        for group in self._groups.values():
            if not self._linked:
                group.prefix = b"%d/" % group.number
            elif group.directory:
                group.prefix = b"%s/%s/" % (LINKED, group.directory)
            else:
                group.prefix = LINKED + b"/"

    def headers(self) -> bytes:
        """The members that are directories; they come before what is in them."""
        headers = []
        for (directory, mode), mtime_ns in zip(self.directories, self._times):
            group, inner = self.staged[directory]
            name = group.prefix + inner + b"/"
            headers.append(
                tarstream.member(
                    name, tarstream.DIRECTORY, mode, 0, mtime_ns, precise=False
                )
            )
        return b"".join(headers)

    def scripts(self, unfit: set[bytes]) -> list[tuple[bytes, bytes]]:
        """The members that come last, by name: the commit, and what it needs.

        ``unfit`` are paths that changed while they were read. Those stay in the stage (or,
        in a new directory, are removed there first), and the stage is cleared.
        """
        self.numbered = []
        lines: list[bytes] = [b"# %d" % self.number, *self.lessons]
        released = [
            shell_quote(b"./%s/%s" % (self.stage, one)) for one in self.released
        ]
        lines += [b"rm -rf " + b" ".join(some) for some in in_calls(released)]
        for directory, (number, paths) in self.retained.items():
            lines += self._retaining(number, directory, paths)
        given = list(self._reusing(lines, unfit)) if self.reused else []
        lines += self._removing(b"del", sorted(self.deletions))
        # The inner directories first: b"a/b" sorts behind b"a".
        lines += self._removing(b"rmd", sorted(self.removals, reverse=True))
        lines += self._changing()
        torn = [
            shell_quote(b"./" + self.stage + b"/" + member.name)
            for member in self.members
            if member.path in unfit and (self._linked or member.in_new_directory)
        ]
        lines += [b"rm -f " + b" ".join(some) for some in in_calls(torn)]
        found = list(self.files)
        if self._moved:
            moves = b"".join(
                self._moving(group, unfit) for group in self._groups.values()
            )
            found += [(MOVES, moves)] if moves else []
            puts = [b"moved"] if moves else []
        else:
            puts = [
                line
                for group in self._groups.values()
                for line in self._putting(group, unfit)
            ]
        if self._linked and puts:
            into = {part for above in self._groups for part in _chain(above)}
            words = [b"link", *(shell_quote(b"./" + one) for one in sorted(into))]
            puts = [
                script_text("place_by_cp"),
                b" ".join(words) + b" || {",
                *puts,
                b"}",
            ]
        lines += [b"keep=1"] if self.keeps else []
        lines += puts + given
        if unfit:
            lines.append(b"dirty=1")
        found.append((COMMIT, b"\n".join(lines + self.commands) + b"\n"))
        return found

    def _stanza(
        self,
        verb: bytes,
        directories: list[bytes],
        paths: list[bytes],
        words: Iterable[bytes],
    ) -> bytes:
        """Its line; ``words`` are what the verb is given for ``paths``."""
        at = self._at(Stanza(verb, paths), directories)
        return b"%s && %s %s" % (at, verb, b" ".join(words))

    def _at(self, stanza: Stanza, directories: list[bytes]) -> bytes:
        """How each line of a stanza begins."""
        inside = b" ".join(shell_quote(b"./" + one) for one in directories) or b"."
        return b"at %d %s" % (self._number(stanza, directories), inside)

    def _number(self, stanza: Stanza, directories: list[bytes]) -> int:
        """Give ``directories`` and the paths of ``stanza`` their numbers; the first one.

        All that a commit works on passes here, so nothing outside is ever named in one.
        """
        first = len(self.numbered)
        for path in directories or [b"."]:
            self.numbered.append((stanza, path))
        for path in stanza.paths:
            self.numbered.append((stanza, path))
        for _, path in self.numbered[first:]:
            if b".." in path and b".." in path.split(b"/"):
                raise ValueError(f"outside of the destination: {quote(path)}")
        return first

    def _reusing(self, lines: list[bytes], unfit: set[bytes]) -> Iterator[bytes]:
        """Add what makes files of what is there; the stanzas that put them into place."""
        alike: dict[tuple[bytes, ...], list[Member]] = {}
        for member in self.reused:
            if member.path in unfit or member.way is None:
                continue
            way, source = member.way, member.way.source or member.path
            directory, _, old = source.rpartition(b"/")
            if way.verb in (b"piece", b"last"):
                directory = b""  # nothing of it is looked at there
            staged = member.name.rpartition(b"/")[0]
            key: tuple[bytes, ...] = (way.verb, directory, staged)
            if way.verb not in _MANY:
                key += (member.path,)
            elif old != member.path.rpartition(b"/")[2]:
                key += (old, member.path)  # alone, as it gets another name
            alike.setdefault(key, []).append(member)
        for (verb, directory, *_), members in alike.items():
            for some in _few(members):
                lines.append(self._reuse(verb, directory, some))
        placed: dict[Group, list[Member]] = {}
        for member in self.reused:
            fit = member.path not in unfit and not member.in_new_directory
            if fit and member.way is not None and member.way.puts:
                placed.setdefault(member.group, []).append(member)
        for group, members in placed.items():
            for some in _few(members):
                yield self._stanza(
                    b"given",
                    _chain(group.directory),
                    [member.path for member in some],
                    [self._staged(member) for member in some],
                )

    def _retaining(
        self, number: int, directory: bytes, paths: list[bytes]
    ) -> Iterator[bytes]:
        quoted = [shell_quote(b"./" + path) for path in paths]
        for some in in_calls(quoted):
            now, paths = paths[: len(some)], paths[len(some) :]
            words = [b"%d" % number, *some]
            yield self._stanza(b"retain", self._chain(directory), now, words)

    def _staged(self, member: Member) -> bytes:
        return shell_quote(b"./%s/%s" % (self.stage, member.name))

    def _reuse(self, verb: bytes, directory: bytes, members: list[Member]) -> bytes:
        """The stanza of some members alike, in which ``directory`` holds what they are made of."""
        first = members[0]
        assert first.way is not None
        staged, way = self._staged(first), first.way
        mode = b"%o" % (first.status.st_mode & 0o777)
        digest = way.digest.encode()
        if verb in (b"build", b"rest"):
            old = shell_quote(first.path.rpartition(b"/")[2])
            before = 2 if verb == b"rest" else 0  # as `last` has them
            words = [*way.words[:before], digest, mode, old, staged]
            words += way.words[before:]
        elif verb == b"piece":
            words = [*way.words, staged]
        elif verb == b"last":
            words = [*way.words, staged, mode, digest or b"''"]
        else:
            above = first.name.rpartition(b"/")[0]
            verb = b"all %s %s" % (verb, shell_quote(b"./%s/%s" % (self.stage, above)))
            words = []
            for member in members:
                assert member.way is not None
                old = (member.way.source or member.path).rpartition(b"/")[2]
                new = member.path.rpartition(b"/")[2]
                mode = b"%o" % (member.status.st_mode & 0o777)
                words += [member.way.digest.encode(), mode]
                words += [shell_quote(old), shell_quote(new)]
        paths = [member.path for member in members]
        return self._stanza(verb, _chain(directory), paths, words)

    def _removing(self, verb: bytes, paths: list[bytes]) -> Iterator[bytes]:
        for some in in_calls(paths):
            above = {path.rpartition(b"/")[0] for path in some}
            checked = {part for directory in above for part in self._chain(directory)}
            words = (shell_quote(b"./" + path) for path in some)
            yield self._stanza(verb, sorted(checked), some, words)

    def _changing(self) -> Iterator[bytes]:
        """The modes. Many at once name each directory above them once.

        In a tree 900 levels deep, were each to name all above it: half a gigabyte.
        """
        for start in range(0, len(self.modes), _MANY_MODES):
            some = self.modes[start : start + _MANY_MODES]
            if len(some) == 1:
                ((directory, mode),) = some
                chain = _chain(directory)
                yield self._stanza(b"mod", chain, [directory], [b"%o" % mode])
                continue
            paths = [path for path, _ in some]
            checked = sorted({part for path in paths for part in self._chain(path)})
            first = len(self.numbered) + len(checked)
            each = [
                b"D=%s i=%d; mod %o" % (shell_quote(b"./" + path), first + index, mode)
                for index, (path, mode) in enumerate(some)
            ]
            at_all = self._at(Stanza(b"mod", paths), checked)
            yield b"%s && { %s; }" % (at_all, b"; ".join(each))

    def _chain(self, directory: bytes) -> list[bytes]:
        """As `_chain`; what is asked for by many is in memory once."""
        return [self._parts.setdefault(part, part) for part in _chain(directory)]

    def _moving(self, group: Group, unfit: set[bytes]) -> bytes:
        """What the mover is told of ``group``."""
        paths, names = group.paths, group.inner
        if unfit:
            fit = group.fit(unfit)
            paths, names = [path for path, _ in fit], [name for _, name in fit]
        if not names:
            return b""
        first = self._number(Stanza(b"put", paths), self._chain(group.directory))
        return b"%d\0%s\0%s\0%d\0%s\0" % (
            first,
            group.directory,
            group.prefix,
            len(names),
            b"\0".join(names),
        )

    def _putting(self, group: Group, unfit: set[bytes]) -> Iterator[bytes]:
        fit = group.fit(unfit)
        stage = b"./%s/%s" % (self.stage, group.prefix)
        for some in in_calls([stage + inner for _, inner in fit]):
            paths = [path for path, _ in fit[: len(some)]]
            del fit[: len(some)]
            chain = self._chain(group.directory)
            yield self._stanza(b"put", chain, paths, map(shell_quote, some))


def _few(members: list[Member]) -> Iterator[list[Member]]:
    for at in range(0, len(members), _FEW):
        yield members[at : at + _FEW]
