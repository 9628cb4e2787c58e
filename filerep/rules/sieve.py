"""Which of some paths count, each asked for by its name, as fr-walk would have it."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from itertools import groupby

from filerep.pathstream import normalize
from filerep.rules.inputs import inputs_of
from filerep.rules.rulefile import join
from filerep.rules.untrustedfile import OPEN_DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filerep.pathstream import Records
    from filerep.rules.ignore import Rules
    from filerep.rules.origin import OnError

#: After a longer silence what the rules stand on may be another.
FRESH_SECONDS = 0.05
# While paths come without a pause: all rules may have to be read anew.
_BUSY_SECONDS = 1.0
# Directories that are kept in mind, and those of them that are kept open.
_MOST = 100_000
_MOST_OPEN = 256
_NOT_DIRECTORIES = (errno.ENOENT, errno.ENOTDIR)


def arriving(
    records: Records, out: int, refresh: Callable[[], None]
) -> Iterator[list[bytes]]:
    """The ``records`` of a path stream as they come; ends when ``out``'s reader has gone.

    What is written to ``out`` for one list is read there before the next one is waited
    for. ``refresh`` is called where the rules may be others by now. Raises OSError.
    """
    fd = records.fd
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    poller.register(out, 0)  # asked for nothing, poll still tells of an error
    refreshed = answered = time.monotonic()
    while records.fd >= 0:
        ready = dict(poller.poll())
        if ready.get(out, 0) & (select.POLLERR | select.POLLHUP):
            return
        if ready.get(fd, 0) & select.POLLNVAL:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        now = time.monotonic()
        if now - answered > FRESH_SECONDS or now - refreshed > _BUSY_SECONDS:
            refresh()
            refreshed = now
        yield records.read()
        answered = time.monotonic()


class Place:
    """A directory that was asked for: its rules, and a descriptor where it is open."""

    __slots__ = ("rules", "fd")

    def __init__(self, rules: Rules, fd: int) -> None:
        self.rules = rules
        self.fd = fd  # -1: not open; -2: not there


class Sieve:
    """Remembers the rules of the directories it has been asked for."""

    def __init__(
        self,
        root: bytes,
        rules: Rules,
        load: Callable[[], Rules],
        on_error: OnError,
        on_outside: Callable[[bytes], None],
    ) -> None:
        self._root = root
        self._above = [os.path.join(os.path.abspath(root), b"")]
        self._above.append(os.path.join(os.path.realpath(root), b""))
        self._load = load
        self._on_error = on_error
        self._on_outside = on_outside
        self._places: dict[bytes, Place | None] = {}
        self._open: list[bytes] = []
        self._begin(rules)

    def _begin(self, rules: Rules) -> None:
        fd = os.open(self._root, OPEN_DIRECTORY)
        self._places = {b"": Place(rules, fd)}
        self._open = []
        self._stale = False

    def forget(self) -> None:
        """The rules may be others by now."""
        self._stale = True

    def close(self) -> None:
        for place in self._places.values():
            if place and place.fd >= 0:
                os.close(place.fd)
        self._places = {}

    def inputs(self, directory: bytes) -> list[bytes]:
        """What the rules of ``directory`` come from, beside what is in SRC: see inputs.py."""
        place = self._place(directory)
        if place is None:
            return []
        found = inputs_of(place.rules)
        index = [found.index] if found.index else []
        return [*found.rules, *found.absent, *index]

    def sift(self, records: list[bytes], invert: bool) -> list[bytes]:
        """Those of ``records`` that count, or do not."""
        if self._stale or len(self._places) > _MOST:
            self.close()
            self._begin(self._load())
        split = [self._split(record) for record in records]
        kept: list[bytes] = []
        at = 0
        for parent, some in groupby(split, _first):
            names = [name for _, name in some]
            asked = records[at : at + len(names)]
            at += len(names)
            if parent is None:
                continue
            found = self._judge(parent, names)
            kept += [
                r
                for r, does in zip(asked, found)
                if does is not None and does != invert
            ]
        return kept

    def _split(self, record: bytes) -> tuple[bytes | None, bytes]:
        """The directory that a record is in, and its name there; None for one outside."""
        start = 2 if record[:2] == b"./" and len(record) > 2 else 0
        path = normalize(record[start:])
        if path is None:
            for above in self._above:
                if record.startswith(above):
                    path = normalize(record[len(above) :] or b".")
                    break
                if record == above[:-1]:
                    path = b"."
        if path is None:
            self._on_outside(record)
            return None, b""
        if path in (b".", b"./"):
            return b"", b"."
        whole = path.rstrip(b"/")
        parent, _, name = whole.rpartition(b"/")
        return parent, name + path[len(whole) :]

    def _judge(self, parent: bytes, names: list[bytes]) -> list[bool]:
        place = self._place(parent)
        if place is None:
            return [False] * len(names)
        files: list[bytes] = []
        dirs: list[bytes] = []
        others: set[bytes] = set()
        kinds = [self._kind(place, name) for name in names]
        for name, kind in zip(names, kinds):
            if kind == stat.S_IFDIR:
                dirs.append(name.rstrip(b"/"))
            elif kind in (stat.S_IFREG, stat.S_IFLNK):
                files.append(name)
            else:
                others.add(name)
        counted = set(place.rules.pick(files, join(files), False))
        counted_dirs = set(place.rules.pick(dirs, join(dirs), True))
        return [
            (
                name.rstrip(b"/") in counted_dirs or name == b"."
                if kind == stat.S_IFDIR
                else name in counted
            )
            for name, kind in zip(names, kinds)
        ]

    def _kind(self, place: Place, name: bytes) -> int:
        """What is there, or what it would be by its name."""
        if name.endswith(b"/") or name == b".":
            return stat.S_IFDIR
        if place.fd != -2:
            try:
                fd = place.fd
                mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
                return stat.S_IFMT(mode)
            except OSError:
                pass
        return stat.S_IFREG

    def _place(self, path: bytes) -> Place | None:
        """The rules of a directory, None if nothing in it counts."""
        if path in self._places:
            place = self._places[path]
            if place and place.fd == -1:
                self._reopen(path, place)
            return place
        parent, _, name = path.rpartition(b"/")
        above = self._place(parent)
        place = None
        if above and above.rules.counts(name, True):
            fd = self._opened(above, name)
            if fd is not None:
                rules = above.rules.enter(name, fd if fd >= 0 else None)
                place = Place(rules, fd)
                self._keep(path, fd)
        self._places[path] = place
        return place

    def _opened(self, above: Place, name: bytes) -> int | None:
        """The directory's descriptor, -2 if it is not there, None if it is another thing."""
        if above.fd == -2:
            return -2
        try:
            return os.open(name, OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=above.fd)
        except OSError as error:
            if error.errno not in _NOT_DIRECTORIES:
                return None
            try:
                mode = os.stat(name, dir_fd=above.fd, follow_symlinks=False).st_mode
            except OSError:
                return -2
            return None if stat.S_ISLNK(mode) else -2

    def _keep(self, path: bytes, fd: int) -> None:
        if fd < 0:
            return
        self._open.append(path)
        if len(self._open) > _MOST_OPEN:
            # The one met last of all that are not on the way to this one.
            for at, other in enumerate(self._open):
                if not path.startswith(other + b"/"):
                    place = self._places.get(self._open.pop(at))
                    if place and place.fd >= 0:
                        os.close(place.fd)
                        place.fd = -1
                    return

    def _reopen(self, path: bytes, place: Place) -> None:
        parent, _, name = path.rpartition(b"/")
        above = self._place(parent)
        fd = self._opened(above, name) if above else None
        place.fd = -2 if fd is None else fd
        self._keep(path, place.fd)


def _first(pair: tuple[bytes | None, bytes]) -> bytes | None:
    return pair[0]
