"""--wait: a script goes on when everything it saved has arrived, and not before."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import farends
import pytest
from farends import without_rights
from fuzz import each_seed, hunts
from pipelines import parent_of
from programs import ROOT, Running, environment, marked, run, running, wait_for
from slowlink import slow_shell

from filerep.command import Stop
from filerep.wrapper.waiting import ON_SYNC, SAVED, Waiters, ask, wait

REPLICATOR = str(ROOT / "bin/file-replicator")

SLOW_SHELL = slow_shell(2e6)


class Pair:
    """A source, a destination, and the arguments that join them."""

    def __init__(self, place: Path, *connection: str) -> None:
        self.source, self.parent = place / "src", place / "dest"
        self.source.mkdir()
        self.parent.mkdir()
        self.copy = self.parent / "src"
        words = [str(self.source), str(self.parent), "--", *(connection or ("bash",))]
        self.words = words
        self.state = place / "state"
        self.env = environment(XDG_STATE_HOME=str(self.state))

    @contextlib.contextmanager
    def replicated(self, *options: str) -> Iterator[Running]:
        with running(REPLICATOR, *options, *self.words, env=self.env) as program:
            yield program

    def wait(self, option: str = "--wait") -> subprocess.CompletedProcess[bytes]:
        return run([REPLICATOR, option, *self.words], env=self.env)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[Running]:
        """A wait that has reached the run it is for: their socket is there twice."""
        with running(REPLICATOR, "--wait", *self.words, env=self.env) as program:
            (path,) = self.state.glob("file-replicator/*.sock")
            sockets = Path("/proc/net/unix")
            wait_for(
                lambda: sockets.read_text().count(path.name) > 1, what="for the wait"
            )
            yield program


@pytest.fixture
def pair(place: Path) -> Pair:
    return Pair(place)


@pytest.mark.parametrize("how", [(), ("--poll", "0.3"), ("--no-initial-replication",)])
def test_what_was_saved_has_arrived_when_the_wait_ends(
    pair: Pair, how: tuple[str, ...]
) -> None:
    with pair.replicated(*how) as program:
        program.says("watching")
        for turn in range(5):
            for name in ("a", "b", f"new{turn}/c"):
                path = pair.source / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(str(turn))
            assert pair.wait().returncode == 0
            for name in ("a", "b", f"new{turn}/c"):
                assert (pair.copy / name).read_text() == str(turn)
        (pair.source / "a").unlink()
        assert pair.wait().returncode == 0
        assert not (pair.copy / "a").exists()


def test_a_wait_does_not_keep_a_far_end_that_is_silent_from_being_given_up(
    place: Path,
) -> None:
    pair = Pair(place, "sleep", "60")
    with pair.replicated("--connect-timeout", "2") as program:
        wait_for(lambda: list(pair.state.glob("file-replicator/*.sock")))
        with pair.waiting() as waiting:
            assert program.end(timeout=10) == 69
            assert b"no shell answered within 2 s" in program.errors
            assert waiting.end() == 69


def test_a_wait_during_the_first_copy_lasts_until_its_end(place: Path) -> None:
    pair = Pair(place, sys.executable, "-c", SLOW_SHELL)
    for number in range(40):
        (pair.source / str(number)).write_bytes(os.urandom(100_000))
    with pair.replicated() as program:
        wait_for(pair.copy.exists, process=program.process)
        assert b"in sync" not in program.errors
        done = pair.wait()
        assert done.returncode == 0
        assert len(list(pair.copy.glob("[0-9]*"))) == 40


def test_several_wait_at_once_and_all_are_told(pair: Pair) -> None:
    with pair.replicated() as program:
        program.says("in sync")
        statuses: list[int] = []

        def save_and_wait(name: str) -> None:
            (pair.source / name).write_text(name)
            status = pair.wait().returncode
            statuses.append(status if (pair.copy / name).exists() else -1)

        threads = [
            threading.Thread(target=save_and_wait, args=(f"n{number}",))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert statuses == [0] * 8


def test_a_tree_that_never_rests_keeps_nobody_waiting(pair: Pair) -> None:
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with open(pair.source / f"busy{number % 50}", "w") as file:
                file.write(str(number))

    thread = threading.Thread(target=change)
    with pair.replicated() as program:
        program.says("in sync")
        thread.start()
        try:
            for turn in range(3):
                (pair.source / "mine").write_text(str(turn))
                assert pair.wait().returncode == 0
                assert (pair.copy / "mine").read_text() == str(turn)
        finally:
            stop.set()
            thread.join()


def test_without_a_first_copy_watching_is_said_once_it_watches(pair: Pair) -> None:
    places = [pair.source / f"d{number}" for number in range(3_000)]
    for place in places:
        place.mkdir()
    with pair.replicated("--no-initial-replication") as program:
        program.says("watching")
        for place in places[::300]:
            (place / "f").write_text("1")
        assert pair.wait().returncode == 0
        for place in places[::300]:
            assert (pair.copy / place.name / "f").read_text() == "1"


def shell_of(program: Running) -> int:
    """The connection's process."""
    return next(
        pid
        for pid in marked(program.mark)
        if Path(f"/proc/{pid}/exe").resolve().name in ("bash", "dash")
        and parent_of(pid) == program.process.pid
    )


