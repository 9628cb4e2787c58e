"""Random trees with random ignore files, and what git says about them.

Many trees are laid side by side in one work tree, so that one git process answers for
all of them. A tree that disagrees is then tried alone and made smaller, until nothing can
be taken away without git and filerep agreeing again.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence

from filerep.rules import ignore, walking
from filerep.rules.userrules import Asked

Tree = dict[bytes, bytes]  # path to contents; a path that ends in "/" is a directory

# fmt: off
NAMES = [
    b"a", b"b", b"ab", b"abc", b"foo", b"foobar", b"fo", b"bar", b".a", b"a.o", b"b.c",
    b"a.o.c", b"a b", b"a ", b" ", b"\\", b"a\\", b"[a]", b"a]", b"]", b"[", b"!a", b"#a",
    b"*", b"**", b"?", b"a\r", b"\t", b"a\n", b"\xc3\xa9", b"\xff", b"x\xffy", b"-", b"^",
    b"!", b"A", b"Ab", b"B1", b"1", b"a-b", b"a:b", b"\xef\xbb\xbfa", b"aa", b"aaa", b"ba",
    b"gitignore", b".git2", b"a,b", b"{a,b}", b"+", b"$", b"(a)", b"a|b", b"\x7f", b"~",
]
DIR_NAMES = [b"a", b"b", b"foo", b"fo", b"d", b"ab", b"a.o", b"x y", b"\xc3\xa9", b"*", b"A"]
BRACKETS = [
    b"[ab]", b"[a-c]", b"[!a]", b"[^a]", b"[]a]", b"[!]a]", b"[]-a]", b"[a-]", b"[-a]",
    b"[a", b"[", b"[]", b"[!]", b"[!", b"[^", b"[a-", b"[\\]]", b"[\\a]", b"[a\\]", b"[\\",
    b"[a/b]", b"[/]", b"[!/]", b"[[:alpha:]]", b"[[:digit:]]", b"[![:space:]]",
    b"[[:upper:]]", b"[[:lower:]b]", b"[[:nope:]]", b"[[:alpha:]", b"[[:alpha]]", b"[[:]]",
    b"[[::]]", b"[[:a]", b"[[.a.]]", b"[[=a=]]", b"[[:punct:][:alnum:]]", b"[[:alpha:]-z]",
    b"[a-[:digit:]]", b"[\xc3\xa9]", b"[\x80-\xff]", b"[!\x80-\xff]", b"[c-a]", b"[a-\\c]",
    b"[\\a-c]", b"[--0]", b"[ -~]", b"[*]", b"[?]", b"[[]", b"[]]", b"[][!]", b"[a-c-z]",
    b"[[:xdigit:]]", b"[[:cntrl:]]", b"[[:print:]]", b"[[:graph:]]", b"[[:blank:]]",
    b"[!!]", b"[^!]", b"[!^]", b"[ ]", b"[#]",
]
ATOMS = [
    b"*", b"*", b"*", b"**", b"***", b"?", b"\\", b"\\\\", b"\\*", b"\\/", b"\\a", b"\\!",
    b"/", b"/", b"//", b"**/", b"/**", b"/**/", b"**\\/", b"\\ ", b" ", b"\t", b".", b"..",
    b"a", b"b", b"o", b"foo", b"fo", b".o", b"\xc3", b"\xa9", b"\xff", b"#", b"!", b"\r",
]
WHOLE = [
    b"*", b"**", b"/*", b"*/", b"/", b"//", b"///", b"!", b"!/", b"\\", b"!*", b"!*/",
    b"**/", b"/**", b"!/**", b"a/**", b"**/a", b"a/**/b", b"!a/", b"*.o", b".*", b"!.a",
    b"*.[co]", b"?", b"??", b"[!a]", b"foo**", b"/foo**", b"/foo**/bar", b"/fo**/", b"!!a",
    b"\\!a", b"\\#a", b"#a", b"# x", b"a/*", b"!a/b", b"*/b", b"/*/b", b"**/**", b"**/*/",
    b"a**", b"**a", b"a/**b", b"a**/b", b"**/foo/**", b".gitignore", b"!.gitignore",
    b"/a*/**/b*", b"*/**/a", b"**/*/**", b"f*o/**/*", b"/a**//", b"a/**/**/b",
]
# fmt: on


BAD_EXCLUDE = re.compile(rb"^[#!]|[ \r]$|\0")


def name(rng: random.Random, names: list[bytes]) -> bytes:
    return rng.choice(names if rng.random() < 0.7 else names[:8])


def bracket(rng: random.Random) -> bytes:
    if rng.random() < 0.8:
        return rng.choice(BRACKETS)
    inner = rng.choices(
        [b"a", b"b", b"-", b"]", b"[", b":", b"!", b"\\", b"z", b"0"], k=4
    )
    return b"[" + b"".join(inner) + b"]"


def blur(rng: random.Random, path: bytes) -> bytes:
    """A pattern that is likely to match ``path``."""
    parts = path.strip(b"/").split(b"/")
    if rng.random() < 0.6:
        parts = parts[rng.randrange(len(parts)) :]
    out = []
    for part in parts:
        roll = rng.random()
        if roll < 0.12:
            part = rng.choice([b"*", b"**", b"?", b"***", b""])
        elif roll < 0.5:
            at = rng.randrange(len(part) + 1)
            end = rng.randrange(at, len(part) + 1)
            filler = rng.choice([b"*", b"?", b"**", bracket(rng), b"", b"**/", b"/**"])
            part = part[:at] + filler + part[end:]
        out.append(part)
        if rng.random() < 0.12:
            out.append(b"**")
    if rng.random() < 0.15:
        out.insert(0, b"**")
    return rng.choice([b"/", b"/", b"/", b"/", b"\\/"]).join(out)


def line(rng: random.Random, paths: list[bytes]) -> bytes:
    roll = rng.random()
    if roll < 0.5 and paths:
        text = blur(rng, rng.choice(paths))
    elif roll < 0.65:
        text = rng.choice(WHOLE)
    elif roll < 0.75:
        text = name(rng, NAMES)
    else:
        pieces = [
            bracket(rng) if rng.random() < 0.2 else rng.choice(ATOMS)
            for _ in range(rng.randrange(1, 6))
        ]
        text = b"".join(pieces)
    if rng.random() < 0.25:
        text = b"!" + text
    if rng.random() < 0.15:
        text = b"/" + text
    if rng.random() < 0.2:
        text += b"/"
    if rng.random() < 0.1:
        text += rng.choice([b" ", b"  ", b"\\ ", b"\\", b"\\\\ ", b"\t", b"\r", b"\0x"])
    return text.replace(b"\n", b"")


def ignore_file(rng: random.Random, paths: list[bytes]) -> bytes:
    lines = [line(rng, paths) for _ in range(rng.choice([1, 1, 2, 3, 4, 8]))]
    end = rng.choice([b"\n", b"\n", b"\n", b"\r\n"])
    text = end.join(lines) + (end if rng.random() < 0.8 else b"")
    return b"\xef\xbb\xbf" + text if rng.random() < 0.05 else text


def tree(rng: random.Random) -> Tree:
    dirs = [b""]
    for _ in range(rng.randrange(6)):
        dirs.append(rng.choice(dirs) + name(rng, DIR_NAMES) + b"/")
    found: Tree = {}
    for place in dirs:
        for _ in range(rng.randrange(1, 6)):
            path = place + name(rng, NAMES)
            if path + b"/" not in dirs:
                found[path] = b""
    for place in dirs:
        if rng.random() < (0.8 if not place else 0.35):
            below = [path[len(place) :] for path in found if path.startswith(place)]
            below += [path[len(place) :] for path in dirs if path.startswith(place)]
            below = [path for path in below if path]
            found[place + b".gitignore"] = ignore_file(rng, below)
    return found


class World:
    """A work tree in ``place``, and a home directory of its own beside it."""

    def __init__(self, place: bytes) -> None:
        self.top = os.path.join(place, b"top")
        self.home = os.path.join(place, b"home")
        for path in (self.top, self.home + b"/.config/git"):
            os.makedirs(path, exist_ok=True)
        self.environ = {
            b"HOME": self.home,
            b"PATH": os.environb[b"PATH"],
            b"GIT_CONFIG_NOSYSTEM": b"1",
            b"GIT_CEILING_DIRECTORIES": place,
        }

    def repository(self, exclude: bytes = b"", user: bytes = b"") -> None:
        """An empty repository, quicker than git init."""
        shutil.rmtree(self.top)
        for part in (b"objects", b"refs", b"info"):
            os.makedirs(os.path.join(self.top, b".git", part))
        write(os.path.join(self.top, b".git/HEAD"), b"ref: refs/heads/x\n")
        write(os.path.join(self.top, b".git/info/exclude"), exclude)
        write(os.path.join(self.home, b".config/git/ignore"), user)

    def fill(self, below: bytes, files: Tree) -> None:
        made = set()
        for path, text in files.items():
            path = os.path.join(self.top, below, path)
            parent = os.path.dirname(path)
            if parent not in made:
                os.makedirs(parent, exist_ok=True)
                made.add(parent)
            if not path.endswith(b"/"):
                write(path, text)

    def git(self, below: bytes = b"", exclude: Sequence[bytes] = ()) -> set[bytes]:
        more = [b"--exclude=" + pattern for pattern in exclude]
        return set(self.ask(below, b"ls-files -z -c -o --exclude-standard", more=more))

    def ask(
        self,
        below: bytes,
        words: bytes,
        entries: bytes = b"",
        more: Sequence[bytes] = (),
    ) -> list[bytes]:
        place = os.path.join(self.top, below)
        argv = [b"git", b"-C", place, *words.split(), *more]
        out = subprocess.run(argv, env=self.environ, stdout=-1, input=entries).stdout
        return [path for path in out.split(b"\0") if path]

    def ours(self, below: bytes = b"", exclude: Sequence[bytes] = ()) -> set[bytes]:
        place = os.path.join(self.top, below)
        asked = Asked(exclude=exclude)
        rules = ignore.load(place, asked, on_error=fail, environ=self.environ)
        found = list(walking.walk(place, rules, fail))
        assert len(found) == len(set(found)), "a path came twice"
        return set(found)


def in_memory() -> bytes:
    """A new directory, in memory if the system has such a place."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return os.fsencode(tempfile.mkdtemp(prefix="fr-trees-", dir=place))


