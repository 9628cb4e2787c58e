"""Which directories of the destination are known, and asking for those that are not.

Only directories the source has are asked for, each with what is in it but not below: so a
`node_modules` that only the far end has, or that is ignored, is one name in its parent's
listing whatever it holds.
"""

from __future__ import annotations

from filerep import listing
from filerep.batch import pieces, shell_quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from filerep.link import Far
    from filerep.table import Table

STAGE_PREFIX = b".filerep-"


class Listings:
    """What was asked for, what is in, and the paths that wait for it."""

    def __init__(self, far: Far, table: Table, needed: bool) -> None:
        """``needed``: unless the far end was empty or cannot list at all."""
        self._far = far
        self._table = table
        self.needed = needed
        self._done: dict[bytes, bool] = {}  # False: asked for
        self._wanted: dict[bytes, None] = {}
        self._asked: list[bytes] = []
        self._waiting: dict[bytes, list[bytes]] = {}

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

    def wait(self, directory: bytes, paths: Iterable[bytes]) -> None:
        """Keep ``paths`` of ``directory`` until it is listed."""
        self._waiting.setdefault(directory, []).extend(paths)

    def request(self) -> list[bytes]:
        """The commands that list all that is wanted."""
        self._asked = sorted(self._wanted)
        self._wanted = {}
        commands = [b"echo listing"]
        words = [shell_quote(b"./" + one if one else b".") for one in self._asked]
        commands += [b"list " + b" ".join(some) for some in pieces(words)]
        return [*commands, listing.END_COMMANDS[self._far.list]]

    def merge(self, data: bytes) -> list[bytes]:
        """Take in the listing asked for; the paths that have waited for it."""
        found = listing.parse(self._far.list, data)
        top = found.get(b"", [])
        found[b""] = [one for one in top if not one[0].startswith(STAGE_PREFIX)]
        released: list[bytes] = []
        for directory in self._asked:
            self._done[directory] = True
            self._table.merge_listing(directory, found.get(directory, ()))
            released += self._waiting.pop(directory, ())
        self._asked = []
        return released

    def doubt(self) -> None:
        """The destination was changed from outside: list it anew where it is needed."""
        self._done = {directory: False for directory in self._wanted}
