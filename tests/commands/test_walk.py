"""fr-walk: its generator, and the program as a process."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import ignoretrees
import keyboard
import programs
import pytest
from ignoretrees import as_ordinary_user, fail, write
from randomrepositories import Random
from trees import plant

from filerep import command, pack, walk, watch
from filerep.rules import explaining, ignore, walking
from filerep.rules.sieve import Sieve
from filerep.rules.userrules import Asked
from filerep.walk import in_words

ROOT = Path(__file__).resolve().parent.parent.parent
FR_WALK: list[str | bytes | Path] = [
    sys.executable,
    os.fspath(ROOT / "bin" / "fr-walk"),
]


def rules(root: bytes) -> ignore.Rules:
    return ignore.load(root, on_error=fail)


def paths(root: bytes) -> list[bytes]:
    return list(walking.walk(root, rules(root), fail))


def run(
    *words: str | bytes | Path, **more: object
) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}
    argv = [*FR_WALK, *words]
    return subprocess.run(argv, capture_output=True, env=env, timeout=60, **more)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def tree(tmp_path: Path) -> bytes:
    for name in ("a", "d/b", "d/e/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return os.fsencode(tmp_path)


# -- the generator


def test_files_and_links_are_named_directories_are_not(tree: bytes) -> None:
    os.symlink(b"d", tree + b"/link")
    os.symlink(b"nowhere", tree + b"/d/dangling")
    os.mkdir(tree + b"/empty")
    expected = {b"a", b"link", b"d/b", b"d/dangling", b"d/e/c"}
    assert set(paths(tree)) == expected
    assert len(paths(tree)) == len(expected)


def test_a_directory_s_own_files_come_before_what_is_below(tree: bytes) -> None:
    order = paths(tree)
    assert order.index(b"a") < order.index(b"d/b") < order.index(b"d/e/c")


def test_links_that_lead_in_circles_do_no_harm(tree: bytes) -> None:
    os.symlink(b"..", tree + b"/d/up")
    os.symlink(b"self", tree + b"/self")
    assert set(paths(tree)) == {b"a", b"d/b", b"d/e/c", b"d/up", b"self"}


def test_the_source_itself_may_be_a_link(tree: bytes) -> None:
    os.symlink(tree + b"/d", tree + b"/link")
    assert set(paths(tree + b"/link")) == {b"b", b"e/c"}


def test_names_of_every_kind(tree: bytes) -> None:
    names = [
        b"-rf",
        b"*",
        b"a\nb",
        b"a\\b",
        b"'",
        b'"',
        b" ",
        b"\xff\xfe",
        b"\x01\x1b",
        b"\xc3\xa9",
    ]
    names += [b"x" * 255, b"\xed\xa0\x80", b"..."]
    os.mkdir(tree + b"/\xffdir")
    for name in names:
        write(os.path.join(tree, b"\xffdir", name), b"")
    assert {b"\xffdir/" + name for name in names} < set(paths(tree))


def test_paths_far_beyond_path_max(tree: bytes) -> None:
    name = b"n" * 200
    top = fd = os.open(tree, os.O_RDONLY)
    held = [fd]
    for depth in range(150):
        os.mkdir(name, dir_fd=fd)
        fd = os.open(name, os.O_RDONLY, dir_fd=fd)
        held.append(fd)
        if depth % 10 == 9:
            for file in (b"a", b"z"):
                os.close(os.open(file, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            os.mkdir(b"side", dir_fd=fd)
            side = os.open(b"side", os.O_RDONLY, dir_fd=fd)
            os.close(os.open(b"s", os.O_CREAT | os.O_WRONLY, dir_fd=side))
            os.close(side)
    for fd in held:
        os.close(fd)
    before = set(os.listdir("/proc/self/fd"))
    found = set(paths(tree))
    assert set(os.listdir("/proc/self/fd")) == before
    for depth in range(10, 151, 10):
        prefix = (name + b"/") * depth
        assert {prefix + b"a", prefix + b"z", prefix + b"side/s"} <= found
    assert len(found) == 3 + 15 * 3
    assert top
    subprocess.run([b"rm", b"-rf", tree + b"/" + name], check=True)


def test_few_descriptors_for_a_deep_tree(tree: bytes) -> None:
    deep = tree + b"/" + b"d/" * 300
    os.makedirs(deep)
    write(deep + b"x", b"")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        others = max(
            map(int, os.listdir("/proc/self/fd"))
        )  # of the tests before this one
        limit = others + walking.KEPT_OPEN + 40
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        assert b"d/" * 300 + b"x" in paths(tree)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_directory_of_more_entries_than_a_slice(
    tree: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "SLICE", 7)
    names = {b"%d" % number for number in range(100)}
    for name in names:
        write(tree + b"/d/e/" + name, b"")
    for number in range(20):
        os.mkdir(tree + b"/d/e/dir%d" % number)
        write(tree + b"/d/e/dir%d/x" % number, b"")
    write(tree + b"/d/e/.gitignore", b"[0-9]\ndir1?\n")
    found = paths(tree)
    assert len(found) == len(set(found)) == 3 + 90 + 10 + 1


def test_the_rules_of_a_directory_of_many_entries_that_are_no_files(
    tree: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "SLICE", 7)
    write(tree + b"/d/e/.gitignore", b"c\n")
    for number in range(60):
        os.mkfifo(tree + b"/d/e/%d" % number)
    assert sorted(paths(tree)) == [b"a", b"d/b", b"d/e/.gitignore"]


def test_what_vanishes_meanwhile_is_no_error(tree: bytes) -> None:
    going = walking.walk(tree, rules(tree), fail)
    assert next(going) == b"a"
    os.unlink(tree + b"/d/e/c")
    os.rmdir(tree + b"/d/e")
    assert set(going) == {b"d/b"}


def test_a_directory_that_became_a_link_is_not_entered(tree: bytes) -> None:
    going = walking.walk(tree, rules(tree), fail)
    assert next(going) == b"a"
    os.rename(tree + b"/d", tree + b"/gone")
    os.symlink(b"gone", tree + b"/d")
    assert set(going) == set()


def test_nothing_stays_open_when_a_walk_is_given_up(tree: bytes) -> None:
    before = set(os.listdir("/proc/self/fd"))
    going = walking.walk(tree, rules(tree), fail)
    for _ in range(2):
        next(going)
    assert isinstance(going, Iterator)
    going.close()  # type: ignore[attr-defined]
    assert set(os.listdir("/proc/self/fd")) == before


def test_the_listing_of_one_directory(tree: bytes) -> None:
    write(tree + b"/.gitignore", b"x\n")
    write(tree + b"/x", b"")
    fd = os.open(tree, os.O_RDONLY)
    files, dirs = walking.listing(fd, b".", rules(tree), fail)
    os.close(fd)
    assert (sorted(files), dirs) == ([b".gitignore", b"a"], [b"d"])


def walked_on(tree: bytes, change: Callable[[], object]) -> set[bytes]:
    """What a walk names that has come to d/1, where ``change`` is made meanwhile."""
    load = lambda: rules(tree)
    renew = walk._renewing(tree, load, load(), time.time_ns())
    going = iter(walking.directories(tree, load(), fail, None, renew))
    prefix = b""
    while not prefix.startswith(b"d/1/"):
        prefix, _ = next(going)
    change()
    return {prefix + name for prefix, names in going for name in walking.split(names)}


@pytest.mark.parametrize("place", [b"", b"d/", b"d/1/"])
def test_a_rule_that_is_written_during_a_walk_holds_for_what_comes(
    place: bytes, tree: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(walk, "_FRESH_TIMES", 0.0)
    deep = b"d/1/" + b"e/" * (walking.KEPT_OPEN + 10)
    os.makedirs(tree + b"/" + deep)
    os.makedirs(tree + b"/d/1/gone")
    for name in (b"d/1/f", deep + b"f", b"d/1/gone/f"):
        write(tree + b"/" + name, b"")

    def change() -> None:
        write(tree + b"/" + place + b".gitignore", b"*.secret\n")
        for name in (deep, b"d/1/e/", b"d/1/gone/"):
            write(tree + b"/" + name + b"k.secret", b"")

    found = walked_on(tree, change)
    assert deep + b"f" in found
    assert not [name for name in found if name.endswith(b".secret")]


def test_a_directory_that_comes_to_be_ignored_during_a_walk_is_left(
    tree: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(walk, "_FRESH_TIMES", 0.0)
    os.makedirs(tree + b"/d/1/2")
    for name in (b"/d/1/f", b"/d/1/2/f"):
        write(tree + name, b"")
    change = lambda: write(tree + b"/.gitignore", b"/d/\n")
    before = len(os.listdir("/proc/self/fd"))
    assert not {name for name in walked_on(tree, change) if name.startswith(b"d/")}
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_deep_tree_is_not_looked_at_again_all_the_time(
    tree: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look costs a second, each step a tenth."""
    now = 100.0
    looks = []

    class Judge:
        def rests(self, way: list[bytes]) -> bool:
            nonlocal now
            now += 1
            looks.append(now)
            return True

        def top(self) -> None:
            pass

        def entered(self, path: bytes, rules: ignore.Rules) -> None:
            pass

    monkeypatch.setattr(walk, "_judge", lambda *_: Judge())
    monkeypatch.setattr(time, "monotonic", lambda: now)
    fd = os.open(tree, os.O_RDONLY)
    place = walking.Place(b"", b"", rules(tree), fd)
    renew = walk._renewing(tree, lambda: rules(tree), rules(tree), 0)
    for _ in range(100):
        now += 0.1
        renew([place])
    os.close(fd)
    assert 5 <= len(looks) <= 11


