"""Two runs, one each way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from farends import local_shell
from programs import run, running


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_what_has_arrived_from_there_is_not_sent_back_for_ever(
    shell: str, base: Path, place: Path
) -> None:
    tar = "busybox" if shell == "busybox" else "gnu"
    far = local_shell(shell, tar, base).command
    here, there = place / "a/p", place / "b/p"
    here.mkdir(parents=True)
    there.mkdir(parents=True)
    (here / "f").write_text("1")
    with running("file-replicator", here, place / "b", *far) as one:
        one.says("in sync")
        with running("file-replicator", there, place / "a", *far) as other:
            other.says("in sync")

            def all_there() -> dict[Path, int]:
                found = [*here.iterdir(), *there.iterdir()]
                names = [path for path in found if path.name[0] != "."]
                return {path: path.lstat().st_ctime_ns for path in names}

            def rests() -> bool:
                """Nothing is replaced while each waits for all that the other has done."""
                before = all_there()
                for source, parent in ((here, place / "b"), (there, place / "a")) * 3:
                    run(["file-replicator", "--wait", source, parent, *far])
                return before == all_there()

            one.wait_for(rests)
            (here / "f").write_text("edited")
            one.wait_for(lambda: (there / "f").read_text() == "edited")
            (there / "g").write_text("made there")
            (there / "l").symlink_to("g")
            one.wait_for(lambda: (here / "g").exists())
            one.wait_for(rests)
            assert (here / "f").read_text() == "edited"
            assert (here / "g").read_text() == (there / "g").read_text()
            assert (here / "l").is_symlink()
            # Edited at both ends at once: each run has its own version on its way.
            names = [f"f{number}" for number in range(100)]
            for name in names:
                (here / name).write_text("here")
                (there / name).write_text("there")
            one.wait_for(rests)
            for name in names:
                assert (here / name).read_text() == (there / name).read_text()
