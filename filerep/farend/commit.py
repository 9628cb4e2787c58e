"""The commit: the script by which the far end puts a batch into place.

PROTOCOL.md says what each line means.
"""

from __future__ import annotations

from filerep.farend.batch import Operation
from filerep.farend.making import Making
from filerep.farend.operations import Operations
from filerep.farend.shell import in_calls, script_text, shell_quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from filerep.farend.batch import Batch, Group

COMMIT = b"commit"
MOVES = b"moves"

_MANY_MODES = 1000

# What is made of files over there, or so large that to move it to another file system takes long, is
# heard of meanwhile; but not for ever: what is slower than this, in bytes a second, hangs.
_LONG_BYTES = 1 << 26
_PATIENCE, _SLOWEST = 60, 1_000_000


def _held(name: bytes) -> bytes:
    """What is called so in the staging directory, whoever has put a link in its place meanwhile."""
    return b'"$H"/' + shell_quote(name)


class Commit:
    """Writes the script of one batch, which is arranged, and numbers what it is about."""

    def __init__(self, batch: Batch, unfit: set[bytes]) -> None:
        """``unfit`` are paths that changed while they were read. Those stay in the
        staging directory (in a new directory they are removed there first), which is cleared.
        """
        self._batch = batch
        self._unfit = unfit
        self._operations = Operations()

    @property
    def numbered(self) -> list[tuple[Operation, bytes]]:
        """The operations, and what they are about, by the number in an answer."""
        return self._operations.numbered

    def members(self) -> list[tuple[bytes, bytes]]:
        """The members of the archive that come last, by name: the script, and what it needs."""
        batch, unfit = self._batch, self._unfit
        lines: list[bytes] = [b"# %d" % batch.number, *batch.lessons]
        long = self._takes_long()
        lines += long
        lines += self._spelling()
        released = [_held(one) for one in batch.released]
        lines += [b"rm -rf " + b" ".join(some) for some in in_calls(released)]
        if batch.retained or batch.reused:
            lines.append(b'[ "$reuses" ] || exit')
            lines.append(b"sums= lacking=")
        lines += self._shelves()
        for directory, (number, paths) in batch.retained.items():
            lines += self._retaining(number, directory, paths)
        making = Making(batch, unfit, self._operations)
        lines += making.made()
        lines += self._removing(b"del", sorted(batch.deletions))
        # The inner directories first: b"a/b" sorts behind b"a".
        lines += self._removing(b"rmd", sorted(batch.removals, reverse=True))
        lines += self._changing()
        torn = [
            _held(member.name)
            for member in batch.members
            if member.path in unfit and (batch.linked or member.in_new_directory)
        ]
        lines += [b"rm -f " + b" ".join(some) for some in in_calls(torn)]
        lines += [b"keep=1"] if batch.keeps else []
        found = list(batch.files)
        if batch.moved:
            moves = b"".join(self._moving(making))
            if moves:
                found.append((MOVES, moves))
                lines.append(b"moved")
        else:
            lines += self._placing()
            lines += making.given()
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
        into = {part for above in groups for part in self._operations.chain(above)}
        words = [b"link", *(shell_quote(b"./" + one) for one in sorted(into))]
        link = b" ".join(words) + b" || {"
        return [script_text("place_by_cp"), link, *puts, b"}"]

    def _spelling(self) -> Iterator[bytes]:
        for path, old in self._batch.spelled:
            directory, _, name = path.rpartition(b"/")
            words = [shell_quote(old), shell_quote(name)]
            yield self._operations.line(
                b"spell", self._operations.chain(directory), [path], words
            )

    def _shelves(self) -> Iterator[bytes]:
        """Makes the directories of `retain`, if there are some: a process for all of them."""
        retained = self._batch.retained.values()
        if len(retained) > 1:
            made = [_held(b".retained/%d" % number) for number, _ in retained]
            for some in in_calls(made):
                yield b"mkdir -p %s 2>/dev/null" % b" ".join(some)

    def _retaining(
        self, number: int, directory: bytes, paths: list[bytes]
    ) -> Iterator[bytes]:
        quoted = [shell_quote(b"./" + path) for path in paths]
        for some in in_calls(quoted):
            now, paths = paths[: len(some)], paths[len(some) :]
            words = [b"%d" % number, *some]
            yield self._operations.line(
                b"retain", self._operations.chain(directory), now, words
            )

    def _removing(self, verb: bytes, paths: list[bytes]) -> Iterator[bytes]:
        for some in in_calls(paths):
            above = {path.rpartition(b"/")[0] for path in some}
            checked = {
                part
                for directory in above
                for part in self._operations.chain(directory)
            }
            words = (shell_quote(b"./" + path) for path in some)
            yield self._operations.line(verb, sorted(checked), some, words)

    def _changing(self) -> Iterator[bytes]:
        """The modes. Many at once name each directory above them once.

        In a tree 900 levels deep, were each to name all above it: half a gigabyte.
        """
        for start in range(0, len(self._batch.modes), _MANY_MODES):
            some = self._batch.modes[start : start + _MANY_MODES]
            if len(some) == 1:
                ((directory, mode),) = some
                chain = self._operations.chain(directory)
                yield self._operations.line(b"mod", chain, [directory], [b"%o" % mode])
                continue
            paths = [path for path, _ in some]
            checked = sorted(
                {part for path in paths for part in self._operations.chain(path)}
            )
            first = len(self.numbered) + len(checked)
            each = [
                b"D=%s i=%d; mod %o" % (shell_quote(b"./" + path), first + index, mode)
                for index, (path, mode) in enumerate(some)
            ]
            at_all = self._operations.at(Operation(b"mod", paths), checked)
            yield b"%s && { %s; }" % (at_all, b"; ".join(each))

    def _moving(self, making: Making) -> Iterator[bytes]:
        """What the mover is told."""
        for group in self._batch.groups.values():
            paths, names = group.paths, group.inner
            if self._unfit:
                fit = group.fit(self._unfit)
                paths, names = [path for path, _ in fit], [name for _, name in fit]
            if names:
                yield self._move(b"put", group, paths, names)
        for group, members in making.placed().items():
            paths = [member.path for member in members]
            yield self._move(b"given", group, paths, [one.inner for one in members])

    def _move(
        self, verb: bytes, group: Group, paths: list[bytes], names: list[bytes]
    ) -> bytes:
        """The same of some of ``group``; ``verb`` is for what it cannot do."""
        first = self._operations.number(
            Operation(verb, paths), self._operations.chain(group.directory)
        )
        return b"%s\0%d\0%s\0%s\0%d\0%s\0" % (
            verb,
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
            chain = self._operations.chain(group.directory)
            yield self._operations.line(b"put", chain, paths, map(shell_quote, some))
