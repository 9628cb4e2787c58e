"""The table: what is taken for the same, what is ours, and what a listing changes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from looks import SECOND, found, listed

from filerep.farend import listing
from filerep.replica.known import entries
from filerep.replica.known.merging import merge_listing
from filerep.replica.known.table import Table
from filerep.replica.known.unchanged import unchanged


def test_a_file_that_was_sent_is_the_same_until_any_number_of_it_changes() -> None:
    table = Table()
    table.put(b"f", entries.entry(found(), entries.OURS))
    assert unchanged(table, b"f", found(), b"")
    for other in (
        found(ino=2),
        found(mode=0o600),
        found(size=6),
        found(mtime=8),
        found(ctime=8),
    ):
        assert not unchanged(table, b"f", other, b"")


@pytest.mark.parametrize(
    "over_there, here, ctime, same",
    [
        (7 * SECOND + 3, 7 * SECOND + 3, 9 * SECOND + 9, True),
        (7 * SECOND + 3, 7 * SECOND + 4, 9 * SECOND + 9, False),
        # A tar that dropped the fraction: two edits within the second would look alike.
        (7 * SECOND, 7 * SECOND + 3, 9 * SECOND + 9, False),
        # A whole second that a program has set, on a file system with fractions.
        (7 * SECOND, 7 * SECOND, 9 * SECOND + 9, True),
        # A file system without fractions: two edits may share the second.
        (7 * SECOND, 7 * SECOND, 9 * SECOND, False),
    ],
)
def test_a_listed_file_is_the_same_by_time_only_where_time_can_tell(
    over_there: int, here: int, ctime: int, same: bool
) -> None:
    table = Table()
    merge_listing(table, b"", [listed(b"f", over_there)])
    assert unchanged(table, b"f", found(mtime=here, ctime=ctime), b"") is same


def test_an_edit_that_keeps_size_and_mtime_shows_by_ctime_when_remembered() -> None:
    table = Table()
    table.put(b"f", entries.entry(found(), entries.OURS | entries.UNSEEN))
    merge_listing(table, b"", [listed(b"f", 7 * SECOND + 3)])
    assert not unchanged(table, b"f", found(ctime=10 * SECOND + 1), b"")
    assert unchanged(table, b"f", found(), b"")


def test_whole_seconds_over_there_are_enough_when_the_rest_is_remembered() -> None:
    table = Table()
    table.put(b"f", entries.entry(found(), entries.OURS | entries.UNSEEN))
    merge_listing(table, b"", [listed(b"f", 7 * SECOND)])
    assert unchanged(table, b"f", found(), b"")


def test_what_was_altered_over_there_is_sent_and_stays_ours() -> None:
    table = Table()
    table.put(b"f", entries.entry(found(), entries.OURS | entries.UNSEEN))
    merge_listing(table, b"", [listed(b"f", 8 * SECOND + 1)])
    assert not unchanged(table, b"f", found(), b"")
    value = table.get(b"f")
    assert value is not None and entries.marks(value) & entries.OURS


def test_what_the_far_end_lost_is_forgotten_with_all_below_it() -> None:
    table = Table()
    table.put(b"a/b/f", entries.entry(found(), entries.OURS | entries.UNSEEN))
    merge_listing(table, b"", [])
    assert list(table.below(b"")) == []
    assert set(table.directories) == {b""}


YEARS = 365 * 86400 * SECOND
TIMES = [
    -400 * YEARS,
    -(1 << 63) - 1,
    1 << 63,
    400 * YEARS + 7,
    (1 << 62) * SECOND,
]


@pytest.mark.parametrize("time", TIMES)
def test_a_time_that_64_bits_of_nanoseconds_cannot_hold_is_told_apart_like_any(
    time: int,
) -> None:
    table = Table()
    table.put(b"f", entries.entry(found(mtime=time), entries.OURS | entries.UNSEEN))
    assert unchanged(table, b"f", found(mtime=time), b"")
    assert not unchanged(table, b"f", found(mtime=time - 1), b"")
    assert not unchanged(table, b"f", found(mtime=time, ctime=1 << 63), b"")
    assert not unchanged(table, b"f", found(mtime=7), b"")
    value = table.get(b"f")
    assert value and entries.size_of(value) == 5
    merge_listing(table, b"", [listed(b"f", time - time % SECOND), listed(b"g", time)])
    assert unchanged(table, b"f", found(mtime=time), b"")
    assert unchanged(table, b"g", found(mtime=time), b"")
    merge_listing(table, b"", [listed(b"f", time + 2 * SECOND)])
    assert not unchanged(table, b"f", found(mtime=time), b"")


def test_a_young_entry_equals_nothing() -> None:
    table = Table()
    table.put(b"f", entries.entry(found(), entries.OURS | entries.UNSURE))
    assert not unchanged(table, b"f", found(), b"")


def test_a_listed_symlink_is_compared_by_its_target() -> None:
    table = Table()
    merge_listing(table, b"", [(b"l", b"l", 0o777, 3, 0, b"abc")])
    link = found(type_=stat.S_IFLNK, size=3)
    assert not unchanged(table, b"l", link, b"abd")
    assert unchanged(table, b"l", link, b"abc")


def test_adopting_a_listed_file_is_to_be_remembered_once() -> None:
    table = Table()
    merge_listing(table, b"", [listed(b"f", 7 * SECOND + 3)])
    assert unchanged(table, b"f", found(), b"")
    assert [path for path, _ in table.adopted] == [b"f"]
    table.adopted.clear()
    assert unchanged(table, b"f", found(), b"") and not table.adopted


def test_below_yields_directories_before_what_is_in_them() -> None:
    table = Table()
    table.put(b"a/b/f", entries.entry(found(), entries.OURS))
    table.put(b"a/g", entries.entry(found(), entries.OURS))
    paths = [path for path, _ in table.below(b"")]
    assert set(paths) == {b"a/", b"a/b/", b"a/b/f", b"a/g"}
    assert paths.index(b"a/") < paths.index(b"a/b/") < paths.index(b"a/b/f")
    assert {path for path, _ in table.below(b"a/b")} == {b"a/b/f"}


def test_a_file_costs_the_table_at_most_200_bytes_beyond_its_path() -> None:
    table = Table()
    names = 0
    for directory in range(300):
        for file in range(30):
            path = b"some/directory%d/a_module_name_%d.py" % (directory, file)
            table.put(
                path, entries.entry(found(ino=directory * 30 + file), entries.OURS)
            )
            names += len(path)
    size = sys.getsizeof(table.directories)
    for path, row in table.directories.items():
        size += sys.getsizeof(path) + sys.getsizeof(row)
        for name, value in row.items():
            size += sys.getsizeof(name) + sys.getsizeof(value)
    assert (size - names) / 9000 < 200


ODD_NAMES = (b"a b", b"new\nline", b"end", b"-rf *", b"\xff\xfe", b"'", b"d 7 4 1.1 .")
ODD_TARGETS = (b"end", b"d/.", b"./d/.", b"f 644 1 1.0 x", b"./e/.//")


@pytest.mark.parametrize("form", ["find", "stat"])
def test_a_listing_tells_any_name_and_ends_where_it_ends(
    form: str, tmp_path: Path
) -> None:
    for directory in (".", "d", "d/e", "empty", "new\n./d", "z ./d"):
        (tmp_path / directory).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(ODD_NAMES):
        (tmp_path / "d" / os.fsdecode(name)).write_bytes(b"x" * number)
    for number, target in enumerate(ODD_TARGETS):
        os.symlink(target, os.fsencode(tmp_path) + b"/d/e/link%d" % number)
        os.symlink(target, os.fsencode(tmp_path) + b"/z ./d/link%d" % number)
    asked = [b"", b"d", b"d/e", b"empty", b"gone", b"new\n./d", b"z ./d"]
    before = b"null=/dev/null"  # which receiver.sh has found out
    script = b"\n".join([before, *listing.commands(form, asked)])
    ran = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, check=True
    )
    whole = ran.stdout + b"ok 1\n"
    ends = [listing.find_end(form, whole[:stop], 0) for stop in range(len(whole))]
    end = len(ran.stdout) - len(listing.ENDS[form])
    assert set(ends) == {-1, end}

    bodies = listing.bodies(form, whole[:end])
    assert set(bodies) == set(asked) - {b"gone"}
    assert not listing.parse(form, bodies[b"empty"])
    for directory in set(asked) - {b"gone"}:
        place = os.path.join(os.fsencode(tmp_path), directory)
        entries = {one[0]: one for one in listing.parse(form, bodies[directory])}
        assert set(entries) == set(os.listdir(place))
        for name, (_, letter, mode, size, mtime, target) in entries.items():
            status = os.lstat(os.path.join(place, name))
            assert (mode, mtime) == (status.st_mode & 0o7777, status.st_mtime_ns)
            if letter == b"l":
                there = os.readlink(os.path.join(place, name))
                assert target == (there if form == "find" else b"")
            elif letter == b"f":
                assert size == status.st_size


def test_an_empty_listing_ends_at_once() -> None:
    for form, end in listing.ENDS.items():
        assert listing.find_end(form, end, 0) == 0
        assert listing.bodies(form, b"") == {}
