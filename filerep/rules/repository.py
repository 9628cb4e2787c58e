"""Where git keeps what bears on a directory: its repository, settings, tracked files.

The repository is found as git finds it (gitrepository-layout(5)), in Python, so that the
rules also hold where no git program is installed. Two things are asked of git itself,
because only it knows: the settings, with their includes and conditions, and which
tracked files the rules ignore. Without a git program there are no settings (the ignore
file at its default place still counts), and one line says that tracked files were not
asked for.
"""

from __future__ import annotations

import os
import signal
import stat

from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    OnNote = Callable[[str], None]
    # A directory of tracked files: the names in it, each with its own such table.
    Tree = dict[bytes, "Tree"]

# git dies beyond this size since 2.46; before that it would read anything.
LARGEST = 100 << 20

# To reach what is in a directory it need not be readable.
OPEN_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC

# What a hook or an alias exports would make git look at some other repository.
FOREIGN = {
    b"GIT_DIR",
    b"GIT_WORK_TREE",
    b"GIT_INDEX_FILE",
    b"GIT_COMMON_DIR",
    b"GIT_NAMESPACE",
    b"GIT_PREFIX",
    b"GIT_OBJECT_DIRECTORY",
    b"GIT_ALTERNATE_OBJECT_DIRECTORIES",
    b"GIT_LITERAL_PATHSPECS",
}


