"""The table: what is taken for the same, what is ours, and what a listing changes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from filerep.farend import listing
from filerep.replica import state
from filerep.replica import table as tables

SECOND = 10**9


def found(
    ino: int = 1,
    mode: int = 0o644,
    size: int = 5,
    mtime: int = 7 * SECOND + 3,
    ctime: int = 9 * SECOND + 9,
    type_: int = stat.S_IFREG,
) -> os.stat_result:
    """A stat result with just these numbers."""
    whole = (type_ | mode, ino, 0, 1, 0, 0, size, 0, mtime // SECOND, ctime // SECOND)
    return os.stat_result(whole, {"st_mtime_ns": mtime, "st_ctime_ns": ctime})


def listed(path: bytes, mtime: int, size: int = 5, mode: int = 0o644) -> tables.Listed:
    return (path, b"f", mode, size, mtime, b"")


def test_a_file_that_was_sent_is_the_same_until_any_number_of_it_changes() -> None:
    table = tables.Table()
    table.put(b"f", tables.entry(found(), tables.OURS))
    assert table.unchanged(b"f", found(), b"")
    for other in (
        found(ino=2),
        found(mode=0o600),
        found(size=6),
        found(mtime=8),
        found(ctime=8),
    ):
        assert not table.unchanged(b"f", other, b"")


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
    table = tables.Table()
    table.merge_listing(b"", [listed(b"f", over_there)])
    assert table.unchanged(b"f", found(mtime=here, ctime=ctime), b"") is same


def test_an_edit_that_keeps_size_and_mtime_shows_by_ctime_when_remembered() -> None:
    table = tables.Table()
    table.put(b"f", tables.entry(found(), tables.OURS | tables.UNSEEN))
    table.merge_listing(b"", [listed(b"f", 7 * SECOND + 3)])
    assert not table.unchanged(b"f", found(ctime=10 * SECOND + 1), b"")
    assert table.unchanged(b"f", found(), b"")


def test_whole_seconds_over_there_are_enough_when_the_rest_is_remembered() -> None:
    table = tables.Table()
    table.put(b"f", tables.entry(found(), tables.OURS | tables.UNSEEN))
    table.merge_listing(b"", [listed(b"f", 7 * SECOND)])
    assert table.unchanged(b"f", found(), b"")


def test_what_was_altered_over_there_is_sent_and_stays_ours() -> None:
    table = tables.Table()
    table.put(b"f", tables.entry(found(), tables.OURS | tables.UNSEEN))
    table.merge_listing(b"", [listed(b"f", 8 * SECOND + 1)])
    assert not table.unchanged(b"f", found(), b"")
    value = table.get(b"f")
    assert value is not None and tables.marks(value) & tables.OURS


def test_what_the_far_end_lost_is_forgotten_with_all_below_it() -> None:
    table = tables.Table()
    table.put(b"a/b/f", tables.entry(found(), tables.OURS | tables.UNSEEN))
    table.merge_listing(b"", [])
    assert list(table.below(b"")) == []
    assert set(table.directories) == {b""}


def test_a_young_entry_equals_nothing() -> None:
    table = tables.Table()
    table.put(b"f", tables.entry(found(), tables.OURS | tables.UNSURE))
    assert not table.unchanged(b"f", found(), b"")


def test_a_listed_symlink_is_compared_by_its_target() -> None:
    table = tables.Table()
    table.merge_listing(b"", [(b"l", b"l", 0o777, 3, 0, b"abc")])
    link = found(type_=stat.S_IFLNK, size=3)
    assert not table.unchanged(b"l", link, b"abd")
    assert table.unchanged(b"l", link, b"abc")


def test_adopting_a_listed_file_is_to_be_remembered_once() -> None:
    table = tables.Table()
    table.merge_listing(b"", [listed(b"f", 7 * SECOND + 3)])
    assert table.unchanged(b"f", found(), b"")
    assert [path for path, _ in table.adopted] == [b"f"]
    table.adopted.clear()
    assert table.unchanged(b"f", found(), b"") and not table.adopted


def test_below_yields_directories_before_what_is_in_them() -> None:
    table = tables.Table()
    table.put(b"a/b/f", tables.entry(found(), tables.OURS))
    table.put(b"a/g", tables.entry(found(), tables.OURS))
    paths = [path for path, _ in table.below(b"")]
    assert set(paths) == {b"a/", b"a/b/", b"a/b/f", b"a/g"}
    assert paths.index(b"a/") < paths.index(b"a/b/") < paths.index(b"a/b/f")
    assert {path for path, _ in table.below(b"a/b")} == {b"a/b/f"}


def test_a_file_costs_the_table_at_most_200_bytes_beyond_its_path() -> None:
    table = tables.Table()
    names = 0
    for directory in range(300):
        for file in range(30):
            path = b"some/directory%d/a_module_name_%d.py" % (directory, file)
            table.put(path, tables.entry(found(ino=directory * 30 + file), tables.OURS))
            names += len(path)
    size = sys.getsizeof(table.directories)
    for path, entries in table.directories.items():
        size += sys.getsizeof(path) + sys.getsizeof(entries)
        for name, value in entries.items():
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
    script = b"\n".join(listing.commands(form, asked))
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


def test_a_listing_that_was_just_as_remembered_need_not_be_read_again(
    tmp_path: Path,
) -> None:
    """Until anything that is remembered of the directory changes."""
    path = os.fsencode(tmp_path / "state")
    kept = state.State(path)
    kept.tidy().enter(tables.Table(), 0)
    entry = tables.entry(found(), tables.OURS)
    kept.append([(one, entry) for one in (b"a/f", b"b/f", b"c/f", b"d/f", b"e/f")], [])
    kept.confirm({one: one * 16 for one in (b"a", b"b", b"c", b"d", b"e")})
    kept.append([(b"b/f", tables.entry(found(ino=2), tables.OURS))], [b"c/f"])
    kept.intend([b"d/new/"])
    kept.close()
    for _ in range(2):  # appended, and in blocks
        again = state.State(path)
        table = tables.Table()
        again.tidy().enter(table, tables.OURS | tables.UNSEEN)
        again.close()
        assert table.digests == {b"a": b"a" * 16, b"e": b"e" * 16}
        assert table.get(b"b/f") and table.get(b"e/f") and not table.get(b"c/f")


def test_state_outlives_its_process_cut_anywhere(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "state")
    kept = state.State(path)
    kept.tidy().enter(tables.Table(), 0)
    kept.append([(b"a/f", tables.entry(found(), tables.OURS))], [])
    kept.append([(b"g", tables.entry(found(ino=2), tables.OURS))], [b"a/f"])
    with open(path, "rb") as file:
        whole = file.read()
    for cut in range(len(whole)):
        rows = state.parse(whole[:cut]).rows
        assert rows.get(b"", {}).keys() <= {b"g"}
        assert rows.get(b"a", {}).keys() <= {b"f"}
    assert b"a" not in state.parse(whole).rows
    assert set(state.parse(whole).rows[b""]) == {b"g"}


def test_a_state_file_is_held_by_one_run_at_a_time(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "state")
    first = state.State(path)
    first.tidy().enter(tables.Table(), 0)
    with pytest.raises(state.Busy):
        state.State(path)


def test_what_became_void_is_left_out_when_the_file_is_opened_again(
    tmp_path: Path,
) -> None:
    path = os.fsencode(tmp_path / "state")
    kept = state.State(path)
    kept.tidy().enter(tables.Table(), 0)
    for ino in range(100):
        kept.append([(b"f", tables.entry(found(ino=ino), tables.OURS))], [])
    kept.close()
    again = state.State(path)
    table = tables.Table()
    again.tidy().enter(table, tables.OURS)
    assert os.path.getsize(path) < 200
    assert table.unchanged(b"f", found(ino=99), b"")


def test_what_is_about_to_be_sent_is_remembered(tmp_path: Path) -> None:
    """And what was cut short by the end of a process is no part of what follows."""
    path = os.fsencode(tmp_path / "state")
    first = state.State(path)
    first.tidy().enter(tables.Table(), 0)

    first.append([(b"known", tables.entry(found(), tables.OURS))], [])
    first.intend([b"new/", b"new/f", b"known"])
    first.close()
    with open(path, "ab") as file:
        file.write(b"+cut")
    for _ in range(2):
        again = state.State(path)
        loaded = tables.Table()
        again.tidy().enter(loaded, tables.OURS | tables.UNSEEN)
        again.append([(b"later", tables.entry(found(), tables.OURS))], [])
        again.close()
        assert set(loaded.unseen()) >= {b"new/", b"new/f", b"known"}
        doubted = loaded.get(b"new/f")
        assert doubted and tables.marks(doubted) & tables.UNSURE
        known = loaded.get(b"known")
        assert known and not tables.marks(known) & tables.UNSURE
    assert loaded.get(b"later")


@pytest.mark.parametrize("became", [False, True])
def test_a_file_that_was_to_become_a_directory_is_ours_either_way(
    tmp_path: Path, became: bool
) -> None:
    """The answer was lost; the far end's listing tells which of the two it has."""
    kept = state.State(os.fsencode(tmp_path / "state"))
    kept.tidy().enter(tables.Table(), 0)
    kept.append([(b"d", tables.entry(found(), tables.OURS))], [])
    kept.intend([b"d/", b"d/f"])
    kept.close()
    again = state.State(os.fsencode(tmp_path / "state"))
    table = tables.Table()
    again.tidy().enter(table, tables.OURS | tables.UNSEEN)
    if became:
        table.merge_listing(b"", [(b"d", b"d", 0o755, 4096, SECOND, b"")])
        table.merge_listing(b"d", [(b"f", b"f", 0o644, 5, SECOND, b"")])
        assert table.unseen() == [b"d/", b"d/f"]
    else:
        table.merge_listing(b"", [(b"d", b"f", 0o644, 5, 7 * SECOND + 3, b"")])
        assert table.unseen() == [b"d"]


