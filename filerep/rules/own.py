"""The user's own rules: --exclude, --include, the files that they name, and editors' files."""

from __future__ import annotations

import os

from filerep.pathstream import quote
from filerep.rules.files import read
from filerep.rules.patterns import Rule, RuleFile, lines
from filerep.rules.wildmatch import DEEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from filerep.rules.dockerignore import DockerRules
    from filerep.rules.patterns import Level

# Where a rule comes from that is not in a file.
INCLUDE = b"--include"
EXCLUDE = b"--exclude"
EDITORS = "editors.gitignore"
EDITORS_SHOWN = b"filerep/rules/editors.gitignore"


class BadFile(Exception):
    """A file of rules that the user named is of no use; the message says why."""


class Own:
    """What the user says beside what git knows, as of one moment."""

    def __init__(self) -> None:
        self.include: Level | None = None
        #: The includes that are looked for in directories that are left out.
        self.reach: Level | None = None
        self.exclude: Level | None = None
        self.docker: list[DockerRules] = []
        #: The weakest rules of all.
        self.editors: Level | None = None
        #: Files that all this comes from, by absolute paths.
        self.files: list[bytes] = []


def gather(
    exclude: Sequence[bytes],
    include: Sequence[bytes],
    exclude_from: Sequence[bytes],
    include_from: Sequence[bytes],
    editor_files: bool,
    before_2_52: Callable[[], bool],
) -> Own:
    """Read all of it; raises ``BadFile``.

    What stands in a file is weaker than what is an option of its own, an earlier file
    weaker than a later one.
    """
    own = Own()
    excluding: list[Rule] = []
    including: list[Rule] = []
    for path in exclude_from:
        text = _text(path, own)
        if _is_docker(path):
            own.docker.append(_docker(path, text))
        else:
            excluding += _rules(path, text)
        _LAST[path] = text
    for path in include_from:
        if _is_docker(path):
            raise BadFile(
                f"{quote(path)} says what is left out; it goes with --exclude-from"
            )
        _LAST[path] = _text(path, own)
        including += _rules(path, _LAST[path])
    excluding += _options(EXCLUDE, exclude)
    including += _options(INCLUDE, include)
    own.exclude = _level(excluding, before_2_52)
    own.include = _level(including, before_2_52)
    if own.include:
        file = own.include.file
        own.reach = file.level(item for item in file.items if item[1][0] is not DEEP)
    if not editor_files:
        own.editors = RuleFile.read(EDITORS_SHOWN, _editors()).top()
    return own


def _level(rules: list[Rule], before_2_52: Callable[[], bool]) -> Level | None:
    """``rules`` from several places as those of one file, the last the strongest."""
    for order, rule in enumerate(rules):
        rule.order = order
    return RuleFile(rules, False, before_2_52).top()


def _options(option: bytes, patterns: Iterable[bytes]) -> list[Rule]:
    return [
        Rule(option, at, line)
        for at, text in enumerate(patterns, 1)
        for _, line in lines(text)
    ]


def _rules(path: bytes, text: bytes) -> list[Rule]:
    text = text[3:] if text.startswith(b"\xef\xbb\xbf") else text
    return [Rule(path, number, line) for number, line in lines(text)]


def _is_docker(path: bytes) -> bool:
    """`.dockerignore`, or that of one Dockerfile: `Dockerfile.dockerignore`."""
    return path.endswith(b".dockerignore")


def _docker(path: bytes, text: bytes) -> DockerRules:
    from filerep.rules import dockerignore  # whose import takes long

    try:
        return dockerignore.DockerRules(path, text)
    except dockerignore.BadPattern as error:
        if _LAST.get(path, text) != text:
            return dockerignore.DockerRules(path, _LAST[path])
        raise BadFile(f"cannot use {quote(path)}: {error}") from None


_LAST: dict[bytes, bytes] = {}


def _text(path: bytes, own: Own) -> bytes:
    """What stands in a file that the user named.

    Where it was read before and is not there now, as while an editor replaces it, what it
    said last still holds: else all that it leaves out would count for a moment.
    """
    own.files.append(os.path.abspath(path))
    try:
        text = read(path)
    except OSError as error:
        text, why = None, os.strerror(error.errno or 0)
    else:
        there = os.path.lexists(path)
        why = "it is no regular file" if there else "No such file or directory"
    if text is not None and b"\0" in text:
        text, why = None, "it holds NUL bytes, and a pattern is a line"
    if text is None:
        if path in _LAST:
            return _LAST[path]
        raise BadFile(f"cannot read {quote(path)}: {why}")
    return text


def _editors() -> bytes:
    path = os.path.join(os.path.dirname(__file__), EDITORS)
    # As the loader of this module reads it, so that all may be in a zip archive.
    data: bytes = __loader__.get_data(path)  # type: ignore[name-defined]
    return data
