"""--events, held against docs/events.md, and readers that stop."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import farends
import pytest
from programs import ROOT, Running, run, running, wait_for
from slowlink import slow_shell

from filerep.wrapper.events import Events

REPLICATOR = str(ROOT / "bin/file-replicator")
CONTRACT = {
    name: set(re.findall(r"`(\w+)`", fields))
    for name, fields in re.findall(
        r"^\| `(\w+)` \|([^|]*)\|",
        (ROOT / "docs/events.md").read_text(),
        re.MULTILINE,
    )
}


def checked(data: bytes) -> list[dict[str, Any]]:
    """The events in ``data``, each as the contract has it."""
    assert data.isascii() and data.endswith(b"\n")
    events = [json.loads(line) for line in data.splitlines()]
    for event in events:
        assert set(event) == CONTRACT[event["event"]] | {"event", "time"}, event
    times = [event["time"] for event in events]
    assert times == sorted(times)
    return events


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


@pytest.fixture
def words(place: Path) -> list[str]:
    (place / "src").mkdir()
    (place / "src/f").write_text("x")
    return [str(place / "src"), str(place / "far"), "bash"]


@contextlib.contextmanager
def told(place: Path, *words: str) -> Iterator[tuple[Running, Path]]:
    log = place / "events"
    with running(REPLICATOR, "--events", str(log), *words) as program:
        yield program, log


def test_a_run_tells_what_happens_from_start_to_end(
    place: Path, words: list[str]
) -> None:
    hostile = b'new\n\xff"\\x'
    with told(place, "--on-sync", "exit 3", *words) as (program, log):
        program.says("watching")
        path = os.fsencode(place / "src") + b"/" + hostile
        with open(path, "w") as file:
            file.write("yy")
        wait_for(lambda: b"new" in log.read_bytes(), process=program.process)
        os.unlink(path)
        wait_for(lambda: log.read_bytes().count(b'"hook"') >= 2)
        wait_for(lambda: rb'"removed": ["new' in log.read_bytes())
        program.end(signal.SIGTERM)
    events = checked(log.read_bytes())
    names = [event["event"] for event in events if event["event"] != "progress"]
    assert names[:3] == ["start", "connecting", "connected"]
    first, new, gone = named(events, "batch")
    assert (first["first"], first["sent"], first["bytes"]) == (True, ["f"], 1)
    assert [os.fsencode(path) for path in new["sent"]] == [hostile]
    assert (new["first"], new["files"], new["bytes"]) == (False, 1, 2)
    assert gone["removed"] == new["sent"] and gone["deletions"] == 1
    assert named(events, "connected")[0]["destination"] == str(place / "far/src")
    assert named(events, "start")[0]["pid"] == program.process.pid
    assert {hook["status"] for hook in named(events, "hook")} == {3}
    assert len(named(events, "in_sync")) == 1
    assert events[-1]["event"] == "end" and events[-1]["status"] == 143


def test_all_names_of_a_batch_are_told(place: Path, words: list[str]) -> None:
    for number in range(500):
        (place / f"src/{number}").write_text("x")
    done = run([REPLICATOR, "--events", "1", "--once", *words])
    events = checked(done.stdout)
    sent = [path for batch in named(events, "batch") for path in batch["sent"]]
    assert sorted(sent) == sorted(os.listdir(place / "src"))
    (copy,) = named(events, "first_copy")
    assert (copy["files"], copy["destination_files"]) == (501, 501)


def test_of_how_many_files_counts_symbolic_links(place: Path) -> None:
    """Those that had arrived were more in the end than there were to be."""
    (place / "src").mkdir()
    for number in range(40):
        (place / f"src/{number}").write_bytes(os.urandom(100_000))
        (place / f"src/to{number}").symlink_to(str(number))
    words = [place / "src", place / "far", "--", sys.executable, "-c", slow_shell(2e6)]
    done = run([REPLICATOR, "--events", "1", "--once", *words])
    told = named(checked(done.stdout), "progress")
    assert {one["of_files"] for one in told if one["of_files"]} == {80}, told


def test_of_a_file_in_pieces_each_counts_once(place: Path) -> None:
    """What had arrived before, and what had gone before the sum was made, counted too."""
    (place / "src").mkdir()
    (place / "src/large").write_bytes(os.urandom(6_000_000))
    slow = [sys.executable, ROOT / "tests/support/slowlink.py", "1000000", "20", "--"]
    words = [REPLICATOR, "--no-whole-file", place / "src", place / "far", "--", *slow]
    parts = "far/src/.filerep-*/.parts/*"
    arrived = lambda: sum(part.stat().st_size for part in place.glob(parts))
    with running(*words, "bash") as program:
        program.wait_for(lambda: arrived() > 1_500_000)
        program.end(signal.SIGINT)
    words[1:1] = ["--events", "1", "--once"]
    told = named(checked(run([*words, "bash"]).stdout), "progress")
    (whole,) = {one["of_bytes"] for one in told if one["of_bytes"]}
    assert whole == 6_000_000, told
    assert 5_000_000 < told[-1]["bytes"] <= whole, told
    first = next(one["bytes"] for one in told if one["bytes"])
    assert first > 1_500_000, told


def test_a_dry_run_tells_what_it_would_do(place: Path, words: list[str]) -> None:
    done = run([REPLICATOR, "--events", "2", "-q", "--once", "-n", *words])
    events = checked(done.stderr)
    (would,) = named(events, "would")
    assert (would["do"], would["path"], would["new"]) == ("send", "f", True)
    assert named(events, "would_all")[0]["files"] == 1


def test_what_fails_is_named_and_why(place: Path, words: list[str]) -> None:
    farends.need_root()
    (place / "far/src/shut").mkdir(parents=True)
    (place / "src/shut").mkdir()
    (place / "src/shut/g").write_text("x")
    os.chown(place / "far/src/shut", 1, 1)
    log = place / "events"
    without = farends.without_rights()
    done = run([*without, REPLICATOR, "--events", log, "--once", *words])
    assert done.returncode == 69
    failing = named(checked(log.read_bytes()), "failing")
    assert failing and failing[0]["paths"] == ["shut/g"]
    assert "cannot be written" in failing[0]["why"]
    assert named(checked(log.read_bytes()), "out_of_sync")[0]["failing"] == 1


def test_what_cannot_be_read_is_named_until_it_could_be(
    place: Path, words: list[str]
) -> None:
    (place / "src/f").chmod(0)
    (place / "src/d").mkdir(mode=0)
    log = place / "events"
    program = [*farends.without_rights(), REPLICATOR, "--events", str(log), *words]
    with running(*program) as it:
        it.says("watching")
        (place / "src/f").chmod(0o644)
        it.says("sent 'f'")
        (place / "src/f").chmod(0)
        wait_for(lambda: log.read_bytes().count(b'"unreadable"') == 3)
        (place / "src/d").chmod(0o755)
        it.end(signal.SIGTERM)
    unreadable = named(checked(log.read_bytes()), "unreadable")
    assert sorted(event["path"] for event in unreadable) == ["d", "f", "f"]
    assert {event["why"] for event in unreadable} == {"Permission denied"}


def test_a_lost_connection_is_an_event(place: Path, words: list[str]) -> None:
    pid = place / "pid"
    shell = ["--", "bash", "-c", f"echo $$ >{pid}; exec bash"]
    with told(place, *words[:2], *shell) as (program, log):
        program.says("watching")
        os.kill(int(pid.read_text()), signal.SIGKILL)
        program.says("connected again")
        wait_for(lambda: log.read_bytes().count(b'"first_copy"') == 2)
        program.end(signal.SIGTERM)
    (lost,) = named(checked(log.read_bytes()), "lost")
    assert lost["why"] == "bash was killed by signal 9" and lost["again_in"] > 0


def test_a_file_of_events_in_the_source_is_no_part_of_it(
    place: Path, words: list[str]
) -> None:
    log = place / "src/sub [1]/events"
    log.parent.mkdir()
    with running(REPLICATOR, "--events", str(log), *words) as program:
        program.says("watching")
        (place / "src/new").write_text("x")
        program.says("sent 'new'")
        assert run([REPLICATOR, "--wait", *words]).returncode == 0
    assert not (place / "far/src/sub [1]").exists()
    assert len(named(checked(log.read_bytes()), "batch")) == 2


def test_a_reader_that_stops_loses_events_and_the_run_goes_on(
    place: Path, words: list[str]
) -> None:
    reader, writer = os.pipe()
    with running(
        REPLICATOR, "--events", str(writer), *words, pass_fds=[writer]
    ) as program:
        os.close(writer)
        program.says("watching")
        name = "n" * 200
        for number in range(3):  # 30,000 names are more than is kept
            for one in range(10_000):
                (place / f"src/{name}{number}-{one}").touch()
            assert run([REPLICATOR, "--wait", *words]).returncode == 0
        data = b""
        while b'"dropped"' not in data:
            assert select.select([reader], [], [], 20)[0]
            data += os.read(reader, 1 << 16)
            if not select.select([reader], [], [], 0)[0]:
                (place / "src/f").write_text("again")
        program.signal(signal.SIGTERM)
        while chunk := os.read(reader, 1 << 16):
            data += chunk
    events = checked(data)
    assert sum(event["count"] for event in named(events, "dropped")) > 0
    assert events[-1]["event"] == "end"
    os.close(reader)


def test_a_reader_that_goes_is_told_once(place: Path, words: list[str]) -> None:
    reader, writer = os.pipe()
    with running(
        REPLICATOR, "--events", str(writer), *words, pass_fds=[writer]
    ) as program:
        os.close(writer)
        program.says("watching")
        os.close(reader)
        for number in range(3):
            (place / f"src/{number}").write_text("x")
            program.says(f"sent '{number}'")
        program.end(signal.SIGTERM)
        said = b"cannot write events: nobody reads them any more; it goes on without"
        assert program.errors.count(said) == 1


# What the caller did not open may be open for something else by then: a lock, a socket.
@pytest.mark.parametrize(
    "where",
    ["3", "4", "5", "77", "-", "-1", "99999999999999999999", "/no/such/file", "/"],
)
def test_events_that_have_no_place_are_refused(where: str, words: list[str]) -> None:
    done = run([REPLICATOR, "--events", where, *words])
    assert done.returncode == 64 and b"cannot write events to" in done.stderr


def test_a_fifo_without_a_reader_is_not_waited_for(
    place: Path, words: list[str]
) -> None:
    os.mkfifo(place / "events")
    with told(place, *words) as (program, _):
        program.says("watching")


def test_what_is_dropped_is_counted_without_a_process() -> None:
    reader, writer = os.pipe()
    events = Events(writer, clock=lambda: 1.0)
    for _ in range(30):
        events.tell("batch", sent=["x" * 300_000])
    kept = b""
    while select.select([reader], [], [], 0)[0]:
        kept += os.read(reader, 1 << 20)
        events.flush()
    events.tell("end", status=0)
    kept += os.read(reader, 1 << 20)
    told = [json.loads(line) for line in kept.splitlines()]
    assert [one["event"] for one in told[-2:]] == ["dropped", "end"]
    assert len(told) - 2 + told[-2]["count"] == 30 and told[-2]["count"] > 10
    os.close(reader)
    os.close(writer)
