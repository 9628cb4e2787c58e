"""A `.dockerignore` by its own rules, which are not those of a `.gitignore`.

A pattern is matched against the whole path, so that `*.o` holds at the top alone; what
it matches it leaves out with all below; the last line that matches decides, also for
what is in a directory that an earlier one leaves out. (moby/patternmatcher and its
ignorefile, which Docker, BuildKit and podman use.) Corners that their manual does not
tell, seen with Docker 28, whose client packs a build context by itself:

* ``**.env`` is any path that ends so, `prod.env` too. With another wildcard in the
  pattern, ``**`` is whole directories again.
* An exception holds for what is in a directory only if that directory was left out by a
  line before it: of ``**/*.key`` and ``!config`` the first holds in `config`.
* What stands in brackets, or behind a backslash, is what it is in Go's regexes. With a wildcard
  in the pattern, so is a ``|``, and ``{2}`` behind a character: of ``a|b*`` each side is looked
  for by itself, the first at the beginning of the path, the last at its end.

Here pathspec does the matching: of one pattern against a whole path it has the
machinery, and a syntax is added by a class. For git's rules,
which wildmatch.py tells, it is the wrong tool: it reads no directory, and differs from git
in their corners. It is imported only where such a file is named, as that takes 25 ms.
"""

from __future__ import annotations

import os
import posixpath
import re

from pathspec.pattern import RegexPattern

from filerep.rules.rulefile import Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Optional, Tuple

    Piece = Tuple[str, str]

_WILD = re.compile(r"[*?\[\]\\]")
# A piece of a regex, and how often it may come: once, at most once, or any number of times.
STAR, REST, DEEP, START = ("[^/]", "*"), (".", "*"), ("(?:.*/)", "?"), ("\\A", "")
_REPEATED = re.compile(r"\{(0|[1-9]\d*)(,(0|[1-9]\d*)?)?\}", re.ASCII)
_MOST_REPEATED = 1000  # as in Go
# What Go's regexes have behind a backslash, in Python's words; nothing else that is a letter.
_ESCAPES = {**{letter: "\\" + letter for letter in "ABDSWabdfnrstvw"}, "z": "\\Z"}
_CLASS = re.compile(r"\[:(\^?)([a-z]+):\]")
_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": "\\x00-\\x7f", "blank": "\\t ",
    "cntrl": "\\x00-\\x1f\\x7f", "digit": "0-9", "graph": "!-~", "lower": "a-z",
    "print": " -~", "punct": "!-/:-@\\[-`{-~", "space": "\\t\\n\\v\\f\\r ", "upper": "A-Z",
    "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
#: So many stars a regex may have: with each, the worst of paths takes a hundred times longer.
FEW = 3
_MOST_PLACES = 10_000


class BadPattern(ValueError):
    """What Docker would refuse; the message says where it stands."""


class DockerPattern(RegexPattern):
    """One line, with or without a ``!``."""

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        sides = to_regex(pattern[pattern.startswith("!") :])
        wild = sum(how != "" for side in sides for _, how in side)
        self._steps = [Steps(side) for side in sides] if wild > FEW else None

    @classmethod
    def pattern_to_regex(cls, pattern: Any) -> Tuple[Any, Optional[bool]]:
        keep = pattern.startswith("!")
        sides = to_regex(pattern[keep:])
        regex = "|".join("".join(map("".join, side)) for side in sides)
        return f"(?as)\\A(?:{regex})\\Z", not keep

    def match_file(self, file: Any) -> Any:
        """Something if it matches the path ``file``."""
        if self._steps is None:
            return super().match_file(file)
        return True if any(steps.match(file) for steps in self._steps) else None


