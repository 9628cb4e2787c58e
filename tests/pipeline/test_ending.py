"""However a run ends, nothing of it is left: no process here, no file over there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import farends
import programs
import pytest
import trees

REPLICATE = str(programs.ROOT / "bin" / "file-replicator")


@pytest.mark.parametrize(
    "number, status",
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        # Nothing can be done about this one but by those who are left.
        (signal.SIGKILL, -9),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGKILL"],
)
@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_nothing_is_left_after(
    shell: str, number: int, status: int, place: Path
) -> None:
    trees.plant(place / "src", {"f": b"x"})
    (place / "far").mkdir()
    command = [REPLICATE, place / "src", place / "far", shell]
    with programs.running(*command) as run:
        run.says("watching")
        run.signal(number)
        assert run.process.wait(10) == status
        programs.wait_for(lambda: not run.family(), what=run.family)
    assert os.listdir(place / "far/src") == ["f"]
    assert b"Traceback" not in run.errors


def test_a_stage_can_speak_where_the_user_has_closed_stderr(place: Path) -> None:
    """What it says goes nowhere, but it must not die of it."""
    farends.need_root()
    trees.plant(place / "src", {"f": b"x", "secret": b"x"})
    os.chown(place / "src/secret", 1, 1)
    (place / "src/secret").chmod(0)
    once = [REPLICATE, "--no-replicate-on-change", place / "src", place / "far", "sh"]
    closing = ["sh", "-c", 'exec "$@" 2>&-', "sh", *farends.without_rights(), *once]
    assert programs.run(closing).returncode == 1
    assert os.listdir(place / "far/src") == ["f"]
