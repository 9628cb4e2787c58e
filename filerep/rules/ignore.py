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
  directory; to leave it out would lose a user's files. But where the repository around
  it tracks files in there, git passes over the inner one, and so do we; and we do where
  the inner one's `core.worktree` is elsewhere. And of what lies in the place of a submodule
  that is not checked out nothing counts.
* Where rules above SRC ignore SRC itself, the rules of that repository above SRC do not
  apply, and a note says so.

Whoever follows a tree while it changes must know what the answers stand on. The
`.gitignore` files and the `.git` of the directories in SRC are seen there
(``rule_file``); all else inputs.py tells.
"""

from __future__ import annotations

import os
import stat

from filerep.command import NO_INPUT, Stop, refuse_pattern
from filerep.filesystem import is_made_up, mount_points
from filerep.pathstream import quote
from filerep.rules import repository
from filerep.rules.origin import Origin
from filerep.rules.rulefile import MOST_WEIGHT, decide, enter, join
from filerep.rules.untrustedfile import OPEN_DIRECTORY, descriptor
from filerep.rules.userrules import Asked, BadFile, gather

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from filerep.rules.lastread import LastRead, OnNote
    from filerep.rules.origin import OnError
    from filerep.rules.rulefile import Level, RuleFile
    from filerep.rules.userrules import OwnHere
    from filerep.rules.worktree import WorkTree

RULE_FILE = b".gitignore"
REPOSITORY = repository.NAME
#: At the root of SRC a name that begins so is a destination's staging directory.
STAGING = b".filerep-"


def rule_file(name: bytes) -> bool:
    """Does a change of an entry of this name change the rules of its directory?"""
    return name.lower() in (RULE_FILE, REPOSITORY)  # with core.ignoreCase


class Rules:
    """The rules of one directory: one link of a chain, made by ``enter`` of its parent."""

    # What few links have is set on those only.
    own: OwnHere | None = None  # what the user's own patterns say here
    ignored = False  # an ignored directory, entered for an include or a tracked file
    begins = False  # a work tree has its top here, or would have if `.git` were one
    # Directories that are ignored, and have been found to hold tracked files.
    _led: frozenset[bytes] = frozenset()

    def __init__(self, origin: Origin, parent: Rules | None, name: bytes) -> None:
        self.origin = origin
        self.parent = parent
        self._name = name
        # What is left of each rule file here, the nearest first.
        self.chain: tuple[Level, ...] = ()
        # The work tree that this directory is in.
        self.tree: WorkTree | None = parent.tree if parent else None

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

    def all_count(self, joined: bytes) -> bool:
        """Do surely all entries of this directory count? ``joined`` are any of them.

        This is quickly answered, and the answer is yes for most of a tree.
        """
        if self.own is not None or self.ignored or not self.parent or self._fold:
            return False
        if self.origin.made_up:
            return False
        return not self.origin.needles(self.chain).are_in(joined)

    def pick(self, names: list[bytes], joined: bytes, is_dir: bool) -> list[bytes]:
        """Those of ``names`` that count; ``joined`` is what ``join`` makes of them."""
        if not names:
            return names
        if self.parent is None:
            names = [name for name in names if not name.startswith(STAGING)]
        if is_dir and self.origin.made_up:
            names = [name for name in names if not self.is_made_up(name)]
        if self.own is None and not self.ignored:
            found = decide(self.chain, names, joined, is_dir)
            if joined.find(b"\0.git\0") >= 0:
                found[REPOSITORY] = False
            fold = self.tree is not None and self.tree.fold
            if fold:
                found = {name: found.get(name, True) for name in names}
            if not found:
                return names
            for name, kept in found.items():
                if fold or not kept:
                    found[name] = self._git_counts(name, kept, is_dir)
            return [name for name in names if found.get(name, True)]
        own = self.own
        judged = own.judge(names, joined, is_dir, self.ignored, self) if own else {}
        ignored = decide(self.chain, names, joined, is_dir)
        return [
            name
            for name in names
            if judged.get(name, None)
            or name not in judged
            and self._git_counts(name, ignored.get(name, True), is_dir)
        ]

    def _git_counts(self, name: bytes, kept: bool, is_dir: bool) -> bool:
        if self.is_repository(name):
            return not self.origin.gitignore
        if kept and not self.ignored:
            return not self._fold or is_dir or not self._is_another(name)
        found = self.tracks(name, is_dir)
        if is_dir:
            if found != (name in self._led):
                self._led = self._led ^ {name}  # `enter` will go by it
            return found
        return found and not (self._fold and self._is_another(name))

    def tracks(self, name: bytes, is_dir: bool) -> bool:
        """Does git track the entry, or anything in it?"""
        tracked = self.tree.tracked if self.tree else None
        if tracked is None:
            return False
        path = self.within(name)
        if not is_dir:
            return tracked.file(path)
        return tracked.below(path) or self._holds_submodule(name)

    def _holds_submodule(self, name: bytes) -> bool:
        """Is the directory what git has a submodule for?"""
        tracked = self.tree.tracked if self.tree else None
        if tracked is None or not tracked.submodule(self.within(name)):
            return False
        return not (self._fold and self._is_another(name))

    def _is_another(self, name: bytes) -> bool:
        """Is a file of that name but for its case tracked, and not this very one?

        git, told not to regard case, takes both for one, and lists only the tracked name.
        """
        tree = self.tree
        path = self.within(name)
        spelled = tree.tracked.spelling(path) if tree and tree.tracked else None
        if spelled is None or not tree or not tree.repo:
            return False
        own = _look(os.path.join(self.origin.root, self.path(name)))
        other = _look(os.path.join(tree.repo.top, spelled))
        if own is None or other is None or os.path.samestat(own, other):
            return own is not None and other is None
        return _are_two(tree.repo.top, path, spelled)

    def is_made_up(self, name: bytes) -> bool:
        """Is /proc, or its like, mounted on the entry?"""
        made_up = self.origin.made_up
        return bool(made_up) and self.path(name) in made_up

    def is_repository(self, name: bytes) -> bool:
        """Is it `.git`, as the settings have it?"""
        return name == REPOSITORY or self._fold and name.lower() == REPOSITORY

    # -- the way down

    def enter(
        self, name: bytes, dir_fd: int | None = None, joined: bytes | None = None
    ) -> Rules:
        """The link for the directory ``name``, of which it was said that it counts.

        It is open as ``dir_fd``; None where there is no such directory here. ``joined``
        are its entries where the caller has them: that saves two system calls.
        """
        origin = self.origin
        link = Rules(origin, self, name)
        if self.own:
            link.own = self.own.enter(name, self.ignored)
        if not origin.ruled:
            return link
        link.ignored = origin.gitignore and self._leaves_out(name)
        if joined is not None and link._fold:
            joined = joined.lower()  # where `.gitignore` opens `.GITIGNORE`
        tree = None
        if dir_fd is not None and (joined is None or b"\0.git\0" in joined):
            link.begins = joined is not None or bool(_look(REPOSITORY, dir_fd))
            tree = self._inner(link, name, dir_fd)
        if tree is None and dir_fd is not None and self._is_submodule(name):
            link.ignored = origin.gitignore  # it is not checked out: git lists nothing
        if joined is not None and joined.find(b"\0.git") < 0 and not _keeps(link.tree):
            # Neither rules nor a repository of its own, as most directories.
            link.chain = () if link.ignored else enter(self.chain, name)
            return link
        if tree:
            link._begin(tree)
        elif not link.ignored:
            link.chain = enter(self.chain, name)
        if joined is None or b"\0.gitignore\0" in joined or _keeps(link.tree):
            if origin.gitignore and not link.ignored:
                link._add_rule_file(dir_fd, joined)
        return link

    def _leaves_out(self, name: bytes) -> bool:
        """Do git's rules leave out the directory, of which it was said that it counts?"""
        if self.own is None and not self.ignored:
            return name in self._led
        kept = decide(self.chain, [name], join([name]), True).get(name, True)
        return self.ignored or not kept or self.is_repository(name)

    def _is_submodule(self, name: bytes) -> bool:
        tracked = self.tree.tracked if self.tree else None
        if not tracked or not tracked.has_submodules:
            return False
        return tracked.submodule(self.within(name))

    def _inner(self, link: Rules, name: bytes, dir_fd: int) -> WorkTree | None:
        """The work tree that begins in ``name`` and is not passed over."""
        top = os.path.join(self.origin.root, link.path())
        repo = self.origin.repository(dir_fd, top)
        if repo is None:
            return None
        repo.way = os.path.join(self.origin.way, link.path())
        tracked = self.tree.tracked if self.tree else None
        if tracked:
            # One entry, which may be tracked where it is ignored.
            if self._holds_submodule(name):
                return self.origin.work_tree(repo)
            if tracked.embeds(self.within(name)):
                return None
        own = self.tree.repo if self.tree else None
        if own and _is_same(os.path.join(top, REPOSITORY), own.git_dir):
            return None  # which a file above leads to
        tree = None if link.ignored else self.origin.work_tree(repo)
        return None if tree and tree.elsewhere else tree

    def _begin(self, tree: WorkTree) -> None:
        """This is in another work tree than its parent: forget the parent's rules."""
        self.tree = tree
        self.ignored = False
        self.chain = self.origin.weakest(tree)
        if tree.repo and self.origin.gitignore:
            shown = os.path.join(self.path(b""), tree.repo.shown_exclude_file)
            self._add(self.origin.read(tree.repo.exclude_file, shown, self._fold))

    @property
    def _fold(self) -> bool:
        return self.tree is not None and self.tree.fold

    def _add_rule_file(
        self, dir_fd: int | None, joined: bytes | None, above: bytes | None = None
    ) -> None:
        """The directory's own rule file, or what the index has in its stead.

        ``above`` is the way from the top of the work tree, with a last slash, where it is
        a directory above SRC.
        """
        origin = self.origin
        file = None
        if dir_fd is not None and (joined is None or b"\0.gitignore\0" in joined):
            if above is None:
                said = self.path(RULE_FILE)
                shown = origin.prefix + said
            else:
                shown = above + RULE_FILE
                said = os.path.join(origin.root[: -len(origin.prefix)], shown)
            file = origin.read(RULE_FILE, shown, self._fold, dir_fd, said)
        tracked = self.tree.tracked if self.tree else None
        if file is None and tracked and tracked.keeps_rule_files():
            if above is None:
                within = self.within(RULE_FILE)
            else:
                within = above + RULE_FILE
            text = tracked.rule_file(within)
            if tracked.unknown and self.tree and self.tree.settings.sparse:
                text = b"*"  # what it says is not known: it might hide all
            if text is not None and not _is_directory(dir_fd):
                shown = (
                    origin.prefix + self.path(RULE_FILE) if above is None else within
                )
                file = origin.rules(shown, text, self._fold)
        self._add(file)

    def _add_rule_file_of(self, place: bytes, above: bytes | None) -> None:
        """The same for SRC itself, or a directory above it, by its absolute name."""
        fd = None
        try:
            fd = descriptor(place, OPEN_DIRECTORY)
        except OSError as error:
            if above is not None:  # or whoever goes on to read SRC will say so
                self.origin.on_error("open", place, error)
        try:
            self._add_rule_file(fd, None, above)
        finally:
            if fd is not None:
                os.close(fd)

    def _add(self, file: RuleFile | None) -> None:
        """Put a rule file before all others.

        Of many in a row each may say little, and all of them too much.
        """
        above = sum([level.file.weight for level in self.chain])
        if file and file.weight and above + file.weight > MOST_WEIGHT:
            file = self.origin.hiding(file)
        level = file.top() if file else None
        if level:
            self.chain = (level, *self.chain)

    def path(self, last: bytes | None = None) -> bytes:
        """This directory's path, below which ``last`` may be added."""
        names = [] if last is None else [last]
        link: Rules | None = self
        while link and link.parent:
            names.append(link._name)
            link = link.parent
        return b"/".join(reversed(names))

    def within(self, last: bytes) -> bytes:
        """``last`` in this directory, by its path from the top of the work tree."""
        names = [last]
        link = self
        while link.parent and link.parent.tree is link.tree:
            names.append(link._name)
            link = link.parent
        path = b"/".join(reversed(names))
        return path if link.parent else self.origin.prefix + path


