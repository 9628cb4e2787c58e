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
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keyboard
import pytest
from programs import ROOT, Running, environment, run, running, wait_for
from slowlink import slow_shell

from filerep import wrapping
from filerep.pathstream import gathered
from filerep.wrapper.terminal import formatting
from filerep.wrapper.terminal.bursts import TimedBurst
from filerep.wrapper.terminal.display import Display
from filerep.wrapper.terminal.fartext import FarText, marked
from filerep.wrapper.terminal.firstcopy import FirstCopy
from filerep.wrapper.terminal.progressbar import Bar, OneFile
from filerep.wrapper.terminal.reportlines import (
    Burst,
    far_line,
    first_line,
    left_words,
    tools_line,
)

REPLICATOR = str(ROOT / "bin/file-replicator")
TIME = r"\d\d:\d\d:\d\d"
OWN_LINE = re.compile(r"file-replicator: \S")

SLOW_SHELL = slow_shell(3e6)


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
    assert formatting.size(count) == said


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
    assert formatting.duration(ms) == said


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
        "ignored": 0,
    }
    return {**report, **changes}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({}, "in sync: 3,619 files, 45 MB in 1.2 s; watching"),
        (
            {"compared": False, "files": 0},
            "watching; what is at the far end was not compared",
        ),
        (
            {"compared": False, "files": 2, "bytes": 3000},
            "watching; sent 2 files that changed meanwhile, 3.0 kB;"
            " what is at the far end was not compared",
        ),
        (
            {"rehearsed": True, "files": 1, "bytes": 7, "removals": 2},
            "nothing was changed: 1 file to send, 7 bytes; 2 to remove",
        ),
        (
            {"rehearsed": True, "files": 0, "bytes": 0},
            "nothing to do: the destination is the same",
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
            " 3,619 files are there, 45 MB in 1.2 s; watching",
        ),
    ],
)
def test_the_first_copy_is_told_in_a_line(changes: dict[str, Any], said: str) -> None:
    assert first_line(first(**changes), True) == said


def batch(sent: str = "", removed: str = "", **changes: Any) -> dict[str, Any]:
    """A report of a batch with the files named in ``sent`` and ``removed``."""
    report: dict[str, Any] = {"is": "batch", "bytes": 0, "ms": 4.2, "bulk": False}
    report["ways"] = {}
    for key, names in (("sent", sent.split()), ("removed", removed.split())):
        above = Counter(name.rpartition("/")[0] for name in names)
        report[key] = [f"'{name}'" for name in names[:3]]
        report[f"{key}_in"] = dict(above)
    report["files"], report["deletions"] = len(sent.split()), len(removed.split())
    return {**report, **changes}


def burst(*batches: dict[str, Any]) -> Burst:
    told = Burst()
    for one in batches:
        told.add(one, 4.2)
    return told


@pytest.mark.parametrize(
    "batches, width, said",
    [
        ([batch("a", ways={"in parts": 1})], 0, "sent 'a', 0 bytes, 4.2 ms (in parts)"),
        (
            [
                batch("a b", ways={"moved": 1, "whole": 1}),
                batch("c", ways={"whole": 1}),
            ],
            0,
            "sent 'a', 'b', 'c', 0 bytes, 4.2 ms (1 moved, 2 whole)",
        ),
        (
            [batch("a b", ways={"moved": 1, "whole": 1})],
            48,
            "sent 2 files, 0 bytes, 4.2 ms (1 moved, 1 whole)",
        ),
        ([batch("a", ways={"whole": 1}), batch(removed="a")], 0, "removed 'a', 4.2 ms"),
    ],
)
def test_with_verbose_a_line_says_how_files_went(
    batches: list[dict[str, Any]], width: int, said: str
) -> None:
    assert burst(*batches).line(width, True) == said


