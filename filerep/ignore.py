"""Which paths count: git's ignore rules, and the user's own --exclude and --include."""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    OnError = Callable[[str, bytes, OSError], None]

RULE_FILE = b".gitignore"


def rule_file(name: bytes) -> bool:
    """Does a change of an entry of this name change the rules?"""
    return name == RULE_FILE


class Pattern:
    """One line of an ignore file."""

    def __init__(self, line: bytes) -> None:
        self.negative = line.startswith(b"!")
        text = line[1:] if self.negative else line
        self.only_dirs = text.endswith(b"/")
        text = text[:-1] if self.only_dirs else text
        self.anchored = b"/" in text
        self.regex = re.compile(
            translate(text[1:] if text.startswith(b"/") else text), re.DOTALL
        )

    def matches(self, path: bytes, name: bytes, is_dir: bool) -> bool:
        if self.only_dirs and not is_dir:
            return False
        return bool(self.regex.fullmatch(path if self.anchored else name))


def translate(glob: bytes) -> bytes:
    """A first, plain translation."""
    out = []
    i = 0
    while i < len(glob):
        char = glob[i : i + 1]
        i += 1
        if glob.startswith(b"**/", i - 1) and (i == 1 or glob[i - 2 : i - 1] == b"/"):
            out.append(b"(?:.*/)?")
            i += 2
        elif glob[i - 1 :] == b"**" and (i == 1 or glob[i - 2 : i - 1] == b"/"):
            out.append(b".*")
            i += 1
        elif char == b"*":
            out.append(b"[^/]*")
        elif char == b"?":
            out.append(b"[^/]")
        elif char == b"\\" and i < len(glob):
            out.append(re.escape(glob[i : i + 1]))
            i += 1
        else:
            out.append(re.escape(char))
    return b"".join(out)


def parse(text: bytes) -> list[Pattern]:
    lines = text.split(b"\n") if text else []
    return [
        Pattern(line)
        for line in (line.rstrip(b"\r").rstrip(b" ") for line in lines)
        if line and not line.startswith(b"#")
    ]


class Rules:
    """The rules of one directory: its own, and a way to its parent's."""

    def __init__(
        self,
        parent: Rules | None,
        name: bytes,
        patterns: list[Pattern],
        on_error: OnError,
        gitignore: bool,
        own: tuple[list[Pattern], list[Pattern]],
    ) -> None:
        self.parent = parent
        self.name = name
        self.patterns = patterns
        self.on_error = on_error
        self.gitignore = gitignore
        self.own = own

    def enter(self, name: bytes, dir_fd: int) -> Rules:
        patterns: list[Pattern] = []
        if self.gitignore:
            try:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                fd = os.open(RULE_FILE, flags, dir_fd=dir_fd)
                with open(fd, "rb") as file:
                    patterns = parse(file.read())
            except FileNotFoundError:
                pass
            except OSError as error:
                path = b"/".join([*reversed([*self._names(), name]), RULE_FILE])
                self.on_error("read", path.lstrip(b"/"), error)
        return Rules(self, name, patterns, self.on_error, self.gitignore, self.own)

    def _names(self) -> Iterator[bytes]:
        link: Rules | None = self
        while link and link.parent:
            yield link.name
            link = link.parent

    def counts(self, name: bytes, is_dir: bool) -> bool:
        path = b"/".join([*reversed(list(self._names())), name])
        for patterns, verdict in zip(self.own, (True, False)):
            for pattern in reversed(patterns):
                if pattern.matches(path, name, is_dir):
                    return verdict != pattern.negative
        if not self.gitignore:
            return True
        if name == b".git":
            return False
        link: Rules | None = self
        path = name
        while link:
            for pattern in reversed(link.patterns):
                if pattern.matches(path, name, is_dir):
                    return pattern.negative
            path = link.name + b"/" + path
            link = link.parent
        return True

    def select(
        self, files: list[bytes], dirs: list[bytes]
    ) -> tuple[list[bytes], list[bytes]]:
        return (
            [name for name in files if self.counts(name, False)],
            [name for name in dirs if self.counts(name, True)],
        )

    def source_files(self) -> list[bytes]:
        """Absolute paths of the rule files outside the tree that went in."""
        return []


def load(
    root: bytes,
    *,
    gitignore: bool = True,
    exclude: Sequence[bytes] = (),
    include: Sequence[bytes] = (),
    on_error: OnError,
    on_note: Callable[[str], None] = lambda text: None,
) -> Rules:
    """The rules for ``root`` itself."""
    own = ([Pattern(x) for x in include], [Pattern(x) for x in exclude])
    top = Rules(None, b"", [], on_error, gitignore, own)
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return top
    try:
        link = top.enter(b"", fd)
    finally:
        os.close(fd)
    link.parent = None
    return link
