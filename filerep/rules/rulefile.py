"""What the lines of ignore files say of the names in one directory, made fast.

Few of a tree's names are touched by any rule, and most directories have the same rules.
So a rule file is cut into parts (see wildmatch), and what is left of it for one directory
is a ``Level``, shared by all directories for which the same is left; a directory's names
go, joined, through one regex of the literals that a match would have to hold, and only
what that finds is looked at name by name.
"""

from __future__ import annotations

from io import BytesIO
from itertools import islice
from operator import contains

from filerep.rules import wildmatch
from filerep.rules.wildmatch import DEEP, LONGEST, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from filerep.rules.wildmatch import Glob

    Item = tuple["Rule", tuple[Glob, ...]]
    Test = Callable[[bytes], object]


#: How many patterns of one file apply: no project has a hundredth of that.
MOST_PATTERNS = 100_000


def join(names: Iterable[bytes]) -> bytes:
    """``names`` as one string, a NUL before and after each; empty for none."""
    text = b"\0".join(names)
    return b"\0%s\0" % text if text else b""


class Rule:
    """One line of an ignore file: ``keep`` when it begins with ``!``."""

    __slots__ = ("source", "line", "text", "keep", "only_dirs", "order")

    def __init__(self, source: bytes, line: int, text: bytes) -> None:
        self.source = source
        self.line = line
        self.text = text
        #: Of two that match a name, that of the higher order decides.
        self.order = line
        self.keep = text.startswith(b"!")
        self.only_dirs = text.endswith(b"/")


def lines(text: bytes) -> Iterable[tuple[int, bytes]]:
    """Number and text of each line that is a pattern, trimmed as git trims it."""
    for number, line in enumerate(BytesIO(text), 1):  # a list of them could be too long
        if line.startswith(b"#"):
            continue
        line = line[:-1] if line.endswith(b"\n") else line
        line = line[:-1] if line.endswith(b"\r") else line
        line = line.partition(b"\0")[0]
        if line.endswith(b" "):
            bare = line.rstrip(b" ")
            # The first blank is kept if an odd number of backslashes escapes it.
            escaped = (len(bare) - len(bare.rstrip(b"\\"))) % 2
            line = line[: len(bare) + escaped]
        if line:
            yield number, line


class RuleFile:
    """The patterns of one ignore file; its first ``Level`` is for its own directory.

    ``before_2_52`` tells, where it matters, whether the git that is installed is older.
    """

    def __init__(
        self,
        patterns: Iterable[Rule],
        fold: bool = False,
        before_2_52: Callable[[], bool] = lambda: False,
    ) -> None:
        self.fold = fold
        self._levels: dict[tuple[Item, ...], Level] = {}
        #: Does it say all that the file says?
        self.whole = True
        items: list[Item] = []
        for rule in patterns:
            text = rule.text[rule.keep :]
            text = text[:-1] if rule.only_dirs else text
            old = wildmatch.by_version(text) and before_2_52()
            items += [(rule, parts) for parts in wildmatch.split(text, fold, old)]
        self.items = tuple(items)

    @classmethod
    def read(
        cls,
        source: bytes,
        text: bytes,
        fold: bool = False,
        before_2_52: Callable[[], bool] = lambda: False,
    ) -> RuleFile:
        """More than ``MOST_PATTERNS`` patterns hide all that they are about.

        Each takes two kilobytes; and what those that are left out hide must not be named.
        """
        text = text[3:] if text.startswith(b"\xef\xbb\xbf") else text
        rules = [
            Rule(source, number, line)
            for number, line in islice(lines(text), MOST_PATTERNS + 1)
        ]
        if len(rules) <= MOST_PATTERNS:
            return cls(rules, fold, before_2_52)
        made = cls([Rule(source, rules[-1].line, b"*")], fold, before_2_52)
        made.whole = False
        return made

    def level(self, items: Iterable[Item]) -> Level | None:
        """The one level for ``items``; None when there are none."""
        key = tuple(dict.fromkeys(items))
        if not key:
            return None
        if key not in self._levels:
            self._levels[key] = Level(self, key)
        return self._levels[key]

    def top(self) -> Level | None:
        return self.level(self.items)


