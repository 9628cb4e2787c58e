"""In which order paths have their turn."""

from __future__ import annotations

from typing import Any

import pytest

from filerep.replica.known.table import Table
from filerep.replica.scheduling.removals import Removals
from filerep.replica.scheduling.restless import Restless
from filerep.replica.scheduling.schedule import Schedule


@pytest.fixture
def schedule() -> Schedule:
    clock = lambda: 100.0
    restless = Restless(clock, lambda path: 0.0, lambda: None)
    return Schedule(clock, restless, Removals(clock, 0.0, Table(), print))


def take(queue: Any) -> bytes:
    directory, row = queue.take()
    queue.put_back(directory, row[1:])
    return bytes(row[0])


def test_what_is_named_later_passes_a_backlog(schedule: Schedule) -> None:
    for path in (b"tree/a", b"tree/b", b"tree/c"):
        schedule.name(path)
    assert take(schedule.turn()) == b"tree/a"
    schedule.put_behind()
    schedule.name(b"save")
    assert take(schedule.turn()) == b"save"
    schedule.put_behind()
    schedule.name(b"tree/c")  # saved once more
    assert take(schedule.turn()) == b"tree/c"
    assert take(schedule.turn()) == b"tree/b"
    assert schedule.turn() is None and not schedule


def test_nothing_waits_for_ever_where_others_never_rest(schedule: Schedule) -> None:
    schedule.backlog.append(b"tree/%03d" % number for number in range(100))
    schedule.bulk.add(b"walked", [b"walked/%d" % number for number in range(4)])
    schedule.removals.put(b"gone")
    went = []
    for number in range(80):
        schedule.name(b"log")
        went.append(take(schedule.turn()))
    assert {b"gone", b"tree/000", b"walked/0"} < set(went)
    assert 0.5 < went.count(b"log") / len(went) < 0.9


def test_all_that_wait_are_told(schedule: Schedule) -> None:
    schedule.name(b"tree/a")
    schedule.put_behind()
    schedule.name(b"save")
    assert schedule.paths() == [b"save", b"tree/a"] and schedule.pressing
