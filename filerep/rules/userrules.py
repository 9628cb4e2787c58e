"""The user's own rules: --exclude, --include, the files that they name, and editors' files."""

from __future__ import annotations

import os

from filerep.pathstream import quote
from filerep.rules.rulefile import Rule, RuleFile, decide, join, lines, patterns
from filerep.rules.untrustedfile import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Protocol

    from filerep.rules.dockerignore import DockerRules
    from filerep.rules.rulefile import Level

    class Place(Protocol):
        """A directory that knows its path from SRC."""

        def path(self, last: bytes | None = None) -> bytes: ...


# Where a rule comes from that is not in a file.
INCLUDE = b"--include"
EXCLUDE = b"--exclude"
EDITORS = "editors.gitignore"
EDITORS_SHOWN = b"filerep/rules/editors.gitignore"


class BadFile(Exception):
    """A file of rules that the user named is of no use; the message says why."""


class Asked:
    """What the user's options say, in their words; nothing, as it stands."""

    def __init__(
        self,
        exclude: Sequence[bytes] = (),
        include: Sequence[bytes] = (),
        exclude_from: Sequence[bytes] = (),
        include_from: Sequence[bytes] = (),
        editor_files: bool = True,
    ) -> None:
        """Patterns, and paths of files of them; do the files count that editors leave?"""
        self.exclude = exclude
        self.include = include
        self.exclude_from = exclude_from
        self.include_from = include_from
        self.editor_files = editor_files


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

    def here(self) -> OwnHere | None:
        """What holds in SRC itself; None where the user says nothing."""
        if not (self.include or self.exclude or self.docker):
            return None
        return OwnHere(self.include, self.reach, self.exclude, self.docker)


class OwnHere:
    """What the user's patterns say in one directory."""

    def __init__(
        self,
        include: Level | None,
        reach: Level | None,
        exclude: Level | None,
        docker: list[DockerRules],
    ) -> None:
        self._include = include
        self._reach = reach
        self._exclude = exclude
        self._docker = docker
        self.inside = False  # an included directory
        self._excluded = False  # an excluded one, entered for an include's sake

    def judge(
        self,
        names: Sequence[bytes],
        joined: bytes,
        is_dir: bool,
        ignored: bool,
        place: Place,
    ) -> dict[bytes, bool]:
        """Those of ``names`` of which it is said that they count, or that they do not.

        ``ignored`` tells whether git's rules leave out the directory, which is ``place``.
        """
        including = self._including(ignored)
        included = decide((including,), names, joined, is_dir) if including else {}
        excluded = decide((self._exclude,), names, joined, is_dir)
        found: dict[bytes, bool] = {}
        for name in names:
            if not included.get(name, not self.inside):
                found[name] = True
            elif is_dir and self._leads_on(name):
                found[name] = True
            elif self._excluded or not excluded.get(name, True):
                found[name] = False
            elif self._docker:
                path = place.path(name)
                if any(rules.hides(path, is_dir) for rules in self._docker):
                    found[name] = False
        return found

    def _including(self, ignored: bool) -> Level | None:
        closed = (self._excluded or ignored) and not self.inside
        return self._reach if closed else self._include

    def _leads_on(self, name: bytes) -> bool:
        """May an include match below the directory ``name``?"""
        reach = self._reach.enter(name) if self._reach else None
        return reach is not None and reach.hides()

    def enter(self, name: bytes, ignored: bool) -> OwnHere | None:
        """What it says in the directory ``name``; None for nothing."""
        include = self._include.enter(name) if self._include else None
        reach = self._reach.enter(name) if self._reach else None
        exclude = self._exclude.enter(name) if self._exclude else None
        names, joined = [name], join([name])
        including = self._including(ignored)
        included = decide((including,), names, joined, True)
        excluded = decide((self._exclude,), names, joined, True)
        inner = OwnHere(include, reach, exclude, self._docker)
        inner.inside = not included.get(name, not self.inside)
        inner._excluded = self._excluded or not excluded.get(name, True)
        says = include or reach or exclude or self._docker
        return inner if says or inner.inside or inner._excluded else None

    def why(
        self, name: bytes, is_dir: bool, ignored: bool, place: Place
    ) -> Rule | None:
        """The rule by which the entry counts or does not, None where there is none."""
        including = self._including(ignored)
        rule = including.find(name, is_dir) if including else None
        if self.inside or rule and not rule.keep:
            return rule
        rule = self._exclude.find(name, is_dir) if self._exclude else None
        if rule and not rule.keep:
            return rule
        for rules in self._docker:
            rule = rules.find(place.path(name))
            if rule and not rule.keep:
                return rule
        return None

    def said(self) -> object:
        """What it says, for comparison."""
        levels = (self._include, self._reach, self._exclude)
        return (
            [level.said() if level else None for level in levels],
            [rules.said() for rules in self._docker],
            (self.inside, self._excluded),
        )


def gather(asked: Asked, before_2_52: Callable[[], bool]) -> Own:
    """Read all of it; raises ``BadFile``.

    What stands in a file is weaker than what is an option of its own, an earlier file
    weaker than a later one.
    """
    own = Own()
    excluding: list[Rule] = []
    including: list[Rule] = []
    for path in asked.exclude_from:
        text = _text(path, own)
        if _is_docker(path):
            own.docker.append(_docker(path, text))
        else:
            excluding += _rules(path, text)
        _LAST[path] = text
    for path in asked.include_from:
        if _is_docker(path):
            raise BadFile(
                f"{quote(path)} says what is left out; it goes with --exclude-from"
            )
        _LAST[path] = _text(path, own)
        including += _rules(path, _LAST[path])
    excluding += _options(EXCLUDE, asked.exclude)
    including += _options(INCLUDE, asked.include)
    own.exclude = _level(excluding, before_2_52)
    own.include = _level(including, before_2_52)
    own.reach = _level(including, before_2_52, reaching=True)
    if not asked.editor_files:
        text = _editors()
        own.editors = RuleFile(lambda: patterns(EDITORS_SHOWN, text), own=True).top()
    return own


def _level(
    rules: list[Rule], before_2_52: Callable[[], bool], reaching: bool = False
) -> Level | None:
    """``rules`` from several places as those of one file, the last the strongest."""
    return RuleFile(lambda: rules, False, before_2_52, True, reaching).top()


def _options(option: bytes, patterns: Iterable[bytes]) -> list[Rule]:
    return [
        Rule(option, at, line)
        for at, text in enumerate(patterns, 1)
        for _, line in lines(text)
    ]


def _rules(path: bytes, text: bytes) -> list[Rule]:
    return list(patterns(path, text))


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
