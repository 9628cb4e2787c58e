"""Which directories of the destination are known."""

from __future__ import annotations

from filerep.farend.abilities import Far
from filerep.replica.known import entries
from filerep.replica.known.inventory import Inventory
from filerep.replica.known.table import Table


def test_of_what_is_listed_twice_only_the_first_can_be_what_is_remembered() -> None:
    """The second is what the first has shown, with files of the far end's own."""
    table = Table()
    table.put_directory(b"d", entries.directory_entry(0o755, entries.OURS))
    inventory = Inventory(Far("staging=.filerep-x list=find"), table, True)
    for _ in range(2):
        inventory.ask(b"d")
        inventory.request()
        root = b"\0\0./.\0d 755 0 1.5 d\0\0"
        inventory.merge(root + b"\0\0./d/.\0f 644 1 1.5 theirs\0\0")
        assert list(table.directories[b"d"]) == [b"theirs"]
        assert not inventory.confirmed
        inventory.distrust(b"d")
