"""What came from here, is at the far end, and is not in the table any more: it is found again.

A batch is planned on top of those that are under way. Where some of them fail, their answers can
contradict each other in ways that nobody has thought of, and the table may forget a path that is
there. Then nothing would ever remove it, since only what is known is removed.

The state file does not forget so: a path is in it before it is sent, and leaves it when its
removal was acknowledged. So after trouble, and now and then, the two are compared. A path that
only the state file knows, and that is not here, is looked for at the far end; if the listing
shows it as it was sent, it is ours again. Where both agree, as they nearly always do, nothing is
asked of the far end.
"""

from __future__ import annotations

from filerep.replica.known import entries
from filerep.replica.known.table import Table, directories_above

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Optional

    from filerep.replica.known.inventory import Inventory
    from filerep.replica.known.statewriter import StateWriter
    from filerep.source import Source

# Seconds. In trouble that does not end, once a while is enough.
_PAUSE = 30.0
_NOW_AND_THEN = 3600.0


class Forgotten:
    """Compares the table with the state file."""

    def __init__(
        self,
        source: Source,
        table: Table,
        state: StateWriter,
        inventory: Inventory,
        clock: Callable[[], float],
        enabled: bool,
    ) -> None:
        """``enabled``: may anything be removed there, and can that end be asked at all?"""
        self._source = source
        self._table = table
        self._state = state
        self._inventory = inventory
        self._clock = clock
        self._enabled = enabled
        self._trouble = False
        self._last = clock()
        self._sought: set[bytes] = set()  # and not found as it was sent

    def suspect(self) -> None:
        """A batch was not done as it was planned."""
        self._trouble = self._enabled

    def due(self, asked: bool) -> bool:
        """Is it time to look? ``asked``: somebody wants to know whether all is well."""
        since = self._clock() - self._last
        if self._trouble:
            return asked or since >= _PAUSE
        return self._enabled and since >= _NOW_AND_THEN

    def next(self) -> Optional[float]:
        """When to look, by the clock, if nothing happens until then."""
        return self._last + _PAUSE if self._trouble else None

    def look(self) -> bool:
        """Ask the far end for what nobody knows of; is there any?"""
        self._trouble, self._last = False, self._clock()
        found = list(self._forgotten())
        for directory, name, value in found:
            self._make(directory)
            bits = entries.marks(value) | entries.UNSEEN | entries.OLD
            self._table.directories[directory][name] = entries.marked(value, bits)
        for directory in {directory for directory, _, _ in found}:
            for one in (b"", *directories_above(directory), directory):
                self._inventory.distrust(one)
            self._inventory.ask(directory)
        return bool(found)

    def _forgotten(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Directory, name and entry of each path that only the state file knows."""
        kept = self._state.recall()
        if kept is None or kept.old:
            return
        for directory, row in kept.rows.items():
            known = self._table.directories.get(directory, {})
            for name, value in row.items():
                if name in known or entries.marks(value) & entries.UNSURE:
                    continue
                path = directory + b"/" + name if directory else name
                if path not in self._sought and self._source.is_gone(path.rstrip(b"/")):
                    self._sought.add(path)
                    yield directory, name, value

    def _make(self, directory: bytes) -> None:
        """Have rows for ``directory``, as long as no listing shows what is there."""
        entry = entries.directory_entry(0, entries.UNSURE)
        for one in (*directories_above(directory), directory):
            if one and one not in self._table.directories:
                self._table.put_directory(one, entry)