@contextlib.contextmanager
def as_ordinary_user() -> Iterator[bytes]:
    """A new directory, and permissions that hold: root becomes nobody meanwhile."""
    place = in_memory()
    root = os.geteuid() == 0
    if root:
        os.chown(place, 65534, 65534)
        os.seteuid(65534)
    try:
        yield place
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(place)


def fail(action: str, path: bytes, error: OSError) -> None:
    raise AssertionError(f"cannot {action} {path!r}: {error}")


def write(path: bytes, text: bytes) -> None:
    with open(path, "wb") as file:
        file.write(text)


class Batch:
    """Trees that share an exclude file, a user's ignore file and rules at the top."""

    def __init__(self, seed: int, trees: int) -> None:
        rng = random.Random(seed)
        self.trees = {b"%d" % number: tree(rng) for number in range(trees)}
        paths = [path for files in self.trees.values() for path in files]
        some = [self._lines(rng, paths) for _ in range(4)]
        self.shared = [b"\n".join(lines) for lines in some[:3]]
        # git takes no comments and trims nothing there.
        self.exclude = [text for text in some[3] if not BAD_EXCLUDE.search(text)]
        self.sources = []
        for number in rng.sample(sorted(self.trees), min(6, trees)):
            dirs = sorted({os.path.dirname(path) for path in self.trees[number]})
            self.sources.append((number, rng.choice([b"", *dirs])))

    @staticmethod
    def _lines(rng: random.Random, paths: list[bytes]) -> list[bytes]:
        if rng.random() < 0.6:
            return []
        lines = [line(rng, paths) for _ in range(2)]
        # At the top a star would take all trees away at once.
        return [text for text in lines if text.strip(b"*/? \r\t!\\")]

    def disagreements(self, world: World) -> Iterator[tuple[bytes, Check]]:
        """Names of trees, and what to look at to see that they differ."""
        lay(world, self.shared, self.trees)
        checks = [Check(None), Check(None, self.exclude)]
        for check in checks if self.exclude else checks[:1]:
            for path in check.differ(world, b""):
                yield path.partition(b"/")[0], check
        for number, below in self.sources:
            check = Check(below)
            if check.differ(world, number):
                yield number, check


