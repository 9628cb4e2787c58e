"""--each: many far ends, of which none waits for another, fed by one fr-watch and one fr-walk.

Each far end is a local shell with a destination of its own. What stands between it and its
shell, where a test wants that, is a script which is given the far end's name.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import keyboard
import pytest
from edits import Hand
from pipelines import name_of, wrong
from programs import ROOT, Running, alive, environment, run, running, wait_for
from test_events import CONTRACT

REPLICATOR = str(ROOT / "bin/file-replicator")
NAMES = ("a", "b", "c")


class Fleet:
    """A source, and a directory for each far end, in which its copy is to be."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.source = place / "source"
        self.source.mkdir(exist_ok=True)
        self.env = environment(XDG_STATE_HOME=str(place / "state"))
        for name in NAMES:
            (place / name).mkdir()
        self.command = ["bash"]

    def words(self, *names: str) -> list[str]:
        there = f"{self.place}/{{}}"
        each = ["--each", *(names or NAMES)]
        return [str(self.source), there, *each, "--", *self.command]

    def script(self, text: str) -> None:
        """The connection command from now on; ``$1`` is the far end's name."""
        path = self.place / "enter"
        path.write_text(f"#!/bin/sh\ncd {self.place}\n{text}\nexec bash\n")
        path.chmod(0o755)
        self.command = [str(path), "{}"]

    @contextlib.contextmanager
    def running(self, *options: str, **changes: str) -> Iterator[Running]:
        env = {**self.env, **changes}
        with running(REPLICATOR, *options, *self.words(), env=env) as program:
            yield program

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return run([REPLICATOR, *words], env=self.env)

    def wait(self) -> int:
        return self.run("--wait", *self.words()).returncode

    def copy(self, name: str) -> Path:
        return self.place / name / "source"

    def save(self, name: str, text: str = "saved") -> None:
        (self.source / name).write_text(text)

    def arrived(self, name: str, *where: str) -> bool:
        return all((self.copy(one) / name).exists() for one in where)

    def same(self, *names: str) -> None:
        for name in names or NAMES:
            assert not wrong(self.source, self.copy(name)), name

    def over_there(self, program: Running, name: str) -> list[int]:
        """The processes at the far end ``name``."""
        found = []
        for pid in program.family():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                own = name_of(pid).startswith(("fr-", "file-repl", "python"))
                if os.fsencode(self.place / name) in words and not own:
                    found.append(pid)
        return found


def in_sync(program: Running, *names: str) -> None:
    for name in names or NAMES:
        program.says(f"file-replicator: {name}: in sync")


def stages(program: Running, name: str) -> list[int]:
    found = []
    for pid in program.family():
        with contextlib.suppress(OSError):
            found += [pid] if name_of(pid) == name else []
    return found


