"""The clocks of the file systems in a source."""

from __future__ import annotations

import os
from pathlib import Path

import farends

from filerep.replica.known.ticks import Ticks
from filerep.source import Source


def test_each_file_system_in_the_source_has_a_clock_of_its_own(place: Path) -> None:
    (place / "f").touch()
    with farends.mounted(place / "fine"), farends.mounted(
        place / "coarse", "size=1m", kind="ramfs"
    ):
        ticks = Ticks(Source(os.fsencode(place)), "6.18.0")
        old = Ticks(Source(os.fsencode(place)), "6.12.9-custom")
        for volume, fine in (("fine", True), ("coarse", False), ("fine", True)):
            (place / volume / "f").touch()
            path, status = f"{volume}/f".encode(), os.stat(place / volume / "f")
            assert (ticks.of(path, status) == 0) == fine
            assert old.of(path, status) > 0