@pytest.mark.parametrize(
    "batches, said",
    [
        ([batch("a", "b c", bytes=5)], "sent 'a', 5 bytes; removed 'b', 'c', 4.2 ms"),
        ([batch("a"), batch("x/b")], "sent 'a', 'x/b', 0 bytes, 4.2 ms"),
        ([batch("a", bytes=2), batch("a", bytes=3)], "sent 'a', 5 bytes, 4.2 ms"),
        ([batch(removed="a"), batch("a", bytes=3)], "sent 'a', 3 bytes, 4.2 ms"),
        ([batch("a", bytes=3), batch(removed="a")], "removed 'a', 4.2 ms"),
        ([batch("a b c d")], "sent 4 files, 0 bytes, 4.2 ms"),
        ([batch("x/a x/b"), batch("x/c x/d")], "sent 4 files in x/, 0 bytes, 4.2 ms"),
        (
            [batch("x/y/a x/z/b d/a e"), batch(removed="q/r/a q/r/b q/c q/d")],
            "sent 4 files in x/, ./, d/, 0 bytes; removed 4 files in q/, q/r/, 4.2 ms",
        ),
        (
            [batch("a/x b/x b/y c/x d/x")],
            "sent 5 files in b/, a/, c/ and 1 more, 0 bytes, 4.2 ms",
        ),
        ([batch()], ""),
    ],
)
def test_a_burst_is_one_line(batches: list[dict[str, Any]], said: str) -> None:
    assert burst(*batches).line() == said


def test_names_that_fit_are_whole_and_of_others_the_end_is_shown() -> None:
    told = burst(batch("src/package/deep/module.py", bytes=12_000))
    whole = "sent 'src/package/deep/module.py', 12 kB, 4.2 ms"
    assert told.line(len(whole)) == whole
    assert told.line(40) == "sent '.../deep/module.py', 12 kB, 4.2 ms"
    assert told.line(30) == "sent '...ckage/deep/module.py'"
    assert burst(batch("short.py")).line(20) == "sent 'short.py'"
    both = burst(batch("one/of/them/a.py", "another/directory/b.py"))
    assert len(both.line(65)) <= 65
    assert "/a.py'" in both.line(65) and "/b.py'" in both.line(65)


def test_a_burst_of_many_and_one_of_a_long_name_tells_how_many() -> None:
    """At 50 columns it was wrapped, and each drawing left half of itself behind."""
    many = [f"directory{number}/file" for number in range(180)]
    gone = f"a/very/long/way/to/{'x' * 40}/session.svg"
    told = burst(batch(" ".join(many), gone, bytes=1_200_000))
    assert told.line(48) == "sent 180 files, 1.2 MB; removed 1 file, 4.2 ms"


@pytest.mark.parametrize("took, over", [(4.2, 0.33), (900, 0.9), (6000, 3.0)])
def test_a_burst_is_over_when_it_is_quiet_for_as_long_as_its_batches_take(
    took: float, over: float
) -> None:
    screen: Any = SimpleNamespace(draws=True)
    timed = TimedBurst(screen)
    timed.add({**batch("a"), "ms": took}, 100.0)
    assert timed.over() == pytest.approx(100.0 + over)


@pytest.mark.parametrize("width", range(40, 140, 5))
def test_a_burst_fits_the_terminal(width: int) -> None:
    names = " ".join(f"{'directory/' * n}{n}.py" for n in range(1, 9))
    line = burst(batch(names, bytes=123_456)).line(width)
    assert wrapping.columns(line) <= width
    assert line.startswith("sent 8 files") and line.endswith("123 kB, 4.2 ms")


def test_directories_are_gathered_as_deep_as_there_is_room() -> None:
    counts = {"a/b/c": 2, "a/b/d": 1, "a/e": 4, "f": 1, "": 1}
    assert gathered(counts, 5) == counts
    assert gathered(counts, 4) == {"a/b": 3, "a/e": 4, "f": 1, "": 1}
    assert gathered(counts, 3) == {"a": 7, "f": 1, "": 1}
    many = gathered({str(number): number for number in range(1000)}, 3)
    assert len(many) <= 65 and sum(many.values()) == 999 * 500