def test_what_is_tracked_no_more_is_not_named_by_a_walk_that_goes_on(
    tree: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(walk, "_FRESH_TIMES", 0.0)
    places = (tree, tree + b"/d/1/inner")

    def git(place: bytes, *words: str) -> None:
        subprocess.run(["git", "-C", place, *words], check=True)

    for place in places:
        os.makedirs(place + b"/d/1/s")
        write(place + b"/.gitignore", b"*.secret\n")
        write(place + b"/d/1/f", b"")
        write(place + b"/d/1/s/k.secret", b"")
        git(place, "init", "-q")
        git(place, "add", "-f", "d/1/s/k.secret")
    change = lambda: [
        git(place, "rm", "-q", "--cached", "d/1/s/k.secret") for place in places
    ]
    found = walked_on(tree, change)
    assert b"d/1/inner/d/1/f" in found
    assert not [name for name in found if name.endswith(b".secret")]


# -- the program


def test_paths_come_one_a_record(tree: bytes) -> None:
    done = run(tree)
    assert done.returncode == 0 and done.stderr == b""
    assert sorted(done.stdout.split(b"\0")) == [b"", b"a", b"d/b", b"d/e/c"]


def test_an_empty_source_prints_nothing(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_an_unreadable_directory_costs_one_line(tmp_path: Path) -> None:
    with as_ordinary_user() as place:
        for name in (b"shut/x", b"open/y"):
            os.makedirs(os.path.dirname(os.path.join(place, name)))
            write(os.path.join(place, name), b"")
        os.chmod(place + b"/shut", 0)
        told: list[tuple[str, bytes]] = []
        own = ignore.load(place, on_error=fail, environ={})
        found = list(walking.walk(place, own, lambda *what: told.append(what[:2])))
        os.chmod(place + b"/shut", 0o700)
    assert found == [b"open/y"]
    assert told == [("open", b"shut")]


def test_an_unreadable_source_costs_one_line(tmp_path: Path) -> None:
    with as_ordinary_user() as place:
        os.chmod(place, 0o300)
        told: list[tuple[str, bytes]] = []
        own = ignore.load(
            place, on_error=lambda *what: told.append(what[:2]), environ={}
        )
        assert not list(walking.walk(place, own, lambda *what: told.append(what[:2])))
        os.chmod(place, 0o700)
    assert told == [("open", b".")]


def test_others_are_named_when_asked(tree: bytes) -> None:
    os.mkfifo(tree + b"/d/pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(tree)
        listener.bind("sock")
        assert run(tree).stderr == b""
        done = run("--verbose", "--exclude", "sock", tree)
    assert b"pipe" not in done.stdout and done.returncode == 0
    words = b"fr-walk: left out 'd/pipe': not a file, directory or symbolic link\n"
    assert done.stderr == words


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (
            ["/nonexistent"],
            66,
            b"cannot open '/nonexistent': No such file or directory",
        ),
        ([os.fspath(ROOT / "LICENSE")], 66, b"Not a directory"),
        ([], 64, b"expected: fr-walk"),
        (["--git", "."], 64, b"unknown option '--git'"),
        (["--exclude"], 64, b"--exclude"),
        (["--exclude", "./x", "."], 64, b"'./x' would match nothing"),
        (["--why", "../x", "."], 64, b"--why takes a path below SRC, not '../x'"),
        (["--why", "", "."], 64, b"--why"),
    ],
)
def test_wrong_usage(words: list[str], status: int, said: bytes) -> None:
    done = run(*words)
    assert done.returncode == status and done.stdout == b""
    assert done.stderr.startswith(b"fr-walk: ") and done.stderr.count(b"\n") == 1
    assert said in done.stderr


def test_options(tree: bytes) -> None:
    write(tree + b"/.gitignore", b"a\nd/\n")
    assert run(tree).stdout == b".gitignore\0"
    everything = {b"", b".gitignore", b"a", b"d/b", b"d/e/c"}
    assert set(run("--no-gitignore", tree).stdout.split(b"\0")) == everything
    more = ["--exclude", ".git*", "--include=/d/e/c", "--include", "a"]
    assert set(run(*more, tree).stdout.split(b"\0")) == {b"", b"a", b"d/e/c"}
    done = run("--why", "d/b", tree)
    assert (done.stdout, done.stderr) == (b".gitignore:2:d/\td/b\n", b"")
    assert run("--why", "a", "--include", "a", tree).stdout == b"--include:1:a\ta\n"
    os.mkdir(tree + b"/x~")
    assert run("--why", "x~", tree).stdout == b"::\tx~\n"
    whole = os.path.realpath(tree) + b"/d/b"
    assert run("--why", whole, tree).stdout == b".gitignore:2:d/\t" + whole + b"\n"
    subprocess.run([b"git", b"-C", tree, b"init", b"-q"], check=True)
    assert run("--why", b'\xc3\xa9"', tree).stdout == b'::\t"\\303\\251\\""\n'
    quote = [b"git", b"-C", tree, b"config", b"core.quotePath", b"off"]
    subprocess.run(quote, check=True)
    assert run("--why", b'\xc3\xa9"', tree).stdout == b'::\t"\xc3\xa9\\""\n'


def test_on_a_terminal_why_is_said_in_words_too(place: Path) -> None:
    plant(place, {".gitignore": b"*.o\n", "a.o": b""})
    with keyboard.bash(200) as typed:
        typed.type(f"cd {place}; fr-walk --why a.o .\n")
        typed.shows("fr-walk: 'a.o' is left out by line 1 of '.gitignore': '*.o'\r\n")
        typed.type("fr-walk --why src/f .\n")
        typed.shows("'src/f' is printed: no rule names it; it is not in '.' now\r\n")
        typed.type("ln -s . src; fr-walk --why src/f .\n")
        typed.shows(
            "'src/f' is left out: 'src' is a symbolic link, and printed as one;"
        )
    assert "\n.gitignore:1:*.o" in typed.text()


@pytest.mark.parametrize(
    "path, said",
    [
        ("b.o", "is printed by line 2 of '.gitignore': '!b.o'"),
        ("a~", "is left out as editors' files are; --editor-files brings it back"),
        (".git", "is left out: it is git's own"),
        ("c", "is printed: no rule names it"),
        ("x/y", "is left out by --exclude 'x'"),
    ],
)
def test_why_in_words(path: str, said: str, place: Path) -> None:
    plant(place, {".gitignore": b"*.o\n!b.o\n"})
    root = os.fsencode(place)
    asked = Asked(exclude=[b"x"], editor_files=False)
    loaded = ignore.load(root, asked, on_error=fail)
    rule = explaining.explain(root, path.encode(), loaded)
    assert in_words(rule) == said


@pytest.mark.parametrize(
    "path, said",
    [
        ("l", ""),
        ("l/", "is left out: 'l' is a symbolic link, and printed as one"),
        ("d/m/n/x", "is left out: 'd/m' is a symbolic link, and printed as one"),
        ("d/f", "is left out: it is a fifo, a socket or a device"),
        ("d", ""),
        ("d/e/x", ""),
        ("d/none", ""),
    ],
)
def test_why_in_words_where_no_rule_is_the_reason(
    path: str, said: str, place: Path
) -> None:
    plant(place, {"d/e/x": b""})
    (place / "l").symlink_to("d")
    (place / "d/m").symlink_to("e")
    os.mkfifo(place / "d/f")
    assert walk.never(os.fsencode(place), path.encode()) == said


def test_a_full_device_is_an_error(tree: bytes) -> None:
    with open("/dev/full", "wb") as full:
        argv: list[str | bytes | Path] = [*FR_WALK, tree]
        env = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, env=env)
    assert done.returncode == 74
    assert done.stderr == b"fr-walk: cannot write output: No space left on device\n"


