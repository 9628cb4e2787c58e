"""What counts, while everything that decides about it changes: git is asked after each step.

What git has listed at no time is never handed over, and what it lists now is there as it is
here, once all that has changed was handed over.

FILEREP_HUNT=SECONDS goes on for so long with seeds never tried before.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ignoretrees import as_ordinary_user
from projects import Project, Step
from repositoryforms import Forms
from sink import tree
from watched import Watched, watched

from filerep.pathstream import encode
from filerep.rules import ignore, untrustedfile
from filerep.rules.walking import walk
from filerep.watching import unreadable
from filerep.watching.currentrules import Judge
from filerep.watching.inotify import Inotify
from filerep.watching.polling import Snapshots
from filerep.watching.rootcheck import Root

HUNT = float(os.environ.get("FILEREP_HUNT") or 0)
BOTH = pytest.mark.parametrize("polling", [False, True], ids=["inotify", "polling"])


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("GIT_") or name == "XDG_CONFIG_HOME":
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    yield


class Trial:
    """A project, its watcher, and what git has ever listed in it."""

    def __init__(
        self, base: Path, polling: bool, inside: bool, kind: type[Project]
    ) -> None:
        self.project = kind(base, inside)
        os.environ["HOME"] = str(self.project.home)
        self.ever = self.project.listed() or set()
        self.polling = polling
        self.others: list[str] = []
        self.now: set[bytes] = set()

    def run(self, steps: Sequence[Step], dice: random.Random) -> None:
        with watched(self.project.source, self.polling) as it:
            it.sink.table.clear()
            it.sink.feed(encode(walk(it.root.path, it.load(), it.on_error)))
            for step in steps:
                self.project.do(step)
                if self.project.is_gone:
                    return
                self.look(it, step)
                if dice.random() < 0.5:
                    it.some(dice.choice([10, 200]))
                elif dice.random() < 0.3:
                    it.records()
                    self.check(it, current=True)
                self.check(it)
            it.records()
            self.check(it, current=True)

    def look(self, it: Watched, step: Step) -> None:
        """Ask git, and hear whether fr-walk would say the same."""
        listed = self.project.listed()
        walked = set(walk(it.root.path, it.load(), it.on_error))
        if listed is None:
            listed = walked
        if listed != walked:
            self.others.append(
                f"after {step}: git {listed - walked}, walk {walked - listed}"
            )
        self.ever |= listed | walked
        self.now = listed & walked

    def check(self, it: Watched, current: bool = False) -> None:
        files = {path for path, look in it.sink.table.items() if look[0] != "dir"}
        leaked = files - self.ever
        assert not leaked, f"git has never listed {leaked}"
        if not current:
            return
        here = tree(os.fsencode(self.project.source))
        for path in self.now:
            assert it.sink.table.get(path) == here[path], f"{path!r} is not up to date"


def test_a_rule_file_that_is_replaced_again_as_it_is_read(tmp_path: Path) -> None:
    rules = tmp_path / ".gitignore"
    rules.write_text("secret\n")
    (tmp_path / "secret").write_text("")
    with watched(tmp_path) as it:
        assert isinstance(it.tracker, Inotify)
        load = it.load

        def as_it_is_replaced() -> ignore.Rules:
            rules.unlink()
            return load()

        it.tracker.rules._load = as_it_is_replaced
        for _ in range(2):
            rules.write_text("secret\n")
            assert b"secret" not in it.judged(4096)
        it.tracker.rules._load = load
        rules.write_text("secret\n")
        assert b"secret" not in it.records()


def test_a_rule_file_that_has_gone_again_when_it_is_to_be_read(tmp_path: Path) -> None:
    rules = tmp_path / ".gitignore"
    rules.write_text("secret\n")
    (tmp_path / "secret").write_text("")
    with watched(tmp_path) as it:
        rules.write_text("secret\n# more\n")
        (tmp_path / "d").mkdir()  # what was before it is not merged with what is after
        rules.unlink()
        it.tracker.read()
        it.tracker.work()
        it.pending.settle(float("inf"))
        assert b"secret" not in it.judged(4096)
        rules.write_text("secret\n")
        assert b"secret" not in it.records()


@pytest.mark.parametrize("inner", ["", "inner"], ids=["outer", "inner"])
@pytest.mark.parametrize("place", [".gitignore", ".git/info/exclude"])
@BOTH
def test_a_rule_file_that_is_gone_for_a_while(
    place: str, inner: str, tmp_path: Path, polling: bool
) -> None:
    """As with a git that had to wait between removing it and writing it."""
    at = tmp_path / inner
    for top in (tmp_path, at):
        subprocess.run(["git", "init", "-q", top], check=True)
    rules = at / place
    rules.write_text("secret\n")
    (at / "secret").write_text("")
    with watched(tmp_path, polling) as it:
        it.records()
        rules.unlink()
        (at / "more").write_text("")
        later = time.monotonic() + 0.3
        if isinstance(it.tracker, Inotify):
            it.tracker.read()
            it.tracker.rules.work(later)
        else:
            it.tracker._judge._wall_ns = (
                lambda: rules.parent.stat().st_mtime_ns + 3 * 10**8
            )
            it.tracker.sync()
        it.pending.settle(float("inf"))
        assert it.judged(4096) == []
        rules.write_text("secret\n")
        names = {os.path.basename(path) for path in it.records()}
        assert b"more" in names and b"secret" not in names


def test_rules_that_are_made_just_as_others_have_been_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a hunt on a machine that had much to do: git never listed the secret."""
    home, source = tmp_path / "home", tmp_path / "source"
    monkeypatch.setenv("HOME", str(home))
    home.mkdir()
    source.mkdir()
    subprocess.run(["git", "init", "-q", source], check=True)
    (source / "d").mkdir()
    (source / "d/.gitignore").write_text("x\n")
    (home / "named").write_text("secret\n")
    with watched(source) as it:
        assert isinstance(it.tracker, Inotify)
        it.records()
        now = time.monotonic()
        clock = it.tracker._clock = lambda: now
        it.tracker.rules._clock = it.tracker.rules._patience._clock = clock
        later = lambda: time.time_ns() + 10**10  # nothing is recent
        it.tracker.rules._wall_ns = later
        (source / "d/.gitignore").unlink()
        assert it.judged(4096) == []
        now += 0.3
        (home / ".config/git").mkdir(parents=True)
        (home / ".config/git/ignore").symlink_to(home / "named")
        (source / "secret").write_text("")
        for _ in range(12):
            it.pending.settle(float("inf"))
            assert b"secret" not in it.judged(4096)
            now += 0.1