def test_a_wide_character_takes_two_columns() -> None:
    assert wrapping.columns("データ.txt") == 10
    assert wrapping.columns("e\u0301") == 1


def test_what_is_cut_off_is_cut_by_columns() -> None:
    assert formatting.beginning("abcdef", 6) == "abcdef"
    assert formatting.beginning("abcdefg", 6) == "abc..."
    assert [formatting.beginning("abc", width) for width in (-1, 0, 1)] == ["..."] * 3
    assert formatting.beginning("データベース", 8) == "デー..."
    assert formatting.ending("'データベース'", 14) == "'データベース'"
    assert formatting.ending("'aデータベース'", 14) == "'...タベース'"


def test_long_lines_are_broken_between_words_and_indented() -> None:
    text = "00:00:00 one two three four five six"
    assert wrapping.wrapped(text, 26, 9) == (
        "00:00:00 one two three\n         four five six"
    )
    assert wrapping.wrapped(text, 0, 9) == text
    assert wrapping.wrapped(f"00:00:00 {'x' * 40} y", 30, 9).endswith("x\n         y")


def test_a_usage_text_is_broken_where_its_columns_are() -> None:
    text = "Usage:\n  x [options] ONE TWO\n\nOptions:\n  --at N  So many of these.\n"
    assert wrapping.usage_in_rows(text, 79) == text.rstrip("\n")
    assert wrapping.usage_in_rows(text, 19) == (
        "Usage:\n  x [options] ONE\n  TWO\n\nOptions:\n"
        "  --at N  So many\n          of these."
    )


def test_the_bar_says_as_much_as_leaves_it_twenty_cells() -> None:
    now = iter(range(100))
    bar = Bar(lambda: next(now), unicode=False)
    bar.update({"files": 9, "bytes": 1e6, "of_files": 0, "of_bytes": 0})
    assert bar.text(79) == "sending: 1.0 MB, 9 files, 1.0 MB/s"
    told = {"of_files": 6720, "of_bytes": 43e6}
    bar.update({"files": 2197, "bytes": 11e6, **told})
    for width in range(49, 130, 3):
        text = bar.text(width)
        assert wrapping.columns(text) == width
        assert len(text.split("|")[1]) >= (20 if width >= 79 else 12)
        assert "11 of 43 MB" in text and text.startswith(" 26% |###")
    assert bar.text(79).endswith("| 11 of 43 MB, 2,197 of 6,720 files, 8 s left")
    assert bar.text(49).endswith("| 11 of 43 MB, 8 s left")
    assert bar.text(129).endswith("6,720 files, 4.0 MB/s, 8 s left")
    for width in range(20, 49):
        assert wrapping.columns(bar.text(width)) == width


def test_of_a_file_that_begins_anew_no_time_that_is_over_is_told() -> None:
    now = 0.0
    one = OneFile(lambda: now, "'d/large.bin'")
    seen = []
    for count in (4e6, 6e6, 8e6, 1e6, 2e6):
        now += 1
        one.told({"bytes": count, "of_bytes": 20e6})
        seen.append(one.text(80))
    assert seen[2] == "sending 'd/large.bin': 8.0 of 20 MB, 2.9 MB/s, 4 s left"
    assert seen[3] == "sending 'd/large.bin': 1.0 of 20 MB"
    assert seen[4] == "sending 'd/large.bin': 2.0 of 20 MB, 1.0 MB/s, 18 s left"
    narrow = {width: one.text(width) for width in (60, 45, 38, 30)}
    assert narrow[60] == "sending 'd/large.bin': 2.0 of 20 MB, 1.0 MB/s, 18 s left"
    assert all(len(text) <= width for width, text in narrow.items())


