"""Random repositories in all the states that git knows, and what git lists in them."""

from __future__ import annotations

import os
import random
import subprocess

from ignoretrees import World, write

# fmt: off
FILES = [
    b"a", b"b", b"a.o", b"b.o", b"x.log", b"keep.log", b"A", b"B.o", b"main.c", b"\xc3\xa9",
    b"q\"t", b"out", b"build", b"lib", b"z.tmp", b"k.cache",
]
DIRS = [b"out", b"build", b"lib", b"src", b"app", b"Docs", b"\xffd", b"vendor"]
RULES = [
    b"*.o", b"*.log", b"!keep.log", b"/out/", b"build/", b"lib", b"*.tmp", b"src/*.o", b"/app/**/a",
    b"!/app/x/a", b"**/out", b"[ab]", b"!a", b"Docs/", b"docs/", b"*.O", b"/*", b"!/src/", b"!/app/",
    b"vendor/*", b"!vendor/a.o", b"ap**/a", b"/li**", b".gitignore", b"*.cache",
]
# fmt: on


class Random:
    """One work tree of ``world`` with repositories in it, made by ``seed``."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.steps: list[str] = []
        self.top = world.top
        world.environ.update(
            {
                b"GIT_AUTHOR_NAME": b"x", b"GIT_AUTHOR_EMAIL": b"x",
                b"GIT_COMMITTER_NAME": b"x", b"GIT_COMMITTER_EMAIL": b"x",
                b"GIT_ALLOW_PROTOCOL": b"file",
            }
        )  # fmt: skip

    def git(self, place: bytes, *words: str | bytes) -> bool:
        argv = [b"git", b"-C", place, *[os.fsencode(word) for word in words]]
        done = subprocess.run(argv, env=self.world.environ, stdout=-1, stderr=-1)
        shown = os.path.relpath(place, self.top).decode("utf-8", "surrogateescape")
        self.steps.append(f"{done.returncode} in {shown}: git {words}")
        return done.returncode == 0

    def make(self, inner: bool = True) -> None:
        rng = self.rng
        sha256 = rng.random() < 0.1
        more = ["--object-format=sha256"] if sha256 else []
        os.makedirs(self.top, exist_ok=True)
        self._begin(more)
        self._fill(self.top, 3)
        self._settings(self.top)
        for _ in range(rng.choice([0, 0, 1, 1, 2]) if inner else 0):
            self._inner()
        self._track(self.top)
        if rng.random() < 0.5:
            self.git(self.top, "commit", "-q", "-m", "x")
        self._form(self.top)
        self._change(self.top)

    def _begin(self, more: list[str]) -> None:
        self.git(self.top, "init", "-q", *more, ".")

    def _fill(self, place: bytes, depth: int) -> None:
        rng = self.rng
        for _ in range(rng.randrange(1, 5)):
            path = os.path.join(place, rng.choice(FILES))
            if not os.path.lexists(path):
                write(path, b"")
        if rng.random() < 0.5:
            lines = rng.choices(RULES, k=rng.randrange(1, 4))
            write(os.path.join(place, b".gitignore"), b"\n".join(lines) + b"\n")
        for _ in range(rng.randrange(0, 4) if depth else 0):
            path = os.path.join(place, rng.choice(DIRS))
            if not os.path.lexists(path):
                os.mkdir(path)
                self._fill(path, depth - 1)

    def _settings(self, place: bytes) -> None:
        rng = self.rng
        if rng.random() < 0.3:
            write(self.world.home + b"/.config/git/ignore", rng.choice(RULES) + b"\n")
        if rng.random() < 0.3:
            name = rng.choice([b"mine", self.world.home + b"/theirs"])
            write(os.path.join(place, name), b"\n".join(rng.choices(RULES, k=2)))
            self.git(place, "config", "core.excludesFile", name)
        if rng.random() < 0.1:
            self.git(
                place, "config", "core.ignoreCase", rng.choice(["true", "2", "on"])
            )
        if rng.random() < 0.3:
            exclude = os.path.join(place, b".git/info/exclude")
            if os.path.isdir(os.path.dirname(exclude)):
                write(exclude, rng.choice(RULES) + b"\n")

    def directories(self) -> list[bytes]:
        found = []
        for place, dirs, _ in os.walk(self.top):
            dirs[:] = sorted(name for name in dirs if name != b".git")
            found.append(place)
        return found

    def _inner(self) -> None:
        rng = self.rng
        place = os.path.join(rng.choice(self.directories()), rng.choice(DIRS))
        if os.path.lexists(place) and not os.path.isdir(place):
            return
        kind = rng.choice(["init", "init", "track first", "submodule", "worktree"])
        if kind == "submodule":
            other = self.world.home + b"/other"
            if not os.path.isdir(other):
                os.mkdir(other)
                self.git(other, "init", "-q")
                self._fill(other, 1)
                self.git(other, "add", "-f", ".")
                self.git(other, "commit", "-q", "-m", "x")
            path = os.path.relpath(place, self.top)
            self.git(self.top, "submodule", "add", "-q", "-f", other, path)
            if os.path.isdir(place):
                self._fill(place, 1)
                self._settings(place)
            return
        if kind == "worktree":
            self.git(self.top, "commit", "-q", "--allow-empty", "-m", "y")
            self.git(self.top, "worktree", "add", "-q", "--detach", place)
            return
        if not os.path.isdir(place):
            os.mkdir(place)
        self._fill(place, 1)
        if kind == "track first":
            self.git(self.top, "add", "-f", place)
        self.git(place, "init", "-q", ".")
        self._settings(place)
        self._track(place)

    def _track(self, place: bytes) -> None:
        rng = self.rng
        if rng.random() < 0.7:
            self.git(place, "add", ".")
        paths = []
        for inside, dirs, files in os.walk(place):
            dirs[:] = sorted(name for name in dirs if name != b".git")
            paths += [os.path.join(inside, name) for name in sorted(files)]
        for path in rng.sample(paths, min(len(paths), rng.randrange(0, 4))):
            self.git(place, "add", "-f", *rng.choice([[], ["-N"]]), path)

    def _form(self, place: bytes) -> None:
        """The index in another form."""
        rng = self.rng
        if rng.random() < 0.3:
            self.git(place, "update-index", "--index-version", rng.choice("234"))
        split = rng.random() < 0.25
        if split:
            self.git(place, "update-index", "--split-index")
        if rng.random() < 0.2:
            self.git(place, "update-index", "--untracked-cache")
        # git 2.39 writes a split index that is sparse wrongly.
        if rng.random() < 0.3 and not split:
            cone = rng.random() < 0.6
            words = ["--cone"] if cone else ["--no-cone"]
            if rng.random() < 0.6 and cone:
                words += ["--sparse-index"]
            dirs = [os.path.relpath(path, place) for path in self.directories()[1:]]
            chosen = [os.fsdecode(path) for path in rng.sample(dirs, min(2, len(dirs)))]
            self.git(place, "sparse-checkout", "set", *words, *chosen)
        if rng.random() < 0.2:
            self.git(place, "repack", "-q", "-a", "-d")
        if rng.random() < 0.2:
            rules = [
                os.path.join(path, b".gitignore")
                for path in self.directories()
                if os.path.isfile(os.path.join(path, b".gitignore"))
            ]
            for path in rng.sample(rules, min(len(rules), 2)):
                if self.git(place, "update-index", "--skip-worktree", path):
                    if rng.random() < 0.7:
                        os.unlink(path)

    def _change(self, place: bytes) -> None:
        """What one does after that."""
        rng = self.rng
        for path in rng.sample(self.directories(), 1):
            self._fill(path, 1)
        if rng.random() < 0.4:
            self._track(place)
        if rng.random() < 0.3:
            names = self.world.ask(b"", b"ls-files -z -c")
            for name in rng.sample(names, min(2, len(names))):
                self.git(place, "rm", "-q", "--cached", name)
        if rng.random() < 0.2:
            self.git(place, "status")

    def listed(self, place: bytes) -> set[bytes]:
        """What git lists in ``place``, and in the repositories inside as git asked there."""
        found = set()
        words = b"ls-files -z -c -o --exclude-standard"
        below = os.path.relpath(place, self.top)
        for path in self.world.ask(below, words):
            whole = os.path.join(place, path.rstrip(b"/"))
            if not os.path.isdir(whole) or os.path.islink(whole):
                if os.path.lexists(whole):
                    found.add(path)
            elif os.path.lexists(whole + b"/.git"):
                found |= {os.path.join(path, name) for name in self.listed(whole)}
        return found


CONDITIONS = [
    *("gitdir:top/", "gitdir:TOP/", "gitdir/i:TOP/", "gitdir:**/top/**", "gitdir:.git"),
    *(
        "gitdir:~/",
        "gitdir:./",
        "gitdir:",
        "gitdir:/",
        "gitdir:worktrees/",
        "gitdir:~/g/",
    ),
    *(
        "onbranch:m*",
        "onbranch:n/",
        "onbranch:**",
        "hasconfig:remote.*.url:https://x/**",
    ),
]
WORK_TREES = [b"..", b"../..", b"../lib", b"../src/..", b"../../top", b"%s/."]


class Unsaid(Exception):
    """Whom is one to ask?"""


class Apart(Random):
    """The git directory is somewhere else, and settings come by every way."""

    def _begin(self, more: list[str]) -> None:
        home, top = self.world.home, self.top
        kind = self.rng.choice(["plain", "separate", "linked", "file", "link"])
        self.steps.append(kind)
        self._common = top + b"/.git"
        if kind == "linked":
            self._common = home + b"/r/.git"
            self.git(home, "init", "-q", "-b", "main", *more, b"r")
            self.git(home + b"/r", "commit", "-q", "--allow-empty", "-m", "x")
            os.rmdir(top)
            words = self.rng.choice([["--detach"], ["-b", "n/x"]])
            self.git(home + b"/r", "worktree", "add", "-q", *words, top)
            return
        apart = [b"--separate-git-dir=" + home + b"/g"] if kind == "separate" else []
        self.git(top, "init", "-q", "-b", "main", *more, *apart, ".")
        if kind == "separate":
            self._common = home + b"/g"
        elif kind != "plain":
            os.rename(top + b"/.git", home + b"/g")
            to = self.rng.choice([home + b"/g", b"../home/g"])
            if kind == "link":
                os.symlink(to, top + b"/.git")
            else:
                self._common = home + b"/g"
                write(top + b"/.git", b"gitdir: " + to + self.rng.choice([b"", b"\n"]))

    def _settings(self, place: bytes) -> None:
        super()._settings(place)
        if place != self.top:
            return
        rng, home = self.rng, self.world.home
        for _ in range(rng.randrange(3)):
            name = rng.choice([b"~/theirs", self.top + b"/mine", b"mine", b"", b"~/no"])
            text = b"[core]\nexcludesFile = %s\n" % name
            for file in (home + b"/theirs", self.top + b"/mine"):
                write(file, b"\n".join(rng.choices(RULES, k=2)))
            self._set(text)
        if rng.random() < 0.3:
            self._set(b'[remote "o"]\nurl = https://x/y\n')
        if rng.random() < 0.3:
            where = rng.choice(WORK_TREES).replace(b"%s", self.top)
            self._set(b"[core]\nworktree = %s\n" % where)

    def _set(self, text: bytes) -> None:
        home = self.world.home
        files = [home + b"/.gitconfig", home + b"/.config/git/config"]
        files.append(self._common + b"/config")
        file = self.rng.choice(files)
        if self.rng.random() < 0.5:
            condition = self.rng.choice(CONDITIONS).encode()
            included = b"included%d" % self.rng.randrange(3)
            path = self.rng.choice([home + b"/" + included, b"~/" + included])
            self._append(file, b'[includeIf "%s"]\npath = %s\n' % (condition, path))
            file = home + b"/" + included
        elif self.rng.random() < 0.3:
            self.git(self.top, "config", "extensions.worktreeConfig", "true")
            out = self.world.ask(b"", b"rev-parse --absolute-git-dir")
            if not out:
                return
            file = out[0].strip() + b"/config.worktree"
        self._append(file, text)

    def _append(self, file: bytes, text: bytes) -> None:
        self.steps.append(f"{file!r}: {text!r}")
        with open(file, "ab") as out:
            out.write(text)

    def listed(self, place: bytes) -> set[bytes]:
        """Raises ``Unsaid`` where git, asked there, does not speak of what is there."""
        below = os.path.relpath(place, self.top)
        tops = self.world.ask(below, b"rev-parse --show-toplevel")
        top = tops[0].rstrip(b"\n") if tops else b"?"
        here = os.path.realpath(place) + b"/"
        if not here.startswith(top.rstrip(b"/") + b"/"):
            raise Unsaid
        # With a work tree above it, a `.git` that is a file is that of a repository inside to git.
        if os.path.isfile(self.top + b"/.git") and top != os.path.realpath(self.top):
            raise Unsaid
        return super().listed(place)
