"""Nothing of what a repository says is run, nothing in it is waited for."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from fuzz import each_seed, hunts
from ignoretrees import World, fail, write
from test_ignore import Said, found, git

from filerep import api
from filerep.rules import ignore, untrustedfile
from filerep.rules.inputs import inputs_of, reload_tracked


@pytest.fixture
def world(tmp_path: Path) -> World:
    place = World(os.fsencode(tmp_path))
    place.repository()
    return place


# Settings by which git can be made to run a command, or to write where they say.
COMMANDS = """
[core]
    repositoryFormatVersion = 1
    fsmonitor = touch {mark}; false
    hooksPath = {hooks}
    pager = touch {mark}; cat
    editor = touch {mark}
    askPass = {hooks}/command
    sshCommand = {hooks}/command
    gitProxy = {hooks}/command
    alternateRefsCommand = touch {mark}
    attributesFile = {hooks}/attributes
[extensions]
    partialClone = origin
[remote "origin"]
    promisor = true
    url = ext::{hooks}/command
    uploadpack = {hooks}/command
    vcs = {hooks}/command
[protocol "ext"]
    allow = always
[protocol]
    allow = always
[filter "all"]
    clean = touch {mark}; cat
    smudge = touch {mark}; cat
    process = {hooks}/command
    required = true
[diff "all"]
    command = {hooks}/command
    textconv = {hooks}/command
[diff]
    external = {hooks}/command
[merge "all"]
    driver = touch {mark}
[pager]
    ls-files = touch {mark}; cat
    config = touch {mark}; cat
    cat-file = touch {mark}; cat
[alias]
    ls-files = !touch {mark}
    config = !touch {mark}
    version = !touch {mark}
    var = !touch {mark}
[credential]
    helper = !touch {mark}
[gpg]
    program = {hooks}/command
[uploadpack]
    packObjectsHook = {hooks}/command
[submodule "lib"]
    update = !touch {mark}
    url = ext::{hooks}/command
[trace2]
    normalTarget = {mark}
    eventTarget = {mark}
    perfTarget = {mark}
[include]
    path = {hooks}/fifo
[includeIf "onbranch:**"]
    path = {hooks}/fifo
