"""Which paths count: git's ignore rules, and the user's own --exclude and --include.

A chain of ``Rules``, one for each directory on the way down, each made by its parent's
``enter``. The answer is git's (gitignore(5), dir.c), with these additions:

* An include wins over an exclude, an exclude over every ignore file, over what git
  tracks, and over the rule that ``.git`` does not count. An included directory counts
  with all that is in it. An include with a slash in it (not at its end) is looked for
  in ignored and excluded directories too; one without is not, since that would mean
  to walk through all of them.
* A tracked file counts though the rules ignore it.
* What lies in another repository inside SRC (a submodule, a clone) counts by that
  repository's rules alone, as if git listed it there. git itself names only the
  directory; to leave it out would lose a user's files.
* Where rules above SRC ignore SRC itself, the rules of that repository above SRC do not
  apply, and a note says so.

How it is made fast. Few of a tree's names are touched by any rule, and most directories
have the same rules. So a rule file is cut into parts (see wildmatch), and what is left
of it for one directory is a ``Level``, shared by all directories for which the same is
left; a directory's names go, joined, through one regex of the literals that a match
would have to hold, and only what that finds is looked at name by name.
"""

from __future__ import annotations

import errno
import os
import re
from operator import contains

from filerep.pathstream import quote
from filerep.rules import repository, wildmatch
from filerep.rules.repository import Settings, Tracked
from filerep.rules.wildmatch import DEEP, LONGEST, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from filerep.rules.repository import OnNote, Repository, Tree
    from filerep.rules.wildmatch import Glob

    OnError = Callable[[str, bytes, OSError], None]
    Item = tuple["Rule", tuple[Glob, ...]]
    Test = Callable[[bytes], object]

RULE_FILE = b".gitignore"
REPOSITORY = b".git"
# Where a rule comes from that is not in a file.
INCLUDE = b"--include"
EXCLUDE = b"--exclude"
#: At the root of SRC a name that begins so is a destination's staging directory.
STAGING = b".filerep-"


def rule_file(name: bytes) -> bool:
    """Does a change of an entry of this name change the rules?"""
    return name == RULE_FILE


def join(names: Iterable[bytes]) -> bytes:
    """``names`` as one string, a NUL before and after each."""
    return b"\0%s\0" % b"\0".join(names)


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
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.startswith(b"#"):
            continue
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
    """The patterns of one ignore file; its first ``Level`` is for its own directory."""

    def __init__(self, patterns: Iterable[Rule], fold: bool = False) -> None:
        self.fold = fold
        self._levels: dict[tuple[Item, ...], Level] = {}
        items: list[Item] = []
        for rule in patterns:
            text = rule.text[rule.keep :]
            text = text[:-1] if rule.only_dirs else text
            items += [(rule, parts) for parts in wildmatch.split(text, fold)]
        self.items = tuple(items)

    @classmethod
    def read(cls, source: bytes, text: bytes, fold: bool = False) -> RuleFile:
        text = text[3:] if text.startswith(b"\xef\xbb\xbf") else text
        return cls([Rule(source, number, line) for number, line in lines(text)], fold)

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
        self._matcher: Matcher | None = None
        self._stay: list[Item] = []
        self._by_name: dict[bytes, list[Item]] = {}
        self._by_glob: list[tuple[Test, Item]] = []
        for rule, parts in items:
            if parts[0] is DEEP:
                self._stay.append((rule, parts))
                parts = parts[1:]
            if len(parts) > 1:
                self._step(rule, parts)
        self._usual = self if len(self._stay) == len(items) else file.level(self._stay)

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

    @property
    def matcher(self) -> Matcher:
        if self._matcher is None:
            here = []
            for rule, parts in self.items:
                parts = parts[1:] if parts[0] is DEEP and len(parts) > 1 else parts
                if len(parts) == 1:
                    here.append((rule, parts[0]))
            self._matcher = Matcher(here, self.file.fold)
        return self._matcher


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
    # Imported when a pattern asks for it: the import takes as long as the whole of
    # fr-walk on a small tree, and most patterns are names, stars and "[co]".
    from pathspec.pattern import RegexPattern

    pattern = RegexPattern(b"(?:%s)\\Z" % wildmatch.to_regex(glob))
    assert pattern.regex is not None
    found: Test = pattern.regex.match
    return found


