"""--status and --forget: what runs, how it is, and what is kept of what ran."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import farends
import keyboard
import pytest
from programs import ROOT, environment, run, running, wait_for

REPLICATOR = str(ROOT / "bin/file-replicator")


class Place:
    """A source, a destination, and a state directory of their own."""

    def __init__(self, place: Path) -> None:
        self.source = place / "my src"
        self.source.mkdir()
        (self.source / "a").write_text("a")
        self.words = [str(self.source), str(place / "d"), "--", "bash"]
        self.kept = place / "state/file-replicator"
        self.env = environment(XDG_STATE_HOME=str(place / "state"))

    def ask(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return run([REPLICATOR, *words], env=self.env)

    def copy(self) -> None:
        assert self.ask("--once", *self.words).returncode == 0


@pytest.fixture
def it(place: Path) -> Place:
    return Place(place)


def test_status_says_what_runs_and_how_it_is(it: Place, place: Path) -> None:
    assert it.ask("--status").returncode == 69
    with running(REPLICATOR, *it.words, env=it.env) as program:
        program.says("in sync")
        told = it.ask("--status")
        assert told.returncode == 0
        first, second, third = told.stdout.decode().splitlines()
        assert first == f"'{it.source}' -> '{place}/d/my src'"
        assert second == "  by bash"
        assert third.startswith(f"  process {program.process.pid}, since ")
        assert ": in sync since " in third and third.endswith(", 1 file at the start")
        assert it.ask("--status", *it.words).stdout == told.stdout
        assert it.ask("--status", *it.words[:-1], "dash").returncode == 69
        program.end(signal.SIGINT)
    assert it.ask("--status").returncode == 69


def test_status_fits_a_terminal(it: Place) -> None:
    with running(REPLICATOR, *it.words, env=it.env) as program:
        program.says("in sync")
        with keyboard.bash(50, XDG_STATE_HOME=it.env["XDG_STATE_HOME"]) as typed:
            typed.type("file-replicator --status; echo do''ne\n")
            typed.shows("done")
        *_, text = typed.text().partition("\n")
        rows = text[: text.index("done")].splitlines()
        assert all(len(row) < 50 for row in rows if "/" not in row)
        assert rows[-2].startswith("  process ") and rows[-1].startswith("    ")
        assert rows[-1].endswith(" 1 file at the start")


def test_status_says_what_fails(it: Place, place: Path) -> None:
    script = place / "shell"
    script.write_text(f"[ -e {place}/gone ] && exit 3; echo $$ >{place}/pid; exec bash")
    words = [*it.words[:-1], "bash", str(script)]
    with running(REPLICATOR, *words, env=it.env) as program:
        program.says("in sync")
        (place / "gone").touch()
        os.kill(int((place / "pid").read_text()), signal.SIGKILL)
        program.says("connecting again")
        told = it.ask("--status")
        assert told.returncode == 1
        assert "connecting (" in told.stdout.decode()
        (place / "gone").unlink()
        program.says("connected again")
        program.wait_for(lambda: it.ask("--status").returncode == 0)


def test_status_names_what_could_not_be_written(it: Place, place: Path) -> None:
    farends.need_root()
    (it.source / "a").write_bytes(bytes(200_000))
    (place / "d").mkdir()
    with farends.mounted(place / "d", "size=100k"):
        with running(REPLICATOR, *it.words, env=it.env) as program:
            program.says("not in sync")
            told = it.ask("--status")
            assert told.returncode == 1
            why = "not in sync, 1 file could not be written ('a': its disk is full)"
            assert told.stdout.decode().endswith(why + "\n")
            # It went on to tell of those that were the first to fail.
            (it.source / "b").write_bytes(bytes(200_000))
            assert it.ask("--wait", *it.words).returncode == 69
            assert b"not in sync, 2 files could not" in it.ask("--status").stdout
            program.end(signal.SIGINT)


def test_what_has_not_arrived_after_a_second_is_not_in_sync(
    it: Place, place: Path
) -> None:
    script = place / "shell"
    script.write_text(f"echo $$ >{place}/pid; exec bash")
    with running(REPLICATOR, *it.words, str(script), env=it.env) as program:
        program.says("in sync")
        shell = int((place / "pid").read_text())
        os.kill(shell, signal.SIGSTOP)
        (it.source / "b").write_text("b")
        program.wait_for(lambda: b": sending since " in it.ask("--status").stdout)
        assert it.ask("--status").returncode == 1
        os.kill(shell, signal.SIGCONT)
        program.wait_for(lambda: b": in sync since " in it.ask("--status").stdout)
        assert it.ask("--status").returncode == 0
        program.end(signal.SIGINT)


def test_forget_removes_what_is_kept_of_one_that_does_not_run(it: Place) -> None:
    it.copy()
    assert len(list(it.kept.iterdir())) == 2
    with running(REPLICATOR, *it.words, env=it.env) as program:
        program.says("in sync")
        refused = it.ask("--forget", *it.words)
        assert refused.returncode == 69
        assert b"stop it first" in refused.stderr
        program.end(signal.SIGINT)
    assert it.ask("--forget").stdout == b"there was nothing to forget\n"
    assert len(list(it.kept.iterdir())) == 2
    done = it.ask("--forget", *it.words)
    assert done.returncode == 0 and b"forgot what was sent of" in done.stdout
    assert not list(it.kept.iterdir())


def test_what_cannot_be_removed_is_not_forgotten_and_told(it: Place) -> None:
    """It was said that a process is at work with it, long after that had ended."""
    it.copy()
    (state,) = it.kept.glob("*.state")
    state.unlink()
    state.mkdir()
    done = it.ask("--forget", *it.words)
    assert done.returncode == 71 and not done.stdout
    assert f"cannot forget what is kept in '{state}': Is a d" in done.stderr.decode()


@pytest.mark.parametrize("name", ["lock", "sock"])
def test_a_run_that_nobody_can_find_says_so(it: Place, name: str) -> None:
    it.copy()
    (state,) = it.kept.glob("*.state")
    for one in it.kept.glob("*.lock"):
        one.unlink()
    state.with_suffix(f".{name}").mkdir()
    with running(REPLICATOR, *it.words, env=it.env) as program:
        program.says("in sync")
        said = b"--wait and --status cannot find this run: Is a directory\n"
        assert program.errors.count(said) == 1
        program.end(signal.SIGINT)


def test_what_is_kept_of_a_source_that_is_gone_can_be_forgotten(it: Place) -> None:
    it.copy()
    shutil.rmtree(it.source)
    assert it.ask("--forget").returncode == 0
    assert not list(it.kept.iterdir())


@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize("days", [10, 100])
def test_a_start_prunes_what_was_of_a_source_gone_for_months(
    it: Place, place: Path, gone: bool, days: int
) -> None:
    it.copy()
    (lock,) = it.kept.glob("*.lock")
    then = lock.stat().st_mtime - days * 86400
    os.utime(lock, (then, then))
    if gone:
        shutil.rmtree(it.source)
    other = place / "other"
    other.mkdir()
    assert it.ask("--once", str(other), str(place / "d"), "bash").returncode == 0
    assert lock.exists() == (not gone or days == 10)
    assert len(list(it.kept.iterdir())) == (4 if lock.exists() else 2)


def test_a_state_file_says_what_it_is_of(it: Place, place: Path) -> None:
    it.copy()
    (it.source / "a").write_text("b")
    it.copy()
    (state,) = it.kept.glob("*.state")
    said = f"'{it.source}' -> '{place}/d/my src' by 'bash'"
    assert state.read_bytes().count(said.encode()) == 1


def test_odd_words_in_a_lock_file_do_no_harm(it: Place) -> None:
    it.copy()
    (lock,) = it.kept.glob("*.lock")
    odd = ["", "x", "1\n[]\n", '1\n{"source": 5, "state": []}\n', "1\n{\n"]
    odd.append('1\n{"source": "/\\ud800"}\n')
    for text in (*odd, "1\n" + 50_000 * "[" + "\n"):
        lock.write_text(text)
        assert it.ask("--status").returncode == 69
        assert it.ask("--forget").returncode == 0
        it.copy()


@pytest.mark.parametrize("time", ["1e300", "-1e300", "Infinity", "NaN"])
def test_a_time_that_is_none_is_said_to_be_none(time: str, it: Place) -> None:
    with running(REPLICATOR, *it.words, env=it.env) as program:
        program.says("in sync")
        wait_for(lambda: b"in sync since" in it.ask("--status").stdout)
        (lock,) = it.kept.glob("*.lock")  # of which it has no more to write now
        about = f'{{"source": "{it.source}", "since": {time}}}'
        lock.write_text(f"{program.process.pid}\n{about}\n")
        told = it.ask("--status")
        assert told.returncode == 1 and b"since no time" in told.stdout
