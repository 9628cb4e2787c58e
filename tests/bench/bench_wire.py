"""What each kind of edit costs on a slow link, in seconds and bytes, beside rsync.

slowlink.py stands between and counts; it is file-replicator's connection command and
rsync's ``--rsh``. file-replicator watches, and the seconds go from the end of the edit until
the far tree is the same. rsync is run once after each edit, and its seconds are that run's.
Bytes are those of both directions. The same edits are done for all, in the same order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import random
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bench_measure import Bench, cpu_of, line, need, number, pause, remove
from programs import Running, marked, running
from slowlink import counts

SLOWLINK = Path(__file__).resolve().parent.parent / "support" / "slowlink.py"
WHOLE = ("--whole-file", "--no-compress")
DEADLINE = 600.0
HEAD = [
    "what was done here",
    "file-replicator",
    "rsync -a",
    "rsync -az",
    "seconds, of the better",
    "bytes, of the better",
    "at most",
    "met",
]
Tree = dict[str, tuple[object, ...]]


@dataclasses.dataclass(frozen=True)
class Spent:
    """What it took until the far tree was the same."""

    seconds: float
    bytes: int

    def __str__(self) -> str:
        return f"{number(self.seconds)} s, {number(self.bytes / 1000)} kB"


@dataclasses.dataclass(frozen=True)
class Target:
    """At most so much: of the better rsync, and on its own. None: no matter."""

    seconds_ratio: float | None = None
    bytes_ratio: float | None = None
    seconds: float | None = None
    kilobytes: float | None = None

    def __str__(self) -> str:
        said = []
        if self.seconds_ratio is not None:
            said.append(f"{self.seconds_ratio} of s")
        if self.bytes_ratio is not None:
            said.append(f"{self.bytes_ratio} of kB")
        if self.seconds is not None:
            said.append(f"{self.seconds} s")
        if self.kilobytes is not None:
            said.append(f"{self.kilobytes} kB")
        return ", ".join(said)

    def met(self, ours: Spent, peers: Sequence[Spent]) -> bool:
        limits = [(self.seconds, ours.seconds), (self.kilobytes, ours.bytes / 1000)]
        if peers:
            fastest = min(peer.seconds for peer in peers)
            least = min(peer.bytes for peer in peers)
            limits += [
                (self.seconds_ratio, ours.seconds / fastest),
                (self.bytes_ratio, ours.bytes / least),
            ]
        return all(limit is None or found <= limit for limit, found in limits)


EDIT = Target(seconds_ratio=0.5, bytes_ratio=1.0)


@dataclasses.dataclass(frozen=True)
class Edit:
    """One line of the table: what is done, in a tree that ``before`` was done to."""

    what: str
    do: Callable[[Path], object]
    target: Target = EDIT
    before: Callable[[Path], object] | None = None


@dataclasses.dataclass(frozen=True)
class Link:
    """So many bytes a second each way, and so many milliseconds there and back."""

    rate: float
    both_ways_ms: float

    def __str__(self) -> str:
        rate = f"{self.rate / 1e6:g} MB/s" if self.rate >= 1e6 else ""
        return f"{rate or f'{self.rate / 1e3:g} kB/s'}, {self.both_ways_ms:g} ms"

    def words(self, count: Path) -> list[str]:
        delay = str(self.both_ways_ms / 2)
        words = [sys.executable, str(SLOWLINK), str(self.rate), delay, str(count), "--"]
        return words


# --- what there is to send --------------------------------------------------------------


def source_text(size: int) -> bytes:
    """The text of Python's own library, over and over if there is not enough of it."""
    text = bytearray()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("**/*.py")):
        if "site-packages" not in path.parts:
            text += path.read_bytes()
        if len(text) >= size:
            break
    while len(text) < size:
        text *= 2
    return bytes(text[:size])


