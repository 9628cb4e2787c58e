"""What failed at the far end, and when it is tried again."""

from __future__ import annotations

import pytest

from filerep.replica.scheduling.failures import Failures, plainly


@pytest.mark.parametrize(
    "words", ["tar: a: No space left on device", "mkdir: Disc quota exceeded"]
)
def test_once_there_is_room_again_all_that_had_none_is_tried_together(
    words: str,
) -> None:
    failures = Failures(lambda text: None)
    for number in range(9):
        failures.add([b"%d" % number], words, "write", None)
    failures.sync_point()  # each is due
    sizes = []
    while failures:
        retry = failures.take()
        sizes.append(len(retry.paths))
        failures.tried(retry)
    assert max(sizes) > 1, sizes


def test_who_owns_a_closed_directory_is_told_its_mode_and_where_it_is() -> None:
    """It was said that '.' belongs to me and cannot be written by me."""
    closed = "not writable by me, dr-xr-xr-x 2 {} users 40 Nov 28 03:34 {}"
    assert plainly(closed.format("me", ".")) == (
        "the destination belongs to me and cannot be written by me,"
        " as its mode is dr-xr-xr-x"
    )
    assert plainly(closed.format("root", "./a b")) == (
        "directory './a b' belongs to root and cannot be written by me"
    )


def test_a_sync_point_is_patient_from_when_all_else_is_done() -> None:
    """Found by a hunt that kills, on a machine that was too busy: `--wait` ended with 69."""
    now = 0.0
    failures = Failures(lambda text: None, clock=lambda: now)
    failures.sync_point()
    now = 100.0  # what a far end may take for one batch
    failures.add([b"f"], "Killed", "write", None, mixed=True)
    assert failures.before_sync_point()
    now = 200.0
    assert not failures.before_sync_point()


@pytest.mark.parametrize("paths, hurried", [([b"a"], True), ([b"a", b"b"], False)])
def test_one_file_that_found_the_disk_full_is_tried_once_more_at_once(
    paths: list[bytes], hurried: bool
) -> None:
    """In pieces it takes more room over there than it does whole."""
    failures = Failures(lambda text: None)
    failures.add(paths, "No space left on device", "write", None, mixed=True)
    assert failures.hurry() is hurried
    again = failures.take()
    failures.add(paths, "No space left on device", "write", again, mixed=True)
    assert not failures.hurry()


def test_what_fails_for_one_reason_is_named_but_not_all_of_thousands() -> None:
    now = 0.0
    said: list[str] = []
    failures = Failures(said.append, clock=lambda: now)
    words = "Invalid argument"
    for directory in (b"a", b"b"):
        for number in range(50):
            path = b"%s/%d:" % (directory, number)
            failures.add([path], words, "write", None, alone=True)
    assert len(said) == 2 and "'a/0:'" in said[0] and "'b/0:'" in said[1]
    for number in range(50):
        failures.add([b"%d/x:" % number], words, "write", None, alone=True)
    assert len(said) < 10
    now, before = 3600.0, len(said)
    failures.add([b"%d:" % n for n in range(50, 60)], words, "write", None, alone=True)
    failures.add([b"1:"], words, "write", failures.take(), alone=True)  # once more
    assert len(said) == before + 1
    assert "'50:', '51:', '52:', '53:' and 6 more" in said[-1]