def test_what_was_sent_and_what_is_left_is_told_of_an_interrupted_copy() -> None:
    copy = FirstCopy()
    assert copy.left() == ""
    copy.begun = True
    assert copy.left() == "the first copy is not done"
    again = FirstCopy(again=True)
    again.begun = True
    assert again.left() == "what has changed is not all there"
    copy.batch(batch("a b c", bytes=2_500_000))
    assert copy.left() == "3 files sent, 2.5 MB"
    copy.progress({"of_files": 6720, "of_bytes": 43e6})
    assert copy.left() == "3 of 6,720 files sent, 2.5 of 43 MB"


@pytest.mark.parametrize(
    "names, count, said",
    [
        ("a", 1, "'a' has not {}"),
        ("a b", 2, "'a' and 'b' have not {}"),
        ("a b c", 1204, "'a', 'b', 'c' and 1,201 more have not {}"),
    ],
)
def test_what_has_not_arrived_is_named(names: str, count: int, said: str) -> None:
    quoted = [f"'{name}'" for name in names.split()]
    assert left_words(quoted, count, False) == said.format("arrived")
    assert left_words(quoted, count, True) == said.format("been removed there")


def test_what_a_first_copy_removed_is_named() -> None:
    copy = FirstCopy()
    copy.batch(batch("a", "b c"))
    assert list(copy.removed()) == ["removed 'b'", "removed 'c'"]
    names = [f"'{number}'" for number in range(30)]
    copy.batch(batch(removed="x", deletions=40) | {"removed": names[:20]})
    lines = list(copy.removed())
    assert len(lines) == 21 and lines[-1] == "removed 22 more files"


def test_what_makes_a_copy_long_is_told_once() -> None:
    copy = FirstCopy()
    told = {"bytes": 0, "of_files": 9, "of_bytes": 4e9, "heavy": ["data", 3.1e9]}
    copy.progress(told)
    assert copy.heavy(told, 59) == ""
    assert copy.heavy(told, 720) == (
        "4.0 GB to send, about 12 min 0 s: 3.1 GB of it in data/;"
        " --exclude data/ leaves it out"
    )
    assert copy.heavy(told, 720) == ""


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
    assert done.stdout.decode().splitlines() == [
        "would remove 'a'",
        "would send 'b', 7 bytes, changed",
        "would send 'd', 3 bytes, new",
    ]
    count = b"2 files to send, 10 bytes; 1 to remove"
    assert done.stderr == b"file-replicator: nothing was changed: " + count + b"\n"
    assert done.returncode == 0
    done_once = run([REPLICATOR, "--quiet", "--dry-run", *words[1:]])
    assert done_once.stdout == done.stdout and done_once.returncode == 1
    # What nobody reads is not the word that there is nothing to be done.
    unread = ["bash", "-c", '"$@" | true; exit ${PIPESTATUS[0]}', "bash"]
    done = run([*unread, REPLICATOR, "--dry-run", *words[1:]])
    assert done.returncode == 128 + signal.SIGPIPE, done.stderr
    assert sorted(path.name for path in copy.iterdir()) == ["a", "b", "c"]
    assert run(words).returncode == 0
    assert run([REPLICATOR, "-n", *words[1:]]).returncode == 0


# --- what the far end may do to the terminal ------------------------------------------

HOSTILE = [
    (b"plain \xc3\xa4\n", ["plain ä"]),
    (b"\x1b[31mred\x1b[0m\n", ["\x1b[31mred\x1b[0m"]),
    (b"\x1b[1;91mred\n", ["\x1b[1;91mred"]),
    (b"\x1b[8mhidden \x1b[30;40mtoo\n", ["hidden too"]),
    (b"\x1b[38;2;0;0;0ma\x1b[48;5;0;31mb\x1b[7mc\n", ["a\x1b[31mbc"]),
    (b"\x1b]0;title\x07x\n", ["x"]),
    (b"\x1b]52;c;ZXZpbA==\x1b\\x\n", ["x"]),
    (b"\x1b[2J\x1b[Hx\n", ["x"]),
    (b"\x1bc\x1b(0x\n", ["x"]),
    (b"a\rfile-replicator: forged\n", ["a", "file-replicator: forged"]),
    (b"a\r\nb\tc\n", ["a", "b\tc"]),
    (b"\xc2\x9b2Jx\n", ["2Jx"]),
    (b"\x9b2J\xff\n", ["\ufffd2J\ufffd"]),
    (b"\x07\x08\x7f\x00x\n", ["x"]),
    (b"10%\r20%\r30%\n", ["10%", "20%", "30%"]),
    ("a\u202eb\u2028c\u00a0d\n".encode(), ["ab c d"]),
]


