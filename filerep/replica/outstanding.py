"""What has not arrived when a run is ended: nobody could tell it afterwards.

It is told when the end is asked for, and again when something of it has arrived after all: the
last word counts. Not in a first copy, of which is told how far it has come.
"""

from __future__ import annotations

import stat

from filerep.replica.known.unchanged import unchanged
from filerep.source import kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.replica.wiring import Parts

# An overflow names each file of the tree, nearly all of which are as they were.
_MOST_LOOKS = 10_000


class Outstanding:
    """Finds it among all that waits or is under way."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._waiting: Optional[list[bytes]] = None
        self._told = -1  # how many

    def forget(self) -> None:
        """More was named."""
        self._waiting = None

    def tell(self) -> None:
        parts = self._parts
        if parts.options.dry_run or not parts.settling.initial_done:
            return
        if self._waiting is None:
            failed = parts.failures.why
            named = [*parts.pieces.paths(), *parts.schedule.paths()]
            looked, rest = named[:_MOST_LOOKS], named[_MOST_LOOKS:]
            self._waiting = [*failed, *filter(self._differs, looked), *rest]
        paths = dict.fromkeys(
            path
            for sent in parts.flight.later()
            for path in (
                *(member.path for member in sent.batch.members),
                *sent.batch.deletions,
            )
        )
        paths.update(dict.fromkeys(self._waiting))
        if len(paths) != self._told:
            self._told = len(paths)
            is_there = parts.filler.plan.gone.is_there
            parts.reporter.outstanding(list(paths), not any(map(is_there, paths)))

    def _differs(self, path: bytes) -> bool:
        """Would a look at ``path`` have something sent or removed?"""
        source, table = self._parts.here.source, self._parts.here.table
        if path == b"." or path.endswith(b"/"):
            return False
        try:
            status = source.look(path)
            found = kind(status)
            if status is None or found not in (stat.S_IFREG, stat.S_IFLNK):
                return found != stat.S_IFDIR and table.get(path) is not None
            target = source.target(path) if found == stat.S_IFLNK else b""
            return not unchanged(table, path, status, target)
        except OSError:
            return False  # that it cannot be read was told, or will be