def test_a_reader_that_has_enough_is_no_error(tree: bytes) -> None:
    for number in range(3000):
        write(tree + b"/" + b"x" * 200 + b"%d" % number, b"")
    env = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}
    argv: list[str | bytes | Path] = [*FR_WALK, tree]
    with subprocess.Popen(argv, stdout=-1, stderr=-1, env=env) as process:
        assert process.stdout and process.stderr
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("program", [walk, watch, pack])
def test_without_an_option_the_arguments_are_what_docopt_has(
    program: ModuleType,
) -> None:
    usage = program.__doc__ or ""
    parsed = command.parse(usage, ["a tree"])
    plain = command.parse_plain(usage, ["a tree"])
    assert plain == {name: parsed[name] for name in plain or ()}
    assert {name for name in parsed if name[0] == "-"} < set(plain or ())
    for words in ([], ["a", "b"], ["-"], ["--verbose"]):
        assert command.parse_plain(usage, words) is None


def test_little_is_loaded_to_walk_a_tree_of_plain_rules(tree: bytes) -> None:
    write(tree + b"/.gitignore", b"*.o\nbuild/\n/a/*.log\n")
    long = "from filerep import walk; walk._FRESH_SECONDS = 0; walk.main([%r])"
    for words in ([ROOT / "bin/fr-walk", tree], ["-c", long % os.fsdecode(tree)]):
        said = programs.run([sys.executable, "-X", "importtime", *words]).stderr.split()
        assert b"filerep.walk" in said
        assert not {b"docopt", b"enum", b"re", b"signal", b"typing"}.intersection(said)