class Level:
    """What is left of an ignore file in one directory."""

    def __init__(self, file: RuleFile, items: tuple[Item, ...]) -> None:
        self.file = file
        self.items = items
        # For files and for directories; one and the same where no rule is for these only.
        self.matchers: list[Matcher | None] = [None, None]
        self._stay: list[Item] = []
        self._by_name: dict[bytes, list[Item]] = {}
        self._by_glob: list[tuple[Test, Item]] = []
        for rule, parts in items:
            if parts[0] is DEEP:
                self._stay.append((rule, parts))
                parts = parts[1:]
            if len(parts) > 1:
                self._step(rule, parts)
        #: Is nothing else left of it in any directory?
        self.stays = len(self._stay) == len(items) and not self._by_name
        self.stays = self.stays and not self._by_glob
        self._usual = self if len(self._stay) == len(items) else file.level(self._stay)

    def said(self) -> object:
        """What it says, for comparison."""
        return self.file.fold, [(rule.text, parts) for rule, parts in self.items]

    def _step(self, rule: Rule, parts: tuple[Glob, ...]) -> None:
        rest = (rule, parts[1:])
        alternatives = wildmatch.literals(parts[0])
        if alternatives and len(alternatives[0]) == 1:
            for (name,) in alternatives:
                self._by_name.setdefault(name, []).append(rest)
        else:
            self._by_glob.append((test(parts[0]), rest))

    def enter(self, name: bytes) -> Level | None:
        """What is left of the file in the directory ``name`` of this one."""
        if not self._by_name and not self._by_glob:
            return self._usual
        name = name.lower() if self.file.fold else name
        items = self._by_name.get(name, [])
        if self._by_glob:
            items = items + [item for does, item in self._by_glob if does(name)]
        return self.file.level([*self._stay, *items]) if items else self._usual

    def find(self, name: bytes, is_dir: bool) -> Rule | None:
        """The last rule that matches the entry of this directory."""
        return self.matcher(is_dir).find(name)

    def matcher(self, is_dir: bool) -> Matcher:
        """The rules that may match an entry of this directory."""
        known = self.matchers[is_dir]
        if known is None:
            here = []
            for rule, parts in self.items:
                parts = parts[1:] if parts[0] is DEEP and len(parts) > 1 else parts
                if len(parts) == 1 and (is_dir or not rule.only_dirs):
                    here.append((rule, parts[0]))
            known = Matcher(here, self.file.fold)
            self.matchers[is_dir] = known
            if not any(rule.only_dirs for rule, _ in self.items):
                self.matchers = [known, known]
        return known


def test(glob: Glob) -> Test:
    """A function that tells whether the whole of a name matches ``glob``."""
    if glob is DEEP:
        return lambda name: True
    alternatives = wildmatch.literals(glob)
    if alternatives and len(alternatives[0]) > 1:
        return lambda name: any([matches(runs, name) for runs in alternatives])
    if None not in glob:
        sets = [(byte,) if isinstance(byte, int) else byte or () for byte in glob]
        return lambda name: (len(name) == len(sets) and all(map(contains, sets, name)))
    text = b"(?s:%s)\\Z" % wildmatch.to_regex(glob)
    made: list[re.Pattern[bytes]] = []

    def does(name: bytes) -> object:
        if not made:
            made.append(compiled(text))
        return made[0].match(name)

    return does


