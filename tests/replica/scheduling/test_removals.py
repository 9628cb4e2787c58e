"""How long what is gone here waits before it is removed over there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from filerep.replica.known.entries import OURS, entry
from filerep.replica.known.table import Table
from filerep.replica.scheduling.removals import Removals


class Case:
    """A table of files of ours, and a clock that the test moves."""

    def __init__(self, status: os.stat_result) -> None:
        self.now = 1000.0
        self.said: list[str] = []
        self.locked = False
        self.written = 0.0
        self.table = Table()
        self._value = entry(status, OURS)
        self.removals = Removals(
            lambda: self.now,
            5.0,
            self.table,
            self.said.append,
            lambda: self.locked,
            lambda since, paths: self.written > since,
        )

    def have(self, count: int, prefix: bytes = b"") -> list[bytes]:
        paths = [b"%s%d" % (prefix, number) for number in range(count)]
        for path in paths:
            self.table.put(path, self._value)
        return paths

    def gone(self, paths: list[bytes]) -> None:
        for path in paths:
            self.removals.put(path)

    def removed(self, more: bool = False) -> bool:
        """Are they removed now?"""
        self.removals.judge(more)
        if not self.removals.ready:
            return False
        for path in list(self.removals.queue):
            self.table.put_back(path, None)
        self.removals.queue.clear()
        self.removals.judge(more)
        return True

    def waits(self, most: float) -> float:
        """For so many seconds they wait."""
        began = self.now
        while not self.removed():
            due = self.removals.due()
            assert due is not None and due > self.now
            self.now = due
            assert self.now < began + most
        return self.now - began


@pytest.fixture
def case(tmp_path: Path) -> Case:
    (tmp_path / "f").touch()
    return Case(os.lstat(tmp_path / "f"))


def test_a_few_go_soon(case: Case) -> None:
    case.gone(case.have(200)[:9])
    assert case.waits(1) < 0.03


def test_a_few_go_soon_also_where_saves_never_end(case: Case) -> None:
    case.gone(case.have(200)[:9])
    assert not case.removed(more=True)
    case.now += 0.03
    assert case.removed(more=True)


def test_a_few_of_a_few_go_at_once(case: Case) -> None:
    case.gone(case.have(90))
    assert case.removed()


def test_half_of_all_go_once_they_have_stopped_going(case: Case) -> None:
    paths = case.have(200)
    case.gone(paths[:50])
    assert not case.removed()
    case.now += 0.09
    case.gone(paths[50:100])
    assert 0.09 < case.waits(1) < 0.11
    assert not case.said


def test_more_than_half_are_held_and_said_once(case: Case) -> None:
    case.gone(case.have(200)[:101])
    assert 5 < case.waits(6) < 5.2
    assert len(case.said) == 1 and case.said[0].startswith("101 of 200 files are gone")


def test_what_has_been_removed_already_is_not_said_to_wait(case: Case) -> None:
    paths = case.have(200)
    case.gone(paths[:90])
    case.waits(1)
    case.gone(paths[90:120])
    assert case.waits(6) > 5
    (said,) = case.said
    assert said.startswith("120 of 200 files are gone here; the last 30 are removed")


def test_fewer_than_a_hundred_files_may_all_go(case: Case) -> None:
    others = case.have(1)
    case.table.put_directory(b"d", case.table.get(others[0]) or b"")
    case.gone(case.have(99))
    assert case.waits(1) < 0.2


def test_what_goes_little_by_little_is_counted_together(case: Case) -> None:
    for path in case.have(200):
        case.gone([path])
        case.removed()
        case.now += 0.03
    assert case.waits(6) > 2
    assert case.said and " of 200 files" in case.said[0]


def test_what_went_long_before_does_not_count(case: Case) -> None:
    paths = case.have(200)
    case.gone(paths[:60])
    case.waits(1)
    case.now += 10
    case.gone(paths[60:120])
    assert case.waits(1) < 0.2


def test_new_files_are_looked_at_before_they_are_counted(case: Case) -> None:
    # A directory gets another name, and has more files than are looked at in a moment.
    case.gone(case.have(200))
    for _ in range(20):
        case.now += 0.2
        assert not case.removed(more=True)
    case.have(200, b"new")
    assert case.waits(1) < 0.2
    assert not case.said


def test_what_got_another_name_waits_for_nothing(case: Case) -> None:
    # Its directories were removed a tenth of a second later than its files were renamed.
    paths = case.have(200)
    case.gone(paths)
    for path in paths:  # renamed over there meanwhile
        case.table.put_back(path, None)
    assert case.waits(1) < 0.03


def test_what_gets_another_name_twice_in_a_moment_waits_for_nothing(
    case: Case,
) -> None:
    paths = case.have(200)
    for name in (b"one", b"two", b"three"):
        case.gone(paths)
        paths = case.have(200, name)
        assert case.waits(1) < 0.2
    assert not case.said
    case.gone(paths[:120])
    assert case.waits(6) > 5 and case.said


def test_what_was_there_long_ago_does_not_count(case: Case) -> None:
    paths = case.have(200)
    case.gone(paths[:60])
    assert case.waits(1) < 0.2
    for path in case.have(1000, b"new")[
        :10
    ]:  # each before it was quiet for long enough
        case.now += 1.5
        case.gone([path])
        assert case.waits(1) < 0.2
    case.gone([path for path, _ in case.table.below(b"") if b"new" in path])
    assert case.waits(6) > 5 and case.said


def test_what_comes_late_ends_the_wait(case: Case) -> None:
    case.gone(case.have(200))
    case.removed()
    case.now += 0.2
    assert not case.removed() and case.said
    case.have(200, b"new")
    assert case.waits(1) < 0.2


def test_what_is_held_goes_at_its_time_however_much_else_there_is(case: Case) -> None:
    case.gone(case.have(200))
    case.removed()
    case.now += 0.2
    assert not case.removed() and case.said
    case.now += 5.1
    assert case.removed(more=True)


def test_what_git_removes_waits_for_git_and_no_longer(case: Case) -> None:
    case.locked = True
    case.gone(case.have(200))
    for _ in range(80):
        case.now += 0.1
        assert not case.removed()
    case.locked, case.written = False, time.time()
    assert case.waits(1) < 0.2
    assert not case.said


def test_a_lock_that_nobody_takes_away_ends_nothing(case: Case) -> None:
    case.locked = True
    case.gone(case.have(200))
    assert 14 < case.waits(20) < 16
    assert case.said


def test_what_comes_back_is_forgotten(case: Case) -> None:
    paths = case.have(200)
    case.gone(paths)
    case.removed()
    case.now += 0.2
    assert not case.removed() and case.removals.held
    case.removals.queue.clear()
    assert not case.removed() and not case.removals.held
    assert case.said[1:] == ["they are back here, so nothing is removed at the far end"]
    assert case.removals.due() is None
    case.gone(paths[:9])
    assert case.waits(1) < 0.03
