"""What it holds and does while nothing happens, and how cost grows with the tree."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from bench_measure import (
    Bench,
    Cost,
    Row,
    await_sync,
    cpu_of,
    family,
    make_tree,
    number,
    pause,
    peak,
    pss_of,
    replicator,
    wakeups_of,
)
from programs import Running

# Enough to meet the question for a sign of life that comes every 15 seconds.
IDLE_SECONDS = 20.0


def everyone(program: Running) -> list[int]:
    return [program.process.pid, *family(program)]


class Activity:
    """What processes have done up to now: times woken, seconds run (schedstat has ns)."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._seen: dict[int, tuple[int, float]] = {}
        for pid in pids:
            with contextlib.suppress(FileNotFoundError):
                ran = 0
                for task in os.listdir(f"/proc/{pid}/task"):
                    file = Path(f"/proc/{pid}/task/{task}/schedstat")
                    ran += int(file.read_text().split()[0])
                self._seen[pid] = (wakeups_of(pid), ran / 1e9)

    def since(self, before: Activity) -> tuple[int, float]:
        """What those that were there before have done since."""
        both = [
            (now, before._seen[pid])
            for pid, now in self._seen.items()
            if pid in before._seen
        ]
        woken = sum(now[0] - then[0] for now, then in both)
        return woken, sum(now[1] - then[1] for now, then in both)


def idle(bench: Bench) -> None:
    directories = bench.scaled(10_000, 100)
    seconds = 1.0 if bench.quick else IDLE_SECONDS
    tree = bench.tree("directories", directories, 0, per_directory=1)
    for options in ([], ["--keepalive=0"]):
        there = bench.fresh("there")
        with replicator(bench, tree, there, ["bash"], *options) as program:
            await_sync(program)
            pause(1)
            pids = everyone(program)
            before = Activity(pids)
            pause(seconds)
            woken, busy = Activity(pids).since(before)
        what = f"idle, {number(directories)} directories"
        what += ", a sign of life every 15 s" if not options else ", `--keepalive 0`"
        target = 0 if options else None
        bench.value(f"{what}: wake-ups", woken / seconds, "/s", target)
        bench.value(f"{what}: one core", 100 * busy / seconds, "%", target)
    bench.forget("directories", "there")


def memory(bench: Bench) -> None:
    files = bench.scaled(10_000, 1_000)
    tree = bench.tree("ten thousand", files, 1_000)
    with replicator(bench, tree, bench.fresh("there")) as program:
        await_sync(program)
        pause(1)
        held = pss_of(everyone(program))
    what = f"resident (PSS), all processes, idle, {files:,} files"
    bench.value(what, held, "MB", 60, 40)
    bench.forget("ten thousand", "there")


class Sampler:
    """The most memory (PSS) that a program and its family have had, looked at often."""

    def __init__(self, program: Running) -> None:
        self.most = 0.0
        self._program = program
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while True:
            self.most = max(self.most, pss_of(everyone(self._program)))
            if self._end.wait(0.3):
                return

    def stop(self) -> None:
        self._end.set()
        self._thread.join()


def fr_pack(pids: Sequence[int]) -> int:
    """Which of these is fr-pack."""
    for pid in pids:
        if Path(f"/proc/{pid}/comm").read_text() == "fr-pack\n":
            return pid
    raise AssertionError("fr-pack is not running")


def scale(bench: Bench) -> None:
    """The same work on ever larger trees; nearly all files are empty, to fit in memory."""
    sizes = [1_000, 10_000, 100_000, 1_000_000]
    if bench.quick:
        sizes = [100, 1_000]
    took: dict[str, list[float]] = {}
    stages: dict[str, list[float]] = {}
    tables: list[float] = []
    names: list[float] = []
    for count in sizes:
        tree = bench.base / "scale" / "tree"
        make_tree(tree, count, 0, per_directory=100)
        listed = bench.base / "listed"
        costs: dict[str, tuple[float, Cost]] = {}
        environment = bench.environment()
        with open(listed, "wb") as out:
            words = [*bench.program("fr-walk"), str(tree)]
            costs["fr-walk"] = peak(words, environment, stdout=out.fileno())
        with open(listed, "rb") as names_in, open(os.devnull, "wb") as out:
            words = [*bench.program("fr-pack"), str(tree)]
            costs["fr-pack"] = peak(
                words, environment, stdin=names_in.fileno(), stdout=out.fileno()
            )
        for name, (held, cost) in costs.items():
            stages.setdefault(name, []).append(held)
            took.setdefault(name, []).append(cost.cpu)
        with replicator(bench, tree, bench.fresh("there")) as program:
            sampler = Sampler(program)
            await_sync(program)
            sampler.stop()
            pause(1)
            pids = everyone(program)
            took.setdefault("first copy", []).append(cpu_of(pids))
            held = pss_of(pids)
            tables.append(1e6 * pss_of([fr_pack(pids)]))
            names.append(listed.stat().st_size)
        most = max(sampler.most, held)
        target = {100_000: 150.0, 1_000_000: 400.0}.get(count)
        what = f"all processes, {count:,} files, at most (PSS)"
        bench.value(what, most, "MB", target)
        bench.value(f"all processes, {count:,} files, idle (PSS)", held, "MB", target)
        subprocess.run(["rm", "-rf", str(bench.base / "there")], check=True)
        bench.forget("scale", "there")
    for name, held_by_size in stages.items():
        for count, megabytes in zip(sizes, held_by_size):
            bench.value(f"{name} alone, {count:,} files, at most", megabytes, "MB", 40)
    for name, seconds in took.items():
        # Of increments, so that starting up does not count.
        first, last = (
            (seconds[high] - seconds[high - 1]) / (sizes[high] - sizes[high - 1])
            for high in (min(2, len(sizes) - 1), len(sizes) - 1)
        )
        what = f"{name}, CPU for one file more of {sizes[-1]:,}"
        peer = f"of {sizes[min(2, len(sizes) - 1)]:,}"
        bench.add(Row(what, 1e6 * last, "µs", peer, last / first, target=1.3))
    beyond = (tables[-1] - tables[0] - (names[-1] - names[0])) / (sizes[-1] - sizes[0])
    bench.value("fr-pack's table, for each file beyond its path", beyond, "bytes", 200)