def _keeps(tree: WorkTree | None) -> bool:
    """May there be rule files that are in the index alone?"""
    tracked = tree.tracked if tree else None
    return tracked is not None and tracked.keeps is not False


def _is_directory(dir_fd: int | None) -> bool:
    """Is one in place of the rule file? git opens it, so it does not look in the index."""
    look = _look(RULE_FILE, dir_fd) if dir_fd is not None else None
    return look is not None and stat.S_ISDIR(look.st_mode)


def _are_two(top: bytes, path: bytes, other: bytes) -> bool:
    """Are both there, with no regard to what numbers they show?

    FUSE may show one for each spelling of a file; but a directory lists only one of them.
    """
    place = top
    try:
        for name, as_other in zip(path.split(b"/"), other.split(b"/")):
            if name != as_other and {name, as_other} <= set(os.listdir(place)):
                return True
            place = os.path.join(place, name)
    except OSError:
        return True
    return False


def _is_same(path: bytes, other: bytes) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def _look(path: bytes, dir_fd: int | None = None) -> os.stat_result | None:
    try:
        return os.lstat(path, dir_fd=dir_fd)
    except OSError:
        return None


def load(
    root: bytes,
    asked: Asked = Asked(),
    *,
    gitignore: bool = True,
    on_error: OnError,
    on_note: OnNote = lambda text: None,
    environ: Mapping[bytes, bytes] = os.environb,
    last: LastRead | None = None,
) -> Rules:
    """The rules of the directory ``root``, everything above it taken in.

    Who loads them again and again has ``last`` stand in for files that cannot be read.
    What cannot be read goes to ``on_error``, what the user should know to ``on_note``;
    raises ``BadFile`` for a file that the user named and that is of no use.
    """
    origin = Origin(on_error, on_note, environ, last)
    origin.gitignore = gitignore
    origin.root = os.path.realpath(root)
    origin.way = repository.way(root, environ)
    origin.own = gather(asked, origin.before_2_52)
    origin.made_up = _made_up(origin)
    link = Rules(origin, None, b"")
    origin.ruled = gitignore or origin.own.editors is not None
    if origin.ruled:
        _begin_source(link, origin)
    link.own = origin.own.here()
    return link