class Check:
    """One way to compare: SRC at the top, or at a directory of a tree."""

    def __init__(self, below: bytes | None, exclude: Sequence[bytes] = ()) -> None:
        self.below = below
        self.exclude = exclude

    def __repr__(self) -> str:
        return f"SRC {self.below!r}, --exclude {self.exclude!r}"

    def differ(self, world: World, tree: bytes) -> set[bytes]:
        """The paths that only one of git and filerep names."""
        place = b"" if self.below is None else os.path.join(tree, self.below)
        if not os.path.isdir(os.path.join(world.top, place)):
            return set()
        git = world.git(place, self.exclude)
        # git lists nothing in a directory that is itself ignored.
        if not git and self.below is not None:
            return set()
        return git ^ world.ours(place, self.exclude)


def lay(world: World, shared: list[bytes], trees: dict[bytes, Tree]) -> None:
    world.repository(shared[0], shared[1])
    if shared[2]:
        world.fill(b"", {b".gitignore": shared[2]})
    for number, files in trees.items():
        world.fill(number, files)


def shrink(
    world: World, shared: list[bytes], tree: bytes, files: Tree, check: Check
) -> str:
    """The smallest disagreement that taking things away leads to, as Python text."""

    def differ(shared: list[bytes], files: Tree) -> set[bytes]:
        lay(world, shared, {tree: files})
        return check.differ(world, tree)

    if not differ(shared, files):
        return f"only among other trees: {shared!r}, {files!r}"
    smaller = True
    while smaller:
        smaller = False
        for less_shared, less in smaller_ones(shared, files):
            if differ(less_shared, less):
                shared, files, smaller = less_shared, less, True
                break
    return (
        f"{check}: exclude, user, top = {shared!r}\nfiles = {files!r}\n"
        f"git and filerep differ in {sorted(differ(shared, files))!r}"
    )


def smaller_ones(
    shared: list[bytes], files: Tree
) -> Iterator[tuple[list[bytes], Tree]]:
    for at, text in enumerate(shared):
        for less in less_text(text):
            yield [*shared[:at], less, *shared[at + 1 :]], files
    for path in files:
        yield shared, {p: text for p, text in files.items() if p != path}
    for path, text in files.items():
        for less in less_text(text):
            yield shared, {**files, path: less}


def less_text(text: bytes) -> Iterator[bytes]:
    lines = text.split(b"\n")
    if len(lines) > 1:
        for at in range(len(lines)):
            yield b"\n".join(lines[:at] + lines[at + 1 :])
    for at in range(len(text) if len(lines) < 3 else 0):
        yield text[:at] + text[at + 1 :]


def hunt(world: World, seed: int, trees: int, go_on: Callable[[int], bool]) -> int:
    """Batch after batch while ``go_on(trees so far)``; raises AssertionError."""
    done = 0
    while go_on(done):
        batch = Batch(seed, trees)
        for number, check in batch.disagreements(world):
            files = batch.trees[number]
            small = shrink(world, batch.shared, number, files, check)
            raise AssertionError(f"seed {seed}, tree {number.decode()}, {small}")
        done += trees
        seed += 1
    return done
