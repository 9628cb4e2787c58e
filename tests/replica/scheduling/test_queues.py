"""Queues of paths by the row."""

from __future__ import annotations

import random

import pytest

from filerep.pathstream import in_rows
from filerep.replica.scheduling import queues
from filerep.replica.scheduling.queues import Paths

Row = tuple[bytes, list[bytes]]


def queue(*paths: bytes) -> Paths:
    return Paths((path, None) for path in paths)


def taken(paths: Paths) -> list[Row]:
    found = []
    while paths:
        found.append(paths.take())
    return found


@pytest.mark.parametrize(
    "paths, expected",
    [
        ([b"a/f", b"a/g", b"b"], [(b"a", [b"a/f", b"a/g"]), (b"", [b"b"])]),
        ([b"f", b".", b"g"], [(b"", [b"f"]), (b"", [b"."]), (b"", [b"g"])]),
        ([b"f", b"a/f", b"g"], [(b"", [b"f"]), (b"a", [b"a/f"]), (b"", [b"g"])]),
        ([b"a/f", b"a/b/f"], [(b"a", [b"a/f"]), (b"a/b", [b"a/b/f"])]),
        ([b"a/f", b"ab/f"], [(b"a", [b"a/f"]), (b"ab", [b"ab/f"])]),
        ([b"./", b"f"], [(b"", [b"./"]), (b"", [b"f"])]),
    ],
)
def test_what_stands_together_is_a_row(paths: list[bytes], expected: list[Row]) -> None:
    assert taken(queue(*paths)) == expected


def test_a_whole_directory_is_no_file_in_it() -> None:
    """`a/` behind `a/f` was once taken for a name in `a`, and nothing was looked for."""
    for paths in ([b"a/f", b"a/"], [b"a/", b"a/f"], [b"f", b"a/", b"a/b/", b"a/f"]):
        assert [row for _, row in taken(queue(*paths))] == [[path] for path in paths]


def test_rows_have_everything_once_and_in_order() -> None:
    chance = random.Random(1)
    names = [b"", b"f", b"g", b"d/", b"d/f", b"d/g", b"d/e/", b"d/e/f", b"."]
    for _ in range(500):
        paths = [name for name in chance.choices(names, k=9) if name]
        once = list(dict.fromkeys(paths))
        assert [path for _, row in taken(queue(*once)) for path in row] == once
        for directory, row in taken(queue(*once)):
            if len(row) > 1:
                assert {path.rpartition(b"/")[0] for path in row} == {directory}
                assert not any(path.endswith(b"/") for path in row)


def test_a_long_row_is_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "_LONG_ROW", 3)
    paths = [b"a/%d" % count for count in range(7)]
    found = taken(queue(*paths))
    assert [len(row) for _, row in found] == [3, 3, 1]
    again = queue(*paths)
    directory, row = again.take()
    again.put_back(directory, row[1:])
    assert list(again) == paths[1:]


def test_what_says_more_than_look_is_odd() -> None:
    odd: list[bytes] = []
    records = [b"a/f", b"a/", b"./a/g", b"a//h", b"/x", b".", b"../y", b"a/i"]
    found = list(in_rows(records, odd.append))
    assert found == [(b"a", [b"a/f", b"a/g", b"a/h", b"a/i"])]
    assert odd == [b"a/", b"/x", b".", b"../y"]
