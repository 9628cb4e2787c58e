"""What the far end retains gives way when its disk is full."""

from __future__ import annotations

import stat
import time
from pathlib import Path

from filerep.farend.batch import Batch
from filerep.farend.commit import Commit
from filerep.replica.known import entries
from filerep.replica.transfer.retained import Retained


def test_what_was_sent_before_there_was_room_is_sent_again(tmp_path: Path) -> None:
    # The pieces of a large file go one behind the other: each found the disk full, and with
    # the second one the file had failed.
    (tmp_path / "old").write_bytes(b"old")
    value = entries.entry((tmp_path / "old").lstat(), entries.OURS)
    retained = Retained()
    retained.add(b"old", entries.signed(value, bytes(20)), Batch(b".filerep-staging"))
    first, second = time.monotonic(), time.monotonic()
    assert retained.give_way(first) and retained.hinders
    assert retained.give_way(second)  # before it was told to make room
    assert retained.left() and not retained.hinders
    assert retained.give_way(second)
    assert not retained.give_way(time.monotonic())


def test_the_places_for_what_goes_from_many_directories_are_made_at_once() -> None:
    # A mkdir each, at a far end where a process takes a millisecond or more.
    retained, batch = Retained(), Batch(b".filerep-staging")
    for number in range(30):
        value = entries.signed(
            entries.listed(stat.S_IFREG, entries.OURS, 20), b"%d" % number
        )
        retained.add(b"d%d/f" % number, value, batch)
    (_, script), *_ = Commit(batch, set()).members()
    made = [line for line in script.splitlines() if line.startswith(b"mkdir ")]
    assert len(made) == 1 and made[0].count(b".retained/") == 30
    assert script.count(b" && retain ") == 30