"""


def armed(world: World, place: bytes) -> str:
    """A sparse repository in ``place`` that lacks an object and has all ``COMMANDS``.

    Returns the file that one of the commands would make.
    """
    top = os.path.join(world.top, place)
    world.fill(place, {b"a/f": b"1", b"b/f": b"2", b"b/.gitignore": b"*.o\n"})
    git(world, "init", "-q", os.fsdecode(place or b"."))
    git(world, "add", ".", at=place)
    git(world, "commit", "-q", "-m", "x", at=place)
    git(world, "sparse-checkout", "set", "--cone", "--sparse-index", "a", at=place)
    tree = git(world, "rev-parse", "HEAD:b", at=place).strip()
    os.unlink(os.path.join(top, b".git/objects", tree[:2], tree[2:]))
    hooks = os.path.join(top, b".git/hooks")
    mark = os.fsdecode(world.home) + "/EXECUTED"
    os.makedirs(hooks, exist_ok=True)
    os.mkfifo(hooks + b"/fifo")
    write(hooks + b"/attributes", b"* filter=all diff=all merge=all\n")
    names = (b"command", b"post-index-change", b"fsmonitor-watchman", b"pre-auto-gc")
    for name in (*names, b"post-checkout", b"reference-transaction"):
        write(os.path.join(hooks, name), f"#!/bin/sh\ntouch '{mark}'\n".encode())
        os.chmod(os.path.join(hooks, name), 0o755)
    text = COMMANDS.format(mark=mark, hooks=os.fsdecode(hooks))
    with open(os.path.join(top, b".git/config"), "ab") as config:
        config.write(text.encode())
    # What is outside of the cone is there: which of it is tracked, the lost tree says.
    world.fill(
        place, {b"b/f": b"", b"b/g.o": b"", b"a/h.o": b"", b".gitignore": b"*.o\n"}
    )
    return mark


def test_the_commands_would_be_run_by_git(world: World) -> None:
    """Or this file tests nothing."""
    mark = armed(world, b"")
    argv = [
        "git",
        "-C",
        os.fsdecode(world.top),
        "ls-files",
        "-ci",
        "--exclude-standard",
    ]
    text = Path(os.fsdecode(world.top), ".git/config").read_text()
    Path(os.fsdecode(world.top), ".git/config").write_text(
        text.partition("[include]")[0]
    )
    subprocess.run(argv, env=world.environ, capture_output=True, timeout=20)
    assert os.path.exists(mark)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("place", [b"", b"vendor/lib"])
@pytest.mark.parametrize("source", [b"", b"a", b"vendor/lib/a"])
def test_nothing_is_run_for_a_repository(
    place: bytes, source: bytes, world: World
) -> None:
    mark = armed(world, place)
    if not os.path.isdir(os.path.join(world.top, source)):
        source = b""
    said = Said()
    paths = found(world, source, said)
    rules = ignore.load(world.top, on_error=fail, environ=world.environ)
    for directory in (b"b", b"vendor", b"a"):
        rules.enter(directory).counts(b"x.o", False)
    assert any(path.endswith(b"f") for path in paths)
    assert not any(path.endswith(b"h.o") for path in paths)
    assert not os.path.exists(mark)
    assert not said.errors


def test_no_program_is_started_at_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed(world, b"")

    def start(*words: object, **more: object) -> int:
        raise AssertionError(f"started {words}")

    for name in ("posix_spawn", "posix_spawnp", "fork", "execv", "execve", "system"):
        monkeypatch.setattr(os, name, start)
    assert b"a/f" in found(world)


def test_a_git_in_the_source_is_not_taken_for_git(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = world.home + b"/EXECUTED"
    world.fill(
        b"", {b"git": b"#!/bin/sh\ntouch '%s'\n" % mark, b".gitignore": b"/fo**/b\n"}
    )
    os.chmod(world.top + b"/git", 0o755)
    monkeypatch.chdir(world.top)
    world.environ[b"PATH"] = b".::" + b"bin:" + b"/nonexistent"
    assert found(world) == {b"git", b".gitignore"}
    assert not os.path.exists(mark)


def test_modules_in_the_source_are_not_taken_for_python_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    names = ["select.py", "docopt.py", "sitecustomize.py", "filerep/__init__.py"]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"open({str(tmp_path / 'EXECUTED')!r}, 'w')\n")
    monkeypatch.chdir(source)
    assert sorted(api.walk(".")) == sorted(map(os.fsencode, names))
    assert not (tmp_path / "EXECUTED").exists()


SPECIAL = {
    "a rule file": b"d/.gitignore",
    "a rule file at the top": b".gitignore",
    "a rule file above": b"../top/.gitignore",
    "the index": b".git/index",
    "info/exclude": b".git/info/exclude",
    "HEAD": b".git/HEAD",
    "the settings": b".git/config",
    "a link to a repository": b"d/.git",
    "commondir": b".git/commondir",
    "alternates": b".git/objects/info/alternates",
    "the user's settings": b"../home/.gitconfig",
    "the user's rules": b"../home/.config/git/ignore",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["fifo", "link to a fifo", "link to a device"])
@pytest.mark.parametrize("title", SPECIAL)
def test_what_is_no_file_is_never_waited_for(
    title: str, kind: str, world: World
) -> None:
    world.fill(
        b"", {b"d/a.o": b"", b"d/b": b"", b".gitignore": b"*.o\n", b"d/c/x": b""}
    )
    git(world, "add", ".")
    git(world, "commit", "-q", "-m", "x")
    git(world, "update-index", "--skip-worktree", ".gitignore")
    path = os.path.join(world.top, SPECIAL[title])
    if os.path.lexists(path):
        os.unlink(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link to a fifo":
        os.mkfifo(world.home + b"/fifo")
        os.symlink(world.home + b"/fifo", path)
    else:
        os.symlink(b"/dev/tty", path)
    for source in (b"", b"d", b"d/c"):
        paths = found(world, source)
        assert any(name.endswith((b"b", b"x")) for name in paths)


def test_what_is_no_file_is_not_even_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open a device may do something: a tape winds back."""
    os.mkfifo(tmp_path / "f")
    monkeypatch.setattr(untrustedfile, "descriptor", lambda *_: pytest.fail("opened"))
    assert untrustedfile.read(os.fsencode(tmp_path / "f")) is None


