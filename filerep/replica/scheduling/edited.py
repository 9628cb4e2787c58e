"""Were the rules edited while something waits to be sent? What stat(2) says of their files tells.

fr-watch names a `.gitignore` that is edited, but no file outside of SRC or in a `.git`, and
with --once there is no fr-watch. So once something has waited for a while, it is looked for
each directory that has its turn: have the files that its rules come from changed since then?
Where the answer is yes by mistake, as a clock differs from the server's, this only costs time.
"""

from __future__ import annotations

import os
import stat
import time

from filerep.command import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

    from filerep.source import Source

    Stamp = tuple[int, ...]

# As in rules/ignore.py, which most runs need not load here.
RULE_FILE, REPOSITORY = b".gitignore", b".git"
#: For so long nothing is looked at: what waits no longer costs no time.
PATIENCE = 1.0  # seconds
_AGAIN = 0.25
# Time stamps come in steps, of 2 s on old file systems.
_SLACK_NS = 2_100_000_000


class Edited:
    """Looks at the files of rules, from when something began to wait."""

    def __init__(
        self,
        source: Source,
        inputs: Callable[[bytes], Iterable[bytes]],
        patience: float,
        began: Optional[tuple[float, int]] = None,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """``inputs`` gives what else the rules of a directory with a `.git`, or of SRC, come from.

        It may raise OSError and ``Stop``. The first to wait does so since ``began``, by `clock`
        and `wall_ns`: what fr-walk names while somebody types a password, say.
        """
        self._source = source
        self._inputs = inputs
        self._patience = patience
        self._clock = clock
        self._wall_ns = wall_ns
        self._waits_since: Optional[float]
        self._waits_since, self._since_ns = began or (clock(), wall_ns())
        self._until = 0.0  # what was looked at need not be looked at again
        self._looked: set[bytes] = set()
        self._stamps: dict[bytes, Stamp] = {}

    def end(self) -> None:
        """Nothing waits any more."""
        self._waits_since = None
        self._stamps = {}

    def found(self, directory: bytes) -> bool:
        """Have the rules of ``directory`` been edited since something waits, or since that was so?"""
        now = self._clock()
        if self._waits_since is None:
            self._waits_since, self._since_ns = now, self._wall_ns()
            self._looked = set()
        if now < self._waits_since + self._patience:
            return False
        if now >= self._until:
            self._until = now + _AGAIN
            self._looked = set()
        if directory in self._looked:
            return False
        since_ns = self._wall_ns()
        edited = False
        while directory not in self._looked:
            self._looked.add(directory)
            edited = self._look(directory) or edited
            directory = directory.rpartition(b"/")[0]
        if edited:
            self._since_ns = since_ns
        return edited

    def _look(self, directory: bytes) -> bool:
        before = directory + b"/" if directory else b""
        try:
            rules = self._source.look(before + RULE_FILE)
            edited = self._is_new(before + RULE_FILE, _stamp(rules))
            if directory and self._source.look(before + REPOSITORY) is None:
                return edited
            for file in self._inputs(directory):
                edited = self._is_new(file, _stamp(_stat(file))) or edited
        except (OSError, Stop):
            return False  # what cannot be told now is looked at again
        return edited

    def _is_new(self, file: bytes, stamp: Stamp) -> bool:
        known = self._stamps.get(file)
        self._stamps[file] = stamp
        recent = bool(stamp) and stamp[-1] > self._since_ns - _SLACK_NS
        return recent or known is not None and known != stamp


def _stat(file: bytes) -> Optional[os.stat_result]:
    try:
        return os.stat(file)
    except (OSError, ValueError):
        return None


def _stamp(status: Optional[os.stat_result]) -> Stamp:
    """What a file is known by; empty for none. Its last number is when it changed."""
    if status is None:
        return ()
    if stat.S_ISDIR(status.st_mode):  # of which only matters whose it is
        return (status.st_ino, status.st_uid, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
