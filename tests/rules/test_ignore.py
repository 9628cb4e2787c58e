"""The ignore rules, against git itself and against what the manual says."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import ignoretrees
import pytest
from ignoretrees import Tree, World, as_ordinary_user, fail, write

from filerep import command, walk
from filerep.rules import ignore, rulefile, untrustedfile, walking, wildmatch
from filerep.rules.inputs import inputs_of
from filerep.rules.userrules import Asked


@pytest.fixture
def world(tmp_path: Path) -> World:
    place = World(os.fsencode(tmp_path))
    place.repository()
    return place


def git(world: World, *words: str, at: bytes = b"") -> bytes:
    argv = ["git", "-C", os.fsdecode(os.path.join(world.top, at)), *words]
    env = {
        **world.environ,
        **{
            f"GIT_{who}_{what}".encode(): b"x"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    done = subprocess.run(argv, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Said:
    """What a run of the rules and the walk told its user."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, bytes]] = []
        self.notes: list[str] = []

    def on_error(self, action: str, path: bytes, error: OSError) -> None:
        self.errors.append((action, path))


def found(
    world: World,
    below: bytes = b"",
    said: Said | None = None,
    gitignore: bool = True,
    exclude: Sequence[bytes] = (),
    include: Sequence[bytes] = (),
) -> set[bytes]:
    said = said or Said()
    rules = ignore.load(
        os.path.join(world.top, below),
        Asked(exclude, include),
        gitignore=gitignore,
        on_error=said.on_error,
        on_note=said.notes.append,
        environ=world.environ,
    )
    paths = list(walking.walk(os.path.join(world.top, below), rules, said.on_error))
    assert len(paths) == len(set(paths))
    return set(paths)


# -- patterns


def ignored(files: str, *patterns: str) -> tuple[Tree, str]:
    tree = {path.encode(): b"" for path in files.split()}
    tree[b".gitignore"] = b"".join(pattern.encode() + b"\n" for pattern in patterns)
    return tree, files


# What each leaves, by gitignore(5). The first are its own examples.
MANUAL = {
    "hello.* at any depth": (
        ["hello.*"],
        "hello.c a/hello.java hello a/b",
        "hello a/b",
    ),
    "/hello.* here only": (["/hello.*"], "hello.c a/hello.java", "a/hello.java"),
    "foo/ is a directory": (["foo/"], "foo/a b/foo/c d/foo", "d/foo"),
    "doc/frotz is anchored": (
        ["doc/frotz"],
        "doc/frotz/x a/doc/frotz/x",
        "a/doc/frotz/x",
    ),
    "/doc/frotz is the same": (["/doc/frotz"], "doc/frotz a/doc/frotz", "a/doc/frotz"),
    "foo/* is one deep": (["foo/*"], "foo/test.json foo/bar/hello.c bar", "bar"),
    "a star stops at a slash": (
        ["foo/*.c"],
        "foo/a.c foo/bar/hello.c",
        "foo/bar/hello.c",
    ),
    "everything but foo/bar": (
        ["/*", "!/foo", "/foo/*", "!/foo/bar"],
        "a foo/a foo/bar/a foo/bar/b c/d",
        "foo/bar/a foo/bar/b",
    ),
    "nothing comes back in an ignored directory": (["a/", "!a/b"], "a/b c", "c"),
    "html but not foo.html": (["*.html", "!foo.html"], "a.html foo.html", "foo.html"),
    "**/foo": (["**/foo"], "foo a/foo a/b/foo c", "c"),
    "**/foo/bar": (["**/foo/bar"], "foo/bar/x a/foo/bar a/bar", "a/bar"),
    "abc/**": (["abc/**"], "abc/a abc/b/c x/abc/d", "x/abc/d"),
    "a/**/b": (["a/**/b"], "a/b a/x/b a/x/y/b c/a/b", "c/a/b"),
    "other stars are one": (["a**b"], "ab axb a/b", "a/b"),
    "# is a comment": (["#a", r"\#b"], "#a #b", "#a"),
    r"\! is itself": ([r"\!a"], "!a a", "a"),
    "the last line decides": (["*.a", "!x.a", "x.*"], "x.a y.a z", "z"),
}


@pytest.mark.parametrize("title", MANUAL)
def test_the_manual_s_examples(title: str, world: World) -> None:
    patterns, files, left = MANUAL[title]
    tree, _ = ignored(files, *patterns)
    world.fill(b"", tree)
    expected = {path.encode() for path in left.split()}
    if ".gitignore" in files or "/*" not in patterns:
        expected.add(b".gitignore")
    assert found(world) == world.git() == expected


