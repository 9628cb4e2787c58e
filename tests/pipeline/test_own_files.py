"""What a run writes itself in SRC_DIR is no change of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import programs
import pytest
import trees

POLLS = pytest.mark.parametrize("how", [[], ["--poll", "0.2"]], ids=["inotify", "poll"])


@pytest.mark.parametrize("way", ["file", "pipe"])
@POLLS
def test_state_and_messages_in_the_source_are_left_out_and_set_off_nothing(
    how: list[str], way: str, place: Path
) -> None:
    """As with `nohup file-replicator ~ ...`; the name of the directory is a pattern, too.

    So with `file-replicator ... | tee log`.
    """
    home = place / "home [x] *"
    trees.plant(home, {"project/f": b"1", "state/file-replicator/x": b"another run's"})
    (home / "state/file-replicator").chmod(0o700)
    said = home / "nohup.out"
    words = ["file-replicator", *how, str(home), str(place / "far"), "bash"]
    env = programs.environment(XDG_STATE_HOME=str(home / "state"))
    wait = [words[0], "--wait", *words[1 + len(how) :]]
    shell = ["sh", "-c", '"$@" 2>&1 | tee "$0" >/dev/null', str(said)]
    with said.open("wb") as messages:
        process = subprocess.Popen(
            words if way == "file" else shell + words,
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=messages,
            env=env,
            start_new_session=True,
        )
    try:
        programs.wait_for(lambda: b"in sync" in said.read_bytes())
        for number in range(3):
            (home / "project/f").write_text(f"{number} more")
            assert programs.run(wait, env=env).returncode == 0

        def is_quiet() -> bool:
            """Whatever its own writing leads to would have come before this is answered."""
            before = said.read_bytes()
            assert programs.run(wait, env=env).returncode == 0
            return said.read_bytes() == before

        programs.wait_for(is_quiet)
        words_ = said.read_bytes().splitlines()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    assert sum(b"nohup.out" in line for line in words_) == 1
    assert not any(b"state" in line for line in words_)
    copy = place / "far" / home.name
    programs.wait_for(lambda: sorted(os.listdir(copy)) == ["project"])
    assert (copy / "project/f").read_text() == "2 more"


def test_an_archive_does_not_hold_itself(place: Path) -> None:
    """Nor the state file that is kept beside what is packed."""
    trees.plant(place / "src", {"f": b"1"})
    (place / "src/state").touch(0o600)
    line = "fr-walk . | fr-pack --state state . >out.tar"
    result = programs.run(["sh", "-c", line], cwd=place / "src")
    assert result.stderr.count(b"is written by this run itself, and left out") == 2
    names = programs.run(["tar", "-tf", place / "src/out.tar"])
    assert names.stdout == b"f\n"


READER = """
import os, sys
with open("passing", "w"):
    for line in sys.stdin:
        if "in sync" in line:
            break
os.unlink("passing")
os.mkdir("unlinked")
sys.stdin.read()
"""


def test_an_inode_that_was_our_readers_is_any_files_later(place: Path) -> None:
    """What reads our messages had a file, removed it, and the next file was left out."""
    trees.plant(place / "src", {"f": b"1"})
    env = programs.environment(XDG_STATE_HOME=str(place / "state"))
    words = ["file-replicator", "src", "there", "bash"]
    line = ["sh", "-c", '"$@" 2>&1 | exec "$0" -c "$READER"', sys.executable, *words]
    process = subprocess.Popen(
        line, cwd=place, env={**env, "READER": READER}, start_new_session=True
    )
    try:
        programs.wait_for((place / "unlinked").exists)
        new = {f"new{number}": b"" for number in range(50)}
        trees.plant(place / "src", new)
        wait = [words[0], "--wait", *words[1:]]
        assert programs.run(wait, cwd=place, env=env).returncode == 0
        assert new.keys() < set(os.listdir(place / "there/src"))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def test_what_the_program_that_started_us_writes_is_no_output_of_ours(
    place: Path,
) -> None:
    """It reads what we say, as an editor may, and had a file of the source open."""
    trees.plant(place / "src", {"f": b"1", "log": b""})
    words = ["file-replicator", place / "src", place / "there", "bash"]
    with open(place / "src/log", "w") as log:
        with programs.running(*words) as run:
            run.says("in sync")
            log.write("1")
            log.flush()
            run.wait_for(lambda: (place / "there/src/log").exists())
            assert b"written by this run itself" not in run.errors


@pytest.mark.parametrize("many", [False, True], ids=["one", "each"])
def test_events_that_go_to_a_descriptor_in_the_source_set_off_nothing(
    many: bool, place: Path
) -> None:
    source, told, there = place / "src", place / "src/events", place / "there"
    trees.plant(source, {"f": b"1"})
    words = [str(source), str(there)]
    words += ["--as", "{}", "--each", "src", "--"] if many else []
    words += ["env", "X={}", "bash"] if many else ["bash"]
    with told.open("wb") as file:
        fd = os.dup(file.fileno())
        try:
            words = ["file-replicator", f"--events={fd}", *words]
            with programs.running(*words, pass_fds=[fd]) as run:
                run.wait_for(lambda: b'"in_sync"' in told.read_bytes())
                (source / "f").write_text("2")
                run.wait_for(lambda: (there / "src/f").read_text() == "2")
                (source / "g").write_text("3")
                run.wait_for(lambda: (there / "src/g").exists())
        finally:
            os.close(fd)
    assert b'"sent": ["events"]' not in told.read_bytes()
    assert not (there / "src/events").exists()


def test_who_connects_again_and_again_keeps_no_more_open(place: Path) -> None:
    """Each connection kept the file of our reader once more."""
    script = (
        "import os, sys; from filerep.wrapper.ownoutput import own_files\n"
        "for _ in range(50): found = own_files(1)\n"
        "print(len(found), len(os.listdir('/proc/self/fd')), file=sys.stderr)"
    )
    line = ["sh", "-c", '"$0" -c "$1" | tee log', sys.executable, script]
    found, kept = map(int, programs.run(line, cwd=place).stderr.split())
    assert found == 1 and kept < 20
