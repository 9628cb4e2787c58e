"""Further steps in a repository that is worked in: what git keeps takes other forms."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from pathlib import Path

from projects import STEPS as PLAIN
from projects import Project, Step

ABOVE = [
    "/x/",
    "x",
    "src/",
    "x/src",
    "!x",
    "!src",
    "*",
    "!*/",
    "x/*",
    "!x/src",
    "*.secret",
    "x/src/out",
    "**/src/b",
    "!*.log",
]
CONDITIONS = [
    "gitdir:work/",
    "gitdir/i:**/SUB/.git",
    "gitdir:~/../work/",
    "onbranch:m",
    "onbranch:n",
    "hasconfig:remote.*.url:https://x/**",
]
INDEX = [
    *("--split-index", "--no-split-index", "--untracked-cache", "--no-untracked-cache"),
    *("--index-version=4", "--index-version=2", "--fsmonitor", "--really-refresh"),
]


class Forms(Project):
    """SRC may be two directories below the top; the rules above it may leave it out."""

    def __init__(self, base: Path, inside: bool = False) -> None:
        super().__init__(base, inside)
        self.middle = self.top / "x" if inside else self.top
        if inside:
            self.source.rmdir()
            self.source = self.middle / "src"
            self.source.mkdir(parents=True)
        self._aside: list[tuple[Path, Path]] = []

    def draw(self, dice: random.Random) -> Step:
        return dice.choice(STEPS), dice.randrange(1 << 30)

    def _listed(self, place: bytes, prefix: bytes) -> set[bytes] | None:
        top = self.ask("rev-parse", "--show-toplevel", place=Path(os.fsdecode(place)))
        # Of what is in none of its work tree git says nothing.
        if top is None or not (place + b"/").startswith(top.strip() + b"/"):
            return None
        return super()._listed(place, prefix)

    def _any(self, dice: random.Random) -> Path:
        return dice.choice(sorted(self._repositories()))

    def above(self, dice: random.Random) -> None:
        path = dice.choice([self.top, self.middle]) / ".gitignore"
        if not self.inside or dice.random() < 0.25:
            path.unlink()
        else:
            rules = dice.choices(ABOVE, k=dice.choice([1, 2, 3]))
            self._put(path, "".join(f"{rule}\n" for rule in rules), dice)

    def begin_above(self, dice: random.Random) -> None:
        place = dice.choice([self.middle, self.base])
        if (place / ".git").exists():
            if place != self.top:
                shutil.rmtree(place / ".git")
        else:
            self.git("init", "-q", place=place)

    def aside(self, dice: random.Random) -> None:
        """What git keeps is somewhere else for a while."""
        if self._aside and dice.random() < 0.6:
            here, there = self._aside.pop()
            if not os.path.lexists(here):
                there.rename(here)
            return
        names = (".git", ".git/index", ".git/info", ".git/config", ".git/refs")
        here = self._any(dice) / dice.choice(names)
        if dice.random() < 0.2:
            here = self.home / dice.choice([".config", ".gitconfig"])
        there = self.base / f"aside{self.serial}"
        here.rename(there)
        self._aside.append((here, there))

    def git_file(self, dice: random.Random) -> None:
        dot = self._any(dice) / ".git"
        if dot.is_symlink():
            to = dot.resolve()
            dot.unlink()
            to.rename(dot)
        elif dot.is_dir():
            apart = self.base / f"apart{self.serial}"
            dot.rename(apart)
            to = dice.choice([apart, Path(os.path.relpath(apart, dot.parent))])
            if dice.random() < 0.5:
                dot.symlink_to(to)
            else:
                dot.write_text(f"gitdir: {to}\n")

    def work_tree(self, dice: random.Random) -> None:
        place = self._any(dice)
        if not (place / ".git/config").is_file():
            return
        path = place / ".git/config"
        lines = path.read_text().splitlines()
        lines = [line for line in lines if "worktree =" not in line]
        if dice.random() < 0.6:
            to = dice.choice([place, place.parent, self.source, place / "sub"])
            lines += ["[core]", f"\tworktree = {to}"]
        path.write_text("\n".join(lines) + "\n")

    def case(self, dice: random.Random) -> None:
        value = dice.choice(["true", "false", "1", "off"])
        self.git("config", "core.ignoreCase", value, place=self._any(dice))

    def own_settings(self, dice: random.Random) -> None:
        place = self._any(dice)
        on = dice.choice(["true", "true", "false"])
        self.git("config", "extensions.worktreeConfig", on, place=place)
        file = dice.choice([str(self.home / "excludes0"), "a", "sub/b", ".git/x", ""])
        self.git("config", "--worktree", "core.excludesFile", file, place=place)

    def include(self, dice: random.Random) -> None:
        name = f"includeIf.{dice.choice(CONDITIONS)}.path"
        file = self.home / f"included{dice.randrange(2)}"
        kind = dice.random()
        if kind < 0.4:
            self.git("config", "--global", name, dice.choice([str(file), file.name]))
        elif kind < 0.6:
            self.git("config", "--global", "--unset-all", name)
        elif kind < 0.8:
            to = dice.choice(["~/excludes0", "~/excludes1", "excludes0", ""])
            self.git("config", "--file", str(file), "core.excludesFile", to)
        elif kind < 0.9:
            file.unlink()
        else:
            words = dice.choice([["https://x/y"], ["--unset-all"]])
            self.git("config", *words[1:], "remote.o.url", *words[:1])

    def index(self, dice: random.Random) -> None:
        word = dice.choice(INDEX)
        self.git("update-index", *word.split("="), place=self._any(dice))

    def skip(self, dice: random.Random) -> None:
        if self.inside:
            return  # git, asked below the top, forgets the rule files that only the index has
        path = self._directory(dice) / ".gitignore"
        word = dice.choice(["--skip-worktree", "--skip-worktree", "--no-skip-worktree"])
        self.git("update-index", word, str(path))
        if dice.random() < 0.5:
            path.unlink()
        elif dice.random() < 0.2:
            path.unlink()
            path.mkdir()

    def linked(self, dice: random.Random) -> None:
        words = dice.choice([["add", "-q", "--detach"], ["remove", "--force"]])
        self.git("worktree", *words, str(self._path(dice)))

    def merge(self, dice: random.Random) -> None:
        words = ["merge -q n", "merge --abort", "reset -q --hard", "rebase -q n"]
        words += ["rebase --abort", "reset -q", "clean -fdqX", "mv -k a b", "gc -q"]
        self.git(*dice.choice(words).split())

    def owner(self, dice: random.Random) -> None:
        """Somebody else's, for a while, as far as one may."""
        place = self._any(dice)
        for path in (place, place / ".git"):
            with contextlib.suppress(OSError):
                os.chown(path, dice.choice([os.geteuid(), 65534]), -1)
        if dice.random() < 0.3:
            value = dice.choice(["*", "", str(place)])
            self.git("config", "--global", "--add", "safe.directory", value)


STEPS = (
    PLAIN
    + [
        name.replace("_", " ")
        for name in vars(Forms)
        if not name.startswith("_") and name != "draw"
    ]
    * 2
)
