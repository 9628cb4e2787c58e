"""However a run ends, nothing of it is left: no process here, no file over there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import farends
import keyboard
import programs
import pytest
import trees
from pipelines import name_of, stage

from filerep import processtable

REPLICATE = str(programs.ROOT / "bin" / "file-replicator")


@pytest.mark.parametrize(
    "number",
    # Nothing can be done about the last one but by those who are left.
    [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP", "SIGKILL"],
)
@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_it_dies_of_the_signal_and_leaves_nothing(
    shell: str, number: int, place: Path
) -> None:
    trees.plant(place / "src", {"f": b"x"})
    (place / "far").mkdir()
    command = [REPLICATE, place / "src", place / "far", shell]
    with programs.running(*command) as run:
        run.says("watching")
        run.signal(number)
        assert run.end(timeout=10) == 128 + number
        programs.wait_for(lambda: not run.family(), what=run.family)
    assert os.listdir(place / "far/src") == ["f"]
    assert b"Traceback" not in run.errors


def test_signals_that_were_blocked_when_it_began_are_heard(place: Path) -> None:
    trees.plant(place / "src", {"f": b"x"})
    (place / "far").mkdir()
    numbers = {signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1}
    block = lambda: signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    words = [place / "src", place / "far", "dash"]
    with programs.running(REPLICATE, *words, preexec_fn=block) as run:
        run.says("watching")
        assert programs.run([REPLICATE, "--wait", *words]).returncode == 0
        run.signal(signal.SIGTERM)
        assert run.end(timeout=10) == 128 + signal.SIGTERM
    # Nothing but SIGCHLD tells that the last of a copy has ended.
    done = programs.run([REPLICATE, "--once", *words], preexec_fn=block, timeout=20)
    assert done.returncode == 0


def test_a_stage_can_speak_where_the_user_has_closed_stderr(place: Path) -> None:
    """What it says goes nowhere, but it must not die of it."""
    farends.need_root()
    trees.plant(place / "src", {"f": b"x", "secret": b"x"})
    os.chown(place / "src/secret", 1, 1)
    (place / "src/secret").chmod(0)
    once = [REPLICATE, "--no-replicate-on-change", place / "src", place / "far", "sh"]
    closing = ["sh", "-c", 'exec "$@" 2>&-', "sh", *farends.without_rights(), *once]
    assert programs.run(closing).returncode == 1
    assert os.listdir(place / "far/src") == ["f"]


def test_ctrl_c_ends_the_loop_around_it_and_the_prompt_has_its_own_line(
    place: Path,
) -> None:
    trees.plant(place / "src", {"f": b"x"})
    with keyboard.bash() as typed:
        words = f"file-replicator {place}/src {place}/far bash"
        typed.type(f"for i in 1 2 3; do {words}; echo round $i; done\n")
        typed.shows("watching")
        typed.type("\x03")
        typed.shows("^C\r\n$ ")
        typed.type("echo next\n")
        typed.shows("next\r\n")
    assert "\nround" not in typed.text()
    assert os.listdir(place / "far/src") == ["f"]


def test_what_is_quit_from_the_keyboard_leaves_nothing(place: Path) -> None:
    trees.plant(place / "src", {"f": b"x"})
    with keyboard.bash() as typed:
        words = f"file-replicator {place}/src {place}/far bash"
        typed.type(f"ulimit -c 0; {words}\n")
        typed.shows("watching")
        typed.type("\x1c")
        typed.shows("Quit")
        copy = place / "far/src"
        programs.wait_for(
            lambda: os.listdir(copy) == ["f"], what=lambda: [*copy.iterdir()]
        )


def test_what_was_saved_and_has_not_arrived_is_named_at_the_end(place: Path) -> None:
    trees.plant(place / "src", {"f": b"x", "old": b"x"})
    program, *words = kept_waiting(place)
    with programs.running(program, "--events", place / "events", *words) as run:
        run.says("watching")
        os.kill(int((place / "pid").read_text()), signal.SIGSTOP)
        pack = stage(run, "pack")

        written = counted(pack, "wchar")
        trees.plant(place / "src", {"new": os.urandom(100_000)})
        run.wait_for(lambda: counted(pack, "wchar") > written + 100_000)
        written = counted(pack, "wchar")  # by now it has nothing else to tell
        (place / "src/old").unlink()
        run.wait_for(lambda: counted(pack, "wchar") > written)
        # Two batches are under way: the others have to wait, and are known of.
        for name in "cd":
            read = counted(pack, "rchar")
            trees.plant(place / "src", {name: b"x"})
            run.wait_for(lambda: counted(pack, "rchar") > read)
        run.signal(signal.SIGINT)
        assert run.end(timeout=10) == 128 + signal.SIGINT
        *_, last = run.errors.decode().splitlines()
        assert last == (
            "file-replicator: interrupted: 'new', 'old', 'c' and 1 more"
            " have not arrived; the next start catches up"
        )
    events = map(json.loads, (place / "events").read_text().splitlines())
    *_, told = (event for event in events if event["event"] == "outstanding")
    assert told["paths"] == ["new", "old", "c", "d"]


def test_what_a_full_connection_does_not_take_is_named_at_the_end(place: Path) -> None:
    trees.plant(place / "src", {"f": b"x"})
    script = f"sh -c 'echo $$ >{place}/pid; exec cat' | bash"
    words = ["--whole-file", "--no-compress", place / "src", place / "far"]
    with programs.running(REPLICATE, *words, "--", "sh", "-c", script) as run:
        run.says("watching")
        os.kill(int((place / "pid").read_text()), signal.SIGSTOP)
        pack = stage(run, "pack")
        written = counted(pack, "wchar")
        (place / "src/large").write_bytes(bytes(5_000_000))
        run.wait_for(lambda: counted(pack, "wchar") > written + 500_000)
        run.signal(signal.SIGINT)
        assert run.end(timeout=10) == 128 + signal.SIGINT
        assert b"interrupted: 'large' has not arrived; the next start" in run.errors


def test_what_was_saved_a_moment_before_the_end_is_named(place: Path) -> None:
    trees.plant(place / "src", {"f": b"x"})
    with programs.running(*kept_waiting(place)) as run:
        run.says("watching")
        os.kill(int((place / "pid").read_text()), signal.SIGSTOP)
        pack = stage(run, "pack")
        for name in "ab":  # as many as are sent before the first is answered
            written = counted(pack, "wchar")
            trees.plant(place / "src", {name: b"x"})
            run.wait_for(lambda: counted(pack, "wchar") > written)
        # It is still open, so fr-watch holds it for a moment.
        with open(place / "src/new", "w") as file:
            file.write("x")
            file.flush()
            run.signal(signal.SIGINT)
            assert run.end(timeout=10) == 128 + signal.SIGINT
        assert b"interrupted: 'a', 'b' and 'new' have not arrived" in run.errors


def counted(pid: int, what: str) -> int:
    """Bytes that a process has read (`rchar`) or written: proc(5)."""
    found = re.search(rf"{what}: (\d+)", Path(f"/proc/{pid}/io").read_text())
    return int(found[1]) if found else 0


def test_what_has_arrived_is_not_named_at_the_end(place: Path) -> None:
    trees.plant(place / "src", {"f": b"x"})
    with programs.running(*kept_waiting(place)) as run:
        run.says("watching")
        trees.plant(place / "src", {"new": b"x"})
        run.says("sent 'new'")
        assert run.end(signal.SIGINT) == 130
        assert b"interrupted" not in run.errors


def test_an_end_amid_a_lost_connection_says_so(place: Path) -> None:
    trees.plant(place / "src", {"f": b"x"})
    with programs.running(*kept_waiting(place)) as run:
        run.says("watching")
        (place / "gone").touch()
        os.kill(int((place / "pid").read_text()), signal.SIGKILL)
        run.says("trying again in")
        assert run.end(signal.SIGINT) == 130
        *_, last = run.errors.decode().splitlines()
        assert "interrupted while the connection was lost: what has not arrived" in last


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        (["--once"], ""),
        (["--once"], "IFS= read -r line; "),
        (["--run", "true"], ""),
    ],
)
def test_a_connection_that_answers_no_more_and_does_not_end_is_killed(
    words: list[str], begins: str, place: Path
) -> None:
    # It was asked to end, and waited for without end: a shell heeds no SIGTERM before the
    # command that it waits for has ended.
    trees.plant(place / "src", {"f": b"x"})
    script = f"trap '' TERM; {begins}exec >&- 2>&-; exec sleep 300"
    words = [*words, str(place / "src"), str(place / "far"), "--", "bash", "-c", script]
    with programs.running(REPLICATE, *words) as run:
        assert run.end(timeout=15) == 69
        programs.wait_for(lambda: not [p for p in run.family() if programs.alive(p)], 5)


def kept_waiting(place: Path) -> list[programs.Word]:
    """A run whose far end is in `pid`, and cannot be had again once there is `gone`."""
    script = f"[ ! -e {place}/gone ] || exit 3; echo $$ >{place}/pid; exec bash"
    words = [place / "src", place / "far", "--", "bash", "-c", script]
    return [REPLICATE, *words]


def test_processes_that_grow_as_fast_as_they_are_followed_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A start-up file that starts its own shell: each start, and each end, took for ever."""
    below = lambda pid: [str(int(pid) + 1)]
    monkeypatch.setattr(processtable, "children", below)
    assert 100 < len(set(processtable.family("1", "7"))) < 10_000


