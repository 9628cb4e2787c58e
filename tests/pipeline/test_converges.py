"""Whatever is done to the source: when it falls quiet, the destination is the same.

A real tree, the real file-replicator and a real shell. After each sequence of random edits
fr-watch is asked for a sync point, and once fr-pack has told that all before it is done,
both trees must be equal then and there.

FILEREP_HUNT=SECONDS goes on for so long with seeds never tried before. A failure prints its
seed and the shortest list of operations found that fails the same way.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import farends
import pytest
from edits import Op
from pipelines import Pipeline, keep, traced
from programs import run
from trees import differences, tree

HUNT = float(os.environ.get("FILEREP_HUNT") or 0)


class Diverged(AssertionError):
    """The trees differ after a sync point."""


def sequences(line: Pipeline, seed: object, count: int) -> Iterator[list[Op]]:
    """Do ``count`` sequences of random edits, and look after each; yields each."""
    dice = random.Random(f"{seed}")
    for number in range(count):
        length = dice.choice([1, 3, 10, 10, 30, 30, 80])
        ops = line.hand.draw(length, f"{seed}.{number}", pauses=dice.random() < 0.5)
        yield ops
        line.settle()
        said = line.wrong()
        if said:
            raise Diverged(said)


def again(make: Callable[[], Pipeline], done: Sequence[list[Op]]) -> str:
    """What differs, if anything, when the sequences are done once more from nothing."""
    line = make()
    try:
        for number, ops in enumerate(done):
            # The drawing took some time too.
            line.hand.request({"do": list(ops), "pace": 0.001 * (number % 3)})
            line.settle()
            said = line.wrong()
            if said:
                return said
        return ""
    except AssertionError as error:
        return str(error)
    finally:
        line.close()


def shrink(
    make: Callable[[], Pipeline], done: list[list[Op]], seconds: float
) -> tuple[list[list[Op]], bool]:
    """Fewer sequences and operations that fail too; did any fail again?"""
    deadline = time.monotonic() + seconds
    repeated = False

    def fails(some: list[list[Op]]) -> bool:
        # What depends on timing does not fail each time.
        return any(time.monotonic() < deadline and again(make, some) for _ in range(3))

    def shorter(tries: Iterator[list[list[Op]]]) -> bool:
        nonlocal done, repeated
        for some in tries:
            if time.monotonic() > deadline:
                return False
            if some and fails(some):
                done, repeated = some, True
                return True
        return False

    def fewer_sequences() -> Iterator[list[list[Op]]]:
        yield from (done[at:] for at in (len(done) - 1, len(done) // 2) if at)
        yield from (done[:at] + done[at + 1 :] for at in range(len(done)))

    def fewer_operations() -> Iterator[list[list[Op]]]:
        for at, ops in enumerate(done):
            size = len(ops) // 2
            while size:
                for start in range(0, len(ops), size):
                    less = ops[:start] + ops[start + size :]
                    yield [*done[:at], less, *done[at + 1 :]]
                size //= 2

    if fails(done):
        repeated = True
        while shorter(fewer_sequences()):
            pass
        while shorter(fewer_operations()):
            pass
    return done, repeated


def try_seed(
    make: Callable[[], Pipeline], seed: object, count: int, shrinking: float = 60
) -> int:
    """``count`` sequences with one file-replicator; how many operations that were."""
    line = make()
    done: list[list[Op]] = []
    try:
        for ops in sequences(line, seed, count):
            done.append(ops)
        return sum(map(len, done))
    except AssertionError as error:
        said = bytes(line.replicator.errors[-1500:]).decode(errors="backslashreplace")
        keep(line, seed, done, str(error))
        line.close()
        short, repeated = shrink(make, done, shrinking)
        shown = "\n--\n".join("\n".join(map(repr, ops[-60:])) for ops in short[-3:])
        number = sum(map(len, done))
        raise Diverged(
            f"seed {seed}\nsource, not destination:\n{error}\n"
            f"{'shortest that fails' if repeated else 'not seen again; the last'}"
            f" of {number} operations:\n{shown}\nit said: {said}"
        ) from None
    finally:
        line.close()


@pytest.fixture
def pipelines(base: Path) -> Iterator[Callable[..., Pipeline]]:
    """A function that makes a pipeline from nothing, to a local shell and tar."""
    with contextlib.ExitStack() as stack:

        def make(
            shell: str = "bash", tar: str = "gnu", *options: str, tiny: bool = False
        ) -> Pipeline:
            place = Path(tempfile.mkdtemp(prefix="fr-edits-", dir="/tmp"))
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            far = traced(farends.local_shell(shell, tar, base).fresh(), place)
            line = Pipeline(far, place, *options, tiny=tiny)
            stack.callback(line.close)
            return line

        yield make


@pytest.fixture
def line(pipelines: Callable[..., Pipeline]) -> Pipeline:
    return pipelines()


SHELLS = [
    ("bash", "gnu"),
    ("bash", "gnu"),
    ("bash-dash", "gnu"),
    ("dash", "gnu"),
    ("dash", "bsdtar"),
    ("busybox", "busybox"),
    ("mksh", "toybox"),
]


@pytest.mark.parametrize("seed", range(len(SHELLS)))
def test_random_edits_arrive(pipelines: Callable[..., Pipeline], seed: int) -> None:
    shell, tar = SHELLS[seed]
    try_seed(lambda: pipelines(shell, tar, tiny=seed % 2 == 1), seed, 15)


@pytest.mark.timeout(HUNT + 300)
def hunt(pipelines: Callable[..., Pipeline]) -> None:
    deadline = time.monotonic() + HUNT
    first = seed = int(time.time())
    operations = count = 0
    while time.monotonic() < deadline:
        shell, tar = SHELLS[seed % len(SHELLS)]
        tiny = seed // len(SHELLS) % 2 == 1
        operations += try_seed(lambda: pipelines(shell, tar, tiny=tiny), seed, 40)
        count += 40
        seed += 1
    print(f"seeds {first} to {seed}: {count} sequences, {operations} operations")


if HUNT:  # not skipped otherwise, but no test at all
    test_hunt = hunt


# --- what random edits do not do, or do too rarely -------------------------------------


def test_an_overflowing_queue_is_healed(pipelines: Callable[..., Pipeline]) -> None:
    """fr-watch is stopped while more happens than the kernel can remember."""
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        limit = int(file.read())
    line = pipelines()
    for seed in range(4):
        line.hand.draw(60, f"before {seed}", pauses=False)
        line.hand.do(["mkdir", b"source/over"])
        line.settle()
        sent = line.replicator.errors.count(b'"is": "batch"')
        watch = line.stage("watch")
        os.kill(watch, signal.SIGSTOP)
        line.hand.do(
            ["mkdir", b"source/over"], ["overflow", b"source/over", limit + 99]
        )
        line.hand.draw(80, f"lost {seed}", pauses=False)
        os.kill(watch, signal.SIGCONT)
        line.hand.draw(20, f"after {seed}")
        line.settle()
        assert not line.wrong(), f"seed {seed}: {line.wrong()}"
        assert line.replicator.errors.count(b"lost events") == seed + 1
        # All was looked at, and only what changed was sent.
        assert line.replicator.errors.count(b'"is": "batch"') - sent < 30


def ignored(source: Path, paths: set[bytes]) -> set[bytes]:
    """Which of ``paths`` git ignores in ``source``."""
    git = ["git", f"--git-dir={source.parent}/git", f"--work-tree={source}"]
    if not (source.parent / "git").exists():
        run([*git, "init", "-q"]).check_returncode()
    found = run(
        [*git, "check-ignore", "--no-index", "-z", "--stdin"],
        stdin=b"".join(path + b"\0" for path in sorted(paths)),
        cwd=source,
    )
    return set(found.stdout.split(b"\0"))


@pytest.mark.parametrize("seed", range(3))
def test_edited_ignore_files_take_effect(line: Pipeline, seed: int) -> None:
    """What git does not ignore is the same; what it does is left as it is there."""
    for number in range(10):
        line.hand.draw(30, f"ignoring {seed}.{number}", ignoring=True)
        line.settle()
        here, there = tree(line.source), tree(line.destination)
        paths = {
            path
            for path in here.keys() | there.keys()
            if not path.startswith(b".filerep-")
            and ((here.get(path) or there[path])[0] != "directory")
        }
        paths -= ignored(line.source, paths)
        said = differences(
            {path: here[path] for path in paths & here.keys()},
            {path: there[path] for path in paths & there.keys()},
        )
        assert not said, f"seed {seed}, sequence {number}:\n{said}"


def files_of(line: Pipeline) -> set[bytes]:
    found = tree(line.destination).items()
    return {p for p, what in found if what[0] == "file" and p[:9] != b".filerep-"}


def test_what_was_made_over_there_stays(line: Pipeline) -> None:
    """Only what came from here goes when a directory goes, moves or becomes a file."""
    made = [b"d/__pycache__/x.pyc", b"d/e/log", b"m/cache/1", b"f/cache/2", b"top"]
    for name in (b"d", b"m", b"f"):
        line.hand.do(["deep", b"source/" + name, b"e", 3, 7])
    line.settle()
    for path in made:
        full = os.path.join(os.fsencode(line.destination), path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        Path(os.fsdecode(full)).write_bytes(b"made there")
    line.hand.do(
        ["rmtree", b"source/d"],
        ["rename", b"source/m", b"source/n"],
        ["rmtree", b"source/f"],
        ["write", b"source/f", 5, 1],
    )
    line.settle()
    files = files_of(line)
    kept = {
        b"d/__pycache__/x.pyc",
        b"d/e/log",
        b"m/cache/1",
        b"f.kept-1/cache/2",
        b"top",
    }
    assert files - {b"f", b"n/f", b"n/e/f", b"n/e/e/f"} == kept
    # And what comes again goes in beside it.
    line.hand.do(["deep", b"source/d", b"e", 3, 9], ["deep", b"source/m", b"e", 2, 9])
    line.settle()
    line.hand.do(["unlink", b"source/d/e/f"], ["rmtree", b"source/m"])
    line.settle()
    files = files_of(line)
    here = {b"d/f", b"d/e/e/f", b"f", b"n/f", b"n/e/f", b"n/e/e/f"}
    assert files == kept | here


@pytest.mark.parametrize(("shell", "tar"), sorted(set(SHELLS)))
def test_a_symlink_that_leads_to_itself_is_replaced(
    pipelines: Callable[..., Pipeline], shell: str, tar: str
) -> None:
    line = pipelines(shell, tar)
    line.hand.do(["symlink", b"a", b"source/a"], ["symlink", b"b", b"source/b"])
    line.settle()
    line.hand.do(["relink", b"c", b"source/a"], ["save", b"source/b", 5, 1])
    line.settle()
    assert not line.wrong()


def test_a_file_written_by_one_name_and_moved_has_all_its_names_sent(
    line: Pipeline,
) -> None:
    for _ in range(30):  # the event for the writing is read before the move, or after
        line.hand.do(
            ["write", b"source/a", 5, 1],
            ["link", b"source/a", b"source/b"],
            ["pause", 1],
            ["append", b"source/a", 5, 2],
            ["rename", b"source/a", b"source/c"],
        )
        line.settle()
        assert not line.wrong()
        line.hand.do(["clear"])


def test_a_file_written_by_a_name_in_a_new_directory_has_all_its_names_sent(
    line: Pipeline,
) -> None:
    """The second name is met in a listing, not by an event."""
    line.hand.do(
        ["write", b"source/x", 5, 0],
        ["link", b"source/x", b"source/y"],
        ["write", b"source/y", 6, 0],
    )
    line.settle()
    for number in range(20):
        a = b"source/a%d" % number
        line.hand.do(["write", a, 5, 1], ["pause", 30])
        line.hand.do(
            ["deep", a + b".d", b"e", 4, 3],
            ["link", a, a + b".d/e/e/link"],
            ["write", a + b".d/e/e/link", 0, 2],
        )
        line.settle()
        assert not line.wrong()