class Matcher:
    """The globs that names of one directory are matched against, the last one first."""

    def __init__(self, globs: Iterable[tuple[Rule, Glob]], fold: bool) -> None:
        self._fold = fold
        self._names: dict[bytes, list[Rule]] = {}
        self._ends: dict[bytes, list[Rule]] = {}
        self._tests: list[tuple[Test, Rule]] = []
        needles = set()
        for rule, glob in globs:
            alternatives = wildmatch.literals(glob) if glob else None
            runs = len(alternatives[0]) if alternatives else 0
            if alternatives and runs == 1:
                for (name,) in alternatives:
                    self._names.setdefault(name, []).append(rule)
            elif alternatives and runs == 2 and not alternatives[0][0]:
                for _, end in alternatives:
                    self._ends.setdefault(end, []).append(rule)
                    needles.add(end and end[-LONGEST:] + b"\0")
            else:
                self._tests.append((test(glob), rule))
                needles.add(wildmatch.needle(glob) if glob else b"")
        self._end_lengths = sorted({len(end) for end in self._ends})
        self._all = b"" in needles
        self._needles = tuple(sorted(needles)) if not self._all else ()
        self._search: Callable[[bytes], Iterable[re.Match[bytes]]] | None = None

    def suspects(self, names: Sequence[bytes], joined: bytes) -> Iterable[bytes]:
        """Those of ``names`` that may match; ``joined`` is them as well."""
        if self._all or self._fold:
            return names
        found: list[bytes] = []
        if self._names and not self._names.keys().isdisjoint(names):
            found += [name for name in names if name in self._names]
        if self._needles:
            if self._search is None:
                self._search = searcher(self._needles)
            for match in self._search(joined):
                at = match.start()
                start = at + 1 if joined[at] == 0 else joined.rfind(b"\0", 0, at) + 1
                found.append(joined[start : joined.index(b"\0", start)])
        return found

    def find(self, name: bytes, is_dir: bool) -> Rule | None:
        """The last rule that matches ``name``."""
        name = name.lower() if self._fold else name
        best: Rule | None = None
        found = self._names.get(name, [])
        for length in self._end_lengths:
            if length <= len(name):
                found = found + self._ends.get(name[len(name) - length :], [])
        for rule in found:
            if (is_dir or not rule.only_dirs) and (not best or rule.line > best.line):
                best = rule
        for does, rule in self._tests:
            if (is_dir or not rule.only_dirs) and (not best or rule.line > best.line):
                if does(name):
                    best = rule
        return best


_SEARCHERS: dict[tuple[bytes, ...], Callable[[bytes], Iterable[re.Match[bytes]]]] = {}


def searcher(
    needles: tuple[bytes, ...],
) -> Callable[[bytes], Iterable[re.Match[bytes]]]:
    """Finds every name in which one of ``needles`` stands, perhaps more than once."""
    if needles not in _SEARCHERS:
        if len(_SEARCHERS) > 100:  # a tree may hold any number of rule files
            _SEARCHERS.clear()
        _SEARCHERS[needles] = re.compile(_trie(needles)).finditer
    return _SEARCHERS[needles]


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
            by_first.setdefault(re.escape(word[:1]), []).append(word[1:])
    branches = [first + _trie(rest) for first, rest in by_first.items()]
    return b"(?:" + b"|".join(branches) + b")" if len(branches) > 1 else branches[0]


class Origin:
    """What all links of one walk share."""

    def __init__(
        self, on_error: OnError, on_note: OnNote, environ: Mapping[bytes, bytes]
    ) -> None:
        self.on_error = on_error
        self.on_note = on_note
        self.environ = environ
        self.gitignore = True
        self.root = b""
        self.outside: list[bytes] = []
        self.settings = Settings(None, {})
        self.user_file: RuleFile | None = None


