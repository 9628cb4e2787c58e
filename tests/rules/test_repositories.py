"""Repositories in every state, one in the other: the files that count are those git lists."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import ignoretrees
import pytest
from ignoretrees import World, fail, write
from randomrepositories import Apart, Random, Unsaid
from test_ignore import Said, found, git, ignoretrees_paths

from filerep import walk
from filerep.rules import ignore, walking, worktree
from filerep.rules.inputs import alike, inputs_of, reload_tracked


@pytest.fixture
def world(tmp_path: Path) -> World:
    place = World(os.fsencode(tmp_path))
    place.repository()
    return place


def agree(rng_world: Random, source: bytes) -> None:
    said = Said()
    environ = rng_world.world.environ
    rules = ignore.load(
        source, on_error=fail, on_note=said.notes.append, environ=environ
    )
    if any("ignored by rules above" in note for note in said.notes):
        return  # it is walked all the same, which git does not
    ours = list(walking.walk(source, rules, fail))
    assert len(ours) == len(set(ours))
    try:
        listed = rng_world.listed(source)
    except Unsaid:
        return
    assert set(ours) == listed


@pytest.mark.parametrize("kind", [Random, Apart])
def test_random_repositories_agree_with_git(kind: type[Random]) -> None:
    """FILEREP_HUNT=SECONDS hunts for that long, in repositories that nobody has seen."""
    seconds = float(os.environ.get("FILEREP_HUNT", "0"))
    seed = int.from_bytes(os.urandom(4), "big") if seconds else 1
    start = time.monotonic()
    done = 0
    place = ignoretrees.in_memory()
    try:
        while time.monotonic() - start < seconds if seconds else done < 40:
            base = os.path.join(place, b"%d" % done)
            made = kind(World(base), seed + done)
            made.make()
            sources = [made.top]
            # git, asked below the top, forgets the rule files that only the index has.
            steps = " ".join(made.steps)
            if "skip-worktree" not in steps and "sparse" not in steps:
                sources.append(made.rng.choice(made.directories()))
            for source in sources:
                try:
                    agree(made, source)
                except AssertionError as error:
                    where = os.path.relpath(source, made.top)
                    text = "\n".join(made.steps)
                    raise AssertionError(
                        f"seed {seed + done}, SRC {where!r}: {error}\n{text}"
                    ) from None
            shutil.rmtree(base)
            done += 1
    finally:
        shutil.rmtree(place)


def test_a_git_directory_inside_of_what_is_tracked_is_passed_over(world: World) -> None:
    world.fill(
        b"vendor",
        {
            b".gitignore": b"*.min.js\n",
            b"a.min.js": b"",
            b"b.js": b"",
            b"c.min.js": b"",
        },
    )
    git(world, "add", "-f", "vendor/a.min.js")
    git(world, "init", "-q", "vendor")
    write(world.top + b"/vendor/.git/info/exclude", b"b.js\n")
    expected = {b"vendor/.gitignore", b"vendor/a.min.js", b"vendor/b.js"}
    assert found(world) == world.git() == expected
    # Asked in there, git looks at the inner one.
    assert found(world, b"vendor") == world.git(b"vendor") == {b".gitignore"}


def test_what_is_tracked_in_a_source_that_is_ignored_from_above(world: World) -> None:
    world.fill(
        b"",
        {
            b".gitignore": b"/out/\n",
            b"out/.gitignore": b"*.log\n",
            b"out/kept.log": b"",
            b"out/x.log": b"",
            b"out/deep/y.log": b"",
        },
    )
    git(world, "add", "-f", "out/kept.log", "out/deep/y.log")
    assert world.git(b"out") == {b"kept.log", b"deep/y.log"}
    assert found(world, b"out") == {b".gitignore", b"kept.log", b"deep/y.log"}


SPARSE = {
    b".gitignore": b"node_modules/\n.env\n",
    b"app/.gitignore": b"*.o\n",
    b"app/main.c": b"",
    b"docs/.gitignore": b"*.pdf\n",
    b"docs/big": b"",
    b"docs/more/x": b"",
}


def sparse(world: World, *words: str) -> None:
    world.fill(b"", SPARSE)
    git(world, "add", ".")
    git(world, "commit", "-q", "-m", "x")
    git(world, "sparse-checkout", "set", *words)
    world.fill(
        b"",
        {
            b"app/node_modules/m": b"",
            b"app/.env": b"",
            b"app/x.o": b"",
            b"docs/y.pdf": b"",
            b"docs/big": b"",
            b"docs/new": b"",
            b"docs/.env": b"",
        },
    )


@pytest.mark.parametrize(
    "words",
    [
        ("--no-cone", "/app/"),
        ("--no-cone", "/app/main.c"),
        ("--cone", "app"),
        ("--cone", "--sparse-index", "app"),
        ("--cone", "--sparse-index"),
    ],
)
def test_rule_files_that_a_sparse_checkout_left_out(
    words: tuple[str, ...], world: World
) -> None:
    sparse(world, *words)
    assert not any(path.endswith((b".env", b".pdf", b".o")) for path in found(world))
    there = {path for path in world.git() if os.path.lexists(world.top + b"/" + path)}
    assert found(world) == there
    git(world, "repack", "-q", "-a", "-d")
    assert b"docs/new" in found(world) and b"docs/y.pdf" not in found(world)


def test_a_sparse_checkout_s_rule_files_where_the_index_cannot_be_read(
    world: World,
) -> None:
    """They might hide anything, so all that they may be about stays here."""
    rules = {b".gitignore": b"*.o\n", b"d/.gitignore": b"secret\n"}
    world.fill(b"", {**rules, b"a": b"", b"d/secret": b"", b"e/.gitignore": b"x\n"})
    world.fill(b"", {b"e/a": b"", b"f/a": b""})
    git(world, "add", "-f", ".gitignore", "d/.gitignore", "e")
    git(world, "config", "core.sparseCheckout", "true")
    git(world, "update-index", "--skip-worktree", "d/.gitignore")
    os.unlink(world.top + b"/d/.gitignore")
    assert found(world) == world.git() - {b"d/.gitignore"}
    os.truncate(world.top + b"/.git/index", 100)
    said = Said()
    assert found(world, said=said) == {b".gitignore", b"a", b"e/.gitignore", b"e/a"}
    assert said.errors == [("read", world.top + b"/.git/index")]


def test_a_directory_in_place_of_a_rule_file_that_was_left_out(world: World) -> None:
    sparse(world, "--no-cone", "/app/main.c")
    app = os.path.join(world.top, b"app/.gitignore")
    os.mkdir(app)
    write(app + b"/x", b"")
    assert b"app/x.o" in found(world)
    there = {path for path in world.git() if os.path.lexists(world.top + b"/" + path)}
    assert found(world) == there - {b"app/.gitignore"}


def test_rules_hold_for_directories_that_are_not_here(world: World) -> None:
    sparse(world, "--cone", "--sparse-index", "app")
    shutil.rmtree(world.top + b"/docs")
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    inner = rules.enter(b"docs")
    assert inner.counts(b"z", False) and not inner.counts(b"z.pdf", False)
    assert not inner.enter(b"more").counts(b".env", False)


@pytest.mark.parametrize("ignore_case", ["false", "true"])
def test_tracked_files_in_a_directory_that_a_sparse_index_has_as_one(
    ignore_case: str, world: World
) -> None:
    outside = {b"docs/k.o": b"", b"docs/e/j.o": b""}
    world.fill(b"", {b".gitignore": b"*.o\n", b"app/x": b"", **outside})
    git(world, "add", "-f", ".")
    git(world, "commit", "-q", "-m", "x")
    git(world, "config", "core.ignoreCase", ignore_case)
    git(world, "sparse-checkout", "set", "--cone", "--sparse-index", "app")
    world.fill(b"", {**outside, b"docs/e/z.o": b"", b"docs/z": b""})
    assert found(world) == world.git() == {b".gitignore", b"app/x", b"docs/z", *outside}


def test_a_left_out_rule_file_that_a_pull_brings_holds(world: World) -> None:
    """It comes in a pack that was not there when the one before was read."""
    sparse(world, "--no-cone", "/app/")
    git(world, "repack", "-q", "-a", "-d")
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    assert not rules.enter(b"docs").counts(b"y.pdf", False)
    write(world.home + b"/new", b"*.pdf\n*.png\n")
    new = git(world, "hash-object", "-w", os.fsdecode(world.home + b"/new")).strip()
    git(world, "update-index", "--cacheinfo", f"100644,{new.decode()},docs/.gitignore")
    git(world, "update-index", "--skip-worktree", "docs/.gitignore")
    git(world, "commit", "-q", "-m", "y")
    git(world, "repack", "-q", "-d")
    changes = reload_tracked(rules)
    assert changes and changes.places == [b"docs"]
    docs = rules.enter(b"docs")
    assert docs.counts(b"y", False)
    assert not docs.counts(b"y.pdf", False) and not docs.counts(b"y.png", False)


def test_an_object_that_is_missing_is_said(world: World) -> None:
    sparse(world, "--cone", "--sparse-index", "app")
    tree = git(world, "rev-parse", "HEAD:docs").strip()
    os.unlink(os.path.join(world.top, b".git/objects", tree[:2], tree[2:]))
    said = Said()
    assert b"docs/new" in found(world, said=said)
    assert any("not in the repository" in note for note in said.notes)


@pytest.mark.parametrize("words", [("--no-cone", "/app/"), ("--sparse-index", "app")])
def test_what_is_not_fetched_yet_may_hide_anything(
    words: tuple[str, ...], world: World
) -> None:
    """git would fetch it, and list nothing at all where it cannot."""
    sparse(world, *words)
    name = "docs" if "--sparse-index" in words else "docs/.gitignore"
    blob = git(world, "rev-parse", "HEAD:" + name).strip()
    os.unlink(os.path.join(world.top, b".git/objects", blob[:2], blob[2:]))
    assert {b"docs/new", b"docs/y.pdf"} <= found(world, said=Said())
    git(world, "config", "remote.o.promisor", "true")
    said = Said()
    assert not {b"docs/new", b"docs/y.pdf"}.intersection(found(world, said=said))
    assert any("has not been fetched" in note for note in said.notes)
    assert b"app/main.c" in found(world, said=said)


def test_a_repository_that_is_found_as_git_finds_one(world: World) -> None:
    world.fill(b"", {b".gitignore": b"*.o\n", b"d/a.o": b"", b"d/b": b""})
    for ceiling in (world.top, world.top + b"/", os.path.dirname(world.top), b""):
        world.environ[b"GIT_CEILING_DIRECTORIES"] = ceiling
        stopped = ceiling.rstrip(b"/") == world.top
        expected = {b"a.o", b"b"} if stopped else {b"b"}
        assert found(world, b"d") == expected
    os.symlink(world.top, world.home + b"/link")
    world.environ[b"GIT_CEILING_DIRECTORIES"] = world.home + b"/link"
    assert found(world, b"d") == {b"a.o", b"b"}
    world.environ[b"GIT_CEILING_DIRECTORIES"] = b":" + world.home + b"/link"
    assert found(world, b"d") == {b"b"}


# -- which rule decides, in git's words


def test_why_is_said_as_git_says_it() -> None:
    place = ignoretrees.in_memory()
    try:
        for seed in (3, 21, 109):
            for name in os.listdir(place):
                shutil.rmtree(os.path.join(place, name))
            made = Random(World(place), seed)
            made.make(inner=False)
            for source in (made.top, made.rng.choice(made.directories())):
                whys(made, source)
    finally:
        shutil.rmtree(place)


def test_why_in_another_work_tree_of_a_repository(world: World) -> None:
    git(world, "commit", "-q", "--allow-empty", "-m", "x")
    git(world, "worktree", "add", "-q", "--detach", "w")
    write(world.top + b"/.git/info/exclude", b"*.o\n")
    place = world.top + b"/w"
    argv = [b"git", b"-C", place, b"check-ignore", b"-v", b"-n", b"a.o"]
    said = subprocess.run(argv, env=world.environ, capture_output=True).stdout
    rules = ignore.load(place, on_error=fail, environ=world.environ)
    assert walk._why(place, b"a.o", rules) == said


def test_why_in_a_work_tree_whose_git_directory_is_elsewhere(world: World) -> None:
    os.rename(world.top + b"/.git", world.home + b"/elsewhere")
    there = os.path.relpath(world.home + b"/elsewhere", world.top)
    write(world.top + b"/.git", b"gitdir: %s\n" % there)
    write(world.home + b"/elsewhere/info/exclude", b"*.o\n")
    argv = [b"git", b"-C", world.top, b"check-ignore", b"-v", b"-n", b"a.o"]
    said = subprocess.run(argv, env=world.environ, capture_output=True).stdout
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    assert walk._why(world.top, b"a.o", rules) == said


@pytest.mark.parametrize("kind", ["--no-sparse-index", "--sparse-index"])
def test_why_of_a_tracked_directory_that_is_not_here(kind: str, world: World) -> None:
    world.fill(b"", {b"in/a": b"", b"out/deep/a": b"", b".gitignore": b"in\nout\n"})
    git(world, "add", "-f", ".")
    git(world, "commit", "-q", "-m", "x")
    git(world, "sparse-checkout", "set", "--cone", kind, "in")
    for path in (b"out", b"out/", b"out/deep", b"out/new", b"new"):
        rules = ignore.load(world.top, on_error=fail, environ=world.environ)
        argv = [b"git", b"-C", world.top, b"check-ignore", b"-v", b"-n", path]
        said = subprocess.run(argv, env=world.environ, stdout=-1).stdout
        assert walk._why(world.top, path, rules) == said


def test_why_of_what_is_in_a_directory_where_directories_count(world: World) -> None:
    world.fill(b"", {b"in/deep/a": b"", b".gitignore": b"*\n!*/\n!b\n"})
    for path in (b"in", b"in/", b"in/deep/", b"in/deep/a", b"new/", b"new/b/", b"b/"):
        rules = ignore.load(world.top, on_error=fail, environ=world.environ)
        argv = [b"git", b"-C", world.top, b"check-ignore", b"-v", b"-n", path]
        said = subprocess.run(argv, env=world.environ, stdout=-1).stdout
        assert walk._why(world.top, path, rules) == said


def whys(made: Random, source: bytes) -> None:
    names = ignoretrees_paths(source)
    places = {os.path.dirname(name) for name in names}
    for place in sorted(places):
        more = (b"new/a.o", b"zz.o", b"out/", b"lib/k/", b'q"\t\xff', b"b")
        names += [os.path.join(place, name) for name in more]
    made.rng.shuffle(names)
    environ = made.world.environ
    for name in names[:20]:
        argv = [b"git", b"-C", source, b"check-ignore", b"-v", b"-n", b"--", name]
        done = subprocess.run(argv, env=environ, capture_output=True)
        said = Said()
        rules = ignore.load(
            source, on_error=fail, on_note=said.notes.append, environ=environ
        )
        if any("ignored by rules above" in note for note in said.notes):
            return
        if done.returncode != 128:
            assert walk._why(source, name, rules) == done.stdout


# -- what the answers depend on


def test_all_that_an_answer_depends_on_is_told(world: World) -> None:
    write(world.home + b"/.gitconfig", b"[include]\npath = ~/more\n")
    write(world.home + b"/more", b"[core]\nexcludesFile = ~/mine\n")
    world.fill(b"", {b"d/e/f": b"", b"lib/x": b""})
    git(world, "init", "-q", "lib")
    rules = ignore.load(world.top + b"/d/e", on_error=fail, environ=world.environ)
    top, home = world.top, world.home
    expected = {
        *(top + b"/" + name for name in (b".gitignore", b"d/.gitignore", b".git")),
        *(top + b"/.git/" + name for name in (b"HEAD", b"commondir", b"info/exclude")),
        *(top + b"/.git/" + name for name in (b"config", b"objects", b"refs")),
        *(home + b"/" + name for name in (b".gitconfig", b"more", b"mine")),
        home + b"/.config/git/config",
        top + b"/d/.git",
    }
    told = inputs_of(rules)
    assert expected - {top + b"/d/.git"} <= set(told.rules)
    assert told.index == top + b"/.git/index"
    assert top + b"/d/.git" in told.absent
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    fd = os.open(top + b"/lib", os.O_RDONLY)
    inner = inputs_of(rules.enter(b"lib", fd))
    os.close(fd)
    assert inner.index == top + b"/lib/.git/index"
    assert {top + b"/lib/.git/config", home + b"/mine"} <= set(inner.rules)
    assert inputs_of(rules.enter(b"d")) is worktree.NO_INPUTS


def test_a_git_directory_that_is_none_yet_is_told(world: World) -> None:
    world.fill(b"", {b"lib/.git/x": b""})
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    fd = os.open(world.top + b"/lib", os.O_RDONLY)
    told = inputs_of(rules.enter(b"lib", fd))
    os.close(fd)
    assert world.top + b"/lib/.git/HEAD" in told.rules and told.index is None


def test_another_index_is_told_by_paths_from_the_source(world: World) -> None:
    world.fill(
        b"", {b".gitignore": b"*.o\n", b"d/a.o": b"", b"d/b.o": b"", b"c.o": b""}
    )
    rules = ignore.load(world.top + b"/d", on_error=fail, environ=world.environ)
    assert not rules.counts(b"a.o", False)
    git(world, "add", "-f", "d/a.o", "c.o")
    changes = reload_tracked(rules)
    assert changes and (changes.paths, changes.places) == ([b"a.o"], [])
    assert rules.counts(b"a.o", False) and not rules.counts(b"b.o", False)
    git(world, "status")
    assert reload_tracked(rules) is None
    git(world, "rm", "-q", "--cached", "d/a.o")
    changes = reload_tracked(rules)
    assert changes and changes.paths == [b"a.o"]
    assert not rules.counts(b"a.o", False)


def test_an_ignored_directory_counts_as_long_as_something_in_it_is_tracked(
    world: World,
) -> None:
    world.fill(b"", {b".gitignore": b"build/\n", b"build/a": b"", b"build/b": b""})
    git(world, "add", "-f", "build/a")
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    assert rules.counts(b"build", True)
    inner = rules.enter(b"build")
    assert inner.counts(b"a", False) and not inner.counts(b"b", False)
    git(world, "rm", "-q", "--cached", "build/a")
    assert reload_tracked(rules)
    assert not rules.counts(b"build", True) and not inner.counts(b"a", False)


def test_a_repository_in_what_comes_to_be_tracked_is_told(world: World) -> None:
    world.fill(b"", {b"lib/a": b"", b"lib/b": b""})
    git(world, "add", ".")
    git(world, "init", "-q", "lib")
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    fd = os.open(world.top + b"/lib", os.O_RDONLY)
    rules.enter(b"lib", fd)
    git(world, "rm", "-q", "--cached", "lib/a")
    changes = reload_tracked(rules)
    assert changes and changes.places == []
    git(world, "rm", "-q", "--cached", "lib/b")
    changes = reload_tracked(rules)
    assert changes and changes.places == [b"lib"]
    os.close(fd)


def test_rules_that_say_the_same_are_alike(world: World) -> None:
    def load() -> ignore.Rules:
        return ignore.load(world.top, on_error=fail, environ=world.environ)

    world.fill(b"", {b".gitignore": b"*.o\n", b"d/x": b""})
    before = load()
    assert alike(load(), before) and alike(load().enter(b"d"), before.enter(b"d"))
    world.fill(b"", {b".gitignore": b"# a comment\n*.o\n"})
    assert alike(load(), before)
    world.fill(b"", {b".gitignore": b"*.a\n"})
    assert not alike(load(), before)


def test_what_git_has_removed_is_told_from_what_others_have(world: World) -> None:
    """A `git status`, as a prompt does it, may write the index just before somebody removes."""
    world.fill(b"proj/src", {b"a": b"a", b"b": b"b"})

    def removed(place: bytes = b"proj/src", since: float = 0.0) -> bool:
        where = os.path.join(world.top, place)
        return worktree.were_removed(where, since, [b"a", b"b"], world.environ)

    git(world, "add", ".")
    assert not removed() and not removed(since=time.time() + 60)
    git(world, "rm", "-q", "--cached", "-r", ".")
    assert removed() and not removed(since=time.time() + 60)
    # The work tree is told to be further down, so that paths in the index begin there.
    git(world, "config", "core.repositoryFormatVersion", "0")
    git(world, "config", "core.worktree", os.fsdecode(world.top + b"/proj"))
    git(world, "add", ".", at=b"proj")
    assert git(world, "ls-files", "--full-name", at=b"proj") == b"src/a\nsrc/b\n"
    assert not removed()
    git(world, "rm", "-q", "--cached", "-r", ".", at=b"proj")
    assert removed()
    os.mkdir(world.top + b"/other")
    assert not removed(b"other")
    git(world, "config", "--unset", "core.worktree")
    write(world.top + b"/.git/index", b"no index at all, long enough to be looked into")
    assert not removed()
