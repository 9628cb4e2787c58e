"""Which directories of the destination are known, and asking for those that are not.

Only directories the source has are asked for, each with what is in it but not below: so a
`node_modules` that only the far end has, or that is ignored, is one name in its parent's
listing whatever it holds.
"""

from __future__ import annotations

from filerep.digest import digest
from filerep.farend import listing
from filerep.replica.known.merging import merge_listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filerep.farend.abilities import Far
    from filerep.replica.known.table import Table

STAGING_PREFIX = b".filerep-"


class _Waiting:
    """Paths of one directory: not looked at yet, looked at, and of those what is altered."""

    __slots__ = ("new", "seen", "altered")

    def __init__(self) -> None:
        self.new: list[bytes] = []
        self.seen: list[bytes] = []
        self.altered: list[bytes] = []


class Inventory:
    """What was asked for, what is in, and the paths that wait for it."""

    def __init__(self, far: Far, table: Table, needed: bool) -> None:
        """``needed``: unless the far end was empty or cannot list at all."""
        self._far = far
        self._table = table
        self.needed = needed
        self._done: dict[bytes, bool] = {}  # False: asked for
        self._wanted: dict[bytes, None] = {}
        self._asked: list[bytes] = []
        self._doubted = False
        self._again: set[bytes] = set()  # asked for more than once
        self._waiting: dict[bytes, _Waiting] = {}
        self._ahead: dict[bytes, None] = {}  # see look_ahead
        # Digests of what showed just what was remembered, by directory.
        self.confirmed: dict[bytes, bytes] = {}

    @property
    def impossible(self) -> bool:
        """Can the far end not list at all?"""
        return self._far.list == "none"

    @property
    def wanted(self) -> int:
        """How many directories are to be asked for."""
        return len(self._wanted)

    @property
    def under_way(self) -> bool:
        return bool(self._asked)

    @property
    def waited_for(self) -> bool:
        return bool(self._wanted or self._asked or self._waiting)

    def asked(self, directory: bytes) -> bool:
        return directory in self._done

    def ask(self, directory: bytes) -> None:
        """Want ``directory`` and those above it listed."""
        while directory not in self._done:
            self._done[directory] = False
            self._wanted[directory] = None
            if not directory:
                break
            directory = directory.rpartition(b"/")[0]

    def knows(self, directory: bytes) -> bool:
        """Is known what the far end holds in ``directory``? If not, it is asked."""
        if not self.needed:
            return True
        done = self._done.get(directory)
        if done:
            return True
        if done is None:
            # What its parent does not hold needs no asking.
            parent = directory
            while parent:
                above = parent.rpartition(b"/")[0]
                if self._done.get(above) and parent not in self._table.directories:
                    self._done[directory] = True
                    return True
                parent = above
            self.ask(directory)
        return False

    def wait(self, directory: bytes, paths: list[bytes]) -> None:
        """Keep ``paths`` of ``directory`` until it is listed."""
        if directory not in self._waiting:
            self._waiting[directory] = _Waiting()
        self._waiting[directory].new += paths
        if self._table.remembered(directory + b"/"):
            self._ahead[directory] = None

    def look_ahead(self, altered: Callable[[bytes, list[bytes]], list[bytes]]) -> bool:
        """Look at what waits in one directory, in case its listing shows what is remembered.

        Then only what is ``altered(directory, paths)`` has to be looked at again. Most starts
        find that, and looking takes as long as listing. Was there anything to look at?
        """
        if not self._ahead:
            return False
        directory = self._ahead.popitem()[0]
        waiting = self._waiting[directory]
        waiting.altered += altered(directory, waiting.new)
        waiting.seen += waiting.new
        waiting.new = []
        return True

    def request(self) -> list[bytes]:
        """The commands that list all that is wanted."""
        self._asked = sorted(self._wanted)
        self._wanted = {}
        return [b"echo listing", *listing.commands(self._far.list, self._asked)]

    def merge(self, data: bytes) -> list[tuple[bytes, list[bytes]]]:
        """Take in the listing asked for; the rows that have waited for it, by directory."""
        bodies = listing.bodies(self._far.list, data)
        released = []
        for directory in self._asked:
            self._done[directory] = True
            same = self._merge(directory, bodies.get(directory, b""))
            waiting = self._waiting.pop(directory, None)
            self._ahead.pop(directory, None)
            if waiting is not None:
                paths = waiting.new + (waiting.altered if same else waiting.seen)
                if paths:
                    released.append((directory, paths))
        self._asked = []
        return released

    def _merge(self, directory: bytes, body: bytes) -> bool:
        """Take in what is in ``directory``; is it known to be what is remembered?"""
        known = self._table.digests.pop(directory, None)
        if directory and self._table.get_directory(directory) is None:
            return False  # gone, or a symlink by now: this is what stands behind that
        if listing.closed(body):
            return False  # what is remembered may be there; to remove it will fail, and be told
        found = digest(body)
        if found == known:
            return True
        listed = listing.parse(self._far.list, body)
        if not directory:
            listed = [one for one in listed if not one[0].startswith(STAGING_PREFIX)]
        same = merge_listing(self._table, directory, listed)
        remembered = not (self._doubted or directory in self._again)
        if same and directory and remembered:
            self.confirmed[directory] = found
        return same

    def distrust(self, directory: bytes) -> None:
        """``directory`` holds something that it did not when it was listed."""
        self._done.pop(directory, None)
        self._again.add(directory)  # the table says more of it than what is remembered

    def doubt(self) -> None:
        """The destination was changed from outside: list it anew where it is needed."""
        self._done = {directory: False for directory in self._wanted}
        # From now on the table says more than what is remembered.
        self._doubted = True
        self._table.digests.clear()