def test_help_and_version() -> None:
    assert b"Usage:\n  fr-walk" in run("--help").stdout
    assert run("--version").stdout.startswith(b"fr-walk ")


def test_where_python_leaves_docstrings_out_the_usage_is_read_all_the_same() -> None:
    env = programs.environment(PYTHONOPTIMIZE="2")
    done = programs.run(["fr-walk", "--help"], env=env)
    assert done.stdout == run("--help").stdout


def test_memory_does_not_grow_with_the_tree(tmp_path: Path) -> None:
    place = os.fsencode(tmp_path)
    for number in range(200):
        os.mkdir(place + b"/%d" % number)
        write(place + b"/%d/.gitignore" % number, b"*.o\n/x%d\n" % number)
        for name in range(40):
            write(place + b"/%d/%d" % (number, name), b"")
    code = (
        "import re, sys; from filerep.walk import main; main(sys.argv[1:]);"
        "found = re.search('VmHWM:[^0-9]*([0-9]+)', open('/proc/self/status').read());"
        "sys.stderr.write(found.group(1))"
    )
    env = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}

    def peak(path: bytes) -> int:
        argv: list[str | bytes | Path] = [sys.executable, "-c", code, path]
        return int(subprocess.run(argv, capture_output=True, env=env).stderr)

    small, large = peak(place + b"/1"), peak(place)
    assert large < 40_000 and large - small < 4_000