def path_matches(text: bytes, path: bytes, fold: bool = False) -> bool:
    """Does ``text`` match the whole of ``path``, as wildmatch does with WM_PATHNAME?

    For the few patterns among git's settings; not made to be fast.
    """
    # A part may be empty there, the first one or in an URL, which none of a file's is.
    text, path = (
        (b"\1" * whole.startswith(b"/") + whole).replace(b"//", b"/\1/")
        for whole in (text, path)
    )
    names = (path.lower() if fold else path).split(b"/")
    alternatives = wildmatch.split(b"/" + text, fold)
    return any(_fit(parts, names) for parts in alternatives)


def _fit(parts: Sequence[Glob], names: Sequence[bytes]) -> bool:
    places = {0}  # of the names, those that the next part may have to match
    for part in parts[:-1]:
        if part is DEEP:
            places = set(range(min(places), len(names)))
        else:
            places = _behind(part, names, places)
        if not places:
            return False
    if parts[-1] is DEEP:
        return min(places) < len(names)
    return len(names) in _behind(parts[-1], names, places)


def _behind(part: Glob, names: Sequence[bytes], places: Iterable[int]) -> set[int]:
    fits = test(part)
    return {at + 1 for at in places if at < len(names) and fits(names[at])}


#: To make a regex takes as long as to look without one so many times.
_FEW_TIMES = 20
#: So few needles are found faster one after the other than by a regex.
_FEW = 16


#: Few names begin with a full stop: one needle will do for all the rules about them.
HIDDEN = b"\0."


class Needles:
    """Bytes of which a name must hold one to be of interest, looked for in many at once."""

    def __init__(self, needles: Iterable[bytes]) -> None:
        """One that begins or ends with a NUL is looked for at that end of a name only."""
        self._needles = tuple(sorted(set(map(_rarer, needles))))
        self._few = len(self._needles) <= _FEW or b"" in self._needles
        self._asked = 0

    def are_in(self, joined: bytes) -> bool:
        """Is one of the names that are ``joined`` of interest?"""
        if self._few or self._seldom_asked():
            for needle in self._needles:
                if joined.find(needle) >= 0:  # `in` would try for a number first
                    return True
            return False
        return _regex(self._needles).search(joined) is not None

    def names(self, joined: bytes) -> list[bytes]:
        """Those of interest, some perhaps more than once."""
        if self._few or self._seldom_asked():
            places = _each(self._needles, joined)
        else:
            places = (match.start() for match in _regex(self._needles).finditer(joined))
        found = []
        for at in places:
            start = at + 1 if joined[at] == 0 else joined.rfind(b"\0", 0, at) + 1
            found.append(joined[start : joined.index(b"\0", start)])
        return found

    def _seldom_asked(self) -> bool:
        self._asked += 1
        return self._asked <= _FEW_TIMES


def _each(needles: Iterable[bytes], joined: bytes) -> Iterator[int]:
    for needle in needles:
        at = joined.find(needle)
        while at >= 0:
            yield at
            at = joined.find(needle, at + 1)


def _rarer(needle: bytes) -> bytes:
    """The part of ``needle`` to look for: most names hold what many of them begin with."""
    rest = needle.lstrip(b"._-")
    return rest if len(rest) > 4 else needle


_REGEXES: dict[tuple[bytes, ...], re.Pattern[bytes]] = {}


