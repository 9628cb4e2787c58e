"""Names that are two here and one at the far end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from test_plan import Case

from filerep.farend.abilities import Far
from filerep.farend.batch import Batch
from filerep.replica.known.unchanged import same_time
from filerep.replica.planning.twins import Twins
from filerep.source import Source


def fold(words: str) -> Far:
    return Far(f"staging=.filerep-x folds={words}")


def twins(root: Path, words: str = "case") -> Twins:
    return Twins(Source(bytes(root)), fold(words).fold)


def test_what_is_folded_is_what_the_far_end_tells() -> None:
    composed, apart = "Caf\u00e9".encode(), "Cafe\u0301".encode()
    assert fold("case").fold(b"", b"README") == fold("case").fold(b"", b"Readme")
    assert fold("case").fold(b"", composed) != fold("case").fold(b"", apart)
    assert (
        fold("case,form").fold(b"", composed) == fold(",form").fold(b"", apart).upper()
    )
    within = Far("staging=x within=//case:vol//form:a/b")
    assert within.fold(b"vol/d", b"a") == b"A"
    for directory in (b"", b"a", b"a/b/c", b"volume"):
        assert within.fold(directory, b"a") == b"a"
    assert within.fold(b"a/b/c", composed) == apart
    assert fold("case").fold(b"", b"\xff\xfeX") == b"\xff\xfeX"
    assert not fold("").folds and fold("case,form").folds == {"case", "form"}


def test_what_is_gone_may_be_here_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/README").touch()
    here = twins(tmp_path)
    assert here.of(b"Docs/Readme") == b"docs/README"
    assert here.of(b"docs/Readme") == b"docs/README"
    assert here.of(b"docs/README") is None
    assert here.of(b"docs/other") is None and here.of(b"no/README") is None


def test_of_two_that_are_one_always_the_same_is_sent(tmp_path: Path) -> None:
    for name in ("README", "readme", "Readme"):
        (tmp_path / name).touch()
    for directory in ("a", "A"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "f").touch()
    here = twins(tmp_path)
    assert here.before(b"README") is None and here.before(b"A/f") is None
    assert here.before(b"readme") == here.before(b"Readme") == b"README"
    assert here.before(b"a/f") == b"A"
    (tmp_path / "README").unlink()
    assert here.before(b"Readme") is None


def test_a_stamp_that_stays_hides_no_other_name(tmp_path: Path) -> None:
    """On exFAT it has steps of a second: the last of some renames was told to be in the way."""
    source = Source(bytes(tmp_path))
    here = Twins(source, fold("case").fold)
    (tmp_path / "Dir").touch()
    os.utime(tmp_path, (1, 1))
    assert here.before(b"Dir") is None
    (tmp_path / "Dir").rename(tmp_path / "dIR")
    os.utime(tmp_path, (1, 1))
    source.forget_directories()
    assert here.before(b"dIR") is None and here.of(b"Dir") == b"dIR"


def test_what_is_no_symlink_goes_first(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/f").touch()
    (tmp_path / "Lib").symlink_to("lib")
    (tmp_path / "LIB").symlink_to("lib")
    here = twins(tmp_path)
    assert here.before(b"lib/f") is None and here.before(b"lib") is None
    assert here.before(b"LIB") == b"lib" and here.of(b"liB") == b"lib"


@pytest.mark.parametrize("names", [("old", "new"), ("new", "old"), ("new",)])
def test_what_has_another_name_here_gets_it_there_whichever_is_seen_first(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    case = Case(tmp_path, lambda source: Twins(source, fold("case").fold))
    paths = {"old": [b"d/x", b"d/y"], "new": [b"D/X", b"D/y"]}
    (case.root / "d/x").rename(case.root / "d/X")
    (case.root / "d").rename(case.root / "D")
    batches: list[Batch] = []
    waiting = [path for name in names for path in paths[name]]
    while waiting:
        case.later.clear()
        batches.append(case.look(*waiting))
        waiting = list(case.later)
        assert len(batches) < 20
    spelled = [pair for batch in batches for pair in batch.spelled]
    assert spelled == [(b"D", b"d"), (b"D/X", b"x")]
    assert not any(batch.members or batch.deletions for batch in batches)
    assert sorted(case.table.directories[b"D"]) == [b"X", b"y"]
    (case.root / "D/X").rename(case.root / "D/x")
    assert case.look(b"D/x", b"D/X").spelled == [(b"D/x", b"X")]


def test_what_a_directory_held_that_had_its_name_before_is_removed(
    tmp_path: Path,
) -> None:
    """A random hunt found it: D came before d went, and only what is in D was looked at."""
    case = Case(tmp_path, lambda source: Twins(source, fold("case").fold))
    shutil.rmtree(case.root / "d")
    (case.root / "D").mkdir()
    (case.root / "D/new").touch()
    waiting = [b"D/new"]
    removed: list[bytes] = []
    for _ in range(20):
        case.later.clear()
        removed += case.look(*waiting).deletions
        waiting = list(case.later)
    assert sorted(removed) == [b"D/x", b"D/y"]


def test_what_does_not_count_has_no_name_there(tmp_path: Path) -> None:
    counting = lambda paths: [path for path in paths if path != b"d/X"]
    case = Case(tmp_path, lambda source: Twins(source, fold("case").fold, counting))
    (case.root / "d/X").touch()  # the first of the two by name
    assert Twins(case.source, fold("case").fold, counting).before(b"d/x") is None
    (case.root / "d/x").unlink()
    batch = case.look(b"d/x")
    assert batch.deletions == [b"d/x"] and not batch.spelled and not case.later


def test_a_time_may_be_what_a_file_system_makes_of_it() -> None:
    sent = 1_600_000_001_123_456_789
    for listed in (
        sent,
        1_600_000_001_123_456_700,
        1_600_000_001_123_456_000,
        1_600_000_001_120_000_000,
        1_600_000_001_000_000_000,
        1_600_000_000_000_000_000,
    ):
        assert same_time(sent, listed)
    assert not same_time(sent, sent + 1)
    assert not same_time(sent, 1_600_000_001_123_456_701)
    assert not same_time(sent, 1_600_000_001_110_000_000)
    # A program has set whole seconds, two versions in turn.
    assert not same_time(1_600_000_001_000_000_000, 1_600_000_000_000_000_000)
    assert same_time(-1_500_000_000, -2_000_000_000)


@pytest.mark.parametrize(
    "sent, kept",
    [
        (1 << 33, (1 << 31) - 1),  # the older XFS, ext3
        (-(1 << 33), -(1 << 31)),  # and ext4
        (99_999_999_999, 15_032_385_535),  # ext4
        (99_999_999_999, 16_299_260_424),  # XFS
        (-1, 0),  # NFS 3
        (1, 315_532_800 - 2 * 3600),  # FAT, where it is later than in Greenwich
    ],
)
def test_a_time_may_be_the_first_or_the_last_that_a_file_system_has(
    sent: int, kept: int
) -> None:
    second = 1_000_000_000
    assert same_time(sent * second, kept * second)
    assert same_time(sent * second + 5, kept * second)
    assert not same_time(kept * second, sent * second)
    other = kept + (100_000 if kept > sent else -100_000)
    assert not same_time(sent * second, other * second)