class Steps:
    """The regex of a pattern without its going back, which takes ages where there are many stars.

    Each bit stands for a place in the pattern that the path, so far, may have led to.
    """

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._one: list[Tuple[int, str]] = []  # places that one character leads on from
        self._stay: list[Tuple[int, str]] = []  # those that it may be passed over in
        self._over = self._beyond = 0  # those that may be left at once, by one or two
        self._start = self._slash = 0
        bit = 1
        for piece, how in pieces:
            if (piece, how) == DEEP:
                # To be passed over, or to be in until behind a slash.
                self._over |= bit
                self._beyond |= bit
                bit <<= 1
                self._stay.append((bit, "."))
                self._slash |= bit
            elif (piece, how) == START:
                self._start |= bit
            else:
                self._over |= bit if how else 0
                (self._stay if how == "*" else self._one).append((bit, piece))
            bit <<= 1
        self._end = bit
        self._by_character: dict[str, Tuple[int, int]] = {}

    def match(self, path: str) -> bool:
        """Does the pattern match the whole of ``path``?"""
        places = self._left(1, self._over | self._start)
        for character in path:
            if character not in self._by_character:
                self._by_character[character] = self._found(character)
            leads, stay = self._by_character[character]
            places = (places & leads) << 1 | places & stay
            places = self._left(places, self._over)
            if not places:
                return False
        return bool(places & self._end)

    def _found(self, character: str) -> Tuple[int, int]:
        """The places that ``character`` leads on from, and those that it stays in."""
        leads, stay = (
            sum(
                bit
                for bit, piece in places
                if re.fullmatch(piece, character, re.DOTALL | re.ASCII)
            )
            for places in (self._one, self._stay)
        )
        return leads | (self._slash if character == "/" else 0), stay

    def _left(self, places: int, over: int) -> int:
        """``places``, and those that may be gone on to from there at once."""
        while True:
            further = places | (places & over) << 1 | (places & self._beyond) << 2
            if further == places:
                return places
            places = further


def to_regex(pattern: str) -> list[list[Piece]]:
    """The regex that moby makes of a cleaned pattern, in Python's words and in pieces.

    One for each side of a ``|``, any of which may match.
    """
    out: list[Piece] = [START]
    sides = [out]
    at, repeated = 0, -1
    ends = pattern.startswith("**") and not _WILD.search(pattern, 2)
    plain = not _WILD.search(pattern[:-2] if pattern.endswith("**") else pattern)
    if ends and pattern[2:3] != "/":
        return [[REST, *_literally(pattern[2:])]]
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*" and pattern[at : at + 1] == "*":
            at += 1
            at += pattern[at : at + 1] == "/"
            out.append(REST if at == len(pattern) else DEEP)
        elif character in "^|{" and not ends and not plain:
            # moby leaves these to Go's regexes, though not the others of them.
            if character == "^":
                out.append(START)
            elif character == "|":
                out = []
                sides.append(out)
            elif times := _REPEATED.match(pattern, at - 1):
                if at - 1 == repeated:
                    raise BadPattern(f"{times[0]!r} stands behind another")
                out += _repeated(times, out)
                at = repeated = times.end()
            else:
                out += _literally("{")
        elif character == "*":
            out.append(STAR)
        elif character == "?":
            out.append(("[^/]", ""))
        elif character == "\\":
            if at == len(pattern):
                raise BadPattern("a pattern ends in a backslash")
            escaped = pattern[at]
            if escaped.isascii() and escaped.isalnum():
                if escaped not in _ESCAPES:
                    raise BadPattern(f"a backslash before {escaped!r} means nothing")
                out.append((_ESCAPES[escaped], ""))
            else:
                out += _literally(escaped)
            at += 1
        elif character == "[":
            members, at = _members(pattern, at)
            out.append((members, ""))
        else:
            out += _literally(character)
    # Go looks for each side anywhere, but that the last one has to end the path.
    sides = [side[1:] if side[:1] == [START] else [REST, *side] for side in sides]
    sides[:-1] = [[*side, REST] for side in sides[:-1]]
    return [_shorter(side) for side in sides]


def _literally(text: str) -> list[Piece]:
    return [(re.escape(character), "") for character in text]


def _shorter(side: list[Piece]) -> list[Piece]:
    """One star behind another adds nothing."""
    return [
        piece
        for piece, before in zip(side, [("", ""), *side])
        if piece != before or piece[1] != "*" and piece != DEEP
    ]


def _repeated(times: re.Match[str], out: list[Piece]) -> list[Piece]:
    """The last piece of ``out``, which is taken from there, as often as ``times`` says."""
    least = int(times[1][:9])
    most = int(times[3][:9]) if times[3] else least
    if not out or out[-1][1] or least > most or most > _MOST_REPEATED:
        raise BadPattern(f"{times[0]!r} cannot stand there")
    last = out.pop()
    if last == START:  # at the beginning, which is no less so if it is said twice
        return [START] if least else []
    if times[2] and not times[3]:
        return [last] * least + [(last[0], "*")]
    return [last] * least + [(last[0], "?")] * (most - least)


