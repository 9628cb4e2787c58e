"""--on-sync: a command at the far end after each change, on every shell."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import LOCAL
from farends import FarEnd
from programs import ROOT, run, running, wait_for

REPLICATOR = str(ROOT / "bin/file-replicator")
SHELLS = [name for name in LOCAL if name.endswith("+gnu")] + ["busybox+busybox"]


@pytest.fixture
def source(place: Path) -> Path:
    source = place / "src"
    source.mkdir()
    (source / "a").write_text("1\n")
    return source


@pytest.fixture(params=[*SHELLS, "ssh", "chroot"])
def far(request: pytest.FixtureRequest, far_end: Callable[[str], FarEnd]) -> FarEnd:
    return far_end(request.param)


def test_it_runs_after_the_first_copy_and_after_a_change(
    source: Path, far: FarEnd
) -> None:
    words = ["--on-sync", "echo `cat a` in `pwd`; exit 3", str(source), far.parent]
    with running(REPLICATOR, *words, "--", *far.command) as program:
        program.says("in sync: 1 file")
        program.says(f"1 in {far.parent}/src\n")
        program.says("file-replicator: the --on-sync command exited with 3 after ")
        (source / "a").write_text('it\'s 2 \\ "$x"\n')
        program.says(f'it\'s 2 \\ "$x" in {far.parent}/src\n')
        assert program.process.poll() is None
        assert program.end(signal.SIGINT) == 130


@pytest.mark.parametrize("name", SHELLS)
def test_what_it_prints_is_no_answer_where_all_output_goes_one_way(
    name: str, source: Path, far_end: Callable[[str], FarEnd]
) -> None:
    """As with `exec 2>&1` in a start-up file."""
    far = far_end(name)
    words = ["--once", "--on-sync", "echo ok 2; echo failed; echo bye; echo hook"]
    merged = ["sh", "-c", 'exec "$@" 2>&1', "sh", *far.command]
    done = run([REPLICATOR, *words, source, far.parent, "--", *merged])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SHELLS)
def test_it_runs_where_standard_error_is_closed(
    name: str, source: Path, far_end: Callable[[str], FarEnd]
) -> None:
    """As with `exec 2>&-` in a start-up file; what it prints is lost."""
    far = far_end(name)
    words = ["--once", "--on-sync", "echo ran; touch ../ran"]
    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh", *far.command]
    done = run([REPLICATOR, *words, source, far.parent, "--", *closed])
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(far.here)) == ["ran", "src"]
    assert os.listdir(far.here / "src") == ["a"]


def test_it_is_given_the_names_of_what_changed(source: Path, far: FarEnd) -> None:
    words = ["--on-sync", 'tr "\\0" "\\n" <"$FILEREP_CHANGED"; echo ran']
    with running(REPLICATOR, *words, str(source), far.parent, "--", *far.command) as it:
        it.says("./\nran\n")
        (source / "in").mkdir()
        (source / "in/new\nline").write_text("1")
        (source / "a").unlink()
        it.wait_for(lambda: it.errors.count(b"ran\n") == 2)
        told = it.errors.partition(b"ran\n")[2]
        assert b"in/new\nline\n" in told and b"\na\n" in b"\n" + told


def test_a_burst_is_one_run_and_a_git_at_work_none(source: Path, place: Path) -> None:
    (source / ".git").mkdir()
    for path in (".git/objects", ".git/refs"):
        (source / path).mkdir()
    (source / ".git/HEAD").write_text("ref: refs/heads/main\n")
    words = ["--on-sync", "echo ran", str(source), str(place / "d"), "bash"]
    with running(REPLICATOR, *words) as program:
        program.says("ran\n")
        lock = source / ".git/index.lock"
        lock.touch()
        for number in range(40):
            (source / f"f{number}").write_text("x")
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.process.wait(0.03)
        program.wait_for((place / "d/src/f39").exists)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(1)
        assert program.errors.count(b"ran\n") == 1
        lock.unlink()
        program.wait_for(lambda: program.errors.count(b"ran\n") == 2)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(1)
        assert program.errors.count(b"ran\n") == 2


def test_one_that_hangs_holds_up_nothing_and_ends_with_the_run(
    source: Path, far: FarEnd
) -> None:
    there = far.here / "src"
    (there / "made/there").mkdir(parents=True)
    if far.owner:
        os.chown(there, *far.owner)
    with running(
        REPLICATOR,
        "--on-sync",
        "echo running; sleep 1000 & sleep 1000; wait",
        *[str(source), far.parent, "--", *far.command],
    ) as program:
        program.says("running")
        (source / "b").write_text("2")
        program.says("sent 'b'")
        # A directory that was not needed yet has to be listed first.
        (source / "made/there").mkdir(parents=True)
        (source / "made/there/c").write_text("3")
        program.says("sent 'made/there/c'")
        assert program.errors.count(b"running") == 1
        assert program.end(signal.SIGINT) == 130
        assert (there / "made/there/c").read_text() == "3"
        left = [pid for pid in program.family() if b"1000" in command_of(pid)]
        assert not left


@pytest.mark.parametrize("name", SHELLS)
def test_one_that_is_stopped_ends_with_the_run(
    name: str, source: Path, far_end: Callable[[str], FarEnd]
) -> None:
    far = far_end(name)
    # More than once, as zsh has it go on, at times.
    command = "while :; do kill -STOP $$; done"
    words = ["--on-sync", command, str(source), far.parent, "--"]
    with running(REPLICATOR, *words, *far.command) as program:
        program.says("in sync")

        def stopped() -> list[int]:
            mine = [pid for pid in program.family() if b"STOP" in command_of(pid)]
            return [pid for pid in mine if state_of(pid) == "T"]

        (pid,) = wait_for(stopped, what="the command was not started")
        assert program.end(signal.SIGINT) == 130
        wait_for(lambda: not command_of(pid), 5)


@pytest.mark.parametrize("name", SHELLS)
def test_one_that_takes_no_sigterm_ends_with_the_run(
    name: str, source: Path, far_end: Callable[[str], FarEnd]
) -> None:
    far = far_end(name)
    command = "trap '' TERM HUP; echo pid $$.; while :; do sleep 1000; done"
    words = ["--on-sync", command, str(source), far.parent, "--", *far.command]
    with running(REPLICATOR, *words) as program:
        program.says(".\n")
        pid = int(program.errors.rpartition(b"pid ")[2].partition(b".")[0])
        assert program.end(signal.SIGINT) == 130
        wait_for(lambda: not command_of(pid), 5)


@pytest.mark.parametrize("name", SHELLS)
def test_one_that_removes_the_staging_directory_ends_with_the_connection(
    name: str, source: Path, far_end: Callable[[str], FarEnd]
) -> None:
    """As with `git clean -fdx`. It held the connection open until that was given up, and lived on."""
    far = far_end(name)
    command = "rm -rf .filerep-*; echo pid $$.; exec sleep 1000"
    words = ["--on-sync", command, str(source), far.parent, "--", *far.command]
    with running(REPLICATOR, *words) as program:
        program.says(".\n")
        pid = int(program.errors.rpartition(b"pid ")[2].partition(b".")[0])
        (source / "b").write_text("2")
        program.says("the connection was lost (the directory .filerep-")
        program.says("... in the destination was removed or replaced)")
        program.wait_for((far.here / "src/b").exists)
        wait_for(lambda: not command_of(pid), 5)
        assert b"no sign of life" not in program.errors
        assert b"invalid number" not in program.errors


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_changes_during_a_run_lead_to_one_more(source: Path, place: Path) -> None:
    gate, log = place / "gate", place / "log"
    os.mkfifo(gate)
    command = f"echo begin >>{log}; read x <{gate}; ls >>{log}; echo end >>{log}"
    words = ["--on-sync", command, str(source), str(place / "d"), "bash"]

    def told(what: str, times: int) -> None:
        program.wait_for(lambda: log.exists() and log.read_text().count(what) == times)

    with running(REPLICATOR, *words) as program:
        told("begin", 1)
        for name in "xyz":
            (source / name).write_text(name)
            program.says(f"sent '{name}'")
        gate.write_text("\n")
        told("begin", 2)
        assert log.read_text().count("end") == 1
        (source / "w").write_text("w")
        program.says("sent 'w'")
        gate.write_text("\n")
        told("begin", 3)
        gate.write_text("\n")
        told("end", 3)
        (source / "v").write_text("v")
        told("begin", 4)


def test_a_single_copy_ends_after_it(source: Path, place: Path) -> None:
    words = ["--no-replicate-on-change", "--on-sync", "cat a; touch ran"]
    with running(REPLICATOR, *words, str(source), str(place / "d"), "sh") as program:
        assert program.end() == 0
        assert (place / "d/src/ran").exists()
        assert b"\n1\n" in b"\n" + program.errors


def test_its_locale_is_the_far_ends_own(source: Path, place: Path) -> None:
    words = ["--no-replicate-on-change", "--on-sync", 'echo "locale ${LC_ALL-none}"']
    for locale, said in ((None, "locale none"), ("C.UTF-8", "locale C.UTF-8")):
        shell = ["env", f"LC_ALL={locale}", "sh"] if locale else ["sh"]
        with running(
            REPLICATOR, *words, str(source), str(place / "d"), "--", *shell
        ) as program:
            program.end()
            assert said in program.errors.decode()
