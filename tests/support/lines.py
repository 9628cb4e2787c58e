"""A source, its copy, and file-replicator between them, as tiny or as slow as a test wants.

With FILEREP_TINY every threshold is so small that files of some hundred bytes go the ways of
large ones; what is promised does not depend on it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from farends import SLOWLINK, FarEnd, with_command
from pipelines import settle, wrong
from programs import Running, Word, environment, read_until, run, running, wait_for

OK, INTERRUPTED = 0, 130

# With perl and without, each shell, each tar, and the root with nothing but busybox.
ENDS = [
    "bash+gnu",
    "dash+gnu",
    "bash-dash+gnu",
    "dash+bsdtar",
    "mksh+toybox",
    "zsh+busybox",
    "busybox+busybox",
    "chroot",
]
EVERY = pytest.mark.parametrize("name", ENDS)
MOST = pytest.mark.parametrize(
    "name", ["bash+gnu", "dash+gnu", "mksh+toybox", "busybox+busybox"]
)
SOME = pytest.mark.parametrize("name", ["bash+gnu", "dash+gnu", "busybox+busybox"])


class Line:
    """A source, its copy, and file-replicator between them, with tiny thresholds."""

    def __init__(self, far: FarEnd, place: Path, tiny: bool = True) -> None:
        self.far = far
        self.tiny = {"FILEREP_TINY": "1"} if tiny else {}
        self.source = place / "project"
        self.there = far.here / "project"
        self.state = place / "state"
        self.source.mkdir()

    def environment(self, **changes: str) -> dict[str, str]:
        return environment(XDG_STATE_HOME=str(self.state), **self.tiny, **changes)

    def words(self, *options: str) -> list[Word]:
        words: list[Word] = ["file-replicator", *options, self.source, self.far.parent]
        return [*words, *self.far.command]

    @contextlib.contextmanager
    def watching(self, *options: str) -> Iterator[Running]:
        """In sync and watching; afterwards it ends well, and leaves nothing."""
        words = self.words("--debugging", *options)
        with running(*words, env=self.environment()) as program:
            program.says("in sync", 60)
            yield program
            assert program.end(signal.SIGINT) == INTERRUPTED
            said = program.errors.decode(errors="backslashreplace")
            assert "Traceback" not in said and "internal error" not in said, said
            wait_for(lambda: not list(self.there.glob(".filerep-*")))

    def settle(self, program: Running) -> None:
        """Once the program says that it is in sync, it is."""
        settle(program)
        said = bytes(program.errors[-3000:]).decode(errors="backslashreplace")
        assert not self.wrong(), f"source, not destination:\n{self.wrong()}\n{said}"

    def settle_all(self, program: Running, but: str) -> None:
        """As `settle`, of all ``but`` what is called like that."""
        settle(program)
        paths = [p for p in self.source.rglob("*") if not p.match(but)]
        there = {p: self.there / p.relative_to(self.source) for p in paths}
        for path, copy in there.items():
            assert path.is_dir() or copy.read_bytes() == path.read_bytes(), copy

    def settle_whatever_is_lost(self) -> None:
        """The same, though the connection may be lost meanwhile, and a mark with it."""
        done = run(self.words("--wait"), env=self.environment(), timeout=60)
        assert done.returncode == OK, done.stderr
        assert not self.wrong(), f"source, not destination:\n{self.wrong()}"

    def wrong(self) -> str:
        return wrong(self.source, self.there, self.far.sub_second)

    def once(self) -> None:
        words = self.words("--no-replicate-on-change")
        done = run(words, env=self.environment(), timeout=90)
        assert done.returncode == OK, done.stderr
        assert not self.wrong(), self.wrong()


def noise(size: int, seed: object = 0) -> bytes:
    return random.Random(str(seed)).randbytes(size)


def text(size: int, seed: object = 0) -> bytes:
    """Lines that shrink, of which some come again."""
    chance = random.Random(str(seed))
    words = ["def", "return", "self", "value", "import", "for", "None", "0", "=", "("]
    lines = b""
    while len(lines) < size:
        lines += " ".join(chance.choices(words, k=8)).encode() + b"\n"
    return lines[:size]


def save(path: Path, content: bytes) -> None:
    """As editors do: another file takes its name."""
    beside = path.with_name(path.name + "~")
    beside.write_bytes(content)
    os.replace(beside, path)


def in_place(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def alter(path: Path, content: bytes, lie: bool) -> None:
    """Behind our back; with ``lie`` nothing tells of it but the content."""
    status = path.stat()
    if lie:
        content = content[: status.st_size].ljust(status.st_size, b"!")
    path.write_bytes(content)
    if lie:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


# Opens a file without pause. Each version holds its number in every second block of 64
# bytes; the blocks between are the same in all.
READER = """
import signal, sys
path, going, seen, reads = sys.argv[1], [], set(), 0
signal.signal(signal.SIGTERM, lambda *_: going.append(1))
print("reading", flush=True)
while not going:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        print("BAD", error, flush=True)
        continue
    reads += 1
    numbers = {data[at : at + 8] for at in range(0, len(data) - 63, 128)}
    if len(numbers) != 1 or len(data) != int(data[8:16]):
        print("BAD mix of", sorted(numbers)[:4], len(data), flush=True)
    seen |= numbers
print("reads", reads, "versions", len(seen), flush=True)
"""


def version(number: int, size: int) -> bytes:
    """Blocks of 64 bytes: one with the number, one that is always there."""
    stamp = b"%08d%08d" % (number, size)
    blocks = []
    for at in range(0, size, 128):
        blocks += [stamp.ljust(64, b"."), b"%064d" % at]
    return b"".join(blocks)[:size]


@contextlib.contextmanager
def reader(
    path: Path, script: str = READER, *more: object, least: float = 5
) -> Iterator[None]:
    """Opens ``path`` without pause, and sees nothing BAD, in more versions than ``least``."""
    words = [sys.executable, "-c", script, str(path), *map(str, more)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout
    try:
        read_until(process.stdout.fileno(), b"reading\n")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        out = process.communicate(timeout=30)[0].decode()
    assert "BAD" not in out, out[:2000]
    assert int(out.split()[-1]) > least, out


def slow(far: FarEnd, rate: int, count: Path) -> FarEnd:
    """Behind a link of ``rate`` bytes a second that counts; 40 ms each way.

    So slow that nothing need be tiny.
    """
    words = [sys.executable, str(SLOWLINK), str(rate), "40", str(count), "--"]
    return with_command(far, [*words, *far.command])