@pytest.mark.timeout(20)
def test_a_fifo_that_was_a_file_a_moment_before_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "f")
    before = os.stat(__file__)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda *_, **__: before)
        assert untrustedfile.read(os.fsencode(tmp_path / "f")) is None


def test_more_warnings_than_a_pipe_holds_do_not_stop_it(world: World) -> None:
    for number in range(300):
        world.fill(b"package-number-%d" % number, {b"f": b""})
        os.symlink(b"../common", world.top + b"/package-number-%d/.gitignore" % number)
    said = Said()
    assert len(found(world, said=said)) == 600
    assert len(said.notes) == 300


PARTS = [b"HEAD", b"config", b"commondir", b"info/exclude", b"index", b"packed-refs"]
PARTS += [b"objects/info/alternates", b"config.worktree", b"sharedindex.x", b"../.git"]
SCRAPS = [
    b"\0",
    b"gitdir: ",
    b"ref: refs/heads/",
    b"../",
    b"/",
    b"\n",
    b"[core]\n",
    b"=",
]
SCRAPS += [
    b"excludesFile",
    b"[include]\npath = ",
    b'[includeIf "gitdir:**"]\npath=',
    b"~",
]
SCRAPS += [
    b"[extensions]\nobjectFormat=sha256\n",
    b"DIRC\0\0\0\2",
    b"\xff\xfe",
    b"*.o",
    b"[",
]
SCRAPS += [
    b"\0\0\0\1",
    b"link",
    b"sdir",
    b"%(prefix)/",
    b"~nobody/",
    b'"',
    b"\\",
    b"worktreeConfig=1\n",
]


@hunts
def test_whatever_stands_in_a_git_directory_the_walk_goes_on(world: World) -> None:
    # No class that the scraps may come to has a Z in it.
    world.fill(b"", {b"Z": b"", b"b.o": b"", b".gitignore": b"*.o\n", b"lib/c.o": b""})
    git(world, "init", "-q", "lib")
    git(world, "add", "-f", "c.o", at=b"lib")
    world.fill(b"lib", {b"d": b""})
    shutil.copytree(world.top, world.home + b"/good", symlinks=True)

    def one(rng: random.Random) -> None:
        shutil.rmtree(world.top)
        shutil.copytree(world.home + b"/good", world.top, symlinks=True)
        for _ in range(rng.randrange(1, 4)):
            place = os.path.join(world.top, rng.choice([b".git", b"lib/.git"]))
            path = os.path.join(place, rng.choice(PARTS))
            text = b"".join(rng.choices(SCRAPS, k=rng.randrange(0, 8)))
            try:
                if rng.random() < 0.5 and os.path.isfile(path):
                    with open(path, "rb") as file:
                        text = file.read()[: rng.randrange(200)] + text
                os.makedirs(os.path.dirname(path), exist_ok=True)
                if path.endswith(b"/.git"):
                    shutil.rmtree(path)
                write(path, text)
            except OSError:
                continue
        said = Said()
        paths = found(world, said=said)
        assert b"Z" in paths
        rules = ignore.load(
            world.top,
            on_error=said.on_error,
            on_note=said.notes.append,
            environ=world.environ,
        )
        assert all(b"\0" not in path for path in inputs_of(rules).rules)
        reload_tracked(rules)
        assert not any("\n" in note for note in said.notes)

    each_seed(150, one)