# Corners that were once seen, or might be, to differ: a rule file, and names.
CORNERS: dict[str, tuple[bytes, list[bytes]]] = {
    "a double star behind a name": (
        b"/foo**/bar\n",
        [b"foobar", b"foox/bar", b"foox/y/bar", b"foo/bar", b"foo/x/bar", b"fooxbar"],
    ),
    "a double star last": (b"*.o\n!/foo**\n", [b"foo/x.o", b"foox/y/x.o", b"x.o", b"foo.o"]),
    "a double star and two slashes": (b"/foo**//\n", [b"foo/x", b"foox/y"]),
    "a double star, an escaped slash": (b"**\\/b\n", [b"b", b"a/b", b"a/c/b"]),
    "stars within a name": (b"a*b**/c\n", [b"a1b2/c", b"a1b2/d/c", b"ab/c"]),
    "everything at the top": (b"/**\n", [b"a", b"b/c"]),
    "everything below": (b"a/**\n!a/b/\n!a/b/c\n", [b"a/b/c", b"a/b/d", b"a/x"]),
    "double stars in a row": (b"a/**/**/b\n**/**\n!**/c\n", [b"a/b", b"a/x/b", b"c", b"d/c"]),
    "slashes only": (b"/\n//\n///\n!/\n", [b"a", b"b/c"]),
    "exclamation marks": (b"!\n!!a\n!\\!b\n!*\n", [b"!a", b"a", b"!b"]),
    "two exclamation marks": (b"*\n!!a\n", [b"!a", b"a"]),
    "empty parts": (b"a//b\nc/\n/d//e\n", [b"a/b", b"c/x", b"d/e"]),
    "a backslash at the end": (b"a\\\nb\\\\\nc\\/\n", [b"a", b"a\\", b"b\\", b"c/x"]),
    "blanks at the end": (
        b"a \nb\\ \nc\\  \nd\t\ne \\ \nf\\\\ \n",
        [b"a", b"a ", b"b", b"b ", b"c ", b"c  ", b"d", b"d\t", b"e  ", b"e ", b"f\\", b"f\\ "],
    ),
    "only blanks": (b"   \n\\ \n", [b"a", b" ", b"   "]),
    "a byte-order mark": (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", [b"a", b"b", b"\xef\xbb\xbfb"]),
    "a carriage return": (
        b"a\r\nb\r\r\n\rc\n!d\r\ne\r",
        [b"a", b"b", b"b\r", b"\rc", b"c", b"d", b"e", b"e\r"],
    ),
    "a NUL": (b"a\0b\n\0\nc\n", [b"a", b"c"]),
    "not UTF-8": (b"\xff*\n?\xfe\n[\x80-\x90]\n", [b"\xffa", b"a\xfe", b"\x85", b"\xc2\x85"]),
    "one question mark is one byte": (b"?\n??\n", [b"\xc3\xa9", b"a", b"\xe2\x82\xac"]),
    "half a character": (b"\xc3*\n", [b"\xc3\xa9", b"\xc3\xa8x", b"e"]),
    "unclosed": (b"[a\n[\n[]\n[!]\n[a-\n[\\]\n[[:alpha:]\n", [b"[a", b"[", b"[]", b"a"]),
    "unknown class": (b"[[:nope:]]\n[[::]]\n[[:]]\n", [b":", b"[", b":]", b"n]", b"[]"]),
    "a class that is none": (b"[[:a]\n[[a]\n", [b":", b"[", b"a"]),
    "a bracket and a slash": (b"a[/]b\na[!x]b\nc/[/d]\n", [b"a/b", b"c/d", b"a[/]b"]),
    "a bracket first": (b"[]a]\n[!]a]x\n", [b"]", b"a", b"bx", b"]x"]),
    "ranges": (b"[a-c-e]\n[--0]x\n[c-a]y\n", [b"b", b"-", b"d", b"e", b".x", b"by"]),
    "escapes in ranges": (b"[\\a-\\c]\n[a\\-c]x\n", [b"b", b"bx", b"-x", b"cx"]),
    "a class in a range": (b"[a-[:digit:]]\n[[:digit:]-z]x\n", [b"1", b"-", b"-x", b"1x", b"bx"]),
    "a star in a bracket": (b"[*]\n[?]x\n", [b"*", b"a", b"?x", b"ax"]),
    "hidden files": (b".*\n!.gitignore\n", [b".a", b".b/c", b"d/.e"]),
    "itself": (b".gitignore\na\n", [b"a", b"b"]),
    "directories come back, files do not": (b"*\n!*/\n!*.c\n", [b"a.c", b"b/c.c", b"b/d/e.o"]),
    "a directory named as a file": (b"a\n!a/\n", [b"a/b"]),
    "a file named as a directory": (b"a/\n", [b"a"]),
    "a dot": (b"./a\nb/../c\n.\n..\n", [b"a", b"c", b"b/x"]),
}  # fmt: skip


@pytest.mark.parametrize("title", CORNERS)
def test_corners_of_git(title: str, world: World) -> None:
    rules, names = CORNERS[title]
    world.fill(b"", {**{name: b"" for name in names}, b".gitignore": rules})
    assert found(world) == world.git()


def test_every_byte_against_every_bracket(world: World) -> None:
    brackets = [b"[[:%s:]]" % name for name in wildmatch.CLASSES]
    brackets += [b"[^[:%s:]]" % name for name in wildmatch.CLASSES]
    brackets += [text for text in ignoretrees.BRACKETS if b"/" not in text] + [
        b"?",
        b"[!-~]",
    ]
    names = [bytes([byte]) for byte in range(1, 256) if byte not in b"./"]
    for number, text in enumerate(brackets):
        tree: Tree = {b"x" + name: b"" for name in names}
        world.fill(b"%d" % number, {**tree, b".gitignore": b"x" + text + b"\n"})
    assert found(world) == world.git()


def test_without_regard_to_case(world: World) -> None:
    write(world.top + b"/.git/config", b"[core]\nignorecase = true\n")
    rules = (
        b"ABC\n*.O\n[A]x\n[A-Z]y\n\\Aq\n[[:upper:]]z\nFoo*bar\nDir/Sub\nm\\X\n[a-c]K?\n"
    )
    names = [
        b"abc",
        b"Abc",
        b"a.o",
        b"A.O",
        b"ax",
        b"Ax",
        b"by",
        b"BY",
        b"aq",
        b"Aq",
        b"cz",
    ]
    names += [
        b"fooXBAR",
        b"FOObar",
        b"dir/sub/x",
        b"DIR2/Sub",
        b"mx",
        b"mX",
        b"bk1",
        b"BK1",
        b".GIT/config",
        b"dir2/.giT",
    ]
    world.fill(b"", {**{name: b"" for name in names}, b".gitignore": rules})
    assert found(world) == world.git()


def test_directories_that_differ_in_case_alone_are_told_apart(world: World) -> None:
    """Told not to regard case, git takes what is tracked in the one for what is in the other."""
    names = [b"Lib/a", b"Lib/k.log", b"LIB/a", b"LIB/k.log", b"LIB/b"]
    world.fill(b"", {**{name: b"" for name in names}, b".gitignore": b"*.log\n"})
    git(world, "add", "-f", "Lib/a", "Lib/k.log")
    write(world.top + b"/.git/config", b"[core]\nignorecase = true\n")
    expected = {b".gitignore", b"Lib/a", b"Lib/k.log", b"LIB/b"}
    assert found(world) == world.git() == expected


def test_what_lies_in_place_of_a_submodule_but_for_its_case(world: World) -> None:
    """git takes both for one, and lists nothing in there, unless it is checked out."""
    world.fill(b"", {b".gitignore": b"k\n", b"sub/a": b"", b"sub/k": b""})
    link = f"160000,{'1' * 40},Sub"
    git(world, "update-index", "--add", "--cacheinfo", link)
    write(world.top + b"/.git/config", b"[core]\nignorecase = true\n")
    assert found(world) == world.git() - {b"Sub"} == {b".gitignore"}
    # Beside the one that is checked out it is a repository as any other.
    for name in ("Sub", "sub"):
        git(world, "init", "-q", name)
    write(world.top + b"/Sub/k", b"")
    inner = {b"Sub/k", b"sub/a", b"sub/k"}
    assert found(world) == {b".gitignore", *inner}
    write(world.top + b"/.gitignore", b"sub\n")
    assert found(world) == {b".gitignore", b"Sub/k"}


def test_a_pattern_of_many_stars_takes_no_time(world: World) -> None:
    name = b"a" * 250
    world.fill(b"", {name: b"", b".gitignore": b"*a" * 30 + b"[bc]?*b\n"})
    before = time.process_time()
    assert found(world) == {name, b".gitignore"}
    assert time.process_time() - before < 5


LARGE = {
    "a long name": b"*" + b"x" * 5000 + b"\n" + b"y" * 5000 + b"\n",
    "stars and brackets": b"*[ab]" * 5000 + b"\n*" + b"?" * 3000 + b"\n",
    "many stars and brackets": b"*[ab]" * 300 + b"\n",
    "double stars": b"/foo" + b"**/" * 200 + b"a\n" + b"**/a/" * 200 + b"b\n",
    "parts": b"a/" * 3000 + b"\n" + b"*/" * 3000 + b"\n",
    "a part that no name fits": b"/" + b"[ab]" * 60_000 + b"\n",
}


@pytest.mark.parametrize("title", LARGE)
def test_large_patterns(title: str, world: World) -> None:
    names = (b"a/a", b"foo", b"fooa", b"foob/c/a", b"x" * 250, b"ab" * 125)
    world.fill(b"", {**dict.fromkeys(names, b""), b".gitignore": LARGE[title]})
    before = time.process_time()
    assert found(world) == world.git()
    assert time.process_time() - before < 5


def test_a_link_to_a_directory_is_no_directory(world: World) -> None:
    world.fill(b"", {b"d/a": b"", b".gitignore": b"d/\nl/\n"})
    os.symlink(b"d", world.top + b"/l")
    assert found(world) == world.git() == {b"l", b".gitignore"}


def test_random_trees_agree_with_git() -> None:
    """FILEREP_HUNT=SECONDS hunts for that long, from trees that nobody has seen."""
    seconds = float(os.environ.get("FILEREP_HUNT", "0"))
    seed = int.from_bytes(os.urandom(6), "big") if seconds else 1
    start = time.monotonic()
    place = ignoretrees.in_memory()
    world = World(place)
    try:
        done = ignoretrees.hunt(
            world,
            seed,
            100,
            lambda done: (
                (time.monotonic() - start < seconds) if seconds else done < 8_000
            ),
        )
    finally:
        shutil.rmtree(place)
    assert done >= (100 if seconds else 8_000)


def test_what_was_forgotten_of_rules_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rulefile, "MOST_READY", 2000)
    place = ignoretrees.in_memory()
    try:
        ignoretrees.hunt(World(place), 2, 100, lambda done: done < 2_000)
    finally:
        shutil.rmtree(place)