def _members(pattern: str, at: int) -> tuple[str, int]:
    """A bracket expression as Go's path.Match has it, and its end."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    parts = ""
    while pattern[at : at + 1] != "]" or not parts:
        if named := _CLASS.match(pattern, at):
            if named[1] or named[2] not in _CLASSES:
                raise BadPattern(f"{named[0]!r} is no class of characters")
            parts += _CLASSES[named[2]]
            at = named.end()
            continue
        ends: list[str] = []
        while len(ends) < 2:
            at += pattern[at : at + 1] == "\\"
            character = pattern[at : at + 1]
            if not character or character in "-]" and pattern[at - 1] != "\\":
                raise BadPattern("a bracket is not closed, or is empty")
            ends.append(character)
            at += 1
            if pattern[at : at + 1] != "-" or len(ends) == 2:
                break
            at += 1
        if ends[0] > ends[-1]:
            ends = ["\0"]  # a range of nothing, as no name holds one
        parts += "-".join(map(re.escape, ends))
    return f"[{'^' if negated else ''}{parts}]", at + 1


class DockerRules:
    """What one `.dockerignore` leaves out, by paths from SRC."""

    def __init__(self, source: bytes, text: bytes) -> None:
        """Raises ``BadPattern``."""
        self._rules: list[Rule] = []
        self._patterns: list[DockerPattern] = []
        # Of directories, the patterns that hold in them, a bit for each.
        self._within = {"": 0}
        for number, line in lines(text):
            try:
                pattern = DockerPattern(line)
            except (BadPattern, re.error) as error:
                raise BadPattern(f"line {number}: {error}") from None
            self._rules.append(Rule(source, number, os.fsencode(line)))
            self._patterns.append(pattern)
        self._exceptions = [
            _steps_down(os.fsdecode(rule.text[1:])) for rule in self._rules if rule.keep
        ]

    def said(self) -> object:
        """What it says, for comparison."""
        return [rule.text for rule in self._rules]

    def find(self, path: bytes) -> Rule | None:
        """The line that decides about ``path``."""
        text = os.fsdecode(path)
        above = ""
        end = text.find("/")
        while end >= 0:
            place = text[:end]
            if place not in self._within:
                if len(self._within) > _MOST_PLACES:
                    self._within = {"": 0, above: self._within[above]}
                self._within[place], _ = self._judge(place, self._within[above])
            above = place
            end = text.find("/", end + 1)
        return self._judge(text, self._within[above])[1]

    def _judge(self, path: str, held: int) -> tuple[int, Rule | None]:
        """Which patterns hold for ``path``, of those ``held`` above it, and which line decides.

        As MatchesUsingParentResults of moby, which asks only those that would change something.
        """
        holds, bit = 0, 1
        decides: Rule | None = None
        for rule, pattern in zip(self._rules, self._patterns):
            left_out = decides is not None and not decides.keep
            if held & bit or rule.keep == left_out and pattern.match_file(path):
                holds |= bit
                decides = rule
            bit <<= 1
        return holds, decides

    def hides(self, path: bytes, is_dir: bool) -> bool:
        """Is the path left out? For a directory: with all that may be below it?"""
        rule = self.find(path)
        if rule is None or rule.keep:
            return False
        return not is_dir or not self._leads_on(os.fsdecode(path).split("/"))

    def _leads_on(self, names: list[str]) -> bool:
        return any(_may_be_below(names, parts) for parts in self._exceptions)


def _steps_down(pattern: str) -> list[str]:
    """What leads down to that which the pattern may match; ``**`` may be anything."""
    if not _WILD.search(pattern):
        return pattern.split("/")
    if "|" in pattern:
        return ["**"]
    return [part.replace("{", "*") for part in pattern.split("/")]


def _may_be_below(names: list[str], parts: list[str]) -> bool:
    """May a pattern of ``parts`` match what is in the directory ``names``?"""
    for name, part in zip(names, parts):
        if "**" in part:
            return True
        if name != part and not _WILD.search(part):
            return False
    return True


def lines(text: bytes) -> list[tuple[int, str]]:
    """Number and pattern of each line, cleaned as moby cleans it."""
    text = text[3:] if text.startswith(b"\xef\xbb\xbf") else text
    found = []
    for number, line in enumerate(os.fsdecode(text).split("\n"), 1):
        if line.startswith("#"):
            continue
        line = line.strip()
        keep = line.startswith("!")
        line = line[keep:].strip()
        if not line:
            if keep:
                raise BadPattern(f"line {number}: '!' alone is no pattern")
            continue
        line = posixpath.normpath(line)
        line = line.lstrip("/") if len(line) > 1 else line
        found.append((number, "!" * keep + line))
    return found
