"""What the lines of ignore files say of the names in one directory.

A rule file is cut into parts (see wildmatch), and what is left of it for one directory is a
``Level``, shared by all directories for which the same is left. Most of it is left in all of
them: that is kept once, in its file.

What stands in a file takes ten times as much memory once it is made fast (matching.py), and a
stranger's tree may hold a thousand files with thousands of lines each. So what was made of a
file is forgotten, the oldest first, where all of them would take too much, and made anew when
a name is to be judged. Of the file itself only the text is held.
"""

from __future__ import annotations

from io import BytesIO
from itertools import islice

from filerep.rules import wildmatch
from filerep.rules.matching import Matcher, Needles, test
from filerep.rules.wildmatch import DEEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from filerep.rules.matching import Test
    from filerep.rules.wildmatch import Glob

    # Where a pattern comes from and how much of it is gone, as one number, and what is left.
    Item = tuple[int, tuple[Glob, ...]]


#: What is made of the rules that bear on one directory may take so many bytes: 100,000 names do.
#: No project has a hundredth of that.
MOST_WEIGHT = 20 << 20
#: What is made of all files and kept ready.
MOST_READY = 24 << 20
# What is taken by a pattern and by what there is of some kinds.
_NAME_WEIGHT, _STAY_WEIGHT, _STEP_WEIGHT, _TEST_WEIGHT = 160, 250, 50, 300
_SOME_WEIGHT = 1000


def join(names: Iterable[bytes]) -> bytes:
    """``names`` as one string, a NUL before and after each; empty for none."""
    text = b"\0".join(names)
    return b"\0%s\0" % text if text else b""


class Rule:
    """One line of an ignore file: ``keep`` when it begins with ``!``."""

    __slots__ = ("source", "line", "text", "keep", "only_dirs")

    def __init__(self, source: bytes, line: int, text: bytes) -> None:
        self.source = source
        self.line = line
        self.text = text
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


def patterns(source: bytes, text: bytes) -> Iterator[Rule]:
    """The rules in ``text``, which stands in a file called ``source``."""
    text = text[3:] if text.startswith(b"\xef\xbb\xbf") else text
    for number, line in lines(text):
        yield Rule(source, number, line)


# The number of an item: of its rule in the file, so that of two the higher one decides; which
# of the pattern's alternatives it is; how many parts of that are gone; what the rule is.
_KEEP, _ONLY_DIRS, _GONE, _ALTERNATIVE, _RULE = 1, 2, 1 << 2, 1 << 18, 1 << 22
_WIDTH = 8  # bytes of it


