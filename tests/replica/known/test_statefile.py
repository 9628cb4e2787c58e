"""The state file: what outlives a run, and what of it is believed."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import struct
import tracemalloc
from pathlib import Path

import pytest
from fuzz import each_seed, hunts, spoil
from looks import SECOND, found, listed
from memory import at_most

from filerep import ownfiles
from filerep.pathstream import inside
from filerep.replica.known import entries, statefile, stateframes, staterows
from filerep.replica.known.merging import merge_listing
from filerep.replica.known.table import Table
from filerep.replica.known.unchanged import unchanged


def test_a_listing_that_was_just_as_remembered_need_not_be_read_again(
    tmp_path: Path,
) -> None:
    """Until anything that is remembered of the directory changes."""
    path = os.fsencode(tmp_path / "state")
    kept = statefile.State(path)
    kept.tidy().enter(Table(), 0)
    entry = entries.entry(found(), entries.OURS)
    kept.append([(one, entry) for one in (b"a/f", b"b/f", b"c/f", b"d/f", b"e/f")], [])
    kept.confirm({one: one * 16 for one in (b"a", b"b", b"c", b"d", b"e")})
    kept.append([(b"b/f", entries.entry(found(ino=2), entries.OURS))], [b"c/f"])
    kept.intend([b"d/new/"])
    kept.close()
    for _ in range(2):  # appended, and in blocks
        again = statefile.State(path)
        table = Table()
        again.tidy().enter(table, entries.OURS | entries.UNSEEN)
        again.close()
        assert table.digests == {b"a": b"a" * 16, b"e": b"e" * 16}
        assert table.get(b"b/f") and table.get(b"e/f") and not table.get(b"c/f")


def test_whether_the_connection_was_slow_is_known(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "state")
    entry = entries.entry(found(), entries.OURS)
    for slow in (True, False, True):
        kept = statefile.State(path)
        kept.tidy()
        kept.found_slow(slow)
        kept.append([(b"a/f", entry)] * 9, [])
        kept.close()
        for _ in range(2):  # appended, and rewritten
            kept = statefile.State(path)
            assert kept.tidy().slow == slow
            kept.close()


def test_at_what_the_far_end_fell_silent_is_known_until_it_is_there(
    tmp_path: Path,
) -> None:
    path = os.fsencode(tmp_path / "state")
    kept = statefile.State(path)
    kept.tidy()
    entry = entries.entry(found(), entries.OURS)
    kept.append([(one, entry) for one in (b"a/f", b"b/f", b"c/f")], [])
    kept.fell_silent([b"a/f", b"b/f"])
    kept.close()
    for _ in range(2):  # appended, and rewritten
        kept = statefile.State(path)
        assert kept.tidy().silent == {b"a/f", b"b/f"}
        kept.close()
    kept = statefile.State(path)
    kept.tidy()
    kept.fell_silent([b"c/f", b"new"])
    kept.append([(b"a/f", entry)], [b"c/f"])
    with open(path, "rb") as file:
        assert staterows.parse(file.read()).silent == {b"b/f", b"new"}
    kept.close()


def test_state_outlives_its_process_cut_anywhere(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "state")
    kept = statefile.State(path)
    kept.tidy().enter(Table(), 0)
    kept.append([(b"a/f", entries.entry(found(), entries.OURS))], [])
    kept.append([(b"g", entries.entry(found(ino=2), entries.OURS))], [b"a/f"])
    with open(path, "rb") as file:
        whole = file.read()
    for cut in range(len(whole)):
        rows = staterows.parse(whole[:cut]).rows
        assert rows.get(b"", {}).keys() <= {b"g"}
        assert rows.get(b"a", {}).keys() <= {b"f"}
    assert b"a" not in staterows.parse(whole).rows
    assert set(staterows.parse(whole).rows[b""]) == {b"g"}


def test_a_state_file_is_held_by_one_run_at_a_time(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "state")
    first = statefile.State(path)
    first.tidy().enter(Table(), 0)
    with pytest.raises(statefile.Busy):
        statefile.State(path)


def test_what_became_void_is_left_out_when_the_file_is_opened_again(
    tmp_path: Path,
) -> None:
    path = os.fsencode(tmp_path / "state")
    kept = statefile.State(path)
    kept.tidy().enter(Table(), 0)
    for ino in range(100):
        kept.append([(b"f", entries.entry(found(ino=ino), entries.OURS))], [])
    kept.close()
    again = statefile.State(path)
    table = Table()
    again.tidy().enter(table, entries.OURS)
    assert os.path.getsize(path) < 200
    assert unchanged(table, b"f", found(ino=99), b"")


def test_what_is_about_to_be_sent_is_remembered(tmp_path: Path) -> None:
    """And what was cut short by the end of a process is no part of what follows."""
    path = os.fsencode(tmp_path / "state")
    first = statefile.State(path)
    first.tidy().enter(Table(), 0)

    first.append([(b"known", entries.entry(found(), entries.OURS))], [])
    first.intend([b"new/", b"new/f", b"known"])
    first.close()
    with open(path, "ab") as file:
        file.write(b"+cut")
    for _ in range(2):
        again = statefile.State(path)
        loaded = Table()
        again.tidy().enter(loaded, entries.OURS | entries.UNSEEN)
        again.append([(b"later", entries.entry(found(), entries.OURS))], [])
        again.close()
        assert set(loaded.unseen()) >= {b"new/", b"new/f", b"known"}
        doubted = loaded.get(b"new/f")
        assert doubted and entries.marks(doubted) & entries.UNSURE
        known = loaded.get(b"known")
        assert known and not entries.marks(known) & entries.UNSURE
    assert loaded.get(b"later")


@pytest.mark.parametrize("became", [False, True])
def test_a_file_that_was_to_become_a_directory_is_ours_either_way(
    tmp_path: Path, became: bool
) -> None:
    """The answer was lost; the far end's listing tells which of the two it has."""
    kept = statefile.State(os.fsencode(tmp_path / "state"))
    kept.tidy().enter(Table(), 0)
    kept.append([(b"d", entries.entry(found(), entries.OURS))], [])
    kept.intend([b"d/", b"d/f"])
    kept.close()
    again = statefile.State(os.fsencode(tmp_path / "state"))
    table = Table()
    again.tidy().enter(table, entries.OURS | entries.UNSEEN)
    if became:
        merge_listing(table, b"", [(b"d", b"d", 0o755, 4096, SECOND, b"")])
        merge_listing(table, b"d", [(b"f", b"f", 0o644, 5, SECOND, b"")])
        assert table.unseen() == [b"d/", b"d/f"]
    else:
        merge_listing(table, b"", [(b"d", b"f", 0o644, 5, 7 * SECOND + 3, b"")])
        assert table.unseen() == [b"d"]


