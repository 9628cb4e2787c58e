"""What a batch takes from the queues, and what it leaves there."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from filerep.replica.filling import Filler
from filerep.replica.known.table import Table
from filerep.replica.scheduling.inflight import Flight, NotInThisBatch, Sent
from filerep.replica.scheduling.removals import Removals
from filerep.replica.scheduling.restless import Restless
from filerep.replica.scheduling.schedule import Schedule
from filerep.replica.transfer.pace import Pace


def test_a_file_whose_turn_it_is_to_go_in_pieces_is_looked_at_once() -> None:
    # Put behind the others it came again in the same batch, thousands of times, and each
    # time all of it was read.
    clock = lambda: 0.0
    schedule = Schedule(
        clock,
        Restless(clock, lambda path: None, lambda: 1.0),
        Removals(clock, 5.0, Table(), print),
    )
    economy: Any = SimpleNamespace(in_pieces=lambda size: True)
    judging: Any = SimpleNamespace(sift=lambda paths: paths)
    inventory: Any = SimpleNamespace(knows=lambda directory: True)
    filler = Filler(
        b"stage",
        schedule,
        Flight(),
        inventory,
        Pace(),
        economy,
        judging,
        SimpleNamespace(listed=lambda paths: paths),  # type: ignore[arg-type]
        on_sync_point=lambda: None,
    )
    begun: list[bytes] = []

    class Pieces:
        def __bool__(self) -> bool:
            return bool(begun)

        def takes(self, path: bytes, status: object) -> bool:
            return False

        def begin(self, path: bytes, *way: object) -> None:
            begun.append(path)

    filler.pieces = Pieces()  # type: ignore[assignment]
    looked_at: list[bytes] = []

    def row(directory: bytes, paths: list[bytes], sent: Sent, queue: Any) -> int:
        for number, path in enumerate(paths):
            looked_at.append(path)
            try:
                if path != b"gone":
                    filler.put_off(path, os.stat("/"), None, sent, queue)
            except NotInThisBatch:
                return number
        return len(paths)

    filler.plan = SimpleNamespace(row=row)  # type: ignore[assignment]
    for path in (b"gone", b"large", b"other"):
        schedule.big[path] = None
    filler.from_queue(schedule.big)
    assert looked_at == [b"gone", b"large", b"other"]
    assert begun == [b"large"]
    assert list(schedule.big) == [b"other"]
