"""Over a slow link nothing waits for a large file, and nothing travels twice."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from farends import SLOWLINK, FarEnd, mounted, with_command, without_rights
from lines import (
    INTERRUPTED,
    MOST,
    OK,
    SOME,
    Line,
    noise,
    reader,
    save,
    slow,
    text,
    version,
)
from operations import exchange
from pipelines import settle, stage
from programs import Running, run, running, wait_for
from slowlink import counts
from trees import plant


@SOME
def test_what_moves_while_a_file_of_it_is_under_way_is_right(
    name: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    line = Line(slow(far_end(name), 500_000, place / "count"), place, tiny=False)
    plant(line.source, {"d/small": "small", "d/e/f": text(900), "a": "a"})
    for size, moves in (
        (600_000, [("d", "D")]),
        (500_000, [("D/large", "larger"), ("D", "d")]),
        (500_000, [("d", "x"), ("x", "D"), ("D", "d")]),
    ):
        with line.watching() as program:
            before = counts(place / "count")[0]
            directory = "D" if (line.source / "D").exists() else "d"
            save(line.source / directory / "large", noise(size, moves))
            program.wait_for(lambda: counts(place / "count")[0] > before + size // 4)
            for old, new in moves:
                (line.source / old).rename(line.source / new)
            line.settle(program)


@pytest.mark.parametrize("name", ["dash+gnu", "busybox+busybox"])
def test_of_much_that_is_new_in_a_large_file_the_pieces_are_no_more_than_that(
    name: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    # More than what a second takes: it went in pieces, but all of the file.
    line = Line(slow(far_end(name), 250_000, place / "count"), place, tiny=False)
    path, new = line.source / "large", noise(1_200_000, "new")
    old = b"".join(noise(8, number) + bytes(56) for number in range(62_500))
    path.write_bytes(old)
    small = line.source / "small"
    with line.watching() as program:
        save(path, old)  # what it is made of is known by now
        line.settle(program)
        before = counts(place / "count")[0]
        beside = place / "beside"
        beside.write_bytes(old[:1_000_000] + new + old[2_000_000:] + new[:1000])
        beside.chmod(0o750)
        beside.replace(path)
        program.wait_for(lambda: counts(place / "count")[0] > before + 100_000)
        small.write_text("saved meanwhile")
        program.wait_for(lambda: (line.there / "small").exists())
        assert (line.there / "large").read_bytes() == old
        line.settle(program)
        assert counts(place / "count")[0] - before < 1_500_000


LOG = """
import sys, time
with open(sys.argv[1], "ab", buffering=0) as log:
    for number in range(5000):
        log.write(b"line %d\\n" % number)
        time.sleep(0.02)