def hidden_in_app(top: Path) -> list[str]:
    """Have a repository's `app/.gitignore` hide `app/secret`; returns git, to be told what."""
    git = ["git", "-C", os.fspath(top), "-c", "user.name=x", "-c", "user.email=x"]
    subprocess.run([*git, "init", "-q"], check=True)
    for place in ("app", "other"):
        (top / place).mkdir()
        (top / place / "f").write_text("")
    (top / "app/.gitignore").write_text("secret\n")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    (top / "app/secret").write_text("")
    return git


def test_what_a_git_at_work_has_taken_away_with_more_events_than_there_is_room_for(
    tmp_path: Path,
) -> None:
    git = hidden_in_app(tmp_path)
    lock = tmp_path / ".git/index.lock"
    with watched(tmp_path) as it:
        it.records()
        lock.write_bytes(b"")
        (tmp_path / "app/.gitignore").unlink()
        (tmp_path / "app/more").write_text("")
        it.lose_events()
        for _ in range(3):
            it.tracker.read()
            it.tracker.work()
            assert not it.tracker.sync() and it.judged(4096) == []
        due = it.tracker.deadline()
        assert due is not None and due > time.monotonic()
        lock.unlink()
        subprocess.run([*git, "sparse-checkout", "set", "other"], check=True)
        records = it.records()
        assert b"app/secret" not in records and b"app/more" in records