def test_a_file_stays_ours_where_a_directory_was_before(tmp_path: Path) -> None:
    """Found by a hunt that kills: it was not removed over there."""
    kept = statefile.State(os.fsencode(tmp_path / "state"))
    kept.tidy().enter(Table(), 0)
    entry = entries.entry(found(), entries.OURS)
    directory = entries.directory_entry(0o755, entries.OURS)
    kept.append([(b"a/f", entry), (b"a/", directory)], [])
    kept.append([(b"a", entry)], [b"a/f", b"a/"])
    kept.close()
    for _ in range(2):
        again = statefile.State(os.fsencode(tmp_path / "state"))
        table = Table()
        again.tidy().enter(table, entries.OURS | entries.UNSEEN)
        again.close()
        assert table.unseen() == [b"a"]


def test_a_directory_is_ours_where_what_is_in_it_was_sent_once_more(
    tmp_path: Path,
) -> None:
    """Found by a hunt that kills: it was left over there, as if it had been made there."""
    kept = statefile.State(os.fsencode(tmp_path / "state"))
    kept.tidy().enter(Table(), 0)
    directory = entries.directory_entry(0o755, entries.OURS)
    kept.append([(b"a/", directory)], [])
    kept.append([], [b"a/"])
    kept.append([(b"a/b/f", entries.entry(found(), entries.OURS))], [])
    kept.close()
    for _ in range(2):
        again = statefile.State(os.fsencode(tmp_path / "state"))
        table = Table()
        again.tidy().enter(table, entries.OURS | entries.UNSEEN)
        again.close()
        for path in (b"a", b"a/b"):
            value = table.get_directory(path)
            assert value and entries.marks(value) & entries.OURS


