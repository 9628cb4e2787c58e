"""What the rules of all directories of one tree share: how the files they stand in are read,
what could not be, and what holds everywhere.
"""

from __future__ import annotations

import errno
import os
import stat

from filerep.pathstream import quote
from filerep.rules import gitversion, repository, untrustedfile
from filerep.rules.lastread import Hearer
from filerep.rules.matching import HIDDEN
from filerep.rules.rulefile import MOST_WEIGHT, Rule, RuleFile, leaving, patterns
from filerep.rules.untrustedfile import read
from filerep.rules.userrules import Own
from filerep.rules.worktree import WorkTree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from filerep.rules.lastread import LastRead, OnNote
    from filerep.rules.matching import Needles
    from filerep.rules.repository import Repository
    from filerep.rules.rulefile import Level

    OnError = Callable[[str, bytes, OSError], None]


#: Of a file of rules; what says more is not taken in.
LARGEST = 32 << 20
HIDES = "nothing that it is about counts, unless it is tracked"


class Origin(Hearer):
    """What all links of one tree's rules share (see ignore.py)."""

    def __init__(
        self,
        on_error: OnError,
        on_note: OnNote,
        environ: Mapping[bytes, bytes],
        last: LastRead | None,
    ) -> None:
        super().__init__(last)
        self.on_error = on_error
        self._on_note = on_note
        self._noted: set[str] = set()
        self._needles: dict[tuple[Level, ...], Needles] = {}
        self._held = 0  # for their sake, in bytes
        self.environ = environ
        self.gitignore = True
        self.root = b""
        self.way = b""  # to the root, as the user has typed it
        self.own = Own()
        #: Directories in which the kernel makes up all that is there, by their paths from SRC.
        self.made_up: frozenset[bytes] = frozenset()
        #: Are there rules beside those that the user gave?
        self.ruled = True
        #: From the top of the work tree that SRC is in down to SRC, with a last ``/``.
        self.prefix = b""
        #: What SRC's own answers depend on, and is above it.
        self.above: list[bytes] = []
        #: What is not there, and would begin a repository above SRC.
        self.absent: list[bytes] = []

    def on_read(self, path: bytes, error: OSError | None, said: bytes = b"") -> None:
        if error is None:
            self.last.unread.discard(path)
        else:
            self.last.unread.add(path)
            self.on_error("read", said or path, error)

    def on_note(self, text: str) -> None:
        """Tell it once: what holds for many repositories is found in each."""
        if text not in self._noted:
            self._noted.add(text)
            self._on_note(text)

    def weakest(self, tree: WorkTree) -> tuple[Level, ...]:
        """The rules that hold in all of a work tree, and are in no file of it."""
        levels = (tree.user, self.own.editors)
        return tuple([level for level in levels if level])

    def work_tree(self, repo: Repository | None) -> WorkTree:
        """What holds in all of ``repo``, or outside of any."""
        tree = WorkTree(repo, self.root, self.environ, self, self.gitignore)
        shown = tree.excludes_file()
        if shown and self.gitignore:
            file = self.read(tree.whole(shown), shown, tree.settings.ignore_case)
            tree.user = file.top() if file else None
        return tree

    def needles(self, chain: tuple[Level, ...]) -> Needles:
        """What a name holds that the rules of ``chain`` may leave out, or that is `.git`."""
        if chain not in self._needles:
            self._held += sum([level.file.weight for level in chain])
            if len(self._needles) > 100 or self._held > MOST_WEIGHT:
                self._needles.clear()  # a tree may hold any number of rule files
                self._held = 0
            self._needles[chain] = leaving(chain, [HIDDEN])
        return self._needles[chain]

    def read(
        self,
        path: bytes,
        shown: bytes,
        fold: bool,
        dir_fd: int | None = None,
        said: bytes | None = None,
    ) -> RuleFile | None:
        """A rule file, called ``shown`` where it decides; None where there is none.

        With ``dir_fd`` it is one of a work tree's own, which git does not follow where
        it is a link; messages call it ``said``.
        """
        follow = dir_fd is None
        said = path if said is None else said
        key = os.path.join(self.root, said)
        text = None
        try:
            text = read(path, dir_fd, follow, LARGEST)
            if text is None and _is_larger(path, dir_fd, follow):
                self.on_note(f"{quote(said)} is too large; {HIDES}")
                text = b"*\n"
            elif text is None and follow:
                untrustedfile.refuse_directory(path)
            self.on_read(key, None)
        except OSError as error:
            if error.errno == errno.ELOOP and not follow:
                note = f"{quote(said)} is a symbolic link: its rules do not apply"
                self.on_note(note)
            else:
                self.on_read(key, error, said)
                text = self.last.get(key)
                if text is not None:
                    self.on_note(f"the rules that {quote(said)} held last still apply")
        self.last.put(key, text)
        return None if text is None else self.rules(shown, text, fold)

    def repository(self, dir_fd: int, place: bytes) -> Repository | None:
        """The repository that `.git` in the open directory ``place`` is or names, if any."""
        key = os.path.join(place, repository.NAME)
        try:
            found = repository.at(dir_fd, place)
            self.on_read(key, None)
        except OSError as error:
            self.on_read(key, error)
            said = self.last.get(key)
            found = repository.Repository(place, *said.split(b"\0")) if said else None
        self.last.put(key, found.said if found else None)
        return found

    def rules(self, shown: bytes, text: bytes, fold: bool) -> RuleFile:
        made = RuleFile(lambda: patterns(shown, text), fold, self.before_2_52)
        return made if made.whole else self.hiding(made)

    def hiding(self, file: RuleFile) -> RuleFile:
        """In place of one that is not taken in: what it hides must not be named."""
        first = file.rule(0)
        self.on_note(f"too many patterns, up to {quote(first.source)}; {HIDES}")
        return RuleFile(lambda: [Rule(first.source, first.line, b"*")], file.fold)

    def before_2_52(self) -> bool:
        return gitversion.version(self.environ) < (2, 52)


def _is_larger(path: bytes, dir_fd: int | None, follow: bool) -> bool:
    """Is it a file that is too large to be read?"""
    try:
        status = os.stat(path, dir_fd=dir_fd, follow_symlinks=follow)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > LARGEST