@BOTH
def test_a_rule_file_that_a_git_at_work_has_taken_away(
    tmp_path: Path, polling: bool
) -> None:
    """It takes away all that goes, which may take seconds, and writes its index last."""
    git = hidden_in_app(tmp_path)
    rules, lock = tmp_path / "app/.gitignore", tmp_path / ".git/index.lock"
    with watched(tmp_path, polling) as it:
        it.records()
        lock.write_bytes(b"")
        rules.unlink()
        (tmp_path / "app/more").write_text("")
        if isinstance(it.tracker, Inotify):
            it.tracker.read()
            for later in (0.45, 0.9, 5.0):
                it.tracker.rules.work(time.monotonic() + later)
            it.pending.settle(float("inf"))
            # By the rules as they were.
            assert b"app/secret" not in it.judged(4096)
        else:
            judge = it.tracker._judge
            judge._wall_ns = lambda: lock.stat().st_mtime_ns + 2 * 10**9
            judge._clock = iter(range(9)).__next__
            it.tracker.sync()
            it.pending.settle(float("inf"))
            assert it.judged(4096) == it.judged(4096) == []
            judge._wall_ns, judge._clock = time.time_ns, time.monotonic
        lock.unlink()
        subprocess.run([*git, "sparse-checkout", "set", "other"], check=True)
        assert b"app/secret" not in it.records()
        # One that was left behind by a git holds nothing for long.
        (tmp_path / "app/.gitignore").write_text("x\n")
        it.records()
        (tmp_path / "app/.gitignore").unlink()
        lock.write_bytes(b"")
        os.utime(lock, (1, 1))
        (tmp_path / "app/x").write_text("")
        assert b"app/x" in it.records()


UNREADABLE = {
    "top/.gitignore": ["k.secret", "d/k.secret"],
    "top/src/.gitignore": ["k.secret", "d/k.secret"],
    "top/src/d/.gitignore": ["d/k.secret"],
    "top/.git/info/exclude": ["k.secret", "d/k.secret"],
    "top/.git": ["k.secret", "d/k.secret"],
    "top/.git/HEAD": ["k.secret", "d/k.secret"],
    "top/.git/config": ["k.secret", "d/k.secret"],
    ".gitconfig": ["k.secret", "d/k.secret", "inner/k.secret"],
    ".config/git/ignore": ["k.secret", "d/k.secret", "inner/k.secret"],
    "top/src/inner/.git/info/exclude": ["inner/k.secret"],
}


