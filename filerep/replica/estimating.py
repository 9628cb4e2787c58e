"""How much of a first copy is still to be sent: what `progress.py` measures, and by what."""

from __future__ import annotations

import stat

from filerep.replica.known.unchanged import unchanged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.replica.progress import Tally
    from filerep.replica.wiring import Parts


def measure(tally: Tally, parts: Parts) -> None:
    """Have ``tally`` measure all that waits, now that fr-walk has named all there is."""

    def still() -> int:
        """How many that fr-walk named are not in a batch, or in none that was begun."""
        ahead = parts.flight.ahead
        return len(parts.schedule.bulk) + (ahead.taken if ahead else 0)

    def size(path: bytes) -> Optional[int]:
        return _size_to_send(parts, path)

    def aside() -> list[bytes]:
        return [*parts.schedule.big, *parts.pieces.paths()]

    waiting = _planned_ahead(parts) + parts.schedule.bulk.paths()
    tally.start(waiting, still, size, aside)


def _planned_ahead(parts: Parts) -> list[bytes]:
    """The paths in the batch that was begun, as many as were taken for it."""
    ahead = parts.flight.ahead
    if ahead is None:
        return []
    paths = [member.path for member in ahead.batch.members]
    return paths + [b"."] * (ahead.taken - len(paths))


def _size_to_send(parts: Parts, path: bytes) -> Optional[int]:
    """None if nothing of it is. A symbolic link is a file of no bytes."""
    left = parts.pieces.left(path)
    if left is not None:
        return left
    source, target = parts.here.source, b""
    try:
        status = source.look(path)
        if status is not None and stat.S_ISLNK(status.st_mode):
            target = source.target(path)
    except OSError:
        return None
    if status is None or not (target or stat.S_ISREG(status.st_mode)):
        return None
    same = unchanged(parts.here.table, path, status, target)
    return None if same else 0 if target else status.st_size
