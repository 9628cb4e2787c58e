"""What follows from what the far end has done."""

from __future__ import annotations

from filerep.replica.acknowledging import directories_of


def test_a_directory_that_was_removed_is_in_another_that_may_be_empty_now() -> None:
    # Tried again alone, it was looked at itself, and the one above it stayed, empty.
    removed = [b"a/b/c/", b"a/f", b"d/", b"g"]
    assert directories_of(removed) == [b"a/b", b"a"]
