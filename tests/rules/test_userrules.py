"""The user's own files of rules, and what editors leave beside a file."""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path

import pytest
from ignoretrees import World, fail, write
from test_ignore import git

from filerep.rules import dockerignore, ignore, userrules, walking
from filerep.rules.explaining import why
from filerep.rules.inputs import inputs_of
from filerep.rules.userrules import Asked


@pytest.fixture
def world(tmp_path: Path) -> World:
    place = World(os.fsencode(tmp_path))
    place.repository()
    return place


def walked(world: World, gitignore: bool = True, **more: object) -> set[bytes]:
    asked = Asked(**more)  # type: ignore[arg-type]
    rules = ignore.load(
        world.top, asked, gitignore=gitignore, on_error=fail, environ=world.environ
    )
    return set(walking.walk(world.top, rules, fail)) - {b".gitignore"}


# -- files


def test_files_of_rules_are_weaker_than_options(world: World) -> None:
    world.fill(b"", dict.fromkeys([b"a.o", b"b.o", b"c.log", b"d/e.o", b"d/f"], b""))
    file, other = world.home + b"/rules", world.home + b"/more"
    write(file, b"# comment\n*.o\n/d/\n")
    write(other, b"!b.o\n")
    assert walked(world, exclude_from=[file]) == {b"c.log"}
    assert walked(world, exclude_from=[file, other]) == {b"b.o", b"c.log"}
    assert walked(world, exclude_from=[other, file]) == {b"c.log"}
    assert walked(world, exclude_from=[file], exclude=[b"!a.o"]) == {b"a.o", b"c.log"}
    assert walked(world, exclude_from=[file], include_from=[file]) == {
        *(b"a.o", b"b.o", b"c.log", b"d/e.o", b"d/f"),
    }
    write(world.top + b"/.gitignore", b"*.log\nd\n")
    write(file, b"*.log\n/d/e.o\n")
    assert walked(world, include_from=[file]) == {b"a.o", b"b.o", b"c.log", b"d/e.o"}


def test_which_line_of_which_file_decides(world: World) -> None:
    write(world.home + b"/rules", b"x\n\n*.o\n")
    asked = Asked(exclude_from=[world.home + b"/rules"], exclude=[b"*.a"])
    rules = ignore.load(world.top, asked, on_error=fail, environ=world.environ)
    rule = why(rules, b"a.o", False)
    assert rule and (rule.source, rule.line) == (world.home + b"/rules", 3)
    rule = why(rules, b"a.a", False)
    assert rule and (rule.source, rule.line) == (b"--exclude", 1)
    assert world.home + b"/rules" in inputs_of(rules).rules


def test_a_file_that_is_of_no_use_is_said(world: World, tmp_path: Path) -> None:
    os.mkfifo(world.home + b"/fifo")
    write(world.home + b"/nul", b"a\0b\0")
    write(world.home + b"/bad.dockerignore", b"ok\n[a\n")
    write(world.home + b"/lone.dockerignore", b"\n!\n")
    for name, said in {
        b"nothing": "No such file",
        b"fifo": "no regular file",
        b"": "no regular file",
        b"nul": "NUL bytes",
        b"bad.dockerignore": "line 2: ",
        b"lone.dockerignore": "line 2: ",
    }.items():
        with pytest.raises(userrules.BadFile, match=said):
            walked(world, exclude_from=[world.home + b"/" + name])
    with pytest.raises(userrules.BadFile, match="goes with --exclude-from"):
        walked(world, include_from=[world.home + b"/bad.dockerignore"])


def test_what_a_file_said_holds_while_it_is_replaced(world: World) -> None:
    world.fill(b"", {b"secret": b"", b"a": b""})
    file = world.home + b"/rules"
    write(file, b"secret\n")
    assert walked(world, exclude_from=[file]) == {b"a"}
    os.unlink(file)
    assert walked(world, exclude_from=[file]) == {b"a"}
    write(file, b"a\n")
    assert walked(world, exclude_from=[file]) == {b"secret"}


# -- .dockerignore