def send(number: signal.Signals, *pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@pytest.fixture
def fleet(place: Path) -> Fleet:
    return Fleet(place)


# --- they become and stay the same ----------------------------------------------------


def test_all_become_the_same_and_stay_so_whatever_is_edited(fleet: Fleet) -> None:
    hand = Hand(fleet.place)
    try:
        with fleet.running("--editor-files") as program:
            in_sync(program)
            dice = random.Random("each")
            for turn in range(6):
                hand.draw(dice.choice([3, 10, 30]), f"each.{turn}", pauses=turn % 2 > 0)
                assert fleet.wait() == 0
                fleet.same()
    finally:
        hand.close()


def test_it_watches_once_and_walks_once(fleet: Fleet) -> None:
    os.mkfifo(fleet.source / "fifo")  # of which each walk tells
    fleet.save("f")
    with fleet.running("--verbose") as program:
        in_sync(program)
        assert len(stages(program, "fr-watch")) == 1
        assert len(stages(program, "fr-pack")) == 3
        fleet.save("g")
        assert fleet.wait() == 0
        assert program.errors.count(b"left out 'fifo'") == 1
        assert program.errors.count(b"watching 1 directory") == 1


def test_a_large_tree_is_walked_for_all(fleet: Fleet) -> None:
    for number in range(3000):
        fleet.save(f"{number}{'-' * 60}", "")  # three pipes full of names
    done = fleet.run("--once", *fleet.words())
    assert done.returncode == 0, done.stderr
    fleet.same()


def test_the_place_of_the_word_may_be_in_the_name(fleet: Fleet) -> None:
    fleet.save("f")
    there = str(fleet.place / "a")
    words = [str(fleet.source), there, "--as", "copy-{}", "--each", "x", "y"]
    assert fleet.run("--once", *words, "--", "bash").returncode == 0
    assert sorted(os.listdir(there)) == ["copy-x", "copy-y"]


# --- one in trouble -------------------------------------------------------------------


def test_one_that_is_lost_catches_up_while_the_others_go_on(fleet: Fleet) -> None:
    fleet.script("test -e shut-$1 && exit 9; touch was-$1")
    fleet.save("gone")
    with fleet.running() as program:
        in_sync(program)
        (fleet.place / "shut-b").touch()
        send(signal.SIGKILL, *fleet.over_there(program, "b"))
        program.says("file-replicator: b: the connection was lost")
        (fleet.source / "gone").unlink()
        fleet.save("meanwhile")
        wait_for(lambda: fleet.arrived("meanwhile", "a", "c"))
        program.says("b: enter exited with 9 before a shell answered; trying again")
        assert not fleet.arrived("meanwhile", "b")
        (fleet.place / "shut-b").unlink()
        program.says("b: connected again")
        assert fleet.wait() == 0
        fleet.same()
        said = program.errors.decode()
    assert not re.search("(a|c): (the connection|connected)", said)


def test_without_a_first_copy_one_that_is_lost_catches_up_as_well(fleet: Fleet) -> None:
    fleet.script("test -e shut-$1 && exit 9")
    fleet.save("older")
    with fleet.running("--no-initial-replication") as program:
        for name in NAMES:
            program.says(f"{name}: watching")
        (fleet.place / "shut-b").touch()
        send(signal.SIGKILL, *fleet.over_there(program, "b"))
        program.says("file-replicator: b: the connection was lost")
        fleet.save("meanwhile")
        wait_for(lambda: fleet.arrived("meanwhile", "a", "c"))
        (fleet.place / "shut-b").unlink()
        assert fleet.wait() == 0
        assert fleet.arrived("meanwhile", "b")
        assert not fleet.arrived("older", "b")


def test_one_that_is_stopped_slows_no_other_and_catches_up(fleet: Fleet) -> None:
    with fleet.running() as program:
        in_sync(program)
        stopped = fleet.over_there(program, "b")
        assert stopped
        send(signal.SIGSTOP, *stopped)
        for turn in range(5):
            (fleet.source / f"large{turn}").write_bytes(os.urandom(2_000_000))
            fleet.save(f"small{turn}")
            wait_for(lambda: fleet.arrived(f"small{turn}", "a", "c"), 10)
        assert not fleet.arrived("small4", "b")
        send(signal.SIGCONT, *stopped)
        assert fleet.wait() == 0
        fleet.same()


def test_the_wait_is_for_all(fleet: Fleet) -> None:
    with fleet.running() as program:
        in_sync(program)
        send(signal.SIGSTOP, *fleet.over_there(program, "c"))
        fleet.save("f")
        words = ["--wait", *fleet.words()]
        with running(REPLICATOR, *words, env=fleet.env) as waiting:
            wait_for(lambda: fleet.arrived("f", "a", "b"))
            waiting.says("; --status says what it is doing")
            send(signal.SIGCONT, *fleet.over_there(program, "c"))
            assert waiting.end() == 0
        assert fleet.arrived("f", "c")


def test_one_that_never_answers_has_all_it_missed_looked_at_once(fleet: Fleet) -> None:
    """Beyond a bound what has changed is forgotten, and a walk names it again."""
    os.mkfifo(fleet.place / "gate-b")
    os.mkfifo(fleet.source / "fifo")  # of which each walk tells
    fleet.script("test -e gate-$1 && read line < gate-$1")
    fleet.save(".gitignore", "*.secret\n")
    fleet.save("old")
    fleet.save("old.secret")
    with fleet.running("--verbose", FILEREP_TINY="1") as program:
        in_sync(program, "a", "c")
        for number in range(600):
            fleet.save(f"{number}{'-' * 200}", "")  # two pipes full of names
        (fleet.source / "d").mkdir()
        for name in ("d/new", "d/new.secret", "new.secret"):
            fleet.save(name)
        (fleet.source / "old").unlink()
        last = f"599{'-' * 200}"
        wait_for(lambda: fleet.arrived(last, "a", "c"))
        wait_for(lambda: fleet.arrived("d/new", "a", "c"))
        (fleet.place / "gate-b").write_text("open\n")
        in_sync(program, "b")
        assert fleet.wait() == 0
        assert program.errors.count(b"left out 'fifo'") > 1
        assert fleet.arrived("d/new", "b") and not fleet.arrived("old", "b")
        program.end(signal.SIGTERM)  # else the stages go while this looks through them
    for name in NAMES:
        assert not list(fleet.copy(name).rglob("*.secret"))
        assert (fleet.copy(name) / last).exists()


def test_one_that_cannot_be_had_at_first_is_tried_again(fleet: Fleet) -> None:
    fleet.script("test -e shut-$1 && exit 9")
    (fleet.place / "shut-b").touch()
    fleet.save("f")
    with fleet.running() as program:
        in_sync(program, "a", "c")
        program.says("file-replicator: b: enter exited with 9 before a shell answered")
        fleet.save("g")
        (fleet.place / "shut-b").unlink()
        in_sync(program, "b")
        assert fleet.wait() == 0
        fleet.same()


def test_a_watch_that_is_killed_is_started_again(fleet: Fleet) -> None:
    with fleet.running() as program:
        in_sync(program)
        (watch,) = stages(program, "fr-watch")
        os.kill(watch, signal.SIGSTOP)
        fleet.save("missed")
        os.kill(watch, signal.SIGKILL)
        program.says("fr-watch was killed by signal 9; starting it again")
        assert fleet.wait() == 0
        assert fleet.arrived("missed", *NAMES)
        fleet.save("seen")
        assert fleet.wait() == 0
        fleet.same()


def mishaps(fleet: Fleet, program: Running, seed: str, turns: int, *more: str) -> None:
    """Edits, and meanwhile what is killed or stopped for a while; all become the same."""
    dice = random.Random(seed)
    kinds = ["fr-pack", "fr-watch", "fr-walk", "stop", "stop", "shell", *more]
    hand = Hand(fleet.place)
    try:
        for turn in range(turns):
            stopped: list[int] = []
            for number in range(dice.randint(1, 3)):
                kind, drawn = dice.choice(kinds), f"{seed}.{turn}.{number}"
                hand.draw(dice.choice([1, 5, 20]), drawn, pauses=True)
                over_there = fleet.over_there(program, dice.choice(NAMES))
                if kind == "stop":
                    stopped += over_there
                    send(signal.SIGSTOP, *over_there)
                elif kind == "shell":
                    send(signal.SIGKILL, *over_there[:1])
                else:
                    send(signal.SIGKILL, *stages(program, kind)[:1])
            send(signal.SIGCONT, *stopped)
            with running(REPLICATOR, "--wait", *fleet.words(), env=fleet.env) as waits:
                said = lambda: (seed, turn, bytes(program.errors[-3000:]))
                wait_for(lambda: waits.process.poll() is not None, 60, what=said)
                assert waits.end() == 0, said()
            for name in NAMES:
                assert not wrong(fleet.source, fleet.copy(name)), (seed, turn, name)
    finally:
        hand.close()


@pytest.mark.parametrize("tiny", ["", "1"], ids=["", "tiny"])
def test_whatever_is_killed_or_stopped_all_become_the_same(
    fleet: Fleet, tiny: str
) -> None:
    with fleet.running("--editor-files", FILEREP_TINY=tiny) as program:
        in_sync(program)
        mishaps(fleet, program, f"each{tiny}", 4)


def test_hunt_for_a_mishap_that_keeps_one_from_it(fleet: Fleet) -> None:
    end = time.monotonic() + float(os.environ.get("FILEREP_HUNT") or 0)
    for tiny in itertools.cycle(["", "1"]):
        seed = f"{time.time_ns()}"
        with fleet.running("--editor-files", FILEREP_TINY=tiny) as program:
            in_sync(program)
            mishaps(fleet, program, seed, 10, "tar", "perl")
        if time.monotonic() > end:
            break


# --- the end --------------------------------------------------------------------------


def test_one_that_is_killed_is_said_to_be(fleet: Fleet) -> None:
    """It had ended, and the last one so without a word."""
    with fleet.running() as program:
        in_sync(program)
        for left in ("; the 2 others go on", "; the other goes on", ""):
            first, *_ = (
                pid
                for pid in stages(program, "file-replicator")
                if pid != program.process.pid
            )
            send(signal.SIGKILL, first)
            program.says(f" was killed by signal 9{left}\n")
        assert program.end() == 137


def test_a_command_that_is_not_there_ends_one_and_is_the_status(fleet: Fleet) -> None:
    for name in ("a", "c"):
        fleet.script("")
        shutil.copy(fleet.place / "enter", fleet.place / f"enter-{name}")
    fleet.command = [f"{fleet.place}/enter-{{}}"]
    fleet.save("f")
    done = fleet.run("--once", *fleet.words())
    assert done.returncode == 69
    assert b": b: cannot run '%s'" % os.fsencode(fleet.place / "enter-b") in done.stderr
    fleet.same("a", "c")
    with fleet.running() as program:
        program.says("file-replicator: b has ended; the 2 others go on")
        in_sync(program, "a", "c")
        fleet.save("g")
        wait_for(lambda: fleet.arrived("g", "a", "c"))
        done = fleet.run("--wait", *fleet.words())
        assert done.returncode == 69
        assert b"b: no file-replicator is running with these arguments" in done.stderr


def test_none_that_can_be_had_is_the_end(fleet: Fleet) -> None:
    fleet.script("echo no such host >&2; exit 9")
    done = fleet.run(*fleet.words())
    assert done.returncode == 69
    assert b"none of the 3 far ends could be reached" in done.stderr
    for name in NAMES:
        assert b": %s: enter exited with 9" % name.encode() in done.stderr


def test_all_well_is_0_and_no_process_stays(fleet: Fleet) -> None:
    fleet.save("f")
    with fleet.running("--once") as program:
        assert program.end() == 0
        wait_for(lambda: not program.family())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_behind(fleet: Fleet, how: signal.Signals) -> None:
    with fleet.running() as program:
        in_sync(program)
        family = program.family()
        assert len(family) >= 10
        assert program.end(how) == 128 + how
        wait_for(lambda: not any(map(alive, family)))
        for name in NAMES:
            assert os.listdir(fleet.copy(name)) == []


def test_a_stopped_far_end_does_not_keep_the_end(fleet: Fleet) -> None:
    with fleet.running() as program:
        in_sync(program)
        family = program.family()
        send(signal.SIGSTOP, *fleet.over_there(program, "b")[:1])  # the shell
        assert program.end(signal.SIGTERM, 10) == 143
        wait_for(lambda: not any(map(alive, family)))


def test_a_source_that_goes_ends_all(fleet: Fleet) -> None:
    fleet.save("f")
    with fleet.running() as program:
        in_sync(program)
        fleet.source.rename(fleet.place / "elsewhere")
        assert program.end() == 66
        assert program.errors.count(b"was moved, deleted") == 1
    assert all(fleet.arrived("f", name) for name in NAMES)


# --- with other options ---------------------------------------------------------------


def test_each_line_names_its_far_end(fleet: Fleet) -> None:
    fleet.command = ["bash"]
    with fleet.running("--on-sync", "echo here: $PWD; false") as program:
        in_sync(program)
        fleet.save("f")
        for name in NAMES:
            program.says(f"file-replicator: {name}: sent 'f'")
            program.says(f"{name}: | here: {fleet.copy(name)}")
            program.says(f"{name}: the --on-sync command exited with 1")
        program.end(signal.SIGTERM)
        assert fleet.wait() == 69
    line = re.compile("(file-replicator: )?[abc]: ")
    assert [
        one for one in program.errors.decode().splitlines() if not line.match(one)
    ] == []


def test_on_a_terminal_lines_have_the_time_and_a_name_and_ctrl_c_ends_all(
    fleet: Fleet,
) -> None:
    fleet.save("f", "x" * 100_000)
    with keyboard.bash(200, XDG_STATE_HOME=str(fleet.place / "state")) as typed:
        typed.type(f"{shlex.join([REPLICATOR, *fleet.words()])}\n")
        typed.shows("watching", 3)
        others = stages(typed.program, "fr-pack")
        typed.type("\x03")
        typed.shows("^C\r\n$ ")
        assert len(others) == 3 and not any(map(alive, others))
    lines = re.sub("\x1b\\[[0-9]*m", "", typed.text()).splitlines()
    said = [line[9:] for line in lines if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert sorted(line[:10] for line in said) == [f"{name}: in sync" for name in NAMES]


def test_a_dry_run_names_it_too(fleet: Fleet) -> None:
    fleet.save("f")
    done = fleet.run("-n", "--once", *fleet.words())
    assert done.returncode == 1
    said = sorted(done.stdout.decode().splitlines())
    assert said == [f"{name}: would send 'f', 5 bytes, new" for name in NAMES]
    assert os.listdir(fleet.place / "a") == []


def test_events_name_it_too(fleet: Fleet) -> None:
    log = fleet.place / "events"
    with fleet.running("--events", str(log)) as program:
        in_sync(program)
        fleet.save("f")
        assert fleet.wait() == 0
        program.end(signal.SIGTERM)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    for event in events:
        assert {*event, "each"} == CONTRACT[event["event"]] | {"event", "time", "each"}
    assert (events[0]["event"], events[-1]["event"]) == ("start", "end")
    assert events[-1]["status"] == 143
    for name in NAMES:
        own = [event for event in events if event.get("each") == name]
        kinds = [event["event"] for event in own]
        assert kinds[:2] == ["connecting", "connected"] and "in_sync" in kinds
        (sent,) = [event for event in own if event["event"] == "batch"]
        assert sent["sent"] == ["f"]


def test_a_profile_can_have_it_and_words_can_replace_its_own(fleet: Fleet) -> None:
    fleet.save("f")
    project = fleet.place / "project"
    project.mkdir()

    def at_home(*words: str) -> int:
        done = run([REPLICATOR, *words], env=fleet.env, cwd=project)
        return done.returncode

    assert at_home("--save", "web", "--once", *fleet.words()) == 0
    assert at_home("@web", "--each", "b") == 0
    assert [name for name in NAMES if fleet.copy(name).exists()] == ["b"]
    assert at_home("@web") == 0
    fleet.same()


def test_status_shows_each(fleet: Fleet) -> None:
    with fleet.running() as program:
        in_sync(program)
        done = fleet.run("--status", *fleet.words())
        assert done.returncode == 0
        for name in NAMES:
            assert f"-> {fleet.copy(name)}" in done.stdout.decode()
        done = fleet.run("--status", *fleet.words("a", "x"))
        assert done.returncode == 69
        assert b"x: no file-replicator is running" in done.stderr


# --- mistakes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, said",
    [
        (["s", "/d", "--each", "w1", "w2", "--", "ssh", "h", "sh"], "where w1 goes; put {} in"),
        (["s", "/d", "--each", "w1", "ssh", "{}", "sh"], "CONNECTION_COMMAND is missing"),
        (["--each", "w1", "w2", "s", "/d", "--", "ssh", "{}"], "stand before --each"),
        (["s", "/d", "--each", "w", "w", "--", "ssh", "{}"], "--each has w twice"),
        (["s", "/d", "--each", "w", "", "--", "ssh", "{}"], "one of them is empty"),
        (["s", "/d", "--run", "x", "--each", "w", "--", "ssh", "{}"], "--each and --run"),
        (["s", "/d", "--each", "--", "ssh", "{}"], "--each takes a word for each far end"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(place: Path, words: list[str], said: str) -> None:
    (place / "s").mkdir()
    done = run([REPLICATOR, *words], cwd=place)
    assert done.returncode == 64
    assert said in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1
