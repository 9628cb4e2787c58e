"""A tree as deep as PATH_MAX lets one be: what grows with the depth grows no faster."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import programs
import pytest
from farends import local_shell

from filerep.farend.abilities import Far
from filerep.farend.batch import Batch
from filerep.farend.commit import Commit
from filerep.source import Source

DEEP = 900


def dig(root: Path, depth: int, name: str = "d") -> None:
    """A directory in a directory in a directory, each with a file."""
    here = os.getcwd()
    os.chdir(root)
    for _ in range(depth):
        Path("f").write_text("x")
        os.mkdir(name)
        os.chdir(name)
    Path("f").write_text("x")
    os.chdir(here)


def modes(root: Path) -> dict[str, int]:
    """Of all below ``root`` but a receiver's stage."""
    found = {}
    for path, inner, files in os.walk(root):
        inner[:] = [one for one in inner if not one.startswith(".filerep-")]
        for one in inner + files:
            whole = os.path.join(path, one)
            found[os.path.relpath(whole, root)] = stat.S_IMODE(os.stat(whole).st_mode)
    return found


def test_modes_of_a_deep_tree_make_no_script_that_grows_with_its_cube() -> None:
    batch = Batch(b".filerep-x")
    path = b"d"
    for _ in range(DEEP):
        batch.modes.append((path, 0o755))
        path += b"/d"
    batch.arrange(Far("staging=x tar=gnu"))
    commit = Commit(batch, set())
    ((_, script),) = commit.members()
    assert len(script) < 4 * DEEP * DEEP
    # Each is named by its own number.
    numbers = [path for _, path in commit.numbered[DEEP:]]
    assert numbers == [path for path, _ in batch.modes]
    assert b"i=%d; mod 755" % (2 * DEEP - 1) in script


def test_the_way_down_a_deep_tree_is_gone_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dig(tmp_path, 300)
    source = Source(os.fsencode(tmp_path))
    opened = []
    plain = os.open

    def counting(path: bytes, *rest: int, **more: int) -> int:
        opened.append(path)
        return plain(path, *rest, **more)

    monkeypatch.setattr(os, "open", counting)
    for depth in range(300):
        assert source.look(b"d/" * depth + b"f")
    assert len(opened) < 400


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox", "mksh", "zsh"])
def test_modes_of_a_deep_tree_arrive(shell: str, base: Path, place: Path) -> None:
    source = place / "src"
    source.mkdir()
    dig(source, 120)
    far = local_shell(shell, "gnu", base).fresh()
    words = ["file-replicator", source, far.parent, *far.command]
    with programs.running(*words) as run:
        run.says("in sync")
        for path, _, files in os.walk(source, topdown=False):
            for one in files:
                os.chmod(os.path.join(path, one), 0o600)
            os.chmod(path, 0o700)
        run.wait_for(lambda: modes(far.here / "src") == modes(source), 30)


@pytest.mark.parametrize("name", ["bash+gnu", "busybox+busybox"])
def test_a_path_that_is_too_long_there_holds_up_nothing_else(
    name: str, base: Path, place: Path
) -> None:
    source = place / "src"
    source.mkdir()
    (source / "f").write_text("x")
    far = local_shell(*name.split("+"), base).fresh()
    words = ["file-replicator", source, far.parent, *far.command]
    with programs.running(*words) as run:
        run.says("in sync")
        dig(source, 18, "d" * 250)
        run.says("the path is too long for the far end")
        (source / "f").write_text("y")
        (source / "g").write_text("z")
        there = far.here / "src"
        run.wait_for(lambda: read(there / "f") == "y" and read(there / "g") == "z")
        assert programs.run([words[0], "--wait", *words[1:]]).returncode == 69
        deepest = there.joinpath(*["d" * 250] * 15)
        assert read(deepest / "f") == "x"
        shutil.rmtree(source / ("d" * 250))
        assert programs.run([words[0], "--wait", *words[1:]]).returncode == 0
        assert not (there / ("d" * 250)).exists()


def read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None