"""


def test_a_save_waits_for_no_large_file_of_the_first_copy(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """Once nothing but large files was left, saves were held back until all were there."""
    line = Line(slow(far_end("bash+gnu"), 500_000, place / "count"), place, tiny=False)
    plant(line.source, {"small": "1"})
    (line.source / "large").write_bytes(noise(4_000_000))
    with running(*line.words(), env=line.environment()) as program:
        wait_for(lambda: (line.there / "small").exists())
        wait_for(lambda: counts(place / "count")[0] > 1_000_000)
        save(line.source / "small", b"2")
        wait_for(lambda: (line.there / "small").read_text() == "2")
        assert not (line.there / "large").exists()
        program.end(signal.SIGINT)


def test_a_large_file_took_as_long_as_all_of_its_pieces(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    line = Line(slow(far_end("bash+gnu"), 500_000, place / "count"), place, tiny=False)
    plant(line.source, {"small": "1"})
    with running(*line.words(), env=line.environment()) as program:
        program.says("in sync")
        began = time.monotonic()
        save(line.source / "large", noise(1_500_000))
        told = program.says("sent 'large'")
        took = time.monotonic() - began
        found = re.search("sent 'large', 1.5 MB, ([0-9.]+) s\n", told)
        assert found and took / 2 < float(found[1]) < took + 0.1, told
        program.end(signal.SIGINT)


@pytest.mark.parametrize("waits", ["nobody", "--on-sync", "--wait"])
def test_a_save_waits_for_no_tree_that_was_moved_in(
    waits: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """All of the tree was urgent, and named before: it took 17 s for 20 MB at 1 MB/s."""
    line = Line(slow(far_end("bash+gnu"), 500_000, place / "count"), place, tiny=False)
    plant(line.source, {"small": "1"})
    plant(place / "tree", {f"d{n % 7}/f{n}": noise(20_000, n) for n in range(200)})
    options = ["--on-sync", "true"] if waits == "--on-sync" else []
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(line.watching(*options))
        before = counts(place / "count")[0]
        (place / "tree").rename(line.source / "tree")
        program.wait_for(lambda: counts(place / "count")[0] > before + 500_000)
        if waits == "--wait":
            words = line.words("--wait")
            waiter = stack.enter_context(running(*words, env=line.environment()))
        program.wait_for(lambda: counts(place / "count")[0] > before + 1_200_000)
        save(line.source / "small", b"2")
        program.wait_for(lambda: (line.there / "small").read_text() == "2")
        assert len(list(line.there.glob("tree/*/*"))) < 150
        if waits == "--wait":
            assert waiter.end() == OK and not line.wrong()
        line.settle(program)


def test_a_file_that_is_put_back_again_and_again_arrives_in_pieces(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """Each look at it, of which one that goes in pieces has several, had it wait once more."""
    line = Line(far_end("bash+gnu"), place)
    path = line.source / "f"
    save(path, noise(4096))
    with line.watching() as program:
        save(path, noise(4096, 1))
        line.settle(program)
        for mtime in (5, 4, 3):
            new = path.with_name("new")
            new.write_bytes(noise(4096, mtime))
            os.utime(new, (mtime, mtime))
            new.rename(path)
            line.settle(program)


@pytest.mark.parametrize("instead", ["nothing", "a file", "a link"])
def test_more_goes_with_a_directory_than_one_batch_has_looks_for(
    instead: str, line: Line, place: Path
) -> None:
    """It was looked through anew for each batch, for ever: one of 20,000 files never went."""
    plant(line.source, {"kept": "1", **{f"d/{n % 5}/f{n}": "" for n in range(70)}})
    with line.watching("--hold", "0.5") as program:
        (line.source / "d").rename(place / "d")
        if instead == "a file":
            save(line.source / "d", b"a file")
        elif instead == "a link":
            (line.source / "d").symlink_to("kept")
        line.settle(program)


def test_a_large_log_that_never_rests_arrives_over_a_slow_connection(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """It began anew with each line: the first copy never came to its end, nor did --wait."""
    line = Line(slow(far_end("bash+gnu"), 500_000, place / "count"), place, tiny=False)
    log = line.source / "log"
    log.write_bytes(noise(1_500_000))
    with running(sys.executable, "-c", LOG, log) as writer:
        with running(*line.words(), env=line.environment()) as program:
            program.says("in sync", 60)
            before, sent = log.read_bytes(), counts(place / "count")[0]
            done = run(line.words("--wait"), env=line.environment(), timeout=30)
            assert done.returncode == OK, done.stderr
            assert (line.there / "log").read_bytes().startswith(before)
            assert counts(place / "count")[0] < sent + 500_000  # of the rest not all
            writer.close()
            program.end(signal.SIGINT)


def test_a_start_knows_that_the_connection_is_slow(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """By what the last one has measured: what was touched meanwhile went, for a megabyte."""
    far = far_end("bash+gnu")
    words = [sys.executable, str(SLOWLINK), "1000000", "0", str(place / "count"), "--"]
    line = Line(with_command(far, [*words, *far.command]), place, tiny=False)
    plant(line.source, {f"d{n // 50}/f{n}": noise(10_000, n) for n in range(200)})
    line.once()
    for path in line.source.rglob("f*"):
        path.touch()
    line.once()
    assert counts(place / "count")[0] < 150_000


@pytest.mark.parametrize("before", [False, True], ids=["empty", "compared"])
def test_what_is_ignored_during_a_first_copy_goes_no_more(
    before: bool, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """All that had been named by then went, for as long as that took; and a new line went, too."""
    line = Line(slow(far_end("bash+gnu"), 400_000, place / "count"), place, tiny=False)
    files = {f"d{n % 3}/f{n}": noise(20_000, n) for n in range(30)}
    files.update({f"e/{n % 7}/secret{n}": noise(10_000, -n) for n in range(200)})
    plant(line.source, {**files, ".gitignore": "none\n"})
    if before:
        plant(line.there, {path: "old" for path in files})
    with running(*line.words("--debugging"), env=line.environment()) as program:
        sent = counts(place / "count")[0]
        program.wait_for(lambda: counts(place / "count")[0] > sent + 600_000)
        save(line.source / ".gitignore", b"none\nsecret*\n")
        plant(line.source, {"d0/new": "1", "e/1/secret": "1"})
        (line.source / "d1/f1").unlink()
        line.settle_all(program, "secret*")
        there = line.there.rglob("secret*")
        assert 0 < sum(path.stat().st_size > 3 for path in there) < 150
        assert not (line.there / "e/1/secret").exists()
        # Then the rules are fr-watch's again, by which it goes once it is wanted.
        save(line.source / ".gitignore", b"none\n")
        line.settle(program)
        program.end(signal.SIGINT)


@pytest.mark.parametrize("where", [".git/info/exclude", "home", "index", "once"])
def test_whatever_rules_are_edited_during_a_first_copy_hold_for_all_that_waits(
    where: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """fr-watch names none of these files; and with --once there is no fr-watch."""
    line = Line(slow(far_end("bash+gnu"), 400_000, place / "count"), place, tiny=False)
    files = {f"e/{n % 7}/secret{n}": noise(10_000, n) for n in range(200)}
    plant(line.source, {**files, "small": "1"})
    git = ["git", "-C", line.source]
    run([*git, "init", "-q"])
    rules = line.source / where
    if where == "home":
        rules = place / "home/git/ignore"
        rules.parent.mkdir(parents=True)
    elif where == "once":
        rules = line.source / ".gitignore"
    elif where == "index":
        plant(line.source, {".gitignore": "secret*\n"})
        run([*git, "add", "-f", "e"])
    options = ["--debugging"] + ["--once"] * (where == "once")
    env = line.environment(XDG_CONFIG_HOME=str(place / "home"))
    with running(*line.words(*options), env=env) as program:
        program.wait_for(lambda: counts(place / "count")[0] > 600_000)
        if where == "index":
            assert not run([*git, "rm", "-r", "-q", "--cached", "e"]).returncode
        else:
            save(rules, b"secret*\n")
        if where == "once":
            assert program.end(timeout=60) == OK
        else:
            settle(program)
            program.end(signal.SIGINT)
    assert (line.there / "small").exists()
    assert 0 < len(list(line.there.rglob("secret*"))) < 150


@SOME
def test_a_large_file_that_is_ignored_while_it_goes_does_not_arrive(
    name: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    line = Line(slow(far_end(name), 500_000, place / "count"), place, tiny=False)
    plant(line.source, {"small": "1"})
    with line.watching() as program:
        before = counts(place / "count")[0]
        save(line.source / "large", noise(3_000_000))
        program.wait_for(lambda: counts(place / "count")[0] > before + 300_000)
        save(line.source / ".gitignore", b"large*\n")
        line.settle_all(program, "large*")
        assert not (line.there / "large").exists()
        assert counts(place / "count")[0] < before + 1_500_000
        save(line.source / "small", b"2")
        line.settle_all(program, "large*")
        assert not list(line.there.glob(".filerep-*/.parts/*"))
        save(line.source / ".gitignore", b"none\n")
        line.settle(program)


def test_a_log_that_never_rests_goes_no_more_once_it_is_ignored(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    line = Line(far_end("bash+gnu"), place, tiny=False)
    run(["git", "init", "-q", line.source])
    plant(line.source, {"small": "1"})
    log = line.source / "log"
    with running(*line.words("--debugging"), env=line.environment()) as program:
        program.says("in sync")
        log.write_bytes(noise(20_000_000))
        with running(sys.executable, "-c", LOG, log):
            program.wait_for(lambda: (line.there / "log").exists(), 60)
            program.wait_for(lambda: log.stat().st_size > 20_002_000)
            (line.source / ".git/info/exclude").write_text("log\n")
            settle(program)
            with log.open("ab") as file:
                file.write(b"secret")
            done = run(line.words("--wait"), env=line.environment(), timeout=60)
            assert done.returncode == OK
        save(line.source / "small", b"2")
        program.wait_for(lambda: (line.there / "small").read_bytes() == b"2")
        assert b"secret" not in (line.there / "log").read_bytes()


def reads_ahead(program: Running, size: int) -> None:
    """Wait until fr-pack has read files of so many bytes, for which it has a quiet moment."""
    looks: list[int] = []

    def has_read() -> bool:
        text = Path(f"/proc/{stage(program, 'pack')}/io").read_text()
        looks.append(int(text.split()[1]))
        return looks[-1] >= size and looks[-20:] == looks[-1:] * 20

    program.wait_for(has_read)


def test_a_log_that_never_rests_is_followed_by_its_new_lines(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """A line that came while the others were found tore it: after ten seconds all of it went."""
    line = Line(slow(far_end("bash+gnu"), 500_000, place / "count"), place, tiny=False)
    log = line.source / "log"
    log.write_bytes(noise(6_000_000))
    line.there.mkdir()
    shutil.copy2(log, line.there)
    with running(*line.words(), env=line.environment()) as program:
        program.says("in sync", 60)
        save(line.source / "other", b"1")
        program.wait_for(lambda: (line.there / "other").exists())
        reads_ahead(program, 6_000_000)
        with running(sys.executable, "-c", LOG, log):
            for _ in range(3):
                before = log.read_bytes()
                there = lambda: (line.there / "log").stat().st_size
                program.wait_for(lambda: there() >= len(before))
                found = (line.there / "log").read_bytes()
                assert log.read_bytes().startswith(found)
        assert counts(place / "count")[0] < 200_000
        program.end(signal.SIGINT)


def test_an_end_amid_a_large_file_leaves_only_what_has_arrived_of_it(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    # dash tried its last words again at each step of clearing up, and each was a SIGPIPE.
    line = Line(slow(far_end("dash+gnu"), 300_000, place / "count"), place, tiny=False)
    plant(line.source, {"small": "1"})
    for number in range(3):
        with running(*line.words(), env=line.environment()) as program:
            program.says("in sync", 60)
            before = counts(place / "count")[0]
            save(line.source / "large", noise(1_500_000, number))
            program.wait_for(lambda: counts(place / "count")[0] > before + 300_000)
            assert program.end(signal.SIGINT) == INTERRUPTED
            wait_for(  # in here: whatever still runs at its end is killed
                lambda: all(
                    set(os.listdir(left)) <= {".parts"}
                    for left in line.there.glob(".filerep-*")
                )
            )
        (line.source / "large").unlink()
    line.once()
    assert not list(line.there.glob(".filerep-*"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@SOME
def test_the_next_start_goes_on_with_a_large_file_where_this_one_ended(
    name: str, how: signal.Signals, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """It was dropped where the run ended in order, or had not asked yet how to show it is right."""
    far = far_end(name)
    words = [sys.executable, str(SLOWLINK), "1000000", "5", str(place / "count"), "--"]
    line = Line(with_command(far, [*words, *far.command]), place, tiny=False)
    plant(line.source, {"small": "1"})
    with running(*line.words(), env=line.environment()) as program:
        program.says("in sync", 60)
        before = counts(place / "count")[0]
        save(line.source / "large", noise(4_000_000))
        program.wait_for(lambda: counts(place / "count")[0] > before + 2_500_000)
        program.end(how)
        program.close()
    line.once()
    assert counts(place / "count")[0] < 3_200_000
    assert not list(line.there.glob(".filerep-*"))


@MOST
def test_a_branch_switched_back_travels_once(
    name: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    line = Line(slow(far_end(name), 500_000, place / "count"), place, tiny=False)
    shared = {f"d{number % 3}/f{number}": number for number in range(30)}

    def switch(branch: str) -> int:
        """How many bytes it took."""
        before = counts(place / "count")[0]
        for path, number in shared.items():
            (line.source / path).unlink(missing_ok=True)
            (line.source / path).write_bytes(noise(6000, f"{branch} {number}"))
        shutil.rmtree(line.source / "only", ignore_errors=True)
        own = {
            f"{branch}{number}": noise(6000, (branch, number)) for number in range(9)
        }
        plant(line.source / "only", own)
        line.settle(program)
        return counts(place / "count")[0] - before

    with line.watching() as program:
        plant(line.source, dict.fromkeys(shared, "1"))
        line.settle(program)
        switch("one")
        assert switch("two") > 39 * 6000
        assert switch("one") < 39 * 600
        assert switch("two") < 39 * 600
        # Nobody sees what is kept for that, and it goes with the rest.
        assert sorted(os.listdir(line.there))[-4:] == ["d0", "d1", "d2", "only"]


@MOST
def test_of_small_files_only_the_lines_travel_that_a_branch_changes(
    name: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """A quarter of 16 KiB did, or all of what has no more; behind a new start all of each."""
    line = Line(slow(far_end(name), 500_000, place / "count"), place, tiny=False)
    sizes = [3000, 6000, 15_000, 30_000]
    old = {
        f"d{number % 3}/f{number}": noise(sizes[number % 4], number)
        for number in range(30)
    }

    def switch(program: Running) -> None:
        line.settle(program)
        before = counts(place / "count")[0]
        for path in old:
            content = (line.source / path).read_bytes()
            half = len(content) // 2
            (line.source / path).unlink()
            (line.source / path).write_bytes(content[:half] + b"1" + content[half:])
        line.settle(program)
        assert counts(place / "count")[0] - before < 30 * 1500

    plant(line.source, {"small": "1"})
    with line.watching() as program:
        plant(line.source, old)
        switch(program)
    with line.watching() as program:
        line.settle(program)
        save(line.source / "small", b"2")
        switch(program)


@SOME
def test_what_is_read_only_does_not_travel_twice_either(
    name: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """As git's objects are: at a far end of an ordinary user's all of it went once more."""
    far = far_end(name)
    far = with_command(far, [*without_rights(), *far.command])
    line = Line(slow(far, 500_000, place / "count"), place, tiny=False)
    plant(line.source, {"d/first": ""})
    with line.watching() as program:
        for number in range(4):
            path = line.source / f"d/{number}"
            path.write_bytes(noise(50_000, number))
            path.chmod(0o444)
        line.settle(program)
        before = counts(place / "count")[0]
        for number in range(4):
            os.utime(line.source / f"d/{number}", (1, 1_000_000_000))
        line.settle(program)
        # Complete at once: on a busy machine a half of one would be sent, too.
        shutil.copytree(line.source / "d", place / "copied")
        (place / "copied").rename(line.source / "copied")
        line.settle(program)
        assert counts(place / "count")[0] - before < 40_000


@MOST
def test_what_is_moved_and_edited_or_made_anew_goes_in_parts(
    name: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """A log that is moved aside, and written to yet; what is built after a clean-up."""
    line = Line(slow(far_end(name), 500_000, place / "count"), place, tiny=False)
    log, built = line.source / "log", line.source / "d/built"
    plant(line.source, {"log": "", "d/built": ""})

    def spent() -> int:
        line.settle(program)
        return counts(place / "count")[0]

    with line.watching() as program:
        before = spent()
        log.write_bytes(noise(300_000, "log"))
        built.write_bytes(noise(300_000, "built"))
        before, once = spent(), spent() - before
        assert once > 600_000
        with open(log, "ab") as file:
            log.rename(line.source / "d/old log")
            file.write(b"one line more")
        log.write_bytes(b"a new log")
        before, moved = spent(), spent() - before
        built.unlink()
        wait_for(lambda: not (line.there / "d/built").exists())
        built.write_bytes(noise(300_000, "built")[:200_000] + noise(40_000))
        before, anew = spent(), spent() - before
        assert moved < 40_000 and anew < 80_000, (moved, anew)


def test_what_is_retained_takes_no_room_that_is_wanted(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    far = far_end("bash+gnu")
    with mounted(far.here, "size=2m"):
        line = Line(slow(far, 2_000_000, place / "count"), place, tiny=False)
        with line.watching() as program:
            for number in range(4):
                (line.source / "a").write_bytes(noise(450_000, number))
                line.settle(program)
            (line.source / "a").unlink()
            (line.source / "b").write_bytes(noise(1_600_000))
            line.settle(program)


def test_what_is_not_retained_after_all_is_sent_whole(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    line = Line(far_end("bash+gnu"), place)
    with line.watching() as program:
        for number in range(3):
            for name in ("a", "d/b"):
                (line.source / name).parent.mkdir(exist_ok=True)
                save(line.source / name, noise(6000, f"{number} {name}"))
            line.settle(program)
        (line.source / "a").unlink()
        line.settle(program)
        (shelves,) = line.there.glob(".filerep-*/.retained")
        shutil.rmtree(shelves)
        save(line.source / "a", noise(6000, "2 a")[:-9] + b"edited")  # it is built of
        save(line.source / "d/b", noise(6000, "1 d/b"))
        line.settle(program)


@SOME
def test_a_file_that_changes_while_its_pieces_go_is_one_version_in_the_end(
    name: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    line = Line(slow(far_end(name), 2_000_000, place / "count"), place, tiny=False)
    path = line.source / "large"
    path.write_bytes(version(0, 1280))
    with line.watching("--exclude", "*~") as program, reader(line.there / "large"):
        for number in range(1, 7):
            before = counts(place / "count")[0]
            size = 2_560_000
            save(path, version(number, size))
            program.wait_for(lambda: counts(place / "count")[0] > before + 1000)
            if number % 2:
                save(path, version(number + 100, size))
        line.settle(program)
        # What was sent of those that were not the last goes with the next batch.
        save(line.source / "small", b"1")
        line.settle(program)
        assert not list(line.there.glob(".filerep-*/.parts/*"))
        for number in range(8, 14):
            save(path, version(number, 1280 * (number - 7)))
            line.settle(program)


@MOST
def test_files_of_one_content_that_trade_places_keep_their_own_times(
    name: str, line: Line
) -> None:
    """One that is moved over there by a link must not share its time with another."""
    plant(line.source, {"a/one": "the same\n" * 30, "b/two": "the same\n" * 30})
    os.utime(line.source / "a/one", (1, 1_000_000_000))
    with line.watching() as program:
        one, two = line.source / "a/one", line.source / "b/two"
        exchange(os.fsencode(one), os.fsencode(two))
        line.settle(program)
        (line.source / "a").rename(line.source / "b/a")
        os.utime(line.source / "b/two", (2, 2_000_000_000))
        line.settle(program)
