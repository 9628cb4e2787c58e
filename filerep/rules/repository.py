"""Where git keeps what bears on a directory: the repository that it is in.

The repository is found as git finds it (gitrepository-layout(5), setup.c), in Python:
so the rules also hold where no git program is installed, and nothing of what stands in
the repository is obeyed.
"""

from __future__ import annotations

import errno
import os
import stat

from filerep.rules.gitvalues import boolean
from filerep.rules.untrustedfile import OPEN_DIRECTORY, descriptor, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NAME = b".git"
#: So long a git may need to change a work tree.
PATIENCE_NS = 30_000_000_000
# What git reads of a `.git` that is a file, and of HEAD, to find out if it is a repository.
_LARGEST_LINK, _MOST_OF_HEAD = 1 << 20, 255
_NONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


class Repository:
    """The git directory of one work tree; all its paths are absolute."""

    def __init__(self, place: bytes, git_dir: bytes, common: bytes) -> None:
        self.said = b"\0".join((git_dir, common))
        #: The directory that `.git` is in.
        self.place = place
        #: Of the work tree: that directory, if `core.worktree` does not say otherwise.
        self.top = top = place
        #: Of this work tree; what all work trees of one repository share is in `common`.
        self.git_dir = os.path.join(top, git_dir)
        self.common = os.path.join(top, common)
        #: ``place``, by the way that the user goes there: there may be links on it.
        self.way = place
        #: As git names it in what it prints.
        shared = NAME if common == NAME else os.path.realpath(self.common)
        self.shown_exclude_file = os.path.join(shared, b"info/exclude")

    @property
    def exclude_file(self) -> bytes:
        return os.path.join(self.common, b"info/exclude")

    @property
    def index(self) -> bytes:
        return os.path.join(self.git_dir, b"index")

    @property
    def objects(self) -> bytes:
        return os.path.join(self.common, b"objects")

    @property
    def way_to_git_dir(self) -> bytes:
        beside = self.git_dir == os.path.join(self.place, NAME)
        if beside:
            return os.path.join(self.way, NAME)
        return os.path.realpath(self.git_dir)  # git does not keep what a file says

    def branch(self) -> bytes | None:
        """The branch that is checked out, if one is."""
        start = b"refs/heads/"
        try:
            head = os.path.join(self.git_dir, b"HEAD")
            if os.path.islink(head):
                name = os.readlink(head)
            else:
                text = read(head) or b""
                name = text[4:].strip() if text.startswith(b"ref:") else b""
                if name == b"refs/heads/.invalid":
                    from filerep.rules import reftable  # few ask

                    name = reftable.head(self.git_dir) or b""
        except OSError:
            return None
        return name[len(start) :] if name.startswith(start) else None

    def is_ours(self, environ: Mapping[bytes, bytes]) -> bool:
        """Does all of it belong to this user? If not, git asks for `safe.directory`."""
        if boolean(environ.get(b"GIT_TEST_ASSUME_DIFFERENT_OWNER", b"")):
            return False
        user = os.geteuid()
        others = {user}
        if user == 0 and environ.get(b"SUDO_UID", b"").isdigit():
            others.add(int(environ[b"SUDO_UID"]))
        named = os.path.join(self.place, NAME)
        try:
            return all(
                os.lstat(path).st_uid in others
                for path in dict.fromkeys((named, self.place, self.git_dir))
            )
        except OSError:
            return False


def at(dir_fd: int, place: bytes) -> Repository | None:
    """The repository that `.git` in the open directory is or names, if any.

    Raises OSError where that cannot be told.
    """
    git_dir = NAME
    try:
        if not stat.S_ISDIR(os.stat(git_dir, dir_fd=dir_fd).st_mode):
            link = read(git_dir, dir_fd, largest=_LARGEST_LINK) or b""
            if not link.startswith(b"gitdir: "):
                return None
            git_dir = link[8:].rstrip(b"\r\n")
        head = os.path.join(git_dir, b"HEAD")
        if stat.S_ISLNK(os.lstat(head, dir_fd=dir_fd).st_mode):
            if not os.readlink(head, dir_fd=dir_fd).startswith(b"refs/"):
                return None
        elif not _names_a_commit(read(head, dir_fd) or b""):
            return None
        text = read(os.path.join(git_dir, b"commondir"), dir_fd)
        common = (
            os.path.join(git_dir, (text or b"").rstrip(b"\r\n")) if text else git_dir
        )
        for part in (b"objects", b"refs"):
            if not _is_directory(os.path.join(common, part), dir_fd):
                return None
    except ValueError:
        return None
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise
    return Repository(place, git_dir, common)