@pytest.mark.parametrize("before", [True, False], ids=["before it", "after it"])
def test_a_file_stays_ours_where_something_in_a_directory_was_never_sent(
    tmp_path: Path, before: bool
) -> None:
    """It was about to be, and nobody will ever know; the directory is forgotten."""
    kept = statefile.State(os.fsencode(tmp_path / "state"))
    kept.tidy().enter(Table(), 0)
    if before:
        kept.intend([b"a/b/f"])
    kept.append([(b"a", entries.entry(found(), entries.OURS))], [])
    if not before:
        kept.intend([b"a/b/f"])
    kept.close()
    table = Table()
    again = statefile.State(os.fsencode(tmp_path / "state"))
    again.tidy().enter(table, entries.OURS | entries.UNSEEN)
    again.close()
    merge_listing(table, b"", [listed(b"a", 7 * SECOND + 3)])
    assert table.unseen() == [b"a"]


def test_a_file_that_cannot_be_tidied_still_remembers(tmp_path: Path) -> None:
    """As on a full disk."""
    path = os.fsencode(tmp_path / "state")
    kept = statefile.State(path)
    kept.tidy()
    kept.append([(b"a", entries.entry(found(), entries.OURS))], [])
    kept.close()
    os.mkdir(path + b".new")
    again = statefile.State(path)
    assert set(again.tidy().rows[b""]) == {b"a"}
    again.append([(b"b", entries.entry(found(), entries.OURS))], [])
    assert set(again.tidy().rows[b""]) == {b"a", b"b"}


def test_a_file_saved_all_day_does_not_make_the_state_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statefile, "_LEAST_ROOM", 10_000)
    path = os.fsencode(tmp_path / "state")
    kept = statefile.State(path)
    kept.tidy().enter(Table(), 0)
    kept.append([(b"other", entries.entry(found(), entries.OURS))], [])
    for ino in range(5_000):
        kept.intend([b"new%d" % ino] if ino == 4_999 else [])
        kept.append([(b"log", entries.entry(found(ino=ino), entries.OURS))], [])
    assert os.path.getsize(path) < 25_000
    kept.close()
    again = statefile.State(path)
    table = Table()
    again.tidy().enter(table, entries.OURS)
    assert unchanged(table, b"log", found(ino=4_999), b"")
    assert unchanged(table, b"other", found(), b"")
    assert table.get(b"new4999") is not None


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> statefile.State:
    """The file ``state``, which is tidied often."""
    monkeypatch.setattr(statefile, "_LEAST_ROOM", 10_000)
    kept = statefile.State(os.fsencode(tmp_path / "state"))
    kept.tidy()
    return kept


def send(kept: statefile.State, path: bytes) -> None:
    kept.intend([path])
    kept.append([(path, entries.entry(found(), entries.OURS))], [], [path])


def test_files_that_come_and_go_all_day_do_not_make_the_state_grow_for_ever(
    kept: statefile.State, tmp_path: Path
) -> None:
    for count in range(5_000):
        send(kept, b"new%d" % count)
        kept.append([], [b"new%d" % count])
    assert (tmp_path / "state").stat().st_size < 25_000


def test_what_fails_all_day_does_not_make_the_state_grow_for_ever(
    kept: statefile.State, tmp_path: Path
) -> None:
    for _ in range(5_000):
        kept.intend([b"d/", b"d/new"])
    assert (tmp_path / "state").stat().st_size < 25_000


