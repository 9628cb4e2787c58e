"""A whole pipeline under test: a tree, a hand that edits it, file-replicator at work on it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
from pathlib import Path

from edits import Hand, Op
from farends import FarEnd, with_command
from programs import Running, environment
from trees import differences, tree, without_empty

MARK = b'"is": "sync_point"'
TRACE = os.environ.get("FILEREP_TRACE")


class Pipeline:
    """A source tree, the hand that edits it, and file-replicator at work on it."""

    def __init__(
        self, far: FarEnd, place: Path, *options: str, tiny: bool = False
    ) -> None:
        """``tiny``: files of 100 bytes go in parts, in pieces, by moves."""
        self.far = far
        self.tiny = {"FILEREP_TINY": "1"} if tiny else {}
        self.place = place
        self.source = place / "source"
        self.destination = far.here / "source"
        self.hand = Hand(place)
        self.options = options
        self.replicator = self.start()

    def start(self) -> Running:
        state = str(self.place / "state")
        words = [
            "--debugging",
            "--editor-files",
            *self.options,
            str(self.source),
            self.far.parent,
        ]
        program = Running(
            ["file-replicator", *words, *self.far.command],
            env=environment(XDG_STATE_HOME=state, PYTHONFAULTHANDLER="1", **self.tiny),
        )
        program.says("in sync", 60)
        return program

    def stage(self, name: str) -> int:
        """The process id of a stage, 0 if it does not run."""
        return stage(self.replicator, name)

    def settle(self, timeout: float = 60) -> None:
        """Wait until all that was done by now has been replicated."""
        settle(self.replicator, timeout)

    def wrong(self) -> str:
        """How the destination differs from what it should be; empty if it does not."""
        return wrong(self.source, self.destination, self.far.sub_second)

    def close(self) -> None:
        self.hand.close()
        self.replicator.close()


def stage(program: Running, name: str) -> int:
    """The process id of a stage of a file-replicator, 0 if it does not run."""
    for pid in program.family():
        with contextlib.suppress(OSError):
            if name_of(pid) == f"fr-{name}":
                return pid
    return 0


def settle(program: Running, timeout: float = 60) -> None:
    """Wait until all that was done by now has been replicated.

    By one that was started with ``--debugging``, in a tenth of the time that a `--wait` takes.
    """
    seen = program.errors.count(MARK)
    os.kill(stage(program, "watch"), signal.SIGUSR1)
    program.wait_for(lambda: program.errors.count(MARK) > seen, timeout, "for the mark")


def name_of(pid: int) -> str:
    """What the system calls the process, a stage by its own name; raises OSError."""
    return Path(f"/proc/{pid}/comm").read_text().rstrip()


def parent_of(pid: int) -> int:
    """Its parent's number; raises OSError."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wrong(source: Path, destination: Path, sub_second: bool = True) -> str:
    seconds = not sub_second
    one = {
        path: _as_sent(what)
        for path, what in tree(source, whole_seconds=seconds).items()
    }
    found = tree(destination, whole_seconds=seconds) if destination.is_dir() else {}
    other = {p: w for p, w in found.items() if not p.startswith(b".filerep-")}
    # A directory that was emptied here may stay there, empty.
    for path in without_empty(one).keys() ^ one.keys():
        if one[path][0] == "directory" and path not in other:
            del one[path]
        elif other.get(path, ("",))[0] == "directory" and not any(
            inner.startswith(path + b"/") for inner in other if inner not in one
        ):
            one[path] = other[path]
    return differences(one, other)


def _as_sent(what: tuple[object, ...]) -> tuple[object, ...]:
    """Set-id bits stay here, and a directory's owner can write into it over there."""
    if what[0] == "directory":
        mode = int(str(what[1]), 8)
        return ("directory", oct(stat.S_IMODE(mode) & 0o777 | 0o700))
    return what


def traced(far: FarEnd, place: Path) -> FarEnd:
    """With FILEREP_TRACE: ``far``, of which ``place`` keeps what goes in and comes out."""
    if not TRACE:
        return far
    tees = f'w={place}/wire.$(date +%s.%N); tee $w.in | "$@" | tee $w.out'
    return with_command(far, ["sh", "-c", tees, "sh", *far.command])


def keep(line: Pipeline, seed: object, done: list[list[Op]], said: str) -> None:
    """With FILEREP_TRACE=DIRECTORY: everything there is to know about a failure."""
    if TRACE:
        busy = []
        for pid in line.replicator.family():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                busy.append(f"{pid} {ticks[:2]} {ticks[11:13]} {words[-200:]!r}")
        for stage in ("pack", "watch", "walk"):
            if "still waiting" in said and line.stage(stage):
                os.kill(line.stage(stage), signal.SIGABRT)  # it prints where it is
        with contextlib.suppress(AssertionError):
            line.replicator.wait_for(lambda: False, 1)
        said += "\n" + "\n".join(busy)
        where = Path(TRACE) / f"{seed}"
        where.mkdir(parents=True, exist_ok=True)
        (where / "said").write_text(said)
        (where / "errors").write_bytes(bytes(line.replicator.errors))
        (where / "ops").write_text(json.dumps(done))
        for file in [*line.place.glob("wire.*"), *line.place.glob("state/*/*.state")]:
            shutil.copy(file, where / file.name)
