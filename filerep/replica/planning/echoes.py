"""Files that come back as they were sent, from a run the other way.

Two runs, one each way, would send a file to and fro for ever: each time it arrives it is a new
file, with another inode and ctime. Its size, mode and mtime are those that were sent; but so they
are where a program has edited a file and set its mtime back. So it is sent the first time, and
its digest is kept: as long as that is the same, it is not sent again. A symlink's mtime is not
set by every tar: of a link only where it leads counts then.

Where a file was edited at both ends at once, each run puts its own version in the other's place, and
then sends back what has arrived, for ever. So what is older than what was sent of it, and not
for the first time, waits for a moment, in which the newer one comes back; after that it is sent
all the same. Where a tar keeps whole seconds, both may be older than what was sent, or of one time:
then the smaller one is, and the moment differs.
"""

from __future__ import annotations

import os
import time
from stat import S_ISLNK

from filerep.digest import digest
from filerep.replica.known import entries
from filerep.source import same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Optional

    from filerep.source import Source

_MOST_BYTES = 64 << 20  # of a file; what is larger is sent
_MOST_FILES = 10_000
_READ = 1 << 20
_CROSSING = 1_500_000  # ns, 64 to 319 times: by chance, without the time that loading random takes


class Echoes:
    """Remembers the digests of files that are new, and look as they did."""

    def __init__(self, source: Source, times_links: bool) -> None:
        self._source = source
        self._times_links = times_links
        self._digests: dict[bytes, bytes] = {}
        self._asked: dict[bytes, bytes] = {}  # of files that are not sent yet
        self._older: dict[bytes, tuple[int, int]] = {}  # ctime, until when it waits

    def heard(
        self, path: bytes, status: os.stat_result, target: bytes, value: bytes
    ) -> bool:
        """Does ``path`` hold, or lead to, what it did when it arrived there last?

        ``value`` is what the far end has, which looks the same. Raises OSError.
        """
        was_link = S_ISLNK(entries.mode_of(value))
        timeless = bool(target) and was_link and not self._times_links
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

    def crosses(self, path: bytes, status: os.stat_result, value: bytes) -> float:
        """For how many seconds ``path`` is to wait, as it is older than ``value``, which was sent."""
        _, _, size, sent, _ = entries.numbers(value)
        newer = (status.st_mtime_ns, status.st_size) >= (sent, size)
        if newer or value[-1] != entries.OURS:
            return 0.0
        now = time.monotonic_ns()
        ctime, until = self._older.get(path, (0, now))
        if ctime and ctime != status.st_ctime_ns and until <= now:
            until = now + _CROSSING * (64 + os.urandom(1)[0])
        if len(self._older) >= _MOST_FILES:
            self._older.clear()
        self._older[path] = status.st_ctime_ns, until
        return max(0, until - now) / 1e9

    def asked(self, path: bytes) -> Optional[bytes]:
        """The digest of ``path`` when it was asked for last, which is about to be sent."""
        return self._asked.pop(path, None)

    def arrived(self, paths: Iterable[bytes], asked: dict[bytes, bytes]) -> None:
        """``paths`` are over there, those that were ``asked`` for with that digest.

        Not sooner: a look may be put off, or come to nothing, and the next one must not take
        the same file for one that has come back. Of the others it is not known what has arrived.
        """
        if not (asked or self._digests):
            return
        if len(self._digests) + len(asked) >= _MOST_FILES:
            self._digests.clear()
        for path in paths:
            if path in asked:
                self._digests[path] = asked[path]
            else:
                self._digests.pop(path, None)

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
