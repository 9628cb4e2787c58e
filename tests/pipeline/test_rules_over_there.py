"""What counts, while everything that decides about it changes, through the whole pipeline.

What git has listed at no time is never at the destination, and what it lists is there as it
is here once a sync point was reached. The same steps as in tests/watching, where each seed is
tried a hundred times faster; here fr-walk and fr-pack have their own time to look.

FILEREP_HUNT=SECONDS goes on for so long with seeds never tried before.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import farends
import pytest
import trees
from pipelines import Pipeline, stage
from programs import Running, Word, environment, run, running
from projects import Project
from sink import Look, tree

from filerep.rules import ignore
from filerep.rules.walking import walk

HUNT = float(os.environ.get("FILEREP_HUNT") or 0)
BOTH = pytest.mark.parametrize(
    "options", [(), ("--poll", "1")], ids=["inotify", "polling"]
)


class Line(Pipeline):
    """A project, file-replicator at work on it, and what git has ever listed."""

    def __init__(self, base: Path, inside: bool, *options: str) -> None:
        self.project = Project(base / "here", inside)
        self.place = base
        self.source = self.project.source
        (base / "there").mkdir()
        self.destination = base / "there" / self.source.name
        self.options = options
        self.ever: set[bytes] = set()
        self.now: set[bytes] = set()
        self.look()
        self.replicator = self.start()

    def start(self) -> Running:
        state = str(self.place / "state")
        words = ["--debugging", *self.options, str(self.source)]
        own = {**self.project.environ, "XDG_STATE_HOME": state}
        own.update({k: environment()[k] for k in ("PATH", "PYTHONPATH")})
        program = Running(
            ["file-replicator", *words, str(self.destination.parent), "bash"], env=own
        )
        program.says("in sync", 60)
        return program

    def close(self) -> None:
        self.replicator.close()

    def look(self) -> None:
        """Ask git, and fr-walk for where SRC is in no repository, or ignored in it."""
        listed = self.project.listed()
        root = os.fsencode(self.source)
        environ = {
            os.fsencode(k): os.fsencode(v) for k, v in self.project.environ.items()
        }
        rules = ignore.load(root, on_error=lambda *_: None, environ=environ)
        walked = set(walk(root, rules, lambda *_: None))
        self.now = walked if listed is None else listed & walked
        self.ever |= walked | (listed or set())

    def there(self) -> dict[bytes, Look]:
        try:
            found = tree(os.fsencode(self.destination))
        except NotADirectoryError:  # a file has taken its place since it was listed
            return self.there()
        return {
            path: look
            for path, look in found.items()
            if look[0] != "dir" and not path.startswith(b".filerep-")
        }

    def check(self) -> None:
        # By the name that a file is written under before it takes another, git may list it for
        # a moment, in which it is not asked.
        there = {path for path in self.there() if not path.endswith(b".new")}
        hides = self.project.hides_since_it_was_put
        self.ever |= {path for path in there - self.ever if hides(path)}
        leaked = there - self.ever
        assert not leaked, f"git has never listed {leaked}"

    def check_all(self) -> None:
        self.settle()
        here, there = tree(os.fsencode(self.source)), self.there()
        for path in self.now:
            assert there.get(path) == here[path], f"{path!r} is not up to date"
        self.check()
        self.project.put.clear()


def steps(base: Path, seed: int, count: int, options: tuple[str, ...]) -> None:
    dice = random.Random(seed)
    line = Line(base, dice.random() < 0.4, *options)
    done = []
    try:
        for _ in range(count):
            done.append(line.project.draw(dice))
            line.project.do(done[-1])
            if line.project.is_gone:
                return
            line.look()
            line.check()
            if dice.random() < 0.2:
                line.check_all()
        line.check_all()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}; steps: {done}") from error
    finally:
        line.close()


@BOTH
@pytest.mark.parametrize("seed", range(2))
def test_what_git_never_listed_stays_here(seed: int, options: tuple[str, ...]) -> None:
    with farends.place() as base:
        steps(base, seed, 80, options)


@BOTH
def test_a_secret_in_place_of_a_directory_that_was_named(
    options: tuple[str, ...], place: Path
) -> None:
    # By such rules every directory counts. fr-pack was behind, looked, and found a file.
    source = place / "src"
    trees.plant(source, {".gitignore": b"*\n!*/\n!*.py\n", "secret": b"s", "x.py": b""})
    words: list[Word] = ["file-replicator", *options, source, place / "there", "bash"]
    with running(*words) as program:
        program.says("in sync")
        pack, watch = stage(program, "pack"), stage(program, "watch")
        os.kill(pack, signal.SIGSTOP)
        trees.plant(source, {"d/a.py": b""})
        program.wait_for(lambda: unread(watch))
        (source / "d").rename(place / "away")
        (source / "secret").rename(source / "d")
        os.kill(pack, signal.SIGCONT)
        trees.plant(source, {"y.py": b"after it"})
        assert run(["file-replicator", "--wait", *words[1:]]).returncode == 0
        there = [n for n in os.listdir(place / "there/src") if n[:2] != ".f"]
        assert sorted(there) == ["x.py", "y.py"]


def test_rules_that_are_edited_before_somebody_has_logged_in(place: Path) -> None:
    """By then fr-walk has named what they leave out, and no .gitignore tells of it."""
    source = place / "src"
    trees.plant(source, {"secret": b"s", "x.py": b""})
    subprocess.run(["git", "init", "-q", source], check=True)
    login = "until test -e go; do sleep 0.1; done; exec sh"
    words: list[Word] = ["file-replicator", "--once", source, place / "there"]
    words += ["sh", "-c", f"cd '{place}'; {login}"]
    with running(*words, env=environment(FILEREP_TINY="1")) as program:
        program.wait_for(lambda: stage(program, "pack"))
        program.wait_for(lambda: unread(stage(program, "pack"), 0))
        rules = source / ".git/info/exclude"
        rules.write_text("secret\n")
        # Longer ago than what the steps of a file system's clock account for.
        program.wait_for(lambda: time.time() > rules.stat().st_ctime + 2.5)
        (place / "go").touch()
        assert program.end(timeout=60) == 0
    there = [n for n in os.listdir(place / "there/src") if n[:2] != ".f"]
    assert there == ["x.py"]


def unread(pid: int, end: int = 1) -> int:
    """Bytes of names that fr-watch has written, or at its end 0 fr-pack has not read."""
    fd = os.open(f"/proc/{pid}/fd/{end}", os.O_RDONLY | os.O_NONBLOCK)
    try:
        size = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
        return int.from_bytes(size, sys.byteorder)
    finally:
        os.close(fd)


@BOTH
@pytest.mark.timeout(HUNT + 300)
def test_hunt_for_what_git_never_listed(options: tuple[str, ...]) -> None:
    until = time.monotonic() + HUNT
    while time.monotonic() < until:
        seed = random.randrange(1 << 40)
        print(f"seed {seed}")
        with farends.place() as base:
            steps(base, seed, 150, options)
