"""Copying: a first copy, a restart, a branch switch, each stage alone, and starting up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench_measure import (
    Bench,
    Cost,
    NotMeasured,
    Runs,
    assert_copied,
    await_sync,
    child_cpu,
    cpu_of,
    family,
    file_name,
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
from programs import Word

TAR_TAR = 'mkdir "$2"; tar -c -C "$1" . | tar -x -C "$2"'


def replicate_once(
    bench: Bench,
    source: Path,
    parent: Path,
    connection: Sequence[Word] = ("bash",),
    fresh_state: bool = True,
) -> Cost:
    """The whole command, from its start to its end."""
    words = [*bench.program("file-replicator"), "--quiet", "--no-replicate-on-change"]
    return timed(
        [*words, str(source), str(parent), "--", *connection],
        env=bench.environment(fresh_state),
    )


def first_copy(bench: Bench) -> None:
    """The whole command against what is usually typed for it."""
    files = bench.scaled(30_000, 1_000)
    source = bench.tree("large", files, 30_000)

    def ours() -> Cost:
        return replicate_once(bench, source, bench.fresh("ours"))

    def peer(words: Callable[[str], Sequence[Word]]) -> Callable[[], Cost]:
        return lambda: timed(words(str(bench.fresh("theirs") / "tree")))

    runs: dict[str, Callable[[], Cost]] = {
        "`tar -c . \\| tar -x`": peer(lambda to: shell(TAR_TAR, source, to)),
        "ours": ours,
        "`cp -a`": peer(lambda to: ["cp", "-a", source, to]),
    }
    if shutil.which("rsync"):
        runs["`rsync -a`"] = peer(lambda to: ["rsync", "-a", f"{source}/", to])
    costs = interleave(runs, bench.rounds)
    assert_copied(source, bench.base / "ours" / "tree")
    targets = {"`tar -c . \\| tar -x`": (1.15, 0.9), "`rsync -a`": (0.8, 0.6)}
    what = f"first copy, {files:,} files of 30 kB"
    for name in sorted(costs.keys() - {"ours"}, key=list(targets).__contains__)[::-1]:
        bench.ratio(what, costs["ours"], name, costs[name], *targets.get(name, ()))
    bench.forget("large", "ours", "theirs")


def pack(bench: Bench) -> None:
    """fr-pack alone; tar to /dev/null itself would not read the files."""
    files = bench.scaled(30_000, 1_000)
    source = bench.tree("small", files, 2_000)
    names = bench.base / "names"
    with open(names, "wb") as file:
        walk = [*bench.program("fr-walk"), str(source)]
        subprocess.run(walk, env=bench.environment(), stdout=file, check=True)
    ours = shell('names=$1; shift; "$@" <"$names" | cat >/dev/null', names)
    ours += [*bench.program("fr-pack"), source]
    peer = 'tar -c -C "$1" . | cat >/dev/null'
    costs = interleave(
        {
            "ours": lambda: timed(ours, env=bench.environment()),
            "tar": lambda: timed(shell(peer, source)),
        },
        bench.rounds,
    )
    what = f"fr-pack alone, {files:,} files of 2 kB"
    bench.ratio(what, costs["ours"], "`tar -c . \\| cat`", costs["tar"], 1.5, 1.0)


def big_file(bench: Bench) -> None:
    """One file through fr-pack, and through the whole command."""
    size = bench.scaled(2_000_000_000, 20_000_000)
    source = bench.fresh("big") / "tree"
    source.mkdir()
    block = os.urandom(1_000_000)
    with open(source / "file", "wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    packing = shell('printf "file\\0" | "$@" | cat >/dev/null')
    packing += [*bench.program("fr-pack"), source]

    def catting() -> Cost:
        there = bench.fresh("theirs") / "file"
        script = 'cat "$1" | bash -c "exec cat >\'$2\'"'
        return timed(shell(script, source / "file", there))

    costs = interleave(
        {
            "cat": lambda: timed(
                shell('cat "$1" | cat >/dev/null', source / "file"),
            ),
            "pack": lambda: timed(packing, env=bench.environment()),
            "cat to file": catting,
            "whole": lambda: replicate_once(bench, source, bench.fresh("ours")),
        },
        bench.rounds,
    )
    what = f"one file of {size / 1e9:.3g} GB"
    name = f"{what}, fr-pack"
    bench.ratio(name, costs["pack"], "`cat \\| cat`", costs["cat"], 1.2, 1.0)
    name = f"{what}, whole command"
    bench.ratio(name, costs["whole"], "`cat \\| cat >file`", costs["cat to file"])
    bench.forget("big", "ours", "theirs")


def rewrite(root: Path, names: Sequence[str], content: bytes) -> None:
    """What git does to the files that differ between two branches."""
    for name in names:
        path = os.path.join(root, name)
        with open(path + "~new", "wb", buffering=0) as file:
            file.write(content)
        os.rename(path + "~new", path)


def await_sizes(root: Path, names: Sequence[str], size: int) -> None:
    """Wait until each of these files has ``size`` bytes; AssertionError after a minute."""
    missing = [os.path.join(root, name) for name in names]
    deadline = time.monotonic() + 60
    while missing:
        while missing and os.stat(missing[-1]).st_size == size:
            missing.pop()
        if missing:
            assert time.monotonic() < deadline, (len(missing), missing[-1])
            pause(0.002)


def branch_switch(bench: Bench) -> None:
    """From the first rename until the last new file is at the far side."""
    files = bench.scaled(30_000, 1_000)
    changed = bench.scaled(4_000, 200)
    here = bench.fresh("switch")
    ours, theirs = here / "ours" / "tree", here / "theirs" / "tree"
    small = bench.tree("small", files, 2_000)
    for copy in (ours, theirs, here / "plain"):
        shutil.copytree(small, copy)
    there = here / "there"
    there.mkdir()
    names = [file_name(count * files // changed) for count in range(changed)]
    with open(here / "names", "w") as file:
        file.write("\n".join(names))
    sizes = iter(range(2_000, 1_000_000))
    with replicator(bench, ours, there) as program:
        await_sync(program)

        def watched() -> Cost:
            size = next(sizes)
            pids = family(program)
            pids.append(program.process.pid)
            content = os.urandom(size)
            busy = cpu_of(pids)
            start, own = time.perf_counter(), time.process_time()
            rewrite(ours, names, content)
            edited = time.process_time() - own
            await_sizes(there / "tree", names, size)
            wall = time.perf_counter() - start
            cost = Cost(wall, edited + cpu_of(pids) - busy)
            pause(0.3)
            return cost

        def by_hand() -> Cost:
            content = os.urandom(next(sizes))
            before = child_cpu()
            start, own = time.perf_counter(), time.process_time()
            rewrite(theirs, names, content)
            edited = time.process_time() - own
            script = 'tar -c -C "$1" -T "$3" | tar -x -C "$2"'
            subprocess.run(
                shell(script, theirs, here / "plain", here / "names"), check=True
            )
            wall = time.perf_counter() - start
            return Cost(wall, edited + child_cpu() - before)

        runs = {"ours": watched, "theirs": by_hand}
        costs = interleave(runs, bench.rounds + 2)
        assert_copied(ours, there / "tree")
    what = f"branch switch, {changed:,} files of {files:,}"
    peer = "edit, then `tar \\| tar`"
    bench.ratio(what, costs["ours"], peer, costs["theirs"], 1.5, 1.1)
    bench.forget("switch")


def restart(bench: Bench) -> None:
    """A start where the far end has nearly all."""
    need("rsync")
    files = bench.scaled(30_000, 1_000)
    changed = files // 100
    here = bench.fresh("again")
    small = bench.tree("small", files, 2_000)
    trees = [here / name / "tree" for name in ("ours", "theirs")]
    for tree in trees:
        shutil.copytree(small, tree)
    there = here / "there"
    there.mkdir()
    replicate_once(bench, trees[0], there)
    sync = ["rsync", "-a", f"{trees[1]}/", str(here / "plain")]
    timed(sync)

    def edit(tree: Path, size: int) -> None:
        for count in range(changed):
            write(tree / file_name(count * 97 % files), os.urandom(size))

    def again(before: Callable[[], None] | None = None) -> Callable[[], Cost]:
        def run() -> Cost:
            if before:
                before()
            return replicate_once(bench, trees[0], there, fresh_state=False)

        return run

    sizes = iter(range(1_000, 1_000_000))
    runs: Runs = {"ours": again(), "rsync": lambda: timed(sync)}
    costs = interleave(runs, bench.rounds + 2)
    what = f"restart, nothing of {files:,} files changed"
    bench.ratio(what, costs["ours"], "`rsync -a`", costs["rsync"], 1.5, 1.0)

    def theirs() -> Cost:
        edit(trees[1], next(sizes))
        return timed(sync)

    runs = {"ours": again(lambda: edit(trees[0], next(sizes))), "rsync": theirs}
    costs = interleave(runs, bench.rounds + 2)
    assert_copied(trees[0], there / "tree")
    what = "restart, 1 % changed"
    bench.ratio(what, costs["ours"], "`rsync -a`", costs["rsync"], 1.5, 1.0)

    counting = shell('tee "$1" | bash | tee "$2"', here / "up", here / "down")
    replicate_once(bench, trees[0], there, counting, fresh_state=False)
    for direction in ("up", "down"):
        count = (here / direction).stat().st_size / files
        what = f"restart, bytes {direction} for each unchanged file"
        bench.value(what, count, "bytes", 100)
    bench.forget("again")


def kernel_tree(bench: Bench) -> Path:
    """Linux's sources, whose ignore files are many and large, unpacked in memory."""
    archives = sorted(Path("/usr/src").glob("linux-source-*.tar.xz"))
    own = os.environ.get("BENCH_KERNEL_TREE")
    if own:
        return Path(own)
    if not archives:
        raise NotMeasured("needs Debian's linux-source, or BENCH_KERNEL_TREE=DIR")
    unpacked = bench.fresh("kernel")
    subprocess.run(["tar", "-xf", archives[-1], "-C", unpacked], check=True)
    (tree,) = unpacked.iterdir()
    # Its last lines ignore everything: Debian keeps the tree in a repository of its own.
    rules = tree / ".gitignore"
    upstream, _, own_rules = rules.read_text().partition("#\n# Debian packaging")
    if not own_rules:
        raise NotMeasured("Debian's own rules are not where they were in .gitignore")
    rules.write_text(upstream)
    return tree