def _regex(needles: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """Finds every name in which one of ``needles`` stands, perhaps more than once."""
    if needles not in _REGEXES:
        if len(_REGEXES) > 100:  # a tree may hold any number of rule files
            _REGEXES.clear()
        _REGEXES[needles] = compiled(_trie(needles))
    return _REGEXES[needles]


def compiled(text: bytes) -> re.Pattern[bytes]:
    import re  # few trees need it, and it takes longer to load than fr-walk itself

    return re.compile(text)


def _trie(words: Iterable[bytes]) -> bytes:
    """A regex for ``words`` that looks at each byte once.

    Plain alternatives would all be tried at every full stop of a name. A NUL at the end
    is not taken, since the next name begins with it.
    """
    by_first: dict[bytes, list[bytes]] = {}
    for word in words:
        if not word:
            return b""  # a word ends here: what follows of longer ones adds nothing
        if word == b"\0":
            by_first[b"(?=\0)"] = [b""]
        else:
            by_first.setdefault(b"\\x%02x" % word[0], []).append(word[1:])
    branches = [first + _trie(rest) for first, rest in by_first.items()]
    return b"(?:" + b"|".join(branches) + b")" if len(branches) > 1 else branches[0]


class Matcher:
    """The globs that names of one directory are matched against, the last one first."""

    def __init__(self, globs: Iterable[tuple[Rule, Glob]], fold: bool) -> None:
        self._fold = fold
        self._names: dict[bytes, list[Rule]] = {}
        self._ends: dict[bytes, list[Rule]] = {}
        self._tests: list[tuple[Test, Rule]] = []
        needles = set()
        #: A name holds one of these needles if it may be left out.
        self.leaving = {b""} if fold else set()
        for rule, glob in globs:
            alternatives = wildmatch.literals(glob) if glob else None
            runs = len(alternatives[0]) if alternatives else 0
            if alternatives and runs == 1:
                for (name,) in alternatives:
                    self._names.setdefault(name, []).append(rule)
                own = {b"\0%s\0" % name for (name,) in alternatives}
            elif alternatives and runs == 2 and not alternatives[0][0]:
                for _, end in alternatives:
                    self._ends.setdefault(end, []).append(rule)
                own = {end and end[-LONGEST:] + b"\0" for _, end in alternatives}
                needles |= own
            else:
                self._tests.append((test(glob), rule))
                own = {wildmatch.needle(glob) if glob else b""}
                needles |= own
            if not rule.keep:
                self.leaving |= own if glob[:1] != (0x2E,) else {HIDDEN}
        self._end_lengths = sorted({len(end) for end in self._ends})
        self._all = fold or b"" in needles
        self._needles = Needles(needles) if needles else None

    def suspects(self, names: Sequence[bytes], joined: bytes) -> Iterable[bytes]:
        """Those of ``names`` that may match; ``joined`` is them as well."""
        if self._all:
            return names
        found: list[bytes] = []
        if self._names and not self._names.keys().isdisjoint(names):
            found += [name for name in names if name in self._names]
        if self._needles:
            found += self._needles.names(joined)
        return found

    def find(self, name: bytes) -> Rule | None:
        """The last rule that matches ``name``."""
        name = name.lower() if self._fold else name
        best: Rule | None = None
        found = self._names.get(name, [])
        for length in self._end_lengths:
            if length <= len(name):
                found = found + self._ends.get(name[len(name) - length :], [])
        for rule in found:
            if best is None or rule.order > best.order:
                best = rule
        for does, rule in self._tests:
            if (best is None or rule.order > best.order) and does(name):
                best = rule
        return best


def leaving(chain: Iterable[Level], further: Iterable[bytes]) -> Needles:
    """What a name must hold that a rule of ``chain`` may leave out; and ``further``."""
    found = set(further)
    for level in chain:
        found.update(level.matcher(False).leaving, level.matcher(True).leaving)
    return Needles(found)


def enter(chain: tuple[Level, ...], name: bytes) -> tuple[Level, ...]:
    """What is left of each level of ``chain`` in the directory ``name``."""
    for level in chain:
        if not level.stays:
            return tuple([left for own in chain if (left := own.enter(name))])
    return chain


def decide(
    chain: Sequence[Level | None], names: Sequence[bytes], joined: bytes, is_dir: bool
) -> dict[bytes, bool]:
    """Of ``names`` those that a rule matches, and whether the first such rule keeps it."""
    found: dict[bytes, bool] = {}
    for level in chain:
        if level is None:
            continue
        matcher = level.matchers[is_dir] or level.matcher(is_dir)
        for name in matcher.suspects(names, joined):
            if name not in found and (rule := matcher.find(name)):
                found[name] = rule.keep
    return found