# -- where the rules come from


def test_rules_above_the_source_hold_up_to_the_top(world: World) -> None:
    world.fill(
        b"",
        {
            b".gitignore": b"*.o\n/a/b/x\nb/y\n",
            b"a/.gitignore": b"!keep.o\n/b/z\n",
            b"a/b/.gitignore": b"w\n",
            **{
                b"a/b/" + name: b""
                for name in (b"x", b"y", b"z", b"w", b"v", b"1.o", b"keep.o")
            },
        },
    )
    expected = {b".gitignore", b"v", b"keep.o", b"y"}
    assert found(world, b"a/b") == world.git(b"a/b") == expected


def test_rules_above_the_repository_do_not_hold(world: World) -> None:
    world.fill(
        b"",
        {
            b".gitignore": b"*\n",
            b"sub/a": b"",
            b"sub/b.o": b"",
            b"sub/.gitignore": b"*.o\n",
        },
    )
    git(world, "init", "-q", "sub")
    assert found(world, b"sub") == {b"a", b".gitignore"}


def test_outside_of_repositories_gitignore_files_hold_all_the_same(
    world: World,
) -> None:
    shutil.rmtree(world.top + b"/.git")
    world.fill(b"", {b".gitignore": b"*.o\n", b"a": b"", b"b.o": b"", b"c/d.o": b""})
    assert found(world) == {b".gitignore", b"a"}


