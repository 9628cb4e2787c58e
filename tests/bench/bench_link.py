"""A slow link: ssh over a connection of 20 Mbit/s and 80 ms there and back.

The kernel's own delay (tc netem) is missing on many machines, so slowlink.py delays and
limits what ssh's ProxyCommand carries.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import farends
from bench_copy import replicate_once
from bench_measure import (
    Bench,
    Cost,
    assert_copied,
    await_sync,
    interleave,
    make_tree,
    need,
    pause,
    remove,
    replicator,
    shell,
    timed,
    write,
)
from bench_save import SAVED, Place, last_percent

DELAY_MS = 40  # each way
BYTES_PER_SECOND = 20_000_000 / 8


def link(bench: Bench) -> None:
    need("ssh", "sshd", "ssh-keygen")
    home = bench.fresh("link")
    with farends.sshd(home / "sshd") as server:
        far = server.slow_ssh(DELAY_MS, BYTES_PER_SECOND)
        copies(bench, home, far)
        saves(bench, home, far)
    bench.forget("link")


def copies(bench: Bench, home: Path, far: list[str]) -> None:
    """First copies, against the time which the link needs for the same tree's archive."""
    files = bench.scaled(2_000, 30)
    source = home / "tree"
    make_tree(source, files, 30_000)
    there = home / "there"

    def ours() -> Cost:
        remove(there)
        return replicate_once(bench, source, there, [*far, "bash"])

    def theirs() -> Cost:
        remove(home / "plain")
        script = 'from=$1 to=$2; shift 2; tar -c -C "$from" . |'
        script += ' "$@" "mkdir $to; tar -x -C $to"'
        return timed(shell(script, source, home / "plain", *far))

    rounds = min(bench.rounds, 2)
    costs = interleave({"ours": ours, "tar": theirs}, rounds, warm=False)
    assert_copied(source, there / "tree")
    archive = subprocess.check_output(["tar", "-c", "-C", source, "."])
    seconds = len(archive) / BYTES_PER_SECOND
    what = f"20 Mbit/s, 80 ms: first copy, {files:,} files of 30 kB"
    limit = [Cost(seconds, 0)]
    bench.ratio(what, costs["ours"], "the link's limit", limit, 1.1)
    bench.ratio(what, costs["ours"], "`tar \\| ssh tar`", costs["tar"])


def saves(bench: Bench, home: Path, far: list[str]) -> None:
    """Saves when idle, and while a first copy is under way."""
    source, there = home / "tree", home / "there"
    remove(there)
    (there / "tree" / SAVED).parent.mkdir(parents=True)
    last = source / "zz" / "last"
    last.parent.mkdir()
    write(last, b"")
    with replicator(bench, source, there, [*far, "bash"]) as program:
        place = Place(source, there / "tree", program)
        with contextlib.closing(place):
            # Some of it has come: the rest will take a while.
            program.wait_for(lambda: some_files(there / "tree"), 60, "for first files")
            pause(0.0 if bench.quick else 1.0)
            place.watch()
            start = time.perf_counter()
            late = place.save()
            assert late is not None, "the save has not arrived"
            await_sync(program)
            copied = time.perf_counter() - start
            what = (
                "20 Mbit/s, 80 ms: a save during the first copy, of what was left of it"
            )
            bench.ratio(what, [Cost(late, 0)], "the copy's end", [Cost(copied, 0)], 1)
            for _ in range(bench.scaled(10 * bench.rounds, 5)):
                pause(0.3)
                place.measure()
    walls = [1000 * wall for wall in place.walls]
    what = "20 Mbit/s, 80 ms: one save of 2 kB, idle, median"
    bench.value(what, statistics.median(walls), "ms", DELAY_MS + 10)
    bench.add(
        last_percent("the same, 99th percentile", place.costs(), "its median", None)
    )


def some_files(root: Path) -> bool:
    return any(path.is_file() for path in root.rglob("*.py"))
