"""A far end whose tools are BSD's, as macOS has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bsdtools import bsd_tools
from farends import FarEnd, need
from programs import run, running
from trees import assert_same, hostile_tree, plant

ONCE = "--no-replicate-on-change"


@pytest.fixture
def far(base: Path, place: Path, request: pytest.FixtureRequest) -> FarEnd:
    shell, with_perl = request.param.split("-")
    path = bsd_tools(base / "tools-bsd")
    if with_perl == "bare":
        bare = place / "bare"
        bare.mkdir()
        for name in os.listdir(path):
            if not name.startswith("perl"):
                (bare / name).symlink_to(f"{path}/{name}")
        path = str(bare)
    here = place / "dest"
    here.mkdir()
    (program,) = need(shell)
    command = ["/usr/bin/env", f"PATH={path}", program]
    return FarEnd(request.param, command, str(here), here)


FAR = pytest.mark.parametrize(
    "far", ["bash-perl", "bash-bare", "zsh-perl"], indirect=True
)


@FAR
def test_all_arrives_and_is_known_at_the_next_start(
    far: FarEnd, tmp_path: Path
) -> None:
    source = tmp_path / "src"
    source.mkdir()
    hostile_tree(source)
    words = ["file-replicator", source, far.parent, *far.command]
    done = run([*words[:1], ONCE, "--debugging", *words[1:]])
    assert done.returncode == 0, done.stderr
    assert b"bsdtar; listings come from find and stat of BSD" in done.stderr
    there = far.here / "src"
    assert_same(source, there)
    before = {path: path.lstat().st_ctime_ns for path in there.rglob("*")}
    (source / "new").write_text("new")
    done = run([*words[:1], ONCE, *words[1:]])
    assert done.returncode == 0 and b"1 file" in done.stderr, done.stderr
    after = {path: path.lstat().st_ctime_ns for path in before}
    assert before == {p: at for p, at in after.items()}


@FAR
def test_changes_follow_and_what_only_it_has_is_seen(
    far: FarEnd, tmp_path: Path
) -> None:
    source = tmp_path / "src"
    source.mkdir()
    plant(source, {"d/a": "1", "d/b": "2", "e/f/g": "3", "l": "4"})
    plant(far.here / "src", {"d/a": "other", "e": "a file", "theirs": "kept"})
    words = ["file-replicator", source, far.parent, *far.command]
    with running(*words) as program:
        program.says("in sync")
        (source / "d/a").unlink()
        (source / "d/b").rename(source / "d/c")
        (source / "e/f").rename(source / "h")
        (source / "l").unlink()
        (source / "l").symlink_to("d")
        (source / "d").chmod(0o700)
        program.wait_for(
            lambda: run([*words[:1], "--wait", *words[1:]]).returncode == 0
        )
    assert (far.here / "src/theirs").read_text() == "kept"
    mirror = [words[0], ONCE, "--mirror", "--mirror", *words[1:]]
    assert run(mirror).returncode == 0
    assert_same(source, far.here / "src")