class Rules:
    """The rules of one directory: one link of a chain, made by ``enter`` of its parent."""

    # What few links have is set on those only.
    _include: Level | None = None
    # The includes that are looked for in directories that are left out.
    _reach: Level | None = None
    _exclude: Level | None = None
    _inside = False  # an included directory
    _excluded = False  # an excluded directory, entered for an include's sake
    _ignored = False  # an ignored one, for that or for tracked files
    _tracked: Tracked | None = None  # not yet asked
    _tree: Tree | None = None
    _plain = True  # none of these

    def __init__(self, origin: Origin, parent: Rules | None, name: bytes) -> None:
        self._origin = origin
        self._parent = parent
        self._name = name
        # What is left of each rule file here, the nearest first.
        self._chain: tuple[Level, ...] = ()

    # -- which entries count

    def counts(self, name: bytes, is_dir: bool) -> bool:
        """Does the entry count? For a directory: may anything in it count?"""
        return bool(self.pick([name], join([name]), is_dir))

    def select(
        self, files: list[bytes], dirs: list[bytes]
    ) -> tuple[list[bytes], list[bytes]]:
        """Those of this directory's entries that count, in their order."""
        return (
            self.pick(files, join(files), False),
            self.pick(dirs, join(dirs), True),
        )

    def pick(self, names: list[bytes], joined: bytes, is_dir: bool) -> list[bytes]:
        """Those of ``names`` that count; ``joined`` is what ``join`` makes of them."""
        if not names:
            return names
        if self._parent is None:
            names = [name for name in names if not name.startswith(STAGING)]
        if self._plain:
            found = _decide(self._chain, names, joined, is_dir)
            if b"\0.git\0" in joined and self._origin.gitignore:
                return [n for n in names if found.get(n, True) and n != REPOSITORY]
            return [n for n in names if found.get(n, True)] if found else names
        including = self._including()
        included = _decide((including,), names, joined, is_dir) if including else {}
        excluded = _decide((self._exclude,), names, joined, is_dir)
        ignored = _decide(self._chain, names, joined, is_dir)
        return [
            name
            for name in names
            if not included.get(name, not self._inside)
            or (is_dir and self._leads_on(name))
            or (not self._excluded and excluded.get(name, True))
            and self._git_counts(name, ignored.get(name, True))
        ]

    def _including(self) -> Level | None:
        closed = (self._excluded or self._ignored) and not self._inside
        return self._reach if closed else self._include

    def _leads_on(self, name: bytes) -> bool:
        """May an include match below the directory ``name``?"""
        reach = self._reach.enter(name) if self._reach else None
        return reach is not None and any(not rule.keep for rule, _ in reach.items)

    def _git_counts(self, name: bytes, kept: bool) -> bool:
        if not self._origin.gitignore or name in self.tracked_tree():
            return True
        return kept and not self._ignored and name != REPOSITORY

    def tracked_tree(self) -> Tree:
        """The tracked files below this directory that the rules ignore; waits for git."""
        if self._tracked:
            self._tree = self._tracked.tree()
            self._tracked = None
            self._settle()
        return self._tree or {}

    # -- the way down

    def enter(self, name: bytes, dir_fd: int, joined: bytes | None = None) -> Rules:
        """The link for the directory ``name``, which counts and is open as ``dir_fd``.

        ``joined`` are its entries where the caller has them: that saves two system calls.
        """
        origin = self._origin
        link = Rules(origin, self, name)
        repo = None
        if not self._plain:
            self._hand_down(link, name)
        if not origin.gitignore:
            return link
        if joined is None or b"\0.git\0" in joined:
            repo = repository.at(dir_fd)
        if repo:
            link._begin_repository(repo, dir_fd, name in self.tracked_tree())
        elif not link._ignored:
            link._chain = tuple(
                [level for own in self._chain if (level := own.enter(name))]
            )
        if not link._ignored and (joined is None or b"\0.gitignore\0" in joined):
            link.add_file(RULE_FILE, dir_fd, link.path(b""), False)
        return link

    def _hand_down(self, link: Rules, name: bytes) -> None:
        """The user's own patterns and the flags of the directory ``name``."""
        names, joined = [name], join([name])
        including = self._including()
        included = _decide((including,), names, joined, True)
        excluded = _decide((self._exclude,), names, joined, True)
        ignored = _decide(self._chain, names, joined, True)
        link._include = self._include.enter(name) if self._include else None
        link._reach = self._reach.enter(name) if self._reach else None
        link._exclude = self._exclude.enter(name) if self._exclude else None
        link._inside = not included.get(name, not self._inside)
        link._excluded = self._excluded or not excluded.get(name, True)
        if self._origin.gitignore:
            link._tree = self.tracked_tree().get(name)
            link._ignored = (
                self._ignored or not ignored.get(name, True) or name == REPOSITORY
            )
        link._settle()

    def _settle(self) -> None:
        self._plain = not (
            self._include
            or self._reach
            or self._exclude
            or self._inside
            or self._excluded
            or self._ignored
            or self._tracked
            or self._tree
        )

    def _begin_repository(self, repo: Repository, dir_fd: int, linked: bool) -> None:
        """Another repository has its top here: forget the rules of the one around it."""
        origin = self._origin
        # A submodule is tracked as one entry, and may be so where it is ignored.
        if self._ignored and not linked:
            return
        self._ignored = False
        self._tree = None
        place = os.path.join(origin.root, self.path())
        user = origin.user_file.top() if origin.user_file else None
        self._chain = (user,) if user else ()
        source = os.path.join(place, repo.exclude_file)
        if source not in origin.outside:
            origin.outside.append(source)
        self.add_file(repo.exclude_file, dir_fd, os.path.join(place, b""), True)
        if repo.has_index:
            self._tracked = Tracked(place, origin.environ, origin.on_note)
        self._settle()

    def add_file(self, path: bytes, dir_fd: int, place: bytes, follow: bool) -> None:
        """Put the rule file ``path``, below ``dir_fd``, before all others."""
        file = self.read(path, dir_fd, place, follow)
        level = file.top() if file else None
        if level:
            self._chain = (level, *self._chain)

    def read(
        self,
        path: bytes,
        dir_fd: int | None = None,
        place: bytes = b"",
        follow: bool = True,
    ) -> RuleFile | None:
        source = os.path.join(place, path)
        try:
            text = repository.read(path, dir_fd, follow)
        except OSError as error:
            if error.errno == errno.ELOOP and not follow:
                note = f"{quote(source)} is a symbolic link: its rules do not apply"
                self._origin.on_note(note)
            else:
                self._origin.on_error("read", source, error)
            return None
        if text is None:
            return None
        return RuleFile.read(source, text, self._origin.settings.ignore_case)

    def path(self, last: bytes | None = None) -> bytes:
        """This directory's path, below which ``last`` may be added."""
        names = [] if last is None else [last]
        link: Rules | None = self
        while link and link._parent:
            names.append(link._name)
            link = link._parent
        return b"/".join(reversed(names))

    def source_files(self) -> list[bytes]:
        """Absolute paths of the rule files outside SRC that went in, there or not."""
        return list(self._origin.outside)

    def without_tracked(self) -> Rules:
        """The same rules, were nothing tracked: they need not wait for git."""
        link = Rules(self._origin, self._parent, self._name)
        link.__dict__.update(self.__dict__)
        link._tracked = link._tree = None
        link._settle()
        return link

    def why(self, name: bytes, is_dir: bool) -> Rule | None:
        """The rule that decides about the entry, None when none does."""
        including = self._including()
        rule = including.matcher.find(name, is_dir) if including else None
        if rule and (self._inside or not rule.keep):
            return rule
        if self._inside:
            return None
        rule = self._exclude.matcher.find(name, is_dir) if self._exclude else None
        if rule and not rule.keep:
            return rule
        if not self._origin.gitignore:
            return None
        if self.tracked_tree().get(name) == {}:
            return Rule(b"git ls-files", 0, b"!" + name)
        if name == REPOSITORY:
            return Rule(b"git", 0, REPOSITORY)
        for level in self._chain:
            if rule := level.matcher.find(name, is_dir):
                return rule
        return None