def test_a_git_directory_that_is_none_is_no_repository(world: World) -> None:
    world.fill(
        b"", {b".gitignore": b"*.o\n", b"a/.git/x": b"", b"a/b.o": b"", b"a/c": b""}
    )
    assert found(world, b"a") == {b"c"}
    assert found(world) == world.git() == {b".gitignore", b"a/c"}


HEADS = {
    "a link to a branch": True,
    "a link elsewhere": False,
    "ref:\n\t refs/x": True,
    "ref:\v refs/x": False,
    "ref: heads/x": False,
    "ref:" + " " * 300 + "refs/x": False,
    "0" * 40: True,
    "0" * 39: False,
}


@pytest.mark.parametrize("head", HEADS)
def test_a_repository_is_told_by_its_head(head: str, world: World) -> None:
    world.fill(b"", {b".gitignore": b"*.o\n", b"n/a.o": b"", b"n/b": b""})
    git(world, "init", "-q", "n")
    path = world.top + b"/n/.git/HEAD"
    if head.startswith("a link"):
        os.rename(path, world.home + b"/head")
        branch = head == "a link to a branch"
        os.symlink(b"refs/heads/x" if branch else world.home + b"/head", path)
    else:
        write(path, head.encode())
    assert (b"n/" in world.git()) == HEADS[head]
    assert (b"n/a.o" in found(world)) == HEADS[head]


def test_a_file_that_names_a_repository_is_not_endless(world: World) -> None:
    world.fill(b"", {b".gitignore": b"*.o\n", b"n/a.o": b"", b"n/b": b""})
    git(world, "init", "-q", "n")
    os.rename(world.top + b"/n/.git", world.home + b"/apart")
    write(world.top + b"/n/.git", b"gitdir: ../../home/apart" + b"\n" * (1 << 20))
    assert found(world) == world.git() == {b".gitignore", b"n/b"}


