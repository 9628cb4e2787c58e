"""How the benchmarks measure: costs of runs, trees to work on, programs while they run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Union

from programs import Running, Word, marked, running, wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
UPSTREAM = "file-replicator==0.1.11"


class NotMeasured(Exception):
    """Something that a figure needs is not on this machine; says what."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of one run: on the clock, and on processors (user and system)."""

    wall: float
    cpu: float


@dataclasses.dataclass
class Row:
    """One line of the table. A target is for ``ratio`` if there is one, else for ``value``."""

    what: str
    value: float
    unit: str
    peer: str = ""
    ratio: float | None = None
    cpu_ratio: float | None = None
    target: float | None = None
    aim: float | None = None

    @property
    def met(self) -> str:
        if self.target is None:
            return ""
        measured = self.value if self.ratio is None else self.ratio
        if measured <= (self.target if self.aim is None else self.aim):
            return "yes" if self.aim is None else "yes, and the aim"
        return "yes" if measured <= self.target else "**no**"

    def cells(self) -> list[str]:
        unit = "" if self.target is None or self.ratio is not None else f" {self.unit}"
        return [
            self.what,
            f"{number(self.value)} {self.unit}".strip(),
            self.peer,
            number(self.ratio),
            number(self.cpu_ratio),
            number(self.target) + unit,
            self.met,
        ]


HEAD = ["what", "measured", "compared with", "ratio", "of CPU", "at most", "met"]


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


class Bench:
    """What a figure is given: a place in memory, the programs, and where results go."""

    def __init__(self, base: Path, quick: bool, rounds: int, checkout: Path) -> None:
        self.base = base
        self.quick = quick
        self.rounds = 1 if quick else rounds
        self.rows: list[Row] = []
        self._trees: dict[str, Path] = {}
        # A copy, byte-compiled as an installed package is, that nobody edits meanwhile.
        self._programs = base / "programs"
        for part in ("bin", "filerep"):
            shutil.copytree(checkout / part, self._programs / part)
        compiling = [sys.executable, "-m", "compileall", "-q", str(self._programs)]
        subprocess.run(compiling, check=True)

    def program(self, name: str) -> list[str]:
        """The words that run one of the four commands."""
        return [sys.executable, str(self._programs / "bin" / name)]

    def environment(self, fresh_state: bool = True) -> dict[str, str]:
        """For our programs; with ``fresh_state`` they remember no earlier run."""
        environment = {**os.environ, "PYTHONPATH": str(self._programs)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        state = self.base / "state"
        if fresh_state:
            remove(state)
        return {**environment, "XDG_STATE_HOME": str(state)}

    def scaled(self, count: int, quick: int) -> int:
        return quick if self.quick else count

    def fresh(self, name: str) -> Path:
        """An empty directory."""
        path = self.base / name
        remove(path)
        path.mkdir()
        return path

    def tree(self, name: str, files: int, size: int, per_directory: int = 20) -> Path:
        """A tree that several figures may read, made once."""
        if name not in self._trees:
            root = self.base / name / "tree"
            make_tree(root, files, size, per_directory)
            self._trees[name] = root
        return self._trees[name]

    def forget(self, *names: str) -> None:
        """Remove trees and directories that no figure needs any more."""
        for name in names:
            self._trees.pop(name, None)
            remove(self.base / name)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(line(row.cells()), flush=True)

    def value(
        self,
        what: str,
        value: float,
        unit: str,
        target: float | None = None,
        aim: float | None = None,
    ) -> None:
        self.add(Row(what, value, unit, target=target, aim=aim))

    def ratio(
        self,
        what: str,
        ours: Sequence[Cost],
        peer: str,
        theirs: Sequence[Cost],
        target: float | None = None,
        aim: float | None = None,
    ) -> None:
        """One figure: the median of ``ours`` by the median of the peer's runs."""
        wall = median(ours).wall
        ratio = wall / median(theirs).wall
        theirs_cpu = median(theirs).cpu
        cpu = median(ours).cpu / theirs_cpu if theirs_cpu else None
        value, unit = (wall, "s") if wall >= 1 else (1000 * wall, "ms")
        self.add(Row(what, value, unit, peer, ratio, cpu, target, aim))


def median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
    )


def remove(path: Path) -> None:
    """Remove a tree; rm(1) takes a tenth of shutil.rmtree's time."""
    subprocess.run(["rm", "-rf", str(path)], check=True)