@pytest.mark.parametrize("name", UNREADABLE)
@BOTH
def test_rules_that_cannot_be_read_any_more_still_hold(
    name: str, polling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they hide is no less a secret. Where they have gone it is none any more."""
    with as_ordinary_user() as place:
        base = Path(os.fsdecode(place))
        monkeypatch.setenv("HOME", str(base))
        source = base / "top/src"
        for at in (base / "top", source / "inner"):
            subprocess.run(["git", "init", "-q", at], check=True)
        for path in ("k.secret", "d/k.secret", "inner/k.secret"):
            (source / path).parent.mkdir(exist_ok=True)
            (source / path).write_text("")
        (base / "named").write_text("*.secret\n")
        rules = base / name
        rules.parent.mkdir(parents=True, exist_ok=True)
        if name in ("top/.git", "top/.git/HEAD"):
            (base / "top/.gitignore").write_text("*.secret\n")
        if name.endswith("config"):
            rules.write_text(f"[core]\nexcludesFile = {base}/named\n")
        elif not name.endswith((".git", "HEAD")):
            rules.write_text("*.secret\n")
        hidden = {os.fsencode(path) for path in UNREADABLE[name]}
        with watched(source, polling) as it:
            it.records()
            # It would read the file itself.
            monkeypatch.setattr(it.sink, "feed", lambda records: None)
            rules.chmod(0)
            assert not hidden.intersection(it.records())
            for path in hidden:
                (source / os.fsdecode(path)).write_text("saved")
            (source / "new").write_text("")
            records = it.records()
            assert b"new" in records and not hidden.intersection(records)
            rules.chmod(0o700)
            rules.rename(base / "aside")
            assert hidden <= set(it.records())


class Disk:
    """Files of one name cannot be read as long as it fails."""

    def __init__(self) -> None:
        self._opened = untrustedfile.opened

    def fails(self, name: str) -> None:
        def opened(path: bytes, *rest: Any) -> int | None:
            fd = self._opened(path, *rest)
            if fd is not None and os.path.basename(path) == os.fsencode(name):
                os.close(fd)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return fd

        untrustedfile.opened = opened

    def serves(self) -> None:
        untrustedfile.opened = self._opened


@pytest.fixture
def disk() -> Iterator[Disk]:
    it = Disk()
    yield it
    it.serves()


@pytest.mark.parametrize(
    "name", [".gitignore", "d/.gitignore", ".git/info/exclude", ".git/config", ".git"]
)
@BOTH
def test_rules_that_a_disk_gives_no_sooner_hold_from_then_on(
    name: str, polling: bool, disk: Disk, tmp_path: Path
) -> None:
    """No event tells of the end of a disk's trouble."""
    source = tmp_path / "top"
    subprocess.run(["git", "init", "-q", source], check=True)
    (source / "d").mkdir()
    (source / "d/secret").write_text("")
    (tmp_path / "named").write_text("secret\n")
    if name == ".git/config":
        with (source / name).open("a") as file:
            file.write(f"[core]\nexcludesFile = {tmp_path}/named\n")
    else:
        place = ".git/info/exclude" if name == ".git" else name
        (source / place).write_text("secret\n")
    disk.fails("HEAD" if name == ".git" else Path(name).name)
    with watched(source, polling) as it:
        (source / "d/secret").write_text("saved")
        assert b"d/secret" in it.records()
        assert len({path for _, path, _ in it.errors}) == 1
        disk.serves()
        assert b"d/secret" not in it.records()
        (source / "d/secret").write_text("saved again")
        (source / "new").write_text("")
        records = it.records()
        assert b"new" in records and b"d/secret" not in records
        assert not it.last.unread


@pytest.mark.parametrize("name", ["top/.git/info/exclude", "ignore", ".gitconfig"])
@BOTH
def test_a_directory_in_place_of_rules_outside_of_the_source(
    name: str, polling: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git lists nothing there, so what they hid has no reason to go."""
    monkeypatch.setenv("HOME", str(tmp_path))
    source = tmp_path / "top"
    subprocess.run(["git", "init", "-q", source], check=True)
    (tmp_path / ".gitconfig").write_text(f"[core]\nexcludesFile = {tmp_path}/ignore\n")
    (tmp_path / "ignore").write_text("")
    rules = tmp_path / ("ignore" if name == ".gitconfig" else name)
    rules.write_text("secret\n")
    with watched(source, polling) as it:
        it.records()
        (tmp_path / name).rename(tmp_path / "aside")
        (tmp_path / name).mkdir()
        (source / "secret").write_text("")
        (source / "new").write_text("")
        records = it.records()
        assert b"new" in records and b"secret" not in records
        assert {os.path.basename(path) for _, path, _ in it.errors} == {
            os.path.basename(os.fsencode(name))
        }
        (tmp_path / name).rmdir()
        assert b"secret" in it.records()


@BOTH
def test_an_index_that_a_disk_gives_no_sooner(
    polling: bool, disk: Disk, tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("*.o\n")
    for name in ("a.o", "b.o"):
        (tmp_path / name).write_text("")
    subprocess.run(["git", "-C", tmp_path, "add", "-f", "a.o"], check=True)
    disk.fails("index")
    with watched(tmp_path, polling) as it:
        (tmp_path / "a.o").write_text("saved")
        assert b"a.o" not in it.records()
        assert len({path for _, path, _ in it.errors}) == 1
        disk.serves()
        records = it.records()
        assert b"a.o" in records and b"b.o" not in records
        # What it said last holds on, also where settings are edited meanwhile.
        disk.fails("index")
        subprocess.run(["git", "-C", tmp_path, "config", "a.b", "c"], check=True)
        (tmp_path / "a.o").write_text("saved once more")
        assert b"a.o" in it.records()


def test_what_a_disk_did_not_give_is_tried_again_by_itself(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitignore").write_text("secret\n")
    (tmp_path / "secret").write_text("")
    monkeypatch.setattr(unreadable, "_WAIT", (0.0, 0.0))
    disk.fails(".gitignore")
    with watched(tmp_path) as it:
        it.tracker.work()
        assert it.last.unread and it.tracker.deadline() is not None
        disk.serves()
        it.tracker.work()
        (tmp_path / "secret").write_text("saved")
        it.tracker.read()
        assert b"secret" not in it.judged(4096)
        assert not it.last.unread and it.tracker.deadline() is None


@BOTH
def test_rules_that_git_has_yet_to_fetch_may_hide_anything(
    polling: bool, tmp_path: Path
) -> None:
    """In a partial clone the rule files that a sparse checkout left out may not be here."""

    def git(*words: str) -> str:
        argv = ["git", "-C", tmp_path, "-c", "user.name=n", "-c", "user.email=e"]
        return subprocess.check_output([*argv, *words], text=True).strip()

    git("init", "-q")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/.gitignore").write_text("secret\n")
    git("add", ".")
    git("update-index", "--skip-worktree", "d/.gitignore")
    (tmp_path / "d/.gitignore").unlink()
    git("config", "remote.o.promisor", "true")
    blob = git("rev-parse", ":d/.gitignore")
    there = tmp_path / ".git/objects" / blob[:2] / blob[2:]
    (tmp_path / "d/secret").write_text("")
    (tmp_path / "d/b").write_text("")
    there.rename(tmp_path / ".git/aside")
    with watched(tmp_path, polling) as it:
        for name in ("secret", "b"):
            (tmp_path / "d" / name).write_text("saved")
        assert not {b"d/secret", b"d/b"}.intersection(it.records())
        (tmp_path / ".git/aside").rename(there)
        records = it.records()
        assert b"d/b" in records and b"d/secret" not in records


def test_a_write_of_the_index_holds_nothing_up(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *words], check=True)

    git("init", "-q")
    (tmp_path / "a").write_text("")
    git("add", "a")
    with watched(tmp_path) as it:
        assert isinstance(it.tracker, Inotify)
        (tmp_path / "b").write_text("")
        git("add", "b")
        it.tracker.read()
        it.tracker.rules.work(0.0)
        assert it.tracker.rules.settled()


def test_what_is_hidden_while_another_rule_file_is_being_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/.gitignore").write_text("")
    (tmp_path / "secret").write_text("")
    with watched(tmp_path) as it:
        (tmp_path / "secret").write_text("saved")
        it.tracker.read()
        with (tmp_path / "d/.gitignore").open("a") as file:
            file.write("#\n")
            file.flush()
            (tmp_path / ".gitignore").write_text("secret\n")
            assert it.judged(4096) == []
        assert b"secret" not in it.records()


def test_a_rule_file_whose_writer_waits_for_his_turn(tmp_path: Path) -> None:
    # Twenty programs on two processors: a tenth of a second from truncation to writing.
    (tmp_path / ".gitignore").write_text("secret\n")
    (tmp_path / "secret").write_text("")
    with watched(tmp_path) as it:
        with (tmp_path / ".gitignore").open("w") as file:
            it.tracker.read()
            later = lambda: time.monotonic() + 0.3
            it.tracker._clock = it.tracker.rules._clock = later
            (tmp_path / "other").write_text("saved")
            it.tracker.read()
            it.pending.settle(float("inf"))
            assert it.judged(4096) == []
            file.write("secret\n# more\n")
        records = it.records()
        assert b"other" in records and b"secret" not in records


def test_an_empty_rule_file_waits_for_its_writer_also_by_polling(
    tmp_path: Path,
) -> None:
    rules = tmp_path / ".gitignore"
    rules.write_text("")
    late = rules.stat().st_ctime_ns + 300_000_000
    root = Root(os.fsencode(tmp_path))
    load = lambda: ignore.load(root.path, on_error=lambda *_: None)
    judge = Judge(root, load, time.monotonic, lambda: late)
    judge.begin(load(), late)
    assert not judge.rests([b""])
    rules.write_text("secret\n")
    late = rules.stat().st_ctime_ns + 300_000_000
    assert judge.rests([b""])


def test_a_rule_file_that_is_empty_just_as_it_is_read_by_polling(
    tmp_path: Path,
) -> None:
    rules = tmp_path / ".gitignore"
    rules.write_text("secret\n")
    (tmp_path / "secret").write_text("")
    with watched(tmp_path, polling=True) as it:
        assert isinstance(it.tracker, Snapshots)
        it.records()
        load, read = it.load, []

        def as_it_is_written() -> ignore.Rules:
            rules.write_text("")
            read.append(load())
            rules.write_text("secret\n")
            return read[-1]

        judge = it.tracker._judge
        judge._load = as_it_is_written
        judge._wall_ns = lambda: time.time_ns() + (0 if read else 10**10)
        rules.write_text("secret\n# more\n")
        it.pending.now(b"secret")
        it.pending.settle(float("inf"))
        assert it.judged(4096) == [] and read


def test_a_rule_file_that_is_gone_as_a_walk_looks_again_is_waited_for(
    tmp_path: Path,
) -> None:
    rules = tmp_path / ".gitignore"
    rules.write_text("secret\n")
    root = Root(os.fsencode(tmp_path))
    load = lambda: ignore.load(root.path, on_error=lambda *_: None)
    judge = Judge(root, load, time.monotonic, lambda: tmp_path.stat().st_mtime_ns)
    judge.begin(load(), time.time_ns())
    rules.unlink()
    assert not judge.rests([b""])


def test_what_comes_up_by_rules_whose_change_was_lost_is_not_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "gone").write_text("")
    with watched(tmp_path) as it:
        assert isinstance(it.tracker, Inotify)
        it.pending.last(b".")
        (tmp_path / ".gitignore").write_text("secret\n")
        it.tracker.kernel.soak()
        it.tracker.kernel.take()  # as if the kernel had lost it
        (tmp_path / "secret").write_text("")
        (tmp_path / "gone").unlink()
        it.tracker.read()
        it.tracker._overflowed = True
        records = it.records()
        assert b"secret" not in records
        assert records[-1] == b"."
        assert b"gone" not in it.sink.table


@BOTH
@pytest.mark.parametrize("how", ["moved", "moved before", "new", "named before"])
def test_a_secret_in_place_of_a_directory_where_directories_count(
    how: str, tmp_path: Path, polling: bool
) -> None:
    (tmp_path / ".gitignore").write_text("*\n!*/\n!*.py\n")
    (tmp_path / "secret").write_text("")
    if how.startswith("moved"):
        (tmp_path / "d").mkdir()
        (tmp_path / "d/a.py").write_text("")
    with watched(tmp_path, polling) as it:
        it.records()
        if how.startswith("moved"):
            (tmp_path / "d").rename(tmp_path / "e")
        else:
            (tmp_path / "d").mkdir()
            if how == "named before":
                it.tracker.sync()
            (tmp_path / "d").rmdir()
        if how == "moved before":
            it.tracker.sync()
        (tmp_path / "secret").rename(tmp_path / "d")
        assert b"d" not in it.records()


@BOTH
@pytest.mark.parametrize("places", [("sub", "out/sub"), ("Sub", "OUT/sub")])
def test_a_place_that_comes_to_be_a_submodules(
    places: tuple[str, str], tmp_path: Path, polling: bool
) -> None:
    """Also by another name than its own, where git does not regard case."""

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *words], check=True)

    git("init", "-q")
    git("config", "core.ignoreCase", "true" if "Sub" in places else "false")
    for name in ("sub/a", "out/sub/a"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    with watched(tmp_path, polling) as it:
        it.records()
        for name in places:
            git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},{name}")
        it.records()
        (tmp_path / "sub/b").write_text("")
        (tmp_path / "out/sub/b").write_text("")
        assert not {b"sub/b", b"out/sub/b"}.intersection(it.records())
        git("rm", "-q", "-f", "--cached", *places)
        assert {b"sub/b", b"out/sub/b"} <= set(it.records())


@BOTH
def test_a_rule_file_that_is_written_by_another_name(
    tmp_path: Path, polling: bool
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/.gitignore").write_text("")
    os.link(tmp_path / "one/.gitignore", tmp_path / "two/.gitignore")
    with watched(tmp_path, polling) as it:
        it.records()
        (tmp_path / "one/.gitignore").write_text("*.secret\n")
        (tmp_path / "two/k.secret").write_text("")
        if not polling:
            it.tracker.read()
            assert b"two/k.secret" not in it.judged(4096)
        records = it.records()
        assert b"two/.gitignore" in records
        assert b"two/k.secret" not in records


@BOTH
def test_other_names_of_a_file_are_found_where_the_rules_change_too(
    tmp_path: Path, polling: bool
) -> None:
    (tmp_path / "a").write_text("")
    os.link(tmp_path / "a", tmp_path / "b")
    with watched(tmp_path, polling) as it:
        it.records()
        (tmp_path / ".gitignore").write_text("*.secret\n")
        (tmp_path / "a").write_text("saved")
        assert b"b" in it.records()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("place", [".", ".git", "apart", "inner", "inner/.git"])
@pytest.mark.parametrize("below", ["", "below"], ids=["at its top", "below its top"])
@BOTH
def test_a_repository_comes_to_be_ones_own(
    place: str, below: str, tmp_path: Path, polling: bool
) -> None:
    """Of its top, which may be above SRC, its `.git`, and that which is elsewhere."""
    top = tmp_path / "top"
    source = top / below
    source.mkdir(parents=True)
    apart = ["--separate-git-dir", tmp_path / "apart"] if place == "apart" else []
    subprocess.run(["git", "init", "-q", *apart, top], check=True)
    subprocess.run(["git", "init", "-q", source / "inner"], check=True)
    for at in (source, source / "inner"):
        (at / ".gitignore").write_text("*.log\n")
        (at / "k.log").write_text("")
        subprocess.run(["git", "-C", at, "add", "-f", "k.log"], check=True)
    where = top / place if place in (".", ".git") else source / place
    where = tmp_path / place if place == "apart" else where
    os.chown(where, 65534, 65534)
    with watched(source, polling) as it:
        if isinstance(it.tracker, Snapshots):  # as if all had been written long ago
            it.tracker._judge._wall_ns = lambda: time.time_ns() + 10**10
        it.records()
        os.chown(where, 0, 0)
        log = b"inner/k.log" if place.startswith("inner") else b"k.log"
        assert log in it.records()


@BOTH
def test_a_repository_that_is_made_anew_with_other_hashes(
    tmp_path: Path, polling: bool
) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *words], check=True)

    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "k.log").write_text("")
    git("init", "-q", "--object-format=sha256")
    git("add", "-f", "k.log")
    with watched(tmp_path, polling) as it:
        it.records()
        shutil.rmtree(tmp_path / ".git")
        git("init", "-q")
        it.records()
        git("add", "-f", "k.log")
        (tmp_path / "k.log").write_text("saved")
        assert b"k.log" in it.records()


@BOTH
def test_case_comes_to_count_while_it_runs(tmp_path: Path, polling: bool) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *words], check=True)

    git("init", "-q")
    git("config", "core.ignoreCase", "true")
    (tmp_path / "README").write_text("")
    git("add", "README")
    (tmp_path / "readme").write_text("")
    with watched(tmp_path, polling) as it:
        it.records()
        git("config", "core.ignoreCase", "false")
        assert b"readme" in it.records()


def test_a_rule_file_that_has_just_gone_is_waited_for_by_polling(
    tmp_path: Path,
) -> None:
    rules = tmp_path / ".gitignore"
    rules.write_text("secret\n")
    (tmp_path / "secret").write_text("")
    with watched(tmp_path, polling=True) as it:
        assert isinstance(it.tracker, Snapshots)
        it.records()
        wall_ns = it.tracker._judge._wall_ns
        it.tracker._judge._wall_ns = lambda: tmp_path.stat().st_mtime_ns
        rules.unlink()
        it.tracker.sync()
        assert b"secret" not in it.judged(4096)
        rules.write_text("secret\n")
        it.tracker._judge._wall_ns = wall_ns
        assert b"secret" not in it.records()


def test_what_was_hidden_as_it_was_handed_over_is_named_when_it_counts_again(
    tmp_path: Path,
) -> None:
    """Found by a hunt with polling: no look has seen that it was hidden."""
    rules, saved = tmp_path / ".gitignore", tmp_path / "d/x"
    saved.parent.mkdir()
    with watched(tmp_path, polling=True) as it:
        assert isinstance(it.tracker, Snapshots)
        it.records()
        later = lambda: time.time_ns() + 10_000_000_000  # nothing is recent
        it.tracker._wall_ns = it.tracker._judge._wall_ns = later
        saved.write_text("1")
        it.tracker.sync()
        rules.write_text("x\n")
        assert b"d/x" not in it.judged(4096)
        rules.unlink()
        assert b"d/x" in it.records()


def steps_of(
    seed: int, count: int, polling: bool, kind: type[Project] = Project
) -> None:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="fr-test-") as name:
        place = Path(os.path.realpath(name))
        trial = Trial(place, polling, dice.random() < 0.4, kind)
        steps = [trial.project.draw(dice) for _ in range(count)]
        trial.run(steps, dice)


@BOTH
@pytest.mark.parametrize("seed", range(12))
def test_what_git_never_listed_stays_here(seed: int, polling: bool) -> None:
    steps_of(seed, 60, polling)


@BOTH
@pytest.mark.parametrize("seed", range(6))
def test_what_git_never_listed_stays_here_whatever_form_it_has(
    seed: int, polling: bool
) -> None:
    steps_of(seed, 60, polling, Forms)


@BOTH
@pytest.mark.timeout(HUNT + 300)
def test_hunt_for_what_git_never_listed(polling: bool) -> None:
    until = time.monotonic() + HUNT
    while time.monotonic() < until:
        seed = random.randrange(1 << 40)
        kind = random.choice([Project, Forms])
        print(f"seed {seed} {kind.__name__}")
        steps_of(seed, 60, polling, kind)