@pytest.mark.parametrize("data, shown", HOSTILE)
@pytest.mark.parametrize("piece", [1, 2, 1000])
def test_control_characters_of_the_far_end_do_nothing(
    data: bytes, shown: list[str], piece: int
) -> None:
    text = FarText("utf-8")
    parts = [data[at : at + piece] for at in range(0, len(data), piece)]
    assert [line for part in parts for line in text.feed(part)] == shown
    assert not text.end()


@pytest.mark.parametrize("odd", ["\x1b[2J", "\u202e", "", "x" * 1000, "\udc9b2J"])
def test_what_the_far_end_says_that_it_is_does_nothing(odd: str) -> None:
    said = far_line(f"tar=gnu list=find shell=bash tar={odd} list={odd} shell={odd}")
    assert said == far_line("") and said.isprintable()
    told = {"has": f"sum={odd} unzip={odd}", "reuses": False, "packs": False}
    assert tools_line(told).endswith("the far end has nothing")


def test_a_line_without_an_end_is_kept_for_a_moment_and_bounded() -> None:
    text = FarText("utf-8")
    assert text.feed(b"x" * 25_000) == ["x" * 10_000] * 2
    assert text.end() == ["x" * 5_000] and text.end() == []


def test_each_row_of_the_far_ends_is_marked_and_ends_its_colours() -> None:
    assert marked("hello", 80) == ["| hello"]
    assert marked("", 80) == ["| "]
    assert marked("\x1b[31mred", 0) == ["| \x1b[31mred\x1b[0m"]
    forged = " " * 8 + "12:00:00 in sync"
    assert marked(forged, 10) == ["|         ", "| 12:00:00", "|  in sync"]
    assert marked("\x1b[31mabcd\x1b[0me", 5) == [
        "| \x1b[31mabc\x1b[0m",
        "| \x1b[31md\x1b[0me\x1b[0m",
    ]
    assert marked("データ", 6) == ["| デー", "| タ"]
    assert marked("a\tb", 80) == ["| a       b"]


def test_a_terminal_on_which_nothing_is_drawn_gets_no_control_characters_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as shown, open(theirs, "w") as stream:
        display = Display(stream, "file-replicator")
        display.far_end(b"\x1b[2J\x1b[31mred\x1b[0m\nfile-replicator: in sync\nmore")
        display.close()
        assert shown.read(1000).splitlines() == [
            b"| red",
            b"| file-replicator: in sync",
            b"| more",
        ]


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
    said = "file-replicator: cannot write 'ä': ?[2J?x?fr-pack: forged\n"
    assert raw.getvalue().decode() == said


def test_a_bug_is_told_with_the_stage_it_is_in() -> None:
    raw = io.BytesIO()
    display = Display(io.TextIOWrapper(raw, "utf-8"), "file-replicator")
    display.line("fr-watch: internal error, please report it: KeyError: 'a'")
    assert raw.getvalue().decode() == (
        "file-replicator: internal error in fr-watch, please report it: KeyError: 'a'\n"
    )