def timed(
    words: Sequence[Word], env: Mapping[str, str] | None = None, **options: object
) -> Cost:
    """Run a program to its end, without its messages; AssertionError if it fails."""
    before, start = child_cpu(), time.perf_counter()
    done = subprocess.run(
        words, env=env, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    cost = Cost(time.perf_counter() - start, child_cpu() - before)
    said = done.stderr[-2000:].decode(errors="replace")
    assert done.returncode == 0, (words, done.returncode, said)
    return cost


def shell(
    script: str, *arguments: Word, env: Mapping[str, str] | None = None
) -> list[Word]:
    """The words that run a pipeline; a failure anywhere in it counts."""
    return ["bash", "-c", f"set -e -o pipefail; {script}", "bench", *arguments]


def child_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


Runs = Mapping[str, Callable[[], Cost]]


def interleave(runs: Runs, rounds: int, warm: bool = True) -> dict[str, list[Cost]]:
    """Each run in turn, ``rounds`` times; before that once for nothing.

    What else happens on the machine meanwhile so falls on all alike. The first run pays
    for memory that was never touched.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    names = list(runs)
    for count in range(rounds + warm):
        for name in names:
            cost = runs[name]()
            if count or not warm:
                costs[name].append(cost)
        names.reverse()
    return costs


# --- trees ----------------------------------------------------------------------------


def make_tree(root: Path, files: int, size: int, per_directory: int = 20) -> None:
    """``files`` files of ``size`` bytes in the mean; most are smaller, few much larger."""
    chance = random.Random(files)
    block = chance.randbytes(1 << 20)
    weights = [chance.lognormvariate(0, 1.2) for _ in range(files)] if size else []
    factor = size * files / sum(weights) if weights else 0
    for count in range(files):
        path = root / file_name(count, per_directory)
        if count % per_directory == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        left = int(weights[count] * factor) if weights else 0
        with open(path, "wb", buffering=0) as file:
            while left > 0:
                at = chance.randrange(1 << 19)
                left -= file.write(block[at : at + min(left, 1 << 19)])


def file_name(count: int, per_directory: int = 20) -> str:
    directory = count // per_directory
    return f"part{directory // 100}/module{directory % 100}/source_file_{count}.py"


def write(path: Path, content: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(content)


def census(root: Path) -> set[tuple[str, int]]:
    """Each file's path and size, but for what the receiver keeps while it runs."""
    found = set()
    for directory, inside, names in os.walk(root):
        inside[:] = [name for name in inside if not name.startswith(".filerep-")]
        for name in names:
            path = os.path.join(directory, name)
            found.add((os.path.relpath(path, root), os.lstat(path).st_size))
    return found


def assert_copied(here: Path, there: Path) -> None:
    missing = census(here) ^ census(there)
    assert not missing, sorted(missing)[:3]


# --- programs while they run ----------------------------------------------------------


def replicator(
    bench: Bench,
    source: Path,
    parent: Path,
    connection: Sequence[Word] = ("bash",),
    *options: str,
) -> contextlib.AbstractContextManager[Running]:
    words: list[Word] = [*bench.program("file-replicator"), *options]
    words += [source, parent, "--", *connection]
    return running(*words, env=bench.environment(), stdout=subprocess.DEVNULL)


def await_sync(program: Running, timeout: float = 600) -> None:
    """Wait for file-replicator's line on the end of the first copy."""
    program.says("in sync: ", timeout)


def family(program: Running) -> list[int]:
    return marked(program.mark)


def cpu_of(pids: Sequence[int]) -> float:
    """Seconds of processor time of these and of the children they have waited for."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def wakeups_of(pid: int) -> int:
    """Context switches of a process so far, of both kinds; raises FileNotFoundError."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        text = Path(f"/proc/{pid}/task/{task}/status").read_text()
        total += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", text)))
    return total


def pss_of(pids: Sequence[int]) -> float:
    """Megabytes resident, what is shared counted by its share."""
    return sum(_kilobytes(pid, "smaps_rollup", "Pss") for pid in pids) / 1000


def most_resident(pid: int) -> float:
    """The most megabytes that this process has had resident."""
    return _kilobytes(pid, "status", "VmHWM") / 1000


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _kilobytes(pid: int, file: str, field: str) -> float:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{field}:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) * 1.024 if found else 0


def peak(
    words: Sequence[Word], env: Mapping[str, str], **files: int
) -> tuple[float, Cost]:
    """The most megabytes that a program and its children had resident, and what it cost.

    Looked at while it runs: wait4(2) counts what the parent held before exec as well.
    """
    before, start, held = child_cpu(), time.perf_counter(), 0.0
    process = subprocess.Popen(words, env=env, **files)  # type: ignore[call-overload]
    while process.poll() is None:
        pids = [process.pid, *children(process.pid)]
        held = max(held, sum(map(most_resident, pids)))
        pause(0.002)
    assert process.returncode == 0, words
    return held, Cost(time.perf_counter() - start, child_cpu() - before)


def pause(seconds: float) -> None:
    """Let time pass: a rate is measured, or a program is to become idle."""
    threading.Event().wait(seconds)


# --- peers ----------------------------------------------------------------------------


def need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            raise NotMeasured(f"needs {program}")


def upstream(bench: Bench) -> list[str]:
    """The words that run file-replicator 0.1.11, in a virtual environment of its own."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    home = Path(cache) / "file-replicator-bench" / UPSTREAM.replace("==", "-")
    program = home / "bin" / "file-replicator"
    if not program.exists():
        for words in (
            [sys.executable, "-m", "venv", str(home)],
            [str(home / "bin" / "pip"), "install", "--quiet", UPSTREAM],
        ):
            if subprocess.run(words, stderr=subprocess.DEVNULL).returncode:
                raise NotMeasured(f"cannot install {UPSTREAM}")
    return [str(program)]
