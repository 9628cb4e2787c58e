"""--run: a command at the far end, as if it had been started here."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import farends
import keyboard
import pytest
from programs import ROOT, Running, environment, run, running, wait_for

from filerep.wrapper.endings import Lost
from filerep.wrapper.farrun import Output

REPLICATOR = str(ROOT / "bin/file-replicator")
SHELLS = ["bash", "dash", "busybox sh", "mksh", "zsh"]
# A program that stands between, as podman's does: Ctrl-C ends it, though it was started to ignore
# that, and so does an output that takes no more. The shell is told nothing of it.
BETWEEN = """\
import os, shutil, signal, subprocess, threading
signal.signal(signal.SIGINT, signal.SIG_DFL)
pipe, none, apart = subprocess.PIPE, subprocess.DEVNULL, {"start_new_session": True}
far = subprocess.Popen(["bash"], stdin=pipe, stdout=pipe, bufsize=0, **apart)
keep, fds = ["tail", "-f", f"--pid={far.pid}", "/dev/null"], [far.stdin.fileno()]
subprocess.Popen(keep, pass_fds=fds, stdout=none, stderr=none, **apart)
stdin = open(0, "rb", 0)
threading.Thread(target=shutil.copyfileobj, args=(stdin, far.stdin), daemon=True).start()
while data := os.read(far.stdout.fileno(), 65536):
    os.write(1, data)
os._exit(far.wait())
"""
EVERY_BYTE = bytes(range(256)) * 3 + b"\xfffilerep-\xff\xfffilerep-a status 1\n\0"


class Far:
    """A source, its copy, and the words that lead from one to the other."""

    def __init__(self, place: Path, *connection: str) -> None:
        self.source, self.copy = place / "src", place / "far/src"
        self.source.mkdir()
        (self.source / "f").write_text("x")
        self.words = [str(self.source), str(place / "far"), "--", *connection]

    def run(self, command: str, *options: str) -> subprocess.CompletedProcess[bytes]:
        return run([REPLICATOR, *options, "--run", command, *self.words])

    def start(self, command: str) -> contextlib.AbstractContextManager[Running]:
        return running(REPLICATOR, "--run", command, *self.words)

    @contextlib.contextmanager
    def kept(self, beside: bool) -> Iterator[None]:
        """Beside a run that keeps the copy up to date, or on its own."""
        if not beside:
            yield
            return
        with running(REPLICATOR, *self.words) as program:
            program.says("watching")
            yield
            program.end(signal.SIGTERM)  # which clears its stage


@pytest.fixture(params=SHELLS)
def far(request: pytest.FixtureRequest, place: Path) -> Far:
    words = request.param.split()
    if not shutil.which(words[0]):
        pytest.skip(f"needs {words[0]}")
    return Far(place, *words)


@pytest.fixture
def bash(place: Path) -> Far:
    return Far(place, "bash")


both = pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside"])


@both
def test_what_it_prints_and_its_status_are_ours(far: Far, beside: bool) -> None:
    (far.source / "bytes").write_bytes(EVERY_BYTE)
    script = "cat bytes; pwd >&2; cat; exit 7"
    with far.kept(beside):
        done = far.run(script)
    assert done.stdout == EVERY_BYTE
    assert done.stderr.decode() == f"{far.copy}\n"
    assert done.returncode == 7


@both
def test_it_sees_what_was_saved(bash: Far, beside: bool) -> None:
    far = bash
    with far.kept(beside):
        for number in range(3):
            (far.source / "f").write_text(f"{number}\n")
            assert far.run("cat f").stdout == b"%d\n" % number
    left = [name for name in os.listdir(far.copy) if "filerep" not in name]
    assert left == ["f"]


@both
def test_what_it_prints_comes_at_once(bash: Far, beside: bool, place: Path) -> None:
    gate = place / "gate"
    os.mkfifo(gate)
    with bash.kept(beside), bash.start(f"printf one; cat {gate}") as program:
        wait_for(lambda: program.output == b"one", process=program.process)
        gate.write_text("two")
        assert program.end() == 0
        assert program.output == b"onetwo"


@both
def test_ctrl_c_reaches_it(bash: Far, beside: bool, place: Path) -> None:
    script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done"
    with bash.kept(beside), keyboard.bash() as typed:
        words = " ".join(bash.words)
        typed.type(f'file-replicator --run "{script}" {words}; echo "status $?"\n')
        typed.shows("\nready\r\n")
        typed.type("\x03")
        typed.shows("caught\r\nstatus 7\r\n")


def test_a_terminal_gets_what_it_prints_as_it_is(bash: Far, place: Path) -> None:
    """A full-screen program's too: it has been asked for by name."""
    (place / "command").write_text("printf '\\033[2Jall\\033[8m of it\\n'")
    with keyboard.bash() as typed:
        words = " ".join(bash.words)
        typed.type(f'file-replicator --run "$(cat {place}/command)" {words}\n')
        typed.shows("\x1b[2Jall\x1b[8m of it\r\n")


