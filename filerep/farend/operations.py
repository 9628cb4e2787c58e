"""A commit's operations as lines, numbered: an answer names what it is about by its number."""

from __future__ import annotations

from filerep.farend.batch import Operation
from filerep.farend.shell import shell_quote
from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Operations:
    """Numbers all that a commit works on, in the order of its lines."""

    def __init__(self) -> None:
        self.numbered: list[tuple[Operation, bytes]] = []
        self._parts: dict[bytes, bytes] = {}

    def line(
        self,
        verb: bytes,
        directories: list[bytes],
        paths: list[bytes],
        words: Iterable[bytes],
    ) -> bytes:
        """The line of one; ``words`` are what the verb is given for ``paths``."""
        at = self.at(Operation(verb, paths), directories)
        return b"%s && %s %s" % (at, verb, b" ".join(words))

    def at(self, operation: Operation, directories: list[bytes]) -> bytes:
        """How each line of an operation begins."""
        inside = b" ".join(shell_quote(b"./" + one) for one in directories) or b"."
        return b"at %d %s" % (self.number(operation, directories), inside)

    def number(self, operation: Operation, directories: list[bytes]) -> int:
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

    def chain(self, directory: bytes) -> list[bytes]:
        """``a``, ``a/b`` and ``a/b/c`` for ``a/b/c``; the root is always there.

        What is asked for by many is in memory once.
        """
        chain = []
        while directory:
            chain.append(self._parts.setdefault(directory, directory))
            directory = directory.rpartition(b"/")[0]
        return chain[::-1]
