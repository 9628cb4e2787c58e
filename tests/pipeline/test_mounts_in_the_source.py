"""A file system that is mounted within SRC and goes: nobody has removed what was in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import farends
import pytest
from pipelines import settle
from programs import environment, run, running

from filerep.replica.known import entries
from filerep.replica.known.statewriter import StateWriter
from filerep.replica.known.table import Table
from filerep.replica.planning.mounted import Mounted

BOTH = pytest.mark.parametrize(
    "options", [(), ("--poll", "1")], ids=["inotify", "polling"]
)
SAID = b"'vol' is not mounted any more: what it held stays at the far end\n"


@pytest.fixture
def source(place: Path) -> Iterator[Path]:
    farends.need_root()
    volume = place / "src/vol"
    volume.mkdir(parents=True)
    (place / "src/a").write_text("a")
    if subprocess.run(["mount", "-t", "tmpfs", "none", volume]).returncode:
        pytest.skip("needs to be allowed to mount")
    (volume / "d").mkdir()
    for number in range(20):
        (volume / f"d/{number}").write_text("x")
    (place / "there").mkdir()
    yield place / "src"
    # Of what is bound from the same file system ismount() says that it is none.
    while subprocess.run(["umount", volume], stderr=subprocess.DEVNULL).returncode == 0:
        pass


@BOTH
def test_what_an_unmounted_volume_held_stays(
    options: tuple[str, ...], source: Path, place: Path
) -> None:
    words = [str(source), str(place / "there"), "bash"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    there = place / "there/src/vol/d"

    def wait() -> int:
        return run(["file-replicator", "--wait", *words], env=env).returncode

    with running("file-replicator", *options, *words, env=env) as it:
        it.says("watching")
        (source / "vol/d/0").unlink()
        assert wait() == 0
        assert len(os.listdir(there)) == 19
        subprocess.run(["umount", source / "vol"], check=True)
        it.wait_for(lambda: SAID in it.errors)
        (source / "a").write_text("b")
        assert wait() == 0
        assert (place / "there/src/a").read_text() == "b"
        assert len(os.listdir(there)) == 19
    once = run(["file-replicator", "--no-replicate-on-change", *words], env=env)
    assert once.returncode == 0 and SAID in once.stderr
    assert len(os.listdir(there)) == 19


def test_what_is_removed_in_a_volume_that_is_mounted_again_is_removed(
    source: Path, place: Path
) -> None:
    (place / "volume").mkdir()
    subprocess.run(["umount", source / "vol"], check=True)
    (place / "volume/x").write_text("x")
    (place / "volume/y").write_text("y")
    words = [str(source), str(place / "there"), "bash"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    bind = ["mount", "--bind", str(place / "volume"), str(source / "vol")]
    with running("file-replicator", *words, env=env) as it:
        it.says("watching")
        subprocess.run(bind, check=True)
        it.wait_for(lambda: (place / "there/src/vol/y").exists())
        unmount = ["umount", source / "vol"]  # which is busy until y is acknowledged
        it.wait_for(lambda: subprocess.run(unmount).returncode == 0)
        it.wait_for(lambda: SAID in it.errors)
        (place / "volume/x").unlink()
        subprocess.run(bind, check=True)
        it.wait_for(lambda: os.listdir(place / "there/src/vol") == ["y"])


def test_what_is_mounted_in_what_the_kernel_makes_up_costs_no_line(
    source: Path,
) -> None:
    """Of a whole /sys each of its control groups did."""
    for at in ("vol", "vol/fs"):
        mount = ["mount", "-t", "proc", "none", str(source / at)]
        subprocess.run(mount, check=True)
    try:
        done = run(["fr-walk", str(source)])
    finally:
        subprocess.run(["umount", source / "vol/fs"], check=True)
    assert done.stdout == b"a\0"
    said = b"fr-walk: 'vol' is left out: the kernel makes it up (proc)\n"
    assert done.stderr == said


@BOTH
@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_what_the_kernel_makes_up_is_left_out_and_that_is_said_once(
    kind: str, options: tuple[str, ...], source: Path, place: Path
) -> None:
    """Its thousands of files were tried for minutes, and a line said of each that it failed."""
    words = [str(source), str(place / "there"), "bash"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    subprocess.run(["umount", source / "vol"], check=True)
    mount = ["mount", "-t", kind, "none", str(source / "vol")]

    def settled(said: bytes) -> None:
        done = run(["file-replicator", "--wait", *words], env=env)
        assert done.returncode == 0, done.stderr
        assert "vol" not in os.listdir(place / "there/src")
        assert it.errors.count(said) == it.errors.count(b"vol") == 1, it.errors

    said = b"'vol' is left out: the kernel makes it up (%s)\n" % kind.encode()
    with running("file-replicator", *options, *words, env=env) as it:
        it.says("watching")
        subprocess.run(mount, check=True)
        it.wait_for(lambda: said in it.errors)
        settled(said)
    with running("file-replicator", *options, *words, env=env) as it:
        it.says("watching")
        settled(said)
    why = run(["fr-walk", "--why", "vol/version", source])
    assert why.stdout == b"kernel:0:*\tvol/version\n"
    name = f"vol/{'version' if kind == 'proc' else 'kernel/notes'}"
    archive = run(["fr-pack", source], name.encode() + b"\0").stdout
    assert name.encode() not in archive


def test_saves_within_a_tick_of_a_volume_with_a_coarser_clock_arrive(
    place: Path,
) -> None:
    """The clock that matters is that of the file, not of SRC_DIR."""
    volume, there = place / "src/vol", place / "there"
    volume.mkdir(parents=True)
    there.mkdir()
    words = ["--debugging", "--audit", "0", str(place / "src"), str(there), "bash"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    with farends.mounted(volume, "size=1m", kind="ramfs"):
        (volume / "f").touch()
        with running("file-replicator", *words, env=env) as it:
            it.says("in sync")
            for text in map(str, range(1000, 1300)):
                (volume / "f").write_text(text)
                if int(text) % 6:
                    # Long enough for a look at it, shorter than a tick.
                    end = time.perf_counter() + 0.0004 * (int(text) // 6 % 8)
                    while time.perf_counter() < end:
                        pass
                else:
                    settle(it)
                    assert (there / "src/vol/f").read_text() == text


@BOTH
def test_what_is_made_where_a_volume_was_comes_and_goes(
    options: tuple[str, ...], source: Path, place: Path
) -> None:
    """Nothing was removed any more, of what had ever been a mount point."""
    words = [str(source), str(place / "there"), "bash"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    once = ["file-replicator", "--once", *words]
    there, volume = place / "there/src/vol", source / "vol"

    def names() -> list[str]:
        return sorted(str(p.relative_to(there)) for p in there.rglob("[a-z]"))

    def wait() -> int:
        return run(["file-replicator", "--wait", *words], env=env).returncode

    with running("file-replicator", *options, *words, env=env) as it:
        it.says("watching")
        subprocess.run(["umount", volume], check=True)
        it.wait_for(lambda: SAID in it.errors)
        (volume / "d").mkdir()
        for name in "xyz":
            (volume / f"d/{name}").write_text("made here")
        (volume / "e").mkdir()
        (volume / "e/f").write_text("made here")
        assert wait() == 0 and names() == ["d", "d/x", "d/y", "d/z", "e", "e/f"]
        (volume / "d/x").unlink()
        shutil.rmtree(volume / "e")
        assert wait() == 0 and names() == ["d", "d/y", "d/z"]
    for name, left in (("y", ["d", "d/z"]), ("z", ["d"])):
        (volume / f"d/{name}").unlink()
        done = run(once, env=env)
        assert done.returncode == 0 and SAID in done.stderr
        assert names() == left and len(os.listdir(there / "d")) == 20 + len(left) - 1


def test_what_a_volume_held_stays_where_all_around_it_is_removed(
    source: Path, place: Path
) -> None:
    """It was looked at again and again, for ever, and --wait never ended."""
    subprocess.run(["umount", source / "vol"], check=True)
    volume = source / "d/vol"
    volume.mkdir(parents=True)
    (source / "d/e").mkdir()
    (source / "d/e/f").write_text("f")
    words = [str(source), str(place / "there"), "bash"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    with farends.mounted(volume):
        (volume / "x").write_text("x")
        (volume / "y").write_text("y")
        assert run(["file-replicator", "--once", *words], env=env).returncode == 0
    for option in ("--dry-run", "--once"):  # with the volume only
        done = run(["file-replicator", option, *words], env=env)
        assert b"'d/vol' is not mounted any more" in done.stderr
        assert b"remove" not in done.stdout + done.stderr
    with running("file-replicator", *words, env=env) as it:
        it.says("watching")
        shutil.rmtree(source / "d")
        done = run(["file-replicator", "--wait", *words], env=env)
        assert done.returncode == 0, done.stderr
        assert sorted(os.listdir(place / "there/src")) == [it_stages(place), "a", "d"]
        assert os.listdir(place / "there/src/d") == ["vol"]
        assert len(os.listdir(place / "there/src/d/vol")) == 2
        assert it.errors.count(b"not mounted any more") == 1


def test_a_source_that_is_not_mounted_any_more_does_not_empty_the_far_end(
    source: Path, place: Path
) -> None:
    """As few files as that were removed, as the directory was there, and empty."""
    words = [str(source / "vol"), str(place / "there"), "bash"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    once = ["file-replicator", "--once", *words]
    assert run(once, env=env).returncode == 0
    there = place / "there/vol/d"
    (source / "vol/d/0").unlink()
    subprocess.run(["umount", source / "vol"], check=True)
    for _ in range(2):
        done = run(once, env=env)
        assert done.returncode == 69
        assert b"the source is empty, and 20 files at the far end" in done.stderr
        assert b"something may not be mounted here" in done.stderr
        assert len(os.listdir(there)) == 20
    with farends.mounted(source / "vol"):
        (source / "vol/new").write_text("mounted, and empty but for this")
        assert run(once, env=env).returncode == 0
        assert os.listdir(place / "there/vol") == ["new"]
        (source / "vol/new").unlink()
        assert run(once, env=env).returncode == 0
        assert os.listdir(place / "there/vol") == []


def test_who_waits_has_what_was_written_to_a_file_that_is_mounted(
    source: Path, place: Path
) -> None:
    """As a container's secrets are. Of that inotify knows nothing, and --wait said 0."""
    words = [str(source), str(place / "there"), "bash"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    there = place / "there/src/a"
    (place / "b").write_text("b")
    with running("file-replicator", "--audit", "0", *words, env=env) as it:
        it.says("watching")
        subprocess.run(["mount", "--bind", place / "b", source / "a"], check=True)
        try:
            for text in ("1", "2"):
                (source / "a").write_text(text)
                done = run(["file-replicator", "--wait", *words], env=env)
                assert done.returncode == 0, done.stderr
                assert there.read_text() == text
        finally:
            subprocess.run(["umount", source / "a"], check=True)
        it.wait_for(lambda: there.read_text() == "a")


def it_stages(place: Path) -> str:
    (name,) = [p.name for p in (place / "there/src").glob(".filerep-*")]
    return name


class Kept:
    """In place of the state file."""

    def write(self, arrived: Sequence[tuple[bytes, bytes]]) -> None:
        pass


def test_mount_points_are_remembered_between_runs(tmp_path: Path) -> None:
    said: list[str] = []
    kept = os.fsencode(tmp_path / "kept")
    root = os.fsencode(tmp_path)

    def mounted(*points: bytes, idle: bool = True) -> tuple[Mounted, Table]:
        table = Table()
        for path in (b"vol/x", b"vol/in/y", b"a/b/x", b"volume"):
            table.put(path, entries.listed(0, entries.OURS))
        state = cast(StateWriter, Kept())
        args = (root, kept, table, said.append, state, lambda: idle)
        return Mounted(*args, lambda _: set(points)), table

    mounted(b"vol", b"vol/in", b"a/b")
    later, table = mounted(b"vol", b"a/b", idle=False)
    assert not later.away(b"vol/x") and later.away(b"vol/in/y")
    assert said == [
        "'vol/in' is not mounted any more: what it held stays at the far end"
    ]
    later, table = mounted(b"a/b")  # of vol/in the state file was not told before
    for path in (b"vol/x", b"vol/in/y", b"vol/unknown"):
        assert later.away(path)
    for path in (b"a/b/x", b"volume", b""):
        assert not later.away(path)
    later, table = mounted(b"a/b")  # where it was told, it tells what was there
    assert not later.away(b"vol/x")
    os.unlink(kept)
    os.symlink(tmp_path / "elsewhere", kept)
    mounted(b"vol")
    assert not (tmp_path / "elsewhere").exists()