def log_lines(size: int, seed: int = 1) -> bytes:
    """What a server writes: no two lines alike, all of one kind."""
    chance = random.Random(seed)
    words = ["index", "login", "api/v2/items", "static/app.js", "health", "search"]
    lines, length = [], 0
    moment = 1_700_000_000.0
    while length < size:
        moment += chance.expovariate(20)
        address = (
            f"10.{chance.randrange(4)}.{chance.randrange(256)}.{chance.randrange(256)}"
        )
        one = (
            f"{moment:.3f} {chance.choice(['INFO', 'INFO', 'WARN'])} {address} GET"
            f" /{chance.choice(words)}?id={chance.randrange(10**6)} 200"
            f" {chance.randrange(50_000)} {chance.random():.4f}s\n"
        )
        lines.append(one)
        length += len(one)
    return "".join(lines).encode()[:size]


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def sources(root: Path, count: int, size: int, seed: int) -> None:
    """``count`` files of source text, ``size`` bytes in all, most smaller than the mean."""
    chance = random.Random(seed)
    weights = [chance.lognormvariate(0, 1) for _ in range(count)]
    text, at = source_text(2 * size), seed * 1009
    for position, weight in enumerate(weights):
        length = int(weight * size / sum(weights))
        put(root / f"p{position // 20}/m{position}.py", text[at : at + length])
        at = (at + length) % size


def make_tree(root: Path, scale: float) -> None:
    """813 files, 66 MB at a scale of 1, of which zlib makes about 40."""
    chance = random.Random(2)
    sources(root / "lib", 609, int(11e6 * scale), 3)
    put(root / "lib/hundred.py", source_text(100_000))
    put(root / "text.txt", source_text(int(5e6 * scale)))
    put(root / "server.log", log_lines(int(20e6 * scale)))
    put(root / "video.mp4", chance.randbytes(int(20e6 * scale)))
    for position in range(200):
        path = root / f"images/{position // 40}/{position}.png"
        put(path, chance.randbytes(int(50e3 * scale)))


# --- the edits --------------------------------------------------------------------------


def append(root: Path) -> None:
    with open(root / "server.log", "ab") as file:
        file.write(log_lines(1000, seed=5))