def _made_up(origin: Origin) -> frozenset[bytes]:
    """Where below SRC the kernel makes up what is there.

    Copied it is of no use: much cannot be read, some never ends, and all of it changes.
    """
    found: set[bytes] = set()
    for path, kind in sorted(mount_points(origin.root).items()):
        above = (path[:at] for at, byte in enumerate(path) if byte == ord("/"))
        if is_made_up(kind) and found.isdisjoint(above):
            found.add(path)
            origin.on_note(
                f"{quote(path)} is left out: the kernel makes it up ({kind})"
            )
    return frozenset(found)


def load_asked(
    root: bytes,
    args: Mapping[str, Any],
    on_error: OnError,
    on_note: OnNote,
    last: LastRead | None = None,
) -> Rules:
    """The rules that a command's options ask for; raises ``Stop``."""

    def given(option: str) -> list[bytes]:
        if option in ("--exclude", "--include"):
            for text in args[option]:
                refuse_pattern(option, text)
        return [os.fsencode(text) for text in args[option]]

    asked = Asked(
        exclude=given("--exclude"),
        include=given("--include"),
        exclude_from=given("--exclude-from"),
        include_from=given("--include-from"),
        editor_files=args["--editor-files"],
    )
    rules = not args["--no-gitignore"]
    try:
        return load(
            root,
            asked,
            gitignore=rules,
            on_error=on_error,
            on_note=on_note,
            last=last,
        )
    except BadFile as error:
        raise Stop(NO_INPUT, str(error)) from None