def test_a_file_stays_ours_where_a_directory_was_before(tmp_path: Path) -> None:
    """Found by a hunt that kills: it was not removed over there."""
    kept = state.State(os.fsencode(tmp_path / "state"))
    kept.tidy().enter(tables.Table(), 0)
    entry = tables.entry(found(), tables.OURS)
    directory = tables.directory_entry(0o755, tables.OURS)
    kept.append([(b"a/f", entry), (b"a/", directory)], [])
    kept.append([(b"a", entry)], [b"a/f", b"a/"])
    kept.close()
    for _ in range(2):
        again = state.State(os.fsencode(tmp_path / "state"))
        table = tables.Table()
        again.tidy().enter(table, tables.OURS | tables.UNSEEN)
        again.close()
        assert table.unseen() == [b"a"]


@pytest.mark.parametrize("before", [True, False], ids=["before it", "after it"])
def test_a_file_stays_ours_where_something_in_a_directory_was_never_sent(
    tmp_path: Path, before: bool
) -> None:
    """It was about to be, and nobody will ever know; the directory is forgotten."""
    kept = state.State(os.fsencode(tmp_path / "state"))
    kept.tidy().enter(tables.Table(), 0)
    if before:
        kept.intend([b"a/b/f"])
    kept.append([(b"a", tables.entry(found(), tables.OURS))], [])
    if not before:
        kept.intend([b"a/b/f"])
    kept.close()
    table = tables.Table()
    again = state.State(os.fsencode(tmp_path / "state"))
    again.tidy().enter(table, tables.OURS | tables.UNSEEN)
    again.close()
    table.merge_listing(b"", [listed(b"a", 7 * SECOND + 3)])
    assert table.unseen() == [b"a"]


