"""Whether the source and the destination are one, by what is told of their mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from filerep.command import Stop
from filerep.wrapper import overlap
from filerep.wrapper.overlap import Destination, mount, place_of, refuse_overlap

ROOT = mount(b"8:1 / /")
BOOT = "a-kernel"


@pytest.fixture(autouse=True)
def one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "boot_id", lambda: BOOT)
    monkeypatch.setattr(overlap, "_compare_inodes", lambda *_: None)


def refusal(
    monkeypatch: pytest.MonkeyPatch,
    source: bytes,
    real: bytes,
    here: list[bytes] = [],
    there: list[bytes] = [],
    exists: bool = True,
    cleans: bool = False,
    boot: str = BOOT,
) -> str:
    """Why a copy of ``source`` to ``real`` is refused, where besides / these are mounted."""
    mounts = [ROOT, *map(mount, here)]
    monkeypatch.setattr(overlap, "mounts_here", lambda: mounts)
    destination = Destination()
    destination.hear("real", real)
    for words in there:
        destination.hear("mount", words)
    told = {"boot": boot, "there": "1" if exists else ""}
    try:
        refuse_overlap(source, told, destination, cleans)
    except Stop as error:
        return str(error)
    return ""


HOST = b"8:1 / /"


def test_the_last_mount_that_is_nearest_says_where_a_directory_is() -> None:
    mounts = [ROOT, mount(b"8:2 /sub /mnt/a\\040b"), mount(b"8:3 / /mnt")]
    assert place_of(b"/mnt/x", mounts) == (b"8:3", b"/x")
    assert place_of(b"/mnt/a b/x", mounts) == (b"8:2", b"/sub/x")
    assert place_of(b"/mntx", mounts) == (b"8:1", b"/mntx")
    assert place_of(b"/x", []) is None


@pytest.mark.parametrize(
    "source, real, here, there, why",
    [
        # A volume of a container is the source, a part of it, or holds it.
        (b"/proj", b"/app/proj", [], [b"8:1 /proj /app/proj"], "SRC_DIR itself"),
        (b"/proj", b"/app/proj", [], [b"8:1 /proj/sub /app/proj"], "inside SRC_DIR"),
        (
            b"/w/proj",
            b"/app/proj",
            [],
            [b"8:1 /w /app/proj"],
            "is inside the destination",
        ),
        (b"/proj", b"/app/proj", [], [b"8:1 /proj/d /app/proj/d"], "is in SRC_DIR"),
        (b"/w/proj", b"/app/proj", [], [b"8:1 /w /app/proj/d"], "or holds it"),
        # The source, or something in it, is mounted here.
        (
            b"/view",
            b"/proj",
            [b"8:1 /proj/inner /view"],
            [HOST],
            "inside the destination",
        ),
        (b"/p", b"/app/p", [b"8:1 /app /p/sub"], [HOST], "inside SRC_DIR"),
        (b"/p", b"/app/p", [b"8:1 /app/p/x /p/sub"], [HOST], "in the destination, too"),
    ],
)
def test_what_is_mounted_elsewhere_is_recognized(
    monkeypatch: pytest.MonkeyPatch,
    source: bytes,
    real: bytes,
    here: list[bytes],
    there: list[bytes],
    why: str,
) -> None:
    assert why in refusal(monkeypatch, source, real, here, there)
    # On another machine the same words mean nothing.
    assert not refusal(monkeypatch, source, real, here, there, boot="another")


@pytest.mark.parametrize(
    "source, real, here, there",
    [
        (b"/proj", b"/app/proj", [], [HOST]),
        (b"/proj", b"/project", [], [HOST]),
        (b"/proj", b"/app/proj", [], [b"8:1 /project /app/proj"]),
        (
            b"/proj",
            b"/app/proj",
            [],
            [b"0:9 / /", b"8:1 /volumes/x /app/proj/node_modules"],
        ),
        (b"/view", b"/proj", [b"8:2 /proj/inner /view"], [HOST]),
    ],
)
def test_what_only_looks_alike_is_not(
    monkeypatch: pytest.MonkeyPatch,
    source: bytes,
    real: bytes,
    here: list[bytes],
    there: list[bytes],
) -> None:
    assert not refusal(monkeypatch, source, real, here, there)


def test_a_destination_that_is_yet_to_be_made_cannot_hold_the_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not refusal(monkeypatch, b"/w/p", b"/w", [], [HOST], exists=False)
    assert "inside" in refusal(
        monkeypatch, b"/w/p", b"/w/p/d", [], [HOST], exists=False
    )


def test_a_volume_below_the_destination_is_not_cleaned_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = [b"0:9 / /", b"8:9 / /app/proj/node\\040modules"]
    for boot in (BOOT, "another"):
        words = (monkeypatch, b"/proj", b"/app/proj", [], there)
        assert "'node modules'" in refusal(*words, cleans=True, boot=boot)
        assert not refusal(*words, boot=boot)


def test_what_is_made_in_the_source_is_seen_though_a_share_shows_an_old_listing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As sshfs does for 20 seconds."""
    source = os.fsencode(tmp_path)
    (tmp_path / "a/b").mkdir(parents=True)
    kept = list(os.walk(source))
    monkeypatch.setattr(os, "walk", lambda top: kept)
    overlap.refuse_sentinel(source, b".filerep-x", below=True)
    (tmp_path / "a/b/.filerep-x").touch()
    with pytest.raises(Stop, match="inside SRC_DIR"):
        overlap.refuse_sentinel(source, b".filerep-x", below=True)