# By moby's own tests and Docker's manual: a pattern, a path, whether it is left out.
DOCKER = [
    ("**", "file", True), ("**/", "file", True), ("**", "dir/file", True), ("**/**", "dir/file", True),
    ("dir/**", "dir/file", True), ("dir/**", "dir/dir2/file", True), ("**/dir", "dir", True),
    ("**/dir", "dir/file", True), ("**/dir2/*", "dir/dir2/file", True), ("**/dir2/**", "dir/dir2/dir3/file", True),
    ("**file", "file", True), ("**file", "dir/file", True), ("**/file", "dir/dir/file", True),
    ("**/file*", "dir/dir/file.txt", True), ("**/file*txt", "dir/dir/file.txt", True),
    ("**/**/*.txt", "dir/dir/file.txt", True), ("**/**/*.txt2", "dir/dir/file.txt", False),
    ("**/*.txt", "file.txt", True), ("a**/*.txt", "a/file.txt", True), ("a**/*.txt", "a/dir/dir/file.txt", True),
    ("a/*.txt", "a/dir/file.txt", False), ("a/*.txt", "a/file.txt", True), ("a/*.txt**", "a/file.txt", True),
    ("a[b-d]e", "ae", False), ("a[b-d]e", "ace", True), ("a[b-d]e", "aae", False), ("a[^b-d]e", "aze", True),
    (".*", ".foo", True), (".*", "foo", False), ("abc.def", "abcdef", False), ("abc.def", "abcZdef", False),
    ("abc?def", "abcZdef", True), ("abc?def", "abcdef", False), ("a\\*b", "a*b", True), ("a\\*b", "axb", False),
    ("**/foo/bar", "foo/bar", True), ("**/foo/bar", "dir/foo/bar", True), ("abc/**", "abc", False),
    ("abc/**", "abc/def", True), ("**/.foo", ".foo", True), ("**/.foo", "bar.foo", False),
    ("a(b)c/def", "a(b)c/def", True), ("a(b)c/def", "a(b)c/xyz", False), ("a.|)$(}+{bc", "a.|)$(}+{bc", True),
    ("*.o", "a.o", True), ("*.o", "d/a.o", False), ("/d", "d/a", True), ("./d/../d/", "d/a", True), ("d", "x/d", False),
    ("dist/", "dist/a/b", True), ("  pad  ", "pad", True), ("#a", "#a", False), ("[a-]", "a", None), ("a[", "a", None),
    ("**.env", "prod.env", True), ("**.env", "d/prod.env", True), ("**.env", "a.env.d", False),
    ("**a/b", "d/xa/b", True), ("**a/*", "xa/b", False), ("**.e[n]v", "a.env", False), ("^a", "^a", True),
    ("**/^", "^", True), ("^*", "a", True), ("^*", "^a", True), ("*^", "^", False), ("a^b*", "a^b", False),
    ("[[:digit:]]", "1", True), ("[[:digit:]]", ":]", False), ("[x[:alpha:]]", "b", True), ("[[:no:]]", "n", None),
    ("\\d*", "1a", True), ("\\d*", "da", False), ("\\y", "y", None), ("\\.a", ".a", True),
    ("[\\]]", "]", True), ("[]a]", "a", None), ("f\\", "f", None), ("f?", "fé", True), ("*", "a\nb", True),
    # As docker build 28 has it, which leaves these to Go's regexes.
    ("a|b", "a|b", True), ("a|b", "b", False), ("a|b*", "b", True), ("a|b*", "a/x", True),
    ("a|b*", "d/bc", True), ("a|b*", "da", False), ("d|a*|b", "xay", True), ("d|a*|b", "xd", False),
    ("|^b*|", "x", True), ("x{2}*", "xx", True), ("x{2}*", "x{2}", False), ("x{1,2}[a]", "xa", True),
    ("x{,2}*", "x{,2}", True), ("x{3}", "x{3}", True), ("?{2,}", "a", False), ("?{2,}", "abc", True),
    ("{0}a*", "ba", True), ("{2}a*", "ba", False), ("*{2}", "a", None), ("a{2}{2}*", "a", None),
    ("a|{2}*", "a", None), ("a{1001}*", "a", None),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "path", "left_out"), DOCKER)
def test_docker_s_patterns(pattern: str, path: str, left_out: bool | None) -> None:
    try:
        rules = dockerignore.DockerRules(b"f", pattern.encode())
    except dockerignore.BadPattern:
        assert left_out is None
        return
    assert rules.hides(path.encode(), False) is left_out


def test_what_docker_s_exceptions_lead_to() -> None:
    rules = dockerignore.DockerRules(b"f", b"*\n!a{2}/b*\n")
    assert not rules.hides(b"aa", True) and not rules.hides(b"aa/bc", False)
    assert rules.hides(b"aa/c", False) and rules.hides(b"d/bc", False)
    rules = dockerignore.DockerRules(b"f", b"*\n!a|b*\n")
    assert not rules.hides(b"d", True) and not rules.hides(b"d/xb", False)


def test_many_stars_of_docker_s_mean_the_same_as_few() -> None:
    rng = random.Random(4)
    words = ["a", "b", "/", "*", "**", "**/", "?", "[ab]", "[^a]", "\\a", "|", "^"]
    for _ in range(3000):
        text = "".join(rng.choices([*words, "b{2}", "a{0,3}"], k=rng.randrange(1, 9)))
        for pieces in dockerignore.to_regex(text):
            regex = re.compile("(?s)" + "".join(map("".join, pieces)))
            steps = dockerignore.Steps(pieces)
            for _ in range(20):
                path = "".join(rng.choices("aab/", k=rng.randrange(1, 9)))
                assert steps.match(path) == bool(regex.fullmatch(path)), (text, path)


