"""The watcher's core without processes: operations, events and looks in one thread."""

from __future__ import annotations

import errno
import itertools
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operations import KINDS, NAMES, Hands, Operation
from sink import tree
from watched import Watched, watched

from filerep.pathstream import encode
from filerep.rules import ignore
from filerep.rules.walking import walk
from filerep.source import RootGone
from filerep.watching import entries, inotifyevents
from filerep.watching.audit import Audit
from filerep.watching.inotify import Inotify
from filerep.watching.pending import SETTLE_SECONDS, Holds, Pending
from filerep.watching.polling import Snapshots
from filerep.watching.rootcheck import Root

# How many seconds, about, a random test goes on when it is to hunt.
HUNT = float(os.environ.get("FILEREP_HUNT", "0"))


BOTH = pytest.mark.parametrize("polling", [False, True], ids=["inotify", "polling"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    return made


def test_what_exists_at_the_start_is_not_named(source: Path) -> None:
    (source / "d").mkdir()
    (source / "d/f").write_text("old")
    with watched(source) as it:
        assert it.records() == []


def test_a_save_is_named_once_however_many_events_it_has(source: Path) -> None:
    with watched(source) as it:
        for n in range(100):
            (source / "f").write_text(str(n))
        assert it.records() == [b"f"]


def test_a_file_that_came_and_took_another_name_is_named_later(source: Path) -> None:
    """Somebody may have listed it in between; but first comes what matters."""
    with watched(source) as it:
        (source / "f~new").write_text("x")
        (source / "f~new").rename(source / "f")
        it.tracker.read()
        it.tracker.work()
        it.pending.settle(SETTLE_SECONDS)
        assert it.pending.take(4096) == [b"f"]
        assert it.records() == [b"f~new"]


def test_a_file_in_a_new_deep_directory_is_named(source: Path) -> None:
    with watched(source) as it:
        (source / "n/a/b").mkdir(parents=True)
        (source / "n/a/b/f").write_text("x")
        assert b"n/a/b/f" in it.records()
        (source / "n/a/b/f").write_text("y")
        assert it.records() == [b"n/a/b/f"]


def test_a_directory_moved_in_is_named_with_all_that_is_in_it(source: Path) -> None:
    outside = source.parent / "outside"
    (outside / "x/y").mkdir(parents=True)
    (outside / "x/y/f").write_text("1")
    with watched(source) as it:
        (outside).rename(source / "in")
        assert {b"in", b"in/x", b"in/x/y", b"in/x/y/f"} <= set(it.records())


def test_a_directory_moved_out_says_what_is_to_be_looked_for(source: Path) -> None:
    (source / "d/e").mkdir(parents=True)
    with watched(source) as it:
        (source / "d").rename(source.parent / "out")
        assert set(it.records()) == {b"d", b"d/"}
        (source.parent / "out/e/f").write_text("not here any more")
        assert it.records() == []


def test_a_chmod_of_a_directory_is_named(source: Path) -> None:
    (source / "d").mkdir()
    with watched(source) as it:
        (source / "d").chmod(0o700)
        assert it.records() == [b"d"]


@BOTH
def test_a_directory_that_cannot_be_listed_for_a_moment_is_taken_in_later(
    source: Path, polling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an error of the disk, or a lack of memory, no event tells when it is over."""
    (source / "d/e").mkdir(parents=True)
    (source / "d/e/f").write_text("1")
    with watched(source, polling) as it:
        (source / "d/e/new").mkdir()
        (source / "d/e/new/f").write_text("1")
        (source / "d/e").rename(source / "e")
        real = entries.scan

        def scan(fd: int) -> Iterator[tuple[bytes, bytes, bytes]]:
            if os.readlink(f"/proc/self/fd/{fd}") == str(source / "e"):
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            return real(fd)

        with monkeypatch.context() as broken:
            broken.setattr(entries, "scan", scan)
            assert b"e" in it.records()
            assert polling or it.records() == [], "named once"
            assert {error[:2] for error in it.errors} == {("read", b"e")}
        if not polling:
            assert it.tracker.deadline() is not None
        it.records()
        assert not it.sink.differences()
        (source / "e/new/f").write_text("2")
        it.records()
        assert not it.sink.differences()


def test_swapped_directories_are_both_still_watched(source: Path) -> None:
    from operations import exchange

    for name in "ab":
        (source / name / "in").mkdir(parents=True)
        (source / name / "in/f").write_text(name)
    with watched(source) as it:
        exchange(bytes(source / "a"), bytes(source / "b"))
        it.records()
        assert not it.sink.differences()
        (source / "a/in/f").write_text("1")
        (source / "b/in/f").write_text("2")
        assert sorted(it.records()) == [b"a/in/f", b"b/in/f"]


def test_the_other_names_of_a_file_are_named_with_it(source: Path) -> None:
    for name in "abc":
        (source / name).mkdir()
    (source / "a/f").write_text("1")
    os.link(source / "a/f", source / "b/g")
    with watched(source) as it:
        (source / "a/f").write_text("2")
        assert sorted(it.records()) == [b"a/f", b"b/g"]
        os.link(source / "a/f", source / "c/h")
        it.records()
        (source / "c/h").chmod(0o600)
        assert sorted(it.records()) == [b"a/f", b"b/g", b"c/h"]


def test_what_is_written_by_a_name_that_does_not_count_has_one_that_does(
    source: Path,
) -> None:
    (source / "a").mkdir()
    (source / "a/f").write_text("1")
    (source / ".gitignore").write_text("*.o\n")
    with watched(source) as it:
        os.link(source / "a/f", source / "f.o")
        (source / "f.o").write_text("2")
        assert it.records() == [b"a/f"]
        (source / "f.o").write_text("3")
        it.tracker.read()
        assert it.pending  # by now it is known
        assert it.records() == [b"a/f"]
        os.link(source / "f.o", source.parent / "outside")
        os.unlink(source / "a/f")
        it.records()
        (source / "f.o").write_text("4")
        assert it.records() == []


def test_an_overflow_names_everything_and_asks_for_what_is_gone(source: Path) -> None:
    (source / "d").mkdir()
    (source / "d/f").write_text("1")
    (source / "gone").write_text("1")
    with watched(source) as it:
        (source / "gone").unlink()
        (source / "new/deep").mkdir(parents=True)
        (source / "new/deep/f").write_text("1")
        it.lose_events()
        records = it.records()
        assert records[0] == b"./"
        assert {b"d", b"d/f", b"new/deep/f"} <= set(records)
        assert not it.sink.differences()
        assert (
            it.sink.sent
            == [
                b"new",
                b"new/deep",
                b"new/deep/f",
            ]
            or b"d/f" not in it.sink.sent[-3:]
        )
        (source / "new/deep/f").write_text("2")
        assert it.records() == [b"new/deep/f"]


def test_the_receivers_own_directory_is_never_named(source: Path) -> None:
    with watched(source) as it:
        (source / ".filerep-1").mkdir()
        (source / ".filerep-1/f").write_text("x")
        assert it.records() == []
        it.lose_events()
        assert it.records() == [b"./"]


def test_a_gitignore_edit_names_what_it_lets_appear(source: Path) -> None:
    (source / ".gitignore").write_text("build/\n*.log\n")
    (source / "build/x").mkdir(parents=True)
    (source / "build/x/f").write_text("1")
    (source / "a.log").write_text("1")
    (source / "b").write_text("1")
    with watched(source) as it:
        (source / "build/x/f").write_text("2")
        assert it.records() == []
        (source / ".gitignore").write_text("*.log\n")
        assert set(it.records()) - {b"./", b"build/"} == {
            b".gitignore",
            b"build",
            b"build/x",
            b"build/x/f",
        }
        (source / "build/x/f").write_text("3")
        assert it.records() == [b"build/x/f"]
        (source / ".gitignore").unlink()
        assert b"a.log" in it.records()


def test_a_directory_that_comes_to_be_ignored_is_not_deleted(source: Path) -> None:
    (source / "build").mkdir()
    (source / "build/f").write_text("1")
    with watched(source) as it:
        (source / ".gitignore").write_text("build/\n")
        it.records()
        assert b"build/f" in it.sink.table
        (source / "build/f").write_text("2")
        assert it.records() == []


def test_a_gitignore_in_a_directory_moved_in_counts(source: Path) -> None:
    outside = source.parent / "outside"
    outside.mkdir()
    (outside / ".gitignore").write_text("hidden\n")
    (outside / "hidden").write_text("1")
    (outside / "seen").write_text("1")
    with watched(source) as it:
        outside.rename(source / "d")
        assert set(it.records()) == {b"d", b"d/", b"d/.gitignore", b"d/seen"}


def test_the_root_moved_away_is_no_mass_deletion(source: Path) -> None:
    (source / "f").write_text("1")
    with watched(source) as it:
        source.rename(source.parent / "elsewhere")
        with pytest.raises(RootGone):
            it.tracker.read()


def test_a_directory_above_the_root_moved_away_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "above/higher/source"
    source.mkdir(parents=True)
    with watched(source) as it:
        (tmp_path / "above").rename(tmp_path / "below")
        with pytest.raises(RootGone):
            it.tracker.read()


def test_an_empty_root_deleted_while_somebody_holds_it_is_noticed(source: Path) -> None:
    fd = os.open(source, os.O_RDONLY)
    with watched(source) as it:
        source.rmdir()
        with pytest.raises(RootGone):
            it.tracker.read()
    os.close(fd)


def test_paths_longer_than_the_system_takes_are_watched(source: Path) -> None:
    name = "n" * 200
    fds = [os.open(source, os.O_RDONLY)]
    for _ in range(60):
        os.mkdir(name, dir_fd=fds[-1])
        fds.append(os.open(name, os.O_RDONLY, dir_fd=fds[-1]))
    with watched(source) as it:
        with open(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=fds[-1]), "w") as file:
            file.write("deep")
        assert it.records() == [b"/".join([name.encode()] * 60 + [b"f"])]
        os.mkdir("d", dir_fd=fds[-1])
        assert it.records() == [b"/".join([name.encode()] * 60 + [b"d"])]
    for fd in fds:
        os.close(fd)


def test_a_directory_that_vanishes_before_it_is_watched_is_no_error(
    source: Path,
) -> None:
    with watched(source) as it:
        for _ in range(3):
            (source / "d/e").mkdir(parents=True)
            (source / "d/e").rmdir()
            (source / "d").rmdir()
        assert set(it.records()) == {b"d", b"d/"}
        assert it.errors == []


def test_symlinks_are_named_and_not_entered(source: Path) -> None:
    with watched(source) as it:
        (source / "loop").symlink_to(".")
        (source / "out").symlink_to(source.parent)
        assert set(it.records()) == {b"loop", b"out"}
        (source.parent / "f").write_text("outside")
        assert it.records() == []


# The audit.


def test_the_audit_finds_a_write_through_a_link_outside(source: Path) -> None:
    (source / "f").write_text("1")
    os.link(source / "f", source.parent / "outside")
    with watched(source) as it:
        (source.parent / "outside").write_text("2")
        assert it.records() == []
        assert isinstance(it.tracker, Inotify)
        it.tracker.audit.begin()
        while it.tracker.audit.deadline():
            it.tracker.work()
        assert b"f" in it.records()
        assert not it.sink.differences()


def test_the_audit_finds_rules_that_were_written_through_a_link_outside(
    source: Path,
) -> None:
    (source / ".gitignore").write_text("")
    (source / "d").mkdir()
    os.link(source / ".gitignore", source.parent / "outside")
    with watched(source) as it:
        (source.parent / "outside").write_text(".gitignore\nsecret\n")
        assert isinstance(it.tracker, Inotify)
        it.tracker.audit.begin()
        while it.tracker.audit.deadline():
            it.tracker.work()
        (source / "d/secret").write_text("")
        assert b"d/secret" not in it.records()


def test_an_audit_takes_a_tenth_of_a_processor_however_often_it_is_asked_for(
    source: Path,
) -> None:
    with watched(source) as it:
        assert isinstance(it.tracker, Inotify)
        ticks = itertools.count(0.0)  # each look at the clock takes a second
        audit = Audit(it.tracker.audit._tree, 1e-9, lambda: next(ticks))
        audit.begin()
        while audit.deadline() == 0.0:
            audit.work()
        due = audit.deadline()
        assert due is not None and due - next(ticks) >= 9


# What happens between two looks of ours, while the reader looks.


def look_meanwhile(it: Watched) -> None:
    """Let the watcher look, and have the reader take what it names later."""
    it.tracker.sync()
    it.pending.settle(float("inf"))


@BOTH
def test_a_file_that_came_back_for_the_readers_look_only_is_gone(
    polling: bool, source: Path
) -> None:
    (source / "f").write_text("1")
    with watched(source, polling) as it:
        (source / "f").unlink()
        look_meanwhile(it)
        (source / "f").write_text("2")
        it.sink.feed(encode(it.pending.take(4096)))
        assert b"f" in it.sink.table
        (source / "f").unlink()
        it.records()
        assert not it.sink.differences()


@BOTH
def test_a_directory_that_was_away_for_the_readers_look_only_is_there(
    polling: bool, source: Path
) -> None:
    (source / "d/e").mkdir(parents=True)
    (source / "d/e/f").write_text("1")
    with watched(source, polling) as it:
        (source / "d/e/f").write_text("2")
        look_meanwhile(it)
        (source / "d").rename(source.parent / "away")
        it.sink.feed(encode(it.pending.take(4096)))
        assert b"d/e/f" not in it.sink.table
        (source.parent / "away").rename(source / "d")
        it.records()
        assert not it.sink.differences()


def test_a_file_that_only_fr_walk_has_seen_is_gone(source: Path) -> None:
    with watched(source, polling=True) as it:
        (source / "f").write_text("1")
        it.sink.walk()
        (source / "f").unlink()
        it.records()
        assert not it.sink.differences()


# Holding back.


def test_what_is_held_falls_due_in_order_and_keeps_its_first_deadline() -> None:
    holds = Holds(1.0)
    holds.hold(b"a", 0.0)
    holds.hold(b"b", 0.5)
    holds.hold(b"a", 0.9)
    assert holds.deadline() == 1.0
    assert holds.release(1.2) == [b"a"]
    assert holds.release(1.5) == [b"b"]
    assert holds.deadline() is None


def test_a_path_that_waits_is_named_once() -> None:
    pending = Pending(lambda: 0.0, 1.0)
    pending.later(b"f")
    pending.now(b"f")
    pending.later(b"f")
    pending.settle(5.0)
    assert pending.take(100) == [b"f"]
    assert not pending


def test_the_sync_point_comes_after_all_that_waits() -> None:
    pending = Pending(lambda: 0.0, 1.0)
    pending.now(b"a")
    pending.last(b".")
    pending.later(b"b")
    pending.last(b".")
    assert pending.take(100) == [b"a", b"b", b"."]


def test_a_record_longer_than_asked_for_is_taken_alone() -> None:
    pending = Pending(lambda: 0.0, 1.0)
    pending.now(b"x" * 50)
    pending.now(b"y")
    assert pending.take(10) == [b"x" * 50]
    assert pending.take(10) == [b"y"]


# The same answer as fr-walk, whatever becomes of the ignore files.

RULES = ["", "a", "b/", "/c", "*", "!a", "*.tmp", "!b/", "a/b", "**/c", "/b/*\n!/b/a"]
EDITS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["write", "mkdir", "rmtree", "unlink", "rename", "pump"]),
            st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=3),
            st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=3),
        ),
        st.tuples(
            st.just("rules"),
            st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=2),
            st.lists(st.sampled_from(RULES), max_size=3),
        ),
    ),
    max_size=40,
)


@BOTH
@settings(max_examples=int(HUNT * 25) or 100, deadline=None)
@given(edits=EDITS)
def test_what_counts_converges_when_ignore_files_are_edited(
    polling: bool, edits: list[tuple[str, list[bytes], list[bytes | str]]]
) -> None:
    with tempfile.TemporaryDirectory(prefix="fr-test-") as name:
        source = Path(name) / "source"
        source.mkdir()
        hands = Hands(source, Path(name))
        with watched(source, polling) as it:
            for kind, one, other in edits:
                if kind == "pump":
                    it.some(20)
                elif kind == "rules":
                    path = os.path.join(os.fsencode(source), *one, b".gitignore")
                    with suppress(OSError):
                        with open(path, "w") as file:
                            file.write("\n".join(map(str, other)))
                else:
                    words = [word for word in other if isinstance(word, bytes)]
                    hands.do((kind, b"/".join(one), b"/".join(words)))
            it.records()
            assert_counting_converged(it)


def assert_counting_converged(it: Watched) -> None:
    """Every path that counts is right; of those that do not, nothing is said."""
    found = tree(bytes(it.source))
    for path in walk(it.root.path, it.load(), it.on_error):
        assert it.sink.table.get(path) == found[path], path
    for path, look in it.sink.table.items():
        parts = path.split(b"/")
        rules: ignore.Rules | None = it.load()
        if path in found or look[0] == "dir":
            continue
        for depth, name in enumerate(parts[:-1], 1):
            above = os.path.join(it.root.path, *parts[:depth])
            if not rules or not rules.counts(name, True) or not os.path.isdir(above):
                rules = None
                break
            fd = os.open(above, os.O_RDONLY)
            rules = rules.enter(name, fd)
            os.close(fd)
        assert rules is None or not rules.counts(parts[-1], False), path


# Convergence: random operations, with events read and records taken in between.

PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(b"/".join)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(sorted(set(KINDS))), PATHS, PATHS),
        st.tuples(st.just("rename"), PATHS, PATHS),
        st.tuples(st.sampled_from(["pump", "lose"]), st.just(b""), st.just(b"")),
        st.tuples(st.just("pump"), st.just(b""), st.just(b"")),
    ),
    max_size=60,
)


@BOTH
@settings(max_examples=int(HUNT * 25) or 150, deadline=None)
@given(operations=OPERATIONS)
def test_the_replica_converges(polling: bool, operations: list[Operation]) -> None:
    with tempfile.TemporaryDirectory(prefix="fr-test-") as name:
        outside = Path(name) / "outside"
        outside.mkdir()
        source = Path(name) / "source"
        source.mkdir()
        hands = Hands(source, outside)
        try:
            with watched(source, polling) as it:
                for operation in operations:
                    if operation[0] == "pump":
                        it.some(20)
                    elif operation[0] == "lose":
                        if not polling:
                            it.lose_events()
                    else:
                        hands.do(operation)
                it.records()
                assert not it.sink.differences()
                assert it.errors == []
        finally:
            hands.close()
