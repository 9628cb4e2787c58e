"""What holds in the whole of one work tree, and in what lies in no repository."""

from __future__ import annotations

import os
import stat

from filerep.pathstream import quote
from filerep.rules import repository
from filerep.rules.gitsettings import Settings
from filerep.rules.lastread import Hearer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from filerep.rules.repository import Repository
    from filerep.rules.rulefile import Level
    from filerep.rules.tracked import Tracked


class Inputs:
    """What an answer depends on beside the `.gitignore` files and `.git` in SRC.

    All paths are absolute, and may lead to nothing. If one of ``rules`` comes, changes or
    goes, the rules are to be made anew. If ``index`` does, what is tracked may be
    another; it is None where there is no repository. ``absent`` are not there, and would
    begin a repository in a directory above SRC. Such a directory, /tmp or a home
    perhaps, may be a busy one: so whether they are there is better looked at now and
    then than watched.
    """

    __slots__ = ("rules", "index", "absent")

    def __init__(
        self,
        rules: tuple[bytes, ...] = (),
        index: bytes | None = None,
        absent: tuple[bytes, ...] = (),
    ) -> None:
        self.rules = rules
        self.index = index
        self.absent = absent


NO_INPUTS = Inputs()


class WorkTree:
    """A repository's settings, the user's rules and what is tracked.

    ``repo`` is None for what lies in no repository: there the user's settings hold.
    """

    def __init__(
        self,
        repo: Repository | None,
        root: bytes,
        environ: Mapping[bytes, bytes],
        hearer: Hearer,
        gitignore: bool,
    ) -> None:
        """``root`` is where git is asked."""
        self.repo = repo
        self.settings = Settings(repo, repo.place if repo else root, environ, hearer)
        work_tree = self.settings.work_tree
        #: Is what is around its `.git` in none of its work tree?
        self.elsewhere = bool(repo and work_tree not in (None, repo.place))
        if repo and work_tree and _is_in(root, work_tree) and _is_in(root, repo.place):
            repo.top = work_tree
        # git goes to the top, so from there it takes a relative path.
        self._place = repo.top if repo else root
        #: The user's own rules, as far as they hold here.
        self.user: Level | None = None
        self.tracked: Tracked | None = None
        if repo and self.settings.refused:
            shown = quote(repo.place)
            hearer.on_note(
                f"{shown} belongs to another user, so git refuses it: its settings and"
                " its list of tracked files were not read; `git config --global --add"
                f" safe.directory {shown}` has them read"
            )
        elif repo:
            from filerep.rules.tracked import Tracked  # not before there is a use

            settings = self.settings
            self.tracked = Tracked(
                repo,
                settings.sha256,
                settings.ignore_case,
                hearer,
                settings.partial,
            )
        self._gitignore = gitignore
        #: Are names of another case the same?
        self.fold = gitignore and self.settings.ignore_case

    def excludes_file(self) -> bytes:
        """The user's ignore file, by the name that it has in settings; empty for none."""
        path, instead = self.settings.excludes_file, self.settings.excludes_file_else
        return instead if instead and not os.path.exists(self.whole(path)) else path

    def whole(self, path: bytes) -> bytes:
        """A path from settings, as an absolute one."""
        return path and os.path.join(self._place, path)

    def inputs(self) -> Inputs:
        """All files that bear on it, also those that decide whether it is a work tree."""
        found: list[bytes] = []
        if self.repo:
            found += repository.deciders(self.repo.place)
            found += (self.repo.place, self.repo.git_dir)  # whose owner bears on it
        if self._gitignore:
            if self.repo:
                found.append(self.repo.exclude_file)
            names = (self.settings.excludes_file, self.settings.excludes_file_else)
            found += [self.whole(name) for name in names]
        found += self.settings.files
        return Inputs(
            tuple(dict.fromkeys([path for path in found if _may_change(path)])),
            self.repo.index if self.repo else None,
        )


def _is_in(path: bytes, directory: bytes) -> bool:
    return (path + b"/").startswith(os.path.join(directory, b""))


def _may_change(path: bytes) -> bool:
    """Is it worth watching? /dev/null, which says that there are no settings, is not."""
    try:
        return bool(path) and not stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return True
    except ValueError:
        return False  # no file can be called that


def were_removed(
    directory: bytes,
    since: float,
    paths: Iterable[bytes],
    environ: Mapping[bytes, bytes] = os.environb,
) -> bool:
    """Has git removed ``paths`` below ``directory`` from its work tree since then?

    That is, written the index since ``since``, by `time.time`, which does not name most of them,
    or as what a sparse checkout leaves out. (A `git status` writes it, too.)
    """
    from filerep.rules import gitindex  # few ask

    root = os.path.realpath(directory)
    repo = repository.above(root, environ)[0]
    try:
        if repo is None or os.lstat(repo.index).st_mtime < since:
            return False
    except OSError:
        return False
    tree = WorkTree(repo, root, environ, Hearer(), True)  # finds the top
    if tree.elsewhere and repo.top == repo.place:
        return False
    before = b"" if root == repo.top else os.path.relpath(root, repo.top) + b"/"
    for width in (20, 32):
        try:
            found = gitindex.load(repo.index, width, absent=True)
        except gitindex.Unreadable:
            continue
        names = [before + path for path in paths]
        kept = [found.holds(name) and name not in found.absent for name in names]
        return sum(kept) <= len(names) / 2
    return False