@pytest.mark.parametrize("piece", ["*a", "**/a/", "**/*a", "a{0,9}"])
def test_many_stars_of_docker_s_take_no_time(piece: str) -> None:
    rules = dockerignore.DockerRules(b"f", (piece * 30 + "b\n").encode())
    before = time.process_time()
    assert not rules.hides(b"a" * 200, False) and not rules.hides(b"a/" * 500, False)
    assert rules.hides(b"a/" * 30 + b"b/c", False) is (piece == "**/a/")
    assert time.process_time() - before < 5


def test_a_dockerignore_by_its_own_rules(world: World) -> None:
    names = [b"a.md", b"README.md", b"docs/a.md", b"docs/keep/README.md", b"docs/x"]
    names += [b"x.o", b"d/x.o", b"secret/key", b"secret/public/key"]
    world.fill(b"", dict.fromkeys(names, b""))
    write(
        world.top + b"/.dockerignore",
        b"# comment\n.dockerignore\n*.o\n\n*.md\n!README.md\ndocs\n!docs/keep/README.md\n"
        b"secret\n!**/public\n",
    )
    file = world.top + b"/.dockerignore"
    expected = {b"README.md", b"docs/keep/README.md", b"d/x.o", b"secret/public/key"}
    assert walked(world, exclude_from=[file]) == expected
    assert walked(world, exclude_from=[file], include=[b"x.o"]) == {*expected, b"x.o"}
    assert walked(world, exclude_from=[file], exclude=[b"README.md"]) == {
        *(b"d/x.o", b"secret/public/key")
    }
    asked = Asked(exclude_from=[file])
    rules = ignore.load(world.top, asked, on_error=fail, environ=world.environ)
    rule = why(rules, b"x.o", False)
    assert rule and (rule.line, rule.text) == (3, b"*.o")


def test_an_exception_that_was_not_needed_for_a_directory_is_none_for_what_is_in_it(
    world: World,
) -> None:
    """As `docker build` has it: what is left out of a directory that was never left out itself."""
    names = [b"config/a", b"config/b.key", b"own/a", b"own/b.key", b"own/c/d.key"]
    world.fill(b"", dict.fromkeys(names, b""))
    file = world.top + b"/.dockerignore"
    write(file, b".dockerignore\n**/*.key\nown\n!config\n!own\n")
    expected = {b"config/a", b"own/a", b"own/b.key", b"own/c/d.key"}
    assert walked(world, exclude_from=[file]) == expected
    write(file, b".dockerignore\nown\n!config\n!own\n**/*.key\n")
    assert walked(world, exclude_from=[file]) == {b"config/a", b"own/a"}


# -- editors

EDITORS = (
    b".a.swp .a.swo .swp .a.swx 4913 a~ .a.un~ .#a #a# a___jb_tmp___ a___jb_old___"
    b" .a.kate-swp .goutputstream-X1Y2 settings.json.vsctmp d/e/b~"
).split()


def test_what_editors_leave_does_not_count(world: World) -> None:
    world.fill(b"", {**dict.fromkeys(EDITORS, b""), b"a": b"", b"d~/f": b"", b"~": b""})
    world.fill(b"", {b"movie.swf": b"", b"49130": b"", b"x#": b"", b"#y": b""})
    ours = {b"a", b"d~/f", b"~", b"movie.swf", b"49130", b"x#", b"#y"}
    assert walked(world, editor_files=False) == ours
    assert walked(world) == {*ours, *EDITORS}
    bare = walked(world, gitignore=False, editor_files=False)
    assert bare & set(EDITORS) == set() and b".git/HEAD" in bare and ours < bare


def test_a_tracked_file_of_an_editor_s_name_counts(world: World) -> None:
    world.fill(b"", dict.fromkeys([b"a~", b"b~", b"lib/c~", b"lib/d~", b"d/4913"], b""))
    git(world, "add", "-f", "a~", "d/4913")
    git(world, "init", "-q", "lib")
    git(world, "add", "-f", "c~", at=b"lib")
    expected = {b"a~", b"lib/c~", b"d/4913"}
    assert walked(world, editor_files=False) == expected
    bare = walked(world, gitignore=False, editor_files=False)
    assert {path for path in bare if b".git" not in path} == expected


def test_any_rule_is_stronger_than_those_for_editors(world: World) -> None:
    world.fill(b"", {b"a~": b"", b".#b": b"", b".gitignore": b"!*~\n"})
    assert walked(world, editor_files=False) == {b"a~"}
    assert walked(world, editor_files=False, include=[b".#*"]) == {b"a~", b".#b"}
    assert walked(world, editor_files=False, exclude=[b"*~"]) == set()
    asked = Asked(editor_files=False)
    rules = ignore.load(world.top, asked, on_error=fail, environ=world.environ)
    rule = why(rules, b".#b", False)
    assert rule and rule.source.endswith(b"editors.gitignore") and rule.text == b".#*"