@pytest.mark.parametrize("name", ["tree", "-n"])
def test_what_stands_behind_two_dashes_is_no_option(tmp_path: Path, name: str) -> None:
    plant(tmp_path, {f"{name}/a": "a"})
    for words in (["--", name], ["--no-gitignore", "--", name]):
        done = programs.run(["fr-walk", *words], cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"a\0", b"")
    done = programs.run(["fr-pack", "--", name], b"a", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout


# -- paths from standard input


def sifted(paths: bytes, *words: str | bytes | Path) -> list[bytes]:
    done = run("--stdin", *words, input=paths)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    return done.stdout.split(b"\0")[:-1]


def test_paths_that_count_come_out_as_they_came(tree: bytes) -> None:
    write(tree + b"/.gitignore", b"*.o\nbuild/\n")
    asked = [b"a", b"./d//b", b"x.o", b"build/y", b"gone", b"d", b"d/", b"build", b"a"]
    asked += [tree + b"/d/e/c", tree + b"/d/z.o", b".", b"./", tree]
    expected = [b"a", b"./d//b", b"gone", b"d", b"d/", b"build", b"a", tree + b"/d/e/c"]
    expected += [b".", b"./", tree]
    stream = b"\0".join(asked) + b"\0"
    assert sifted(stream, tree) == expected
    os.mkdir(tree + b"/build")
    left = [path for path in expected if path != b"build"]
    assert sifted(stream, tree) == left
    inverted = [path for path in asked if path not in left]
    assert sifted(stream, "-v", tree) == inverted
    assert sifted(b"a\0d/b", tree) == [b"a", b"d/b"]
    assert sifted(b"", tree) == []


def test_it_is_the_answer_of_the_walk(tmp_path: Path) -> None:
    place = ignoretrees.in_memory()
    try:
        for seed in range(12):
            for name in os.listdir(place):
                shutil.rmtree(os.path.join(place, name))
            made = Random(ignoretrees.World(place), seed)
            made.make()
            files = []
            for inside, dirs, names in os.walk(made.top):
                links = [n for n in dirs if os.path.islink(os.path.join(inside, n))]
                files += [os.path.join(inside, name) for name in names + links]
            asked = [os.path.relpath(path, made.top) for path in files]
            made.rng.shuffle(asked)
            rules_ = ignore.load(made.top, on_error=fail, environ=made.world.environ)
            expected = set(walking.walk(made.top, rules_, fail))
            sieve = Sieve(made.top, rules_, lambda: rules_, fail, lambda path: None)
            assert set(sieve.sift(asked, False)) == expected, seed
            assert set(sieve.sift(asked, True)) == set(asked) - expected
            sieve.close()
    finally:
        shutil.rmtree(place)


def test_each_path_is_answered_before_the_next_one_comes(tree: bytes) -> None:
    env = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}
    argv: list[str | bytes | Path] = [*FR_WALK, "--stdin", tree]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, env=env) as process:
        assert process.stdin and process.stdout
        for name in (b"a\0", b"new.o\0", b"d/b\0"):
            os.write(process.stdin.fileno(), name)
            assert os.read(process.stdout.fileno(), 100) == name
        # The rules may change while it waits.
        write(tree + b"/.gitignore", b"*.o\n")

        def counts_no_more() -> bool:
            os.write(process.stdin.fileno(), b"new.o\0a\0")
            answer = b""
            while not answer.endswith(b"a\0"):
                answer += os.read(process.stdout.fileno(), 100)
            return answer == b"a\0"

        programs.wait_for(counts_no_more)
        process.stdout.close()
        process.wait(10)  # it hears of that though nothing comes
        assert process.returncode == 0


