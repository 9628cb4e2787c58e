"""The tracked paths of an index where git tells no case apart (core.ignoreCase)."""

from __future__ import annotations

from bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filerep.rules.gitindex import Index


class Folded:
    """What ``index`` holds, by what its paths are in lower case."""

    def __init__(self, index: Index) -> None:
        self._spellings = {name.lower(): name for name in index.names}
        self._sorted: list[bytes] | None = None
        self._links = {name.lower() for name in index.links}

    def spelling(self, path: bytes) -> bytes | None:
        """How it is spelled in the index; None if it is not there."""
        return self._spellings.get(path.lower())

    def submodule(self, path: bytes) -> bool:
        return path.lower() in self._links

    def below(self, path: bytes) -> bool:
        """Is there an entry below the directory ``path``?"""
        if self._sorted is None:
            self._sorted = sorted(self._spellings)
        start = path.lower() + b"/"
        at = bisect_left(self._sorted, start)
        return at < len(self._sorted) and self._sorted[at].startswith(start)