def test_a_file_that_cannot_be_tidied_still_remembers(tmp_path: Path) -> None:
    """As on a full disk."""
    path = os.fsencode(tmp_path / "state")
    kept = state.State(path)
    kept.tidy()
    kept.append([(b"a", tables.entry(found(), tables.OURS))], [])
    kept.close()
    os.mkdir(path + b".new")
    again = state.State(path)
    assert set(again.tidy().rows[b""]) == {b"a"}
    again.append([(b"b", tables.entry(found(), tables.OURS))], [])
    assert set(again.tidy().rows[b""]) == {b"a", b"b"}


def test_a_file_saved_all_day_does_not_make_the_state_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "_LEAST_ROOM", 10_000)
    path = os.fsencode(tmp_path / "state")
    kept = state.State(path)
    kept.tidy().enter(tables.Table(), 0)
    kept.append([(b"other", tables.entry(found(), tables.OURS))], [])
    for ino in range(5_000):
        kept.intend([b"new%d" % ino] if ino == 4_999 else [])
        kept.append([(b"log", tables.entry(found(ino=ino), tables.OURS))], [])
    assert os.path.getsize(path) < 25_000
    kept.close()
    again = state.State(path)
    table = tables.Table()
    again.tidy().enter(table, tables.OURS)
    assert table.unchanged(b"log", found(ino=4_999), b"")
    assert table.unchanged(b"other", found(), b"")
    assert table.get(b"new4999") is not None


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> state.State:
    """The file ``state``, which is tidied often."""
    monkeypatch.setattr(state, "_LEAST_ROOM", 10_000)
    kept = state.State(os.fsencode(tmp_path / "state"))
    kept.tidy()
    return kept