def test_what_is_wrong_with_the_rules_is_said_once_however_often_they_are_read(
    tree: bytes,
) -> None:
    os.symlink(b"x", tree + b"/d/.gitignore")
    env = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}
    argv: list[str | bytes | Path] = [*FR_WALK, "--stdin", tree]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, stderr=-1, env=env) as process:
        assert process.stdin and process.stdout and process.stderr
        for name in (b"new.o", b"new.p", b"new.q"):
            write(tree + b"/.gitignore", name + b"\n")

            def counts_no_more() -> bool:
                assert process.stdin and process.stdout
                os.write(process.stdin.fileno(), name + b"\0d/b\0")
                answer = b""
                while not answer.endswith(b"d/b\0"):
                    answer += os.read(process.stdout.fileno(), 100)
                return answer == b"d/b\0"

            programs.wait_for(counts_no_more)
        process.stdin.close()
        assert process.stderr.read().count(b"is a symbolic link") == 1


def test_paths_that_are_not_in_the_source(tree: bytes) -> None:
    os.symlink(b"d", tree + b"/link")
    done = run("--stdin", tree, input=b"../x\0/etc/passwd\0a\0")
    assert (done.returncode, done.stdout) == (1, b"a\0")
    assert done.stderr.count(b"\n") == 2 and b"'../x' is not in" in done.stderr
    assert sifted(b"link/b\0link\0", tree) == [b"link"]
    assert sifted(b"link/b\0link\0", "-v", tree) == [b"link/b"]


