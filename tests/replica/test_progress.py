"""How far the first copy has come: a sum that is right whatever happens in which order."""

from __future__ import annotations

import os
import random
from collections import OrderedDict
from typing import Any, Optional

import pytest

from filerep.farend.batch import Group, Member
from filerep.farend.ways import Way
from filerep.replica.progress import OneFile, Tally


@pytest.mark.parametrize("seed", range(20))
def test_the_total_is_right_however_sending_and_measuring_alternate(seed: int) -> None:
    chance = random.Random(seed)
    sizes = {b"%d" % number: chance.randrange(1000) for number in range(400)}
    skipped = {path for path in sizes if chance.random() < 0.2}
    waiting = OrderedDict.fromkeys(sizes)
    told: list[dict[str, Any]] = []
    tally = Tally(told.append, lambda: 0.0)
    started = False
    under_way: list[tuple[int, int]] = []
    while waiting or tally.measuring() or under_way:
        if waiting and chance.random() < 0.5:
            batch = [
                waiting.popitem(last=False)[0] for _ in range(min(9, len(waiting)))
            ]
            batch = [path for path in batch if path not in skipped]
            tally.plan(len(batch), sum(sizes[path] for path in batch))
            for path in batch:
                tally.begin(sizes[path])
                tally.written(chance.randrange(2000))
                tally.end(True)
            under_way.append(tally.sent())
        elif under_way and chance.random() < 0.5:
            tally.answered(under_way.pop(0), True)
        elif not started:
            started = True
            size = lambda path: None if path in skipped else sizes[path]
            tally.start(list(waiting), waiting.__len__, size)
        else:
            tally.step()
    wanted = [path for path in sizes if path not in skipped]
    assert (tally.files, tally.bytes) == (
        len(wanted),
        sum(sizes[path] for path in wanted),
    )
    if started:
        assert (tally.of_files, tally.of_bytes) == (tally.files, tally.bytes)


def test_it_tells_ten_times_a_second_at_most() -> None:
    now = 0.0
    told: list[dict[str, Any]] = []
    tally = Tally(told.append, lambda: now)
    for _ in range(1000):
        now += 0.003
        tally.begin(10)
        tally.written(10)
        tally.end(True)
        tally.answered(tally.sent(), True)
    assert 25 <= len(told) <= 30
    assert told[-1]["bytes"] <= 10_000


def test_what_is_under_way_does_not_count_but_for_what_no_buffer_holds() -> None:
    told: list[dict[str, Any]] = []
    tally = Tally(told.append, lambda: 0.0)
    tally.begin(3_000_000)
    tally.written(3_000_000)
    tally.end(True)
    small = tally.sent()
    tally.tell()
    assert (told[-1]["files"], told[-1]["bytes"]) == (0, 0)
    tally.begin(50_000_000)
    tally.written(20_000_000)
    tally.tell()
    assert (told[-1]["files"], told[-1]["bytes"]) == (0, 23_000_000 - (4 << 20))
    tally.answered(small, True)
    tally.tell()
    assert (told[-1]["files"], told[-1]["bytes"]) == (1, 23_000_000 - (4 << 20))
    tally.end(False)
    tally.answered(tally.sent(), False)
    tally.tell()
    assert (told[-1]["files"], told[-1]["bytes"]) == (1, 3_000_000)


@pytest.mark.parametrize(
    "sizes, heavy",
    [
        ({"data/a/x": 9e8, "data/b": 9e8, "src/m": 3}, ("data", 18e8)),
        ({"data/in/x": 9e8, "data/in/y": 9e8, "data/z": 9}, ("data/in", 18e8)),
        ({"a/x": 9e8, "b/x": 9e8, "c/x": 9e8}, None),
        ({"x": 9e8, "a/y": 1e8}, None),
        ({"a/x": 1e6}, None),
    ],
)
def test_the_directory_that_is_heavy_is_found(
    sizes: dict[str, float], heavy: Optional[tuple[str, float]]
) -> None:
    paths = {name.encode(): int(size) for name, size in sizes.items()}
    tally = Tally(lambda _: None, lambda: 0.0)
    tally.start(list(paths), lambda: len(paths), paths.__getitem__)
    while tally.step():
        pass
    assert tally.heavy == heavy


def test_what_was_put_aside_is_counted_too() -> None:
    waiting = [b"a", b"b", b"c", b"d"]
    aside: list[bytes] = []
    tally = Tally(lambda _: None, lambda: 0.0)
    tally.start(list(waiting), lambda: len(waiting), lambda _: 10, lambda: aside)
    aside.append(waiting.pop(0))
    tally.plan(1, 10)
    waiting.pop(0)
    while tally.step():
        pass
    assert (tally.of_files, tally.of_bytes) == (4, 40)


def test_what_is_sent_behind_the_first_copy_is_not_told_as_more_of_it() -> None:
    # The --on-sync command's own batch drew the bar anew, which then stayed.
    told: list[dict[str, Any]] = []
    now = 0.0
    tally = Tally(told.append, lambda: now)
    now = 1.0
    tally.written(0)
    assert len(told) == 1
    tally.close()
    now = 2.0
    tally.written(0)
    assert len(told) == 1


def member(size: int, way: Optional[Way] = None) -> Member:
    status = os.stat_result((0o100644, 1, 1, 1, 0, 0, size, 0, 0, 0))
    return Member(b"large", status, b"", Group(b"", 0), b"", way)


def test_of_one_file_is_told_what_no_buffer_holds_once_it_has_taken_a_second() -> None:
    told: list[dict[str, Any]] = []
    now = 0.0
    one = OneFile(told.append, lambda: now)
    one.begin(member(50_000_000))
    for _ in range(10):
        now += 0.3
        one.written(5_000_000)
    assert [what["bytes"] for what in told] == [
        count * 5_000_000 - (4 << 20) for count in range(4, 10)
    ]
    assert {what["of_bytes"] for what in told} == {50_000_000}
    one.begin(member(100))
    one.written(100)
    assert len(told) == 6


def test_of_a_file_in_pieces_is_told_what_has_arrived() -> None:
    told: list[dict[str, Any]] = []
    one = OneFile(told.append, lambda: 5.0)
    piece = Way(b"piece", ranges=[(3000, 1000)])
    piece.before, piece.of, piece.began = 3000, 9000, 1.0
    one.under_way = 2000
    one.begin(member(1000, piece))
    one.written(1000)
    assert [(what["bytes"], what["of_bytes"]) for what in told] == [(1000, 9000)]
