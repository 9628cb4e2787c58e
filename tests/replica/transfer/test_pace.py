"""How fast a connection is taken to be, by how long it takes to answer."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator

import pytest

from filerep.farend.batch import Batch
from filerep.farend.ways import Way
from filerep.replica.scheduling.inflight import Flight, Sent
from filerep.replica.transfer.pace import Pace


class Link:
    """Answers batches as a connection of that rate and way does."""

    def __init__(
        self, pace: Pace, rate: float, way: float, work: float = 300e6
    ) -> None:
        self.pace, self.rate, self.way, self.work = pace, rate, way, work
        self.now = 100.0
        self.shrinks = 3  # times
        self.packs = 1e12  # bytes a second that are compressed
        self.overhead = 0.0  # seconds of each batch, whatever its size
        self.saved_up = 0  # bytes that go at once

    def send(self, size: int) -> float:
        """How long it took."""
        return self.answer(self.begin(size))

    def begin(self, size: int) -> Sent:
        sent = Sent(Batch(b"stage", self.pace.limit))
        sent.packed = self.pace.level > 0
        sent.batch.bytes = sent.archive = size
        sent.started = self.now
        return sent

    def answer(self, sent: Sent) -> float:
        size = sent.archive
        on_the_wire = sent.wire = size // self.shrinks if sent.packed else size
        at_once = min(self.saved_up, on_the_wire)
        self.saved_up -= at_once
        self.now += self.way + (on_the_wire - at_once) / self.rate + size / self.work
        sent.packing = size / self.packs if sent.packed else 0.0
        self.now += sent.packing + self.overhead
        self.pace.answered(sent, self.now)
        return self.now - sent.started

    def copy(self, megabytes: int) -> None:
        left = megabytes * 1_000_000
        while left > 0:
            size = min(self.pace.limit, left)
            self.send(size)
            left -= size

    def stream(self, megabytes: int) -> float:
        """Copy as a whole run does, with others on the way; how long it took."""
        began = self.now
        for _ in self.answers(megabytes):
            pass
        return self.now - began

    def answers(self, megabytes: int, pieces: bool = False) -> Iterator[float]:
        """How long each batch of such a copy took, or of one file in pieces."""
        left, flight = megabytes * 1_000_000, Flight()
        while left > 0 or flight:
            while left > 0 and not self.pace.enough(flight):
                most = self.pace.piece if pieces else self.pace.limit
                flight.add(self.begin(min(most, left)))
                left -= flight.under_way[-1].archive
            yield self.answer(flight.land())


def test_nothing_is_slow_before_it_was_measured() -> None:
    assert not Pace().slow and not Pace(0.02).slow
    assert Pace(0.1).slow and Pace(0.1).level


@pytest.mark.parametrize("work", [300e6, 25e6], ids=["idle", "busy"])
@pytest.mark.parametrize("opening", [0.02, 0.2])
def test_a_pipe_is_never_slow_for_long(work: float, opening: float) -> None:
    pace = Pace(opening)
    link = Link(pace, 1e9, 0.01, work)
    for _ in range(20):
        link.send(2000)
    assert not pace.slow
    link.copy(60)
    assert not pace.slow and not pace.level
    link.copy(200)
    assert not pace.slow


@pytest.mark.parametrize("rate", [200e3, 1e6, 2.5e6])
@pytest.mark.parametrize("way", [0.001, 0.08, 0.3])
def test_a_slow_link_is_found_out_within_a_megabyte(rate: float, way: float) -> None:
    pace = Pace(way + 0.03)
    link = Link(pace, rate, way)
    link.copy(1)
    assert pace.slow and pace.level
    link.copy(20)
    assert pace.slow and pace.level


@pytest.mark.parametrize("way", [0.001, 0.02])
@pytest.mark.parametrize("rate", [200e3, 1e6, 2.5e6])
def test_a_link_that_seemed_slow_and_is_stays_so(rate: float, way: float) -> None:
    # Only what was compressed had been measured when a save showed that the way there and back is
    # short: of a file of 20 MB in which some bytes were new all was sent.
    pace = Pace(0.07)
    link = Link(pace, rate, 0.035)
    link.copy(4)
    link.way = way
    for _ in range(30):
        link.send(2000)
        assert pace.slow
    link.copy(2)
    assert pace.slow and pace.level


@pytest.mark.parametrize("way", [0.001, 0.08])
def test_a_link_that_was_slow_is_so_from_the_first_byte_on(way: float) -> None:
    # A start sent up to a megabyte of what was there, until it was measured once more.
    pace = Pace(way + 0.02, was_slow=True)
    assert pace.slow and pace.level and pace.found is None
    link = Link(pace, 500e3, way)
    for _ in range(50):
        link.send(2000)
        assert pace.slow and pace.level
    link.copy(2)
    assert pace.slow and pace.found


@pytest.mark.parametrize("way", [0.001, 0.02])
def test_a_pipe_in_the_place_of_a_slow_link_is_found_out(way: float) -> None:
    pace = Pace(way, was_slow=True)
    link = Link(pace, 3e9, way)
    link.packs = 30e6
    link.copy(3)
    assert not pace.slow and not pace.found
    link.copy(60)
    assert not pace.slow and pace.limit == 1 << 24


@pytest.mark.parametrize("rate", [200e3, 2.5e6])
def test_a_save_never_waits_long_for_what_is_under_way(rate: float) -> None:
    pace = Pace(0.1)
    link = Link(pace, rate, 0.08)
    link.copy(5)
    assert link.send(pace.limit) < 0.6


@pytest.mark.parametrize("saved_up", [300_000, 600_000, 1_000_000])
def test_what_a_link_has_saved_up_says_nothing_of_its_rate(saved_up: int) -> None:
    # Of 300 kB that went at once two pieces of 2 MB followed, and the link was taken for fast
    # for 40 more: a save waited for 1.5 s.
    pace = Pace()
    link = Link(pace, 1e6, 0.003)
    link.saved_up = saved_up
    assert max(link.answers(4, pieces=True)) < 1
    assert pace.slow
    assert max(link.answers(8, pieces=True)) < 0.7


def test_what_was_carried_slowly_does_not_show_that_a_link_is_fast_at_last() -> None:
    # It had rested for some seconds, and let go at once what was saved up: pieces grew to 2 MB.
    pace = Pace()
    link = Link(pace, 1e6, 0.003)
    link.shrinks = 1
    link.copy(30)
    link.saved_up = 4_000_000
    assert max(link.answers(20, pieces=True)) < 1.5


def test_a_large_file_goes_whole_once_its_first_megabytes_went_fast() -> None:
    # Else it is put together over there once more: 400 MB went all in pieces through a pipe.
    pace = Pace()
    link = Link(pace, 1e9, 0.003)
    went = 0
    while pace.proven < 200_000_000:
        went += pace.piece
        link.send(pace.piece)
    assert went < 400_000_000 / 16


def test_a_link_that_has_carried_much_is_not_slow_for_one_bad_moment() -> None:
    pace = Pace()
    link = Link(pace, 1e9, 0.003)
    link.copy(60)
    link.overhead = 0.5
    link.send(pace.limit)
    link.overhead = 0.0
    link.send(pace.limit)
    assert not pace.slow and pace.piece == pace.limit > 1 << 20


def test_over_a_long_way_batches_grow_until_the_link_is_busy() -> None:
    # Each took longer than was good, as its answer alone did; and the link had nothing to carry.
    pace = Pace(0.4)
    link = Link(pace, 200e3, 0.3)
    link.shrinks = 1
    link.copy(2)  # batches become small
    link.shrinks = 4
    link.copy(2)
    under_way = 3 * pace.limit / link.shrinks
    assert under_way > 2 * link.rate * link.way


@pytest.mark.parametrize("pieces", [False, True], ids=["files", "pieces"])
@pytest.mark.parametrize("way", [0.04, 0.2, 0.5])
@pytest.mark.parametrize("rate", [15e6, 100e6])
def test_over_a_long_way_a_fast_link_is_not_left_idle(
    rate: float, way: float, pieces: bool
) -> None:
    # The way was counted as if the bytes had taken it: at 100 MB/s and 500 ms batches became the
    # smallest, 64 kB, and 100 MB took 197 s. Where a large file went in pieces, each second one
    # seemed to be slow, so that none was of more than 256 kB.
    pace, flight, due = Pace(way + 0.03), Flight(), collections.deque[float]()
    link = Link(pace, rate, way)
    link.send(2000)
    left, began, free = 2 * rate, link.now, link.now
    while left > 0 or flight:
        while left > 0 and not pace.enough(flight):
            sent = link.begin(int(min(pace.piece if pieces else pace.limit, left)))
            flight.add(sent)
            left -= sent.archive
            sent.wire = sent.archive // (link.shrinks if sent.packed else 1)
            free = max(free, link.now) + sent.wire / rate
            due.append(free + 0.002 + way)
        link.now = due.popleft()
        pace.answered(flight.land(), link.now)
    assert link.now - began < 2.5 + 15 * way


def test_where_each_batch_takes_long_there_are_few() -> None:
    # Some processes over there, on a busy machine: 8 MB took 40 s, in batches of 64 kB.
    pace = Pace(0.3)
    link = Link(pace, 1e9, 0.003)
    link.overhead = 0.3
    assert link.stream(8) < 12
    link.overhead = 0.002  # and once it is not busy any more
    link.stream(60)
    assert pace.limit == 1 << 24


def remove(link: Link, each: float) -> float:
    """How long the far end, which needs so many seconds for each file, takes for a batch."""
    sent = link.begin(0)
    count = link.pace.files
    sent.batch.deletions = [b"%d" % n for n in range(count)]
    sent.archive, link.overhead = 50 * count, each * count
    return link.answer(sent)


def test_a_save_waits_for_few_removals_where_each_takes_long() -> None:
    # On a disk that was busy, 4,000 of them took 99 s, and the connection passed for dead.
    pace = Pace()
    link = Link(pace, 1e9, 0.003)
    assert sum(remove(link, 0.02) for _ in range(4)) < 15
    assert remove(link, 0.02) < 2.1
    assert not pace.slow
    for _ in range(10):
        remove(link, 0.00001)
    assert pace.files == 4000


def test_where_each_piece_takes_long_there_are_few() -> None:
    # The whole file was counted as read over there for each of them, so that what each costs was
    # never told apart: they became the smallest, and 40 MB that shrink took six minutes.
    pace = Pace(0.08)
    link = Link(pace, 2.5e6, 0.04)
    link.shrinks, link.overhead = 100, 0.6
    left, began = 40_000_000, link.now
    status = os.stat_result([0o100644, *[1] * 5, left, 1, 1, 1])
    while left > 0:
        size = min(left, pace.piece)
        sent = link.begin(0)
        sent.batch.piece(b"f", status, Way(b"piece", ranges=[(0, size)]))
        sent.archive = size
        link.answer(sent)
        left -= size
    assert link.now - began < 30


def test_what_took_long_for_other_reasons_makes_no_batch_large() -> None:
    pace = Pace(0.1)
    link = Link(pace, 1e6, 0.08)
    link.copy(5)
    link.overhead = 0.3
    for _ in range(10):
        link.send(2000)
    link.overhead = 0.0
    for shrinks in (3, 1, 3, 1):
        link.shrinks = shrinks
        for _ in range(10):
            assert link.send(pace.limit) < 1


def test_on_a_fast_link_batches_grow_as_far_as_they_may() -> None:
    pace = Pace()
    Link(pace, 1e9, 0.003).copy(60)
    assert pace.limit == 1 << 24 and pace.quick


@pytest.mark.parametrize("times", [1, 3, 20])
def test_the_rate_is_what_the_link_carries_however_much_that_shrinks(
    times: int,
) -> None:
    pace = Pace(0.2)
    link = Link(pace, 1e6, 0.1)
    link.shrinks = times
    link.send(2000)
    link.copy(20)
    assert pace.rate and 0.6e6 < pace.rate < 1.2e6


def test_what_does_not_shrink_turns_compression_off_for_nothing_else() -> None:
    # It stayed off for the rest of the run, however much of what came was text.
    pace = Pace()
    link = Link(pace, 2e6, 0.1)
    link.packs = 30e6
    link.send(2000)
    for shrinks in (3, 1, 3):
        link.shrinks = shrinks
        link.copy(60)
        assert pace.level, shrinks


def test_batches_that_were_under_way_together_change_the_limit_once() -> None:
    # All three took long; each made the limit smaller once more, down to the least.
    pace = Pace(0.1)
    link = Link(pace, 2.5e6, 0.08)
    link.copy(5)
    limit = pace.limit
    flight = [Sent(Batch(b"stage", limit)) for _ in range(3)]
    for sent in flight:
        sent.batch.bytes = sent.archive = sent.wire = limit
        sent.started = link.now
    for position, sent in enumerate(flight):
        pace.answered(sent, link.now + 0.8 + 0.1 * position)
    assert limit / 5 < pace.limit < limit / 2


@pytest.mark.parametrize("shrinks", [3, 8])
def test_what_shrinks_to_little_makes_no_link_fast(shrinks: int) -> None:
    # 16 MB a second of text went over 2.5, and was taken for all that compressing allows: so
    # some megabytes went as they are, to find out.
    pace = Pace(0.1)
    link = Link(pace, 2.5e6, 0.08)
    link.shrinks, link.packs = shrinks, 60e6
    link.send(2000)
    plain = 0
    for _ in range(100):
        plain += not pace.level
        link.send(pace.limit)
    assert not plain


def test_where_compressing_takes_the_time_it_ends() -> None:
    pace = Pace(0.1)
    link = Link(pace, 200e6, 0.05)
    link.packs = 20e6
    link.copy(60)
    assert not pace.level
