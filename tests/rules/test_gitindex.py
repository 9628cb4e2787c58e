"""git's index as git writes it, in all its forms, and as nobody should write it."""

from __future__ import annotations

import os
import random
import resource
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from fuzz import each_seed, hunts
from memory import at_most

from filerep.rules import gitindex, gitobjects
from filerep.rules import tracked as tracked_module
from filerep.rules.lastread import Hearer
from filerep.rules.repository import Repository
from filerep.rules.tracked import Tracked

NAMES = [f"d{n % 40}/e{n % 7}/file-{n}" for n in range(1500)] + ["a", "z" * 200, "d1/é"]


class Work:
    """A repository, with git's own environment kept away."""

    def __init__(self, place: Path, *words: str) -> None:
        self.place = place
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": os.fspath(place),
            **{f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }  # fmt: skip
        place.mkdir(exist_ok=True)
        self.git("init", "-q", *words, ".")
        self.width = 32 if "--object-format=sha256" in words else 20

    def git(self, *words: str, stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            ["git", "-C", self.place, *words],
            env=self.env,
            capture_output=True,
            input=stdin,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def add(self, names: list[str]) -> None:
        blob = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
        if self.width == 32:
            blob = "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"
        self.git("hash-object", "-w", "--stdin")
        lines = "".join(f"100644 {blob}\t{name}\0" for name in names)
        self.git("update-index", "-z", "--index-info", stdin=lines.encode())

    def load(self, before: gitindex.Index | None = None) -> gitindex.Index:
        path = os.fsencode(self.place / ".git/index")
        return gitindex.load(path, self.width, before)

    def listed(self) -> list[bytes]:
        return self.git("ls-files", "-z").split(b"\0")[:-1]

    def tracked(self) -> Tracked:
        top = os.fsencode(self.place)
        repo = Repository(top, b".git", b".git")
        return Tracked(repo, self.width == 32, False, Hearer())


@pytest.mark.parametrize("words", [(), ("--object-format=sha256",)])
@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_every_version(version: str, words: tuple[str], tmp_path: Path) -> None:
    work = Work(tmp_path, *words)
    work.add(NAMES)
    work.git("update-index", "--index-version", version)
    assert work.load().names == work.listed()
    (tmp_path / "new").write_text("")
    work.git("add", "-N", "new")
    work.git("update-index", "--skip-worktree", "d1/é")
    assert work.load().names == work.listed()


@pytest.mark.parametrize("words", [(), ("--object-format=sha256",)])
@pytest.mark.parametrize("version", ["2", "4"])
def test_names_of_every_length(version: str, words: tuple[str], tmp_path: Path) -> None:
    # An entry has room for how long a name is, but not for all that a path can be.
    work = Work(tmp_path, *words)
    lengths = [*range(1, 300), *range(4090, 4100), 9000]
    work.add(["/".join(["n" * 200] * 50)[: length - 1] + "x" for length in lengths])
    work.git("update-index", "--index-version", version)
    assert work.load().names == work.listed()
    assert len(work.listed()) == len(lengths)
    work.git("update-index", "--assume-unchanged", "nx", "nnx")
    assert work.load().names == work.listed()


@pytest.mark.parametrize("version", ["2", "4"])
def test_a_changed_index_is_read_by_what_has_changed(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gitindex, "_BLOCK", 16)
    work = Work(tmp_path)
    work.add(NAMES)
    work.git("update-index", "--index-version", version)
    rng = random.Random(1)
    known = work.load()
    for turn in range(12):
        if rng.random() < 0.5:
            work.add([f"d{rng.randrange(99)}/new-{turn}-{n}" for n in range(30)])
        else:
            names = [name.decode() for name in rng.sample(known.names, 30)]
            at = rng.randrange(len(known.names) - 40)
            names += [name.decode() for name in known.names[at : at + 40]]
            lines = "".join(f"0 {'0' * 40}\t{name}\0" for name in names)
            work.git("update-index", "-z", "--index-info", stdin=lines.encode())
        new = work.load(known)
        assert new.names == work.listed()
        reused = {id(block) for block in known.blocks} & {
            id(block) for block in new.blocks
        }
        assert reused
        known = new
    work.git("read-tree", "--empty")
    assert work.load(known).names == work.listed() == []


def test_a_split_index(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.add(NAMES)
    work.git("update-index", "--split-index")
    assert work.load().names == work.listed()
    work.add(["b", "d1/new", "zz"])
    work.git("rm", "-q", "--cached", "d5/e5/file-5", "a")
    work.git("config", "splitIndex.maxPercentChange", "100")
    work.git("update-index", "--skip-worktree", "d1/é", "b")
    split = work.load()
    assert split.base and split.names == work.listed()
    (shared,) = tmp_path.glob(".git/sharedindex.*")
    shared.unlink()
    with pytest.raises(gitindex.Unreadable, match="shared part"):
        work.load()


def test_conflicts_are_tracked(tmp_path: Path) -> None:
    work = Work(tmp_path)
    blob = work.git("hash-object", "-w", "--stdin").decode().strip()
    lines = "".join(f"100644 {blob} {stage}\tboth\0" for stage in (1, 2, 3))
    work.git("update-index", "-z", "--index-info", stdin=lines.encode())
    assert work.load().holds(b"both")


def test_what_is_held_and_what_is_below(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.add(["a/b/c", "a.b", "a0", "b"])
    found = work.load()
    assert found.holds(b"a/b/c") and found.holds(b"a.b") and not found.holds(b"a")
    assert found.below(b"a") and found.below(b"a/b") and found.below(b"")
    assert (
        not found.below(b"a/b/c") and not found.below(b"a.") and not found.below(b"b")
    )


@hunts
def test_damage_is_told_apart_from_an_index(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.add(NAMES[:200])
    path = tmp_path / ".git/index"
    whole = path.read_bytes()

    def one(rng: random.Random) -> None:
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.5:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            work.load()
        except gitindex.Unreadable as error:
            assert "\n" not in str(error)

    each_seed(300, one)
    for text in (b"", b"DIRC", b"DIRC\0\0\0\x09" + bytes(60), b"x" * 100):
        path.write_bytes(text)
        with pytest.raises(gitindex.Unreadable):
            work.load()
    path.write_bytes(whole[:-20] + b"need\0\0\0\0" + whole[-20:])
    with pytest.raises(gitindex.Unreadable, match="'need' is not known"):
        work.load()


def test_names_that_grow_without_end_are_not_taken_in(tmp_path: Path) -> None:
    """In version 4 each may be the one before and a byte more."""
    work = Work(tmp_path)
    entry = bytes(24) + (0o100644).to_bytes(4, "big") + bytes(32) + b"\x0f\xff"
    body = b"DIRC" + struct.pack(">II", 4, 60_000) + (entry + b"\0z\0") * 60_000
    (tmp_path / ".git/index").write_bytes(body + bytes(20))
    with at_most(200 << 20):
        with pytest.raises(gitindex.Unreadable, match="all in all"):
            work.load()


def test_a_directory_without_end_is_not_listed(tmp_path: Path) -> None:
    """A sparse index has one entry for it; its object takes as little room."""
    work = Work(tmp_path)
    file = b"100644 %07d\0" + b"\1" * 20
    tree = b"".join(file % n for n in range(2_000_000))
    name = work.git("hash-object", "-w", "--stdin", "-t", "tree", stdin=tree).strip()
    del tree
    entry = bytes(24) + struct.pack(">I12x", 0o40000) + bytes.fromhex(name.decode())
    entry += struct.pack(">HH", 0x4002, 0x4000) + b"d/" + bytes(6)
    index = b"DIRC" + struct.pack(">II", 3, 1) + entry + b"sdir" + bytes(4 + 20)
    (tmp_path / ".git/index").write_bytes(index)
    said: list[str] = []
    hearer = Hearer()
    hearer.on_note = said.append  # type: ignore[method-assign]
    repo = Repository(os.fsencode(tmp_path), b".git", b".git")
    with at_most(360 << 20):
        assert not Tracked(repo, False, False, hearer).file(b"d/0000001")
    assert "too large" in said[0]


def test_an_index_that_is_too_large_is_said(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.add(["a"])
    os.truncate(tmp_path / ".git/index", 1 << 30)
    with at_most(64 << 20):
        with pytest.raises(gitindex.Unreadable, match="too large"):
            work.load()


def test_there_is_none(tmp_path: Path) -> None:
    assert Work(tmp_path).load() is gitindex.EMPTY


# -- what another index means


def test_what_came_and_went_is_told_by_its_path(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.add(NAMES)
    tracked = work.tracked()
    assert tracked.file(b"a") and not tracked.file(b"new")
    assert tracked.reload() is None
    work.add(["new", "d3/new"])
    work.git("rm", "-q", "--cached", "a")
    changes = tracked.reload()
    assert changes and changes.paths == [b"a", b"d3/new", b"new"]
    assert tracked.file(b"new") and not tracked.file(b"a")
    assert tracked.reload() is None


def test_nothing_is_told_to_who_has_not_asked(tmp_path: Path) -> None:
    work = Work(tmp_path)
    tracked = work.tracked()
    assert tracked.reload() is None and not tracked.keeps_rule_files()
    work.add(["new"])
    assert tracked.reload() is None
    assert tracked.file(b"new")


def test_rule_files_that_are_left_out_of_the_work_tree(tmp_path: Path) -> None:
    work = Work(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/.gitignore").write_text("*.o\n")
    work.git("add", ".")
    tracked = work.tracked()
    assert not tracked.keeps_rule_files()
    work.git("update-index", "--skip-worktree", "d/.gitignore")
    changes = tracked.reload()
    assert changes and changes.places == [b"d"] and tracked.keeps_rule_files()
    assert tracked.rule_file(b"d/.gitignore") == b"*.o\n"
    assert tracked.rule_file(b".gitignore") is None
    (tmp_path / "d/.gitignore").write_text("*.a\n")
    work.git("update-index", "--no-skip-worktree", "d/.gitignore")
    work.git("add", ".")
    work.git("update-index", "--skip-worktree", "d/.gitignore")
    changes = tracked.reload()
    assert changes and (changes.paths, changes.places) == ([], [b"d"])
    assert tracked.rule_file(b"d/.gitignore") == b"*.a\n"


def test_what_git_has_just_written_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(tmp_path)
    work.add(NAMES)
    tracked = work.tracked()
    read: list[bytes] = []

    def load(path: bytes, *more: Any) -> gitindex.Index:
        read.append(path)
        return gitindex_load(path, *more)

    gitindex_load = gitindex.load
    monkeypatch.setattr(gitindex, "load", load)
    tracked.file(b"x")
    monkeypatch.setattr(tracked_module, "RECENT_NS", 1 << 62)  # all times are recent
    assert tracked.reload() is None and len(read) == 1
    index = tmp_path / ".git/index"
    data = index.read_bytes()
    index.write_bytes(data[:-20] + bytes(20))  # as git does with index.skipHash
    assert tracked.reload() is None and len(read) == 2
    assert tracked.reload() is None and len(read) == 3
    index.unlink()
    assert tracked.reload() and not tracked.file(b"a")
    index.write_bytes(data)
    assert tracked.reload()
    index.unlink()
    os.mkfifo(index)
    assert tracked.reload() is None and tracked.file(b"a")  # as far as can be told


def test_a_write_of_a_large_index_takes_a_moment(tmp_path: Path) -> None:
    import time

    work = Work(tmp_path)
    work.add([f"some/long/way/{n % 1500}/file_{n}.c" for n in range(40_000)])
    tracked = work.tracked()
    tracked.file(b"x")
    best = 9.0
    for turn in range(5):
        work.add([f"some/long/way/{turn}/new"])
        before = time.process_time()
        changes = tracked.reload()
        best = min(best, time.process_time() - before)
        assert changes and changes.paths == [b"some/long/way/%d/new" % turn]
    assert best < 0.02  # 3 ms, on a machine that does nothing else


# -- objects


@pytest.mark.parametrize("words", [(), ("--object-format=sha256",)])
def test_objects_loose_and_packed(words: tuple[str], tmp_path: Path) -> None:
    work = Work(tmp_path, *words)
    rng = random.Random(2)
    text = [b"line %d\n" % rng.randrange(10**9) for _ in range(3000)]
    for turn in range(12):
        for name in ("a", "b"):
            text[rng.randrange(len(text))] = b"changed %d\n" % turn
            (tmp_path / name).write_bytes(b"".join(text))
        (tmp_path / ".gitignore").write_bytes(b"*.o\n%d\n" % turn)
        work.git("add", ".")
        work.git("commit", "-q", "-m", "x")
    out = work.git("rev-list", "--objects", "--all").decode().split("\n")
    names = [line.split()[0] for line in out if line]
    kinds = {n: work.git("cat-file", "-t", n).strip() for n in names}
    texts = {n: work.git("cat-file", kinds[n].decode(), n) for n in names}

    def check() -> None:
        known = gitobjects.Objects(os.fsencode(tmp_path / ".git/objects"), work.width)
        for name in names:
            assert known.get(bytes.fromhex(name)) == (kinds[name], texts[name])
        assert known.get(bytes(work.width)) is None

    check()
    work.git("repack", "-q", "-a", "-d", "-f", "--depth=50", "--window=50")
    assert not list(tmp_path.glob(".git/objects/[0-9a-f][0-9a-f]"))
    check()
    (pack,) = tmp_path.glob(".git/objects/pack/*.pack")
    work.git("index-pack", "--index-version=1", os.fspath(pack))
    check()
    data = bytearray(pack.read_bytes())
    for _ in range(2000):
        data[rng.randrange(20, len(data))] ^= rng.randrange(256)
    pack.chmod(0o644)
    pack.write_bytes(data)
    known = gitobjects.Objects(os.fsencode(tmp_path / ".git/objects"), work.width)
    for name in names:
        known.get(bytes.fromhex(name))  # whatever it is, it does not raise


def test_of_a_large_pack_s_index_only_what_is_looked_for_is_read(
    tmp_path: Path,
) -> None:
    work = Work(tmp_path)
    blob = work.git("hash-object", "-w", "--stdin", stdin=b"text").strip()
    work.git("pack-objects", "-q", ".git/objects/pack/pack", stdin=blob)
    work.git("prune-packed")
    (index,) = tmp_path.glob(".git/objects/pack/*.idx")
    os.truncate(index, 1 << 31)
    known = gitobjects.Objects(os.fsencode(tmp_path / ".git/objects"), 20)
    with at_most(64 << 20):
        assert known.get(bytes.fromhex(blob.decode())) == (b"blob", b"text")


def test_objects_in_packs_that_came_since_or_were_made_anew(tmp_path: Path) -> None:
    """As a fetch brings them, and `git gc` has others in their place."""
    work = Work(tmp_path)
    known = gitobjects.Objects(os.fsencode(tmp_path / ".git/objects"), 20)
    names = []
    for text in (b"one", b"two", b"three"):
        names.append(work.git("hash-object", "-w", "--stdin", stdin=text).strip())
        work.git("pack-objects", "-q", ".git/objects/pack/pack", stdin=names[-1])
        work.git("prune-packed")
        assert known.get(bytes.fromhex(names[-1].decode())) == (b"blob", text)
    work.git("multi-pack-index", "write")
    old = list(tmp_path.glob(".git/objects/pack/pack-*"))
    work.git("pack-objects", "-q", ".git/objects/pack/pack", stdin=b"\n".join(names))
    for path in old:
        path.unlink()
    assert known.get(bytes.fromhex(names[0].decode())) == (b"blob", b"one")


def test_objects_of_another_repository(tmp_path: Path) -> None:
    work = Work(tmp_path / "one")
    blob = work.git("hash-object", "-w", "--stdin", stdin=b"text").strip().decode()
    work.git("clone", "-q", "-s", ".", os.fspath(tmp_path / "two"))
    known = gitobjects.Objects(os.fsencode(tmp_path / "two/.git/objects"), 20)
    assert known.get(bytes.fromhex(blob)) == (b"blob", b"text")
    loop = tmp_path / "two/.git/objects/info/alternates"
    loop.write_text("../../.git/objects\n" * 3)
    assert (
        gitobjects.Objects(os.fsencode(loop.parent.parent), 20).get(bytes(20)) is None
    )


def test_a_bitmap_that_says_more_than_there_is_takes_no_time() -> None:
    ones, words = 1 | 0xFFFFFFFF << 1, (1 << 31) - 1
    data = b"\xff" * 4 + struct.pack(">IQQI", 2, ones, words << 33, 0)
    places, end = gitindex._bitmap(data, 0, 5)
    assert list(places) == [0, 1, 2, 3, 4] and end == len(data)
    data = b"\xff" * 4 + struct.pack(">IQI", 0xFFFFFFFF, words << 33, 0)
    assert list(gitindex._bitmap(data, 0, 5)[0]) == []


def test_a_delta_makes_no_more_than_it_says() -> None:
    base = bytes(1 << 20)
    size = b"\x80\x80\x40"
    assert gitobjects.patch(base, size + size + b"\xf0\x00\x00\x10") == base[: 1 << 20]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(gitobjects.Damaged):
        gitobjects.patch(base, size + size + b"\xf0\x00\x00\x10" * 1000)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 100_000  # kilobytes


def test_packs_whose_deltas_stand_on_each_other_hold_nothing(tmp_path: Path) -> None:
    """Nobody compares an object with its name, so those of a bad pack may go round in circles."""
    (tmp_path / "pack").mkdir()
    names = [b"\xaa" * 20, b"\xbb" * 20]
    for name, base in (names, reversed(names)):
        path = tmp_path / "pack" / name.hex()
        fans = [int(first >= name[0]).to_bytes(4, "big") for first in range(256)]
        index = [b"\xfftOc\0\0\0\2", *fans, name, bytes(4), (12).to_bytes(4, "big")]
        path.with_suffix(".idx").write_bytes(b"".join(index) + bytes(40))
        delta = bytes([5, 5, 0x90, 5])
        entry = bytes([7 << 4 | len(delta)]) + base + zlib.compress(delta)
        path.with_suffix(".pack").write_bytes(b"PACK" + bytes(8) + entry + bytes(20))
    known = gitobjects.Objects(os.fsencode(tmp_path), 20)
    assert known.get(names[0]) is None
