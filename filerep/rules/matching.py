"""The patterns that bear on the names in one directory, made fast.

Few of a tree's names are touched by any rule. So a directory's names go, joined, through one
regex of the literals that a match would have to hold, and only what that finds is looked at
name by name.
"""

from __future__ import annotations

from operator import contains

from filerep.rules import wildmatch
from filerep.rules.wildmatch import DEEP, LONGEST, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from filerep.rules.wildmatch import Glob

    Test = Callable[[bytes], object]


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


#: Where there are more, every name is of interest.
_MOST_NEEDLES = 1000

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


_MOST_IN_REGEXES = 20_000
_REGEXES: dict[tuple[bytes, ...], re.Pattern[bytes]] = {}


def _regex(needles: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """Finds every name in which one of ``needles`` stands, perhaps more than once."""
    if needles not in _REGEXES:
        if sum(map(len, _REGEXES)) > _MOST_IN_REGEXES:
            _REGEXES.clear()  # a tree may hold any number of rule files
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
    """Globs that names of one directory are matched against, the last one first.

    Each has a number, which is the higher the later it comes.
    """

    def __init__(self, fold: bool) -> None:
        self._fold = fold
        self._names: dict[bytes, int] = {}
        self._ends: dict[bytes, int] = {}
        self._end_lengths: list[int] = []
        self._tests: list[tuple[bytes, Test, int]] = []  # with its needle
        # A name holds one of the first if it may match any but _names, of the second if it
        # may be left out.
        self._sought: set[bytes] = set()
        self.leaving = {b""} if fold else set()
        self._needles: Needles | None = None

    def add(self, number: int, glob: Glob, keep: bool) -> int:
        """One more, higher than those before; returns how many names or ends it stands for.

        0 where names have to be tried with it.
        """
        alternatives = wildmatch.literals(glob) if glob else None
        runs = len(alternatives[0]) if alternatives else 0
        literals = len(alternatives or ())
        if alternatives and runs == 1:
            for (name,) in alternatives:
                self._names[name] = number
            own = {b"\0%s\0" % name for (name,) in alternatives}
        elif alternatives and runs == 2 and not alternatives[0][0]:
            for _, end in alternatives:
                self._ends[end] = number
                if len(end) not in self._end_lengths:
                    self._end_lengths.append(len(end))
            own = {end and end[-LONGEST:] + b"\0" for _, end in alternatives}
            _look_for(own, self._sought)
        else:
            literals = 0
            needle = wildmatch.needle(glob) if glob else b""
            self._tests.append((needle, test(glob), number))
            own = {needle}
            _look_for(own, self._sought)
        if not keep:
            _look_for(own if glob[:1] != (0x2E,) else {HIDDEN}, self.leaving)
        self._needles = None
        return literals

    def suspects(self, names: Sequence[bytes], joined: bytes) -> Iterable[bytes]:
        """Those of ``names`` that may match; ``joined`` is them as well."""
        if self._fold or b"" in self._sought:
            return names
        found: list[bytes] = []
        if self._names and not self._names.keys().isdisjoint(names):
            found += [name for name in names if name in self._names]
        if self._sought:
            if self._needles is None:
                self._needles = Needles(self._sought)
            found += self._needles.names(joined)
        return found

    def find(self, name: bytes) -> int:
        """The number of the last glob that matches ``name``; -1 if none does."""
        name = name.lower() if self._fold else name
        best = self._names.get(name, -1)
        for length in self._end_lengths:
            if length <= len(name):
                best = max(best, self._ends.get(name[len(name) - length :], -1))
        marked = b"\0%s\0" % name
        for needle, does, number in reversed(self._tests):
            if number < best:
                break
            if needle in marked and does(name):
                return number
        return best


def _look_for(some: set[bytes], needles: set[bytes]) -> None:
    """Add ``some``, or, where there are very many, the empty one: all is of interest."""
    if b"" in needles:
        return
    needles |= some
    if len(needles) > _MOST_NEEDLES or b"" in needles:
        needles.clear()
        needles.add(b"")