def test_elsewhere_a_burst_is_a_line_a_second_at_most() -> None:
    raw, now = io.BytesIO(), [100.0]
    display = Display(
        io.TextIOWrapper(raw, "utf-8"), "file-replicator", clock=lambda: now[0]
    )
    assert display.due() is None
    for name in "abc":
        display.report(batch(name, bytes=1), True)
        now[0] += 0.01
    assert raw.getvalue() == b"file-replicator: sent 'a', 1 byte, 4.2 ms\n"
    now[0] += display.due() or 0.0
    display.tick()
    assert raw.getvalue().splitlines()[1:] == [
        b"file-replicator: sent 'b', 'c', 2 bytes, 14 ms"
    ]
    assert display.due() is None
    display.report(batch("d", bytes=1), True)
    display.message("connected again")  # what came before is told before
    assert raw.getvalue().splitlines()[2:] == [
        b"file-replicator: sent 'd', 1 byte, 4.2 ms",
        b"file-replicator: connected again",
    ]


def test_what_one_connection_has_left_another_may_have_brought() -> None:
    raw = io.BytesIO()
    display = Display(io.TextIOWrapper(raw, "utf-8"), "file-replicator", quiet=True)
    left = {"is": "left", "paths": 1, "names": ["'a'"], "gone": False}
    for words in (["ssh"], []):
        display.connecting(words)
        display.connected(b"/srv", "")
        display.report({"is": "first", **first()}, True)
        if words:  # fr-pack was asked to end by somebody else
            display.report(left, True)
    display.interrupted()
    assert not raw.getvalue()
    display.report(left, True)
    display.interrupted()
    assert b"interrupted: 'a' has not arrived" in raw.getvalue()


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

    def plain(self) -> str:
        """What was shown, without colours."""
        return re.sub(r"\x1b\[\d*m", "", self.text())

    def has(self, text: str) -> bool:
        return text in self.plain()

    def screen(self) -> list[str]:
        """The lines as they stand at the end: a carriage return begins a line anew."""
        lines = []
        for line in self.plain().replace("\r\n", "\n").split("\n"):
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


@pytest.mark.parametrize("columns", [120, 80, 50, 30])
def test_the_first_copy_has_a_bar_and_leaves_a_line(
    source: Path, place: Path, columns: int
) -> None:
    with on_terminal(str(source), *slow(place), columns=columns) as (program, terminal):
        program.wait_for(lambda: terminal.has("in sync"), what=terminal.text)
        bars = [part for part in re.split("[\r\n]", terminal.text()) if "% |" in part]
        assert bars and all(wrapping.columns(part) < columns for part in bars)
        if columns >= 50:
            cells = [part.split("|")[1] for part in bars]
            assert min(map(len, cells)) >= (20 if columns >= 80 else 12)
            assert re.search(r"of 8\.0 MB, .*\d s left", "".join(bars))
        text = " ".join(line.strip() for line in terminal.screen())
        said = (
            rf"({TIME} connecting: .* has not answered yet )?"  # a busy machine
            rf"{TIME} in sync: 40 files, 8.0 MB in [\d.]+ s -> \S+/dest/src; watching"
        )
        assert re.fullmatch(said, text), text
        assert "file-replicator" not in text.replace(str(place), "")


def test_no_colour_and_nothing_but_carriage_returns(source: Path, place: Path) -> None:
    words = [str(source), *slow(place)]
    with on_terminal(*words, NO_COLOR="1") as (program, terminal):
        program.wait_for(lambda: terminal.has("in sync"), what=terminal.text)
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", terminal.text())


