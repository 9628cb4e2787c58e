"""What is over there and fr-walk has not named: what earlier runs sent, and what was forgotten.

With --mirror it is all that only the far end has. Looked for when the first copy is done, for
only then is known what fr-walk has not named.
"""

from __future__ import annotations

from filerep.command import UNAVAILABLE
from filerep.farend.answers import Refused
from filerep.pathstream import in_rows
from filerep.replica.known.table import place
from filerep.replica.planning import mirror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from filerep.replica.known.forgotten import Forgotten
    from filerep.replica.known.inventory import Inventory
    from filerep.replica.options import Here, Removal
    from filerep.replica.planning.gone import Gone
    from filerep.replica.planning.mounted import Mounted
    from filerep.replica.scheduling.schedule import Schedule
    from filerep.rules.ignore import Rules

_MANY_FILES = 100


class Leftovers:
    """Queues it to be looked at, so that what is gone here is removed there."""

    def __init__(
        self,
        here: Here,
        removal: Removal,
        schedule: Schedule,
        inventory: Inventory,
        forgotten: Forgotten,
        gone: Gone,
        missing: Container[bytes],
        mounted: Mounted,
    ) -> None:
        """``missing`` are paths that could not be written there, or read here."""
        self._source = here.source
        self._table = here.table
        self._load_rules = here.rules
        self._removal = removal
        self._schedule = schedule
        self._inventory = inventory
        self._forgotten = forgotten
        self._gone = gone
        self._missing = missing
        self._mounted = mounted
        self._unseen_queued = False
        #: Files that an earlier run sent, and that do not count by now.
        self.ignored = 0
        #: Has fr-walk named anything, or is the first copy done?
        self.walked = False

    def nothing_unseen(self) -> None:
        """The far end is empty: nothing of an earlier run is there."""
        self._unseen_queued = True

    def queue(self, asked: bool) -> bool:
        """Queue the next of them, or ask for listings; is there any to wait for?

        ``asked``: somebody wants to know whether all is well.
        """
        if not self._unseen_queued:
            self._unseen_queued = True
            self._queue_unseen()
            if self._schedule.bulk:
                return True
        if self._load_rules is not None and self._mirror(self._load_rules()):
            return True
        if self._forgotten.due(asked) and self._forgotten.look():
            self._unseen_queued = False  # what the listing will show is looked at so
            return True
        return False

    def _queue_unseen(self) -> None:
        """Look at what earlier runs have sent and this one has not seen.

        Raises ``Refused`` where that is all there ever was: a file system that is not mounted
        leaves an empty directory.
        """
        unseen = self._table.unseen()
        known = [path for path in unseen if not path.endswith(b"/")]
        files = [path for path in known if not self._gone.is_there(path)]
        gone = set(files)
        self.ignored = sum(
            path not in gone and path not in self._missing for path in known
        )
        many = len(files) >= _MANY_FILES or files and self._mounted.root_away
        if self._removal.delete and many and not self.walked:
            raise Refused(
                UNAVAILABLE,
                f"the source is empty, and {len(files):,} files at the far end came from"
                " it: nothing was removed, as something may not be mounted here;"
                " --clean-out-first removes them",
            )
        bulk = self._schedule.bulk
        for directory, row in in_rows(files, self._schedule.name):
            bulk.add(directory, row)
        # The inner ones first, and behind what is in them.
        for path in reversed(unseen):
            if path.endswith(b"/"):
                bulk.add(place(path)[0], [path[:-1]])

    def _mirror(self, rules: Rules) -> bool:
        """Queue what only the far end has, or ask for more listings; is there any of it?"""
        inventory = self._inventory
        if not inventory.needed and inventory.impossible:
            raise Refused(UNAVAILABLE, "--mirror needs find or stat at the far end")
        links = mirror.links(self._table, rules, self._source)
        for directory in links:
            if inventory.needed and not inventory.asked(directory):
                inventory.ask(directory)
        if inventory.wanted:
            return True
        self._load_rules = None
        paths, count, files = mirror.victims(self._table, links, self._source)
        many = files >= _MANY_FILES and count > files / 2
        if self._removal.mirror < 2 and many:
            raise Refused(
                UNAVAILABLE,
                f"--mirror would remove {count:,} of {files:,} files at the far end:"
                " nothing was removed; give --mirror twice if that is right",
            )
        mirror.claim(self._table, paths)
        for path in (path.rstrip(b"/") for path in paths):
            self._schedule.bulk.add(path.rpartition(b"/")[0], [path])
        return bool(self._schedule.bulk)