def test_paths_that_end_in_newlines_are_said(tree: bytes) -> None:
    done = run("--stdin", tree, input=b"a\nd/b\n")
    assert done.returncode == 1 and b"find -print0" in done.stderr


def test_a_newline_in_a_name_is_no_end(tree: bytes) -> None:
    """From another directory than SRC it was taken for one, and so was that of a name gone."""
    write(tree + b"/a\nb", b"")
    for given in (b"a\nb\0", b"a\nb", b"gone\nx\0"):
        done = run("--stdin", tree, input=given)
        assert done.returncode == 0 and not done.stderr
        assert done.stdout == given.rstrip(b"\0") + b"\0"


def test_what_others_list_is_sifted(tree: bytes) -> None:
    write(tree + b"/.gitignore", b"d/e/\n")
    subprocess.run([b"git", b"-C", tree, b"init", b"-q"], check=True)
    program = f"{sys.executable} {ROOT}/bin/fr-walk"
    env = {**os.environ, "PYTHONPATH": os.fspath(ROOT)}

    def shell(script: str) -> list[bytes]:
        return sorted(
            subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=tree,
                env=env,
                stdout=-1,
                check=True,
            ).stdout.split(b"\n")[:-1]
        )

    plain = [b".gitignore", b"a", b"d/b"]
    found = shell(f"find . -type f -print0 | {program} --stdin . | xargs -0 -n1 echo")
    assert found == [b"./" + path for path in plain]
    tar = f"{program} --stdin . | tar -c --null --no-recursion -T - | tar -t"
    assert shell(f"find . -type f -printf '%P\\0' | {tar}") == plain
    sync = f"find . -printf '%P\\0' | {program} --stdin . | rsync -a -0 --files-from=- . ../copy"
    assert shell(f"{sync}; cd ../copy; find . -type f -printf '%P\\n'") == plain
    shutil.rmtree(os.path.dirname(tree) + b"/copy")


def test_a_hundred_thousand_paths_a_second(tree: bytes) -> None:
    write(tree + b"/.gitignore", b"*.o\n/build/\nlib\n")
    asked = []
    for number in range(500):
        os.mkdir(tree + b"/dir%d" % number)
        asked += [b"./dir%d/file%d.c" % (number, name) for name in range(100)]
    rules_ = rules(tree)
    sieve = Sieve(tree, rules_, lambda: rules_, fail, lambda path: None)
    before = time.process_time()
    for at in range(0, len(asked), 2000):
        assert sieve.sift(asked[at : at + 2000], False) == asked[at : at + 2000]
    took = time.process_time() - before
    sieve.close()
    assert took < 2 * len(asked) / 100_000  # twice, for a machine with other work


@pytest.mark.parametrize("name", ["fr-walk", "fr-watch", "fr-pack", "file-replicator"])
def test_a_current_directory_that_is_gone_cannot_be_opened(
    name: str, place: Path
) -> None:
    """`.` still is a directory there; the answer was an internal error."""
    (place / "gone").mkdir()
    more = f" {place}/d bash" if name == "file-replicator" else ""
    line = f'cd "$0" && rmdir "$0" && exec "{programs.ROOT}/bin/{name}" .{more}'
    done = programs.run(["bash", "-c", line, place / "gone"])
    said = f"{name}: cannot open '.': No such file or directory\n"
    assert (done.returncode, done.stderr.decode()) == (66, said)


@pytest.mark.parametrize(
    "words",
    ["fr-walk --exclude-from x /tmp", "file-replicator --events x /tmp /nowhere bash"],
)
def test_what_is_relative_to_a_directory_that_is_gone_is_no_bug(
    words: str, place: Path
) -> None:
    (place / "gone").mkdir()
    line = f'cd "$0" && rmdir "$0" && exec "{programs.ROOT}"/bin/{words}'
    done = programs.run(["bash", "-c", line, place / "gone"])
    said = (
        f"{words.split()[0]}: the current directory is gone: start from another one\n"
    )
    assert (done.returncode, done.stderr.decode()) == (71, said)
