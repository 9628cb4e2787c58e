"""When who waits is answered, with plain values for all that is asked before."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.options import Options, Removal, Transfer
from filerep.replica.scheduling.failures import Failures
from filerep.replica.scheduling.missing import Missing
from filerep.replica.scheduling.queues import Backlog, Paths
from filerep.replica.scheduling.restless import Restless
from filerep.replica.settling import Settling


class World:
    """All that is asked before, and what was told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.looked_at: list[bytes] = []
        self.answered: list[tuple[int, int]] = []
        self.big = Paths()
        self.backlog = Backlog()
        self.in_sync = 0  # how often the first copy was told to be done
        self.known = 0  # how many files are there by then
        self.failures, self.table = Failures(print), Table()
        self.restless = Restless(lambda: self.now, lambda path: 0.0, lambda: None)
        nothing: Any = SimpleNamespace(
            take=lambda: [], count=lambda: 0, first=lambda: None
        )
        schedule: Any = SimpleNamespace(
            rested=self.looked_at.extend,
            removals=SimpleNamespace(seconds=0.0, held=False),
            big=self.big,
            backlog=self.backlog,
        )
        leftovers: Any = SimpleNamespace(
            queue=lambda asked: False, walked=False, ignored=0
        )
        reporter: Any = SimpleNamespace(
            first=self._first,
            sync=lambda failing: None,
            unread=lambda count, first: None,
            sync_point=lambda *told: self.answered.append(told),
        )
        on_sync: Any = SimpleNamespace(
            presses=lambda: False,
            ready=lambda ended: False,
            due=False,
            runs=False,
            to_end=0,
            copied=lambda: None,
        )
        self.settling = Settling(
            Options(Removal(), Transfer()),
            self.table,
            schedule,
            Missing(self.failures, nothing, self.restless),
            leftovers,
            reporter,
            on_sync,
        )

    def _first(self, compared: bool, known: int, ignored: int, failing: int) -> None:
        self.in_sync += 1
        self.known = known

    def step(self, inputs_ended: bool = False) -> bool:
        return self.settling.step(lambda: None, inputs_ended)


def test_who_waits_is_not_answered_before_what_was_torn_meanwhile_is_there() -> None:
    """A hunt found it: a file in pieces was linked on its way, and began anew after a while.

    It had been named before somebody came to wait, but was on nobody's list when he did.
    """
    world = World()
    world.settling.initial_done = True
    world.settling.sync_point()
    world.restless.torn(b"large", 100_000_000)
    world.step()
    assert not world.answered
    world.now += 0.1  # and not as long as it would rest otherwise
    assert world.restless.wake() == [b"large"]
    world.restless.sent(b"large", 100_000_000)
    world.step()
    assert world.answered == [(0, 0)]


@pytest.mark.parametrize("once", [True, False])
def test_the_first_copy_ends_though_a_file_changes_with_each_sending(
    once: bool,
) -> None:
    """A log with 200 lines a second was sent 7 times a second, and "in sync" never came."""
    world = World()
    world.restless.torn(b"log", 40_000_000)
    assert not world.step(once)
    assert world.looked_at == [b"log"] and not world.in_sync
    world.restless.sent_torn(b"log", 40_000_000)
    assert world.step(once) == once
    assert world.looked_at == [b"log"] and world.in_sync == 1
    if not once:  # at the end it is owed one again
        assert not world.step(True)
        world.restless.sent_torn(b"log", 40_000_000)
        assert world.step(True) and world.looked_at == [b"log"] * 2


def test_saves_go_on_until_the_large_files_of_then_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    clock = SimpleNamespace(monotonic=lambda: world.now)
    monkeypatch.setattr("filerep.replica.settling.time", clock)
    world.settling.initial_done = True
    world.settling.sync_point()
    world.big.update({b"first": None, b"second": None})
    assert not world.settling.holds_back([b"before"])
    world.now += 30.0
    world.big.clear()
    world.big[b"later"] = None  # there may always be one more
    assert not world.settling.holds_back([b"second"])
    world.now += 1.0
    assert world.settling.holds_back([b"later"])


def test_saves_go_on_until_the_backlog_of_then_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    clock = SimpleNamespace(monotonic=lambda: world.now)
    monkeypatch.setattr("filerep.replica.settling.time", clock)
    world.settling.initial_done = True
    world.settling.sync_point()
    world.backlog.append([b"tree/a", b"tree/b"])
    assert not world.settling.holds_back([])
    world.backlog.take()
    world.backlog.append([b"other/c"])
    world.backlog.put_back(b"tree", [b"tree/b"])
    world.now += 30.0
    assert not world.settling.holds_back([])
    world.backlog.take()
    world.now += 1.0
    assert list(world.backlog) == [b"other/c"]  # there may always be one more
    assert world.settling.holds_back([])


def test_what_could_not_be_written_is_not_told_to_be_there() -> None:
    """All of a first batch had failed: "100 files are there, nothing to send"."""
    world = World()
    world.table.put(b"there", entries.entry(os.lstat("/"), entries.OURS))
    for path in (b"failed", b"kept out"):
        world.table.doubt(path)
    world.failures.add([b"failed", b"kept out"], "Permission denied", "write", None)
    world.step()
    assert world.in_sync == 1 and world.known == 1