def test_a_wait_survives_the_loss_of_the_connection(pair: Pair) -> None:
    with pair.replicated() as program:
        program.says("in sync")
        # Stopped, it cannot answer; then it is killed with the answer still due.
        shell = shell_of(program)
        os.kill(shell, signal.SIGSTOP)
        (pair.source / "a").write_text("1")
        with pair.waiting() as waiting:
            os.kill(shell, signal.SIGKILL)
            assert waiting.end(timeout=30) == 0
            assert (pair.copy / "a").read_text() == "1"
        program.says("connection")


def test_without_a_first_copy_what_changed_while_the_connection_was_lost_arrives(
    place: Path,
) -> None:
    """And nothing that was older."""
    box = place / "box"
    box.write_text(f"#!/bin/sh\ntest -e {place}/down && exit 7\nexec sh\n")
    box.chmod(0o755)
    pair = Pair(place, str(box))
    (pair.copy / "d").mkdir(parents=True)
    (pair.source / "d").mkdir()
    (place / "moved/in").mkdir(parents=True)
    for name in ("older", "d/older"):
        (pair.source / name).write_text("ours")
        (pair.copy / name).write_text("theirs")
    (pair.source / "other").write_text("ours")
    (pair.copy / "twin").write_text("them")
    for alike in (pair.source / "other", pair.copy / "twin"):
        os.utime(alike, ns=(1_234_567_890_123_456_789, 1_234_567_890_123_456_789))
    for old in (pair.source / "d/never", place / "moved/old", place / "moved/in/old"):
        old.write_text("old")
    with pair.replicated("--no-initial-replication") as program:
        program.says("was not compared")
        (pair.source / "before").write_text("1")
        assert pair.wait().returncode == 0
        (place / "down").touch()
        os.kill(shell_of(program), signal.SIGKILL)
        program.says("the connection was lost")
        (pair.copy / "before").unlink()  # as in a container that is made anew
        (pair.source / "d/meanwhile").write_text("2")
        (place / "moved").rename(pair.source / "moved")
        (pair.source / "other").rename(pair.source / "twin")
        (place / "down").unlink()
        assert pair.wait().returncode == 0
        found = {
            path: (pair.copy / path).read_text()
            for path in (
                "before",
                "d/meanwhile",
                "older",
                "d/older",
                "moved/old",
                "moved/in/old",
            )
        }
        assert list(found.values()) == ["1", "2", "theirs", "theirs", "old", "old"]
        assert (pair.copy / "twin").read_text() == "ours"
        assert not (pair.copy / "d/never").exists()


def test_who_waits_is_told_that_the_connection_cannot_be_had(place: Path) -> None:
    """It was said to be waited for a process, and not why that had nothing to tell."""
    box = place / "box"
    box.write_text(f"#!/bin/sh\ntest -e {place}/down && exit 7\nexec sh\n")
    box.chmod(0o755)
    pair = Pair(place, str(box))
    with pair.replicated() as program:
        program.says("in sync")
        (place / "down").touch()
        (pair.source / "a").write_text("1")
        os.kill(shell_of(program), signal.SIGKILL)
        program.says("the connection was lost")
        with pair.waiting() as waiting:
            waiting.says(
                ", which is connecting again (box exited with 7 before a shell"
            )
            (place / "down").unlink()
            assert waiting.end(timeout=60) == 0
        assert (pair.copy / "a").read_text() == "1"


def test_a_wait_for_on_sync_has_its_status(pair: Pair, place: Path) -> None:
    gate = place / "gate"
    os.mkfifo(gate)
    (pair.source / "status").write_text("3")
    command = f"s=$(cat status); read x <{gate}; exit $s"
    with pair.replicated("--on-sync", command) as program:
        program.says("in sync")
        assert pair.wait().returncode == 0  # does not wait for it
        (pair.source / "status").write_text("5")
        program.says("sent 'status'")
        with running(REPLICATOR, "--wait-on-sync", *pair.words, env=pair.env) as waits:
            gate.write_text("\n")
            program.says("exited with 3")
            assert waits.process.poll() is None
            gate.write_text("\n")
            assert waits.end() == 5
        assert pair.wait("--wait-on-sync").returncode == 5


