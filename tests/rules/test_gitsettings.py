"""git's settings, against git itself."""

from __future__ import annotations

import os
import random
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ignoretrees import World, fail, write
from memory import at_most
from test_ignore import Said, found, git

from filerep.rules import gitsettings, gitvalues, gitversion, ignore, matching, rulefile
from filerep.rules.inputs import inputs_of
from filerep.rules.walking import walk


@pytest.fixture
def world(tmp_path: Path) -> World:
    place = World(os.fsencode(tmp_path))
    place.repository()
    return place


# fmt: off
PIECES = [
    b"[core]", b"[Core]", b'[a "B c"]', b'[a "x\\"y\\\\"]', b"[remote.Origin]", b'[x-y.z "q"]', b"\n", b"\n", b"\n", b" ",
    b"a", b"excludesFile", b"=", b"=", b" = ", b"x y", b'"q # r"', b"\\n", b"\\t", b"\\\\", b'\\"', b"\\\n", b"# c", b"; d",
    b'"', b"\r\n", b"  z  ", b"\xc3\xa9", b"key", b"key-2", b"2k", b"\v", b"\\b", b"\\q", b"true", b"1k", b"[", b"]", b"a.b", b"_",
]
# fmt: on


def test_files_of_settings_are_read_as_git_reads_them(tmp_path: Path) -> None:
    seed = 5
    rng = random.Random(seed)
    path = tmp_path / "config"
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    for turn in range(400):
        text = b"".join(rng.choices(PIECES, k=rng.randrange(1, 18)))
        text = b"[core]\n" + text if rng.random() < 0.6 else text
        text = b"\xef\xbb\xbf" + text if rng.random() < 0.05 else text
        path.write_bytes(text)
        argv = ["git", "config", "-f", path, "-z", "--list"]
        done = subprocess.run(argv, capture_output=True, env=env)
        ours = b""
        try:
            for name, inner, value in gitsettings.parse(text):
                section, _, key = name.rpartition(b".")
                ours += b".".join(part for part in (section, inner, key) if part)
                ours += b"\0" if value is None else b"\n" + value + b"\0"
        except gitsettings.BadLine as error:
            assert done.returncode, text
            assert f"bad config line {error.line} ".encode() in done.stderr, text
            continue
        assert (done.returncode, done.stdout) == (0, ours), (text, done.stderr)


@pytest.mark.parametrize("head", [b'[core ""]', b'[CORE\t""]', b"[core.]"])
def test_a_section_of_no_name_in_quotes_is_another(head: bytes, world: World) -> None:
    mine = b"[core]\nexcludesFile = ~/mine\n%s\nexcludesFile = ~/other\n"
    write(world.home + b"/.gitconfig", mine % head)
    write(world.home + b"/mine", b"a\n")
    world.fill(b"", {b"a": b"", b"b": b""})
    assert found(world) == world.git() == {b"b"}


BOOLEANS = (
    "true yes on TRUE Yes 1 2 -1 0x10 1k 010 false no off 0 0x0 00 0k NO Off".split()
)


@pytest.mark.parametrize("value", [*BOOLEANS, "", None])
def test_booleans_are_read_as_git_reads_them(value: str | None, world: World) -> None:
    text = "ignoreCase" if value is None else f"ignoreCase = {value}"
    write(world.top + b"/.git/config", f"[core]\n{text}\n".encode())
    world.fill(b"", {b"A": b"", b".gitignore": b"a\n"})
    expected = git(world, "config", "--bool", "core.ignorecase").strip() == b"true"
    assert (found(world) == {b".gitignore"}) == expected
    assert found(world) == world.git()


def test_what_is_no_boolean_is_taken_for_none() -> None:
    assert gitvalues.boolean(b"maybe") is False
    assert gitvalues.boolean(b"1x", True) is True


