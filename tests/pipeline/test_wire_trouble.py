"""Whatever goes wrong while a file is made over there, nobody sees a wrong one."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from farends import SLOWLINK, FarEnd, mounted, remount, with_command
from lines import EVERY, MOST, SOME, Line, alter, noise, reader, save, text, version
from pipelines import name_of, parent_of
from programs import Running, read_until, wait_for
from trees import plant


@MOST
def test_a_reader_never_sees_a_wrong_file_or_none(name: str, line: Line) -> None:
    """Saved in parts, moved over, made shorter and longer."""
    sizes = [640, 1280, 2560, 1920, 128, 6400]
    path = line.source / "f"
    path.write_bytes(version(0, 640))
    with line.watching("--exclude", "*~") as program, reader(line.there / "f"):
        for number in range(1, 73):
            content = version(number, sizes[number % len(sizes)])
            if number % 3:
                save(path, content)
            else:  # a file that is over there already takes its name
                (line.source / "next").write_bytes(content)
                if number % 2:
                    line.settle(program)
                (line.source / "next").rename(path)
            if number % 8 == 0:
                line.settle(program)


def seen_until(content: bytes, paths: list[Path], program: Running) -> set[bytes]:
    """What stood at ``paths`` until it was ``content`` at all of them."""
    seen: set[bytes] = set()

    def all_hold_it() -> bool:
        held = [path.read_bytes() for path in paths if path.exists()]
        seen.update(held)
        return held == [content] * len(paths)

    program.wait_for(all_hold_it)
    return seen


@SOME
def test_a_copy_that_could_not_be_made_is_not_seen_empty(
    name: str, line: Line, place: Path
) -> None:
    """What stands for it in the archive was put in its place until all of it was sent."""
    words = [sys.executable, str(SLOWLINK), "0", "150", "--", *line.far.command]
    line.far = with_command(line.far, words)
    old, new = text(700, "old"), text(900, "new")
    plant(line.source, {"a": new, "d/b": old})
    with line.watching() as program:
        alter(line.there / "a", b"altered over there", lie=True)
        save(line.source / "d/b", new)
        (line.source / "new").mkdir()
        save(line.source / "new/c", new)
        found = [line.there / "d/b", line.there / "new/c"]
        assert seen_until(new, found, program) == {old, new}
        assert not list(line.there.glob(".filerep-*/.in/*"))  # it takes no room
        save(line.source / "a", old)
        line.settle(program)


@SOME
def test_a_copy_of_what_is_in_a_lost_directory_is_not_seen_empty(
    name: str, line: Line, place: Path
) -> None:
    """Nor is it put into a new directory, empty."""
    words = [sys.executable, str(SLOWLINK), "0", "150", "--", *line.far.command]
    line.far = with_command(line.far, words)
    old, new = text(700, "old"), text(900, "new")
    plant(line.source, {"d/a": new, "b": old})
    with line.watching() as program:
        shutil.rmtree(line.there / "d")
        save(line.source / "b", new)
        shutil.copytree(line.source / "d", line.source / "copied")
        found = [line.there / "b", line.there / "copied/a"]
        assert seen_until(new, found, program) == {old, new}
        line.settle(program)


# --- what goes wrong meanwhile -----------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["bash+gnu", "dash+gnu", "dash+bsdtar", "busybox+busybox"]
)
def test_a_disk_that_fills_leaves_the_old_file(
    name: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    far = far_end(name)
    with mounted(far.here, "size=88k"):
        line = Line(far, place)
        plant(line.source, {"large": noise(45_000), "small": "one"})
        old = (line.source / "large").read_bytes()
        with line.watching() as program:
            save(line.source / "large", old[:5000] + b"INSERTED" + old[5000:])
            program.says("its disk is full")
            save(line.source / "small", b"two")
            program.wait_for(lambda: (line.there / "small").read_bytes() == b"two")
            assert (line.there / "large").read_bytes() == old
            remount(far.here, "size=1m")
            line.settle(program)


@pytest.mark.parametrize("name", ["dash+gnu", "dash+bsdtar"])
def test_a_far_end_that_could_not_be_taught_gets_whole_files(
    name: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """Found by a hunt that kills tars: pieces were taken for put together, and were not."""
    far, kill = far_end(name), place / "kill"
    line = Line(far, place, tiny=False)
    tools = next(word for word in far.command if word.startswith("PATH="))
    own = shutil.which("tar", path=tools[5:])
    (place / "bin").mkdir()
    (place / "bin/tar").write_text(
        f'#!/bin/sh\n{own} "$@" || exit\n'
        f'! grep -q "^tools()" commit || ! rm {kill} || kill -KILL $$\n'
    )
    (place / "bin/tar").chmod(0o755)
    command = [word.replace("PATH=", f"PATH={place}/bin:") for word in far.command]
    line.far = with_command(far, command)
    kill.touch()
    plant(line.source, {"large": noise(1 << 20) * 20, "small": "1"})
    with line.watching() as program:
        line.settle(program)
        assert not kill.exists()
        assert b"not found" not in program.errors


def with_breakable(tool: str, far: FarEnd, place: Path) -> FarEnd:
    """``tool`` fails over there as long as ``place`` has a file `broken`."""
    script = f'#!/bin/sh\n[ ! -e {place}/broken ] && exec /usr/bin/{tool} "$@"\n'
    plant(place / "bin", {tool: script})
    (place / "bin" / tool).chmod(0o755)
    tools = f"PATH={place}/bin:{os.environ['PATH']}"
    return with_command(far, ["/usr/bin/env", tools, "/bin/bash"])


def test_a_large_file_that_cannot_be_finished_in_pieces_goes_whole(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """It went in pieces again and again, without a word, and --wait did not end."""
    line = Line(with_breakable("touch", far_end("bash+gnu"), place), place)
    plant(line.source, {"small": "1"})
    with line.watching() as program:
        (place / "broken").touch()
        save(line.source / "large", noise(9_000))
        save(line.source / "small", b"2")
        program.wait_for(lambda: not line.wrong(), 40)
        line.settle(program)


def test_where_what_unpacks_breaks_nothing_is_compressed_any_more(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """All was compressed again at each try, and nothing arrived any more."""
    line = Line(with_breakable("gzip", far_end("bash+gnu"), place), place)
    plant(line.source, {f"d/f{number}": text(900, number) for number in range(9)})
    with line.watching("--compress") as program:
        (place / "broken").touch()
        for path in (line.source / "d").iterdir():
            save(path, text(800, path.name))
        program.says("gzip failed")
        line.settle_whatever_is_lost()
        before = program.errors.count(b"gzip failed")
        for path in (line.source / "d").iterdir():
            save(path, text(700, path.name))
            line.settle(program)
        assert program.errors.count(b"gzip failed") == before


@SOME
def test_killed_at_any_moment_of_a_save_it_leaves_old_or_new(
    name: str, line: Line
) -> None:
    chance = random.Random(name)
    path = line.source / "f"
    content = noise(9_000)
    path.write_bytes(content)
    plant(line.source, {"d/g": noise(900), "d/h": noise(3_000, 1)})
    with line.watching() as program:
        for number in range(4):
            old, at = content, chance.randrange(len(content))
            content = content[:at] + b"%d" % number + content[at:]
            save(path, content)
            (line.source / "d").rename(line.source / "e")
            (line.source / "e").rename(line.source / f"d{number}")
            (line.source / f"d{number}").rename(line.source / "d")
            marks = [pid for pid in program.family() if is_far(pid)]
            for pid in chance.sample(marks, min(len(marks), 2)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert (line.there / "f").read_bytes() in (old, content)
            line.settle_whatever_is_lost()


def is_far(pid: int) -> bool:
    """Of the connection, and no stage."""
    with contextlib.suppress(OSError):
        return not Path(f"/proc/{pid}/comm").read_text().startswith(("fr-", "file-"))
    return False


@EVERY
@pytest.mark.parametrize("option", ["--compress", "--no-compress"])
def test_whoever_waits_for_an_archive_is_killed_and_it_arrives(
    option: str, name: str, line: Line
) -> None:
    """One of them was left over, and took the next one's bytes."""
    path, turn = line.source / "f", 0
    path.write_bytes(noise(900))
    with line.watching(option) as program:
        while True:
            turn += 1
            save(path, noise(900, turn))
            line.settle_whatever_is_lost()
            there = waiting(program)
            some = list(itertools.combinations(there, min(len(there), 2)))
            if turn > len(some):
                break
            # At one moment: where what looks for the next archive is killed, too, that is lost.
            far = [pid for pid in program.family() if is_far(pid)]
            for number, pids in (
                (signal.SIGSTOP, far),
                (signal.SIGKILL, some[turn - 1]),
                (signal.SIGCONT, far),
            ):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
        assert b"lost" not in program.errors, program.errors.decode()