def _begin_source(link: Rules, origin: Origin) -> None:
    """Give the link of SRC itself what holds there."""
    root = origin.root
    repo, looked = repository.above(root, origin.environ, origin.repository)
    if repo and repo.place == root:
        repo.way = origin.way
    tree = origin.work_tree(repo)
    for place in looked:
        files = list(repository.deciders(place))
        if place == root:
            del files[0]  # which is seen in SRC
        there = len(files) != 1
        (origin.above if there else origin.absent).extend(files)
    if repo and repo.top != root:
        origin.prefix = os.path.relpath(root, repo.top) + b"/"
        at = repo.top
        for step in origin.prefix.split(b"/")[:-1]:
            origin.above.append(os.path.join(at, RULE_FILE))
            at = os.path.join(at, step)
    link._begin(tree)
    if not _go_down(link, origin, repo.top if repo else root):
        origin.on_note(f"{quote(root)} is ignored by rules above it; they do not apply")
        link.chain = origin.weakest(tree)
    if not origin.gitignore:
        return
    link._add_rule_file_of(root, None)


def _go_down(link: Rules, origin: Origin, top: bytes) -> bool:
    """Bring ``link`` from ``top`` down to SRC; False if SRC is left out on the way."""
    above = b""
    for step in origin.prefix.split(b"/")[:-1]:
        if origin.gitignore:
            link._add_rule_file_of(os.path.join(top, above), above)
        if not decide(link.chain, [step], join([step]), True).get(step, True):
            return False
        link.chain = enter(link.chain, step)
        above += step + b"/"
    return True