def send(kept: state.State, path: bytes) -> None:
    kept.intend([path])
    kept.append([(path, tables.entry(found(), tables.OURS))], [], [path])


def test_files_that_come_and_go_all_day_do_not_make_the_state_grow_for_ever(
    kept: state.State, tmp_path: Path
) -> None:
    for count in range(5_000):
        send(kept, b"new%d" % count)
        kept.append([], [b"new%d" % count])
    assert (tmp_path / "state").stat().st_size < 25_000


def test_what_fails_all_day_does_not_make_the_state_grow_for_ever(
    kept: state.State, tmp_path: Path
) -> None:
    for _ in range(5_000):
        kept.intend([b"d/", b"d/new"])
    assert (tmp_path / "state").stat().st_size < 25_000


def test_a_first_copy_is_not_held_up_to_tidy_what_only_grew(
    kept: state.State, tmp_path: Path
) -> None:
    """It would take as much memory again as the table has."""
    before = (tmp_path / "state").stat().st_ino
    for count in range(5_000):
        send(kept, b"new%d" % count)
    assert (tmp_path / "state").stat().st_ino == before


@pytest.mark.parametrize("remembered", [True, False], ids=["an older one", "none"])
def test_a_version_whose_answer_was_lost_proves_nothing(
    remembered: bool, tmp_path: Path
) -> None:
    """It was edited since, size and mtime were kept, and only the listing shows it.

    Found by a hunt that kills: an edit with ``touch -r`` stayed behind.
    """
    kept = state.State(os.fsencode(tmp_path / "state"))
    kept.tidy().enter(tables.Table(), 0)
    if remembered:
        older = found(mtime=3 * SECOND + 1, ctime=3 * SECOND + 1)
        kept.append([(b"f", tables.entry(older, tables.OURS))], [])
    else:
        kept.intend([b"f"])
    kept.close()
    table = tables.Table()
    state.State(os.fsencode(tmp_path / "state")).tidy().enter(
        table, tables.OURS | tables.UNSEEN
    )
    table.merge_listing(b"", [listed(b"f", 7 * SECOND + 3)])
    assert not table.unchanged(b"f", found(), b"")


def test_a_state_file_cannot_lead_outside(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "state")
    kept = state.State(path)
    kept.tidy()
    outside = [b"../v", b"../", b"a/../../v", b"/etc/v", b"..", b"a//b", b"", b"/"]
    kept.intend([*outside, b"good"])
    kept.append([(one, tables.entry(found(), tables.OURS)) for one in outside], [])
    kept.close()
    for _ in range(2):  # appended, and in blocks
        again = state.State(path)
        assert again.tidy().rows.keys() <= {b""}
        again.close()