def test_in_sync_is_green_and_a_failure_red(place: Path) -> None:
    source = place / "src"
    source.mkdir()
    (source / "a").write_text("a")
    (place / "d/src/b").mkdir(parents=True)
    with on_terminal(str(source), str(place / "d"), "sh") as (program, terminal):
        program.wait_for(lambda: "\x1b[32min sync\x1b[0m:" in terminal.text())
        os.kill(program.process.pid, signal.SIGINT)
        program.process.wait(20)
    words = [str(source), str(place / "d"), "--", "sh", "-c", "exit 3"]
    with on_terminal(*words) as (program, terminal):
        program.process.wait(20)
        wait_for(lambda: terminal.has("exited with 3"), what=terminal.text)
        assert re.search(f"{TIME} \x1b\\[31msh exited with 3", terminal.text())


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
        "    while data:  #", f"    if passed > 1e6: {talk}    while data:  #"
    )
    script.write_text(late)
    words = [str(source), str(place / "dest"), "--", sys.executable, str(script)]
    with on_terminal(*words) as (program, terminal):
        program.wait_for(lambda: terminal.has("in sync"), what=terminal.text)
        spoken = [line for line in terminal.screen() if line.startswith("|")]
        assert spoken and set(spoken) == {"| spoken far away"}


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("how", ["--whole-file", "--no-whole-file"])
def test_a_file_that_takes_long_after_the_first_copy_is_told_of(
    place: Path, how: str, columns: int
) -> None:
    """Nothing was seen until it was there, as if nothing was done."""
    source = place / "src"
    source.mkdir()
    script = place / "slow.py"
    script.write_text(SLOW_SHELL)
    words = [how, str(source), str(place / "d"), "--", sys.executable, str(script)]
    with on_terminal(*words, columns=columns) as (program, terminal):
        program.wait_for(lambda: terminal.has("in sync"), what=terminal.text)
        (source / "large").write_bytes(os.urandom(12_000_000))
        (source / "large").chmod(0o600)
        told = r"\r(?:sending )?'large': [\d.]+(?: [kM]B)? of 12 MB, [^\r]*\d s left"
        program.wait_for(
            lambda: len(re.findall(told, terminal.text())) > 2, what=terminal.text
        )
        (source / "small").write_text("x")
        done = f"{TIME} sent ('large', 12 MB|2 files, 12 MB), "
        program.wait_for(
            lambda: "small" in os.listdir(place / "d/src")
            and re.match(done, terminal.screen()[-1]),
            what=terminal.text,
        )
        assert "left" not in "".join(terminal.screen())
        rows = re.split("[\r\n]", terminal.plain())
        assert all(wrapping.columns(row) <= columns for row in rows)


def test_resizing_stopping_and_going_on_do_no_harm(source: Path, place: Path) -> None:
    words = ["--keepalive", "0.5", str(source), *slow(place)]
    with on_terminal(*words) as (program, terminal):
        program.wait_for(lambda: terminal.has("% |"), what=terminal.text)
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


def test_a_burst_on_a_terminal_becomes_one_line(place: Path) -> None:
    source = place / "src"
    source.mkdir()
    with on_terminal(str(source), str(place / "d"), "sh") as (program, terminal):
        program.wait_for(lambda: terminal.has("in sync"), what=terminal.text)
        for number in range(200):
            directory = source / f"d{number % 3}"
            directory.mkdir(exist_ok=True)
            (directory / f"f{number}").write_text("x")
        there = place / "d/src"
        program.wait_for(lambda: len(list(there.glob("d*/f*"))) == 200)
        # One that was seen half-made goes twice, and the directory of most stands first.
        line = rf"{TIME} sent \d+ files in d\d/, d\d/, d\d/, 200 bytes, [\d.]+ m?s"
        program.wait_for(
            lambda: re.fullmatch(line, terminal.screen()[-1])
            and terminal.text().endswith("\n"),
            what=terminal.text,
        )


@pytest.mark.parametrize("columns", [0, 1, 5, 11])
def test_a_terminal_without_room_is_no_reason_to_hang(
    place: Path, columns: int
) -> None:
    source = place / "src"
    source.mkdir()
    words = ["--on-sync", "echo a b c", str(source), str(place / "d"), "sh"]
    with on_terminal(*words, columns=columns) as (program, terminal):
        program.wait_for(lambda: "| a" in terminal.text(), what=terminal.text)
        for number in range(5):
            (source / f"{'name' * 20}{number}").write_text("x")
        there = place / "d/src"
        program.wait_for(lambda: len(list(there.glob("name*"))) == 5)
        assert program.end(signal.SIGINT) == 130