def _decide(
    chain: Sequence[Level | None], names: Sequence[bytes], joined: bytes, is_dir: bool
) -> dict[bytes, bool]:
    """Of ``names`` those that a rule matches, and whether the first such rule keeps it."""
    found: dict[bytes, bool] = {}
    for level in chain:
        if level is None:
            continue
        for name in level.matcher.suspects(names, joined):
            if name not in found and (rule := level.matcher.find(name, is_dir)):
                found[name] = rule.keep
    return found


def load(
    root: bytes,
    *,
    gitignore: bool = True,
    exclude: Sequence[bytes] = (),
    include: Sequence[bytes] = (),
    on_error: OnError,
    on_note: OnNote = lambda text: None,
    environ: Mapping[bytes, bytes] = os.environb,
) -> Rules:
    """The rules of the directory ``root``, everything above it taken in.

    What cannot be read goes to ``on_error``, what the user should know to ``on_note``.
    """
    origin = Origin(on_error, on_note, environ)
    origin.gitignore = gitignore
    origin.root = os.path.realpath(root)
    link = _load_git(origin) if gitignore else Rules(origin, None, b"")
    link._include = _own(INCLUDE, include)
    link._exclude = _own(EXCLUDE, exclude)
    if link._include:
        file = link._include.file
        link._reach = file.level(item for item in file.items if item[1][0] is not DEEP)
    link._settle()
    return link


