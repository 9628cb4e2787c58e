"""Many far ends in one run, beside as many runs with one each."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench_measure import Bench, Cost, Row, cpu_of, median, pause, pss_of, write
from bench_memory import Activity, everyone
from programs import Running, running, wait_for

SAVES = 20


def each(bench: Bench) -> None:
    count = 3 if bench.quick else 50
    files = bench.scaled(1_000, 50)
    tree = bench.tree("each", files, 2_000)
    names = [f"web{number}" for number in range(count)]
    ends = f"{count} local far ends"
    ours: list[Cost] = []
    theirs: list[Cost] = []
    held: dict[bool, float] = {}
    for together in [True, False] * bench.rounds:
        there = bench.fresh("there")
        for name in names:
            (there / name).mkdir()
        began = time.perf_counter()
        with runs(bench, tree, there, names, together) as programs:
            for name in names:
                program = programs[0] if together else programs[names.index(name)]
                said = f"{name}: in sync: " if together else "in sync: "
                program.says(f"file-replicator: {said}", 600)
            wall = time.perf_counter() - began
            pids = [pid for program in programs for pid in everyone(program)]
            (ours if together else theirs).append(Cost(wall, cpu_of(pids)))
            if together in held:
                continue
            pause(2)
            held[together] = pss_of(pids)
            if together:
                saves(bench, tree, [there / name / "tree" for name in names], ends)
                idle(bench, pids, ends)
    peer = f"{count} runs"
    # Of processors, as all of them are at work; and what else is on the machine counts more
    # for one run than for fifty.
    what = f"{ends}: first copy, {files:,} files of 2 kB, CPU of all"
    seconds = median(ours).cpu
    bench.add(Row(what, seconds, "s", peer, seconds / median(theirs).cpu))
    what = f"{ends}: resident (PSS), all processes, idle"
    ratio = held[True] / held[False]
    bench.add(Row(what, held[True], "MB", peer, ratio))
    bench.value(f"{ends}: of that for each", held[True] / count, "MB")
    bench.forget("each", "there")


@contextlib.contextmanager
def runs(
    bench: Bench, tree: Path, there: Path, names: Sequence[str], together: bool
) -> Iterator[list[Running]]:
    """One run for all, or one for each."""
    env = bench.environment()
    words = [*bench.program("file-replicator"), str(tree)]
    lists = [[*words, f"{there}/{{}}", "--each", *names, "--", "bash"]]
    if not together:
        lists = [[*words, f"{there}/{name}", "--", "bash"] for name in names]
    with contextlib.ExitStack() as stack:
        programs = []
        for argv in lists:
            one = running(*argv, env=env, stdout=subprocess.DEVNULL)
            programs.append(stack.enter_context(one))
        yield programs


def saves(bench: Bench, tree: Path, copies: Sequence[Path], ends: str) -> None:
    """From the end of a save to when the last far end has it."""
    took = []
    for number in range(SAVES):
        write(tree / "saved.py", os.urandom(1000 + number))
        began = time.perf_counter()
        size = 1000 + number
        wait_for(lambda: all(_size(copy / "saved.py") == size for copy in copies))
        took.append(time.perf_counter() - began)
        pause(0.1)
    (tree / "saved.py").unlink()
    what = f"{ends}: one save of 1 kB is at the last of them, median"
    bench.value(what, 1000 * statistics.median(took), "ms")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def idle(bench: Bench, pids: Sequence[int], ends: str) -> None:
    pause(1)
    seconds = 1.0 if bench.quick else 20.0
    before = Activity(pids)
    pause(seconds)
    woken, busy = Activity(pids).since(before)
    what = f"{ends}: idle, a sign of life every 15 s"
    bench.value(f"{what}: wake-ups", woken / seconds, "/s")
    bench.value(f"{what}: one core", 100 * busy / seconds, "%")
