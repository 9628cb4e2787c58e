"""One save: from close() until its new content can be read at the destination."""

from __future__ import annotations

import contextlib
import os
import random
import select
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import farends
import inotify_simple
from bench_measure import (
    Bench,
    Cost,
    NotMeasured,
    Row,
    await_sync,
    cpu_of,
    family,
    make_tree,
    most_resident,
    need,
    number,
    pause,
    replicator,
    upstream,
    write,
)
from programs import Running, Word, running

SAVED = "part0/module0/source_file_1.py"
SIZE = 2_000


class Place:
    """A source, its replica, what keeps them alike, and how long its saves have taken."""

    def __init__(self, source: Path, there: Path, program: Running) -> None:
        self.program = program
        self.walls: list[float] = []
        self._saves = 0
        self._from = source / SAVED
        self._to = there / SAVED
        self._inotify = inotify_simple.INotify()
        self._busy_before = 0.0

    def watch(self) -> None:
        """Be told of changes at the destination, which must be there by now."""
        flags = inotify_simple.flags
        mask = flags.CREATE | flags.MODIFY | flags.CLOSE_WRITE | flags.MOVED_TO
        self._inotify.add_watch(str(self._to.parent), mask)

    def save(self, timeout: float = 30) -> float | None:
        """Seconds from close() until the content is there; None after ``timeout``."""
        # Each of another size: rsync, which lsyncd runs, else misses two within a second.
        self._saves += 1
        content = os.urandom(SIZE + self._saves)
        write(self._from, content)
        start = time.perf_counter()
        while not self._holds(content):
            left = start + timeout - time.perf_counter()
            if left <= 0:
                return None
            self._inotify.read(timeout=1000 * left)
        return time.perf_counter() - start

    def measure(self) -> None:
        wall = self.save()
        assert wall is not None, f"a save has not arrived at {self._to}"
        self.walls.append(wall)

    def costs(self) -> list[Cost]:
        """What the saves took; the processors' share is too small to tell for each."""
        busy = self._busy() - self._busy_before
        return [Cost(wall, busy / len(self.walls)) for wall in self.walls]

    def _busy(self) -> float:
        return cpu_of([self.program.process.pid, *family(self.program)])

    def await_first(self, timeout: float = 30) -> None:
        """Save until one arrives: not every peer says when it watches."""
        deadline = time.monotonic() + timeout
        while self.save(0.5) is None:
            assert time.monotonic() < deadline, bytes(self.program.errors[-2000:])
        self._busy_before = self._busy()

    def _holds(self, content: bytes) -> bool:
        try:
            with open(self._to, "rb", buffering=0) as file:
                return file.read() == content
        except FileNotFoundError:
            return False

    def close(self) -> None:
        self._inotify.close()


Kept = contextlib.AbstractContextManager[Place]


@contextlib.contextmanager
def kept(
    bench: Bench,
    name: str,
    start: Callable[[Path, Path], contextlib.AbstractContextManager[Running]],
) -> Iterator[Place]:
    """A small tree and its replica; ``start(source, parent)`` keeps them alike."""
    home = bench.fresh(name)
    source, parent = home / "tree", home / "there"
    make_tree(source, 10, SIZE)
    parent.mkdir()
    if name != "ours" and name != "busybox":
        shutil.copytree(source, parent / "tree")
    with start(source, parent) as program:
        if name in ("ours", "busybox"):
            await_sync(program)
        place = Place(source, parent / "tree", program)
        try:
            place.watch()
            place.await_first()
            yield place
        finally:
            place.close()
    bench.forget(name)


def ours(bench: Bench, name: str, connection: Sequence[Word] = ("bash",)) -> Kept:
    def start(source: Path, parent: Path) -> contextlib.AbstractContextManager[Running]:
        return replicator(bench, source, parent, connection)

    return kept(bench, name, start)


def other(bench: Bench, name: str, words: Callable[[Path, Path], list[str]]) -> Kept:
    def start(source: Path, parent: Path) -> contextlib.AbstractContextManager[Running]:
        return running(*words(source, parent), env=bench.environment(False))

    return kept(bench, name, start)


