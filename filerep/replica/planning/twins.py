"""Names that are two here and one at the far end, which does not tell case or Unicode form apart.

`Readme` becomes `README` here: over there that is one file, which must not be removed under its
old name, and keeps that name if it was there before this run. `Readme` and `README` are both
here: only one of them can be over there, always the same, and it is told of the other.
"""

from __future__ import annotations

import os

from filerep.source import changed_meanwhile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

    from filerep.source import Source


class Twins:
    """Looks in the source for what has the same name at the far end."""

    def __init__(self, source: Source, fold: Callable[[bytes], bytes]) -> None:
        """``fold`` makes one of all names that are one to the far end."""
        self._source = source
        self._fold = fold
        self._known: dict[bytes, dict[bytes, bytes]] = {}
        # Of the directory looked at last: its stamp, and its names by what they are folded to.
        self._last: tuple[bytes, int, dict[bytes, list[bytes]]] = (b"", 0, {})

    def of(self, path: bytes) -> Optional[bytes]:
        """What is here under another name that is the same as ``path`` over there."""
        found = b""
        for part in path.split(b"/"):
            names = self._names(found).get(self._fold(part), [])
            if not names:
                return None
            others = [name for name in names if name != part] or names
            found = found + b"/" + others[0] if found else others[0]
        return None if found == path else found

    def before(self, path: bytes) -> Optional[bytes]:
        """What is here as well, and has the one name over there, if not ``path`` has it.

        That may be about one of the directories above ``path``.
        """
        above = b""
        for part in path.split(b"/"):
            names = self._names(above).get(self._fold(part), [part])
            if min(names) < part:
                return above + b"/" + min(names) if above else min(names)
            above = above + b"/" + part if above else part
        return None

    def known(
        self, directory: bytes, name: bytes, there: Iterable[bytes]
    ) -> Optional[bytes]:
        """By which other name, not used here, ``there`` has what is called ``name`` now.

        ``there`` is what the far end had in ``directory`` when this was first asked.
        """
        if directory not in self._known:
            self._known[directory] = {self._fold(one): one for one in there}
        other = self._known[directory].get(self._fold(name))
        if other is None or other in self._names(directory).get(self._fold(name), []):
            return None
        return other

    def _names(self, directory: bytes) -> dict[bytes, list[bytes]]:
        try:
            fd = self._source.directory(directory)
            stamp = os.fstat(fd).st_mtime_ns
            if self._last[:2] != (directory, stamp):
                names: dict[bytes, list[bytes]] = {}
                for name in map(os.fsencode, os.listdir(fd)):
                    names.setdefault(self._fold(name), []).append(name)
                self._last = (directory, stamp, names)
            return self._last[2]
        except OSError as error:
            if not changed_meanwhile(error):
                raise
            return {}


def one_name(other: bytes) -> OSError:
    """Why a path is not sent; ``other`` has its name."""
    said = (
        f"it is one name with {os.fsdecode(other)!r} at the far end, which holds that"
    )
    return OSError(said)