def overwrite(root: Path) -> None:
    with open(root / "server.log", "r+b") as file:
        file.seek(os.path.getsize(file.name) // 2)
        file.write(b"x" * 140)


def forty_places(root: Path) -> None:
    data = bytearray((root / "server.log").read_bytes())
    for place in range(40):
        at = (2 * place + 1) * len(data) // 80
        data[at : at + 50] = b"%050d" % place
    save(root, "server.log", bytes(data))


def save(root: Path, name: str, content: bytes) -> None:
    """Another file takes its name; it was written outside, so that it goes but once."""
    beside = root.with_name("saved")
    beside.write_bytes(content)
    os.replace(beside, root / name)


def line_before(root: Path) -> None:
    text = (root / "text.txt").read_bytes()
    save(root, "text.txt", b"# a line put before all of it\n" + text)


def rename(old: str, new: str) -> Callable[[Path], None]:
    return lambda root: os.rename(root / old, root / new)


def copy_directory(root: Path) -> None:
    subprocess.run(["cp", "-r", root / "pictures", root / "copied"], check=True)


def more_sources(root: Path) -> None:
    sources(root / "lib/more", 391, 1_100_000 if big(root) else 200_000, 7)


def big(root: Path) -> bool:
    return (root / "server.log").stat().st_size > 10_000_000


def touch_sources(root: Path) -> None:
    for path in (root / "lib").rglob("*.py"):
        path.touch()


def one_line(root: Path) -> None:
    text = (root / "lib/hundred.py").read_bytes()
    at = text.index(b"\n", len(text) // 2) + 1
    more = b"    one_more = 'line'\n"
    save(root, "lib/hundred.py", text[:at] + more + text[at:])


def ten_lines_a_second(root: Path) -> None:
    """For three seconds, each at once on its way."""
    with open(root / "server.log", "ab", buffering=0) as file:
        for text in log_lines(3000, seed=9).splitlines(keepends=True)[:30]:
            file.write(text)
            pause(0.1)


EDITS = [
    Edit("1 kB appended to a log of 20 MB", append),
    Edit("140 bytes in the middle of 20 MB", overwrite),
    Edit("40 places in 20 MB, saved by rename", forty_places),
    Edit("a line put before 5 MB of text", line_before),
    Edit(
        "a directory of 200 files, 10 MB, renamed",
        rename("images", "pictures"),
        Target(seconds=0.3, kilobytes=40),
    ),
    Edit(
        "a file of 20 MB renamed",
        rename("video.mp4", "film.mp4"),
        Target(seconds=0.3, kilobytes=40),
    ),
    Edit(
        "a directory of 10 MB copied (cp -r)",
        copy_directory,
        Target(seconds=0.5, kilobytes=60),
    ),
    Edit("1,000 source files touched", touch_sources, before=more_sources),
    Edit("one line in a source file of 100 kB", one_line),
    Edit("30 lines in 3 s to a log of 20 MB", ten_lines_a_second),
]


# --- a branch of 8.6 MB in 300 files ----------------------------------------------------


def make_branch(root: Path, size: int) -> None:
    sources(root / "src", 300, size, 11)


def switch(root: Path, branch: str) -> None:
    """As git does: what differs is removed and made anew, its time is now."""
    chance = random.Random(13)
    for path in chance.sample(sorted(root.rglob("*.py")), 100):
        text = path.read_bytes()
        path.unlink()
        if branch == "other":
            half = len(text) // 2
            path.write_bytes(text[:half] + b"# other\n" + text[half:])
        else:
            path.write_bytes(text.replace(b"# other\n", b""))


BRANCHES = [
    Edit("a branch switched: 100 of 300 files", lambda root: switch(root, "other")),
    Edit("and back", lambda root: switch(root, "main")),
    Edit("and there again", lambda root: switch(root, "other")),
]


def clone(root: Path) -> None:
    """All of it made anew, with other times."""
    anew(root, ["cp", "-r"])


def restore(root: Path) -> None:
    """All of it made anew, with the same times and other inode numbers."""
    anew(root, ["cp", "-a"])


def anew(root: Path, copy: list[str]) -> None:
    beside = root.with_name("beside")
    subprocess.run([*copy, root, beside], check=True)
    remove(root)
    beside.rename(root)


STARTS = [
    Edit("cloned anew, and a start", clone),
    Edit("restored with other inode numbers, and a start", restore),
]


# --- who keeps it alike -----------------------------------------------------------------


def look(root: Path) -> Tree:
    """Each file's kind, size and time; what a far end keeps while it runs is left out."""
    found: Tree = {}
    for directory, inside, names in os.walk(root):
        inside[:] = [name for name in inside if not name.startswith(".filerep-")]
        for name in names:
            path = os.path.join(directory, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                found[os.path.relpath(path, root)] = (
                    stat.S_IFMT(status.st_mode),
                    status.st_size,
                    status.st_mtime_ns,
                )
    return found


def same(here: Path, there: Path, paths: Iterable[str]) -> bool:
    """All of ``paths`` are there as they are here, or gone from both; contents too."""
    for path in paths:
        one, other = here / path, there / path
        try:
            left, right = one.lstat(), other.lstat()
        except FileNotFoundError:
            if os.path.lexists(one) != os.path.lexists(other):
                return False
            continue
        if (left.st_size, left.st_mtime_ns) != (right.st_size, right.st_mtime_ns):
            return False
    return all(
        not os.path.lexists(here / path)
        or (here / path).read_bytes() == (there / path).read_bytes()
        for path in paths
    )


class Ours:
    """A source of its own, file-replicator that watches it, and what the link counted."""

    def __init__(
        self, bench: Bench, link: Link, home: Path, source: Path, *options: str
    ) -> None:
        self.bench, self.link, self.options = bench, link, options
        self.source, self.parent = source, home / "there"
        self.there = self.parent / source.name
        self.count = home / "count"
        self.environment = {**bench.environment(), "XDG_STATE_HOME": str(home / "st")}
        self.parent.mkdir(parents=True)

    @contextlib.contextmanager
    def watching(self) -> Iterator[tuple[Running, Spent]]:
        """file-replicator, in sync, and what it took to be."""
        words = [*self.bench.program("file-replicator"), *self.options]
        words += [str(self.source), str(self.parent), "--"]
        words += [*self.link.words(self.count), "bash"]
        start = time.perf_counter()
        out = subprocess.DEVNULL
        with running(*words, env=self.environment, stdout=out) as program:
            program.says("in sync: ", DEADLINE)
            seconds = time.perf_counter() - start
            assert same(self.source, self.there, look(self.source))
            yield program, Spent(seconds, sum(counts(self.count)))

    def follow(self, program: Running, edit: Edit) -> Spent:
        """Do the edit, and wait until the far tree is the same."""
        before = look(self.source)
        counted = self.settled()
        edit.do(self.source)
        start = time.perf_counter()
        after = look(self.source)
        paths = {
            p for p in before.keys() | after.keys() if before.get(p) != after.get(p)
        }
        # The one that is last to come is looked at first, so that a look is short.
        order = sorted(paths, reverse=True)
        program.wait_for(
            lambda: same(self.source, self.there, order), DEADLINE, f"for {edit.what}"
        )
        seconds = time.perf_counter() - start
        return Spent(seconds, self.settled() - counted)

    def settled(self) -> int:
        """What was counted once nothing more comes for a while: answers are late."""
        quiet = 0.1 + 3 * self.link.both_ways_ms / 1000
        last, since = sum(counts(self.count)), time.perf_counter()
        while time.perf_counter() < since + quiet:
            pause(0.01)
            now = sum(counts(self.count))
            if now != last:
                last, since = now, time.perf_counter()
        return last


class Rsync:
    """A copy that rsync keeps, one run after each edit."""

    def __init__(self, link: Link, home: Path, option: str) -> None:
        self.link, self.option = link, option
        self.there, self.count = home / "copy", home / "count"
        home.mkdir(parents=True)

    def run(self, source: Path) -> Spent:
        # rsync puts the host before its command: `env rsync` runs it.
        rsh = " ".join(self.link.words(self.count))
        words = ["rsync", self.option, "--delete", "-e", rsh]
        start = time.perf_counter()
        subprocess.run([*words, f"{source}/", f"env:{self.there}/"], check=True)
        return Spent(time.perf_counter() - start, sum(counts(self.count)))


# --- the table --------------------------------------------------------------------------


def row(what: str, target: Target, ours: Spent, peers: Sequence[Spent]) -> None:
    ratios = ["", ""]
    if peers:
        ratios = [
            number(ours.seconds / min(peer.seconds for peer in peers)),
            number(ours.bytes / min(peer.bytes for peer in peers)),
        ]
    shown = [str(peer) for peer in peers] or ["", ""]
    met = "yes" if target.met(ours, peers) else "**no**"
    if not str(target):
        met = ""
    print(line([what, str(ours), *shown, *ratios, str(target), met]), flush=True)


def head(link: Link, peers: Sequence[str] = ("rsync -a", "rsync -az")) -> None:
    names = [f"{HEAD[0]} ({link})", HEAD[1], *peers, *HEAD[4:]]
    print("\n" + line(names))
    print(line(["---"] * len(names)), flush=True)


def table(
    bench: Bench,
    link: Link,
    name: str,
    make: Callable[[Path], object],
    edits: Sequence[Edit],
    first: Target,
    anew: Sequence[Edit] = (),
) -> None:
    """A first copy, each edit, and each start after ``anew``; ours and two rsyncs."""
    home = bench.fresh(name)
    ours = Ours(bench, link, home / "ours", home / "tree")
    make(ours.source)
    peers = [Rsync(link, home / option, option) for option in ("-a", "-az")]

    def theirs() -> list[Spent]:
        return [peer.run(ours.source) for peer in peers]

    with ours.watching() as (program, spent):
        files = look(ours.source)
        size = sum(int(str(what[1])) for what in files.values())
        what = f"first copy, {len(files)} files, {number(size / 1e6)} MB"
        row(what, first, spent, theirs())
        for edit in edits:
            if edit.before:
                ours.follow(program, Edit("what comes before", edit.before))
                theirs()
            row(edit.what, edit.target, ours.follow(program, edit), theirs())
    for edit in anew:
        edit.do(ours.source)
        with ours.watching() as (_, spent):
            row(edit.what, edit.target, spent, theirs())
    remove(home)


def against_whole(bench: Bench, link: Link, scale: float) -> None:
    """Where whole files are as fast, nothing is slower than with them."""
    home = bench.fresh("wire-fast")
    options: list[tuple[str, ...]] = [()]
    if all(word in usage(bench) for word in WHOLE):
        options.append(WHOLE)
    both = [
        Ours(bench, link, home / f"ours{n}", home / f"{n}/tree", *words)
        for n, words in enumerate(options)
    ]
    for one in both:
        make_tree(one.source, scale)
    head(link, [" ".join(WHOLE), ""])
    with contextlib.ExitStack() as stack:
        target = Target(seconds_ratio=1.05)
        spent, cpu, programs = [], [], []
        for one in both:
            program, first = stack.enter_context(one.watching())
            spent.append(first)
            cpu.append(packing(program))
            programs.append(program)
        row("first copy", target, spent[0], spent[1:])
        row_of_cpu(cpu, look(both[0].source))
        for edit in EDITS:
            if edit.before:
                for one, program in zip(both, programs):
                    one.follow(program, Edit("what comes before", edit.before))
            spent = [one.follow(p, edit) for one, p in zip(both, programs)]
            row(edit.what, target, spent[0], spent[1:])
    remove(home)


def usage(bench: Bench) -> str:
    words = [*bench.program("file-replicator"), "--help"]
    done = subprocess.run(
        words, env=bench.environment(False), capture_output=True, text=True
    )
    return done.stdout


def packing(program: Running) -> float:
    """Seconds of processor time that fr-pack has used, its second process too."""
    pids = []
    for pid in marked(program.mark):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().startswith("fr-pack"):
                pids.append(pid)
    return cpu_of(pids)


def row_of_cpu(cpu: Sequence[float], files: Tree) -> None:
    if len(cpu) == 2:
        size = sum(int(str(what[1])) for what in files.values()) / 1e6
        cost = 1000 * (cpu[0] - cpu[1]) / size
        met = "yes" if cost <= 3 else "**no**"
        what = "CPU of fr-pack beyond that, for each MB sent"
        print(line([what, f"{number(cost)} ms", "", "", "", "", "3 ms", met]))


def behind_a_large_file(bench: Bench) -> None:
    """A save made while another file goes over a link that is busy with it."""
    link = Link(1e6, 80)
    size = bench.scaled(30_000_000, 1_000_000)
    home = bench.fresh("wire-behind")
    ours = Ours(bench, link, home / "ours", home / "tree")
    put(ours.source / "note", b"one\n")
    head(link)
    with ours.watching() as (program, _):
        before = ours.settled()
        put(home / "large", random.Random(3).randbytes(size))
        (home / "large").rename(ours.source / "large")
        program.wait_for(lambda: sum(counts(ours.count)) > before + size // 20, 60)
        start = time.perf_counter()
        save(ours.source, "note", b"two\n")
        there = ours.there / "note"
        program.wait_for(lambda: there.read_bytes() == b"two\n", DEADLINE)
        seconds = time.perf_counter() - start
        program.wait_for(
            lambda: same(ours.source, ours.there, ["large"]), DEADLINE, "for the rest"
        )
        spent = Spent(seconds, ours.settled() - before)
    what = f"a save of 4 bytes while {number(size / 1e6)} MB go over"
    row(what, Target(seconds=1), spent, [])
    remove(home)


def wire(bench: Bench) -> None:
    need("rsync")
    first = Target(seconds_ratio=1.0, bytes_ratio=1.0)
    links, edits = {Link(2.5e6, 80): 1.0, Link(2e5, 300): 0.1}, EDITS
    if bench.quick:  # each edit once will do: against whole files
        links, edits = {Link(2.5e7, 8): 0.01}, EDITS[:2]
    for link, scale in links.items():
        head(link)
        make = functools.partial(make_tree, scale=scale)
        table(bench, link, "wire", make, edits, first)
    link = next(iter(links))
    make = functools.partial(make_branch, size=bench.scaled(8_600_000, 300_000))
    head(link)
    table(bench, link, "wire-branch", make, BRANCHES, first, STARTS)
    against_whole(bench, Link(1e8, 0.2), 0.01 if bench.quick else 1.0)
    behind_a_large_file(bench)
