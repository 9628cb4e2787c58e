"""Whatever is saved on the way (parts, moves, known content, pieces), the copy is right.

The programs run with every threshold so small (FILEREP_TINY) that files of some hundred
bytes go the ways of large ones; what is promised does not depend on it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import farends
import pytest
from farends import SLOWLINK, FarEnd, mounted, remount, with_command
from operations import exchange
from pipelines import name_of, parent_of, settle, wrong
from programs import Running, Word, environment, read_until, run, running, wait_for
from slowlink import counts
from trees import plant, tree

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


@pytest.fixture
def line(
    request: pytest.FixtureRequest, far_end: Callable[[str], FarEnd], place: Path
) -> Line:
    """Over the far end ``name`` of the test."""
    name = request.node.callspec.params.get("name", "bash+gnu")
    return Line(far_end(name), place)


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


# --- a file that changes in parts --------------------------------------------------------

CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "appended": lambda old: old + b"one more line\n",
    "much appended": lambda old: old + noise(len(old) // 2, "much"),
    "put before": lambda old: b"a line put before\n" + old,
    "inserted": lambda old: old[: len(old) // 3] + b"INSERTED" + old[len(old) // 3 :],
    "overwritten": lambda old: old[:500] + b"x" * 14 + old[514:],
    "in many places": lambda old: b"".join(
        b"#" + old[at + 1 : at + 300] for at in range(0, len(old), 300)
    ),
    "cut out": lambda old: old[: len(old) // 4] + old[len(old) // 2 :],
    "cut short": lambda old: old[: len(old) - 333],
    "its front cut off": lambda old: old[777:],
    "halves swapped": lambda old: old[len(old) // 2 :] + old[: len(old) // 2],
    "twice over": lambda old: old + old,
    "all alike": lambda old: b"\0" * len(old),
    "one byte of what is all alike": lambda old: b"\0" * 999 + b"1" + b"\0" * 3000,
    "emptied": lambda old: b"",
    "filled again": lambda old: noise(5000, "again"),
    "one byte": lambda old: b"1",
    "all other": lambda old: noise(3000, "other"),
    "as at first": lambda old: text(5000),
}


@pytest.mark.parametrize("name", ["bash+gnu", "dash+bsdtar", "mksh+toybox", "chroot"])
def test_however_a_file_changes_it_arrives(name: str, line: Line) -> None:
    sizes = {"small": 100, "some": 5000, "it's *odd*\n": 9_001, "-rf": 4096}
    sizes.update({"in place": 5000, "larger": 9_001})
    for file, size in sizes.items():
        make = noise if "odd" in file else text
        plant(line.source, {f"d/{file}": make(size)})
    (line.source / "d/small").chmod(0o755)
    with line.watching() as program:
        for what, change in CHANGES.items():
            for number, file in enumerate(sizes):
                path = line.source / "d" / file
                how = save if number % 2 else in_place
                how(path, change(path.read_bytes()))
            try:
                line.settle(program)
            except AssertionError as error:
                raise AssertionError(f"after {what}: {error}") from None


@MOST
def test_what_is_touched_or_made_anew_is_right(name: str, line: Line) -> None:
    """Times and modes follow, also where the content is known."""
    for number in range(12):
        plant(line.source, {f"d{number % 3}/f{number}": text(50 * number, number)})
    with line.watching() as program:
        for path in line.source.rglob("f*"):
            path.touch()
        line.settle(program)
        for path in line.source.rglob("f*"):
            path.chmod(0o755)
            os.utime(path, ns=(1, 1_234_567_890_123_456_789))
        line.settle(program)
        shutil.copytree(line.source / "d1", line.source / "copied")
        line.settle(program)
        shutil.copytree(line.source / "d2", line.source / "copied/deep/er")
        save(line.source / "copied/f1", b"and one of them edited at once")
        line.settle(program)
        for path in line.source.rglob("f*"):  # as git switches, and switches back
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content[::-1])
        line.settle(program)
        for path in line.source.rglob("f*"):
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content[::-1])
        line.settle(program)


@MOST
def test_a_source_made_anew_between_two_runs_is_right(name: str, line: Line) -> None:
    """A fresh clone, and one restored with its times: some of it is other than before."""
    for number in range(12):
        plant(line.source, {f"d{number % 3}/f{number}": text(90 * number, number)})
    line.once()
    for copy in ("-r", "-a"):
        beside = line.source.with_name("beside")
        subprocess.run(["cp", copy, line.source, beside], check=True)
        shutil.rmtree(line.source)
        beside.rename(line.source)
        other = line.source / "d1/f4"
        status = other.stat()
        other.write_bytes(noise(status.st_size, copy))  # of the same size and time
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        line.once()


def test_of_many_directories_the_digests_are_made_at_once(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """A process for each directory would take longer than the way there and back."""
    calls = place / "calls"
    digest = place / "bin/sha1sum"
    script = f'#!/bin/sh\necho >>{calls}\nexec /usr/bin/sha1sum "$@"\n'
    plant(digest.parent, {"sha1sum": script})
    digest.chmod(0o755)
    tools = f"PATH={digest.parent}:{os.environ['PATH']}"
    command = ["/usr/bin/env", tools, "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    for number in range(60):
        plant(line.source, {f"d{number}/f{number}": text(500, number)})
    line.once()
    for path in line.source.rglob("f*"):
        path.touch()
    calls.unlink()
    line.once()
    assert len(calls.read_bytes()) < 15  # one for each batch, of twelve files


# --- a far end that is not as remembered -------------------------------------------------


def alter(path: Path, content: bytes, lie: bool) -> None:
    """Behind our back; with ``lie`` nothing tells of it but the content."""
    status = path.stat()
    if lie:
        content = content[: status.st_size].ljust(status.st_size, b"!")
    path.write_bytes(content)
    if lie:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


LIES = pytest.mark.parametrize("lie", [False, True], ids=["plainly", "size, time lie"])


@LIES
@MOST
def test_what_was_altered_over_there_is_not_built_upon(
    name: str, lie: bool, line: Line
) -> None:
    for file in ("appended", "inserted", "moved", "copied", "touched", "removed"):
        plant(line.source, {file: text(4000, file)})
    plant(line.source, {"dir/a": text(3000, 1), "dir/b": text(300, 2)})
    with line.watching() as program:
        line.settle(program)
        for file in ("appended", "inserted", "moved", "copied", "touched", "dir/a"):
            alter(line.there / file, b"altered over there " * 50, lie)
        (line.there / "removed").unlink()
        with open(line.source / "appended", "ab") as grown:
            grown.write(b"one more line\n")
        old = (line.source / "inserted").read_bytes()
        save(line.source / "inserted", old[:999] + b"INSERTED" + old[999:])
        (line.source / "moved").rename(line.source / "here now")
        shutil.copy(line.source / "copied", line.source / "copy")
        with open(line.source / "copied", "ab") as grown:
            grown.write(b"and this one changed")
        (line.source / "touched").touch()
        with open(line.source / "removed", "ab") as grown:
            grown.write(b"over there it has gone")
        (line.source / "dir").rename(line.source / "moved dir")
        line.settle(program)


@SOME
def test_a_link_put_in_a_files_place_over_there_is_not_built_upon(
    name: str, line: Line, tmp_path: Path
) -> None:
    """Nor followed: neither is the file it leads to read, nor written, nor moved."""
    outside = line.far.here / "outside"
    for file in ("appended", "moved", "touched", "dir/f", "under/f"):
        plant(line.source, {file: text(2000, file)})
    with line.watching() as program:
        line.settle(program)
        plant(outside, {"f": text(2000, "appended"), "dir/f": text(2000, "dir/f")})
        before = tree(outside)
        for file in ("appended", "moved", "touched"):
            (line.there / file).unlink()
            (line.there / file).symlink_to("../outside/f")
        for directory in ("dir", "under"):
            shutil.rmtree(line.there / directory)
            (line.there / directory).symlink_to("../outside/dir")
        with open(line.source / "appended", "ab") as grown:
            grown.write(b"one more line\n")
        (line.source / "moved").rename(line.source / "here now")
        (line.source / "touched").touch()
        with open(line.source / "under/f", "ab") as grown:
            grown.write(b"below what is a link over there\n")
        (line.source / "dir").rename(line.source / "moved dir")
        program.wait_for(lambda: (line.there / "moved dir/f").exists())
        with contextlib.suppress(FileNotFoundError):
            (line.there / "dir").unlink()  # a link that was made there may stay
        line.settle(program)
        assert tree(outside) == before


DIGESTS = "b2sum cksum md5sum openssl sha1sum sha224sum sha256sum sha384sum sha512sum"
DIGESTS += " shasum sum busybox toybox python3"
STAND_INS = {
    "missing": "",
    "exits with 1": "exit 1",
    "silent": "[ $# -gt 0 ] || cat >/dev/null",
    "nonsense": "echo 'segmentation fault, almost'; printf '\\377\\n%s' '-'",
    "always the same": "echo da39a3ee5e6b4b0d3255bfef95601890afd80709 0 -",
    "says yes to all": 'cat >/dev/null; for f; do echo "$f: OK"; done',
    "killed": "kill -9 $$",
}


@pytest.mark.parametrize("stand_in", STAND_INS)
def test_without_a_true_digest_all_the_same_all_is_right(
    stand_in: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    tools = Path(farends.without_dash_and_perl(place / "tools"))
    for tool in DIGESTS.split():
        (tools / tool).unlink(missing_ok=True)
        if STAND_INS[stand_in] and tool not in ("busybox", "toybox", "python3"):
            (tools / tool).write_text(f"#!/bin/sh\n{STAND_INS[stand_in]}\n")
            (tools / tool).chmod(0o755)
    command = ["/usr/bin/env", f"PATH={tools}", "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    for file in ("a", "b", "c", "d/e"):
        plant(line.source, {file: text(3000, file)})
    with line.watching() as program:
        for what in ("appended", "inserted", "in many places", "halves swapped"):
            alter(line.there / "c", b"altered", lie=True)
            for file in ("a", "b", "c"):
                path = line.source / file
                save(path, CHANGES[what](path.read_bytes()))
            line.settle(program)
        alter(line.there / "a", b"altered", lie=True)
        (line.source / "a").rename(line.source / "moved")
        (line.source / "b").touch()
        shutil.copytree(line.source / "d", line.source / "copied")
        line.settle(program)
    plant(line.source, {"a": text(200)})
    line.once()


SLOW_MD5SUM = '[ "$*" = "" ] || sleep 4; exec /usr/bin/md5sum "$@"'


def test_digest_tools_that_hang_or_are_slow_lose_no_connection(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """It was lost and had again for ever, as over there nothing was heard of meanwhile."""
    tools = Path(farends.without_dash_and_perl(place / "tools"))
    for tool, body in (("sha1sum", "exec sleep 1000"), ("md5sum", SLOW_MD5SUM)):
        (tools / tool).unlink()
        (tools / tool).write_text(f"#!/bin/sh\n{body}\n")
        (tools / tool).chmod(0o755)
    (tools / "shasum").unlink(missing_ok=True)
    command = ["/usr/bin/env", f"PATH={tools}", "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    plant(line.source, {"a": text(3000), "b": text(50)})
    with line.watching("--keepalive", "1") as program:
        with open(line.source / "a", "ab") as grown:
            grown.write(b"one more line\n")
        line.settle(program)
        assert b"lost" not in program.errors, bytes(program.errors).decode()
        assert b"the far end has md5sum" in program.errors


# The link dies without a word where this file is looked at, each time.
DIES_AT = """#!/bin/sh
case "$* $(readlink /proc/self/fd/0)" in *'/hangs at'*) kill -STOP "$(cat {link})" ;; esac
exec /usr/bin/sha1sum "$@"
"""


@pytest.mark.parametrize("what", ["touched", "moved"])
def test_a_file_at_which_the_far_end_falls_silent_goes_whole(
    what: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """The connection was lost and had again for ever, as each met the same file."""
    tools, link = Path(farends.without_dash_and_perl(place / "tools")), place / "link"
    (tools / "sha1sum").unlink()
    (tools / "sha1sum").write_text(DIES_AT.format(link=link))
    (tools / "sha1sum").chmod(0o755)
    slow = [sys.executable, str(SLOWLINK), "0", "0", "--"]
    start = f'echo $$ >{link}; PATH={tools}; export PATH; exec "$@"'
    command = ["/bin/sh", "-c", start, "sh", *slow, "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    plant(line.source, {"hangs at": text(3000), "d/e": text(300)})
    with line.watching("--keepalive", "1") as program:
        save(line.source / "hangs at", text(3000, 2))
        line.settle(program)  # what is there is known now
        if what == "touched":
            (line.source / "hangs at").touch()
        else:
            (line.source / "hangs at").rename(line.source / "d/hangs at")
        program.says("the connection was lost", 30)
        line.settle_whatever_is_lost()
        assert program.errors.count(b'"is": "lost"') == 1


@pytest.mark.parametrize("tool", ["touch", "wc"])
def test_where_what_puts_files_together_is_missing_they_go_whole(
    tool: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """A large file went in pieces again and again, and never arrived."""
    tools = Path(farends.without_dash_and_perl(place / "tools"))
    (tools / tool).unlink()
    command = ["/usr/bin/env", f"PATH={tools}", "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    plant(line.source, {"a": text(3000), "d/e": text(300)})
    with line.watching() as program:
        save(line.source / "a", CHANGES["inserted"](text(3000)))
        (line.source / "d").rename(line.source / "e")
        line.settle(program)


# Whoever cleans up takes what is made as it is about to be put into place.
CLEANED_ONCE = """#!/bin/sh
/usr/bin/mv "$@" || exit
for to; do :; done
case "$*" in *.in/*) [ ! -e {once} ] || rm -f {once} "$to"/* ;; esac
"""


def test_what_was_made_and_is_gone_arrives_all_the_same(
    far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """It was taken for one that could not be made, which is told before; nothing was, here."""
    tools, once = Path(farends.without_dash_and_perl(place / "tools")), place / "once"
    (tools / "mv").unlink()
    (tools / "mv").write_text(CLEANED_ONCE.format(once=once))
    (tools / "mv").chmod(0o755)
    command = ["/usr/bin/env", f"PATH={tools}", "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    plant(line.source, {"old": text(700), "d/e": text(300)})
    with line.watching() as program:
        once.touch()
        shutil.copy(line.source / "old", place / "copy")
        (place / "copy").rename(line.source / "d/copy")  # it is never seen half written
        line.settle_whatever_is_lost()
        assert not once.exists()


# Not before somebody waits for what it does.
KILLED_TWICE = """#!/bin/sh
for f in {lives}/*; do
  [ ! -e "$f" ] || {{ /usr/bin/rm "$f"; sleep 1; kill -KILL $$; }}
done
exec /usr/bin/{tool} "$@"
"""


@pytest.mark.parametrize("tool", ["cat", "mv", "rm", "rmdir"])
def test_a_tool_that_is_killed_makes_no_path_fail(
    tool: str, far_end: Callable[[str], FarEnd], place: Path
) -> None:
    """--wait said that a path could not be written, which was tried again and arrived."""
    tools, lives = Path(farends.without_dash_and_perl(place / "tools")), place / "lives"
    lives.mkdir()
    (tools / tool).unlink()
    (tools / tool).write_text(KILLED_TWICE.format(lives=lives, tool=tool))
    (tools / tool).chmod(0o755)
    command = ["/usr/bin/env", f"PATH={tools}", "/bin/bash"]
    line = Line(with_command(far_end("bash+gnu"), command), place)
    files = {"gone": "1", "small": "1", "large": noise(9_000), "d/f": "1"}
    plant(line.source, files)
    with line.watching("--no-compress") as program:  # which takes a cat, too
        save(line.source / "large", noise(9_000, 2))
        line.settle(program)  # what is there is known now
        for life in "12":
            (lives / life).touch()
        if tool == "rm":
            (line.source / "gone").unlink()
        elif tool == "rmdir":
            shutil.rmtree(line.source / "d")
        elif tool == "mv":
            save(line.source / "small", b"2")
        else:
            save(line.source / "large", noise(9_000, 1))
        line.settle_whatever_is_lost()
        assert not os.listdir(lives)
        assert b"one of its programs was killed" in program.errors
        assert b"made there" not in program.errors


# --- moves -------------------------------------------------------------------------------


@EVERY
def test_whatever_is_moved_is_right(name: str, line: Line) -> None:
    source = line.source
    for file in ("a", "b", "c", "d/a", "d/e/b", "f/a", "f/deep/er/c", "x/one", "y/two"):
        plant(source, {file: text(700, file)})
    plant(
        source, {"same": text(700, "a"), "link": ("->", "a"), "g/link": ("->", "../a")}
    )

    def go(*moves: tuple[str, str]) -> None:
        for old, new in moves:
            os.rename(source / old, source / new)

    def swap(one: str, other: str) -> None:
        exchange(os.fsencode(source / one), os.fsencode(source / other))

    def edit(path: str) -> None:
        with open(source / path, "ab") as file:
            file.write(b"edited as well\n")

    steps: dict[str, Callable[[], Any]] = {
        "a file": lambda: go(("a", "z")),
        "and back": lambda: go(("z", "a")),
        "there and back at once": lambda: go(("a", "z"), ("z", "a")),
        "two swapped": lambda: swap("a", "b"),
        "two swapped by a third name": lambda: go(("a", "t"), ("b", "a"), ("t", "b")),
        "round in a ring": lambda: go(("c", "t"), ("b", "c"), ("a", "b"), ("t", "a")),
        "a chain": lambda: go(("c", "free"), ("b", "c"), ("a", "b")),
        "the chain back": lambda: go(("b", "a"), ("c", "b"), ("free", "c")),
        "over another": lambda: go(("a", "b")),
        "a move and an edit": lambda: (go(("b", "a")), edit("a")),
        "an edit and a move": lambda: (edit("a"), go(("a", "b"))),
        "moved, and its name taken": lambda: (
            go(("b", "a")),
            save(source / "b", text(900, "new")),
        ),
        "over a symlink": lambda: go(("c", "link")),
        "a symlink over a file": lambda: go(("g/link", "b")),
        "a directory": lambda: go(("d", "D")),
        "into another, and one of its files out": lambda: go(
            ("D", "f/d"), ("f/d/a", "a2")
        ),
        "two directories swapped": lambda: swap("x", "y"),
        "a directory and a file swapped": lambda: swap("x", "a2"),
        "and again": lambda: swap("x", "a2"),
        "a directory, and an edit in it": lambda: (go(("f", "F")), edit("F/a")),
        "inside out": lambda: go(("F/deep", "t"), ("F", "t/F")),
        "moved, and another made of its name": lambda: (
            go(("t", "T")),
            plant(source, {"t/F/a": text(700, "f/a"), "t/new": text(70)}),
        ),
        "over an emptied one": lambda: (
            shutil.rmtree(source / "x"),
            (source / "x").mkdir(),
            go(("y", "x")),
        ),
        "with other bits": lambda: (go(("x", "y")), (source / "y").chmod(0o750)),
        "away, and back with other content": lambda: (
            go(("T", "../away")),
            edit("../away/er/c"),
            go(("../away", "T")),
        ),
        "of two of the same content one": lambda: (
            shutil.copy2(source / "same", source / "twin"),
            go(("same", "other")),
        ),
        "hard links": lambda: (
            os.link(source / "twin", source / "name"),
            go(("twin", "another")),
        ),
        "copied, and the first removed": lambda: (
            shutil.copytree(source / "T", source / "U"),
            shutil.rmtree(source / "T"),
        ),
    }
    with line.watching() as program:
        for what, step in steps.items():
            step()
            try:
                line.settle(program)
            except AssertionError as error:
                raise AssertionError(f"after {what}: {error}") from None
        for what, step in steps.items():  # the same in one go, as far as it can be done
            with contextlib.suppress(OSError):
                step()
        line.settle(program)


@SOME
def test_what_is_moved_and_back_is_the_same_file_over_there(
    name: str, line: Line
) -> None:
    """It was copied from what had been retained of it."""
    plant(line.source, {"d/a": text(900, "a"), "d/b": text(700, "b"), "c": text(800)})
    paths = [line.there / one for one in ("d/a", "d/b", "c")]
    with line.watching() as program:
        before = [path.stat().st_ino for path in paths]
        for old, new in (("d", "e"), ("c", "C"), ("e", "d"), ("C", "c")):
            (line.source / old).rename(line.source / new)
            line.settle(program)
        assert [path.stat().st_ino for path in paths] == before


@MOST
def test_what_moves_out_of_the_ignored_and_into_it(name: str, line: Line) -> None:
    source, there = line.source, line.there
    plant(source, {".gitignore": "build/\n*.tmp\n", "build/out": text(600, "out")})
    plant(source, {"a": text(600, "a"), "d/f": text(600, "f"), "c.tmp": text(600, "c")})
    with line.watching() as program:
        plant(there, {"build/made there": "theirs", "d/made there": "theirs"})

        def right(*kept: str) -> None:
            done = run(line.words("--wait"), env=line.environment())
            assert done.returncode == OK, done.stderr
            seen = {
                os.fsdecode(path)
                for path, what in tree(there).items()
                if what[0] == "file"
            }
            assert {path for path in seen if not path.startswith(".filerep-")} == {
                *kept
            }
            for path in kept:
                if not path.endswith("made there"):
                    assert (there / path).read_bytes() == (source / path).read_bytes()

        made = ["build/made there", "d/made there"]
        right(".gitignore", "a", "d/f", *made)
        os.rename(source / "build/out", source / "out")
        os.rename(source / "c.tmp", source / "c")
        right(".gitignore", "a", "out", "c", "d/f", *made)
        os.rename(source / "a", source / "build/a")
        os.rename(source / "c", source / "c.tmp")
        right(".gitignore", "out", "d/f", *made)
        os.rename(source / "build", source / "shown")
        right(".gitignore", "out", "d/f", "shown/a", *made)
        os.rename(source / "d", source / "build")
        right(".gitignore", "out", "shown/a", *made)
        os.rename(source / "build", source / "d")
        right(".gitignore", "out", "d/f", "shown/a", *made)


@MOST
def test_what_the_far_end_made_is_not_moved_over(name: str, line: Line) -> None:
    """A directory moves, and one that the far end made stands where it goes."""
    source, there = line.source, line.there
    for number in range(8):
        plant(source, {f"old/sub/f{number}": text(400, number)})
    with line.watching() as program:
        plant(there, {"new/made there": "theirs", "old/log": "also theirs"})
        (source / "old").rename(source / "new")
        program.wait_for(lambda: (there / "new/sub/f7").exists())
        done = run(line.words("--wait"), env=line.environment())
        assert done.returncode == OK, done.stderr
        assert not (there / "old/sub/f0").exists()
        for path in (source / "new").rglob("f*"):
            copy = there / path.relative_to(source)
            assert copy.read_bytes() == path.read_bytes()
        found = {
            p.name: p.read_text()
            for p in there.rglob("*")
            if p.suffix == "" and p.is_file() and p.name in ("made there", "log")
        }
        assert found == {"made there": "theirs", "log": "also theirs"}


# --- what a reader sees ------------------------------------------------------------------

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
def reader(path: Path) -> Iterator[None]:
    words = [sys.executable, "-c", READER, str(path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout
    try:
        read_until(process.stdout.fileno(), b"reading\n")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        out = process.communicate(timeout=30)[0].decode()
    assert "BAD" not in out, out[:2000]
    assert int(out.split()[-1]) > 5, out


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
        seen: set[bytes] = set()

        def both() -> bool:
            found = [line.there / one for one in ("d/b", "new/c")]
            held = {path.read_bytes() for path in found if path.exists()}
            seen.update(held)
            return held == {new} and found[1].exists()

        program.wait_for(both)
        assert seen == {old, new}
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
        seen: set[bytes] = set()

        def both() -> bool:
            found = [line.there / one for one in ("b", "copied/a")]
            held = {path.read_bytes() for path in found if path.exists()}
            seen.update(held)
            return held == {new} and found[1].exists()

        program.wait_for(both)
        assert seen == {old, new}
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
            for pid in some[turn - 1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert b"lost" not in program.errors


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

    wait_for(lambda: bool(found()))
    return found()


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


# --- over a slow link --------------------------------------------------------------------


def slow(far: FarEnd, rate: int, count: Path) -> FarEnd:
    """Behind a link of ``rate`` bytes a second that counts; 40 ms each way.

    So slow that nothing need be tiny.
    """
    words = [sys.executable, str(SLOWLINK), str(rate), "40", str(count), "--"]
    return with_command(far, [*words, *far.command])


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
        save(path, old[:1_000_000] + new + old[2_000_000:] + new[:1000])
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
        (shelves,) = line.there.glob(".filerep-*/.retained")
        shutil.rmtree(shelves)
        for name in ("a", "d/b"):
            save(line.source / name, noise(6000, f"1 {name}"))
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