@pytest.mark.parametrize("program", ["fr-watch", "fr-pack"])
def test_a_filter_dies_of_ctrl_c_as_well(program: str, place: Path) -> None:
    trees.plant(place / "src", {"f": b"x"})
    ready, told = os.pipe()
    words = [str(programs.ROOT / "bin" / program), place / "src"]
    if program == "fr-watch":
        words[1:1] = ["--ready-fd", str(told)]
    with programs.running(*words, stdin=subprocess.PIPE, pass_fds=[told]) as run:
        os.close(told)
        if program == "fr-watch":
            assert os.read(ready, 1) == b"\n"
        else:
            assert run.process.stdin
            run.process.stdin.write(b"f\0")
            run.process.stdin.flush()
            programs.wait_for(lambda: b"ustar" in run.output)
        run.signal(signal.SIGINT)
        assert run.end(timeout=10) == 128 + signal.SIGINT
    os.close(ready)
    assert b"Traceback" not in run.errors


@pytest.mark.parametrize(
    "program", ["file-replicator", "fr-walk", "fr-pack", "fr-watch"]
)
def test_ctrl_c_while_it_loads_leaves_no_traceback(program: str, place: Path) -> None:
    for first in ("docopt", "signal"):
        (place / f"{first}.py").write_text("import os\nos.kill(os.getpid(), 2)\n")
    path = f"{place}:{programs.ROOT}"
    # Without an option nothing is parsed.
    words = [str(programs.ROOT / "bin" / program), "--verbose", str(place)]
    done = programs.run(words, env=programs.environment(PYTHONPATH=path))
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox", "mksh", "zsh", "ksh93"])
@pytest.mark.parametrize("what", ["all here", "SIGTERM there", "SIGKILL there"])
def test_of_a_dry_run_that_is_killed_nothing_stays(
    what: str, shell: str, base: Path, place: Path
) -> None:
    tar = "busybox" if shell == "busybox" else "gnu"
    far = farends.local_shell(shell, tar, base).fresh()
    trees.plant(place / "src", {"f": b"x"})
    (place / "tmp").mkdir()
    os.mkfifo(place / "gate")
    gate = (
        f'cd {place}; [ ! -p gate ] || {{ echo $$ >pid; read -r _ <gate; }}; exec "$@"'
    )
    words = [place / "src", far.parent, "sh", "-c", gate, "sh", *far.command]
    env = programs.environment(TMPDIR=str(place / "tmp"))
    with programs.running(REPLICATE, "--dry-run", *words, env=env) as run:
        pack = run.wait_for(lambda: packs(run))[0]
        os.kill(pack, signal.SIGSTOP)  # so it is under way for as long as we like
        (place / "gate").write_text("\n")
        (place / "gate").unlink()
        run.wait_for(lambda: os.listdir(place / "tmp"))
        there = int((place / "pid").read_text())
        if what != "all here":
            os.kill(there, getattr(signal, what.split()[0]))
        for pid in (run.process.pid, pack):
            os.kill(pid, signal.SIGKILL)
        if what == "SIGKILL there":
            run.close()
            left = [one for one in (place / "tmp").iterdir() if one.is_dir()]
            # Nobody has reaped it; in a container without an init nobody ever does.
            zombie = subprocess.Popen(["true"])
            programs.wait_for(lambda: not programs.alive(zombie.pid))
            (left[0] / ".pid").write_text(f"{zombie.pid}\n")
            once = [REPLICATE, "--once", *words]
            assert programs.run(once, env=env).returncode == 0
        programs.wait_for(lambda: not os.listdir(place / "tmp"))


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox", "mksh", "zsh", "ksh93"])
def test_what_a_dry_run_is_at_work_with_is_no_leftover(
    shell: str, base: Path, place: Path
) -> None:
    """A second one removed it, and the first ended with `dash exited with 1`."""
    tar = "busybox" if shell == "busybox" else "gnu"
    far = farends.local_shell(shell, tar, base).fresh()
    trees.plant(place / "src", {"f": b"x"})
    (place / "tmp").mkdir()
    words = ["--dry-run", "--once", place / "src", far.parent, *far.command]
    env = programs.environment(TMPDIR=str(place / "tmp"))
    with programs.running(REPLICATE, *words, env=env) as run:
        pack = run.wait_for(lambda: packs(run))[0]
        os.kill(pack, signal.SIGSTOP)  # so it is under way for as long as we like
        run.wait_for(lambda: os.listdir(place / "tmp"))
        assert programs.run([REPLICATE, *words], env=env).returncode == 1
        os.kill(pack, signal.SIGCONT)
        run.says("1 file to send")
        assert run.process.wait(20) == 1
    assert not os.listdir(place / "tmp")


def packs(run: programs.Running) -> list[int]:
    found = []
    for pid in run.family():
        with contextlib.suppress(OSError):  # it has ended
            found += [pid] * (name_of(pid) == "fr-pack")
    return found
