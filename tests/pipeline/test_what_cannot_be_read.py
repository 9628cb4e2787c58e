"""What cannot be read here is missing over there, and whoever waits is told so."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import farends
import pytest
from programs import environment, run, running, wait_for

from filerep.source import RootGone, Source

BOTH = pytest.mark.parametrize(
    "options", [(), ("--poll", ".2")], ids=["inotify", "polling"]
)


def without_rights() -> list[str]:
    if os.geteuid():
        return []
    (setpriv,) = farends.need("setpriv")
    return [setpriv, "--bounding-set=-all", "--inh-caps=-all", "--"]


LINKED = ["x", "y"]


def link(place: Path) -> None:
    """Files that are written by names outside of SRC, which an audit sees, or a look of polling."""
    for name in LINKED:
        (place / "src" / name).touch()
        os.link(place / "src" / name, place / name)


def looks_again(place: Path) -> None:
    """Wait until it has been over all there is, which makes nothing forgotten."""
    for name in LINKED:  # who has seen the second has begun after the first
        (place / name).write_text("written")
        wait_for(lambda: (place / "there/src" / name).read_text() == "written")


@BOTH
@pytest.mark.parametrize("when", ["before the start", "while it runs"])
def test_a_directory_that_cannot_be_read_is_no_success_for_who_waits(
    when: str, options: tuple[str, ...], place: Path
) -> None:
    (place / "src/d").mkdir(parents=True)
    (place / "src/d/f").write_text("1")
    link(place)
    (place / "there").mkdir()
    words = [str(place / "src"), str(place / "there"), "bash"]
    program = [*without_rights(), "file-replicator"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    if when == "before the start":
        (place / "src/d").chmod(0)

    def waited() -> int:
        return run([*program, "--wait", *words], env=env).returncode

    with running(*program, "--audit", ".2", *options, *words, env=env) as it:
        it.says("watching")
        if when == "while it runs":
            assert waited() == 0
            (place / "src/d").chmod(0)
        assert waited() == 69
        seen = it.errors.count(b"cannot read 'd'")
        looks_again(place)
        assert waited() == 69
        (place / "src/d").chmod(0o755)
        wait_for(lambda: waited() == 0)
        assert (place / "there/src/d/f").read_text() == "1"
        assert it.errors.count(b"cannot read 'd'") <= seen + 1


@BOTH
def test_a_directory_that_cannot_be_read_any_more_costs_one_line(
    options: tuple[str, ...], place: Path
) -> None:
    """Polling had one for each file in it; and by inotify nothing said why --wait was 69."""
    (place / "src/d").mkdir(parents=True)
    for number in range(20):
        (place / f"src/d/{number}").write_text("1")
    (place / "there").mkdir()
    words = [str(place / "src"), str(place / "there"), "bash"]
    program = [*without_rights(), "file-replicator"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    with running(*program, "--audit", "0", *options, *words, env=env) as it:
        it.says("watching")
        (place / "src/d").chmod(0)
        it.says("cannot read 'd': Permission denied")
        for _ in range(2):
            wait = run([*program, "--wait", *words], env=env)
            assert wait.returncode == 69
        assert it.errors.count(b"cannot") == 1, it.errors
        (place / "src/d").chmod(0o755)
        wait_for(lambda: not run([*program, "--wait", *words], env=env).returncode)
        assert len(os.listdir(place / "there/src/d")) == 20


@BOTH
def test_a_file_that_cannot_be_read_is_missed_until_it_can_or_does_not_count(
    options: tuple[str, ...], place: Path
) -> None:
    (place / "src").mkdir()
    for name in "abc":
        (place / "src" / name).write_text(name)
        (place / "src" / name).chmod(0)
    link(place)
    (place / "there").mkdir()
    words = [str(place / "src"), str(place / "there"), "bash"]
    program = [*without_rights(), "file-replicator"]
    env = environment(XDG_STATE_HOME=str(place / "state"))

    def waited() -> bytes:
        return run([*program, "--wait", *words], env=env).stderr

    def status() -> tuple[int, bytes]:
        told = run([*program, "--status", *words], env=env)
        return told.returncode, told.stdout.partition(b"at the start")[2]

    with running(*program, "--audit", ".2", *options, *words, env=env) as it:
        it.says("watching")
        looks_again(place)
        assert b"3 paths could not be read" in waited()
        code, told = status()
        assert code == 1 and told.startswith(b", but 3 paths could not be sent ('")
        assert told.endswith(b"': Permission denied)\n")
        (place / "src/.gitignore").write_text("a\n")
        wait_for(lambda: b"2 paths could not be read" in waited())
        (place / "src/b").unlink()
        wait_for(lambda: b"one path could not be read" in waited())
        why = b", but 1 path could not be sent ('c': Permission denied)\n"
        assert status() == (1, why)
        (place / "src/c").chmod(0o644)
        wait_for(lambda: not waited())
        assert status() == (0, b"\n")
        assert sorted(os.listdir(place / "there/src"))[1:] == [
            ".gitignore",
            "c",
            *LINKED,
        ]
        assert it.errors.count(b"cannot read") == 3


def test_what_was_sent_and_cannot_be_read_is_not_said_to_be_ignored(
    place: Path,
) -> None:
    (place / "src").mkdir()
    (place / "src/a").write_text("a")
    words = ["--once", str(place / "src"), str(place / "there"), "bash"]
    program = [*without_rights(), "file-replicator"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    assert run([*program, *words], env=env).returncode == 0
    (place / "src/a").write_text("changed")
    (place / "src/a").chmod(0)
    again = run([*program, *words], env=env)
    assert again.returncode == 1
    first, second = again.stderr.decode().splitlines()
    assert first.endswith("cannot read 'a': Permission denied")
    assert "in sync: 1 file, nothing to send" in second


def test_a_root_that_is_gone_for_good_is_told_to_be_gone() -> None:
    """As that of a share whose server has removed it: not even a listing can be had."""
    with subprocess.Popen(["sleep", "60"]) as process:
        source = Source(b"/proc/%d/fd" % process.pid)
        process.kill()
    root = source.directory(b"")
    assert not source.folds(root) and source.look(b"0") is None
    with pytest.raises(RootGone):
        source.check()