def test_a_first_copy_is_not_held_up_to_tidy_what_only_grew(
    kept: statefile.State, tmp_path: Path
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
    kept = statefile.State(os.fsencode(tmp_path / "state"))
    kept.tidy().enter(Table(), 0)
    if remembered:
        older = found(mtime=3 * SECOND + 1, ctime=3 * SECOND + 1)
        kept.append([(b"f", entries.entry(older, entries.OURS))], [])
    else:
        kept.intend([b"f"])
    kept.close()
    table = Table()
    statefile.State(os.fsencode(tmp_path / "state")).tidy().enter(
        table, entries.OURS | entries.UNSEEN
    )
    merge_listing(table, b"", [listed(b"f", 7 * SECOND + 3)])
    assert not unchanged(table, b"f", found(), b"")


def test_a_state_file_cannot_lead_outside(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "state")
    kept = statefile.State(path)
    kept.tidy()
    outside = [b"../v", b"../", b"a/../../v", b"/etc/v", b"..", b"a//b", b"", b"/"]
    kept.intend([*outside, b"good"])
    kept.append([(one, entries.entry(found(), entries.OURS)) for one in outside], [])
    kept.close()
    for _ in range(2):  # appended, and in blocks
        again = statefile.State(path)
        assert again.tidy().rows.keys() <= {b""}
        again.close()


# --- what of it is believed -----------------------------------------------------------


def entry(**numbers: int) -> bytes:
    return entries.entry(found(**numbers), entries.OURS)


def opened(path: Path) -> tuple[statefile.State, Table]:
    """As the next start does it."""
    kept = statefile.State(os.fsencode(path))
    table = Table()
    kept.tidy().enter(table, entries.OURS | entries.UNSEEN)
    return kept, table


def is_ours(table: Table, path: bytes) -> bool:
    value = table.get(path)
    return value is not None and bool(entries.marks(value) & entries.OURS)


class Disk:
    """One that takes no more behind so many bytes of a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 1 << 40
        self._pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", self.pwrite)

    def pwrite(self, fd: int, data: bytes, at: int) -> int:
        if at >= self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._pwrite(fd, memoryview(data)[: self.room - at], at)


@pytest.mark.parametrize("partly", [0, 7], ids=["at all", "whole"])
def test_what_could_not_be_written_makes_nothing_ours_that_the_far_end_made(
    partly: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`x` was removed over there while the disk was full, and made there since."""
    disk = Disk(monkeypatch)
    kept, _ = opened(tmp_path / "state")
    kept.append([(b"x", entry()), (b"y", entry())], [])
    disk.room = (tmp_path / "state").stat().st_size + partly
    with pytest.raises(OSError):
        kept.append([], [b"x"])
    kept.close()
    disk.room = 1 << 40
    for _ in range(2):  # it is not sure either when it was written anew
        kept, table = opened(tmp_path / "state")
        kept.close()
        merge_listing(
            table, b"", [listed(b"x", 8 * SECOND + 1), listed(b"y", 7 * SECOND + 3)]
        )
        assert not is_ours(table, b"x") and is_ours(table, b"y")
        assert table.unseen() == [b"y"]


def test_what_the_listing_has_shown_is_sure_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    kept, _ = opened(tmp_path / "state")
    kept.append([(b"y", entry())], [])
    disk.room = (tmp_path / "state").stat().st_size
    with pytest.raises(OSError):
        kept.append([], [b"x"])
    kept.close()
    disk.room = 1 << 40
    kept, table = opened(tmp_path / "state")
    merge_listing(table, b"", [listed(b"y", 7 * SECOND + 3)])
    kept.append(table.adopted, [])
    kept.close()
    kept, table = opened(tmp_path / "state")
    merge_listing(table, b"", [listed(b"y", 9 * SECOND)])
    assert is_ours(table, b"y")


def test_a_state_file_of_another_start_of_the_machine_may_be_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless its run has ended in order: what was written last may be lost with the machine."""
    for ended in (True, False):
        monkeypatch.setattr(ownfiles, "running_kernel", lambda: "first")
        kept, _ = opened(tmp_path / f"state{ended}")
        kept.append([(b"x", entry())], [])
        if ended:
            kept.close()
        else:
            os.close(kept._fd)
        monkeypatch.setattr(ownfiles, "running_kernel", lambda: "second")
        _, table = opened(tmp_path / f"state{ended}")
        merge_listing(table, b"", [listed(b"x", 8 * SECOND + 1)])
        assert is_ours(table, b"x") is ended


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_state_file_that_was_brought_back_may_be_old(
    ended: bool, in_place: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`x` was sent, and the file saved; then `x` was removed, and made over there by somebody."""
    monkeypatch.setattr(stateframes, "_AT_ONCE", 1000)  # microseconds
    path = tmp_path / "state"
    kept, _ = opened(path)
    kept.append([(b"x", entry())], [])
    if ended:
        kept.close()
    shutil.copy2(path, tmp_path / "saved")
    (tmp_path / "clock").touch()
    if ended:
        kept, _ = opened(path)
    kept.append([], [b"x"])
    kept.close()
    if not in_place:
        path.rename(tmp_path / "aside")  # or its inode may be that of the next file
    saved = (tmp_path / "saved").stat().st_ctime_ns
    while (tmp_path / "clock").stat().st_ctime_ns < saved + 1_000_000:
        (tmp_path / "clock").touch()
    shutil.copy2(tmp_path / "saved", path)
    if in_place and not ended:
        monkeypatch.setattr(ownfiles, "running_kernel", lambda: "another")
    _, table = opened(path)
    merge_listing(table, b"", [listed(b"x", 8 * SECOND + 1)])
    assert not is_ours(table, b"x")


def test_a_state_file_that_was_cut_after_its_run_has_ended_may_be_old(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state"
    kept, _ = opened(path)
    kept.append([(b"x", entry())], [])
    before = path.stat().st_size
    kept.append([], [b"x"])
    kept.close()
    os.truncate(path, before)
    _, table = opened(path)
    merge_listing(table, b"", [listed(b"x", 8 * SECOND + 1)])
    assert not is_ours(table, b"x")


def good_files(place: Path) -> list[bytes]:
    """The same state, appended and in rows, with what it is made of."""
    path = place / "good"
    kept, _ = opened(path)
    for number in range(40):
        name = b"d%d/f%d" % (number % 5, number) if number % 3 else b"f%d" % number
        kept.intend([name])
        kept.append([(name, entry(ino=number))], [])
    late = entry(mtime=10**19)
    kept.append([(b"late", late), (b"d1/", entries.directory_entry(0o755, 1))], [])
    kept.append([(b"f3", entry(ino=99))], [b"f6", b"d1/f1"])
    kept.confirm({b"d1": b"1" * 16, b"d2": b"2" * 16})
    kept.close()
    appended = path.read_bytes()
    kept, _ = opened(path)
    kept.close()
    return [appended, path.read_bytes()]


@hunts
def test_of_a_damaged_file_only_what_was_written_is_remembered(tmp_path: Path) -> None:
    """And it is sure only where nothing is missing."""
    files = good_files(tmp_path)
    true = staterows.parse(files[0]).rows
    assert true == staterows.parse(files[1]).rows and true[b""][b"late"]
    written = {entry(ino=number)[:-1] for number in range(100)}
    written |= {value[:-1] for row in true.values() for value in row.values()}
    written.add(entries.DOUBTED[:-1])

    def one(dice: random.Random) -> None:
        data = spoil(dice.choice(files), dice)
        with at_most(64 << 20):
            kept = staterows.parse(data)
        values = [value for row in kept.rows.values() for value in row.values()]
        assert {value[:-1] for value in values} <= written
        if kept.rows != true:
            assert all(entries.marks(value) & entries.OLD for value in values)
            assert not kept.digests
        kept.enter(Table(), entries.OURS | entries.UNSEEN)

    each_seed(3000, one)


@hunts
def test_frames_that_nobody_has_written_cost_no_more_than_they_say() -> None:
    """Their checksums are right: somebody else has made them."""

    def one(dice: random.Random) -> None:
        made = [stateframes.HEADER + stateframes.flag(stateframes.OPEN, 0)]
        for number in range(dice.randrange(1, 5)):
            kind = dice.choice([b"+", b"-", b"?", b"#", b"=", b"x"])
            made.append(stateframes.frame(kind, content(dice), number))
        table = Table()
        with at_most(64 << 20):
            kept = staterows.parse(b"".join(made))
            kept.enter(table, entries.OURS | entries.UNSEEN)
        for path, _ in table.below(b""):
            assert inside(path)
        assert sum(map(len, table.directories)) < 32 << 20

    each_seed(2000, one)


def content(dice: random.Random) -> bytes:
    """What a frame might hold, nearly."""
    names = [b"", b"/", b"..", b"../x", b"a", b"a/", b"a//b", b"/a", b"a/./b", b"\xff"]
    names += [b"d/" * 100, b"x" * 70_000, b"."]
    paths = b"\0".join(dice.choices(names, k=dice.randrange(1, 6)))
    width = dice.choice([0, 1, 35, 43, 255])
    count = dice.choice([0, 1, 2, 3, 5, 1 << 20, (1 << 32) - 1])
    head = struct.pack("<BI", width, count)
    if dice.random() < 0.3:
        head += struct.pack("<I", dice.choice([0, 1, 3, 1 << 31]))
    if dice.random() < 0.3:
        head = struct.pack("<I", count)
    entries = b"".join(
        dice.randbytes(34) + bytes([dice.choice([0, 1, 9, 25, 32, 255])])
        for _ in range(dice.randrange(4))
    )
    return head + entries + paths if dice.random() < 0.9 else dice.randbytes(50)


def test_a_path_of_very_many_directories_is_left_out() -> None:
    """Each would have a row, and a path of its own."""
    paths = [b"%d/" % number + b"d/" * 30_000 + b"f" for number in range(100)]
    data = stateframes.HEADER + stateframes.flag(stateframes.OPEN, 0)
    data += stateframes.frame(b"?", b"\0".join(paths), 0)
    table = Table()
    with at_most(64 << 20):
        kept = staterows.parse(data)
        kept.enter(table, entries.OURS)
    assert kept.damaged and sum(map(len, table.directories)) < 64 << 20


def test_what_is_damaged_costs_no_more_memory_than_a_window(tmp_path: Path) -> None:
    """A file of a terabyte, with nothing in it."""
    path = tmp_path / "state"
    kept, _ = opened(path)
    kept.append([(b"x", entry())], [])
    kept.close()
    os.truncate(path, 1 << 40)
    tracemalloc.start()
    kept, table = opened(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table.get(b"x") and peak < 16 << 20
    assert path.stat().st_size < 1000


def test_a_cut_is_told_from_a_wrong_length(tmp_path: Path) -> None:
    """Of a run that was killed: what follows a wrong length is not lost unseen."""
    path = tmp_path / "state"
    kept, _ = opened(path)
    kept.append([(b"x", entry())], [])
    kept.append([], [b"x"])
    os.close(kept._fd)
    data = bytearray(path.read_bytes())
    at = data.index(stateframes.frame(b"+", b"", 0)[:4]) + 5
    assert staterows.parse(bytes(data)).rows == {}
    data[at + 2] ^= 1  # a length beyond the end
    kept_ = staterows.parse(bytes(data))
    assert kept_.damaged and kept_.old
    os.truncate(path, len(data) - 3)
    with path.open("rb") as file:
        assert not staterows.read(file.fileno()).old


# --- whose file it is -----------------------------------------------------------------


def test_no_foreign_file_is_overwritten(tmp_path: Path) -> None:
    for name, text in (("notes", "do not lose this\n"), ("one", "x"), ("zero", "\0")):
        (tmp_path / name).write_text(text)
        with pytest.raises(statefile.Foreign):
            statefile.State(os.fsencode(tmp_path / name)).tidy()
        assert (tmp_path / name).read_text() == text
    (tmp_path / "state.new").write_text("mine")
    kept, _ = opened(tmp_path / "state")
    for number in range(100):
        kept.append([(b"f", entry(ino=number))], [])
    kept.close()
    _, table = opened(tmp_path / "state")
    assert table.get(b"f") and (tmp_path / "state.new").read_text() == "mine"


def test_a_state_file_of_another_version_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"file-replicator state 2\n?x\0")
    kept = statefile.State(os.fsencode(tmp_path / "state"))
    assert kept.tidy().form == "other version"
    kept.append([(b"f", entry())], [])
    kept.close()
    assert set(opened(tmp_path / "state")[1].directories[b""]) == {b"f"}


@pytest.mark.parametrize("what", ["link", "fifo", "open to others", "directory"])
def test_what_others_may_have_put_there_is_refused(what: str, tmp_path: Path) -> None:
    path, victim = tmp_path / "state", tmp_path / "victim"
    victim.write_text("precious")
    if what == "link":
        path.symlink_to(victim)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    else:
        path.touch(0o666)
        path.chmod(0o666)
    with pytest.raises(OSError):
        statefile.State(os.fsencode(path))
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("what", ["link", "open to others"])
def test_a_directory_that_others_can_write_to_is_no_place_for_state(
    what: str, tmp_path: Path
) -> None:
    place = tmp_path / "file-replicator"
    (tmp_path / "other").mkdir(0o700)
    if what == "link":
        place.symlink_to(tmp_path / "other")
    else:
        place.mkdir()
        place.chmod(0o777)
    with pytest.raises(ownfiles.Unusable, match=f"directory '{place}'"):
        ownfiles.make_directory(str(place))
    place.unlink() if what == "link" else place.chmod(0o700)
    ownfiles.make_directory(str(place))


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_flock_is_missing_the_other_lock_serves(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(fd: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", missing)
    fd = ownfiles.open_file(str(tmp_path / "lock"))
    assert ownfiles.lock(fd)
    monkeypatch.setattr(fcntl, "lockf", missing)
    assert not ownfiles.lock(fd)
    os.close(fd)


def test_without_a_home_no_directory_is_made_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(ownfiles.Unusable, match="HOME"):
        ownfiles.state_home()
