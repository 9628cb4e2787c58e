"""`rm -rf *` in SRC while it runs: said, and done over there only some seconds later."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import Running, environment, run, running

MANY = 150
LONG = ("--hold", "600")
GONE = "{} of {} files are gone here; they are removed at the far end in {} s"


class Copy:
    """A source of many files in ``many``, its copy, and the words that make it."""

    def __init__(self, place: Path, shell: str = "sh") -> None:
        self.source, self.there = place / "src", place / "far/src"
        self._words = [str(self.source), str(place / "far"), shell]
        self._env = environment(XDG_STATE_HOME=str(place / "state"))
        (place / "far").mkdir()
        self.plant("many", MANY)

    def plant(self, directory: str, count: int) -> None:
        (self.source / directory).mkdir(parents=True)
        for number in range(count):
            (self.source / directory / f"{number}").write_text(f"{number}")

    @contextlib.contextmanager
    def runs(self, *options: str) -> Iterator[Running]:
        with running(
            "file-replicator", *options, *self._words, env=self._env
        ) as program:
            program.says("watching")
            yield program

    def once(self, *options: str) -> subprocess.CompletedProcess[bytes]:
        words = ["file-replicator", "--once", *options, *self._words]
        return run(words, env=self._env)

    def wait(self) -> int:
        words = ["file-replicator", "--wait", *self._words]
        return run(words, env=self._env).returncode

    def git(self, *words: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x"]
        subprocess.run(["git", *who, *words], cwd=self.source, check=True)

    def left(self) -> int:
        """How many of the many files there are at the far end."""
        many = self.there / "many"
        return len(os.listdir(many)) if many.exists() else 0

    def names(self) -> list[str]:
        """What there is at the far end, but for the run's own."""
        return [name for name in os.listdir(self.there) if not name.startswith(".f")]


@pytest.fixture
def copy(place: Path) -> Copy:
    return Copy(place)


@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize("options", [(), ("--poll", "1")], ids=["inotify", "polling"])
def test_most_of_the_files_stay_until_it_is_ended_and_saves_go_on(
    options: tuple[str, ...], shell: str, place: Path
) -> None:
    copy = Copy(place, shell)
    with copy.runs(*LONG, *options) as it:
        os.rename(copy.source / "many", place / "many")
        it.says(GONE.format(MANY, MANY, 600))
        (copy.source / "new").write_text("new")
        it.wait_for((copy.there / "new").exists)
        assert copy.left() == MANY
        assert it.end(signal.SIGINT) == 130
    assert copy.left() == MANY
    # The next start finds the same, and says the same.
    done = copy.once("--hold", "0.2")
    assert done.returncode == 0
    assert GONE.format(MANY, MANY + 1, 0.2).encode() in done.stderr
    assert copy.names() == ["new"]


def test_a_script_that_waits_waits_for_it_to_be_done(copy: Copy) -> None:
    with copy.runs("--hold", "0.5") as it:
        shutil.rmtree(copy.source / "many")
        assert copy.wait() == 0
        assert GONE.format(MANY, MANY, 0.5).encode() in it.errors
        assert copy.names() == []


def test_files_that_come_back_stay_over_there(copy: Copy, place: Path) -> None:
    with copy.runs(*LONG) as it:
        os.rename(copy.source / "many", place / "many")
        it.says(GONE.format(MANY, MANY, 600))
        os.rename(place / "many", copy.source / "many")
        assert copy.wait() == 0
        assert copy.left() == MANY
        assert b": removed" not in it.errors


def test_a_directory_that_gets_another_name_waits_for_nothing(copy: Copy) -> None:
    with copy.runs(*LONG) as it:
        os.rename(copy.source / "many", copy.source / "lib")
        assert copy.wait() == 0
        assert copy.names() == ["lib"]
        assert len(os.listdir(copy.there / "lib")) == MANY
        assert b"are gone here" not in it.errors


@pytest.mark.parametrize("options", [(), ("--poll", "1")], ids=["inotify", "polling"])
def test_one_that_gets_another_name_twice_waits_for_nothing(
    options: tuple[str, ...], copy: Copy
) -> None:
    with copy.runs(*LONG, *options) as it:
        for name, other in (("many", "one"), ("one", "two"), ("two", "three")):
            os.rename(copy.source / name, copy.source / other)
            assert copy.wait() == 0
        assert copy.names() == ["three"]
        assert len(os.listdir(copy.there / "three")) == MANY
        assert b"are gone here" not in it.errors


def test_half_of_the_files_wait_for_nothing(copy: Copy) -> None:
    copy.plant("others", MANY)
    with copy.runs(*LONG) as it:
        shutil.rmtree(copy.source / "many")
        assert copy.wait() == 0
        assert copy.names() == ["others"]
        assert b"are gone here" not in it.errors


@pytest.mark.parametrize("options", [("--hold", "0"), ("--mirror", "--mirror")])
def test_they_go_at_once_where_that_is_asked_for(
    options: tuple[str, ...], copy: Copy
) -> None:
    (copy.source / "f").write_text("f")
    assert copy.once().returncode == 0
    shutil.rmtree(copy.source / "many")
    done = copy.once(*options)
    assert done.returncode == 0 and b"are gone here" not in done.stderr
    assert copy.names() == ["f"]


def test_what_git_removes_waits_for_nothing(copy: Copy) -> None:
    copy.git("init", "-q")
    copy.git("commit", "-q", "--allow-empty", "-m", "nothing")
    copy.git("branch", "empty")
    copy.git("add", ".")
    copy.git("commit", "-q", "-m", "many")
    with copy.runs(*LONG) as it:
        copy.git("checkout", "-q", "empty")
        assert copy.wait() == 0
        assert copy.left() == 0
        assert b"are gone here" not in it.errors


@pytest.mark.parametrize("more", [("--cone",), ("--cone", "--sparse-index")])
def test_what_a_sparse_checkout_leaves_out_waits_for_nothing(
    more: tuple[str, ...], copy: Copy
) -> None:
    copy.git("init", "-q")
    copy.git("add", ".")
    copy.git("commit", "-q", "-m", "many")
    with copy.runs(*LONG) as it:
        copy.git("sparse-checkout", "set", *more, "nothing")
        assert copy.wait() == 0
        assert copy.left() == 0
        assert b"are gone here" not in it.errors


def test_what_is_removed_in_a_repository_and_not_by_git_is_held(
    copy: Copy, place: Path
) -> None:
    copy.git("init", "-q")
    copy.git("add", ".")
    with copy.runs(*LONG) as it:
        # What was touched has it write its index anew, as git does before anything else.
        next((copy.source / "many").iterdir()).touch()
        copy.git("status", "--short")
        assert copy.wait() == 0  # or it may be gone when it is looked at, alone
        os.rename(copy.source / "many", place / "many")
        copy.git("status", "--short")  # as a prompt does it
        it.says(GONE.format(MANY, MANY, 600))
        assert copy.left() == MANY
        # They come back by git.
        copy.git("checkout", "-q", ".")
        assert copy.wait() == 0
        assert copy.left() == MANY
