"""The lines of a commit that make files of what is there already: see ways.py."""

from __future__ import annotations

from filerep.farend.batch import Operation
from filerep.farend.shell import CALL_BYTES, shell_quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from filerep.farend.batch import Batch, Group, Member
    from filerep.farend.operations import Operations

# What is done for many files of one directory at once, and for how many: a shell puts each into
# a list that it makes anew.
_MANY = (b"same", b"keep", b"copy", b"take", b"build")
# Of these a digest is made of what they have made, not of what is there.
_MADE = (b"copy", b"build")
_FEW = 200
_ODD = (b"\n", b"\\", b"\r")


class Making:
    """Writes them for one batch; ``unfit`` are as for `Commit`."""

    def __init__(self, batch: Batch, unfit: set[bytes], operations: Operations) -> None:
        self._batch = batch
        self._unfit = unfit
        self._operations = operations

    def made(self) -> Iterator[bytes]:
        """What makes the files, in the staging directory; or is all there is to do."""
        digested: list[tuple[bytes, bytes, list[Member]]] = []
        paths = 0  # bytes
        for (verb, directory, *_), members in self._alike().items():
            for some in _few(members):
                if verb not in _MANY:
                    yield self._made(verb, directory, some)
                    continue
                more = sum(len(_source(member)) + 40 for member in some)
                if digested and paths + more > CALL_BYTES:
                    yield from self._digested(digested)
                    digested, paths = [], 0
                digested.append((verb, directory, some))
                paths += more
        yield from self._digested(digested)

    def placed(self) -> dict[Group, list[Member]]:
        """Those that are put into place, by where."""
        placed: dict[Group, list[Member]] = {}
        for member in self._batch.reused:
            fit = member.path not in self._unfit and not member.in_new_directory
            if fit and member.way is not None and member.way.puts:
                placed.setdefault(member.group, []).append(member)
        return placed

    def given(self) -> Iterator[bytes]:
        """What puts them into place, where there is no mover."""
        for group, members in self.placed().items():
            for some in _few(members):
                yield self._operations.line(
                    b"given",
                    self._operations.chain(group.directory),
                    [member.path for member in some],
                    [self._staged(member) for member in some],
                )

    def _alike(self) -> dict[tuple[bytes, ...], list[Member]]:
        """The members, by what can be in one operation: its verb and directory, and what else."""
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
        return alike

    def _digested(
        self, operations: list[tuple[bytes, bytes, list[Member]]]
    ) -> Iterator[bytes]:
        """Operations of `_MANY`, in each another directory, behind one digest of all they name.

        A process for each directory is most of what they take, over there.
        """
        ahead = [one for one in operations if one[0] not in _MADE]
        sources = [_source(one) for _, _, members in ahead for one in members]
        sources = [source for source in sources if not _is_odd(source)]
        if len(ahead) > 1 and sources:
            directories = {
                one for _, above, _ in ahead for one in self._operations.chain(above)
            }
            words = [shell_quote(b"./" + source) for source in sources]
            yield self._operations.line(b"sums", sorted(directories), [], words)
        for verb, directory, members in operations:
            yield self._made(verb, directory, members)

    def _made(self, verb: bytes, directory: bytes, members: list[Member]) -> bytes:
        """The operation of some members alike, in which ``directory`` holds what they are made of."""
        first = members[0]
        assert first.way is not None
        staged, way = self._staged(first), first.way
        mode = b"%o" % (first.status.st_mode & 0o777)
        if verb == b"assemble":
            old = shell_quote(first.path.rpartition(b"/")[2])
            built = _recipe(way.digest, way.words[2:])  # before that as `last` has them
            words = [*way.words[:2], staged, built, mode, old]
        elif verb == b"piece":
            words = [*way.words, staged]
        elif verb == b"last":
            words = [*way.words, staged, mode, way.digest.encode() or b"''"]
        else:
            above = first.name.rpartition(b"/")[0]
            stage = shell_quote(b"./%s/%s" % (self._batch.staging, above))
            words = [b"all $?", verb, stage]
            for member in members:
                assert member.way is not None
                old = _source(member).rpartition(b"/")[2]
                new = member.path.rpartition(b"/")[2]
                mode = b"%o" % (member.status.st_mode & 0o777)
                words += [_recipe(member.way.digest, member.way.words), mode]
                words += [shell_quote(old), shell_quote(new)]
        paths = [member.path for member in members]
        if (
            verb in _MANY
        ):  # what is staged for them is dropped where a directory is lost
            at = self._operations.at(
                Operation(verb, paths), self._operations.chain(directory)
            )
            return b"%s; %s" % (at, b" ".join(words))
        return self._operations.line(
            verb, self._operations.chain(directory), paths, words
        )

    def _staged(self, member: Member) -> bytes:
        return shell_quote(b"./%s/%s" % (self._batch.staging, member.name))


def _recipe(digest: str, words: Sequence[bytes]) -> bytes:
    """What a file is to hold, and what it is made of, if that is more than one file."""
    return b",".join([digest.encode(), *words])


def _source(member: Member) -> bytes:
    """What over there it is made of."""
    return member.way and member.way.source or member.path


def _is_odd(path: bytes) -> bool:
    """Does a digest tool write ``path`` otherwise than it is?"""
    return any(odd in path for odd in _ODD)


def _few(members: list[Member]) -> Iterator[list[Member]]:
    for at in range(0, len(members), _FEW):
        yield members[at : at + _FEW]
