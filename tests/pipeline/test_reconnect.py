"""Connections that are cut, restarted, frozen or killed; afterwards the trees are equal."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from farends import Docker, FarEnd, Network, Sshd, over_ssh, ssh_across, with_command
from pipelines import name_of
from programs import Running, Word, running, wait_for
from trees import differences, plant, tree, without_empty


def what_differs(far: FarEnd, source: Path) -> str:
    seconds = not far.sub_second
    one = tree(source, whole_seconds=seconds)
    other = tree(far.here / source.name, whole_seconds=seconds)
    shown = {path: what for path, what in other.items() if path[:9] != b".filerep-"}
    return differences(without_empty(one, shown), shown)


def converges(program: Running, far: FarEnd, source: Path, timeout: float = 60) -> None:
    program.wait_for(
        lambda: not what_differs(far, source),
        timeout,
        lambda: "source, not destination:\n" + what_differs(far, source),
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    plant(root, {f"d{number % 5}/f{number}": f"{number}\n" for number in range(100)})
    plant(root, {"large": os.urandom(3_000_000), "link": ("->", "d1/f1")})
    return root


def edit(root: Path, chance: random.Random, count: int = 10) -> None:
    """Some edits of each kind; nothing is followed and nothing leaves ``root``."""
    for _ in range(count):
        directory = root / f"d{chance.randrange(6)}"
        path = directory / f"f{chance.randrange(120)}"
        kind = chance.randrange(8)
        with contextlib.suppress(OSError):  # gone already, or a directory in the way
            directory.mkdir(exist_ok=True)
            if kind == 0:
                path.unlink()
            elif kind == 1:
                shutil.rmtree(directory)
            elif kind == 2:
                path.chmod(chance.choice([0o600, 0o644, 0o755, 0o400]))
            elif kind == 3:
                os.rename(directory, root / f"d{chance.randrange(6)}")
            elif kind == 4:
                (root / "large").write_bytes(os.urandom(chance.randrange(4_000_000)))
            else:
                path.write_bytes(os.urandom(chance.randrange(3000)))


def kill_one(program: Running, chance: random.Random) -> None:
    """Kill a stage, the connection, or something of the far end."""
    family = program.family()
    if family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(family), signal.SIGKILL)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["zsh+gnu", "dash+bsdtar", "ssh", "docker"])
def test_whatever_is_killed_the_trees_are_equal_in_the_end(
    name: str, seed: int, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    chance = random.Random(seed)
    with running("file-replicator", source, far.parent, *far.command) as program:
        program.says("in sync")
        for _ in range(6):
            edit(source, chance)
            for _ in range(chance.choice([1, 1, 1, 3])):
                kill_one(program, chance)
            if chance.random() < 0.5:  # let it come back, or kill it while it does
                pause = chance.random()
                with contextlib.suppress(AssertionError):
                    program.wait_for(lambda: not what_differs(far, source), pause + 0.1)
        edit(source, chance)
        converges(program, far, source)
        family = program.family()
        assert program.end(signal.SIGINT, timeout=5) == 130
        assert b"internal error" not in program.errors
        wait_for(
            lambda: not [pid for pid in family if os.path.exists(f"/proc/{pid}/cwd")]
        )


def test_a_stage_that_is_asked_to_end_is_started_again(place: Path) -> None:
    (place / "src").mkdir()
    with running("file-replicator", place / "src", place / "far", "sh") as program:
        program.says("in sync")
        (pack,) = (pid for pid in program.family() if name_of(pid) == "fr-pack")
        os.kill(pack, signal.SIGTERM)
        program.says("lost (fr-pack was asked to end by a signal)")
        program.says("in sync")


def test_a_restarted_container_is_found_again(docker: Docker, source: Path) -> None:
    with docker.container("phoenix") as box:
        far = box.fresh()
        with running("file-replicator", source, far.parent, *far.command) as program:
            converges(program, far, source)
            docker.call("kill", "phoenix")
            (source / "d1/f1").write_text("saved while it was away\n")
            shutil.rmtree(source / "d2")
            docker.call("start", "phoenix")
            converges(program, far, source)

            # And when it comes back empty.
            docker.call("kill", "phoenix")
            shutil.rmtree(far.here / "project")
            docker.call("start", "phoenix")
            converges(program, far, source)
            lines = program.errors.decode().splitlines()
            assert len([line for line in lines if "lost" in line]) == 2, lines
            assert program.end(signal.SIGINT, timeout=5) == 130


def test_a_link_that_died_without_a_word_is_noticed(
    sshd: Sshd, base: Path, source: Path
) -> None:
    far = over_ssh("frozen", sshd, base).fresh()
    pid_file = far.here.parent / "pid"
    link = sshd.slow_ssh(5, pid_file=pid_file)
    far = with_command(far, [*link, "bash"])
    argv: list[Word] = ["--keepalive=1", source, far.parent, *far.command]
    with running("file-replicator", *argv) as program:
        program.says("in sync")  # a batch under way has time in proportion to its size
        frozen = int(pid_file.read_text())
        os.kill(frozen, signal.SIGSTOP)
        (source / "d1/f1").write_text("saved into the void\n")
        program.says("lost", timeout=15)
        converges(program, far, source)
        # ssh may leave its proxy behind, stopped as it is.
        with contextlib.suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGKILL)
        assert program.end(signal.SIGINT, timeout=5) == 130


def test_a_cable_that_is_pulled_and_put_back(
    network: Network, place: Path, source: Path
) -> None:
    with ssh_across(network, place / "sshd") as far:
        argv: list[Word] = ["--keepalive=1", source, far.parent, *far.command]
        with running("file-replicator", *argv) as program:
            program.says("in sync")
            network.cable("down")
            try:
                shutil.rmtree(source / "d3")
                (source / "d1/f1").write_text("saved while the cable was out\n")
                program.says("lost", timeout=15)
                assert (far.here / "project/d1/f1").read_text() == "1\n"
            finally:
                network.cable("up")
            converges(program, far, source)
            assert program.end(signal.SIGINT, timeout=5) == 130