def test_the_repository_s_own_directory_begins_no_other(world: World) -> None:
    """Where a file above leads into it: what is around it is the outer work tree's."""
    world.fill(b"", {b".gitignore": b"*.o\n", b"n/a.o": b"", b"n/b": b""})
    os.rename(world.top + b"/.git", world.top + b"/n/.git")
    write(world.top + b"/.git", b"gitdir: n/.git\n")
    assert found(world) == world.git() == {b".gitignore", b"n/b"}
    assert found(world, b"n") == world.git(b"n") == {b"a.o", b"b"}


def test_info_exclude(world: World) -> None:
    write(world.top + b"/.git/info/exclude", b"/a\n*.x\n")
    names = (b"a", b"b/a", b"b/c.x", b"b/d.x")
    world.fill(b"", {**dict.fromkeys(names, b""), b"b/.gitignore": b"!d.x\n"})
    assert found(world) == world.git() == {b"b/a", b"b/d.x", b"b/.gitignore"}


def test_info_exclude_of_a_worktree_and_of_a_submodule(world: World) -> None:
    git(world, "init", "-q", "origin")
    git(world, "commit", "-q", "--allow-empty", "-m", "x", at=b"origin")
    git(world, "-C", "origin", "worktree", "add", "-q", "../tree")
    git(
        world,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        "./origin",
        "sub",
    )
    write(world.top + b"/origin/.git/info/exclude", b"/x\n")
    write(world.top + b"/.git/modules/sub/info/exclude", b"/y\n")
    for place in (b"tree", b"sub"):
        world.fill(place, {b"x": b"", b"y": b""})
        assert found(world, place) == world.git(place)
    assert found(world, b"tree") == {b"y"}
    assert found(world, b"sub") == {b"x"}


def test_the_user_s_own_file_at_its_default_places(world: World) -> None:
    world.fill(b"", {b"a": b"", b"b": b"", b"c/a": b""})
    write(world.home + b"/.config/git/ignore", b"/a\n")
    assert found(world) == world.git() == {b"b", b"c/a"}
    os.makedirs(world.home + b"/xdg/git")
    write(world.home + b"/xdg/git/ignore", b"b\n")
    world.environ[b"XDG_CONFIG_HOME"] = world.home + b"/xdg"
    assert found(world) == world.git() == {b"a", b"c/a"}


@pytest.mark.parametrize(
    "config", [b".gitconfig", b".config/git/config", b"../top/.git/config"]
)
def test_the_user_s_own_file_where_git_s_settings_say(
    config: bytes, world: World
) -> None:
    write(os.path.join(world.home, config), b'[Core]\n\tExcludesFile = "~/my ignore"\n')
    write(world.home + b"/my ignore", b"a\n")
    world.fill(b"", {b"a": b"", b"b": b""})
    assert found(world) == world.git() == {b"b"}


def test_settings_that_are_included_and_relative(world: World) -> None:
    write(world.home + b"/.gitconfig", b"[include]\npath = more\n")
    write(world.home + b"/more", b"[core]\nexcludesFile = own/ignore\n")
    world.fill(b"", {b"own/ignore": b"/d/a\n", b"d/a": b"", b"d/b": b""})
    assert found(world) == world.git()
    assert found(world, b"d") == world.git(b"d") == {b"b"}


def test_info_exclude_wins_over_the_user_s_file(world: World) -> None:
    world.repository(exclude=b"!a\nb\n", user=b"a\n!b\n")
    world.fill(b"", {b"a": b"", b"b": b""})
    assert found(world) == world.git() == {b"a"}


def test_variables_of_a_hook_do_not_mislead(world: World) -> None:
    world.fill(b"", {b"a": b"", b"b": b"", b".gitignore": b"a\n"})
    git(world, "add", "-f", "a")
    world.environ[b"GIT_DIR"] = b"/nowhere"
    world.environ[b"GIT_INDEX_FILE"] = b"/nowhere/index"
    assert found(world) == {b"a", b"b", b".gitignore"}


def test_a_source_that_is_ignored_from_above_is_walked_and_a_note_says_so(
    world: World,
) -> None:
    world.fill(
        b"",
        {b".gitignore": b"/build/\n*.o\n", b"build/out/a.o": b"", b"build/out/b": b""},
    )
    for source in (b"build", b"build/out"):
        said = Said()
        below = found(world, source, said)
        assert {path.rpartition(b"/")[2] for path in below} == {b"a.o", b"b"}
        (note,) = said.notes
        assert "is ignored by rules above it" in note


