"""What was mounted in the source and is not now: its files have gone, but nobody removed them.

Mount points are kept by name beside the state file, where there is one, so that what is not
mounted when the next run starts is known too. What came from there is UNMOUNTED then (see
entries.py): it stays at the far end until it is mounted again. What is made here meanwhile,
where it was, comes and goes as anything else does.

So the next run must know which is which: a point is kept with a slash behind it once the state file
has what is UNMOUNTED there. Not while anything is on its way, which the state file would have as
made here when it arrives. A run that ends before that has the next one mark all that is below,
which is too much rather than too little.
"""

from __future__ import annotations

import os
import select

from filerep import ownfiles
from filerep.filesystem import is_mounted, mount_points
from filerep.pathstream import quote
from filerep.replica.known import entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

    from filerep.replica.known.statewriter import StateWriter
    from filerep.replica.known.table import Table


# In a list of mount points, that is the root.
_ROOT = b"."


def _points(root: bytes) -> set[bytes]:
    points = set(mount_points(root))
    return points | {_ROOT} if is_mounted(root) else points


class Mounted:
    """Mount points below ``root``, those of now and those that were seen before."""

    def __init__(
        self,
        root: bytes,
        path: Optional[bytes],
        table: Table,
        say: Callable[[str], None],
        state: StateWriter,
        idle: Callable[[], bool],
        mounted: Callable[[bytes], Iterable[bytes]] = _points,
    ) -> None:
        """``path`` is where they are kept, None for not at all; ``idle``: is nothing on its way?"""
        self._root = root
        self._path = path
        self._table = table
        self._say = say
        self._state = state
        self._idle = idle
        self._mounted = mounted
        self._known, self._settled = self._kept()
        self._said: set[bytes] = set()
        self._mounted_before: set[bytes] = set()
        self._away = set(self._settled)
        self._changes = _Changes()
        self._look()

    def _look(self) -> None:
        """See what is mounted now, which is remembered from now on."""
        now = set(self._mounted(self._root))
        self._said -= now
        before = self._known, self._settled
        self._known = self._known | now
        away = self._known - now
        # One may be mounted in another.
        slashed = tuple(point + b"/" for point in away)
        for point in now - self._mounted_before:
            self._table.mark_unmounted(point, False, but=slashed)
        for point in away - self._away:
            if self._table.mark_unmounted(point, True):
                self._tell(point)
        self._away, self._mounted_before = away, now
        self._settled = self._settled & away
        if before != (self._known, self._settled):
            self._keep()
        self._settle()

    def _settle(self) -> None:
        """Have the state file know what is UNMOUNTED."""
        fresh = self._away - self._settled
        if not (fresh and self._state and self._idle()):
            return
        entered = [
            (path, value)
            for point in fresh
            for path, value in self._table.below(point)
            if entries.marks(value) & entries.UNMOUNTED
        ]
        self._state.write(entered)
        if self._state:
            self._settled |= fresh
            self._keep()

    @property
    def root_away(self) -> bool:
        """Was something mounted at the root when it was replicated before, and is not now?"""
        return _ROOT in self._away

    def away(self, path: bytes) -> bool:
        """Has the far end something at ``path`` that is UNMOUNTED? Says so once.

        What is not known to be there may be, too, where it was mounted.
        """
        if self._changes.any():
            self._look()
        self._settle()
        if not self._away:
            return False
        value = self._table.get(path.rstrip(b"/"))
        if value is None:
            value = self._table.get_directory(path.rstrip(b"/"))
        if value is not None and entries.may_go(value):
            return False
        for point in self._away:
            if path == point or path.startswith(point + b"/"):
                self._tell(point)
                return True
        return False

    def _tell(self, point: bytes) -> None:
        if point not in self._said:
            self._said.add(point)
            self._say(
                f"{quote(point)} is not mounted any more: what it held stays at the far end"
            )

    def _kept(self) -> tuple[set[bytes], set[bytes]]:
        """All that are kept, and those whose files are remembered to be UNMOUNTED."""
        if self._path is None or not os.path.exists(self._path):
            return set(), set()
        try:
            with open(ownfiles.open_file(self._path), "rb") as file:
                lines = set(file.read().split(b"\0")) - {b""}
        except OSError:
            return set(), set()
        settled = {line[:-1] for line in lines if line.endswith(b"/")}
        return {line.rstrip(b"/") for line in lines}, settled

    def _keep(self) -> None:
        if self._path is None or not self._state:
            return
        lines = (path + b"/" * (path in self._settled) for path in sorted(self._known))
        try:
            with open(ownfiles.open_file(self._path), "wb") as file:
                file.truncate(0)
                file.write(b"".join(line + b"\0" for line in lines))
        except OSError:
            pass  # then the next run is told nothing; this one knows


class _Changes:
    """Tells whether the mount table has changed, without reading it: proc(5)."""

    def __init__(self) -> None:
        self._poller = select.poll()
        try:
            self._table = open("/proc/self/mountinfo", "rb")
        except OSError:
            return
        self._poller.register(self._table, select.POLLPRI)

    def any(self) -> bool:
        return bool(self._poller.poll(0))
