"""The commit: the script by which the far end puts a batch into place.

PROTOCOL.md says what each line means. All that a commit works on is numbered, by which the
answers name it.
"""

from __future__ import annotations

from filerep.farend.batch import Operation
from filerep.farend.shell import CALL_BYTES, in_calls, script_text, shell_quote
from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from filerep.farend.batch import Batch, Group, Member

COMMIT = b"commit"
MOVES = b"moves"

# What is done for many files of one directory at once, and for how many: a shell puts each into
# a list that it makes anew.
_MANY = (b"same", b"keep", b"copy", b"take")
_FEW = 200
_ODD = (b"\n", b"\\", b"\r")
_MANY_MODES = 1000

# What is made of files over there, or so large that to move it to another file system takes long, is
# heard of meanwhile; but not for ever: what is slower than this, in bytes a second, hangs.
_LONG_BYTES = 1 << 26
_PATIENCE, _SLOWEST = 60, 1_000_000


def _chain(directory: bytes) -> list[bytes]:
    """``a``, ``a/b`` and ``a/b/c`` for ``a/b/c``; the root is always there."""
    chain = []
    while directory:
        chain.append(directory)
        directory = directory.rpartition(b"/")[0]
    return chain[::-1]


class Commit:
    """Writes the script of one batch, which is arranged, and numbers what it is about."""

    def __init__(self, batch: Batch, unfit: set[bytes]) -> None:
        """``unfit`` are paths that changed while they were read. Those stay in the
        staging directory (in a new directory they are removed there first), which is cleared.
        """
        self._batch = batch
        self._unfit = unfit
        self.numbered: list[tuple[Operation, bytes]] = []
        self._parts: dict[bytes, bytes] = {}

    def members(self) -> list[tuple[bytes, bytes]]:
        """The members of the archive that come last, by name: the script, and what it needs."""
        self.numbered = []
        batch, unfit = self._batch, self._unfit
        lines: list[bytes] = [b"# %d" % batch.number, *batch.lessons]
        long = self._takes_long()
        lines += long
        lines += self._spelling()
        released = [
            shell_quote(b"./%s/%s" % (batch.staging, one)) for one in batch.released
        ]
        lines += [b"rm -rf " + b" ".join(some) for some in in_calls(released)]
        if batch.retained or batch.reused:
            lines.append(b'[ "$reuses" ] || exit')
            lines.append(b"sums= lacking=")
        for directory, (number, paths) in batch.retained.items():
            lines += self._retaining(number, directory, paths)
        given = list(self._reusing(lines)) if batch.reused else []
        lines += self._removing(b"del", sorted(batch.deletions))
        # The inner directories first: b"a/b" sorts behind b"a".
        lines += self._removing(b"rmd", sorted(batch.removals, reverse=True))
        lines += self._changing()
        torn = [
            shell_quote(b"./" + batch.staging + b"/" + member.name)
            for member in batch.members
            if member.path in unfit and (batch.linked or member.in_new_directory)
        ]
        lines += [b"rm -f " + b" ".join(some) for some in in_calls(torn)]
        lines += [b"keep=1"] if batch.keeps else []
        found = list(batch.files)
        if batch.moved:
            moves = b"".join(self._moving(group) for group in batch.groups.values())
            if moves:
                found.append((MOVES, moves))
                lines.append(b"moved")
        else:
            lines += self._placing()
        lines += given
        lines += [b"rest"] if long else []
        if unfit:
            lines.append(b"dirty=1")
        lines += [*batch.commands, b"whole=1\n"]
        found.append((COMMIT, b"\n".join(lines)))
        return found

    def _takes_long(self) -> list[bytes]:
        """The lines that have the far end show that it is alive, if that may be wanted."""
        batch = self._batch
        work = batch.bytes + batch.read
        if not batch.made() and work < _LONG_BYTES:
            return []
        return [b"patience=%d" % (_PATIENCE + work // _SLOWEST), b"working"]

    def _placing(self) -> list[bytes]:
        """The puts, where there is no mover."""
        groups = self._batch.groups
        puts = [line for group in groups.values() for line in self._putting(group)]
        if not (puts and self._batch.linked):
            return puts
        into = {part for above in groups for part in _chain(above)}
        words = [b"link", *(shell_quote(b"./" + one) for one in sorted(into))]
        link = b" ".join(words) + b" || {"
        return [script_text("place_by_cp"), link, *puts, b"}"]

    def _operation(
        self,
        verb: bytes,
        directories: list[bytes],
        paths: list[bytes],
        words: Iterable[bytes],
    ) -> bytes:
        """Its line; ``words`` are what the verb is given for ``paths``."""
        at = self._at(Operation(verb, paths), directories)
        return b"%s && %s %s" % (at, verb, b" ".join(words))

    def _at(self, operation: Operation, directories: list[bytes]) -> bytes:
        """How each line of an operation begins."""
        inside = b" ".join(shell_quote(b"./" + one) for one in directories) or b"."
        return b"at %d %s" % (self._number(operation, directories), inside)

    def _number(self, operation: Operation, directories: list[bytes]) -> int:
        """Give ``directories`` and the paths of ``operation`` their numbers; the first one.

        All that a commit works on passes here, so nothing outside is ever named in one.
        """
        first = len(self.numbered)
        for path in directories or [b"."]:
            self.numbered.append((operation, path))
        for path in operation.paths:
            self.numbered.append((operation, path))
        for _, path in self.numbered[first:]:
            if b".." in path and b".." in path.split(b"/"):
                raise ValueError(f"outside of the destination: {quote(path)}")
        return first

    def _spelling(self) -> Iterator[bytes]:
        for path, old in self._batch.spelled:
            directory, _, name = path.rpartition(b"/")
            words = [shell_quote(old), shell_quote(name)]
            yield self._operation(b"spell", _chain(directory), [path], words)

    def _reusing(self, lines: list[bytes]) -> Iterator[bytes]:
        """Add what makes files of what is there; the operations that put them into place."""
        alike: dict[tuple[bytes, ...], list[Member]] = {}
        for member in self._batch.reused:
            if member.path in self._unfit or member.way is None:
                continue
            way = member.way
            directory, _, old = _source(member).rpartition(b"/")
            if way.verb in (b"piece", b"last"):
                directory = b""  # nothing of it is looked at there
            staged = member.name.rpartition(b"/")[0]
            key: tuple[bytes, ...] = (way.verb, directory, staged)
            if way.verb not in _MANY:
                key += (member.path,)
            elif old != member.path.rpartition(b"/")[2] or _is_odd(_source(member)):
                key += (
                    old,
                    member.path,
                )  # alone: it gets another name, or has an odd one
            alike.setdefault(key, []).append(member)
        digested: list[tuple[bytes, bytes, list[Member]]] = []
        paths = 0  # bytes
        for (verb, directory, *_), members in alike.items():
            for some in _few(members):
                if verb not in _MANY:
                    lines.append(self._reuse(verb, directory, some))
                    continue
                more = sum(len(_source(member)) + 40 for member in some)
                if digested and paths + more > CALL_BYTES:
                    lines += self._digested(digested)
                    digested, paths = [], 0
                digested.append((verb, directory, some))
                paths += more
        lines += self._digested(digested)
        placed: dict[Group, list[Member]] = {}
        for member in self._batch.reused:
            fit = member.path not in self._unfit and not member.in_new_directory
            if fit and member.way is not None and member.way.puts:
                placed.setdefault(member.group, []).append(member)
        for group, members in placed.items():
            for some in _few(members):
                yield self._operation(
                    b"given",
                    _chain(group.directory),
                    [member.path for member in some],
                    [self._staged(member) for member in some],
                )

    def _digested(
        self, operations: list[tuple[bytes, bytes, list[Member]]]
    ) -> Iterator[bytes]:
        """Operations of `_MANY`, in each another directory, behind one digest of all they name.

        A process for each directory is most of what they take, over there.
        """
        sources = [_source(one) for _, _, members in operations for one in members]
        sources = [source for source in sources if not _is_odd(source)]
        if len(operations) > 1 and sources:
            directories = {one for _, above, _ in operations for one in _chain(above)}
            words = [shell_quote(b"./" + source) for source in sources]
            yield self._operation(b"sums", sorted(directories), [], words)
        for verb, directory, members in operations:
            yield self._reuse(verb, directory, members)

    def _retaining(
        self, number: int, directory: bytes, paths: list[bytes]
    ) -> Iterator[bytes]:
        quoted = [shell_quote(b"./" + path) for path in paths]
        for some in in_calls(quoted):
            now, paths = paths[: len(some)], paths[len(some) :]
            words = [b"%d" % number, *some]
            yield self._operation(b"retain", self._chain(directory), now, words)

    def _staged(self, member: Member) -> bytes:
        return shell_quote(b"./%s/%s" % (self._batch.staging, member.name))

    def _reuse(self, verb: bytes, directory: bytes, members: list[Member]) -> bytes:
        """The operation of some members alike, in which ``directory`` holds what they are made of."""
        first = members[0]
        assert first.way is not None
        staged, way = self._staged(first), first.way
        mode = b"%o" % (first.status.st_mode & 0o777)
        digest = way.digest.encode()
        if verb in (b"build", b"assemble"):
            old = shell_quote(first.path.rpartition(b"/")[2])
            before = 2 if verb == b"assemble" else 0  # as `last` has them
            words = [*way.words[:before], digest, mode, old, staged]
            words += way.words[before:]
        elif verb == b"piece":
            words = [*way.words, staged]
        elif verb == b"last":
            words = [*way.words, staged, mode, digest or b"''"]
        else:
            above = first.name.rpartition(b"/")[0]
            stage = shell_quote(b"./%s/%s" % (self._batch.staging, above))
            words = [b"all $?", verb, stage]
            for member in members:
                assert member.way is not None
                old = _source(member).rpartition(b"/")[2]
                new = member.path.rpartition(b"/")[2]
                mode = b"%o" % (member.status.st_mode & 0o777)
                words += [member.way.digest.encode(), mode]
                words += [shell_quote(old), shell_quote(new)]
        paths = [member.path for member in members]
        if (
            verb in _MANY
        ):  # what is staged for them is dropped where a directory is lost
            at = self._at(Operation(verb, paths), _chain(directory))
            return b"%s; %s" % (at, b" ".join(words))
        return self._operation(verb, _chain(directory), paths, words)

    def _removing(self, verb: bytes, paths: list[bytes]) -> Iterator[bytes]:
        for some in in_calls(paths):
            above = {path.rpartition(b"/")[0] for path in some}
            checked = {part for directory in above for part in self._chain(directory)}
            words = (shell_quote(b"./" + path) for path in some)
            yield self._operation(verb, sorted(checked), some, words)

    def _changing(self) -> Iterator[bytes]:
        """The modes. Many at once name each directory above them once.

        In a tree 900 levels deep, were each to name all above it: half a gigabyte.
        """
        for start in range(0, len(self._batch.modes), _MANY_MODES):
            some = self._batch.modes[start : start + _MANY_MODES]
            if len(some) == 1:
                ((directory, mode),) = some
                chain = _chain(directory)
                yield self._operation(b"mod", chain, [directory], [b"%o" % mode])
                continue
            paths = [path for path, _ in some]
            checked = sorted({part for path in paths for part in self._chain(path)})
            first = len(self.numbered) + len(checked)
            each = [
                b"D=%s i=%d; mod %o" % (shell_quote(b"./" + path), first + index, mode)
                for index, (path, mode) in enumerate(some)
            ]
            at_all = self._at(Operation(b"mod", paths), checked)
            yield b"%s && { %s; }" % (at_all, b"; ".join(each))

    def _chain(self, directory: bytes) -> list[bytes]:
        """As `_chain`; what is asked for by many is in memory once."""
        return [self._parts.setdefault(part, part) for part in _chain(directory)]

    def _moving(self, group: Group) -> bytes:
        """What the mover is told of ``group``."""
        paths, names = group.paths, group.inner
        if self._unfit:
            fit = group.fit(self._unfit)
            paths, names = [path for path, _ in fit], [name for _, name in fit]
        if not names:
            return b""
        first = self._number(Operation(b"put", paths), self._chain(group.directory))
        return b"%d\0%s\0%s\0%d\0%s\0" % (
            first,
            group.directory,
            group.prefix,
            len(names),
            b"\0".join(names),
        )

    def _putting(self, group: Group) -> Iterator[bytes]:
        fit = group.fit(self._unfit)
        staging = b"./%s/%s" % (self._batch.staging, group.prefix)
        for some in in_calls([staging + inner for _, inner in fit]):
            paths = [path for path, _ in fit[: len(some)]]
            del fit[: len(some)]
            chain = self._chain(group.directory)
            yield self._operation(b"put", chain, paths, map(shell_quote, some))


def _source(member: Member) -> bytes:
    """What over there it is made of."""
    return member.way and member.way.source or member.path


def _is_odd(path: bytes) -> bool:
    """Does a digest tool write ``path`` otherwise than it is?"""
    return any(odd in path for odd in _ODD)


def _few(members: list[Member]) -> Iterator[list[Member]]:
    for at in range(0, len(members), _FEW):
        yield members[at : at + _FEW]