def test_ctrl_c_is_no_lost_connection_if_it_ends_what_stands_between(
    place: Path,
) -> None:
    (place / "between.py").write_text(BETWEEN)
    far = Far(place, sys.executable, str(place / "between.py"))
    with keyboard.bash() as typed:
        words = " ".join(far.words)
        typed.type(f"file-replicator -q --run 'echo ready; sleep 1000' {words}\n")
        typed.shows("\nready\r\n")
        typed.type("\x03")
        typed.type("echo status $?\n")
        typed.shows("\nstatus 130\r\n")
        assert "lost" not in typed.text()


@both
def test_it_dies_of_ctrl_c_and_so_do_we(bash: Far, beside: bool) -> None:
    # A shell between two commands would keep the signal back until the second has ended.
    script = "import time; print('ready', flush=True); time.sleep(1000)"
    with bash.kept(beside), bash.start(f'exec python3 -c "{script}"') as program:
        wait_for(lambda: program.output == b"ready\n", process=program.process)
        program.signal(signal.SIGINT)
        assert program.end(timeout=5) == 128 + signal.SIGINT
        wait_for(lambda: not program.family(), what=program.family)


def test_nothing_of_it_is_left_when_we_are_killed(far: Far) -> None:
    assert_ends(far, False, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nor_when_we_are_asked_to_end_beside_another_run(
    number: signal.Signals, bash: Far
) -> None:
    assert_ends(bash, True, number)


def assert_ends(far: Far, beside: bool, number: signal.Signals) -> None:
    """All of a command that does not listen to reason, and nothing over there."""
    script = "trap '' TERM HUP; echo ready; sleep 1000 & sleep 1000"
    with far.kept(beside), far.start(script) as program:
        wait_for(lambda: program.output == b"ready\n", process=program.process)
        program.signal(number)
        assert program.end(timeout=10) == 128 + number
        wait_for(lambda: not program.family(), what=program.family)
    wait_for(lambda: not [n for n in os.listdir(far.copy) if "filerep" in n])


@both
def test_what_it_leaves_in_the_background_holds_nothing_up(
    bash: Far, beside: bool
) -> None:
    with bash.kept(beside), bash.start("sleep 1000 & echo $!") as program:
        assert program.end(timeout=10) == 0
        os.kill(int(program.output), signal.SIGKILL)


@both
def test_much_output_is_whole_and_a_closed_reader_ends_it(
    bash: Far, beside: bool
) -> None:
    with bash.kept(beside):
        done = bash.run("head -c 20000000 /dev/zero | tee /dev/stderr")
        assert (len(done.stdout), len(done.stderr)) == (20_000_000, 20_000_000)
        with bash.start("yes") as program:
            wait_for(lambda: program.output, process=program.process)
            assert program.process.stdout
    words = " ".join([REPLICATOR, "--run", "yes", *bash.words])
    head = f"{words} | head -n 1; echo ${{PIPESTATUS[0]}}"
    assert run(["bash", "-c", head]).stdout == b"y\n141\n"


def test_a_closed_reader_ends_it_whatever_stands_between(place: Path) -> None:
    far = Far(place, sys.executable, "-c", BETWEEN)
    head = '"$@" | head -n 1; echo ${PIPESTATUS[0]}'
    words = [REPLICATOR, "-q", "--run", "yes", *far.words]
    with running("bash", "-c", head, "bash", *words) as program:
        assert program.end(timeout=10) == 0
        assert program.output == b"y\n141\n"
        wait_for(lambda: not program.family(), what=program.family)


@pytest.mark.parametrize("name", ["ssh", "ssh-chatty-user", "chroot", "docker"])
def test_over_what_lies_between(
    name: str, far_end: Callable[[str], farends.FarEnd], place: Path
) -> None:
    """A login that prints, a root without anything, a container: alone, and beside a run."""
    far = far_end(name)
    (place / "src").mkdir()
    (place / "src/bytes").write_bytes(EVERY_BYTE)
    words = [place / "src", far.parent, *far.command]
    script = (
        "cat bytes; trap 'echo caught; exit 7' INT; echo err >&2; sleep 1000 & wait"
    )
    for beside in (False, True):
        with contextlib.ExitStack() as stack:
            if beside:
                keeping = stack.enter_context(running(REPLICATOR, *words))
                keeping.says("watching")
            with running(REPLICATOR, "--run", script, *words) as program:
                program.wait_for(lambda: len(program.output) >= len(EVERY_BYTE))
                program.wait_for(lambda: program.errors.endswith(b"err\n"))
                program.signal(signal.SIGINT)
                if name == "chroot":  # nothing there can undo that SIGINT is ignored
                    assert program.end() == 143 and program.output == EVERY_BYTE
                    continue
                assert program.end() == 7
                assert program.output == EVERY_BYTE + b"caught\n"
            if beside:
                keeping.end(signal.SIGTERM)


@pytest.mark.parametrize("shell", ["ksh93", "bash", "mksh"])
def test_what_a_signal_kills_has_the_same_status_in_each_shell(
    shell: str, place: Path
) -> None:
    """To ksh93 it is 256 and the number; of that, but for this, 9 would be left."""
    farends.need(shell)
    far = Far(place, shell)
    assert far.run("kill -KILL $$").returncode == 128 + signal.SIGKILL
    hook = ["--on-sync", "kill -KILL $$", "--once"]
    done = run([REPLICATOR, *hook, *far.words])
    assert b"command exited with 137 after" in done.stderr, done.stderr


def test_a_command_that_is_not_there_is_told_by_the_shell(far: Far) -> None:
    done = far.run("no-such-command")
    assert done.returncode == 127 and b"no-such-command" in done.stderr


def test_it_is_not_run_where_not_all_has_arrived(bash: Far) -> None:
    farends.need_root()
    (bash.source / "secret").write_text("x")
    (bash.source / "secret").chmod(0)
    without = [*farends.without_rights(), REPLICATOR, "--run", "echo ran", *bash.words]
    done = run(without)
    assert done.returncode == 1 and not done.stdout
    assert b"the command was not run, as some paths could not be read" in done.stderr


def test_a_lost_connection_is_told(bash: Far) -> None:
    with bash.start("echo $PPID; sleep 1000") as program:
        wait_for(lambda: program.output.endswith(b"\n"), process=program.process)
        for pid in program.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert program.end(timeout=10) == 69
        assert b"the connection was lost while the command ran (bash was killed by" in (
            program.errors
        )


def test_a_directory_that_is_not_there_is_told(bash: Far) -> None:
    with bash.kept(True):
        shutil.move(bash.copy, bash.copy.parent / "elsewhere")
        (bash.copy.parent / "elsewhere").rename(bash.copy.parent / "again")
        done = bash.run("pwd")
    assert done.returncode == 69 and not done.stdout


def test_two_at_once_take_turns_to_copy_but_run_together(
    bash: Far, place: Path
) -> None:
    gate = place / "gate"
    os.mkfifo(gate)
    with bash.start(f"echo first; cat {gate}") as first:
        wait_for(lambda: first.output == b"first\n", process=first.process)
        assert bash.run("echo second").stdout == b"second\n"
        gate.write_text("")
        assert first.end() == 0


def test_the_words_of_a_profile_serve(bash: Far, place: Path) -> None:
    (place / ".file-replicator").mkdir()
    (place / ".file-replicator/web").write_text("\n".join(bash.words))
    done = run([REPLICATOR, "--run", "cat f", "@web"], cwd=place)
    assert (done.returncode, done.stdout) == (0, b"x"), done.stderr


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
def test_the_status_is_found_in_whatever_pieces_it_comes(pieces: int) -> None:
    output = Output("abc")
    data = EVERY_BYTE + b"\xff" + b"\xfffilerep-abc status 42\n"
    told = b"".join(
        output.feed(data[at : at + pieces]) for at in range(0, len(data), pieces)
    )
    assert (told, output.status) == (EVERY_BYTE + b"\xff", 42)


@pytest.mark.parametrize("told", [b"x\n", b"-1\n", b"\n", b"1000\n", b"9" * 5000])
def test_what_is_no_status_is_a_lost_connection(told: bytes) -> None:
    """Also what never ends in a newline: it is not kept."""
    with pytest.raises(Lost, match="which is no status"):
        Output("abc").feed(b"\xfffilerep-abc status " + told)


@pytest.mark.parametrize("where", ["", " >&2"])
def test_who_talks_without_end_beside_another_run_is_given_up(
    where: str, place: Path
) -> None:
    """It was listened to for ever, and all of it kept."""
    babble = f"while cat {place}/babble 2>&-; do :; done{where}; exec bash"
    far = Far(place, "sh", "-c", babble)
    with far.kept(beside=True):
        (place / "babble").write_bytes(b"x" * 50_000)
        done = far.run("echo never", "--connect-timeout", "2")
    assert (done.returncode, done.stdout) == (69, b"")
    why = b"no shell answered within 2 s" if where else b"talks without end"
    assert why in done.stderr and len(done.stderr) < 100_000


@pytest.mark.parametrize(
    "deaf, why",
    [("sleep 60", b"no shell answered within 2 s"), ("exit 3", b"sh exited with 3 ")],
)
def test_who_takes_nothing_beside_another_run_is_given_up(
    deaf: str, why: bytes, place: Path
) -> None:
    """A long command fills the pipe to it."""
    far = Far(place, "sh", "-c", f"[ ! -e {place}/deaf ] || {deaf}; exec bash")
    with far.kept(beside=True):
        (place / "deaf").touch()
        done = far.run(f": {100_000 * 'x'}", "--connect-timeout", "2")
    assert (done.returncode, done.stdout) == (69, b"")
    assert why in done.stderr


def test_text_and_names_ended_by_nul_are_passed_on_at_once() -> None:
    output = Output("abc")
    for said in (b"password: ", b"a\0", "ÿ".encode(), b"\n", b"x"):
        assert output.feed(said) == said


def test_with_verbose_it_says_how_each_file_went(base: Path, place: Path) -> None:
    far = farends.local_shell("dash", "gnu", base).fresh()
    (place / "src").mkdir()
    data = random.Random(1).randbytes(5000)
    (place / "src/a").write_bytes(data)
    words = ["-v", "--no-whole-file", "--no-compress", str(place / "src"), far.parent]
    env = environment(FILEREP_TINY="1")
    with running("file-replicator", *words, *far.command, env=env) as program:
        program.says("in sync")
        (place / "src/b").write_text("b")
        program.says("ms (whole)")
        (place / "src/e").write_bytes(data[::-1])
        program.says("ms (in pieces)")
        (place / "src/a").rename(place / "src/c")
        program.says("ms (moved)")
        shutil.copyfile(place / "src/c", place / "src/d")
        program.says("ms (copied)")
        (place / "src/e").touch()
        program.says("ms (touched)")
        (place / "src/d").write_bytes(data + b"more")
        program.says("ms (in parts)")