def test_the_files_outside_that_went_in_are_told(world: World) -> None:
    world.fill(b"", {b"a/b/c": b"", b".gitignore": b""})
    rules = ignore.load(world.top + b"/a/b", on_error=fail, environ=world.environ)
    inside = (b".gitignore", b"a/.gitignore", b".git/info/exclude")
    expected = {os.path.join(world.top, path) for path in inside}
    expected.add(world.home + b"/.config/git/ignore")
    expected.add(world.home + b"/.gitconfig")
    expected.add(world.top + b"/.git/config")
    assert expected < set(inputs_of(rules).rules)
    assert inputs_of(rules).index == world.top + b"/.git/index"


# -- other repositories inside


def test_another_repository_is_walked_by_its_own_rules(world: World) -> None:
    world.fill(
        b"",
        {
            b".gitignore": b"*.o\n/gone\n",
            b"sub/a.o": b"",
            b"sub/b.x": b"",
            b"gone/c": b"",
        },
    )
    git(world, "init", "-q", "sub")
    git(world, "init", "-q", "gone")
    write(world.top + b"/sub/.git/info/exclude", b"*.x\n")
    # git names the directory only; what is in it must not be lost.
    assert world.git() == {b".gitignore", b"sub/"}
    assert found(world) == {b".gitignore", b"sub/a.o"}
    assert world.git(b"sub") == found(world, b"sub") == {b"a.o"}


def test_tracked_files_of_another_repository(world: World) -> None:
    world.fill(b"", {b"sub/.gitignore": b"*.o\n", b"sub/a.o": b"", b"sub/b.o": b""})
    git(world, "init", "-q", "sub")
    git(world, "add", "-f", "a.o", at=b"sub")
    assert found(world) == {b"sub/.gitignore", b"sub/a.o"}


# -- tracked files that are ignored


def test_tracked_files_count_though_they_are_ignored(world: World) -> None:
    names = (b"a.o", b"b.o", b"build/x/c", b"build/x/d", b"build/y", b"gone.o", b"e")
    world.fill(b"", {**dict.fromkeys(names, b""), b".gitignore": b"*.o\nbuild/\n"})
    git(world, "add", "-f", "a.o", "build/x/c", "gone.o", "e")
    os.unlink(world.top + b"/gone.o")
    expected = {b".gitignore", b"a.o", b"build/x/c", b"e"}
    assert found(world) == expected == world.git() - {b"gone.o"}
    assert found(world, b"build") >= {b"x/c"}
    assert found(world, exclude=[b"a.o", b"/build/"]) == {b".gitignore", b"e"}


def test_rules_alone_know_of_tracked_files(world: World) -> None:
    world.fill(b"", {b"build/x/c": b"", b"build/d": b"", b".gitignore": b"build/\n"})
    git(world, "add", "-f", "build/x/c")
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    assert rules.counts(b"build", True)
    fd = os.open(world.top + b"/build", os.O_RDONLY)
    inner = rules.enter(b"build", fd)
    os.close(fd)
    assert inner.counts(b"x", True) and not inner.counts(b"d", False)
    assert inner.select([b"d"], [b"x", b"z"]) == ([], [b"x"])


def test_a_submodule_in_an_ignored_place(world: World) -> None:
    git(world, "init", "-q", "lib")
    world.fill(
        b"",
        {
            b"lib/a": b"",
            b".gitignore": b"lib\n",
            b"lib/.gitignore": b"b\n",
            b"lib/b": b"",
        },
    )
    assert found(world) == {b".gitignore"}
    git(world, "add", ".", at=b"lib")
    git(world, "commit", "-q", "-m", "x", at=b"lib")
    git(world, "add", "-f", "lib")
    assert found(world) == {b".gitignore", b"lib/a", b"lib/.gitignore"}


def test_what_lies_in_place_of_a_submodule_that_is_not_checked_out(
    world: World,
) -> None:
    # Found by a hunt: what git lists at no time was sent.
    git(world, "init", "-q", "lib")
    world.fill(b"", {b"lib/a": b"", b"b": b""})
    git(world, "add", ".", at=b"lib")
    git(world, "commit", "-q", "-m", "x", at=b"lib")
    git(world, "add", ".")
    assert found(world) == {b"b", b"lib/a"}
    os.rename(world.top + b"/lib/.git", world.home + b"/lib.git")
    assert found(world) == {b"b"}
    write(world.top + b"/lib/.git", b"gitdir: ../nowhere\n")
    assert found(world) == {b"b"}
    os.unlink(world.top + b"/lib/.git")
    os.rename(world.home + b"/lib.git", world.top + b"/lib/.git")
    assert found(world) == {b"b", b"lib/a"}


