"""Files that change again and again have a pace of their own, and hold up nothing else."""

from __future__ import annotations

import time

import pytest

from filerep.replica.known.table import Table
from filerep.replica.scheduling.removals import Removals
from filerep.replica.scheduling.restless import Restless
from filerep.replica.scheduling.schedule import Schedule

MB = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.written = 0.0  # seconds since the last write to any file

    def __call__(self) -> float:
        return self.now

    def mtime(self, path: bytes) -> float:
        return time.time() - self.written


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def restless(clock: Clock) -> Restless:
    return Restless(clock, clock.mtime, lambda: None)


def test_a_small_file_never_rests(restless: Restless) -> None:
    for _ in range(5):
        restless.sent(b"small", 1000)
        assert not restless.holds(b"small")


def test_a_large_file_rests_longer_each_time_it_changes(
    restless: Restless, clock: Clock
) -> None:
    rests = []
    for _ in range(6):
        restless.sent(b"log", 10 * MB)
        assert restless.holds(b"log")
        began = clock.now
        while not restless.wake():
            clock.now += 0.1
        rests.append(clock.now - began)
    assert all(later > rest for rest, later in zip(rests, rests[1:4]))
    assert max(rests) < 31


def test_a_large_file_that_is_saved_now_and_then_goes_at_once(
    restless: Restless, clock: Clock
) -> None:
    # Each save but the first of a file of 20 MB was seen a second later than it could be.
    for _ in range(20):
        restless.sent(b"program", 20 * MB)
        clock.now += 4
        assert not restless.holds(b"program")
    # Six more, and then it has used up what it had ahead.
    for held in (False, False, False, False, False, False, True):
        restless.sent(b"program", 20 * MB)
        clock.now += 1
        assert restless.holds(b"program") is held


def test_it_is_sent_soon_when_it_is_written_to_no_more(
    restless: Restless, clock: Clock
) -> None:
    restless.sent(b"log", 100 * MB)
    assert restless.holds(b"log")
    clock.now += 0.6
    assert not restless.wake()
    clock.written = 1.5
    clock.now += 0.6
    assert restless.wake() == [b"log"]


def test_what_is_not_named_again_is_not_looked_at(
    restless: Restless, clock: Clock
) -> None:
    restless.sent(b"log", 100 * MB)
    clock.now += 1000
    assert not restless.wake() and not restless and restless.due() is None
    assert not restless.holds(b"log")


def test_a_torn_file_is_sent_as_it_is_after_a_while(
    restless: Restless, clock: Clock
) -> None:
    restless.torn(b"log", MB)
    assert not restless.patient(b"log")
    tries = 0
    while not restless.patient(b"log"):
        if restless.wake():
            tries += 1
            restless.torn(b"log", MB)
        clock.now += 0.01
    assert clock.now - 1000 > 9 and tries < 20


def test_who_waits_is_owed_a_sending_of_each_that_rests(
    restless: Restless, clock: Clock
) -> None:
    restless.sent(b"log", 100 * MB)
    restless.sent(b"other", 100 * MB)
    assert restless.holds(b"log")
    assert restless.owe() == [b"log"] and restless.owed
    assert not restless.holds(b"log")
    restless.sent(b"log", 100 * MB)
    assert not restless.owed


def test_what_is_torn_again_stays_owed_and_what_is_gone_does_not(
    restless: Restless, clock: Clock
) -> None:
    for path in (b"torn", b"gone"):
        restless.torn(path, MB)
    assert sorted(restless.owe()) == [b"gone", b"torn"]
    restless.torn(b"torn", MB)
    restless.settle(True)
    assert restless.owed
    assert not restless.owe()
    while not restless.patient(b"torn"):
        clock.now += 0.1
    assert clock.now - 1000 < 4
    restless.sent_torn(b"torn", MB)
    assert not restless.owed


def test_what_is_torn_while_somebody_waits_is_owed_to_him(
    restless: Restless, clock: Clock
) -> None:
    """It was named before he came, and begun before: of what was saved nothing is there."""
    restless.torn(b"log", 100 * MB)
    restless.settle(False)
    assert not restless.owed
    restless.settle(True)
    assert restless.owed
    clock.now += 0.1
    assert restless.wake() == [b"log"]
    restless.sent_torn(b"log", 100 * MB)
    restless.settle(True)
    assert restless and not restless.owed  # it had its turn, and never rests


def test_pieces_that_had_begun_before_somebody_waits_do_not_pay_what_is_owed(
    restless: Restless, clock: Clock
) -> None:
    # --wait said that all was there, and the last version came half a second later.
    restless.torn(b"log", 10 * MB)
    began = clock.now = clock.now + 1
    clock.now += 10
    assert restless.patient(b"log")
    assert restless.owe() == [b"log"]
    restless.sent_torn(b"log", 10 * MB, began)
    restless.settle(asked=True)
    assert restless.owed and restless.wake() == [b"log"]
    began = clock.now
    clock.now += 1
    restless.sent_torn(b"log", 10 * MB, began)
    restless.settle(asked=True)
    assert (
        not restless.owed
    )  # or a file that never rests would be waited for without end


def test_other_paths_go_on_while_one_rests(restless: Restless, clock: Clock) -> None:
    schedule = Schedule(clock, restless, Removals(clock, 5.0, Table(), print))
    restless.sent(b"log", 100 * MB)
    schedule.name(b"log")
    assert not schedule
    schedule.name(b"save")
    assert list(schedule.urgent) == [b"save"]
    clock.now += 100
    schedule.wake()
    assert list(schedule.urgent) == [b"save", b"log"]


def test_where_it_may_go_in_parts_the_first_sending_tells_nothing_of_the_next(
    restless: Restless, clock: Clock
) -> None:
    # A log of 20 MB that was sent whole over a slow link could not be saved for half a minute.
    restless.sent(b"log", 20 * MB, 20 * MB, in_parts=True)
    clock.now += 0.6
    assert not restless.holds(b"log")
    restless.sent(
        b"log", 20 * MB, 20 * MB, in_parts=True
    )  # whole again, so that was wrong
    clock.now += 0.2
    assert restless.holds(b"log")


def test_a_log_of_which_parts_go_is_seen_every_other_second(
    restless: Restless, clock: Clock
) -> None:
    restless.sent(b"log", 1000, 20 * MB, in_parts=True)
    for _ in range(6):
        restless.sent(b"log", 1000, 20 * MB, in_parts=True)
        assert restless.holds(b"log")
        clock.now += 2.1
        assert restless.wake() == [b"log"]


def test_a_burst_of_lines_is_seen_once_it_has_ended(
    restless: Restless, clock: Clock
) -> None:
    # The last of thirty lines in three seconds, to a log of 20 MB, was seen a second later.
    for _ in range(3):
        restless.sent(b"log", 1000, 20 * MB, in_parts=True)
        assert restless.holds(b"log")
        clock.now += 0.2
        assert restless.wake() == []
        clock.now, clock.written = clock.now + 0.2, 0.3
        assert restless.wake() == [b"log"]
        clock.written = 0.0


def test_a_log_that_rests_for_a_moment_all_the_time_is_not_sent_each_time(
    restless: Restless, clock: Clock
) -> None:
    sent = 0
    clock.written = 0.3
    restless.sent(b"log", 1000, 20 * MB, in_parts=True)
    for _ in range(300):
        assert restless.holds(b"log")
        clock.now += 0.35
        if restless.wake():
            restless.sent(b"log", 1000, 20 * MB, in_parts=True)
            sent += 1
    assert sent < 100  # in 105 seconds
