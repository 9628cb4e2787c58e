"""The way down a tree by its rules: every path that counts.

A walk whose reader is slow takes minutes, and a rule that is written meanwhile is written for a
file that comes next. So the rules on the way down are made anew now and then, from the top, and
what was still to be entered is judged by them once more.
"""

from __future__ import annotations

import errno
import os
from itertools import islice

from filerep.rules.rulefile import join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Optional

    from filerep.rules.ignore import Rules
    from filerep.rules.origin import OnError

    OnOther = Callable[[bytes], None]
    # Given the directories on the way down: the rules of the first, None where it is too early
    # to look for others.
    Renew = Callable[[Sequence["Place"]], Optional[Rules]]

OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# Entries taken from a directory at a time: what is held of a huge one stays small.
SLICE = 8192

# Descriptors of directories on the way down that are kept open. A deeper way (paths may
# be far longer than PATH_MAX) is opened again from the nearest that still is.
KEPT_OPEN = 64

# What a directory that was listed a moment ago may fail with because it has gone, or is
# something else now. That is no error: whoever watches will name it again.
GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def scan(dir_fd: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """An open directory's entries, a slice at a time, joined; raises OSError.

    Yields regular files and symbolic links, directories, and all others.
    """
    with os.scandir(dir_fd) as entries:
        while True:
            found = list(islice(entries, SLICE))
            files = [e.name for e in found if e.is_file(follow_symlinks=False)]
            if len(files) == len(found):
                yield encode(files), b"", b""
            else:
                dirs = [e.name for e in found if e.is_dir(follow_symlinks=False)]
                others: list[str] = []
                if len(files) + len(dirs) < len(found):
                    files += [e.name for e in found if e.is_symlink()]
                    known = {*files, *dirs}
                    others = [e.name for e in found if e.name not in known]
                yield encode(files), encode(dirs), encode(others)
            if len(found) < SLICE:
                return


def encode(names: list[str]) -> bytes:
    # scandir gives bytes only for a path, and a path may be too long or lead elsewhere
    # by now. One conversion of all names costs a tenth of one of each.
    return os.fsencode("\0%s\0" % "\0".join(names)) if names else b""


def split(joined: bytes) -> list[bytes]:
    return joined[1:-1].split(b"\0") if joined else []


def counted(
    rules: Rules, files: bytes, dirs: bytes, others: bytes
) -> tuple[bytes, bytes, bytes]:
    """Those of a directory's entries that count; all are joined."""
    if rules.all_count(files + dirs + others):
        return files, dirs, others
    return (
        join(rules.pick(split(files), files, False)),
        join(rules.pick(split(dirs), dirs, True)),
        join(rules.pick(split(others), others, False)),
    )


def listing(
    dir_fd: int, path: bytes, rules: Rules, on_error: OnError
) -> tuple[list[bytes], list[bytes]]:
    """The names in the open directory ``path`` that count: files and links, directories."""
    found: tuple[list[bytes], list[bytes]] = ([], [])
    try:
        for parts in scan(dir_fd):
            files, dirs, _ = counted(rules, *parts)
            found[0].extend(split(files))
            found[1].extend(split(dirs))
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
        for name in split(names):
            yield prefix + name


def directories(
    root: bytes,
    rules: Rules,
    on_error: OnError,
    on_other: OnOther | None = None,
    renew: Renew | None = None,
) -> Iterator[tuple[bytes, bytes]]:
    """As ``walk``, by directory: its path with a last ``/``, and names in it, joined."""
    try:
        root_fd = os.open(root, OPEN_DIR & ~os.O_NOFOLLOW)
    except OSError as error:
        on_error("open", b".", error)
        return
    try:
        place = Place(b"", b"", rules, root_fd)
        yield from Descent(place, on_error, on_other, renew)
    finally:
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

    def judge_again(self) -> None:
        """Its rules are others: enter only what counts by them."""
        self.dirs = self.rules.pick(self.dirs, join(self.dirs), True)


class Descent:
    """Goes through a tree depth first, each directory opened from the one above it."""

    def __init__(
        self,
        root: Place,
        on_error: OnError,
        on_other: OnOther | None,
        renew: Renew | None = None,
    ) -> None:
        """``root`` is open, and stays so."""
        self._root = root
        self._on_error = on_error
        self._on_other = on_other
        self._renew = renew
        self._stack: list[Place] = []

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        try:
            self._stack.append(self._root)
            yield from self._list(self._root)
            while self._stack:
                self._renewed()
                above = self._stack[-1]
                if not above.dirs:
                    self._leave()
                    continue
                place = self._enter(above, above.dirs.pop())
                if place:
                    self._push(place)
                    yield from self._list(place)
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

    def _renewed(self) -> None:
        """Have the rules on the way down be those that are written down now, if it is time."""
        top = self._renew(self._stack) if self._renew else None
        if top is None:
            return
        above, fd = self._root, self._root.fd
        above.rules = top
        above.judge_again()
        for at, place in enumerate(self._stack[1:], 1):
            new = self._opened_again(above, place, fd)
            if above.fd < 0:
                os.close(fd)
            if new < 0:
                while len(self._stack) > at:
                    self._leave()
                return
            place.rules = _entered(above, place, new)
            place.judge_again()
            # What is read next is what is there by now, as these rules are.
            if place.fd >= 0:
                os.close(place.fd)
                place.fd = new
            above, fd = place, new

    def _opened_again(self, above: Place, place: Place, fd: int) -> int:
        """A descriptor of ``place`` in ``above``, open as ``fd``; -1 if it has gone, or does not count."""
        if above.rules.counts(place.name, True):
            try:
                return os.open(place.name, OPEN_DIR, dir_fd=fd)
            except OSError as error:
                if error.errno not in GONE:
                    self._on_error("open", place.prefix[:-1], error)
        return -1

    def _list(self, place: Place) -> Iterator[tuple[bytes, bytes]]:
        """Yield the files of ``place``, remember its directories, make its rules."""
        above = place.rules
        first = True
        try:
            for files, dirs, others in scan(place.fd):
                if first and place is not self._root:
                    # A first slice that is not full is the whole directory. A name
                    # takes two bytes, so there are few in which they are counted.
                    joined = files + dirs + others
                    whole = len(joined) < 2 * SLICE or joined.count(b"\0") < SLICE
                    place.rules = above.enter(
                        place.name, place.fd, joined if whole else None
                    )
                elif not first:
                    self._renewed()
                    if self._stack[-1] is not place:
                        return
                first = False
                files, dirs, others = counted(place.rules, files, dirs, others)
                if dirs:
                    place.dirs += split(dirs)
                if files:
                    yield place.prefix, files
                if others and self._on_other:
                    for name in split(others):
                        self._on_other(place.prefix + name)
        except OSError as error:
            self._on_error("read", place.prefix[:-1] or b".", error)
        place.dirs.reverse()


def _entered(above: Place, place: Place, fd: int) -> Rules:
    """The rules of ``place`` in ``above``, open as ``fd``, made anew."""
    from filerep.rules.inputs import alike, reload_tracked  # few walks take so long

    rules = above.rules.enter(place.name, fd)
    if rules.begins and alike(rules, place.rules) and rules.tree and place.rules.tree:
        # To read a large index again would take long.
        if rules.tree.tracked and place.rules.tree.tracked:
            reload_tracked(place.rules)
            rules.tree = place.rules.tree
    return rules