def test_without_a_git_program_tracked_files_count_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(b"", {b"a.o": b"", b"b": b"", b".gitignore": b"*.o\n"})
    write(world.home + b"/.config/git/ignore", b"b\n")
    git(world, "add", "-f", "a.o")
    world.environ[b"PATH"] = b"/nonexistent"
    said = Said()
    assert found(world, said=said) == {b".gitignore", b"a.o"}
    assert said.notes == []


def test_an_index_that_git_cannot_read_is_said(world: World) -> None:
    world.fill(b"", {b"a.o": b"", b".gitignore": b"*.o\n"})
    write(world.top + b"/.git/index", b"no index, and long enough to be none" * 9)
    said = Said()
    assert found(world, said=said) == {b".gitignore"}
    assert said.errors == [("read", world.top + b"/.git/index")]


# -- ignore files that are odd


def test_an_ignore_file_that_is_a_directory_a_fifo_or_huge(world: World) -> None:
    os.mkfifo(os.path.join(world.top, b"fifo"))
    world.fill(b"", {b"dir/.gitignore/x": b"", b"pipe/a.o": b"", b"b.o": b""})
    os.rename(os.path.join(world.top, b"fifo"), world.top + b"/pipe/.gitignore")
    with open(world.top + b"/.gitignore", "wb") as file:
        file.write(b"*.o\n")
        file.truncate(untrustedfile.LARGEST + 1)
    said = Said()
    assert found(world, said=said) == set()
    assert "'.gitignore' is too large; nothing that it is about counts" in said.notes[0]
    with open(world.top + b"/.gitignore", "wb") as file:
        file.write(b"y\n" * 50_000 + b"*.o\n")
    assert found(world) == {b".gitignore", b"dir/.gitignore/x"}


def test_an_ignore_file_that_is_a_link_is_not_followed(world: World) -> None:
    world.fill(b"", {b"rules": b"*.o\n", b"a.o": b""})
    os.symlink(b"rules", world.top + b"/.gitignore")
    said = Said()
    assert found(world, said=said) == world.git() == {b"rules", b"a.o", b".gitignore"}
    (note,) = said.notes
    assert "symbolic link" in note and not said.errors


def test_where_no_descriptor_is_left_nothing_is_said_to_count(world: World) -> None:
    """Without the rules that could not be read all would."""
    rule = {b".gitignore": b"*.k\n"}
    world.fill(b"", {**rule, b"a.k": b"", b"d/.gitignore": b"*.k\n", b"d/a.k": b""})
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    fd = os.open(world.top + b"/d", os.O_RDONLY)
    os.close(free := os.dup(fd))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(command.Stop, match="Too many open files"):
            rules.enter(b"d", fd)
        with pytest.raises(command.Stop, match="Too many open files"):
            ignore.load(world.top, on_error=fail, environ=world.environ)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.close(fd)


def test_an_ignore_file_that_cannot_be_read() -> None:
    with as_ordinary_user() as place:
        world = World(place)
        world.repository()
        world.fill(b"", {b"d/.gitignore": b"*\n", b"d/a": b""})
        os.chmod(world.top + b"/d/.gitignore", 0)
        said = Said()
        assert found(world, said=said) == {b"d/a", b"d/.gitignore"}
        assert said.errors == [("read", b"d/.gitignore")]


# -- the user's own patterns

