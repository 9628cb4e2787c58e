"""The helpers that other tests rely on see what they should."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trees import HOSTILE_NAMES, assert_same, hostile_tree, plant


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    for side in ("one", "other"):
        plant(tmp_path / side, {"a": "text", "d/b": "", "l": ("->", "a")})
        for name in ("a", "d/b"):
            os.utime(tmp_path / side / name, ns=(0, 1_600_000_000_123_456_789))
    return tmp_path / "one", tmp_path / "other"


def test_equal_trees_are_the_same(pair: tuple[Path, Path]) -> None:
    assert_same(*pair)


def test_an_empty_directory_of_the_source_does_not_count(
    pair: tuple[Path, Path],
) -> None:
    (pair[0] / "d/empty").mkdir()
    assert_same(*pair)


def test_an_empty_directory_of_the_destination_does(pair: tuple[Path, Path]) -> None:
    (pair[1] / "empty").mkdir()
    with pytest.raises(AssertionError, match="b'empty': nothing, not"):
        assert_same(*pair)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a").write_text("texT"),
        lambda root: (root / "a").chmod(0o600),
        lambda root: (root / "d").chmod(0o700),
        lambda root: os.utime(root / "a", ns=(0, 1_600_000_000_123_456_788)),
        lambda root: (root / "new").touch(),
        lambda root: (root / "d/b").unlink(),
        lambda root: os.replace(root / "l", root / "a"),
        lambda root: os.replace(root / "a", root / "l"),
        lambda root: os.mkfifo(root / "d/fifo"),
    ],
)
def test_each_change_is_seen(pair: tuple[Path, Path], change) -> None:  # type: ignore[no-untyped-def]
    before = (pair[1] / "a").stat().st_mtime_ns
    change(pair[1])
    if (pair[1] / "a").is_file() and (pair[1] / "a").read_text() != "text":
        os.utime(pair[1] / "a", ns=(0, before))
    with pytest.raises(AssertionError, match="source, not destination"):
        assert_same(*pair)


def test_whole_seconds_forgive_the_rest(pair: tuple[Path, Path]) -> None:
    os.utime(pair[1] / "a", ns=(0, 1_600_000_000_000_000_000))
    assert_same(*pair, whole_seconds=True)


def test_the_hostile_tree_can_be_made(tmp_path: Path) -> None:
    hostile_tree(tmp_path)
    assert len(os.listdir(os.fsencode(tmp_path / "directories"))) == len(HOSTILE_NAMES)
