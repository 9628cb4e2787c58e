"""Where few files may be open at once it ends with a plain line, or works."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import farends
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


# Who has pipes of 64 MB gets no more that hold more than two pages.
HOARDER = """
import fcntl, os, sys
size = 1 << 16
while size >= 1 << 16:
    for fd in (pipe := os.pipe()):
        os.set_inheritable(fd, True)
    size = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    try:
        fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    except PermissionError:
        pass
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("options", [[], ["--run", "cat d/f"]], ids=["copy", "run"])
def test_whose_pipes_are_used_up_waits_for_nothing(
    options: list[str], place: Path
) -> None:
    """What found no room in the pipe to the far end was lost, and both waited for it."""
    (place / "src/d").mkdir(parents=True)
    (place / "src/d/f").write_text("content")
    (place / "src/large").write_bytes(os.urandom(3_000_000))
    words = [*farends.without_rights(), sys.executable, "-c", HOARDER, REPLICATOR]
    words += options or ["--once"]
    done = run([*words, place / "src", place / "far", "bash"], timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (b"content" if options else b"")
    large = (place / "src/large").read_bytes()
    assert (place / "far/src/large").read_bytes() == large