_RESTS = 20  # looks, a moment apart, that show the same


def waiting(program: Running) -> list[int]:
    """The processes over there but the receiver's shell and what moves files, once there are any.

    A shell may have one more for what it expands.
    """

    def found() -> list[int]:
        far, some = [pid for pid in program.family() if is_far(pid)], []
        for pid in far:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if parent_of(pid) in far and not name_of(pid).startswith("perl"):
                    some.append(pid)
        return sorted(some)

    looks: list[list[int]] = []

    def rest() -> bool:
        # One that is about to start another, or to end, is none of those that wait.
        looks.append(found())
        return bool(looks[-1]) and looks[-_RESTS:] == looks[-1:] * _RESTS

    wait_for(rest)
    return looks[-1]


# Writes into a file without pause, each time all of it differs from before, until stopped.
RESTLESS = """
import itertools, os, signal, sys
going = []
signal.signal(signal.SIGTERM, lambda *_: going.append(1))
file = os.open(sys.argv[1], os.O_RDWR)
size = os.fstat(file).st_size
print("writing", flush=True)
for number in itertools.count():
    os.pwrite(file, b"%020d" % number, number * 7919 % (size - 20))
    if number % 50 == 0:
        os.ftruncate(file, size - number % 900)
    if going:
        break
"""


@MOST
def test_a_file_that_changes_while_its_parts_are_chosen_is_right_in_the_end(
    name: str, line: Line
) -> None:
    path = line.source / "f"
    path.write_bytes(text(6_000))
    plant(line.source, {"other": "one"})
    with line.watching() as program:
        words = [sys.executable, "-c", RESTLESS, str(path)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert process.stdout
        try:
            read_until(process.stdout.fileno(), b"writing\n")
            for number in range(3):  # meanwhile the others go as ever
                content = b"saved %d" % number
                save(line.source / "other", content)
                program.wait_for(lambda: (line.there / "other").read_bytes() == content)
        finally:
            process.terminate()
            process.communicate(timeout=20)
        line.settle(program)
