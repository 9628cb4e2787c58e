"""What failed at the far end, and when it is tried again."""

from __future__ import annotations

import pytest

from filerep.replica.scheduling.failures import Failures


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
