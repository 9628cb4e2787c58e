"""Where few files may be open at once it ends with a plain line, or works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from programs import ROOT, run

REPLICATOR = str(ROOT / "bin/file-replicator")


@pytest.mark.parametrize("most", [6, 12, 20, 28, 40, 99])
def test_too_few_descriptors_are_told_before_anything_is_done(
    most: int, place: Path
) -> None:
    (place / "src").mkdir()
    limited = f'ulimit -n {most}; exec "$@"'
    words = [REPLICATOR, "--once", place / "src", place / "far", "bash"]
    done = run(["bash", "-c", limited, "bash", *words])
    assert done.returncode == 71
    said = (
        f"file-replicator: only {most} files may be open at once, and 100 are needed;"
    )
    assert done.stderr.decode().startswith(said)
    assert done.stderr.count(b"\n") == 1 and not (place / "far").exists()


def test_a_hundred_descriptors_are_enough_for_more_directories(place: Path) -> None:
    for number in range(150):
        (place / f"src/d{number}").mkdir(parents=True)
        (place / f"src/d{number}/f").write_text("x")
    limited = 'ulimit -n 100; exec "$@"'
    words = [REPLICATOR, "--once", place / "src", place / "far", "bash"]
    done = run(["bash", "-c", limited, "bash", *words])
    assert done.returncode == 0, done.stderr
    assert len(os.listdir(place / "far/src")) == 150


def test_a_soft_limit_is_raised(place: Path) -> None:
    (place / "src").mkdir()
    limited = 'ulimit -S -n 30; exec "$@"'
    words = [REPLICATOR, "--once", place / "src", place / "far", "bash"]
    assert run(["bash", "-c", limited, "bash", *words]).returncode == 0
