"""Paths that lead outside are refused: where they come in, where they become words, over there."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from farends import local_shell, need
from fuzz import each_seed, hunts, spoil
from memory import at_most
from programs import read_until

from filerep.farend import listing
from filerep.farend.batch import Batch
from filerep.farend.commit import Commit
from filerep.pathstream import inside
from filerep.replica.known.merging import merge_listing
from filerep.replica.known.table import Table
from filerep.source import Source
from filerep.wrapper import bootstrap

OUTSIDE = [b"..", b"../victim", b"a/../../victim", b"/etc/passwd", b"a/..", b"../a/"]


@pytest.mark.parametrize("path", [*OUTSIDE, b"", b".", b"./", b"a//b", b"./a", b"/"])
def test_the_gate_lets_in_one_spelling_of_what_is_inside(path: bytes) -> None:
    assert not inside(path)
    assert inside(b"a/..b/...") and inside(b".a/b/") and inside(b"-rf *\n")


def test_a_far_end_that_lists_what_is_no_name_is_not_believed() -> None:
    names = [b"..", b"../victim", b"a/b", b"", b".", b"good"]
    lines = [b"f 644 1 1.0 %s\0\0" % name for name in names]
    assert [one[0] for one in listing.parse("find", b"".join(lines))] == [b"good"]
    lines = [b"81a4 1 1 1.0 x %s//\n" % name for name in names if b"/" not in name]
    found = [one[0] for one in listing.parse("stat", b"".join(lines))]
    assert set(found) <= {b"good", b"x"}


@pytest.mark.parametrize(
    "number", [b"9" * 5000, b"-1", b"0x1", b"9" * 19, b"1e9", b"\xd9\xa3"]
)
def test_a_number_that_no_file_system_has_is_not_believed(number: bytes) -> None:
    for fields in (b"f %s 1 1.0 x", b"f 644 %s 1.0 x", b"f 644 1 %s.0 x"):
        for one in listing.parse("find", fields % number + b"\0\0"):
            table = Table()
            merge_listing(table, b"", [one])
            assert table.get(b"x")


LISTINGS = {
    "find": b"\0\0./.\0f 644 7 1.5 a\0\0d 755 4 -2.5 d\0\0l 777 1 3.0 l\0a\0"
    b"\0\0./d/.\0f 600 0 1600000000.123456789 x y\n\0\0\0\0./e/.\0!\0\0\0\0end\0",
    "stat": b"41ed 4 1 1970-01-01 00:00:01.5 +0000 ././/\n"
    b"81a4 7 1 1970-01-01 00:00:01.5 +0000 ./a//\na1ff 1 3 1970-01-01 00:00:03.0 +0000 ./l//\n"
    b"41ed 4 1 1970-01-01 00:00:01.5 +0000 ./d/.//\n"
    b"8180 0 9 1970-01-01 00:00:09.1 +0000 ./d/x y//\nend//\n",
    "bsd": b"40755 4 1.5 ././/\n100644 7 1.5 ./a//\n120777 1 3.0 ./l//\n"
    b"40755 4 1.5 ./d/.//\n100600 0 9.1 ./d/x\ny//\nend//\n",
}


@hunts
@pytest.mark.parametrize("form", LISTINGS)
def test_of_a_spoilt_listing_names_and_numbers_are_taken_or_nothing(form: str) -> None:
    def one(dice: random.Random) -> None:
        data = LISTINGS[form]
        for _ in range(dice.randrange(1, 4)):
            data = spoil(data, dice) or b"x"
        table = Table()
        with at_most(32 << 20):
            listing.find_end(form, data, dice.randrange(len(data)))
            for body in listing.bodies(form, data).values():
                merge_listing(table, b"", listing.parse(form, body))
            listing.parse_find(data)
        for path, _ in table.below(b""):
            assert inside(path) and b"/" not in path[:-1]

    each_seed(500, one)


def test_a_mode_below_nothing_is_no_entry() -> None:
    """Found by a hunt: it was an internal error."""
    body = b"-8180 0 9 1970-01-01 00:00:09.1 +0000 ./d/x//\n"
    assert listing.parse("stat", body) == []
    assert listing.parse("find", b"f -44 1 1.0 x\0\0") == []


def test_a_list_of_what_is_there_cannot_name_what_is_outside() -> None:
    lines = [b"f 644 1 1.0 ./%s\0\0" % path for path in (b"../v", b"a/../../v", b"a/f")]
    assert set(listing.parse_find(b"".join(lines))) == {b"", b"a"}


@pytest.mark.parametrize("path", [b"../x/f", b"a/../../x/f", b"./../x/f"])
def test_the_source_gives_no_look_outside(path: bytes, tmp_path: Path) -> None:
    (tmp_path / "src/a").mkdir(parents=True)
    (tmp_path / "x").mkdir()
    (tmp_path / "x/f").write_text("secret")
    source = Source(os.fsencode(tmp_path / "src"))
    assert source.look(path) is None
    with pytest.raises(OSError):
        source.open(path)


@pytest.mark.parametrize("verb", ["deletions", "removals", "modes"])
def test_no_commit_names_what_is_outside(verb: str) -> None:
    batch = Batch(b".filerep-x")
    path = b"a/../../victim"
    getattr(batch, verb).append((path, 0o755) if verb == "modes" else path)
    with pytest.raises(ValueError):
        Commit(batch, set()).members()


COMMITS = [
    "at 0 . && del './../victim'",
    "at 0 './d' './d/..' './d/../..' && del './d/../../victim'",
    "at 0 . && rmd './d/../../empty'",
    "at 0 './..' && mod 000",
    "at 0 './..' && put './STAGE/0/victim'",
]


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox", "mksh", "zsh"])
def test_a_far_end_refuses_to_leave_the_destination(
    shell: str, base: Path, place: Path
) -> None:
    """Whatever has made the commit; the second line of defence."""
    need("busybox", "mksh", "zsh")
    for number, commit in enumerate(COMMITS):
        parent = place / str(number)
        (parent / "copy/d").mkdir(parents=True)
        (parent / "empty").mkdir()
        (parent / "victim").write_text("precious")
        mode = parent.stat().st_mode
        far = Receiver(local_shell(shell, "gnu", base).command, parent)
        far.apply(commit)
        assert (parent / "victim").read_text() == "precious", commit
        assert (parent / "empty").is_dir() and parent.stat().st_mode == mode
        assert os.listdir(parent / "copy") == ["d"], commit


@pytest.mark.parametrize("shell", ["bash", "dash", "mksh", "zsh"])
def test_a_commit_that_was_not_read_to_its_end_is_not_acknowledged(
    shell: str, base: Path, place: Path
) -> None:
    need("mksh", "zsh")
    for name, commit, answered in (("a", ":\nwhole=1\n", True), ("b", ":\n", False)):
        (place / name / "copy").mkdir(parents=True)
        far = Receiver(local_shell(shell, "gnu", base).command, place / name)
        assert (b"ok 1\n" in far.apply(commit)) == answered
        assert not os.listdir(place / name / "copy")


def test_a_receiver_that_was_never_taught_to_reuse_acknowledges_none_of_it(
    base: Path, place: Path
) -> None:
    """The batch that brought it along was lost; what it would have run is not there."""
    batch = Batch(b".filerep-x")
    batch.number = 1
    batch.retained[b""] = (0, [b"f"])
    (_, commit), *_ = Commit(batch, set()).members()
    (place / "copy").mkdir()
    far = Receiver(local_shell("dash", "gnu", base).command, place)
    assert b"ok 1\n" not in far.apply(commit.decode())


FAILS = [None, "at 0 './lost' && del './lost/f'", "at 0 './d' && del './d/stuck'"]


@pytest.mark.parametrize("fails", FAILS, ids=["whole", "lost", "bad"])
def test_what_a_failed_batch_left_of_ours_is_not_moved_aside(
    fails: str | None, base: Path, place: Path
) -> None:
    """The batches behind it were sent when it was thought to be gone."""
    put = "at 0 . && put './STAGE/0/d'"
    (place / "copy/d").mkdir(parents=True)
    for name in ("f", "stuck"):
        (place / "copy/d" / name).write_text("ours")
    far = Receiver(rm_that_fails(base, place), place)
    commits = [one and f"{one}\nwhole=1\n" for one in (fails, ":", put, put)]
    said = far.apply(*commits, name="d")
    assert b"\nbad 3 1 Directory not empty\nok 3\n" in said
    assert b"aside 4 1 .kept-1" in said  # by now it is told that it was not removed


def with_tool(tool: str, script: str, base: Path, place: Path) -> list[str]:
    """A far end with a tool that does ``script`` first, and then what it is there for."""
    (place / "bin").mkdir()
    (place / "bin" / tool).write_text(f'#!/bin/sh\n{script}\nexec /bin/{tool} "$@"\n')
    (place / "bin" / tool).chmod(0o755)
    env, path, shell = local_shell("dash", "gnu", base).command
    return [env, path.replace("PATH=", f"PATH={place}/bin:"), shell]


def rm_that_fails(base: Path, place: Path) -> list[str]:
    """A far end that cannot remove what is called stuck."""
    script = "case $* in *stuck*) exit 1 ;; esac"
    return with_tool("rm", script, base, place)


MV_THAT_IS_KILLED = """
case $* in *kept-1) /bin/mv "$@"; kill -KILL $$ ;; esac"""  # behind what it did


def test_a_mv_that_is_killed_behind_what_it_did_has_done_it(
    base: Path, place: Path
) -> None:
    there = place / "copy"
    (there / "d/made").mkdir(parents=True)
    (there / "old").write_text("mine")
    far = Receiver(with_tool("mv", MV_THAT_IS_KILLED, base, place), place)
    put, spell = "at 0 . && put './STAGE/0/d'", "at 0 . && spell old new"
    said = far.apply(*(f"{one}\nwhole=1\n" for one in (put, spell)), name="d")
    assert b"aside 1 1 .kept-1\nok 1\n" in said
    assert (there / "new").read_text() == "mine"
    assert sorted(os.listdir(there)) == ["d", "d.kept-1", "new"]


class Receiver:
    """A receiver that is sent commits of the test's own."""

    def __init__(self, command: list[str], parent: Path) -> None:
        args: dict[str, Any] = defaultdict(lambda: None)
        job: Any = SimpleNamespace(
            args=args, parent=os.fsencode(parent), name=b"copy", key="k" * 8
        )
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdin and self.process.stdout
        self.write(bootstrap.questions(job, "1234", False))
        read_until(self.process.stdout.fileno(), b"\n")
        self.write(bootstrap.receiver(job, "1234", "m", {"tar": "gnu", "full": ""}))
        read_until(self.process.stdout.fileno(), b"ready")

    def write(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def apply(self, *commits: str | None, name: str = "victim") -> bytes:
        """What it answers to a batch for each, in which ``name`` is staged."""
        for number, commit in enumerate(commits, 1):
            self.write(archive(commit, name) + b"batch %d 20\n" % number)
        return self.process.communicate(timeout=20)[0]


def archive(commit: str | None, name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        members = {f"0/{name}": b"other"}
        if commit is not None:
            text = commit.replace("STAGE", ".filerep-kkkkkkkk-1234")
            members["commit"] = text.encode()
        for path, content in members.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()