OWN_TREE: Tree = {
    b".gitignore": b"dist/\n*.log\nbuild/\n",
    **dict.fromkeys(
        [b"a.c", b"b.log", b"dist/x", b"dist/y.map", b"dist/deep/z.log", b"build/out/x"]
        + [b"build/out/y", b"build/t", b"pkg/dist/x", b"node/n.c"],
        b"",
    ),
}
PLAIN = {b".gitignore", b"a.c", b"node/n.c"}
DIST = {b"dist/x", b"dist/y.map", b"dist/deep/z.log"}
OWN = {
    "nothing": ([], [], PLAIN),
    "exclude": ([b"*.c"], [], {b".gitignore"}),
    "exclude a directory": ([b"node/"], [], PLAIN - {b"node/n.c"}),
    "exclude, but not one": ([b"*.c", b"!a.c"], [], PLAIN - {b"node/n.c"}),
    "exclude does not bring back": ([b"!b.log"], [], PLAIN),
    "include brings back": ([], [b"*.log"], PLAIN | {b"b.log"}),
    "include a directory, wherever": ([], [b"dist/"], PLAIN | DIST | {b"pkg/dist/x"}),
    "include a directory here": ([], [b"/dist/"], PLAIN | DIST),
    "include, but not a part": (
        [],
        [b"/dist/", b"!*.map"],
        PLAIN | DIST - {b"dist/y.map"},
    ),
    "include reaches": ([], [b"/build/out/x"], PLAIN | {b"build/out/x"}),
    "include reaches by a glob": ([], [b"b*/**/t"], PLAIN | {b"build/t"}),
    "without a slash it does not": ([], [b"t"], PLAIN),
    "include wins": ([b"*.c", b"build"], [b"a.c", b"build/t"], {b".gitignore", b"a.c", b"build/t"}),
    "include a directory in an excluded one": (
        [b"dist", b"build"],
        [b"/build/out"],
        PLAIN | {b"build/out/x", b"build/out/y"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", OWN)
def test_exclude_and_include(title: str, world: World) -> None:
    exclude, include, expected = OWN[title]
    world.fill(b"", OWN_TREE)
    assert found(world, exclude=exclude, include=include) == expected


def test_everything_without_gitignore(world: World) -> None:
    world.fill(b"", OWN_TREE)
    paths = found(world, gitignore=False)
    assert set(OWN_TREE) < paths and b".git/HEAD" in paths
    assert not any(
        path.endswith(b".log")
        for path in found(world, gitignore=False, exclude=[b"*.log"])
    )


def test_a_byte_order_mark_is_no_mark_in_an_option(world: World) -> None:
    world.fill(b"", {b"a/b": b"", b"\xef\xbb\xbfa": b""})
    exclude = [b"\xef\xbb\xbfa"]
    assert found(world, exclude=exclude) == world.git(exclude=exclude) == {b"a/b"}


def test_the_git_directory(world: World) -> None:
    world.fill(b"", {b"a": b""})
    assert found(world) == {b"a"}
    assert b".git/HEAD" in found(world, include=[b".git"])
    assert b".git/HEAD" not in found(world, include=[b"HEAD"])
    assert found(world, gitignore=False, exclude=[b".git"]) == {b"a"}


@pytest.mark.parametrize("gitignore", [True, False])
def test_staging_directories_in_the_source_itself_never_count(
    gitignore: bool, world: World
) -> None:
    world.fill(b"", {b".filerep-1/a": b"", b"b/.filerep-1/c": b""})
    paths = found(world, gitignore=gitignore, include=[b"*"])
    assert b".filerep-1/a" not in paths and b"b/.filerep-1/c" in paths


# -- which rule decides


def test_why_is_what_git_check_ignore_says(world: World) -> None:
    world.repository(exclude=b"excluded\n# c\n!kept.o\n", user=b"*.user\n")
    world.fill(
        b"",
        {
            b".gitignore": b"*.o\n\n!x.o\n/build/\nfoo/**\n",
            b"sub/.gitignore": b"*.o\r\n!y.o\n",
            **dict.fromkeys(
                [b"a.o", b"x.o", b"kept.o", b"build/x.o", b"excluded", b"a.user", b"b"]
                + [b"sub/x.o", b"sub/y.o", b"sub/z", b"foo/bar/baz", b"sub/excluded/y"],
                b"",
            ),
        },
    )
    names = [path for path in ignoretrees_paths(world.top)] + [
        b"sub",
        b"build",
        b"nothing/here",
    ]
    out = world.ask(b"", b"check-ignore -v -n -z --stdin", b"\0".join(names))
    # -z drops what is empty here, so read the fields of the plain form.
    plain = subprocess.run(
        ["git", "-C", os.fsdecode(world.top), "check-ignore", "-v", "-n", "--stdin"],
        input=b"\n".join(names),
        env=world.environ,
        stdout=-1,
    ).stdout
    assert out
    ours = b""
    for name in names:
        rules = ignore.load(world.top, on_error=fail, environ=world.environ)
        ours += walk._why(world.top, name, rules)
    assert ours == plain


def ignoretrees_paths(top: bytes) -> list[bytes]:
    paths = []
    for place, dirs, files in os.walk(top):
        dirs[:] = [name for name in dirs if name != b".git"]
        paths += [os.path.relpath(os.path.join(place, name), top) for name in files]
    return sorted(paths)


def test_why_of_the_user_s_own_patterns(world: World) -> None:
    world.fill(b"", OWN_TREE)

    def why(path: bytes, exclude: Sequence[bytes], include: Sequence[bytes]) -> bytes:
        rules = ignore.load(
            world.top,
            Asked(exclude, include),
            on_error=fail,
            environ=world.environ,
        )
        return walk._why(world.top, path, rules).partition(b"\t")[0]

    assert why(b"a.c", [b"x", b"*.c"], []) == b"--exclude:2:*.c"
    assert why(b"dist/deep/z.log", [], [b"dist/"]) == b"--include:1:dist/"
    assert why(b"build/t", [b"build"], [b"/build/out"]) == b"--exclude:1:build"
    assert why(b".git/HEAD", [], []) == b"git:0:.git"