def peers(bench: Bench) -> dict[str, Callable[[], Kept]]:
    """What else keeps a directory up to date, as far as it is installed."""
    found: dict[str, Callable[[], Kept]] = {}
    with contextlib.suppress(NotMeasured):
        old = upstream(bench)
        found["file-replicator 0.1.11"] = lambda: other(
            bench, "upstream", lambda here, up: [*old, str(here), str(up), "bash"]
        )
    loop = (
        "inotifywait -q -m -r -e close_write,moved_to --format %w%f . |"
        ' while read -r f; do tar -c "$f" | tar -x -C "$2/tree"; done'
    )
    if shutil.which("inotifywait"):
        found["`inotifywait`, `tar \\| tar`"] = lambda: other(
            bench,
            "loop",
            lambda here, up: [
                "bash",
                "-c",
                f'cd "$1"; {loop}',
                "-",
                str(here),
                str(up),
            ],
        )
    if shutil.which("lsyncd") and shutil.which("rsync"):
        lsyncd = ["lsyncd", "-nodaemon", "-delay", "1", "-rsync"]
        found["lsyncd, delay 1 s"] = lambda: other(
            bench, "lsyncd", lambda here, up: [*lsyncd, str(here), str(up / "tree")]
        )
    if shutil.which("unison-fsmonitor"):
        unison = ["unison", "-batch", "-repeat", "watch"]
        found["unison -repeat watch"] = lambda: other(
            bench, "unison", lambda here, up: [*unison, str(here), str(up / "tree")]
        )
    return found


def save(bench: Bench) -> None:
    """Saves in turn to all that watch, each when nothing else is under way."""
    with contextlib.ExitStack() as stack:
        names = {"ours": ours(bench, "ours")}
        if shutil.which("busybox"):
            path = farends.toolbox("busybox", bench.fresh("tools"))
            inside = ["env", f"PATH={path}", "busybox", "sh"]
            names["busybox"] = ours(bench, "busybox", inside)
        for name, build in peers(bench).items():
            names[name] = build()
        places = {name: stack.enter_context(kept) for name, kept in names.items()}
        chance = random.Random(1)
        rounds = bench.scaled(60 * bench.rounds, 10)
        for count in range(rounds):
            for name, place in places.items():
                if "lsyncd" in name and count % 30:
                    continue
                place.measure()
                pause(chance.uniform(0.02, 0.05))
        costs = {name: place.costs() for name, place in places.items()}
    what = "one save of 2 kB, idle, median"
    targets = {"file-replicator 0.1.11": (1.0, 0.5)}
    for name in costs.keys() - {"ours", "busybox"}:
        bench.ratio(what, costs["ours"], name, costs[name], *targets.get(name, ()))
    what = "one save, 99th percentile"
    bench.add(last_percent(what, costs["ours"], "its median", 3))
    if "busybox" in costs:
        what = "one save through busybox sh and tar"
        bench.ratio(what, costs["busybox"], "bash, GNU tar", costs["ours"], 2)


def last_percent(
    what: str, costs: Sequence[Cost], peer: str, target: float | None
) -> Row:
    walls = [1000 * cost.wall for cost in costs]
    late = sorted(walls)[int(len(walls) * 0.99)]
    ratio = late / statistics.median(walls)
    return Row(what, late, "ms", peer, ratio, target=target)


def watch(bench: Bench) -> None:
    """fr-watch alone: how soon a save is named, and what it holds of a large tree."""
    directories = bench.scaled(10_000, 100)
    tree = bench.tree("wide", 10 * directories, 0, per_directory=10)
    ready, told = os.pipe()
    words = [*bench.program("fr-watch"), f"--ready-fd={told}", str(tree)]
    options = {"env": bench.environment(), "pass_fds": [told]}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, **options)  # type: ignore[call-overload]
    try:
        os.close(told)
        assert os.read(ready, 1), "fr-watch is not ready"
        out = process.stdout.fileno()
        walls = []
        for _ in range(bench.scaled(60 * bench.rounds, 10)):
            pause(0.02)
            write(tree / SAVED, b"saved")
            start = time.perf_counter()
            assert select.select([out], [], [], 10)[0]
            walls.append(1000 * (time.perf_counter() - start))
            while select.select([out], [], [], 0.1)[0]:
                os.read(out, 4096)  # it may be named twice
        what = f"a save reaches fr-watch's output, {number(10 * directories)} files"
        bench.value(what, statistics.median(walls), "ms", 1)
        held = most_resident(process.pid)
        what = f"fr-watch, {number(directories)} directories, at most resident"
        bench.value(what, held, "MB", 40)
    finally:
        process.kill()
        process.communicate()
        os.close(ready)
    bench.forget("wide")
