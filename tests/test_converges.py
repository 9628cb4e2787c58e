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
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import farends
import pytest
from edits import Op
from pipeline import Pipeline

HUNT = float(os.environ.get("FILEREP_HUNT") or 0)
TRACE = os.environ.get("FILEREP_TRACE")


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
        line.close()
        keep(line, seed, done, str(error))
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


def keep(line: Pipeline, seed: object, done: list[list[Op]], said: str) -> None:
    """With FILEREP_TRACE=DIRECTORY: everything there is to know about a failure."""
    if TRACE:
        where = Path(TRACE) / f"{seed}"
        where.mkdir(parents=True, exist_ok=True)
        (where / "said").write_text(said)
        (where / "errors").write_bytes(bytes(line.replicator.errors))
        (where / "ops").write_text(json.dumps(done))
        for name in ("wire.in", "wire.out"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(line.place / name, where / name)


@pytest.fixture
def pipelines(base: Path) -> Iterator[Callable[..., Pipeline]]:
    """A function that makes a pipeline from nothing, to a local shell and tar."""
    with contextlib.ExitStack() as stack:

        def make(shell: str = "bash", tar: str = "gnu", *options: str) -> Pipeline:
            place = Path(tempfile.mkdtemp(prefix="fr-edits-", dir="/tmp"))
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            far = farends.local_shell(shell, tar, base).fresh()
            if TRACE:
                traced = f'tee {place}/wire.in | "$@" | tee {place}/wire.out'
                command = ["sh", "-c", traced, "sh", *far.command]
                far = farends.with_command(far, command)
            line = Pipeline(far, place, *options)
            stack.callback(line.close)
            return line

        yield make


SHELLS = [
    ("bash", "gnu"),
    ("bash", "gnu"),
    ("bash", "gnu"),
    ("dash", "gnu"),
    ("dash", "bsdtar"),
    ("busybox", "busybox"),
    ("mksh", "toybox"),
]


@pytest.mark.parametrize("seed", range(len(SHELLS)))
def test_random_edits_arrive(pipelines: Callable[..., Pipeline], seed: int) -> None:
    shell, tar = SHELLS[seed]
    try_seed(lambda: pipelines(shell, tar), seed, 25)


@pytest.mark.skipif(not HUNT, reason="FILEREP_HUNT=SECONDS goes on for so long")
@pytest.mark.timeout(HUNT + 300)
def test_hunt(pipelines: Callable[..., Pipeline]) -> None:
    deadline = time.monotonic() + HUNT
    first = seed = int(time.time())
    operations = count = 0
    while time.monotonic() < deadline:
        shell, tar = SHELLS[seed % len(SHELLS)]
        operations += try_seed(lambda: pipelines(shell, tar), seed, 40)
        count += 40
        seed += 1
    print(f"seeds {first} to {seed}: {count} sequences, {operations} operations")
