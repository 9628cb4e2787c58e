"""Print every path of a directory tree that counts, each ended by a NUL byte.

Usage:
  fr-walk [options] [--exclude PATTERN]... [--include PATTERN]... SRC

Regular files and symbolic links, relative to SRC; a link is named, never followed.
Sockets, fifos and devices are left out. Directories are not named: they exist at the
destination because files in them do.

With --gitignore the answer is git's: what `git ls-files --cached --others
--exclude-standard -z` prints in SRC. That takes in .gitignore files, also above SRC up
to the top of its repository, .git/info/exclude and core.excludesFile. `.git` itself is
left out. Where SRC is in no repository, the .gitignore files in it count all the same.

Options:
  --gitignore        Leave out what git ignores (the default).
  --no-gitignore     Print everything, .git included.
  --exclude PATTERN  Leave out what matches, in the syntax of gitignore(5), relative to
                     SRC. Wins over every .gitignore. May be given again.
  --include PATTERN  Print what matches, whatever else says no; `--include dist/`
                     brings back all of an ignored dist. May be given again.
  --why PATH         Say which file, line and pattern decided about PATH, and end.
  --verbose          Name what is left out because it is no file and no link.
  -h, --help         Print this text.
  -V, --version      Print the version.

Exit status:
  0   every path was printed
  1   something could not be read; a line on stderr names it; the rest was printed
  64  wrong usage
  66  SRC is not a directory
  74  standard output took no more (a reader that closes it is no error)

Example:
  fr-walk . | fr-pack . | ssh host 'tar -x -C /srv/app'
"""

from __future__ import annotations

import errno
import os

from filerep import command, ignore
from filerep.pathstream import normalize, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from filerep.ignore import OnError, Rule, Rules
    from filerep.repository import Tree

    OnOther = Callable[[bytes], None]

OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# Entries taken from a directory at a time: what is held of a huge one stays small.
SLICE = 8192

# Descriptors of directories on the way down that are kept open. A deeper way (paths may
# be far longer than PATH_MAX) is opened again from the nearest that still is.
KEPT_OPEN = 64

# What a directory that was listed a moment ago may fail with because it has gone, or is
# something else now. That is no error: whoever watches will name it again.
GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def scan(dir_fd: int) -> Iterator[tuple[list[bytes], list[bytes], list[bytes]]]:
    """An open directory's entries, a slice at a time; raises OSError.

    Yields names of regular files and symbolic links, of directories, of all others.
    """
    with os.scandir(dir_fd) as entries:
        while True:
            files: list[str] = []
            dirs: list[str] = []
            others: list[str] = []
            count = 0
            for count, entry in enumerate(entries, 1):
                if entry.is_dir(follow_symlinks=False):
                    dirs.append(entry.name)
                elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                    files.append(entry.name)
                else:
                    others.append(entry.name)
                if count == SLICE:
                    break
            yield encode(files), encode(dirs), encode(others)
            if count < SLICE:
                return


def encode(names: list[str]) -> list[bytes]:
    # scandir gives bytes only for a path, and a path may be too long or lead elsewhere
    # by now. One conversion of all names costs a tenth of one of each.
    return os.fsencode("\0".join(names)).split(b"\0") if names else []


def listing(
    dir_fd: int, path: bytes, rules: Rules, on_error: OnError
) -> tuple[list[bytes], list[bytes]]:
    """The names in the open directory ``path`` that count: files and links, directories."""
    found: tuple[list[bytes], list[bytes]] = ([], [])
    try:
        for files, dirs, _ in scan(dir_fd):
            files, dirs = rules.select(files, dirs)
            found[0].extend(files)
            found[1].extend(dirs)
    except OSError as error:
        on_error("read", path, error)
    return found


def walk(
    root: bytes,
    rules: Rules,
    on_error: OnError,
    on_other: OnOther | None = None,
) -> Iterator[bytes]:
    """Every file and symbolic link below ``root`` that counts, each directory's own first.

    What cannot be read goes to ``on_error`` and is passed over. ``on_other`` gets the
    paths of fifos, sockets and devices.
    """
    for prefix, names in directories(root, rules, on_error, on_other):
        for name in names:
            yield prefix + name


def directories(
    root: bytes,
    rules: Rules,
    on_error: OnError,
    on_other: OnOther | None = None,
) -> Iterator[tuple[bytes, list[bytes]]]:
    """As ``walk``, by directory: its path with a last ``/``, and names in it.

    git may still be looking for tracked files that the rules ignore; these come last.
    """
    bare = rules.without_tracked()
    try:
        root_fd = os.open(root, OPEN_DIR & ~os.O_NOFOLLOW)
    except OSError as error:
        on_error("open", b".", error)
        return
    yield from Descent(Place(b"", b"", bare, root_fd), on_error, on_other)
    tree = rules.tracked_tree()
    if tree:
        yield from only_tracked(root_fd, b"", rules, bare, tree)
    os.close(root_fd)


