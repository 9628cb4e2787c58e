"""Started again, it sends only what differs; and whatever is cut or killed, it recovers.

What was sent is told by --debugging's reports, and by the destination: a file that was sent
is a new inode there.

FILEREP_HUNT=SECONDS goes on killing for so long.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import farends
import pytest
from edits import Op
from farends import FarEnd, with_command
from pipelines import Pipeline, keep, name_of, traced, wrong
from programs import Running, Word, environment, marked, run, running, wait_for
from trees import HOSTILE_NAMES, assert_same, entries, plant

HUNT = float(os.environ.get("FILEREP_HUNT") or 0)
ONCE = "--no-replicate-on-change"
OK, UNAVAILABLE, INTERRUPTED = 0, 69, 130


class Report:
    """What one run sent and removed, by its own account."""

    def __init__(self, errors: bytes) -> None:
        self.errors = errors.decode(errors="backslashreplace")
        self.batches = []
        for line in self.errors.splitlines():
            _, found, what = line.partition("debugging: ")
            if found and what.startswith('{"is": "batch"'):
                self.batches.append(json.loads(what))

    @property
    def sent(self) -> int:
        return sum(batch["files"] for batch in self.batches)

    @property
    def removed(self) -> int:
        return sum(batch["deletions"] for batch in self.batches)

    @property
    def names(self) -> set[str]:
        """The files sent, by the few names a report has."""
        return {name for batch in self.batches for name in batch["sent"]}


class Again:
    """A source, a far end and a state directory, for one run after another."""

    def __init__(self, far: FarEnd, place: Path) -> None:
        self.far = far
        self.source = place / "project"
        self.destination = far.here / "project"
        self.env = environment(XDG_STATE_HOME=str(place / "state"))
        self.state = place / "state"
        self.source.mkdir()

    def words(self, *options: str) -> list[Word]:
        words: list[Word] = ["file-replicator", "--debugging", *options]
        return [*words, self.source, self.far.parent, *self.far.command]

    def run(self, *options: str) -> Report:
        done = run(self.words(ONCE, *options), env=self.env)
        assert done.returncode == OK, done.stderr.decode(errors="replace")
        return Report(done.stderr)

    def equal(self) -> bool:
        return not wrong(self.source, self.destination, self.far.sub_second)

    def inodes(self) -> dict[bytes, int]:
        return {path: status.st_ino for path, status in entries(self.destination)}


@pytest.fixture(
    params=["bash+gnu", "dash+bsdtar", "busybox+busybox", "mksh+toybox"], ids=str
)
def any_again(
    request: pytest.FixtureRequest,
    far_end: Callable[[str], FarEnd],
    tmp_path: Path,
) -> Again:
    return Again(far_end(request.param), tmp_path)


@pytest.fixture
def again(far_end: Callable[[str], FarEnd], tmp_path: Path) -> Again:
    return Again(far_end("bash+gnu"), tmp_path)


def small_tree(root: Path) -> None:
    plant(root, {f"d{number % 7}/f{number}": f"{number}\n" for number in range(60)})
    plant(root, {b"odd/" + name: name for name in HOSTILE_NAMES})
    plant(root, {"link": ("->", "d1/f1"), "empty": b"", "large": os.urandom(3_000_000)})
    (root / "d1/f1").chmod(0o755)
    os.utime(root / "d2/f2", ns=(1, 1_500_000_000_000_000_000))  # as tar and git leave


# --- from one run to the next ---------------------------------------------------------


def test_where_nothing_changed_nothing_is_sent(any_again: Again) -> None:
    small_tree(any_again.source)
    first = any_again.run()
    assert first.sent > 60 and any_again.equal()
    before = any_again.inodes()
    second = any_again.run()
    assert (second.sent, second.removed) == (0, 0), second.errors
    assert any_again.inodes() == before


def test_after_quiet_starts_what_the_far_end_changed_is_still_seen(
    any_again: Again,
) -> None:
    """What a listing showed is believed without reading it while it shows the same."""
    small_tree(any_again.source)
    for _ in range(3):
        any_again.run()
    there = any_again.destination
    (there / "d3/f3").unlink()
    (there / "d4/f4").write_text("altered\n")
    (there / "d5/f5").chmod(0o600)
    (there / "d0").chmod(0o700)
    shutil.rmtree(there / "d6")
    (there / "d1/made there").write_text("")
    (any_again.source / "d2/f9").unlink()
    (any_again.source / "d2/new").write_text("new")
    report = any_again.run()
    (there / "d1/made there").unlink()
    assert any_again.equal(), wrong(any_again.source, there)
    in_d6 = len(list((any_again.source / "d6").iterdir()))
    assert (report.sent, report.removed) == (4 + in_d6, 1)
    for _ in range(2):
        assert not any_again.run().sent and any_again.equal()


def test_a_directory_that_became_a_symlink_to_what_it_was_is_sent_again(
    any_again: Again,
) -> None:
    """Listed through the symlink it looks just as remembered."""
    small_tree(any_again.source)
    plant(any_again.source, {"d1/inner/f": "f"})
    for _ in range(3):
        any_again.run()
    there = any_again.destination
    (there / "d1").rename(there / "moved")
    (there / "d1").symlink_to("moved")
    any_again.run()
    assert (there / "d1/inner").is_dir() and not (there / "d1").is_symlink()
    shutil.rmtree(there / "moved")
    assert any_again.equal(), wrong(any_again.source, there)


def test_an_empty_source_does_not_empty_the_far_end(again: Again) -> None:
    """It may be what is left where a file system is not mounted."""
    plant(again.source, {f"d{number % 7}/f{number}": "f" for number in range(120)})
    again.run()
    shutil.rmtree(again.source)
    again.source.mkdir()
    done = run(again.words(ONCE), env=again.env)
    assert done.returncode == UNAVAILABLE
    assert b"the source is empty, and 120 files" in done.stderr
    assert (again.destination / "d1/f1").exists()
    (again.source / "f").write_text("not mounted, but meant")
    assert again.run().removed == 120 and again.equal()


def test_a_rehearsed_clean_out_says_what_would_be_sent(again: Again) -> None:
    plant(again.source, {"a": "a", "b": "b"})
    again.run()
    (again.destination / "made there").write_text("")
    said = run(again.words("--dry-run", "--clean-out-first"), env=again.env).stderr
    assert b"would first remove all" in said and b"2 files to send" in said
    assert (again.destination / "made there").exists()


def test_nothing_is_listed_through_a_symlink(again: Again, tmp_path: Path) -> None:
    """Not even the names of what stands outside are told."""
    told = tmp_path / "told"
    command = ["sh", "-c", f'"$@" | tee {told}', "sh", *again.far.command]
    again.far = with_command(again.far, command)
    plant(again.source, {"d/inner/f": "f", "e/f": "f"})
    again.run()
    outside = tmp_path / "outside"
    plant(outside, {"secret": "s", "inner/secret": "s"})
    shutil.rmtree(again.destination / "d")
    (again.destination / "d").symlink_to(outside)
    again.run()
    assert b" f\0" in told.read_bytes() and b"secret" not in told.read_bytes()
    assert again.equal() and (outside / "inner/secret").exists()


def test_what_is_edited_and_removed_after_quiet_starts_follows(again: Again) -> None:
    """Looking ahead at the tree, while the far end lists, must not hide anything."""
    small_tree(again.source)
    for _ in range(3):
        again.run()
    for number in range(0, 60, 3):
        (again.source / f"d{number % 7}/f{number}").write_text("edited")
    shutil.rmtree(again.source / "d5")
    report = again.run()
    assert again.equal()
    assert report.sent == len([n for n in range(0, 60, 3) if n % 7 != 5])
    for directory in ("d1", "d3"):
        shutil.rmtree(again.source / directory)
    again.run()
    assert again.equal()


def test_only_what_changed_is_sent(any_again: Again) -> None:
    small_tree(any_again.source)
    any_again.run()
    before = any_again.inodes()
    (any_again.source / "d3/f3").write_text("changed\n")
    (any_again.source / "d4/f4").chmod(0o600)
    (any_again.source / "new").write_text("new\n")
    (any_again.source / "link").unlink()
    (any_again.source / "link").symlink_to("d2")
    report = any_again.run()
    assert report.names <= {"'d3/f3'", "'d4/f4'", "'new'", "'link'"}
    assert report.sent == 4
    assert any_again.equal()
    changed = {
        path for path, inode in any_again.inodes().items() if before.get(path) != inode
    }
    assert changed == {b"d3/f3", b"d4/f4", b"new", b"link"}


def test_what_was_removed_meanwhile_is_removed_and_nothing_else(
    any_again: Again,
) -> None:
    small_tree(any_again.source)
    any_again.run()
    plant(
        any_again.destination,
        {
            "d5/__pycache__/x.pyc": b"made there",
            "database": b"too",
            "d6/log": b"and this",
        },
    )
    shutil.rmtree(any_again.source / "d5")
    shutil.rmtree(any_again.source / "odd")
    (any_again.source / "d6/f6").unlink()
    (any_again.source / "link").unlink()
    gone = len(HOSTILE_NAMES) + 9 + 2
    report = any_again.run()
    assert report.removed == gone or report.removed == gone - 1, report.errors
    assert report.sent == 0
    for made in ("d5/__pycache__/x.pyc", "database", "d6/log"):
        path = any_again.destination / made
        assert path.exists(), made
        path.unlink()
    shutil.rmtree(any_again.destination / "d5")
    assert any_again.equal()


def test_a_lost_state_file_loses_what_was_removed_meanwhile_only(again: Again) -> None:
    small_tree(again.source)
    again.run()
    (again.destination / "made-there").write_text("mine")
    before = again.inodes()
    shutil.rmtree(again.state)
    (again.source / "d1/f1").unlink()
    report = again.run()
    assert (report.sent, report.removed) == (0, 0), report.errors
    assert again.inodes() == before
    # And from now on all is remembered again.
    (again.source / "d1/f8").unlink()
    shutil.rmtree(again.source / "d2")
    assert again.run().removed == 10
    assert not (again.destination / "d1/f8").exists()
    assert not (again.destination / "d2").exists()
    assert (again.destination / "d1/f1").exists()
    assert (again.destination / "made-there").exists()


def test_an_edit_of_the_same_size_in_the_same_second_is_sent(any_again: Again) -> None:
    small_tree(any_again.source)
    path = any_again.source / "d3/f3"
    second = 1_700_000_000_000_000_000
    path.write_text("one\n")
    os.utime(path, ns=(second, second + 200_000_000))
    any_again.run()
    path.write_text("two\n")
    os.utime(path, ns=(second, second + 700_000_000))
    report = any_again.run()
    assert report.sent == 1
    assert (any_again.destination / "d3/f3").read_text() == "two\n"


def test_an_edit_that_keeps_size_and_time_is_sent(any_again: Again) -> None:
    """cp -p and touch -r: only ctime tells."""
    small_tree(any_again.source)
    path = any_again.source / "d3/f3"
    path.write_text("one\n")
    any_again.run()
    status = path.stat()
    path.write_text("two\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert any_again.run().sent == 1
    assert (any_again.destination / "d3/f3").read_text() == "two\n"


def test_what_was_altered_over_there_is_put_right(any_again: Again) -> None:
    small_tree(any_again.source)
    any_again.run()
    (any_again.destination / "d3/f3").write_text("altered")
    (any_again.destination / "d4/f4").unlink()
    (any_again.destination / "d5/f5").chmod(0o600)
    shutil.rmtree(any_again.destination / "d6")
    shutil.rmtree(any_again.destination / "d0")
    (any_again.destination / "d0").symlink_to("d1")
    any_again.run()
    assert any_again.equal()


def test_a_file_that_became_a_directory_meanwhile_and_back(any_again: Again) -> None:
    small_tree(any_again.source)
    any_again.run()
    (any_again.source / "d1/f1").unlink()
    plant(any_again.source, {"d1/f1/inside": b"new"})
    shutil.rmtree(any_again.source / "d2")
    (any_again.source / "d2").write_text("a file now")
    shutil.rmtree(any_again.source / "d3")
    (any_again.source / "d3").symlink_to("d4")
    any_again.run()
    assert any_again.equal()
    shutil.rmtree(any_again.source / "d1/f1")
    (any_again.source / "d1/f1").write_text("a file again")
    (any_again.source / "d3").unlink()
    plant(any_again.source, {"d3/f": b"a directory again"})
    any_again.run()
    assert any_again.equal()


def test_a_far_end_that_was_emptied_gets_everything(any_again: Again) -> None:
    small_tree(any_again.source)
    first = any_again.run()
    shutil.rmtree(any_again.destination)
    assert any_again.run().sent == first.sent
    assert any_again.equal()


def test_a_far_end_without_find_gets_everything(again: Again, place: Path) -> None:
    """It cannot list, so what it holds is not known, and the state file does not say."""
    for tool in (
        "bash",
        "cat",
        "chmod",
        "dd",
        "mkdir",
        "mv",
        "rm",
        "rmdir",
        "stat",
        "tar",
    ):
        (place / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    command = ["/usr/bin/env", f"PATH={place}", "bash"]
    again.far = with_command(again.far, command)
    small_tree(again.source)
    again.run()
    (again.destination / "d3/f3").unlink()
    (again.destination / "d4/f4").write_text("altered")
    (again.source / "d5/f5").unlink()
    again.run()
    assert again.equal()


def test_an_ignored_directory_over_there_is_not_listed(
    again: Again, place: Path
) -> None:
    """However huge it is: neither is it entered, nor does a start wait for it."""
    find = shutil.which("find")
    log = place / "listed"
    (place / "find").write_text(f'#!/bin/sh\n{find} "$@" | tee -a {log}\n')
    (place / "find").chmod(0o755)
    command = ["/usr/bin/env", f"PATH={place}:{farends.SYSTEM_PATH}", "bash"]
    again.far = with_command(again.far, command)
    small_tree(again.source)
    plant(again.source, {".gitignore": "node_modules/\n"})
    again.run()
    modules = {f"node_modules/m{n % 50}/{n}": b"" for n in range(2000)}
    plant(again.destination, modules)
    plant(again.destination, {"d1/node_modules/x/y": b""})
    log.unlink(missing_ok=True)
    assert again.run().sent == 0
    listed = log.read_bytes()
    assert b"d1/f1\0" in listed
    assert b"node_modules/" not in listed
    assert (again.destination / "node_modules/m0/0").exists()


def test_a_far_end_that_is_set_back_loses_nothing_and_gets_what_it_misses(
    any_again: Again, place: Path
) -> None:
    """What has come back with it may have been made there, for all that is known here."""
    small_tree(any_again.source)
    any_again.run()
    shutil.copytree(any_again.destination, place / "snapshot", symlinks=True)
    (any_again.source / "d1/f1").unlink()
    (any_again.source / "d1/f8").write_text("changed")
    plant(any_again.source, {"d9/new": "new"})
    any_again.run()
    shutil.rmtree(any_again.destination)
    shutil.copytree(place / "snapshot", any_again.destination, symlinks=True)
    any_again.run()
    assert (any_again.destination / "d1/f8").read_text() == "changed"
    assert (any_again.destination / "d9/new").read_text() == "new"
    assert (any_again.destination / "d1/f1").exists()
    any_again.run("--mirror")
    assert any_again.equal()


def test_a_link_over_there_leads_nobody_out(any_again: Again, place: Path) -> None:
    """A directory became a symlink to elsewhere: there nothing is written or removed."""
    small_tree(any_again.source)
    any_again.run()
    outside = place / "outside"
    shutil.copytree(any_again.destination / "d1", outside)
    shutil.rmtree(any_again.destination / "d1")
    (any_again.destination / "d1").symlink_to(outside)
    before = sorted(outside.iterdir())
    (any_again.source / "d1/f1").unlink()
    (any_again.source / "d1/f8").write_text("changed")
    any_again.run()
    assert sorted(outside.iterdir()) == before
    assert (outside / "f8").read_text() == "8\n"
    assert any_again.equal()


# --- cut and killed -------------------------------------------------------------------

VICTIMS = ["connection", "tar", "watch", "walk", "pack", "all"]


class Chaos(Pipeline):
    """A pipeline whose parts are killed while the tree is edited."""

    def parts(self, what: str) -> list[int]:
        """The processes that are ``what`` now."""
        found = []
        for pid in self.replicator.family():
            with contextlib.suppress(OSError):
                name = name_of(pid)
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                if name == f"fr-{what}":
                    found.append(pid)
                elif not name.startswith("fr-") and what in ("tar", "connection"):
                    is_tar = (
                        b"tar" in os.path.basename(words[0]) or b"tar" in words[1:2]
                    )
                    if is_tar == (what == "tar"):
                        found.append(pid)
        return found

    def kill(self, what: str) -> None:
        pids = self.replicator.family() if what == "all" else self.parts(what)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def settle(self, timeout: float = 90) -> None:
        """Wait for the connection to be back, and for all that was done by now."""
        words: list[Word] = ["file-replicator", "--wait", *self.options]
        words += [self.source, self.far.parent, *self.far.command]
        env = environment(XDG_STATE_HOME=str(self.place / "state"), **self.tiny)
        try:
            done = run(words, env=env, timeout=timeout)
        except subprocess.TimeoutExpired:
            late = self._ask_again(words, env, timeout)
            done = subprocess.CompletedProcess(words, -1, b"", late)
        said = bytes(self.replicator.errors).decode(errors="backslashreplace")
        told = [
            line for line in said.splitlines() if "cannot" in line or "lost" in line
        ]
        if done.returncode != OK:
            keep(self, time.time(), [], said)
        said = "\n".join([*told[-20:], said[-3000:]])
        ended = self.replicator.process.poll()
        assert done.returncode == OK, f"{done.stderr!r}, {ended}, it said: {said}"

    def _ask_again(
        self, words: list[Word], env: dict[str, str], timeout: float
    ) -> bytes:
        """Was the one that did not end in time late, or would it never have ended?"""
        status = run(["file-replicator", "--status"], env=env).stdout
        began = time.monotonic()
        try:
            again = run(words, env=env, timeout=timeout).returncode
        except subprocess.TimeoutExpired:
            again = None
        took = time.monotonic() - began
        return b"no end; %s; the next: %a after %.1f s" % (status, again, took)

    def staging_left(self) -> list[str]:
        """The staging directories that are there."""
        with contextlib.suppress(FileNotFoundError):
            names = os.listdir(self.destination)
            return [name for name in names if name.startswith(".filerep-")]
        return []


def ruin(line: Chaos, seed: object, rounds: int) -> int:
    """Edit and kill in turn, then look, ``rounds`` times; how many were killed."""
    dice = random.Random(f"{seed}")
    killed = 0
    for number in range(rounds):
        done: list[Op] = []
        for part in range(dice.choice([2, 6, 12])):
            done += line.hand.draw(dice.choice([1, 4, 12]), f"{seed}.{number}.{part}")
            if dice.random() < 0.2:
                line.hand.do(["write", b"source/big", 8_000_000, part])
            if dice.random() < 0.5:
                line.hand.do(["pause", dice.choice([1, 10, 50, 200])])
            if dice.random() < 0.5:
                victim = dice.choice(VICTIMS)
                line.kill(victim)
                done.append(["kill", victim, time.time()])
                killed += 1
        line.settle()
        said = line.wrong()
        if not said and len(line.staging_left()) > 1:
            said = f"left: {line.staging_left()}"
        if said:
            keep(line, seed, [done], said)
            shown = "\n".join(map(repr, done[-60:]))
            raise AssertionError(
                f"seed {seed}, round {number}\nsource, not destination:\n{said}\n"
                f"the last of {len(done)} operations since they were equal:\n{shown}"
            )
    return killed


def end(line: Chaos) -> None:
    family = line.replicator.family()
    assert line.replicator.end(signal.SIGINT) == INTERRUPTED
    errors = line.replicator.errors.decode(errors="backslashreplace")
    assert "Traceback" not in errors and "internal error" not in errors
    wait_for(lambda: not [p for p in family if os.path.exists(f"/proc/{p}/exe")])
    wait_for(lambda: not marked(line.replicator.mark), 5)
    wait_for(lambda: not line.staging_left())
    assert not line.wrong()


@pytest.fixture
def chaos(base: Path) -> Iterator[Callable[[str, str, bool], Chaos]]:
    with contextlib.ExitStack() as stack:

        def make(shell: str, tar: str, tiny: bool) -> Chaos:
            place = Path(tempfile.mkdtemp(prefix="fr-chaos-", dir="/tmp"))
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            far = traced(farends.local_shell(shell, tar, base).fresh(), place)
            line = Chaos(far, place, tiny=tiny)
            stack.callback(line.close)
            return line

        yield make


SHELLS = [("bash", "gnu"), ("dash", "bsdtar"), ("busybox", "busybox"), ("bash", "gnu")]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.timeout(240)
def test_edits_arrive_whatever_is_killed(
    chaos: Callable[[str, str, bool], Chaos], seed: int
) -> None:
    line = chaos(*SHELLS[seed], seed % 2 == 1)
    ruin(line, seed, 3)
    end(line)


@pytest.mark.timeout(HUNT + 600)
def hunt(chaos: Callable[[str, str, bool], Chaos]) -> None:
    deadline = time.monotonic() + HUNT
    first = seed = int(time.time())
    killed = rounds = 0
    while time.monotonic() < deadline:
        line = chaos(*SHELLS[seed % len(SHELLS)], seed // len(SHELLS) % 2 == 1)
        killed += ruin(line, seed, 10)
        end(line)
        rounds += 10
        seed += 1
    print(f"seeds {first} to {seed}: {rounds} rounds, {killed} kills")


if HUNT:  # not skipped otherwise, but no test at all
    test_hunt = hunt


# --- the connection -------------------------------------------------------------------


def fickle(far: FarEnd, place: Path) -> FarEnd:
    """A connection that cannot be made while the file ``down`` is there."""
    script = f"echo >>{place}/attempts; [ ! -e {place}/down ] || exit 9; exec bash"
    return with_command(far, ["sh", "-c", script])


@contextlib.contextmanager
def watching(again: Again, *options: str) -> Iterator[Running]:
    with running(*again.words(*options), env=again.env) as program:
        program.says("in sync")
        yield program


def test_who_tidies_up_slowly_is_given_the_time(again: Again, place: Path) -> None:
    """Ctrl-C while its tar is at work: a shell acts on SIGTERM when that has ended.

    SIGKILL came a tenth of a second later, and the staging directory stayed.
    """
    slow, begun = place / "slow", place / "begun"
    lags = f"[ ! -e {slow} ] || {{ echo >{begun}; sleep 1.5; }}"
    (place / "tar").write_text(f'#!/bin/sh\n{lags}\nexec /bin/tar "$@"\n')
    (place / "tar").chmod(0o755)
    command = ["/usr/bin/env", f"PATH={place}:{farends.SYSTEM_PATH}", "bash"]
    again.far = with_command(again.far, command)
    small_tree(again.source)
    with watching(again) as program:
        slow.touch()  # for the one that waits for what comes after the next save
        (again.source / "d1/f1").write_text("changed")
        wait_for(begun.exists)
        assert program.end(signal.SIGINT) == INTERRUPTED
    wait_for(lambda: not list(again.destination.glob(".filerep-*")))


def test_what_a_killed_run_has_left_at_work_is_waited_for(again: Again) -> None:
    """Its fr-pack, which has the state file, takes a moment to end."""
    small_tree(again.source)
    again.run()
    (state,) = again.state.glob("*/*.state")
    with open(state, "rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with running(*again.words(ONCE), env=again.env) as program:
            wait_for(lambda: list(again.destination.glob(".filerep-*")))
            fcntl.flock(held, fcntl.LOCK_UN)
            assert program.end() == OK


def test_what_a_killed_run_has_left_is_removed_while_its_tar_is_at_work(
    again: Again, place: Path
) -> None:
    busy = place / "busy"
    once = f"[ -e {busy} ] && rm {busy} && exit 1"
    (place / "rm").write_text(
        f'#!/bin/sh\nrm() {{ /bin/rm "$@"; }}\n'
        f'case $* in "-rf ./.filerep-"*) {once} ;; esac\nrm "$@"\n'
    )
    (place / "rm").chmod(0o755)
    command = ["/usr/bin/env", f"PATH={place}:{farends.SYSTEM_PATH}", "bash"]
    again.far = with_command(again.far, command)
    small_tree(again.source)
    with watching(again) as program:
        (staging,) = again.destination.glob(".filerep-*")
        program.end(signal.SIGINT)
    plant(staging.with_name(staging.name[:-16] + 16 * "0"), {"0/f": "left"})
    busy.touch()
    again.run()
    assert not busy.exists() and again.equal()


def shells(program: Running) -> list[int]:
    found = []
    for pid in program.family():
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/exe").endswith(("/bash", "/dash")):
                with open(f"/proc/{pid}/stat") as file:
                    if (
                        int(file.read().rpartition(")")[2].split()[1])
                        == program.process.pid
                    ):
                        found.append(pid)
    return found


def converged(again: Again, program: Running, timeout: float = 30) -> None:
    program.wait_for(
        again.equal, timeout, lambda: wrong(again.source, again.destination)
    )


def test_a_loss_is_one_line_and_the_return_another(
    again: Again, tmp_path: Path
) -> None:
    """And one between them says why it cannot be had again, however often it is tried."""
    again.far = fickle(again.far, tmp_path)
    attempts = tmp_path / "attempts"
    small_tree(again.source)
    with watching(again) as program:
        for losses, tries in ((1, 2), (2, 1)):
            (tmp_path / "down").touch()
            attempts.write_text("")
            (pid,) = shells(program)
            os.kill(pid, signal.SIGKILL)
            program.wait_for(
                lambda: program.errors.count(b"connection was lost") == losses
            )
            (again.source / f"meanwhile{losses}").write_text("edited")
            shutil.rmtree(again.source / f"d{losses}")
            wait_for(lambda: len(attempts.read_text()) >= tries)
            (tmp_path / "down").unlink()
            converged(again, program)
            program.wait_for(lambda: program.errors.count(b"connected again") == losses)
        others = ("debugging", "sent", "removed", "the far end has")
        own = [
            line
            for line in program.errors.decode().splitlines()
            if not any(word in line for word in others)
        ]
        assert all(line.startswith("file-replicator: ") for line in own), own
        lost = [line for line in own if "was lost" in line]
        why = [line for line in own if "exited with 9" in line]
        back = [line for line in own if "connected again" in line]
        assert (len(lost), len(why), len(back)) == (2, 2, 2), own
        assert len([line for line in own if "in sync" not in line]) == 6, own


def test_a_connection_that_never_worked_ends_at_once(again: Again) -> None:
    again.far = with_command(again.far, ["sh", "-c", "echo no route >&2; exit 7"])
    (again.source / "f").write_text("f")
    done = run(again.words(), env=again.env, timeout=10)
    assert done.returncode == UNAVAILABLE
    assert b"no route" in done.stderr and b"7" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_without_retry_a_lost_connection_is_the_end(again: Again) -> None:
    small_tree(again.source)
    with watching(again, "--no-retry") as program:
        (pid,) = shells(program)
        os.kill(pid, signal.SIGKILL)
        assert program.end(timeout=10) == UNAVAILABLE
        wait_for(lambda: not marked(program.mark), 5)  # a sleep of one second


def test_a_far_end_that_says_nothing_more_is_given_up(again: Again) -> None:
    small_tree(again.source)
    with watching(again, "--keepalive", "0.2") as program:
        (pid,) = shells(program)
        os.kill(pid, signal.SIGSTOP)
        (again.source / "meanwhile").write_text("edited")
        (again.source / "d1/f1").unlink()
        said = program.says("connection was lost")
        assert "sign of life" in said
        program.says("connected again")
        converged(again, program)
        assert not os.path.exists(f"/proc/{pid}/exe")


def test_that_nobody_reads_any_more_is_said_plainly(again: Again) -> None:
    """The connection command goes on, as if there was somebody."""
    stays = ["sh", "-c", '"$@"; exec sleep 60 <&-', "sh"]
    again.far = with_command(again.far, [*stays, *again.far.command])
    with watching(again, "--no-retry") as program:

        def nobody() -> bool:
            left = 0
            for pid in program.family():
                with contextlib.suppress(OSError):
                    if name_of(pid) in ("bash", "tar"):
                        left += 1
                        os.kill(pid, signal.SIGKILL)
            return not left

        program.wait_for(nobody)
        (again.source / "meanwhile").write_text("edited")
        assert program.end(timeout=10) == UNAVAILABLE
        assert b"has closed the connection, though sh still runs" in program.errors


def test_a_quiet_far_end_is_not_given_up(again: Again) -> None:
    """The signs of life it is asked for are enough."""
    small_tree(again.source)
    with watching(again, "--keepalive", "0.1") as program:
        until = time.monotonic() + 1.5
        wait_for(lambda: time.monotonic() > until)
        (again.source / "still").write_text("there")
        converged(again, program)
        assert b"lost" not in program.errors


def test_a_container_emptied_while_connected_gets_everything(again: Again) -> None:
    small_tree(again.source)
    with watching(again) as program:
        (pid,) = shells(program)
        os.kill(pid, signal.SIGKILL)
        shutil.rmtree(again.destination)
        shutil.rmtree(again.source / "d1")
        program.says("connected again")
        converged(again, program)


MUFFLER = """
import os, sys
while True:
    data = os.read(0, 65536)
    if not data or os.path.exists(sys.argv[1]):
        os._exit(0)  # at once, before a second answer is taken
    os.write(1, data)
