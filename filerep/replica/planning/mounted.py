"""What was mounted below the source and is not now: its files have gone, but nobody removed them.

Mount points are kept by name beside the state file, where there is one, so that what is not
mounted when the next run starts is known too. What they held stays at the far end as long as
they are not mounted again.
"""

from __future__ import annotations

import os
import select

from filerep import ownfiles
from filerep.filesystem import mount_points
from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional


class Mounted:
    """Mount points below ``root``, those of now and those that were seen before."""

    def __init__(
        self,
        root: bytes,
        path: Optional[bytes],
        say: Callable[[str], None],
        mounted: Callable[[bytes], Iterable[bytes]] = mount_points,
    ) -> None:
        """``path`` is where they are kept, None for not at all."""
        self._root = root
        self._path = path
        self._say = say
        self._mounted = mounted
        self._known = self._kept()
        self._said: set[bytes] = set()
        self._away: set[bytes] = set()
        self._changes = _Changes()
        self._look()

    def _look(self) -> None:
        """See what is mounted now, which is remembered from now on."""
        now = set(self._mounted(self._root))
        self._said -= now
        if now - self._known:
            self._known |= now
            self._keep()
        self._away = self._known - now

    def away(self, path: bytes) -> bool:
        """Is ``path`` at or below what was mounted, and is not now? Says so once."""
        if self._changes.any():
            self._look()
        for point in self._away:
            if path == point or path.startswith(point + b"/"):
                if point not in self._said:
                    self._said.add(point)
                    self._say(
                        f"{quote(point)} is not mounted any more: what it held stays at the"
                        " far end"
                    )
                return True
        return False

    def _kept(self) -> set[bytes]:
        if self._path is None or not os.path.exists(self._path):
            return set()
        try:
            with open(ownfiles.open_file(self._path), "rb") as file:
                return set(file.read().split(b"\0")) - {b""}
        except OSError:
            return set()

    def _keep(self) -> None:
        if self._path is None:
            return
        try:
            with open(ownfiles.open_file(self._path), "wb") as file:
                file.truncate(0)
                file.write(b"".join(path + b"\0" for path in sorted(self._known)))
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