class Place:
    """A directory on the way down, and the names in it that are still to be entered."""

    __slots__ = ("name", "prefix", "rules", "fd", "dirs")

    def __init__(self, name: bytes, prefix: bytes, rules: Rules, fd: int) -> None:
        self.name = name
        self.prefix = prefix
        self.rules = rules
        self.fd = fd
        self.dirs: list[bytes] = []


class Descent:
    """Goes through a tree depth first, each directory opened from the one above it."""

    def __init__(
        self, root: Place, on_error: OnError, on_other: OnOther | None
    ) -> None:
        """``root`` is open, and stays so."""
        self._root = root
        self._on_error = on_error
        self._on_other = on_other
        self._stack: list[Place] = []

    def __iter__(self) -> Iterator[tuple[bytes, list[bytes]]]:
        try:
            yield from self._list(self._root)
            self._stack.append(self._root)
            while self._stack:
                above = self._stack[-1]
                if not above.dirs:
                    self._leave()
                    continue
                place = self._enter(above, above.dirs.pop())
                if place:
                    yield from self._list(place)
                    self._push(place)
        finally:
            for place in self._stack[1:]:
                if place.fd >= 0:
                    os.close(place.fd)

    def _push(self, place: Place) -> None:
        self._stack.append(place)
        if len(self._stack) > KEPT_OPEN + 1:
            far = self._stack[-KEPT_OPEN]
            if far.fd >= 0:
                os.close(far.fd)
                far.fd = -1

    def _leave(self) -> None:
        place = self._stack.pop()
        if place.fd >= 0 and place is not self._root:
            os.close(place.fd)

    def _enter(self, above: Place, name: bytes) -> Place | None:
        path = above.prefix + name
        try:
            if above.fd < 0:
                self._reopen()
            fd = os.open(name, OPEN_DIR, dir_fd=above.fd)
        except OSError as error:
            if error.errno not in GONE:
                self._on_error("open", path, error)
            return None
        return Place(name, path + b"/", above.rules, fd)

    def _reopen(self) -> None:
        """Open the last place again, by way of those above it; raises OSError."""
        at = len(self._stack) - 1
        while self._stack[at].fd < 0:
            at -= 1
        passing = -1
        for near, place in enumerate(self._stack[at + 1 :], at + 1):
            fd = self._stack[near - 1].fd if passing < 0 else passing
            try:
                fd = os.open(place.name, OPEN_DIR, dir_fd=fd)
            finally:
                if passing >= 0:
                    os.close(passing)
                    passing = -1
            if len(self._stack) - near < KEPT_OPEN // 2:
                place.fd = fd
            else:
                passing = fd

    def _list(self, place: Place) -> Iterator[tuple[bytes, list[bytes]]]:
        """Yield the files of ``place``, remember its directories, make its rules."""
        above = place.rules
        first = True
        try:
            for files, dirs, others in scan(place.fd):
                if first and place is not self._root:
                    whole = len(files) + len(dirs) + len(others) < SLICE
                    names = files + dirs + others if whole else None
                    place.rules = above.enter(place.name, place.fd, names)
                first = False
                files, dirs = place.rules.select(files, dirs)
                place.dirs += dirs
                if files:
                    yield place.prefix, files
                if others and self._on_other:
                    for name in place.rules.select(others, [])[0]:
                        self._on_other(place.prefix + name)
        except OSError as error:
            self._on_error("read", place.prefix[:-1] or b".", error)
        place.dirs.reverse()


def only_tracked(
    dir_fd: int, prefix: bytes, rules: Rules, bare: Rules | None, tree: Tree
) -> Iterator[tuple[bytes, list[bytes]]]:
    """What of ``tree`` counts by ``rules``, and did not by ``bare``, as ``directories``.

    ``bare`` is None where nothing has counted yet.
    """
    files = []
    for name, below in tree.items():
        try:
            fd = os.open(name, OPEN_DIR, dir_fd=dir_fd)
        except OSError:
            if is_file(name, dir_fd) and rules.counts(name, False):
                if not (bare and bare.counts(name, False)):
                    files.append(name)
            continue
        try:
            if not rules.counts(name, True):
                continue
            inner = rules.enter(name, fd)
            seen = bare.enter(name, fd) if bare and bare.counts(name, True) else None
            path = prefix + name + b"/"
            if below:
                yield from only_tracked(fd, path, inner, seen, below)
            elif not seen:  # a submodule
                yield from Descent(Place(b"", path, inner, fd), lambda *_: None, None)
        finally:
            os.close(fd)
    if files:
        yield prefix, files


def is_file(name: bytes, dir_fd: int) -> bool:
    import stat

    try:
        mode = os.lstat(name, dir_fd=dir_fd).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("fr-walk", __doc__ or "", _body, argv)


def _body(run: command.Command) -> int:
    root = command.source_root(run.args["SRC"])
    rules = ignore.load(
        root,
        gitignore=not run.args["--no-gitignore"],
        exclude=[os.fsencode(text) for text in run.args["--exclude"]],
        include=[os.fsencode(text) for text in run.args["--include"]],
        on_error=run.on_error,
        on_note=run.say,
    )
    command.write_records(1, walk(root, rules, run.on_error))
    return run.status