CONDITIONS = {
    "gitdir:top/": True,
    "gitdir:**/top/.git": True,
    "gitdir:TOP/": False,
    "gitdir/i:TOP/": True,
    "gitdir:./": False,
    "gitdir:/": True,
    "gitdir:other/": False,
    "onbranch:x": True,
    "onbranch:x/**": False,
    "onbranch:*": True,
    "onbranch:y": False,
    "hasconfig:remote.*.url:https://example.com/**": True,
    "hasconfig:remote.*.url:https://example.org/**": False,
    "nosuch:x": False,
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions(condition: str, world: World) -> None:
    text = f'[includeIf "{condition}"]\npath = ~/more\n'
    write(world.home + b"/.gitconfig", text.encode())
    write(world.home + b"/more", b"[core]\nexcludesFile = ~/mine\n")
    write(world.home + b"/mine", b"a\n")
    remote = b'[remote "o"]\nurl = https://example.com/some/thing\n'
    write(world.top + b"/.git/config", remote)
    world.fill(b"", {b"a": b"", b"b": b""})
    expected = {b"b"} if CONDITIONS[condition] else {b"a", b"b"}
    assert found(world) == world.git() == expected


@pytest.mark.parametrize("below", [b"", b"/inner"], ids=["SRC", "inside SRC"])
@pytest.mark.parametrize("how", ["whole", "relative", "current", "PWD is another"])
def test_a_condition_on_a_link_that_leads_to_the_repository(
    how: str, below: bytes, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ~/work, which leads to another disk, where the settings have ~/work."""
    work = world.home + b"/work"
    os.symlink(world.top, work)
    text = b'[includeIf "gitdir:%s/.git"]\npath = ~/more\n' % (work + below)
    write(world.home + b"/.gitconfig", text)
    write(world.home + b"/more", b"[core]\nexcludesFile = ~/mine\n")
    write(world.home + b"/mine", b"a\n")
    git(world, "init", "-q", "inner")
    world.fill(below[1:], {b"a": b"", b"b": b""})
    at = {"whole": b"/", "current": work}.get(how, world.home)
    source = {"whole": work, "current": b"."}.get(how, b"work")
    monkeypatch.chdir(at)
    world.environ[b"PWD"] = b"/" if how == "PWD is another" else at
    rules = ignore.load(source, on_error=fail, environ=world.environ)
    assert set(walk(source, rules, fail)) == {below[1:] + b"/b" if below else b"b"}
    argv = [b"git", b"ls-files", b"-o", b"--exclude-standard"]
    environ = {**world.environ, b"PWD": work + below}
    said = subprocess.run(argv, env=environ, cwd=work + below, capture_output=True)
    assert said.stdout in (b"b\n", b"b\ninner/\n")


# Written by git 2.55: HEAD, the same in a table with other refs, another ref alone, a HEAD that
# is detached. What follows the block of refs is left out.
TABLES = {
    "master": "5245465401001000000000000000000100000000000000017200003a00234845414400"
    "11726566732f68656164732f6d617374657200001c0001",
    "topic/a": "524546540100100000000000000000010000000000000005720000a90051"
    "4155544f5f4d4552474504f6fa40c1fa001071591517e197f94943944564a2"
    "0023484541440312726566732f68656164732f746f7069632f61",
    "another": "5245465401001000000000000000000700000000000000077200002e0050"
    "4155544f5f4d455247450000001c0001",
    "detached": "5245465401001000000000000000000600000000000000067200003c0021"
    "4845414400f6fa40c1fa001071591517e197f94943944564a200001c0001",
}
BRANCHES = [
    (["master"], b"master"),
    (["topic/a"], b"topic/a"),
    (["master", "another"], b"master"),
    (["master", "topic/a", "another"], b"topic/a"),
    (["master", "detached"], None),
    (["another"], None),
    ([], None),
    (["cut"], None),
]


@pytest.mark.parametrize(("tables", "branch"), BRANCHES)
def test_the_branch_where_refs_are_in_tables(
    tables: list[str], branch: bytes | None, world: World
) -> None:
    place = Path(os.fsdecode(world.top), ".git")
    (place / "HEAD").write_text("ref: refs/heads/.invalid\n")
    (place / "reftable").mkdir()
    (place / "reftable/tables.list").write_text(
        "".join(f"{t}.ref\n" for t in range(len(tables)))
    )
    for at, name in enumerate(tables):
        data = bytes.fromhex(TABLES[name]) if name in TABLES else b"REFT\1\0"
        (place / f"reftable/{at}.ref").write_bytes(data)
    for name in (b"master", b"topic/a"):
        text = b'[includeIf "onbranch:%s"]\npath = ~/more\n' % name
        write(world.home + b"/.gitconfig", text)
        write(world.home + b"/more", b"[core]\nexcludesFile = ~/mine\n")
        write(world.home + b"/mine", b"a\n")
        world.fill(b"", {b"a": b"", b"b": b""})
        assert found(world) == ({b"b"} if name == branch else {b"a", b"b"})
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    assert os.fsencode(place / "reftable/tables.list") in inputs_of(rules).rules


def test_a_condition_on_a_git_directory_that_a_file_leads_to(world: World) -> None:
    """By where it is, and not by the way from the file, which begins at the work tree."""
    os.rename(world.top + b"/.git", world.home + b"/apart")
    write(world.top + b"/.git", b"gitdir: ../home/apart\n")
    text = b'[includeIf "gitdir:%s/"]\npath = ~/more\n' % world.top
    write(world.home + b"/.gitconfig", text)
    write(world.home + b"/more", b"[core]\nexcludesFile = ~/mine\n")
    write(world.home + b"/mine", b"a\n")
    world.fill(b"", {b"a": b"", b"b": b""})
    assert found(world) == world.git() == {b"a", b"b"}


def test_a_condition_on_the_home_of_a_user_is_none_on_a_name(world: World) -> None:
    world.fill(b"", {b"~root/a": b"", b"~root/b": b""})
    git(world, "init", "-q", "~root")
    text = b'[includeIf "gitdir:~root/"]\npath = ~/more\n'
    write(world.home + b"/.gitconfig", text)
    write(world.home + b"/more", b"[core]\nexcludesFile = ~/mine\n")
    write(world.home + b"/mine", b"a\n")
    expected = world.git(b"~root")
    assert found(world, b"~root") == expected == {b"a", b"b"}
    write(world.home + b"/.gitconfig", text.replace(b"~root", b"*root"))
    assert found(world, b"~root") == world.git(b"~root") == {b"b"}


ON_WORK_TREES = {
    "worktree:%s": True,
    "worktree:%s/": False,
    "worktree:top": True,
    "worktree:top/": False,
    "worktree:TOP": False,
    "worktree/i:TOP": True,
    "worktree:top/.git": False,
    "worktree:": True,
    "worktree:~/../top": False,
    "worktree:~/": False,
}


@pytest.mark.parametrize("condition", ON_WORK_TREES)
def test_a_condition_on_the_work_tree_holds_since_git_2_56(
    condition: str, world: World
) -> None:
    """As a git of that version was seen to have it."""
    text = f'[includeIf "{condition}"]\npath = ~/more\n'.encode()
    write(world.home + b"/.gitconfig", text.replace(b"%s", world.top))
    write(world.home + b"/more", b"[core]\nexcludesFile = ~/mine\n")
    write(world.home + b"/mine", b"a\n")
    world.fill(b"", {b"a": b"", b"b": b""})
    says_it_is(world, "2.55.9")
    assert found(world) == {b"a", b"b"}
    says_it_is(world, "2.56.0")
    assert found(world) == ({b"b"} if ON_WORK_TREES[condition] else {b"a", b"b"})


def test_a_condition_on_a_work_tree_that_is_elsewhere(world: World) -> None:
    says_it_is(world, "2.56.0")
    text = b'[includeIf "worktree:%s/d"]\npath = ~/more\n' % world.top
    write(world.home + b"/.gitconfig", text)
    write(world.home + b"/more", b"[core]\nexcludesFile = ~/mine\n")
    write(world.home + b"/mine", b"a\n")
    world.fill(b"", {b"d/a": b"", b"d/b": b""})
    os.rename(world.top + b"/.git", world.top + b"/d/.git")
    assert found(world, b"d") == {b"b"}
    own = b"[core]\nrepositoryFormatVersion = 0\nworktree = ../..\n"
    write(world.top + b"/d/.git/config", own)
    assert found(world, b"d") == {b"a", b"b"}


def says_it_is(world: World, version: str) -> None:
    """Have a git of that ``version`` be installed."""
    place = world.home + b"/bin" + version.encode()
    os.mkdir(place)
    write(place + b"/git", f"#!/bin/sh\necho git version {version}\n".encode())
    os.chmod(place + b"/git", 0o755)
    world.environ[b"PATH"] = place


@pytest.mark.parametrize("named", ["~/mine", "mine"])
def test_an_ignore_file_that_need_not_be_there(named: str, world: World) -> None:
    """`:(optional)` is a part of the name before git 2.52."""
    write(world.home + b"/.config/git/ignore", b"a\n")
    text = f"[core]\nexcludesFile = ~/other\nexcludesFile = :(optional){named}\n"
    write(world.home + b"/.gitconfig", text.encode())
    write(world.home + b"/other", b"c\n")
    world.fill(b"", {b"a": b"", b"b": b"", b"c": b""})
    says_it_is(world, "2.52.0")
    # Where it is missing, those hold that hold where none is named.
    assert found(world) == {b"b", b"c"}
    place = world.top + b"/" if named == "mine" else world.home + b"/"
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    assert {place + b"mine", world.home + b"/.config/git/ignore"} <= set(
        inputs_of(rules).rules
    )
    write(place + b"mine", b"b\nmine\n")
    assert found(world) == {b"a", b"c"}
    says_it_is(world, "2.51.0")
    assert found(world) - {b"mine"} == {b"a", b"b", b"c"}


def test_a_file_that_is_included_has_its_name_as_it_stands(world: World) -> None:
    write(world.home + b"/.gitconfig", b"[include]\npath = :(optional)more\n")
    write(world.home + b"/more", b"[core]\nexcludesFile = ~/mine\n")
    write(world.home + b"/mine", b"a\n")
    world.fill(b"", {b"a": b"", b"b": b""})
    assert found(world) == world.git() == {b"a", b"b"}
    os.rename(world.home + b"/more", world.home + b"/:(optional)more")
    assert found(world) == world.git() == {b"b"}


WORK_TREES = {
    "above": b"../..",
    "whole": b"%s",
    "below": b"../e",
    "itself": b"..",
    "elsewhere": b"../../other",
    "not there": b"../none",
}


@pytest.mark.parametrize("where", WORK_TREES)
@pytest.mark.parametrize("source", [b"d", b"d/e"])
def test_a_work_tree_that_is_not_around_its_git_directory(
    where: str, source: bytes, world: World
) -> None:
    """`core.worktree`: the rules from its top down hold, and what is tracked is named from there."""
    world.fill(
        b"",
        {
            b".gitignore": b"*.log\n",
            b"other/x": b"",
            b"d/.gitignore": b"*.o\n",
            b"d/e/a.log": b"",
            b"d/e/b.log": b"",
            b"d/e/c.o": b"",
            b"d/e/d": b"",
        },
    )
    os.rename(world.top + b"/.git", world.top + b"/d/.git")
    named = os.fsdecode(WORK_TREES[where].replace(b"%s", world.top))
    git(world, "config", "core.repositoryFormatVersion", "0", at=b"d")
    git(world, "config", "core.worktree", named, at=b"d")
    argv = ["git", "-C", world.top + b"/d/e", "add", "-f", "b.log"]
    subprocess.run(argv, env=world.environ, capture_output=True)
    if where in ("elsewhere", "not there") or (where, source) == ("below", b"d"):
        expected = {b"e/d", b"e/a.log", b"e/b.log", b".gitignore"}
        expected = expected if source == b"d" else {b"d", b"a.log", b"b.log"}
    else:
        expected = world.git(source)
        assert {b"b.log", b"e/b.log"}.intersection(expected)
    assert found(world, source) == expected


def test_a_git_directory_inside_whose_work_tree_is_elsewhere(world: World) -> None:
    world.fill(b"", {b".gitignore": b"*.log\n", b"d/a.log": b"", b"d/b": b""})
    git(world, "init", "-q", "d")
    assert found(world) == {b".gitignore", b"d/a.log", b"d/b"}
    git(world, "config", "core.worktree", "../..", at=b"d")
    assert world.git(b"d") == {b"b"}
    assert found(world) == {b".gitignore", b"d/b"}


def test_settings_of_one_work_tree(world: World) -> None:
    git(world, "commit", "-q", "--allow-empty", "-m", "x")
    git(world, "worktree", "add", "-q", "--detach", "tree")
    git(world, "config", "core.repositoryFormatVersion", "0")
    git(world, "config", "extensions.worktreeConfig", "true")
    write(world.home + b"/mine", b"a\n")
    git(world, "config", "--worktree", "core.excludesFile", "~/mine", at=b"tree")
    world.fill(b"tree", {b"a": b"", b"b": b""})
    world.fill(b"", {b"a": b""})
    assert found(world, b"tree") == world.git(b"tree") == {b"b"}
    assert found(world) == {b"a", b"tree/b"}


def test_the_environment_s_settings(world: World) -> None:
    write(world.home + b"/mine", b"a\n")
    world.fill(b"", {b"a": b"", b"b": b""})
    environ = world.environ
    for more in (
        {b"GIT_CONFIG_COUNT": b"1", b"GIT_CONFIG_KEY_0": b"core.excludesFile", b"GIT_CONFIG_VALUE_0": b"~/mine"},
        {b"GIT_CONFIG_PARAMETERS": b"'core.excludesfile'='~/mine'"},
        {b"GIT_CONFIG_PARAMETERS": b"'a.b'='c' 'core.excludesfile=~/mine'"},
    ):  # fmt: skip
        world.environ = {**environ, **more}
        assert found(world) == world.git() == {b"b"}
    write(world.home + b"/all", b"[core]\nexcludesFile = ~/mine\n")
    world.environ = {**environ, b"GIT_CONFIG_GLOBAL": world.home + b"/all"}
    assert found(world) == world.git() == {b"b"}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (b"GIT_CONFIG_GLOBAL", b"own"),
        (b"HOME", b"own/.gitconfig"),
        (b"XDG_CONFIG_HOME", b"own/git/config"),
    ],
)
def test_a_relative_path_in_the_environment_begins_at_the_top(
    name: bytes, file: bytes, world: World
) -> None:
    world.environ[name] = b"own"
    world.fill(b"", {file: b"[core]\nexcludesFile = mine\n", b"mine": b"a\n"})
    world.fill(b"d", {b"a": b"", b"b": b""})
    assert found(world, b"d") == world.git(b"d") == {b"b"}


def test_settings_that_include_themselves_end(world: World) -> None:
    write(world.home + b"/.gitconfig", b"[include]\npath = .gitconfig\n" * 2)
    world.fill(b"", {b"a": b""})
    assert found(world) == {b"a"}


def test_settings_that_include_themselves_often_end_soon(world: World) -> None:
    """Four times at each of ten depths would be a million."""
    write(world.home + b"/.gitconfig", b"[include]\npath = .gitconfig\n" * 4)
    world.fill(b"", {b"a": b""})
    said = Said()
    before = time.process_time()
    assert found(world, said=said) == {b"a"}
    assert time.process_time() - before < 5
    (note,) = said.notes
    assert (
        note.startswith("more than 100 files of git's settings")
        and ".gitconfig" in note
    )


@pytest.mark.parametrize(
    "text",
    [
        b'y = "' + b"z" * 2_000_000 + b'"\n',
        b"y = " + b"\\\\" * 1_000_000 + b"\n",
        b"y = a" + b' "" b' * 400_000 + b"\n",
        b"\n" * 7_000_000 + b'y = "1"\n',
        b'y = "1"\n' * 900_000,
        b'[include "' + b"z" * 2_000_000 + b"\\n",
    ],
)
def test_large_settings_of_a_stranger_take_no_time(text: bytes, world: World) -> None:
    write(world.top + b"/.git/config", b"[x]\n" + text)
    world.fill(b"", {b"a": b""})
    before = time.process_time()
    assert found(world, said=Said()) == {b"a"}
    assert time.process_time() - before < 8


@pytest.mark.parametrize("piece", [b"*", b"[a-z]*[!b]x?", b"/a", b"**/", b"\\a"])
def test_endless_patterns_of_a_stranger_take_no_time(
    piece: bytes, world: World
) -> None:
    for many in ((60_000 // len(piece)), 20_000_000 // len(piece)):
        write(world.top + b"/.gitignore", piece * many + b"x\n*.o\n")
        world.fill(b"", {b"a": b"", b"b.o": b""})
        before = time.process_time()
        assert found(world) == {b".gitignore", b"a"}
        assert time.process_time() - before < 5


def test_a_section_s_name_without_end_is_not_taken(world: World) -> None:
    text = b'[a "' + b"\\\\" * 3_900_000 + b'"]\n'
    write(world.top + b"/.git/config", text)
    world.fill(b"", {b"a": b""})
    said = Said()
    with at_most(256 << 20):
        assert found(world, said=said) == {b"a"}
    assert said.notes[0].startswith("bad config line 1")


def test_patterns_without_end_are_not_taken_and_what_they_may_hide_stays(
    world: World,
) -> None:
    lines = b"x\n" + b"".join(b"n%d\n" % n for n in range(1_000_000)) + b"a\n"
    world.fill(b"", {b"a": b"", b"x": b"", b"n9": b"", b"d/b": b""})
    write(world.top + b"/d/.gitignore", lines + b"\n" * 5_000_000)
    write(world.top + b"/d/x", b"")
    said = Said()
    with at_most(64 << 20):
        assert found(world, said=said) == {b"a", b"n9", b"x"}
    (note,) = said.notes
    assert note.startswith("too many patterns") and ".gitignore" in note


def test_classes_of_a_stranger_take_little_memory(world: World) -> None:
    lines = b"".join(b"%d" % n + b"[!a-f]*[^b]?*" * 20 + b"\n" for n in range(1500))
    write(world.top + b"/.gitignore", lines + b"x\n*.o\n")
    world.fill(b"", {b"a": b"", b"b.o": b""})
    with at_most(64 << 20):
        assert found(world) == {b".gitignore", b"a"}


def test_many_rule_files_of_a_stranger_take_little_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rulefile, "MOST_READY", 2 << 20)
    kinds = (b"n%d", b"*.e%d", b"s%d*x", b"/a%d/b", b"!k%d", b"d%d/")
    names: dict[bytes, list[bytes]] = {}
    for d in range(60):
        told = [kinds[n % len(kinds)] % (d * 10_000 + n) for n in range(1000)]
        text = b"\n".join([b"x", *told])
        names[b"d%d" % d] = [b"x", b"s%dx" % (d * 10_000 + 2)]
        world.fill(b"d%d" % d, {b".gitignore": text, b"y": b"", b"a%d/b" % d: b""})
        world.fill(b"d%d" % d, dict.fromkeys(names[b"d%d" % d], b""))
    with at_most(16 << 20):  # else twice as much
        top = ignore.load(world.top, on_error=fail, environ=world.environ)
        links = {}
        for name in names:  # all are held, as by who watches
            fd = os.open(os.path.join(world.top, name), os.O_RDONLY)
            links[name] = top.enter(name, fd)
            os.close(fd)
        for name, left_out in names.items():
            counted, _ = links[name].select([*left_out, b"y"], [])
            assert counted == [b"y"]


def test_many_rule_files_of_a_stranger_one_in_the_other(world: World) -> None:
    told = b"".join(b"**/a%d/b\n" % n for n in range(3000))
    for d in range(30):
        world.fill(b"d/" * d, {b".gitignore": told, b"y": b""})
    said = Said()
    with at_most(64 << 20):
        counted = found(world, said=said)
    depths = range(len(counted) // 2)
    assert 5 < len(depths) < 30
    assert counted == {b"d/" * d + n for d in depths for n in (b"y", b".gitignore")}
    (note,) = said.notes
    hidden = b"d/" * len(depths) + b".gitignore"
    assert note.startswith(f"too many patterns, up to '{hidden.decode()}'; nothing")


@pytest.mark.parametrize(
    "condition",
    [b"hasconfig:remote.*.url:https://*/y", b"onbranch:*a*b", b"gitdir:**/*a*b/"],
)
def test_many_conditions_of_a_stranger_take_no_time(
    condition: bytes, world: World
) -> None:
    remotes = [b'[remote "%d"]\nurl = https://x/%d\n' % (n, n) for n in range(20_000)]
    asked = [
        b'[includeIf "%s%d"]\npath = more\n' % (condition, n) for n in range(20_000)
    ]
    write(world.top + b"/.git/config", b"".join(remotes + asked))
    write(world.top + b"/.git/HEAD", b"ref: refs/heads/" + b"a/" * 5_000 + b"\n")
    world.fill(b"", {b"a": b""})
    said = Said()
    before = time.process_time()
    assert found(world, said=said) == {b"a"}
    assert time.process_time() - before < 8
    (note,) = said.notes
    assert "take too long to compare" in note and ".git/config" in note


def test_more_settings_than_anybody_has_are_told(world: World) -> None:
    many = b"y = 1\n" * 150_000
    write(world.home + b"/.gitconfig", b"[x]\n" + many)
    write(world.top + b"/.git/config", b"[include]\npath = more\n")
    write(world.top + b"/.git/more", b"[core]\nexcludesFile = mine\n")
    write(world.top + b"/mine", b"a\n")
    world.fill(b"", {b"a": b"", b"mine": b"a\n"})
    said = Said()
    assert found(world, said=said) == {b"a", b"mine"}
    (note,) = said.notes
    assert note.startswith("more than 100,000 settings are included")


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize("name", ["pagemap", "mem", "kcore"])
def test_a_file_of_the_system_s_without_end_is_not_taken_in(
    name: str, world: World
) -> None:
    path = os.path.join("/proc" if name == "kcore" else "/proc/self", name).encode()
    settings = b"[core]\nexcludesFile = %s\n[include]\npath = %s\n" % (path, path)
    write(world.top + b"/.git/config", settings)
    world.fill(b"", {b"a": b""})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found(world, said=Said())
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 300_000  # kilobytes


def test_a_bad_line_is_said(world: World) -> None:
    text = b"[core]\nexcludesFile = ~/mine\n nonsense here\n"
    write(world.home + b"/.gitconfig", text)
    write(world.home + b"/mine", b"a\n")
    world.fill(b"", {b"a": b"", b"b": b""})
    said = Said()
    assert found(world, said=said) == {b"b"}
    (note,) = said.notes
    assert "bad config line 3 in " in note and ".gitconfig" in note


def test_each_repository_has_its_own_settings(world: World) -> None:
    write(world.home + b"/outer", b"*.tmp\n")
    write(world.home + b"/inner", b"*.cache\n")
    files = (b"x.tmp", b"X.TMP", b"y.cache", b"Y.CACHE")
    world.fill(b"", dict.fromkeys(files, b""))
    world.fill(b"lib", dict.fromkeys(files, b""))
    git(world, "init", "-q", "lib")
    git(world, "config", "core.excludesFile", "~/outer")
    git(world, "config", "core.excludesFile", "~/inner", at=b"lib")
    git(world, "config", "core.ignoreCase", "true", at=b"lib")
    inner = {b"lib/" + name for name in world.git(b"lib")}
    assert inner == {b"lib/x.tmp", b"lib/X.TMP"}
    assert found(world) == {*world.git(), *inner} - {b"lib/"}


def test_a_repository_of_another_user_is_refused_as_by_git(world: World) -> None:
    world.fill(b"", {b"a.o": b"", b"b": b"", b".gitignore": b"*.o\n"})
    git(world, "add", "-f", "a.o")
    world.environ[b"GIT_TEST_ASSUME_DIFFERENT_OWNER"] = b"1"
    said = Said()
    assert found(world, said=said) == {b"b", b".gitignore"}
    (note,) = said.notes
    assert "belongs to another user" in note and "safe.directory" in note
    assert "settings" in note and "tracked files" in note
    for value, trusted in {
        "*": True,
        os.fsdecode(world.top): True,
        os.fsdecode(world.top) + "/": True,
        os.fsdecode(world.home): False,
        os.path.relpath(os.fsdecode(world.top)): False,
    }.items():
        write(world.home + b"/.gitconfig", f"[safe]\ndirectory = {value}\n".encode())
        said = Said()
        assert (b"a.o" in found(world, said=said)) == trusted == (not said.notes)
        if not value.endswith("/"):
            words = ["git", "-C", os.fsdecode(world.top), "ls-files"]
            done = subprocess.run(words, env=world.environ, capture_output=True)
            assert (done.returncode == 0) == trusted, value
    write(world.home + b"/.gitconfig", b"")
    git_config = world.top + b"/.git/config"
    write(git_config, b"[safe]\ndirectory = *\n")
    assert b"a.o" not in found(world)


# -- the program


def test_paths_that_a_setting_matches() -> None:
    assert matching.path_matches(b"/a/**", b"/a/b/c")
    assert matching.path_matches(b"**/b", b"/a/b")
    assert matching.path_matches(b"a*", b"abc")
    assert not matching.path_matches(b"a*", b"a/b")
    assert not matching.path_matches(b"/a/*", b"/a/b/c")
    assert matching.path_matches(b"https://x/*", b"https://x/y")
    assert matching.path_matches(b"/a/b", b"/A/B", fold=True)
    assert matching.path_matches(b"a/**/b/**/c", b"a/x/b/y/b/z/c")
    assert not matching.path_matches(b"a/**/b/**", b"a/x/b")


def test_a_condition_of_many_double_stars_takes_no_time() -> None:
    """An address may have thousands of parts, and to try each at each is without end."""
    before = time.process_time()
    assert not matching.path_matches(b"**/a/" * 30 + b"b", b"a/" * 3000)
    assert time.process_time() - before < 5


STARS = [b"foobar", b"foox/bar", b"foox/y/bar", b"foo/bar", b"foo/x/bar", b"fooxbar"]


@pytest.mark.parametrize(
    "version", ["2.39.5", "2.51.9", "2.52.0", "2.60.1.dirty", None]
)
def test_double_stars_behind_a_name_mean_what_the_git_here_says(
    version: str | None, world: World
) -> None:
    place = world.home + b"/bin"
    os.mkdir(place)
    if version:
        write(place + b"/git", f"#!/bin/sh\necho git version {version}\n".encode())
        os.chmod(place + b"/git", 0o755)
    world.environ[b"PATH"] = place
    world.fill(b"", {**dict.fromkeys(STARS, b""), b".gitignore": b"/foo**/bar\n"})
    left = found(world) - {b".gitignore"}
    if version and version < "2.52":
        assert left == {b"foo/x/bar", b"fooxbar"} - {b"foo/x/bar"}
    else:
        # One star: it stays within one name.
        assert left == set(STARS) - {b"foo/bar", b"foox/bar"}
    world.fill(b"", {b".gitignore": b"/foo**\n"})
    expected = set() if version and version < "2.52" else set()
    assert found(world) - {b".gitignore"} == expected


def test_random_double_stars_behind_a_name_are_those_of_git_2_52(world: World) -> None:
    """A git of any version leaves the whole of a pattern that begins with ``[`` to wildmatch."""
    chance = random.Random(52)
    literals = [b"a", b"b", b"ab", b"a/b", b"/a", b"/b", b"ba", b"/f/a"]
    rests = [b"**", b"**/", b"**/b", b"**b", b"**/*", b"**/a/b", b"***", b"**/**/a"]
    rests += [b"*/**", b"**?", b"**[ab]", b"**/f/**"]
    names = [b"a", b"b", b"ab", b"ba", b"aab", b"c"]
    paths = [b"f/" + name for name in names]
    paths += [
        b"%s/%s/%s" % (x, y, z)
        for x in names[:3]
        for y in names
        for z in b"ab f".split()
    ]
    plain: list[bytes] = []
    for number in range(30):
        plain.append(chance.choice(literals) + chance.choice(rests))
        whole = re.sub(rb"^(/?)(.)", rb"\1[\2]", plain[-1])
        world.fill(
            b"%d" % number, {**dict.fromkeys(paths, b""), b".gitignore": whole + b"\n"}
        )
    expected = world.git()
    for number, pattern in enumerate(plain):
        world.fill(b"%d" % number, {b".gitignore": pattern + b"\n"})
    assert found(world) == world.git()
    world.environ[b"PATH"] = b"/nonexistent"
    assert found(world) == expected


def test_where_the_system_s_settings_are() -> None:
    assert gitversion.system_settings({b"PATH": b"/nonexistent"}) == b"/etc/gitconfig"


def test_a_git_elsewhere_is_asked_for_its_settings(tmp_path: Path) -> None:
    script = (
        '#!/bin/sh\n[ "$1 $2" = "var GIT_CONFIG_SYSTEM" ] && echo /opt/x/gitconfig\n'
    )
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    environ = {b"PATH": os.fsencode(program.parent)}
    assert gitversion.system_settings(environ) == b"/opt/x/gitconfig"
    assert gitversion.prefix(environ) == os.fsencode(tmp_path)