"""


def test_what_is_deleted_after_a_batch_whose_answer_was_lost(
    again: Again, tmp_path: Path
) -> None:
    """The far end has it, nobody here knows, and in the gap it is removed here."""
    down, program_file = tmp_path / "down", tmp_path / "muffler.py"
    program_file.write_text(MUFFLER)
    script = f"[ ! -e {down} ] || exit 9; bash | {sys.executable} {program_file} {down}"
    again.far = with_command(again.far, ["sh", "-c", script])
    small_tree(again.source)
    with watching(again) as program:
        down.touch()
        plant(again.source, {"brief/visit": b"new", "d1/brief": b"new"})
        os.replace(again.source / "d1/f1", again.source / "d1/moved")
        program.says("connection was lost")
        # The first batch alone is put in place; which of them are in it is not said.
        new = [again.destination / name for name in ("brief", "d1/brief", "d1/moved")]
        wait_for(lambda: any(path.exists() for path in new))
        shutil.rmtree(again.source / "brief")
        (again.source / "d1/brief").unlink(missing_ok=True)
        os.replace(again.source / "d1/moved", again.source / "d1/f1")
        down.unlink()
        program.says("connected again")
        converged(again, program)


def test_the_source_is_never_written(again: Again) -> None:
    small_tree(again.source)
    before = {
        path: (s.st_ino, s.st_mtime_ns, s.st_ctime_ns, s.st_mode)
        for path, s in entries(again.source)
    }
    again.run()
    again.run()
    after = {
        path: (s.st_ino, s.st_mtime_ns, s.st_ctime_ns, s.st_mode)
        for path, s in entries(again.source)
    }
    assert after == before
    assert_same(again.source, again.destination)


def test_a_damaged_state_file_is_said_once_and_removes_nothing_made_there(
    again: Again,
) -> None:
    """A name in it was altered to that of a file which only the far end has."""
    plant(again.source, {"f": "1", "g": "2"})
    again.run()
    (state,) = again.state.glob("*/*.state")
    whole = state.read_bytes()
    at = whole.rindex(b"g")
    state.write_bytes(whole[:at] + b"h" + whole[at + 1 :])
    (again.destination / "h").write_text("made there")
    for said in (True, False):
        done = run(again.words(ONCE), env=again.env)
        assert done.returncode == OK
        assert (b"state file is damaged" in done.stderr) is said
        assert (again.destination / "h").read_text() == "made there"


def test_what_was_restored_with_other_inodes_is_not_sent_but_what_differs_is(
    any_again: Again,
) -> None:
    """Size, mode and time are as they were; whether the content is, a digest over there tells."""
    small_tree(any_again.source)
    path = any_again.source / "d3/f3"
    path.write_text("one\n")
    any_again.run()
    status = path.stat()
    # Not what no digest tool writes as it is: a newline, a backslash.
    for old in [*any_again.source.glob("d*/f*"), any_again.source / "large"]:
        new = old.with_name("new")
        shutil.copy2(old, new)
        new.replace(old)
    assert any_again.run().sent == 0
    other = path.with_name("other")
    other.write_text("two\n")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    any_again.run()
    assert (any_again.destination / "d3/f3").read_text() == "two\n"
