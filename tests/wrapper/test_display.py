"""What is shown: on a terminal, on a narrow one, in a file; and that nothing drives it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import ROOT, Running, environment, run, running, wait_for

from filerep.wrapper import display
from filerep.wrapper.display import Display, FarText, batch_line, first_line

REPLICATOR = str(ROOT / "bin/file-replicator")
OWN_LINE = re.compile(r"(fr-[a-z]+|file-replicator): \S")

# What passes this shell's input on at 3 MB/s.
SLOW_SHELL = """
import os, subprocess, time
shell = subprocess.Popen(["bash"], stdin=subprocess.PIPE)
began, passed = time.monotonic(), 0
while data := os.read(0, 1 << 15):
    passed += len(data)
    time.sleep(max(0, began + passed / 3e6 - time.monotonic()))
    os.write(shell.stdin.fileno(), data)
shell.stdin.close()
raise SystemExit(shell.wait())
"""


# --- the words ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "count, said",
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (9949, "9.9 kB"),
        (45_000_000, "45 MB"),
        (999_600, "1.0 MB"),
        (3.2e12, "3.2 TB"),
        (5e16, "50000 TB"),
    ],
)
def test_sizes_are_told_in_two_digits(count: float, said: str) -> None:
    assert display.size(count) == said


@pytest.mark.parametrize(
    "ms, said",
    [
        (0.44, "0.4 ms"),
        (9.96, "10 ms"),
        (999.4, "999 ms"),
        (1200, "1.2 s"),
        (99_960, "1 min 40 s"),
        (3_600_000, "1 h 0 min"),
    ],
)
def test_durations_are_told_in_their_unit(ms: float, said: str) -> None:
    assert display.duration(ms) == said


def first(**changes: Any) -> dict[str, Any]:
    report = {
        "compared": True,
        "rehearsed": False,
        "files": 3619,
        "known": 3619,
        "bytes": 45e6,
        "ms": 1200,
        "failing": 0,
        "removals": 0,
    }
    return {**report, **changes}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({}, "in sync: 3,619 files, 45 MB in 1.2 s; watching"),
        ({"compared": False}, "watching; what is at the far end was not compared"),
        (
            {"rehearsed": True, "files": 1, "bytes": 7, "removals": 2},
            "nothing was changed: 1 file to send, 7 bytes; 2 to remove",
        ),
        ({"files": 0}, "in sync: 3,619 files, nothing to send, 1.2 s; watching"),
        (
            {"files": 0, "removals": 1200},
            "in sync: 3,619 files, nothing to send, 1,200 removed in 1.2 s; watching",
        ),
        (
            {"files": 12, "bytes": 3000, "ms": 80},
            "in sync: 3,619 files, 12 of them sent, 3.0 kB in 80 ms; watching",
        ),
        (
            {"failing": 1},
            "not in sync, 1 file could not be written:"
            " 3,619 files, 45 MB in 1.2 s; watching",
        ),
    ],
)
def test_the_first_copy_is_told_in_a_line(changes: dict[str, Any], said: str) -> None:
    assert first_line(first(**changes), True) == said


def batch(**changes: Any) -> dict[str, Any]:
    report = {"sent": [], "files": 0, "removed": [], "deletions": 0, "bytes": 0}
    return {**report, "ms": 4.2, **changes}


def test_a_batch_is_told_by_its_first_names_and_a_count() -> None:
    both = batch(sent=["'a'"], files=1, removed=["'b'", "'c'"], deletions=9, bytes=5)
    assert batch_line(both) == "sent 'a', 5 bytes; removed 'b', 'c' and 7 more, 4.2 ms"
    assert batch_line(batch()) == ""


def test_names_that_fit_are_shown_whole() -> None:
    name = "'src/package/module.py'"
    assert name in batch_line(batch(sent=[name], files=1), 60)


@pytest.mark.parametrize("width", range(45, 140, 5))
def test_a_batch_line_fits_the_terminal(width: int) -> None:
    names = [f"'{'directory/' * 4}{letter}.py'" for letter in "abc"]
    line = batch_line(batch(sent=names, files=200, bytes=123_456), width)
    assert display.columns(line) <= max(width, 60)
    assert "'dir" in line and "and 19" in line


def test_a_wide_character_takes_two_columns() -> None:
    assert display.columns("データ.txt") == 10
    assert display.columns("e\u0301") == 1


def test_a_dry_run_names_each_path_once_and_changes_nothing(place: Path) -> None:
    source, copy = place / "src", place / "d/src"
    source.mkdir()
    for name in "abc":
        (source / name).write_text(name)
    words = [
        REPLICATOR,
        "--no-replicate-on-change",
        str(source),
        str(place / "d"),
        "sh",
    ]
    assert run(words).returncode == 0
    (source / "a").unlink()
    (source / "b").write_text("changed")
    (source / "d").write_text("new")
    done = run([REPLICATOR, "--dry-run", *words[2:]])
    told = [f"would send '{name}'" for name in "bd"] + ["would remove 'a'"]
    assert sorted(done.stdout.decode().splitlines()) == sorted(told)
    count = b"2 files to send, 10 bytes; 1 to remove"
    assert done.stderr == b"file-replicator: nothing was changed: " + count + b"\n"
    assert run([REPLICATOR, "--quiet", "--dry-run", *words[2:]]).stdout == done.stdout
    assert sorted(path.name for path in copy.iterdir()) == ["a", "b", "c"]


# --- what the far end may do to the terminal ------------------------------------------

HOSTILE = [
    (b"plain \xc3\xa4\n", "plain ä\n"),
    (b"\x1b[31mred\x1b[0m\n", "\x1b[31mred\x1b[0m\n"),
    (b"\x1b]0;title\x07x\n", "x\n"),
    (b"\x1b]52;c;ZXZpbA==\x1b\\x\n", "x\n"),
    (b"\x1b[2J\x1b[Hx\n", "x\n"),
    (b"\x1bc\x1b(0x\n", "x\n"),
    (b"a\rfile-replicator: forged\n", "a\nfile-replicator: forged\n"),
    (b"a\r\nb\tc\n", "a\nb\tc\n"),
    (b"\xc2\x9b2Jx\n", "2Jx\n"),
    (b"\x9b2J\xff\n", "\ufffd2J\ufffd\n"),
    (b"\x07\x08\x7f\x00x\n", "x\n"),
    (b"10%\r20%\r30%\n", "10%\n20%\n30%\n"),
]


@pytest.mark.parametrize("data, shown", HOSTILE)
@pytest.mark.parametrize("piece", [1, 2, 1000])
def test_control_characters_of_the_far_end_do_nothing(
    data: bytes, shown: str, piece: int
) -> None:
    text = FarText("utf-8")
    parts = [data[at : at + piece] for at in range(0, len(data), piece)]
    assert "".join(text.feed(part) for part in parts) == shown


def test_a_file_gets_every_byte_of_the_far_end() -> None:
    raw = io.BytesIO()
    display = Display(io.TextIOWrapper(raw), "file-replicator")
    display.far_end(b"\x1b[2J\xff\r")
    display.message("hello")
    display.close()
    assert raw.getvalue() == b"\x1b[2J\xff\r\nfile-replicator: hello\n"


def test_words_of_the_far_end_in_a_message_do_nothing_either() -> None:
    raw = io.BytesIO()
    display = Display(io.TextIOWrapper(raw, "utf-8"), "file-replicator")
    display.line("fr-pack: cannot write 'ä': \x1b[2J\x9bx\nfr-pack: forged")
    said = "fr-pack: cannot write 'ä': ?[2J?x?fr-pack: forged\n"
    assert raw.getvalue().decode() == said


def test_a_closed_stderr_is_no_error() -> None:
    for stream in (None, io.TextIOWrapper(io.BytesIO())):
        if stream is not None:
            stream.close()
        display = Display(stream, "file-replicator")
        display.message("hello")
        display.far_end(b"x")
        display.report({"is": "first", **first()}, True)
        display.close()


# --- a real terminal ------------------------------------------------------------------


class Terminal:
    """A pseudo-terminal in which file-replicator is the foreground job of a shell."""

    def __init__(self, columns: int) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(columns)
        self.shown = bytearray()
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self.master, 1 << 16):
                self.shown += chunk

    def resize(self, columns: int) -> None:
        fcntl.ioctl(
            self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0)
        )

    def text(self) -> str:
        return self.shown.decode(errors="replace")

    def has(self, text: str) -> bool:
        return text in self.text()

    def screen(self) -> list[str]:
        """The lines as they stand at the end: a carriage return begins a line anew."""
        lines = []
        for line in self.text().replace("\r\n", "\n").split("\n"):
            cells: list[str] = []
            for part in line.split("\r"):
                cells[: len(part)] = part
            lines.append("".join(cells).rstrip())
        return [line for line in lines if line]


@contextlib.contextmanager
def on_terminal(
    *words: str, columns: int = 80, **changes: str
) -> Iterator[tuple[Running, Terminal]]:
    terminal = Terminal(columns)
    env = environment(TERM="xterm", LC_ALL="C.UTF-8", **changes)
    with running(
        REPLICATOR, *words, stdin=terminal.slave, stderr=terminal.slave, env=env
    ) as program:
        yield program, terminal
    os.close(terminal.slave)


@pytest.fixture
def source(place: Path) -> Path:
    """8 MB in 40 files."""
    source = place / "src"
    source.mkdir()
    for number in range(40):
        (source / f"file{number}").write_bytes(os.urandom(200_000))
    return source


def slow(place: Path) -> list[str]:
    script = place / "slow.py"
    script.write_text(SLOW_SHELL)
    return [str(place / "dest"), "--", sys.executable, str(script)]


@pytest.mark.parametrize("columns", [120, 60, 30])
def test_the_first_copy_has_a_bar_and_leaves_a_line(
    source: Path, place: Path, columns: int
) -> None:
    words = [str(source), *slow(place)]
    with on_terminal(*words, columns=columns) as (program, terminal):
        program.wait_for(lambda: terminal.has("in sync"), what=terminal.text)
        assert terminal.has("\rfile-replicator:")
        assert terminal.has("%|")
        if columns == 120:
            assert re.search(
                r"\d+%\|.*M/8\.00M \[.*B/s, \d+/40 files\]", terminal.text()
            )
        (line,) = terminal.screen()
        assert line.startswith("file-replicator: in sync: 40 files, 8.0 MB in ")
        for part in re.split("[\r\n]", terminal.text()):
            if "%|" in part:
                assert display.columns(part.replace("\x1b[A", "")) <= columns


def test_no_colour_and_nothing_but_carriage_returns(source: Path, place: Path) -> None:
    words = [str(source), *slow(place)]
    with on_terminal(*words, NO_COLOR="1") as (program, terminal):
        program.wait_for(lambda: terminal.has("in sync"), what=terminal.text)
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", terminal.text())


def test_a_message_during_the_copy_stands_above_the_bar(
    source: Path, place: Path
) -> None:
    (source / "gone").mkdir()
    fifo = place / "gate"
    os.mkfifo(fifo)
    script = place / "talk.py"
    talk = "os.write(2, b'spoken \\x1b[2J' + b'far away\\n')\n"
    script.write_text(SLOW_SHELL.replace("began,", f"{talk}began,"))
    late = SLOW_SHELL.replace(
        "    os.write(shell", f"    if passed > 1e6: {talk}    os.write(shell"
    )
    script.write_text(late)
    words = [str(source), str(place / "dest"), "--", sys.executable, str(script)]
    with on_terminal(*words) as (program, terminal):
        program.wait_for(lambda: terminal.has("in sync"), what=terminal.text)
        *spoken, last = terminal.screen()
        assert spoken and set(spoken) == {"spoken far away"}
        assert last.startswith("file-replicator: in sync")


def test_resizing_stopping_and_going_on_do_no_harm(source: Path, place: Path) -> None:
    words = ["--keepalive", "0.5", str(source), *slow(place)]
    with on_terminal(*words) as (program, terminal):
        program.wait_for(lambda: terminal.has("%|"), what=terminal.text)
        terminal.resize(40)
        os.killpg(program.process.pid, signal.SIGWINCH)
        os.killpg(program.process.pid, signal.SIGSTOP)
        # Longer than a silence that the far end would be given up for.
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(3)
        os.killpg(program.process.pid, signal.SIGCONT)
        program.wait_for(lambda: terminal.has("in sync: 40 files"), what=terminal.text)
        assert "lost" not in terminal.text()
        (source / "new").write_text("x")
        program.wait_for(lambda: terminal.has("sent 'new'"), what=terminal.text)
        assert program.end(signal.SIGINT) == 130
        assert termios.tcgetattr(terminal.slave)[3] & termios.ECHO


@pytest.mark.parametrize("options", [(), ("--debugging",), ("--quiet",)])
def test_in_a_file_there_are_plain_lines_only(
    source: Path, place: Path, options: tuple[str, ...]
) -> None:
    words = [*options, str(source), *slow(place)]
    with running(REPLICATOR, *words) as program:
        copy = place / "dest/src/new\x1b[2J\n"
        if "--quiet" in options:
            program.wait_for(lambda: (place / "dest/src/file39").exists())
        else:
            program.says("in sync")
        (source / "new\x1b[2J\n").write_text("x")
        program.wait_for(copy.exists)
        (source / "new\x1b[2J\n").unlink()
        program.wait_for(lambda: not copy.exists())
        if "--quiet" not in options:
            program.says("removed 'new\\x1b[2J\\x0a'")
        assert program.end(signal.SIGINT) == 130
        said = program.errors.decode()
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", said)
        assert all(OWN_LINE.match(line) for line in said.splitlines())
        assert bool(said) == ("--quiet" not in options)


def test_a_lost_connection_is_one_line_and_its_return_another(
    source: Path, place: Path
) -> None:
    pid = place / "pid"
    shell = ["bash", "-c", f"echo $$ >{pid}; exec bash"]
    with running(REPLICATOR, str(source), str(place / "d"), "--", *shell) as program:
        program.says("in sync")
        os.kill(int(pid.read_text()), signal.SIGKILL)
        program.says("connected again")
        wait_for(lambda: program.errors.count(b"in sync") == 2, process=program.process)
        lines = program.errors.decode().splitlines()
        assert len(lines) == 4, lines
        assert lines[1].startswith("file-replicator: the connection was lost")
        assert lines[1].endswith("connecting again")
        assert lines[2].startswith("file-replicator: connected again")
        assert "nothing to send" in lines[3]


def test_why_it_cannot_connect_again_is_told_once(source: Path, place: Path) -> None:
    pid, gone = place / "pid", place / "gone"
    script = place / "shell"
    script.write_text(
        f"[ -e {gone} ] && {{ echo no such box >&2; exit 3; }}; echo $$ >{pid}; exec bash"
    )
    words = [str(source), str(place / "d"), "--", "bash", str(script)]
    with running(REPLICATOR, *words) as program:
        program.says("in sync")
        gone.touch()
        os.kill(int(pid.read_text()), signal.SIGKILL)
        program.says("exited with 3 before a shell answered: no such box; trying again")
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(2)  # it goes on trying
        gone.unlink()
        program.says("connected again after ")
        assert program.errors.count(b"no such box") == 1
