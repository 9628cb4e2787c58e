"""A repository that is worked in: random steps that change what counts, and git's answer.

What counts follows from ignore files at every level, the user's own, settings, the index and
where repositories begin. Each step changes one of these, or a file. ``listed`` is what git
lists after it, in the repository and in those inside it.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
from pathlib import Path

NAMES = ["a", "b", "c.log", "k.secret", "sub", "out", "keys"]
PATTERNS = [
    "*.secret",
    "*.log",
    "/out/",
    "keys/",
    "sub",
    "!k.secret",
    "!*.log",
    "/a",
    "*",
    "!*/",
    "!.gitignore",
    "**/b",
    "out/*",
    "!out/a",
    "sub/**/c.log",
    "",
]
Step = tuple[str, int]


class Project:
    """A home, a repository in it, and SRC, which is its top or lies in it."""

    def __init__(self, base: Path, inside: bool = False) -> None:
        self.base = base
        self.home = base / "home"
        self.top = base / "work"
        self.source = self.top / "src" if inside else self.top
        self.inside = inside
        self.source.mkdir(parents=True)
        self.home.mkdir()
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "n",
            "GIT_AUTHOR_EMAIL": "e@x",
            "GIT_COMMITTER_NAME": "n",
            "GIT_COMMITTER_EMAIL": "e@x",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }
        self.environ.pop("XDG_CONFIG_HOME", None)
        self.serial = 0
        self.put: set[str] = set()  # files of rules that were written lately
        self.git("init", "-q", "-b", "m", place=self.top)
        # Another repository, for submodules.
        other = base / "other"
        self.git("init", "-q", "-b", "m", str(other), place=base)
        (other / "a").write_text("a")
        (other / ".gitignore").write_text("*.log\n")
        self.git("add", ".", place=other)
        self.git("commit", "-qm", "x", place=other)

    def git(self, *words: str, place: Path | None = None) -> bytes:
        """What git prints; a command that fails has done nothing, which is a step too."""
        return self.ask(*words, place=place) or b""

    def ask(self, *words: str, place: Path | None = None) -> bytes | None:
        """What git prints, None if it fails."""
        ended = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *words],
            cwd=place or self.source,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        return ended.stdout if not ended.returncode else None

    # What git says.

    def listed(self) -> set[bytes] | None:
        """Every file and link that git lists below SRC, and that is there.

        None if SRC is in no repository, or is ignored in it: its rules do not hold then.
        """
        if (
            self.inside
            and self.ask("check-ignore", "-q", "--no-index", ".") is not None
        ):
            return None
        return self._listed(os.fsencode(self.source), b"")

    def _listed(self, place: bytes, prefix: bytes) -> set[bytes] | None:
        out = self.ask(
            *("ls-files", "-z", "-co", "--exclude-standard"),
            place=Path(os.fsdecode(place)),
        )
        if out is None:
            return None
        found = set()
        for name in set(out.split(b"\0")) - {b""}:
            path = os.path.join(place, name)
            if os.path.isdir(path) and not os.path.islink(path):
                # A repository inside: git names it and does not look into it.
                inner = name.rstrip(b"/") + b"/"
                # A submodule that was moved makes git list the place that it came from.
                if inner != b"./" and os.path.lexists(os.path.join(path, b".git")):
                    more = self._listed(os.path.join(place, inner), prefix + inner)
                    found |= more or set()
            elif os.path.lexists(path):
                found.add(prefix + name)
        return found

    def hides_since_it_was_put(self, path: bytes) -> bool:
        """Is ``path`` ignored only for what one of ``put`` says?

        Most are emptied or removed before they are written, and git lists it in that moment.
        """
        place = self.source / os.fsdecode(os.path.dirname(path))
        words = (
            "check-ignore",
            "-v",
            "--no-index",
            os.fsdecode(os.path.basename(path)),
        )
        top = self.ask("rev-parse", "--show-toplevel", place=place) or b""
        source = (self.ask(*words, place=place) or b"").partition(b":")[0]
        return os.path.realpath(os.path.join(top.strip(), source)) in map(
            os.fsencode, self.put
        )

    # Steps. Each is a name and a seed, so that a list of them can be tried again.

    def draw(self, dice: random.Random) -> Step:
        return dice.choice(STEPS), dice.randrange(1 << 30)

    @property
    def is_gone(self) -> bool:
        """Has git removed SRC, with the last file in it? No run goes on without."""
        return not self.source.is_dir()

    def do(self, step: Step) -> None:
        name, seed = step
        self.serial += 1
        with contextlib.suppress(OSError, shutil.Error):
            getattr(self, name.replace(" ", "_"))(random.Random(seed))

    def _path(self, dice: random.Random, root: Path | None = None) -> Path:
        parts = dice.choices(NAMES, k=dice.choice([1, 1, 2, 2, 3]))
        return self._inside((root or self.source).joinpath(*parts))

    def _directory(self, dice: random.Random) -> Path:
        known = [Path(at) for at, _, _ in os.walk(self.source) if "/.git" not in at]
        return dice.choice(sorted(known))

    def _inside(self, path: Path) -> Path:
        if os.path.realpath(path.parent) != str(path.parent):
            raise NotADirectoryError(path)
        return path

    def _content(self) -> str:
        return f"{self.serial}\n"

    def _patterns(self, dice: random.Random) -> str:
        return "".join(
            f"{p}\n" for p in dice.choices(PATTERNS, k=dice.choice([1, 2, 3]))
        )

    def _put(self, path: Path, text: str, dice: random.Random) -> None:
        """Write as this program or that would."""
        self.put.add(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() and dice.random() < 0.5:
            path.unlink()
        how = dice.choice(["in place", "append", "by rename", "anew"])
        if how == "append":
            with open(path, "a") as file:
                file.write(text)
        elif how == "by rename":
            new = path.with_name(path.name + ".new")
            new.write_text(text)
            new.rename(path)
        else:
            if how == "anew":
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
            path.write_text(text)

    def write(self, dice: random.Random) -> None:
        path = self._path(dice)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._content())

    def edit(self, dice: random.Random) -> None:
        files = sorted(p for p in self.source.rglob("*") if p.is_file())
        files = [p for p in files if ".git" not in p.parts]
        if files:
            dice.choice(files).write_text(self._content())

    def remove(self, dice: random.Random) -> None:
        path = self._path(dice)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def move(self, dice: random.Random) -> None:
        self._path(dice).rename(self._path(dice))

    def ignore(self, dice: random.Random) -> None:
        place = self._directory(dice)
        if self.inside and dice.random() < 0.3:
            place = self.top
        path = place / ".gitignore"
        kind = dice.random()
        if kind < 0.25:
            path.unlink()
        elif kind < 0.3:
            with contextlib.suppress(OSError):
                path.unlink()
            path.symlink_to("a")
        else:
            self._put(path, self._patterns(dice), dice)

    def exclude(self, dice: random.Random) -> None:
        place = dice.choice(sorted(self._repositories()))
        path = place / ".git/info/exclude"
        if dice.random() < 0.2:
            path.unlink()
        else:
            self._put(path, self._patterns(dice), dice)

    def _repositories(self) -> set[Path]:
        found = {self.top}
        for at, dirs, files in os.walk(self.source):
            if "/.git" not in at and ".git" in dirs:
                found.add(Path(at))
        return found

    def users_file(self, dice: random.Random) -> None:
        path = self.home / ".config/git/ignore"
        kind = dice.random()
        if kind < 0.1:
            shutil.rmtree(self.home / ".config")
        elif kind < 0.25:
            path.unlink()
        elif kind < 0.5:
            target = self.home / f"dotfiles{dice.randrange(2)}"
            self._put(target, self._patterns(dice), dice)
            with contextlib.suppress(OSError):
                path.unlink()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(f"../../{target.name}")
        elif kind < 0.7:
            self._put(
                self.home / f"dotfiles{dice.randrange(2)}", self._patterns(dice), dice
            )
        else:
            self._put(path, self._patterns(dice), dice)

    def setting(self, dice: random.Random) -> None:
        where = dice.choice([["--global"], [], ["--file", str(self.home / "included")]])
        file = self.home / f"excludes{dice.randrange(2)}"
        kind = dice.random()
        if kind < 0.3:
            self.git("config", *where, "--unset-all", "core.excludesFile")
        elif kind < 0.6:
            self.git("config", *where, "core.excludesFile", str(file))
        elif kind < 0.7:
            self.git("config", "--global", "include.path", str(self.home / "included"))
        else:
            self._put(file, self._patterns(dice), dice)

    def add(self, dice: random.Random) -> None:
        where = self._repository(dice)
        self.git("add", "--", str(self._path(dice)), place=where)

    def _repository(self, dice: random.Random) -> Path:
        return dice.choice([self.source, *sorted(self._repositories())])

    def add_all(self, dice: random.Random) -> None:
        self.git("add", "-A", ".", place=self._repository(dice))

    def add_ignored(self, dice: random.Random) -> None:
        self.git("add", "-f", "--", str(self._path(dice)), place=self._repository(dice))

    def untrack(self, dice: random.Random) -> None:
        path = str(self._path(dice)) if dice.random() < 0.8 else "."
        self.git("rm", "-rq", "--cached", "--", path, place=self._repository(dice))

    def commit(self, dice: random.Random) -> None:
        self.git("commit", "-qm", "x", place=self._repository(dice))

    def checkout(self, dice: random.Random) -> None:
        branch = dice.choice(["m", "n"])
        if dice.random() < 0.3:
            self.git("checkout", "-q", "-b", branch)
        else:
            self.git("checkout", "-qf", branch)

    def stash(self, dice: random.Random) -> None:
        self.git("stash", *dice.choice([["-q"], ["pop", "-q"], ["-q", "-u"]]))

    def begin(self, dice: random.Random) -> None:
        place = self._directory(dice)
        if (place / ".git").exists():
            return
        if dice.random() < 0.3:
            apart = self.base / f"apart{self.serial}"
            self.git("init", "-q", f"--separate-git-dir={apart}", place=place)
        else:
            self.git("init", "-q", place=place)

    def end(self, dice: random.Random) -> None:
        places = sorted(self._repositories() - {self.top})
        if places:
            dot = dice.choice(places) / ".git"
            shutil.rmtree(dot) if dot.is_dir() else dot.unlink()

    def head(self, dice: random.Random) -> None:
        """For a moment it is no repository; what is there then is for the outer rules."""
        place = dice.choice(sorted(self._repositories()))
        head = place / ".git/HEAD"
        aside = place / ".git/HEAD.aside"
        aside.rename(head) if aside.exists() else head.rename(aside)

    def submodule(self, dice: random.Random) -> None:
        path = self._path(dice)
        where = os.path.relpath(path, self.source)
        self.git("submodule", "--quiet", "add", str(self.base / "other"), where)

    def sparse(self, dice: random.Random) -> None:
        if dice.random() < 0.5:
            self.git("sparse-checkout", "disable")
        else:
            words = dice.choices(["/a", "/sub/", "/*", "/out/"], k=2)
            self.git("sparse-checkout", "set", "--no-cone", *words)


STEPS = (
    ["write"] * 12
    + ["edit"] * 6
    + ["ignore"] * 12
    + ["remove", "move", "move", "users file", "setting", "exclude"] * 2
    + ["add", "add all", "add ignored", "add ignored", "untrack", "untrack"]
    + ["commit", "checkout", "stash", "begin", "end", "head", "submodule"]
)