class RuleFile:
    """The patterns of one ignore file, the later the stronger.

    ``before_2_52`` tells, where it matters, whether the git that is installed is older. With
    ``own`` it is the user's, which is taken in whatever it says, and kept. If it is only
    ``reaching``, the patterns that hold in every directory are left out.
    """

    def __init__(
        self,
        rules: Callable[[], Iterable[Rule]],
        fold: bool = False,
        before_2_52: Callable[[], bool] = lambda: False,
        own: bool = False,
        reaching: bool = False,
    ) -> None:
        """``rules`` gives them each time it is called."""
        self.fold = fold
        self._rules = rules
        self._before_2_52 = before_2_52
        self._own = own
        self._reaching = reaching
        self._levels: dict[bytes, Level] = {}
        self._made: list[Patterns] = []
        #: What holds in each directory.
        self.everywhere = Patterns()
        self._here = Patterns()
        #: Does it say all that the file says?
        self.whole = True
        everywhere, here = Ready(fold, False), Ready(fold)
        for place, parts in self._items():
            (everywhere if parts[0] is DEEP else here).add(place, parts)
            if everywhere.weight + here.weight > MOST_WEIGHT and not own:
                self.whole = False
                break
        #: What it takes while it is ready.
        self.weight = everywhere.weight + here.weight
        self._keep(self.everywhere, everywhere)
        self._keep(self._here, here)

    def _items(self) -> Iterator[Item]:
        before = self._before_2_52
        for number, rule in enumerate(self._rules()):
            text = rule.text[rule.keep :]
            text = text[:-1] if rule.only_dirs else text
            old = wildmatch.by_version(text) and before()
            place = number * _RULE + rule.only_dirs * _ONLY_DIRS + rule.keep * _KEEP
            for parts in wildmatch.split(text, self.fold, old):
                if not self._reaching or parts[0] is not DEEP:
                    yield place, parts
                place += _ALTERNATIVE

    def rule(self, place: int) -> Rule:
        """The rule that an item comes from."""
        return next(islice(iter(self._rules()), place // _RULE, None))

    def top(self) -> Level | None:
        """What is left in its own directory: all of it."""
        own = self._here if self._here.any else None
        return Level(self, own) if own or self.everywhere.any else None

    def level(self, items: Iterable[Item]) -> Level | None:
        """The one level for ``items`` and what holds everywhere; None where that is nothing."""
        left = dict(items)
        if not left and not self.everywhere.any:
            return None
        places = b"".join([place.to_bytes(_WIDTH, "big") for place in sorted(left)])
        known = self._levels.get(places)
        if known is None:
            own = None
            if left:
                own = Patterns(places)
                ready = Ready(self.fold)
                for place in sorted(left):
                    ready.add(place, left[place])
                self._keep(own, ready)
            known = self._levels[places] = Level(self, own)
        return known

    def ready(self, some: Patterns) -> Ready:
        """``some`` of its patterns, made anew if they have been forgotten."""
        if some.ready is not None:
            return some.ready
        ready = Ready(self.fold, some is not self.everywhere)
        for place, parts in self._found(some):
            ready.add(place, parts)
        self._keep(some, ready)
        return ready

    def _found(self, some: Patterns) -> Iterator[Item]:
        if some.places is None:
            deep = some is self.everywhere
            return (item for item in self._items() if (item[1][0] is DEEP) == deep)
        gone: dict[int, list[int]] = {}
        for place in some.numbers():
            parts = place % _ALTERNATIVE // _GONE
            gone.setdefault(place - parts * _GONE, []).append(parts)
        return (
            (place + number * _GONE, parts[number:])
            for place, parts in self._items()
            for number in gone.get(place, ())
        )

    def _keep(self, some: Patterns, ready: Ready) -> None:
        if not self._own:
            READY.add(self, ready.weight + _SOME_WEIGHT)
            self._made.append(some)
        some.keep(ready)

    def forget(self) -> None:
        """Hold the text alone."""
        self._levels = {}
        for some in self._made:
            some.ready = None
        self._made = []


class Readiness:
    """The files of which something is ready, those of which it was made first at the front."""

    def __init__(self) -> None:
        self._weights: dict[RuleFile, int] = {}
        self._weight = 0

    def add(self, file: RuleFile, weight: int) -> None:
        """So much more is to be made of ``file``: forget what there is no room for."""
        while self._weights and self._weight + weight > MOST_READY:
            oldest = next(iter(self._weights))
            self._weight -= self._weights.pop(oldest)
            oldest.forget()
        self._weights[file] = self._weights.get(file, 0) + weight
        self._weight += weight


READY = Readiness()


class Patterns:
    """Some of a file's patterns, as they are left in one directory."""

    __slots__ = ("places", "ready", "any", "steps", "said")

    def __init__(self, places: bytes | None = None) -> None:
        """``places`` are the numbers of the items, where they have come down from above."""
        self.places = places
        self.ready: Ready | None = None
        #: Are there any? Does one of them say something of a directory below? And what they say.
        self.any = self.steps = False
        self.said = 0

    def numbers(self) -> Iterator[int]:
        places = self.places or b""
        for at in range(0, len(places), _WIDTH):
            yield int.from_bytes(places[at : at + _WIDTH], "big")

    def keep(self, ready: Ready) -> None:
        self.ready = ready
        self.any, self.steps, self.said = ready.any, ready.steps, ready.said


class Ready:
    """Patterns made fast."""

    def __init__(self, fold: bool, remember: bool = True) -> None:
        """Does it ``remember`` those that stay? Of what is left everywhere nobody asks."""
        self._fold = fold
        self._remember = remember
        #: For files, and for directories.
        self.matchers: tuple[list[Matcher], list[Matcher]] = ([], [])
        self._by_kind: list[Matcher | None] = [None, None]
        #: Those that are left in each directory below.
        self.stay: list[Item] = []
        self._by_name: dict[bytes, list[Item]] = {}
        self._by_glob: list[tuple[Test, Item]] = []
        self._count = 0
        self.weight = 0
        self.said = 0

    @property
    def any(self) -> bool:
        return self._count > 0

    @property
    def stays(self) -> bool:
        """Is all of it left in each directory below?"""
        return len(self.stay) == self._count

    @property
    def steps(self) -> bool:
        return bool(self._by_name or self._by_glob)

    def add(self, place: int, parts: tuple[Glob, ...]) -> None:
        """One more, which is stronger than those before."""
        self.said = hash((self.said, place % _GONE, parts))
        self._count += 1
        if parts[0] is DEEP:
            if self._remember:
                self.stay.append((place, parts))
                self.weight += _STAY_WEIGHT + 8 * sum(map(len, parts))
            if len(parts) > 1:
                place, parts = place + _GONE, parts[1:]
        if len(parts) > 1:
            self._step(place, parts)
            return
        matcher = self._by_kind[place // _ONLY_DIRS % 2]
        if matcher is None:
            matcher = Matcher(self._fold)
            self._by_kind[place // _ONLY_DIRS % 2] = matcher
            self.matchers[True].append(matcher)
            if not place & _ONLY_DIRS:
                self.matchers[False].append(matcher)
        literals = matcher.add(place, parts[0], bool(place & _KEEP))
        self._weigh(parts[0], literals)

    def _step(self, place: int, parts: tuple[Glob, ...]) -> None:
        rest = (place + _GONE, parts[1:])
        self.weight += _STEP_WEIGHT + sum([60 + 8 * len(part) for part in parts])
        alternatives = wildmatch.literals(parts[0])
        if alternatives and len(alternatives[0]) == 1:
            self._weigh(parts[0], len(alternatives))
            for (name,) in alternatives:
                self._by_name.setdefault(name, []).append(rest)
        else:
            self._weigh(parts[0], 0)
            self._by_glob.append((test(parts[0]), rest))

    def _weigh(self, glob: Glob, literals: int) -> None:
        if literals:
            self.weight += literals * (_NAME_WEIGHT + 2 * len(glob))
        else:
            self.weight += _TEST_WEIGHT + 110 * len(glob)

    def step(self, name: bytes) -> list[Item]:
        """What they say of the directory ``name`` in particular."""
        found = self._by_name.get(name, [])
        if self._by_glob:
            found = found + [item for does, item in self._by_glob if does(name)]
        return found


class Level:
    """What is left of an ignore file in one directory."""

    __slots__ = ("file", "_own", "_parts", "_usual", "stays")

    def __init__(self, file: RuleFile, own: Patterns | None) -> None:
        """``own`` is what does not hold everywhere."""
        self.file = file
        self._own = own
        self._parts = [some for some in (file.everywhere, own) if some and some.any]
        # What is left in a directory that nothing is said of in particular; None for the same.
        self._usual: tuple[Level | None] | None = None
        if own and not file.ready(own).stays:
            self._usual = (file.level(file.ready(own).stay),)
        #: Is nothing else left of it in any directory below?
        self.stays = not self._usual and not any(some.steps for some in self._parts)

    def said(self) -> object:
        """What it says, for comparison."""
        return self.file.fold, [some.said for some in self._parts]

    def hides(self) -> bool:
        """Is there a rule in it, of those that do not hold everywhere, that leaves out?"""
        numbers = self._own.numbers() if self._own else ()
        return any(not number & _KEEP for number in numbers)

    def enter(self, name: bytes) -> Level | None:
        """What is left of the file in the directory ``name`` of this one."""
        file = self.file
        items: list[Item] = []
        for some in self._parts:
            if some.steps:
                ready = some.ready or file.ready(some)
                items += ready.step(name.lower() if file.fold else name)
        if items:
            own = self._own
            return file.level([*file.ready(own).stay, *items] if own else items)
        return self._usual[0] if self._usual else self

    def matchers(self, is_dir: bool) -> Iterator[Matcher]:
        """Those that may match an entry of this directory."""
        for some in self._parts:
            yield from (some.ready or self.file.ready(some)).matchers[is_dir]

    def find(self, name: bytes, is_dir: bool) -> Rule | None:
        """The last rule that matches the entry of this directory."""
        place = max(
            [matcher.find(name) for matcher in self.matchers(is_dir)], default=-1
        )
        return self.file.rule(place) if place >= 0 else None


def leaving(chain: Iterable[Level], further: Iterable[bytes]) -> Needles:
    """What a name must hold that a rule of ``chain`` may leave out; and ``further``."""
    found = set(further)
    for level in chain:
        for matcher in level.matchers(True):  # which are all that there are
            found |= matcher.leaving
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
        best: dict[bytes, int] = {}
        for matcher in level.matchers(is_dir):
            for name in matcher.suspects(names, joined):
                if name not in found:
                    place = matcher.find(name)
                    if place > best.get(name, -1):
                        best[name] = place
        for name, place in best.items():
            found[name] = bool(place & _KEEP)
    return found
