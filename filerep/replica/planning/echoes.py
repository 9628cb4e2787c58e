"""Files that come back as they were sent, from a run the other way.

Two runs, one each way, would send a file to and fro for ever: each time it arrives it is a new
file, with another inode and ctime. Its size, mode and mtime are those that were sent; but so they
are where a program has edited a file and set its mtime back. So it is sent the first time, and
its digest is kept: as long as that is the same, it is not sent again. A symlink's mtime is not
set by every tar: of a link only where it leads counts then.
"""

from __future__ import annotations

import os

from filerep.digest import digest
from filerep.replica.known import entries
from filerep.source import same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.source import Source

_MOST_BYTES = 64 << 20  # of a file; what is larger is sent
_MOST_FILES = 10_000
_READ = 1 << 20


class Echoes:
    """Remembers the digests of files that are new, and look as they did."""

    def __init__(self, source: Source, times_links: bool) -> None:
        self._source = source
        self._times_links = times_links
        self._digests: dict[bytes, bytes] = {}
        self._asked: dict[bytes, bytes] = {}  # of files that are not sent yet

    def heard(
        self, path: bytes, status: os.stat_result, target: bytes, value: bytes
    ) -> bool:
        """Does ``path`` hold, or lead to, what it did when it arrived there last?

        ``value`` is what the far end has, which looks the same. Raises OSError.
        """
        timeless = bool(target) and not self._times_links
        if not (timeless or entries.looks_like(value, status)):
            return False
        if status.st_size > _MOST_BYTES:
            return False
        found = digest(target) if target else self._digest(path, status)
        if found is None:
            return False
        if len(self._asked) >= _MOST_FILES:
            self._asked.clear()
        self._asked[path] = found
        return found == self._digests.get(path)

    def asked(self, path: bytes) -> Optional[bytes]:
        """The digest of ``path`` when it was asked for last, which is about to be sent."""
        return self._asked.pop(path, None)

    def arrived(self, path: bytes, found: bytes) -> None:
        """``path`` is over there with that digest.

        Not sooner: a look may be put off, or come to nothing, and the next one must not take
        the same file for one that has come back.
        """
        if len(self._digests) >= _MOST_FILES:
            self._digests.clear()
        self._digests[path] = found

    def _digest(self, path: bytes, status: os.stat_result) -> Optional[bytes]:
        """Of what the file holds, and of how it looks; None if that is not ``status`` any more."""
        look = b"%d %d %d" % (status.st_size, status.st_mtime_ns, status.st_mode)
        fd = self._source.open(path)
        try:
            if not same(os.fstat(fd), status):
                return None
            while data := os.read(fd, _READ):
                look = digest(look + data)
            return look if same(os.fstat(fd), status) else None
        finally:
            os.close(fd)