def test_an_interrupted_copy_says_what_is_left(source: Path, place: Path) -> None:
    with on_terminal(str(source), *slow(place)) as (program, terminal):
        there = place / "dest/src"
        program.wait_for(lambda: len(list(there.glob("*"))) > 5, what=terminal.text)
        os.kill(program.process.pid, signal.SIGINT)
        program.process.wait(20)

        def said() -> bool:
            last = " ".join(line.strip() for line in terminal.screen())
            words = r"interrupted: \d+ of 40 files sent, [\d.]+( kB)? of 8.0 MB;"
            return bool(re.search(words + " the next start goes on from there$", last))

        wait_for(said, what=terminal.text)


def test_verbose_says_what_was_found_and_how_it_is_done(place: Path) -> None:
    source = place / "src"
    source.mkdir()
    os.mkfifo(source / "fifo")
    with running(REPLICATOR, "-v", str(source), str(place / "d"), "dash") as program:
        program.says("in sync")
        said = program.errors.decode()
        has = "the far end has dash and GNU tar; listings come from find, renames from"
        assert f"file-replicator: {has}" in said
        assert "watching 1 directory by inotify" in said
        assert "'fifo'" in said and "{" not in said


def test_verbose_says_what_is_done_on_a_slow_connection() -> None:
    told = {"has": "sum=sha1sum unzip=gzip attributes=", "reuses": True, "packs": True}
    assert tools_line(told) == (
        "to send less, the far end has sha1sum and gzip: where that is faster,"
        " what it holds is not sent again, and what is sent is compressed"
    )
    none = {"has": "", "reuses": False, "packs": False}
    assert tools_line(none).endswith("the far end has nothing")


def test_a_connection_that_takes_long_is_told_of(place: Path) -> None:
    source, gate = place / "src", place / "gate"
    source.mkdir()
    os.mkfifo(gate)
    shell = ["sh", "-c", f"read x <{gate}; exec sh"]
    with running(REPLICATOR, str(source), str(place / "d"), "--", *shell) as program:
        program.says("file-replicator: connecting: 'sh -c read x")
        gate.write_text("\n")
        program.says("in sync: 0 files")


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
        if "--quiet" in options:  # else what is not yet acknowledged is told at the end
            assert run([REPLICATOR, "--wait", *words]).returncode == 0
        else:
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


def test_what_the_far_end_has_is_told_once_it_is_connected_again(
    source: Path, place: Path
) -> None:
    pid = place / "pid"
    shell = ["bash", "-c", f"echo $$ >{pid}; exec bash"]
    with running(REPLICATOR, "-v", str(source), str(place / "d"), *shell) as program:
        program.says("in sync")
        os.kill(int(pid.read_text()), signal.SIGKILL)
        wait_for(lambda: program.errors.count(b"in sync") == 2, process=program.process)
    _, _, after = program.errors.partition(b"connected again")
    assert b"listings come from" in after


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


def test_in_the_background_nothing_is_drawn_over_what_is_typed(place: Path) -> None:
    """After Ctrl-Z and `bg` the bar was drawn over the command that was being typed."""
    os.mkfifo(place / "gate")
    (place / "draws.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from filerep.wrapper.terminal.screen import Screen\n"
        "screen = Screen(sys.stderr, 'it')\n"
        "screen.draw('first'), screen.say('a line'), screen.draw('second')\n"
        "print('behind')\n"
        f"open({str(place / 'gate')!r}).read()\n"
        "while screen._bottom != 'third': screen.draw('third')\n"
        "screen.close()\n"
    )
    with keyboard.bash() as typed:
        typed.type(f"{sys.executable} {place}/draws.py & echo jo''b\n")
        typed.shows("a line")
        typed.shows("behind")
        typed.shows("job")
        assert "first" not in typed.text() and "second" not in typed.text()
        (place / "gate").write_text("go")
        typed.type("fg\n")
        typed.shows("third")