def walk(bench: Bench) -> None:
    """fr-walk against git, on the same tree, both without an index."""
    need("git")
    tree = kernel_tree(bench)
    environment = {**bench.environment(), "GIT_DIR": str(bench.fresh("git"))}
    subprocess.run(
        ["git", "init", "-q"], env=environment, check=True, stderr=subprocess.DEVNULL
    )
    git_words = ["git", "-C", str(tree), f"--git-dir={bench.base}/git"]
    git_words += [f"--work-tree={tree}", "ls-files", "-coz", "--exclude-standard"]
    walk_words = [*bench.program("fr-walk"), str(tree)]
    del environment["GIT_DIR"]
    theirs = subprocess.check_output(git_words, env=environment)
    ours = subprocess.check_output(walk_words, env=environment)
    answers = [set(listed.split(b"\0")) for listed in (ours, theirs)]
    assert answers[0] == answers[1], sorted(answers[0] ^ answers[1])[:5]
    to_null = '"$@" >/dev/null'
    costs = interleave(
        {
            "ours": lambda: timed(shell(to_null, *walk_words), env=environment),
            "git": lambda: timed(shell(to_null, *git_words), env=environment),
        },
        2 * bench.rounds,
    )
    what = f"fr-walk, {len(answers[0]):,} files, Linux's ignore files"
    bench.ratio(what, costs["ours"], "`git ls-files -co`", costs["git"], 1.5, 1.0)
    bench.forget("git", "kernel")


