"""Measure file-replicator, compare it with its peers, and print a table.

Each ratio is one of medians of interleaved runs; below 1 is faster than the peer. "of CPU"
is the same for user and system time, which says more on a machine that does other things
too. Trees are made in memory (/dev/shm). A peer that is not installed is left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "support"))

import bench_copy
import bench_each
import bench_link
import bench_memory
import bench_save
import bench_wire
from bench_measure import HEAD, ROOT, Bench, NotMeasured, line, remove

FIGURES: dict[str, Callable[[Bench], None]] = {
    "first-copy": bench_copy.first_copy,
    "pack": bench_copy.pack,
    "switch": bench_copy.branch_switch,
    "big-file": bench_copy.big_file,
    "restart": bench_copy.restart,
    "walk": bench_copy.walk,
    "tracked": bench_copy.tracked,
    "start": bench_copy.start,
    "save": bench_save.save,
    "watch": bench_save.watch,
    "each": bench_each.each,
    "idle": bench_memory.idle,
    "memory": bench_memory.memory,
    "scale": bench_memory.scale,
    "link": bench_link.link,
    "wire": bench_wire.wire,
}


def machine() -> str:
    """One line on what the figures were measured with."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", info)
    count = len(os.sched_getaffinity(0))
    return (
        f"{count} cores of {model[1] if model else platform.machine()}, "
        f"Linux {platform.release()}, Python {platform.python_version()}, trees in /dev/shm"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="*", help=f"of: {', '.join(FIGURES)}; or all")
    parser.add_argument("--quick", action="store_true", help="small trees, one round")
    parser.add_argument("--rounds", type=int, default=5, help="how often [5]")
    parser.add_argument(
        "--checkout", type=Path, default=ROOT, help="measure the programs in there"
    )
    args = parser.parse_args()
    unknown = set(args.name) - set(FIGURES)
    if unknown:
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    base = Path(tempfile.mkdtemp(prefix="fr-bench-", dir="/dev/shm"))
    failed = False
    print(machine() + "\n")
    print(line(HEAD))
    print(line(["---"] * len(HEAD)))
    try:
        bench = Bench(base, args.quick, args.rounds, args.checkout)
        for name in args.name or FIGURES:
            try:
                FIGURES[name](bench)
            except NotMeasured as error:
                print(line([name, f"not measured: {error}", *[""] * 5]), flush=True)
            except Exception:
                traceback.print_exc()
                print(line([name, "**failed**", *[""] * 5]), flush=True)
                failed = True
    finally:
        remove(base)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