def test_a_slash_behind_the_destination_makes_no_other_run(pair: Pair) -> None:
    with pair.replicated() as program:
        program.says("in sync")
        pair.words[1] += "//./"
        assert pair.wait().returncode == 0


def test_without_a_run_to_wait_for_it_says_so(pair: Pair) -> None:
    done = pair.wait()
    assert done.returncode == 69
    assert b"no file-replicator is running with these arguments" in done.stderr


def test_a_killed_run_is_not_waited_for_and_its_socket_does_no_harm(pair: Pair) -> None:
    with pair.replicated() as program:
        program.says("in sync")
        program.end(signal.SIGKILL)
    assert pair.wait().returncode == 69
    with pair.replicated() as program:
        program.says("in sync")
        assert pair.wait().returncode == 0
        assert program.end(signal.SIGINT) == 130
    assert pair.wait().returncode == 69


@pytest.mark.parametrize(
    "words", [["--wait"], ["--run", "cat a"]], ids=lambda one: one[0]
)
def test_who_waits_for_one_that_is_stopped_is_told(
    pair: Pair, words: list[str]
) -> None:
    """It was said to say itself what it was doing; to --run nothing was said."""
    with pair.replicated() as program:
        program.says("in sync")
        process = program.process.pid
        os.kill(process, signal.SIGSTOP)
        (pair.source / "a").write_text("saved meanwhile")
        with running(REPLICATOR, *words, *pair.words, env=pair.env) as waiting:
            waiting.says(f"waiting for process {process}, which is stopped (Ctrl-Z)")
            status = run([REPLICATOR, "--status", *pair.words], env=pair.env)
            os.kill(process, signal.SIGCONT)
            assert waiting.end() == 0
        assert (pair.copy / "a").read_text() == "saved meanwhile"
        assert status.returncode == 1
        assert b": stopped (Ctrl-Z): fg, or kill -CONT" in status.stdout


def test_the_end_of_the_run_ends_the_wait_with_an_error(place: Path) -> None:
    pair = Pair(place, sys.executable, "-c", SLOW_SHELL)
    (pair.source / "large").write_bytes(os.urandom(20_000_000))
    with pair.replicated() as program:
        wait_for(pair.copy.exists, process=program.process)
        with pair.waiting() as waiting:
            program.end(signal.SIGINT)
            assert waiting.end() == 69
            assert b"ended before everything had arrived" in waiting.errors


def test_what_cannot_be_written_there_fails_the_wait(place: Path) -> None:
    farends.need_root()
    pair = Pair(place, *without_rights(), "bash")
    closed = pair.copy / "closed"
    closed.mkdir(parents=True)
    os.chown(closed, 1, 1)
    with pair.replicated() as program:
        program.says("in sync")
        (pair.source / "closed").mkdir()
        (pair.source / "closed/a").write_text("1")
        (pair.source / "b").write_text("2")
        done = pair.wait()
        assert done.returncode == 69
        assert b"one path could not be read here or written" in done.stderr
        assert (pair.copy / "b").read_text() == "2"
        os.chown(closed, 0, 0)
        assert pair.wait().returncode == 0
        assert (closed / "a").read_text() == "1"
        program.says("in sync again")


def test_what_cannot_be_read_here_fails_the_wait(place: Path) -> None:
    farends.need_root()
    pair = Pair(place)
    words = [*without_rights(), REPLICATOR, *pair.words]
    with running(*words, env=pair.env) as program:
        program.says("in sync")
        file = pair.source / "a"
        file.write_text("1")
        os.chown(file, 1, 1)
        file.chmod(0)
        done = pair.wait()
        assert done.returncode == 69
        assert b"one path could not be read here or written" in done.stderr
        file.chmod(0o644)
        assert pair.wait().returncode == 0
        assert (pair.copy / "a").read_text() == "1"


@pytest.mark.parametrize("how", ["moved away", "ignored"])
def test_what_could_not_be_read_and_counts_no_more_fails_no_wait(
    how: str, place: Path
) -> None:
    farends.need_root()
    pair = Pair(place)
    words = [*without_rights(), REPLICATOR, *pair.words]
    with running(*words, env=pair.env) as program:
        program.says("in sync")
        (pair.source / "d").mkdir()
        file = pair.source / "d/secret"
        file.write_text("1")
        os.chown(file, 1, 1)
        file.chmod(0)
        assert pair.wait().returncode == 69
        if how == "ignored":
            (pair.source / ".gitignore").write_text("secret\n")
        else:
            (pair.source / "d").rename(place / "elsewhere")
        assert pair.wait().returncode == 0


def test_a_second_run_of_the_same_is_refused_by_name(pair: Pair) -> None:
    with pair.replicated() as program:
        program.says("in sync")
        done = run([REPLICATOR, *pair.words], env=pair.env)
        assert done.returncode == 69
        said = done.stderr.decode()
        assert f"process {program.process.pid} is replicating this already" in said
        assert pair.wait().returncode == 0