def tracked(bench: Bench) -> None:
    """fr-walk, git and fd on a work tree with an index and with what a build leaves."""
    need("git")
    files = bench.scaled(38_570, 2_000)
    tree = bench.base / "tracked" / "tree"
    make_tree(tree, files, 0, per_directory=16)
    write(tree / ".gitignore", b"*.o\n/build/\n__pycache__/\n!kept.o\n")
    environment = bench.environment()
    git = ["git", "-C", str(tree)]
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run([*git, *words], env=environment, check=True)
    (tree / "build").mkdir()
    for count in range(500):
        write(tree / "build" / f"{count}.o", b"")
        write((tree / file_name(count * 16, 16)).parent / f"{count}.o", b"")
    git_words = [*git, "ls-files", "-coz", "--exclude-standard"]
    walk_words = [*bench.program("fr-walk"), str(tree)]
    ours = subprocess.check_output(walk_words, env=environment)
    theirs = subprocess.check_output(git_words, env=environment)
    assert set(ours.split(b"\0")) == set(theirs.split(b"\0"))
    to_null = '"$@" >/dev/null'
    runs = {
        "ours": lambda: timed(shell(to_null, *walk_words), env=environment),
        "git": lambda: timed(shell(to_null, *git_words), env=environment),
    }
    fd = shutil.which("fdfind") or shutil.which("fd")
    if fd:
        fd_words = [
            fd,
            "-0",
            "-H",
            "-tf",
            "-tl",
            "-E",
            ".git",
            "--base-directory",
            str(tree),
        ]
        runs["fd"] = lambda: timed(shell(to_null, *fd_words), env=environment)
    costs = interleave(runs, 2 * bench.rounds)
    what = f"fr-walk, {files:,} tracked files"
    bench.ratio(what, costs["ours"], "`git ls-files -co`", costs["git"], 1.3, 1.0)
    if fd:
        bench.ratio(what, costs["ours"], "`fd`", costs["fd"])
    bench.forget("tracked")


def first_output(words: Sequence[str], environment: dict[str, str]) -> Cost:
    """Until the first byte comes, or the end."""
    before, start = child_cpu(), time.perf_counter()
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 1)
    wall = time.perf_counter() - start
    process.communicate()
    assert process.returncode == 0, words
    return Cost(wall, child_cpu() - before)


def start(bench: Bench) -> None:
    """What a command takes on a tree of ten files: nearly all of it is starting up."""
    tree = bench.tree("tiny", 10, 2_000)
    environment = bench.environment()
    walk_words = [*bench.program("fr-walk"), str(tree)]
    python = [sys.executable, "-c", "pass"]
    costs = interleave(
        {
            "ours": lambda: first_output(walk_words, environment),
            "python": lambda: first_output(python, environment),
            "whole": lambda: replicate_once(bench, tree, bench.fresh("ours")),
        },
        bench.scaled(4 * bench.rounds, 2),
    )
    what = "first output of fr-walk, 10 files"
    bench.ratio(what, costs["ours"], "`python -c pass`", costs["python"], 4, 2)
    what = "whole command, 10 files, `--no-replicate-on-change`"
    whole = sorted(cost.wall for cost in costs["whole"])
    bench.value(what, whole[len(whole) // 2], "s", 0.35, 0.2)
    remove(bench.base / "ours")