def read(path: bytes, dir_fd: int | None = None, follow: bool = True) -> bytes | None:
    """The contents of a regular file, None when there is none; raises OSError.

    NONBLOCK: a fifo of that name must not hold up the walk.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | (0 if follow else os.O_NOFOLLOW), dir_fd=dir_fd)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
            return None
        chunks = []
        while chunk := os.read(fd, 1 << 20):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


class Repository:
    """The git directory of one work tree."""

    def __init__(self, git_dir: bytes, common: bytes, dir_fd: int) -> None:
        self.git_dir = git_dir
        self.exclude_file = os.path.join(common, b"info/exclude")
        self.index = os.path.join(git_dir, b"index")
        self.has_index = _is(stat.S_ISREG, self.index, dir_fd)


def at(dir_fd: int) -> Repository | None:
    """The repository whose work tree has its top at the open directory, if any.

    Its paths are relative to that directory, or absolute.
    """
    git_dir = b".git"
    try:
        if not stat.S_ISDIR(os.stat(git_dir, dir_fd=dir_fd).st_mode):
            link = read(git_dir, dir_fd) or b""
            if not link.startswith(b"gitdir: "):
                return None
            git_dir = link[8:].rstrip(b"\r\n")
        head = os.path.join(git_dir, b"HEAD")
        if not stat.S_ISLNK(os.lstat(head, dir_fd=dir_fd).st_mode):
            if not _names_a_commit(read(head, dir_fd) or b""):
                return None
        text = read(os.path.join(git_dir, b"commondir"), dir_fd)
        common = os.path.join(git_dir, (text or b"").rstrip(b"\r\n"))
        for part in (b"objects", b"refs"):
            if not _is(stat.S_ISDIR, os.path.join(common, part), dir_fd):
                return None
    except (OSError, ValueError):
        return None
    return Repository(git_dir, common, dir_fd)


def _names_a_commit(head: bytes) -> bool:
    if head.startswith(b"ref:"):
        return head[4:].lstrip().startswith(b"refs/")
    return len(head) >= 40 and not head[:40].strip(b"0123456789abcdefABCDEF")


def _is(kind: Callable[[int], bool], path: bytes, dir_fd: int) -> bool:
    try:
        return kind(os.stat(path, dir_fd=dir_fd).st_mode)
    except OSError:
        return False


def above(root: bytes, environ: Mapping[bytes, bytes]) -> bytes | None:
    """The top of the work tree that the real path ``root`` is in, if it is in one.

    As git does, it stops at GIT_CEILING_DIRECTORIES and where another file system begins.
    """
    ceilings = environ.get(b"GIT_CEILING_DIRECTORIES", b"").split(b":")
    place = root
    try:
        device = os.stat(root).st_dev
        while True:
            fd = os.open(place, OPEN_DIRECTORY)
            try:
                if at(fd):
                    return place
            finally:
                os.close(fd)
            upper = os.path.dirname(place)
            if upper == place or upper in ceilings:
                return None
            if os.stat(upper).st_dev != device:
                return None
            place = upper
    except OSError:
        return None


def index_above(directory: bytes) -> bytes | None:
    """The index of the work tree that ``directory`` is in, there or not, if it is in one."""
    top = above(os.path.realpath(directory), os.environb)
    if top is None:
        return None
    fd = os.open(top, OPEN_DIRECTORY)
    try:
        repo = at(fd)
    finally:
        os.close(fd)
    return os.path.join(top, repo.index) if repo else None


def environment(environ: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """``environ`` for a git that looks where it stands, and takes no locks."""
    kept = {name: value for name, value in environ.items() if name not in FOREIGN}
    kept[b"GIT_OPTIONAL_LOCKS"] = b"0"
    return kept


class Git:
    """A git process that runs beside us; ``answer`` waits for it."""

    def __init__(self, words: Sequence[bytes], environ: Mapping[bytes, bytes]) -> None:
        """Raises OSError when there is no git program."""
        self._out, out = os.pipe()
        self._err, err = os.pipe()
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, b"/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out, 1),
            (os.POSIX_SPAWN_DUP2, err, 2),
        ]
        try:
            # subprocess would cost a tenth of the start of this program to import.
            self._pid = os.posix_spawnp(
                b"git",
                # fsmonitor would run whatever program the repository names.
                [b"git", b"-c", b"core.fsmonitor=false", *words],
                environment(environ),
                file_actions=actions,
                setsigdef=[signal.SIGPIPE],
            )
        except OSError:
            os.close(self._out)
            os.close(self._err)
            raise
        finally:
            os.close(out)
            os.close(err)

    def answer(self) -> tuple[int, bytes, bytes]:
        """Exit status, standard output and standard error, once it has ended."""
        said = []
        # git writes a line or two of errors: they fit in the pipe meanwhile.
        for fd in (self._out, self._err):
            with open(fd, "rb") as file:
                said.append(file.read())
        status = os.waitpid(self._pid, 0)[1]
        return status, said[0], said[1]


def ask_settings(place: bytes, environ: Mapping[bytes, bytes]) -> Git | None:
    """Begin to ask for the settings that hold in ``place``; None without a git."""
    pattern = b"^core\\.(excludesfile|ignorecase)$"
    words = [b"-C", place, b"config", b"--type=path", b"-z", b"--get-regexp", pattern]
    try:
        return Git(words, environ)
    except OSError:
        return None


class Settings:
    """core.excludesFile and core.ignoreCase."""

    def __init__(self, git: Git | None, environ: Mapping[bytes, bytes]) -> None:
        home = environ.get(b"HOME", b"")
        config = environ.get(b"XDG_CONFIG_HOME") or (home and home + b"/.config")
        self.excludes_file = config + b"/git/ignore" if config else b""
        self.ignore_case = False
        for line in (git.answer()[1] if git else b"").split(b"\0"):
            name, _, value = line.partition(b"\n")
            if name == b"core.excludesfile":
                self.excludes_file = value
            elif name == b"core.ignorecase":
                self.ignore_case = value.lower() in (b"true", b"yes", b"on", b"1")


class Tracked:
    """The tracked files below a directory that its ignore rules leave out.

    git finds them while the caller goes on; ``tree`` waits. There is nothing to find,
    and no process, where the repository has no index.
    """

    def __init__(
        self, place: bytes, environ: Mapping[bytes, bytes], on_note: OnNote
    ) -> None:
        self._place = place
        self._on_note = on_note
        self._tree: Tree | None = None
        words = [b"-C", place, b"ls-files", b"-z", b"-c", b"-i", b"--exclude-standard"]
        try:
            self._git = Git(words, environ)
        except OSError as error:
            self._note(f"git: {os.strerror(error.errno or 0)}")

    def _note(self, why: str) -> None:
        self._tree = {}
        self._on_note(
            f"tracked files that are ignored are left out of {quote(self._place)}: {why}"
        )

    def tree(self) -> Tree:
        if self._tree is None:
            status, out, err = self._git.answer()
            if status:
                said = err.decode("utf-8", "replace").splitlines()
                self._note(quote(said[0] if said else "git failed")[1:-1])
            else:
                self._tree = to_tree(out.split(b"\0"))
        return self._tree or {}


def to_tree(paths: Sequence[bytes]) -> Tree:
    """``paths`` by directory; empty ones are dropped."""
    tree: Tree = {}
    for path in paths:
        place = tree
        for name in path.split(b"/") if path else ():
            place = place.setdefault(name, {})
    return tree