def test_a_long_state_directory_is_no_obstacle(pair: Pair, place: Path) -> None:
    deep = place / ("x" * 120)
    pair.env["XDG_STATE_HOME"] = str(deep)
    with pair.replicated() as program:
        program.says("in sync")
        assert pair.wait().returncode == 0
        (socket,) = deep.glob("file-replicator/*.sock")
        assert socket.stat().st_mode & 0o777 == 0o600


# --- whoever comes --------------------------------------------------------------------


class Door:
    """Waiters that listen, and those who come; as the wrapper's loop has them."""

    def __init__(self, place: Path) -> None:
        self.path = str(place / "sock")
        self.waiters = Waiters(None, self.path)
        self.waiters.listen()
        self.said: list[str] = []
        self.waiters.say = self.said.append

    def come(self, said: bytes = SAVED) -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(5)
        one.connect(self.path)
        if said:
            one.sendall(said)
        return one

    def turns(self, most: int = 1000) -> int:
        """How often there was something to hear, until there is not."""
        for turn in range(most):
            poll = select.poll()  # select(2) is for no number of 1024 and more
            for fd in self.waiters.fds():
                poll.register(fd, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(0)}
            if not ready:
                return turn
            self.waiters.hear(ready)
        raise AssertionError("it does not rest")


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path)
    yield door
    door.waiters.close()


def test_who_has_gone_is_let_go(door: Door) -> None:
    stays = door.come()
    for _ in range(50):
        door.come().close()
    door.turns()
    assert door.waiters.due()
    for _ in range(50):
        door.come().close()
    door.turns()
    assert len(door.waiters.fds()) == 2  # the door, and who stays
    door.waiters.answer(3, 0)
    assert stays.recv(64) == b"3 0\n"
    assert len(door.waiters.fds()) == 1


def test_without_a_descriptor_left_nobody_spins_and_all_are_heard_later(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    stay = [door.come() for _ in range(5)]
    door.turns()
    late = [door.come() for _ in range(5)]
    used = max(map(int, os.listdir("/proc/self/fd")))
    spare = [os.dup(0) for _ in range(used)]  # no number below that is free
    top = max(spare) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (top, limits[1]))
    try:
        assert door.turns() < 10 and door.waiters.pause()
        assert len(door.said) == 1
        stay[0].close()  # one of these is heard now
        door.turns()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in spare:
            os.close(fd)
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic(): now + 10)
    door.turns()
    assert door.waiters.due()
    door.waiters.answer(0, 0)
    for one in [*stay[1:], *late]:
        assert one.recv(64) == b"0 0\n"


def test_those_who_say_nothing_take_nobodys_place(door: Door) -> None:
    asks = door.come()
    silent = []
    for _ in range(600):
        silent.append(door.come(b""))
        door.turns()
    late = door.come()
    door.turns()
    assert door.waiters.due()
    door.waiters.answer(0, 0)
    assert asks.recv(64) == late.recv(64) == b"0 0\n"
    assert not door.said and len(door.waiters.fds()) <= 501


@hunts
def test_whatever_they_say_it_rests_and_answers_those_who_ask(door: Door) -> None:
    def one(dice: random.Random) -> None:
        asks = door.come()
        others = []
        for _ in range(dice.randrange(6)):
            said = dice.choice([b"", b"s", SAVED * 2, SAVED, ON_SYNC, b"x" * 5000])
            other = door.come(said or dice.randbytes(dice.randrange(100)))
            others.append(other)
            if dice.random() < 0.3:
                door.turns()
            if dice.random() < 0.3:
                other.close()
            elif dice.random() < 0.3:
                with contextlib.suppress(OSError):
                    other.sendall(dice.randbytes(50))
        door.turns()
        assert door.waiters.due()
        if dice.random() < 0.3:
            door.waiters.again()
            assert door.waiters.due()
        number = dice.randrange(1 << 30)
        door.waiters.answer(number, 0)
        assert asks.recv(64) == b"%d 0\n" % number
        for each in [asks, *others]:
            each.close()
        door.turns()
        assert len(door.waiters.fds()) == 1

    each_seed(300, one)


@pytest.mark.parametrize("answer", [b"", b"x\n", b"1\n", b"9" * 100_000, b"1 2 3\n"])
def test_an_answer_that_makes_no_sense_ends_the_wait_in_words(
    answer: bytes, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "sock"))
        door.listen()

        def serve() -> None:
            one = door.accept()[0]
            with one, contextlib.suppress(OSError):
                one.recv(64)
                one.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Stop):
            wait(ask(str(tmp_path / "sock")), lambda _: None)
        thread.join()
