"""--mirror: what only the destination has is removed, whatever stood in whose way."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
import trees
from farends import local_shell
from programs import environment, run

MIRROR = ["file-replicator", "--no-replicate-on-change", "--mirror", "--mirror"]


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox"])
def test_a_directory_in_the_way_of_a_file_does_not_stay_under_another_name(
    shell: str, base: Path, place: Path
) -> None:
    far = local_shell(shell, "gnu", base).fresh()
    trees.plant(place / "src", {"x": b"1", "s/x": b"2", "f": b"3"})
    theirs = {"x/y": b"", "x/sub/y": b"", "s/x/y": b"", "own": b""}
    trees.plant(far.here / "src", theirs)
    done = run([*MIRROR, place / "src", far.parent, *far.command])
    assert done.returncode == 0, done.stderr
    trees.assert_same(place / "src", far.here / "src", whole_seconds=True)


def test_what_has_the_name_of_something_that_is_not_copied_goes(
    base: Path, place: Path
) -> None:
    """A fifo, a socket's like, or a directory in which nothing is."""
    far = local_shell("dash", "gnu", base).fresh()
    trees.plant(place / "src", {"f": b"1", "ignored": b"", ".gitignore": b"ignored"})
    for name in ("p", "q"):
        os.mkfifo(place / "src" / name)
    (place / "src/empty").mkdir()
    theirs = {"p": b"2", "q/y": b"3", "empty": b"4", "ignored": b"5"}
    trees.plant(far.here / "src", theirs)
    done = run([*MIRROR, place / "src", far.parent, *far.command])
    assert done.returncode == 0, done.stderr
    found = {path.name for path in (far.here / "src").iterdir()}
    assert found == {"f", ".gitignore", "ignored"}


def test_a_rule_that_is_written_while_the_first_copy_goes_on_holds(place: Path) -> None:
    trees.plant(place / "src", {"f": b"content"})
    trees.plant(place / "far/src", {"logs/theirs": b"2"})
    tar = place / "bin/tar"
    trees.plant(place, {"bin/tar": b""})
    rule = f"grep -rqs content '{place}/far' && echo /logs/ >'{place}/src/.gitignore'"
    tar.write_text(
        f'#!/bin/sh\n{shutil.which("tar")} "$@"; code=$?; {rule}; exit $code'
    )
    tar.chmod(0o755)
    far = f"PATH='{place}/bin':$PATH exec bash"
    done = run([*MIRROR, place / "src", place / "far", "bash", "-c", far])
    assert done.returncode == 0, done.stderr
    assert (place / "far/src/f").exists()
    assert (place / "far/src/logs/theirs").exists()


def test_hundreds_of_repositories_need_no_hundreds_of_descriptors(place: Path) -> None:
    trees.plant(place / "one", {"f": b"1"})
    for words in (["init", "-q"], ["add", "f"]):
        subprocess.run(["git", "-C", place / "one", *words], check=True)
    for number in range(300):
        shutil.copytree(place / "one", place / f"src/r{number}")
    limit = (256, 256)
    for _ in range(2):
        done = run(
            [*MIRROR, place / "src", place / "far", "bash"],
            env=environment(HOME=str(place)),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
        )
        assert done.returncode == 0, done.stderr


def test_it_starts_with_more_descriptors_open_than_select_knows(place: Path) -> None:
    trees.plant(place / "src", {"f": b"1"})
    line = (
        "import os, sys\n"
        "for _ in range(1200): os.set_inheritable(os.dup(0), True)\n"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    words = ["file-replicator", "--no-replicate-on-change"]
    done = run(
        ["python3", "-c", line, *words, place / "src", place / "far", "bash"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)),
    )
    assert done.returncode == 0, done.stderr
    assert (place / "far/src/f").read_bytes() == b"1"