def _own(option: bytes, patterns: Sequence[bytes]) -> Level | None:
    """The user's patterns as an ignore file."""
    texts = [
        (at, line) for at, text in enumerate(patterns, 1) for _, line in lines(text)
    ]
    return RuleFile(Rule(option, at, line) for at, line in texts).top()


def _load_git(origin: Origin) -> Rules:
    root = origin.root
    asked = repository.ask_settings(root, origin.environ)
    top = repository.above(root, origin.environ)
    origin.settings = Settings(asked, origin.environ)
    if origin.settings.excludes_file:
        path = os.path.join(top or root, origin.settings.excludes_file)
        origin.outside.append(path)
        origin.user_file = Rules(origin, None, b"").read(path)
    rules = _go_down(origin, top)
    if rules is None:
        shown = quote(root)
        origin.on_note(f"{shown} is ignored by rules above it; they do not apply")
        rules = _go_down(origin, None)
    return rules or Rules(origin, None, b"")


def _go_down(origin: Origin, top: bytes | None) -> Rules | None:
    """The link of SRC, by way of the directories from the work tree's top down to it.

    None when the rules on the way leave SRC out.
    """
    root = origin.root
    place = top or root
    steps = os.path.relpath(root, place).split(b"/") if root != place else []
    link = Rules(origin, None, b"")
    user = origin.user_file.top() if origin.user_file else None
    link._chain = (user,) if user else ()
    tracked: Tracked | None = None
    fd = -1
    try:
        fd = os.open(place, repository.OPEN_DIRECTORY)
        repo = repository.at(fd) if top else None
        if repo:
            origin.outside.append(os.path.join(place, repo.exclude_file))
            link.add_file(repo.exclude_file, fd, os.path.join(place, b""), True)
            if repo.has_index:
                tracked = Tracked(root, origin.environ, origin.on_note)
        for step in steps:
            origin.outside.append(os.path.join(place, RULE_FILE))
            link.add_file(RULE_FILE, fd, os.path.join(place, b""), False)
            if not link.counts(step, True):
                return None
            chain = [level for own in link._chain if (level := own.enter(step))]
            link._chain = tuple(chain)
            place = os.path.join(place, step)
            above, fd = fd, os.open(step, repository.OPEN_DIRECTORY, dir_fd=fd)
            os.close(above)
        link.add_file(RULE_FILE, fd, b"", False)
    except OSError as error:
        if place != root:  # or whoever goes on to read it will say so
            origin.on_error("open", place, error)
    finally:
        if fd >= 0:
            os.close(fd)
    link._tracked = tracked
    return link
