"""What a reader at the destination sees, and what a cut connection leaves: old or new."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from farends import FarEnd, with_command
from lines import reader
from programs import Word, environment, run, running
from trees import assert_same, plant, tree

# Opens a file over and over and says what it saw that it must not see. A version is eight
# bytes, its number, repeated; its size follows from its number.
READER = """
import os, signal, sys
path, sizes, may_be_empty = sys.argv[1], eval(sys.argv[2]), sys.argv[3] == "True"
going = []
signal.signal(signal.SIGTERM, lambda *_: going.append(1))
reads, seen = 0, set()
print("reading", flush=True)
while not going:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        print("BAD", error, flush=True)
        continue
    reads += 1
    if not data:
        if not may_be_empty and 0 not in sizes:
            print("BAD empty", flush=True)
        continue
    number = int.from_bytes(data[:8], "big")
    seen.add(number)
    if len(data) != sizes[number % len(sizes)] or data != data[:8] * (len(data) // 8):
        print("BAD piece of", number, len(data), flush=True)
print("reads", reads, "versions", len(seen), flush=True)
"""


def version(number: int, sizes: list[int]) -> bytes:
    return number.to_bytes(8, "big") * (sizes[number % len(sizes)] // 8)


def by_renaming(path: Path, data: bytes) -> None:
    scratch = path.parent / "scratch~"
    scratch.write_bytes(data)
    os.replace(scratch, path)


def in_place(path: Path, data: bytes) -> None:
    path.write_bytes(data)


SMALL = [8, 2048, 4096, 64, 1024]
ALL = [
    2048,
    0,
    100_000,
    8,
    1 << 20,
    4096,
    10240,
    9 << 10,
    3 << 20,
    512,
    0,
    64,
    20 << 20,
]


@pytest.mark.parametrize("name", ["bash+gnu", "busybox+busybox", "dash+bsdtar"])
@pytest.mark.parametrize(
    "save, sizes, saves",
    [(by_renaming, ALL, 40), (in_place, SMALL, 200)],
    ids=["renamed over, up to 20 MB", "in place, a page"],
)
def test_a_reader_sees_only_whole_versions(
    name: str,
    save: Callable[[Path, bytes], None],
    sizes: list[int],
    saves: int,
    far_end: Callable[[str], FarEnd],
    tmp_path: Path,
) -> None:
    far = far_end(name)
    source, dest = tmp_path / "project", far.here / "project"
    source.mkdir()
    save(source / "f", version(0, sizes))
    command: list[Word] = [
        "file-replicator",
        "--exclude",
        "*~",
        source,
        far.parent,
        *far.command,
    ]
    with running(*command) as program:
        program.says("in sync")
        # An empty file may be what the source held between truncation and writing.
        more = (repr(sizes), save is in_place)
        with reader(dest / "f", READER, *more, least=saves / 20):
            for number in range(1, saves + 1):
                save(source / "f", version(number, sizes))
                if number % 10 == 0:  # let some be seen in between
                    wanted = version(number, sizes)
                    program.wait_for(lambda: (dest / "f").read_bytes() == wanted)


# A connection that passes on so many bytes and then dies; the next one is whole, and keeps
# a copy of what the first one left.
CUTTER = """
import os, subprocess, sys
count, dest, mark, *command = sys.argv[1:]
if os.path.exists(mark):
    if not os.path.exists(mark + ".left"):
        subprocess.run(["cp", "-a", dest, mark + ".left"], check=True)
    os.execvp(command[0], command)
left = int(count)
shell = subprocess.Popen(command, stdin=subprocess.PIPE)
while left:
    data = os.read(0, min(left, 1 << 16))
    if not data:
        break
    left -= len(data)
    os.write(shell.stdin.fileno(), data)
if left:
    shell.stdin.close()
    sys.exit(shell.wait())
open(mark, "w").close()
shell.kill() if os.environ.get("CUT_KILLS") else shell.stdin.close()
shell.wait()
sys.exit(1)
"""


def old_and_new(root: Path, age: str) -> None:
    """The same paths twice, with other content, and other kinds; no directory turns into a file, as
    what was in it belongs to the far end and is kept.
    """
    plant(root, {f"d{n % 3}/file {n}": f"{age} {n}\n" * n * 40 for n in range(30)})
    plant(root, {"large": os.urandom(200_000)})
    if age == "old":
        plant(root, {"file": "old", "link": ("->", "file"), "other": "old"})
    else:
        plant(root, {"file/f": "new", "link": "new", "other": ("->", "link")})


# On a busy machine the far end passes for slow, and so many bytes are not sent.
ONCE: list[Word] = ["file-replicator", "--once", "--whole-file", "--no-compress"]


def whole_run_bytes(far: FarEnd, source: Path, count: Path) -> int:
    """How much the wrapper sends in a whole run."""
    tee = ["sh", "-c", 'tee "$0" | "$@"', str(count), *far.command]
    done = run([*ONCE, source, far.parent, *tee])
    assert done.returncode == 0, done.stderr
    return count.stat().st_size


@pytest.mark.parametrize("kills", ["", "1"], ids=["end of input", "killed"])
@pytest.mark.parametrize("name", ["bash+gnu", "dash+bsdtar", "busybox+busybox"])
def test_a_connection_cut_at_any_byte_leaves_old_or_new(
    name: str, kills: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    far = far_end(name)
    old, new = place / "old/project", place / "new/project"
    old_and_new(old, "old")
    old_and_new(new, "new")
    before, after = tree(old, times=False), tree(new, times=False)
    rig = far.fresh()
    subprocess.run(["cp", "-a", old, rig.here / "project"], check=True)
    total = whole_run_bytes(rig, new, place / "count")

    chance = random.Random(f"{name} {kills}")
    for cut in sorted(chance.randrange(total) for _ in range(8)):
        one = far.fresh()
        dest = one.here / "project"
        subprocess.run(["cp", "-a", old, dest], check=True)
        mark = place / f"cut-{cut}"
        cutter = [sys.executable, "-c", CUTTER, str(cut), str(dest), str(mark)]
        one = with_command(one, [*cutter, *one.command])
        words = [*ONCE, new, one.parent, *one.command]
        done = run(words, env=environment(CUT_KILLS=kills))
        assert mark.exists()
        left = mark.with_name(mark.name + ".left")
        if done.returncode == 0:
            assert_same(new, dest, whole_seconds=not far.sub_second)
        else:  # a first copy that is cut is not tried again
            assert done.returncode == 69, done.stderr
            left = dest
        seen = tree(left, times=False)
        for path, what in seen.items():
            if path.split(b"/")[0].startswith(b".filerep-"):
                continue
            known = [before.get(path), after.get(path)]
            if what[0] == "directory":  # its permissions come a moment later
                what, known = what[:1], [each and each[:1] for each in known]
            assert what in known, (cut, path, what, known)
        for path in before.keys() & after.keys():
            assert path in seen, (cut, path)
        done = run(words, env=environment(CUT_KILLS=kills))
        assert done.returncode == 0, done.stderr
        assert_same(new, dest, whole_seconds=not far.sub_second)


def test_no_half_written_file_has_ever_the_files_name(
    far_end: Callable[[str], FarEnd], tmp_path: Path
) -> None:
    """A save that is cut short in its middle leaves the old file, mode and all."""
    far = far_end("bash+gnu")
    source, dest = tmp_path / "project", far.here / "project"
    plant(source, {"f": "old", "sub/g": "old"})
    argv: list[Word] = ["--exclude", "*~", source, far.parent, *far.command]
    with running("file-replicator", *argv) as program:
        program.says("in sync")
        inode = (dest / "f").stat().st_ino
        by_renaming(source / "f", b"n" * 50_000_000)
        program.wait_for(lambda: staged(dest) or (dest / "f").stat().st_ino != inode)
        program.close()
    status = (dest / "f").stat()
    if status.st_ino == inode:
        assert (dest / "f").read_text() == "old"
    else:
        assert status.st_size == 50_000_000
    assert stat.S_IMODE(status.st_mode) == stat.S_IMODE((source / "f").stat().st_mode)


def staged(dest: Path) -> bool:
    return any(
        path.is_file() and path.stat().st_size > 1_000_000
        for path in dest.glob(".filerep-*/**/*")
    )
