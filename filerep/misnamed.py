"""Records that are no paths of the path stream, as they are piped in by mistake.

A record that names nothing is no error: what is gone is named too. So nothing is said without
evidence: read in another way, the record names something that is there, or is one of an archive.
Or all of them, none of which is in SRC, are in one other directory.
"""

from __future__ import annotations

import collections
import os
import re

from filerep.pathstream import normalize, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

    from filerep.source import Source

_STATUS = re.compile(rb"[ MTADRCU?!]{2} (.+)", re.DOTALL)
# What a header of tar has a NUL before, and what compressed files begin with.
_ARCHIVES = (b"ustar", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\3\4")
_MOST_LINES = 20
_ENOUGH = 100  # records that are looked at so
_MOST_DIRECTORIES = 500  # that are looked into for them


class Misnamed:
    """Looks at records that name nothing, until one of them shows what is wrong."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = _ENOUGH
        self._found = False
        self._is_archive = False
        self._first: list[bytes] = []

    def read(self, records: list[bytes]) -> None:
        """Keep the first of all records, for ``elsewhere``."""
        self._first += records[: _ENOUGH - len(self._first)]

    def hint(self, record: bytes, ended: bool = True) -> Optional[str]:
        """What is wrong with ``record``, once; ``ended`` by a NUL."""
        if self._left <= 0:
            return None
        self._left -= 1
        found = (
            self._archive(record)
            or self._lines(record, ended)
            or self._status(record)
            or self._here(record)
        )
        if found:
            self._left = 0
            self._found = True
        return found

    def refused(self, record: bytes) -> Optional[str]:
        """What is said of ``record``, which is no path below SRC.

        In an archive there may be many such, by chance: of them nothing is said.
        """
        if self._is_archive:
            return None
        for one in self._first:
            found = None if self._is_there(one) else self._archive(one)
            if found:
                self._left, self._found = 0, True
                return found
        return f"not a path below SRC: {quote(record)}"

    def elsewhere(self) -> Optional[str]:
        """In which other directory the records are, none of which was in SRC.

        One alone, as a README that has gone, may be in many: that is no evidence.
        """
        paths = [path for path in map(normalize, self._first) if path]
        if self._found or not paths or any(map(self._is_in_source, paths)):
            return None
        for directory in (*_below(self._source.root), *_below(b".")):
            there = (os.path.lexists(os.path.join(directory, path)) for path in paths)
            if all(there) and (len(paths) > 1 or _holds_one(directory)):
                return (
                    f"{quote(paths[0])} is not in SRC, but in {quote(directory)}:"
                    " paths are relative to SRC, as in fr-walk DIR | fr-pack DIR"
                )
        return None

    def _archive(self, record: bytes) -> Optional[str]:
        if not record.startswith(_ARCHIVES):
            return None
        self._is_archive = True
        return (
            "what is piped in is an archive; it is to be a list of paths, each ended by a"
            " NUL, of which fr-pack makes one (fr-walk, find -print0)"
        )

    def _lines(self, record: bytes, ended: bool) -> Optional[str]:
        lines = record.split(b"\n")[:_MOST_LINES]
        if len(lines) < 2 or ended and not any(map(self._is_there, lines)):
            return None
        return (
            f"{quote(lines[0])} ends in a newline: paths end in NUL here"
            " (git ls-files -z, find -print0, grep -Z)"
        )

    def _status(self, record: bytes) -> Optional[str]:
        found = _STATUS.fullmatch(record)
        if found is None or not self._is_there(found[1]):
            return None
        return (
            f"{quote(record)} is no path but a line of git status;"
            " git ls-files -z and git diff --name-only -z give paths"
        )

    def _here(self, record: bytes) -> Optional[str]:
        if record.startswith(b"/") or not os.path.lexists(record):
            return None
        return (
            f"{quote(record)} is there from this directory, but not from SRC:"
            ' paths are relative to SRC, or absolute (find "$PWD/dir" -print0)'
        )

    def _is_there(self, path: bytes) -> bool:
        """From SRC, or, as what is piped in may have more than one flaw, from here."""
        if not path or b"\0" in path:
            return False
        plain = normalize(path)
        if plain is not None and self._is_in_source(plain):
            return True
        return os.path.lexists(path)

    def _is_in_source(self, path: bytes) -> bool:
        try:
            return self._source.look(path.rstrip(b"/")) is not None
        except OSError:
            return True


def _below(top: bytes) -> Iterator[bytes]:
    """Directories below ``top``, the nearest first, as many as there is time for."""
    waiting = collections.deque([top])
    left = _MOST_DIRECTORIES
    while waiting and left:
        for path in _directories(waiting.popleft())[:left]:
            left -= 1
            waiting.append(path)
            yield path


def _directories(above: bytes) -> list[bytes]:
    try:
        with os.scandir(above) as entries:
            directories = [one for one in entries if one.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [one.path for one in directories if one.name != b".git"]


def _holds_one(directory: bytes) -> bool:
    try:
        return len(os.listdir(directory)) == 1
    except OSError:
        return False