def _names_a_commit(head: bytes) -> bool:
    head = head[:_MOST_OF_HEAD]
    if head.startswith(b"ref:"):
        return head[4:].lstrip(b" \t\r\n").startswith(b"refs/")
    return len(head) >= 40 and not head[:40].strip(b"0123456789abcdefABCDEF")


def _is_directory(path: bytes, dir_fd: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path, dir_fd=dir_fd).st_mode)
    except OSError as error:
        if error.errno in _NONE:
            return False
        raise


def _at(dir_fd: int, place: bytes) -> Repository | None:
    """As ``at``; none where that cannot be told, as with git."""
    try:
        return at(dir_fd, place)
    except OSError:
        return None


def above(
    root: bytes,
    environ: Mapping[bytes, bytes],
    at: Callable[[int, bytes], Repository | None] = _at,
) -> tuple[Repository | None, list[bytes]]:
    """The repository that the real path ``root`` is in, and the directories looked at.

    As git does, it stops at GIT_CEILING_DIRECTORIES and where another file system
    begins. The directories go from ``root`` up.
    """
    ceilings = _ceilings(environ.get(b"GIT_CEILING_DIRECTORIES", b""))
    across = boolean(environ.get(b"GIT_DISCOVERY_ACROSS_FILESYSTEM", b""))
    looked: list[bytes] = []
    place = root
    try:
        device = os.stat(root).st_dev
        while True:
            looked.append(place)
            fd = descriptor(place, OPEN_DIRECTORY)
            try:
                if repo := at(fd, place):
                    return repo, looked
            finally:
                os.close(fd)
            upper = os.path.dirname(place)
            if upper == place or upper in ceilings:
                break
            if not across and os.stat(upper).st_dev != device:
                break
            place = upper
    except OSError:
        pass
    return None, looked


def way(root: bytes, environ: Mapping[bytes, bytes]) -> bytes:
    """``root`` as an absolute path with the links in it that the user has typed.

    As git does, it takes those on the way to the current directory from PWD.
    """
    shell = environ.get(b"PWD", b"")
    try:
        here, typed = os.getcwdb(), os.path.abspath(root)
        ways = [typed]
        if shell.startswith(b"/") and (typed + b"/").startswith(here + b"/"):
            ways.insert(0, os.path.normpath(shell + typed[len(here) :]))
        for one in ways:
            if os.path.exists(one) and os.path.samefile(one, root):
                return one
    except OSError:
        pass
    return os.path.realpath(root)


def is_locked(directory: bytes) -> bool:
    """Does a git hold the index of the work tree that ``directory`` is in, as to change it?"""
    repo = above(os.path.realpath(directory), os.environb)[0]
    return repo is not None and os.path.lexists(repo.index + b".lock")


def at_work_since(index: bytes, now_ns: int) -> int | None:
    """When a git began that changes the work tree of ``index`` at ``now_ns``, if one does.

    One that was killed leaves its lock for good, so an old one tells nothing.
    """
    try:
        since_ns = os.lstat(index + b".lock").st_mtime_ns
    except OSError:
        return None
    return since_ns if abs(now_ns - since_ns) < PATIENCE_NS else None


def _ceilings(text: bytes) -> set[bytes]:
    """Links in them are followed, but not in those behind an empty one."""
    found = set()
    follow = True
    for place in text.split(b":") if text else ():
        if not place:
            follow = False
        elif place.startswith(b"/"):
            found.add(os.path.realpath(place) if follow else os.path.normpath(place))
    return found


def deciders(directory: bytes) -> Iterator[bytes]:
    """The files that decide whether ``directory`` is the top of a work tree, there or not."""
    yield os.path.join(directory, NAME)
    git_dir = os.path.join(directory, NAME)
    try:
        if not os.path.isdir(git_dir):
            link = read(git_dir) or b""
            if not link.startswith(b"gitdir: "):
                return
            git_dir = os.path.join(directory, link[8:].rstrip(b"\r\n"))
        text = read(os.path.join(git_dir, b"commondir"))
    except (OSError, ValueError):
        return
    if b"\0" in git_dir + (text or b""):
        return
    common = os.path.join(git_dir, text.rstrip(b"\r\n")) if text else git_dir
    yield os.path.join(git_dir, b"HEAD")
    yield os.path.join(git_dir, b"commondir")
    yield os.path.join(common, b"objects")
    yield os.path.join(common, b"refs")
    yield os.path.join(common, b"config")  # which may say that it is elsewhere
    yield os.path.join(git_dir, b"config.worktree")
