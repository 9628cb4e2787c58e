"""Names that are two here and one at the far end, which does not tell case or Unicode form apart.

`Readme` becomes `README` here: over there that is one file, which must not be removed under its
old name, and gets the new one. `Readme` and `README` are both here: only one of them can be over
there, always the same, and it is told of the other. What is no symlink goes first: `Lib` may only
lead to `lib` here, and over there, if it can be at all, it would lead to itself.
"""

from __future__ import annotations

import os
from stat import S_ISLNK

from filerep.pathstream import quote
from filerep.source import changed_meanwhile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Optional

    from filerep.source import Source


class Twins:
    """Looks in the source for what has the same name at the far end."""

    def __init__(
        self,
        source: Source,
        fold: Callable[[bytes, bytes], bytes],
        counting: Callable[[list[bytes]], list[bytes]] = lambda paths: paths,
    ) -> None:
        """``fold`` makes one of all names in a directory that are one to the far end.

        ``counting`` gives those of some paths that count: what does not is never over there.
        """
        self._source = source
        self._fold = fold
        self._counting = counting
        self._known: dict[bytes, dict[bytes, bytes]] = {}
        # Of the directory looked at last: when that was, by its stamp, too, which may have steps
        # of seconds; and its names by what they are folded to.
        self._last: tuple[tuple[bytes, int, int], dict[bytes, list[bytes]]]
        self._last = (b"", -1, 0), {}

    def of(self, path: bytes) -> Optional[bytes]:
        """What is here under another name that is the same as ``path`` over there."""
        found = b""
        for part in path.split(b"/"):
            names = self._names(found).get(self._fold(found, part), [])
            if not names:
                return None
            others = [name for name in names if name != part] or names
            found = _join(found, min(others, key=lambda name: self._rank(found, name)))
        return None if found == path or not self._counting([found]) else found

    def before(self, path: bytes) -> Optional[bytes]:
        """What is here as well, and has the one name over there, if not ``path`` has it.

        That may be about one of the directories above ``path``.
        """
        above = b""
        for part in path.split(b"/"):
            names = self._names(above).get(self._fold(above, part), [part])
            others = []
            if names != [part]:
                rank = self._rank(above, part)
                first = [name for name in names if self._rank(above, name) < rank]
                others = [_join(above, name) for name in first]
            if others:
                counting = self._counting(others)
                if counting:
                    return min(counting)
            above = _join(above, part)
        return None

    def _rank(self, directory: bytes, name: bytes) -> tuple[bool, bytes]:
        """The one of two names goes first for which this is less."""
        status = self._source.look(_join(directory, name))
        return status is not None and S_ISLNK(status.st_mode), name

    def known(
        self, directory: bytes, name: bytes, there: Collection[bytes]
    ) -> Optional[bytes]:
        """By which other name ``there`` has what is called ``name`` here.

        ``there`` is what the far end has in ``directory``; a directory's name ends in ``/``.
        """
        if name in there or name + b"/" in there:
            return None
        if directory not in self._known:
            names = (one.rstrip(b"/") for one in there)
            self._known[directory] = {self._fold(directory, one): one for one in names}
        known = self._known[directory]
        folded = self._fold(directory, name)
        other = known.setdefault(folded, name)
        if other in there or other + b"/" in there:
            return other
        known[folded] = name  # under which it is about to be there
        return None

    def spelled(self, directory: bytes, name: bytes) -> None:
        """What was known by another name in ``directory`` has this one from now on."""
        self._known[directory][self._fold(directory, name)] = name

    def forget(self) -> None:
        """What the far end has may be more than was known."""
        self._known.clear()

    def _names(self, directory: bytes) -> dict[bytes, list[bytes]]:
        try:
            fd = self._source.directory(directory)
            now = directory, self._source.turn, os.fstat(fd).st_mtime_ns
            if self._last[0] != now:
                names: dict[bytes, list[bytes]] = {}
                for name in map(os.fsencode, os.listdir(fd)):
                    names.setdefault(self._fold(directory, name), []).append(name)
                self._last = now, names
            return self._last[1]
        except OSError as error:
            if not changed_meanwhile(error):
                raise
            return {}


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def one_name(other: bytes) -> OSError:
    """Why a path is not sent; ``other`` has its name."""
    said = f"at the far end that is the same name as {quote(other)}, which is there"
    return OSError(said)
