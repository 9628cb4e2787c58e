"""What is yet to be told to each of many far ends, none of which may wait for another.

One fr-watch and one fr-walk name the paths for all of them. Each far end has an fr-pack of its
own, which reads when it can: one whose link is slow, or whose machine hangs, may not read for
hours. A pipe holds some thousand paths, and who wrote to it as to a file would wait, and all
the others with him. So nobody waits: what does not go into a pipe is kept here, in a *feed* for
each far end, and how much that can be is bounded.

* Of what fr-watch names a feed keeps each path once: a record means "look", and one look after
  the last change is enough. Beyond a number of paths it is *behind*: it forgets them and keeps
  no more, and once its reader takes something again, it gets what fr-watch itself says when the
  kernel has forgotten: `./`, and the name of every path, from a new fr-walk. fr-pack drops what
  has not changed, some 300,000 paths a second. To merge by directory first was considered, and is no
  better: only a walk knows, by the rules, what is in a directory.
* What fr-walk names is in a *spool*, a file without a name that each feed reads at its own pace.
  It need not be fresh when it is read: what has changed since the walk began has been named to
  the feed besides, or the feed is behind.

A reader that has gone has its feed dropped, with all that is in it. For each further attempt to
connect there is a new one, which *rests*, and keeps nothing, until that comes to a connection:
then a new walk names all there is. So a far end that is away for days costs nothing.
"""

from __future__ import annotations

import os
import tempfile

from filerep import command
from filerep.command import OutputError, Stop
from filerep.pathstream import WHOLE_TREE, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

SYNC = b"."
_MOST = 100 if os.environ.get("FILEREP_TINY") else 10_000  # paths that a feed keeps
_BLOCK = 1 << 16


class Spool:
    """What fr-walk names, for all who are to be told, each at his own pace."""

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(buffering=0)
        except OSError as error:
            said = f"cannot make a file for a moment: {command.reason(error)}"
            raise Stop(command.OS_ERROR, said) from None
        self.size = 0  # bytes, of whole records
        self._rest = b""  # a record that is not whole
        self.ended = False

    def add(self, chunk: bytes) -> None:
        """Keep what has come; raises ``Stop`` if there is no room for it."""
        chunk = self._rest + chunk
        end = chunk.rfind(b"\0") + 1
        self._rest = chunk[end:]
        try:
            command.write_all(self._file.fileno(), chunk[:end])
        except OutputError as error:
            said = f"cannot keep what fr-walk has named: {error}"
            raise Stop(command.OS_ERROR, said) from None
        self.size += end

    def cut(self) -> None:
        """fr-walk was killed. Another names all once more, which does no harm."""
        self._rest = b""

    def read(self, start: int) -> bytes:
        """Some whole records from ``start`` on; nothing if there are none by now."""
        size, data = _BLOCK, b""
        while len(data) < self.size - start:
            data = os.pread(self._file.fileno(), min(size, self.size - start), start)
            if b"\0" in data:
                break
            size *= 2
        return data[: data.rfind(b"\0") + 1]


class _Reading:
    """How far a spool has been read."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._at = 0

    def take(self) -> bytes:
        data = self._spool.read(self._at)
        self._at += len(data)
        return data

    def moves(self) -> bool:
        """Is there something to be taken, or is it done?"""
        return self._spool.ended or self._at < self._spool.size

    def done(self) -> bool:
        return self._spool.ended and self._at == self._spool.size


class _Outlet:
    """The writing end of a pipe, at which nobody waits; -1 for none."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.rest = b""
        if fd >= 0:
            os.set_blocking(fd, False)

    def write(self, more: Callable[[], bytes]) -> None:
        """Write what is left, or else what ``more`` gives, as far as it goes."""
        self.rest = self.rest or more()
        try:
            if self.rest:
                self.rest = self.rest[os.write(self.fd, self.rest) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()  # its reader has gone

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
        self.rest = b""


class Feed:
    """What one fr-pack is yet to be told, and the two pipes that it reads."""

    def __init__(self, bulk: int, urgent: int, walks: bool, rests: bool) -> None:
        """``bulk`` is for what fr-walk names, ``urgent`` for fr-watch, -1 for no such.

        ``walks``: it is to be told of all there is first; and not before it is connected
        if it ``rests``.
        """
        self._bulk, self._urgent = _Outlet(bulk), _Outlet(urgent)
        self._first: Optional[_Reading] = None
        self._again: Optional[_Reading] = None  # of what is named because it was behind
        self._pending: dict[bytes, None] = {}
        self._behind = False
        self._rests = walks and rests
        self.wants_walk = walks and not rests
        if not walks:
            self._bulk.close()

    def name(self, paths: Iterable[bytes]) -> None:
        """fr-watch has named ``paths``."""
        if self._urgent.fd < 0 or self._behind or self._rests:
            return
        self._pending.update(dict.fromkeys(paths))
        if len(self._pending) > _MOST:
            self.lose()

    def sync_point(self) -> None:
        """All that was named, or lost, by now comes before a sync point."""
        self._pending.pop(SYNC, None)
        self._pending[SYNC] = None

    def lose(self) -> None:
        """It is not known what has changed."""
        if self._rests:
            return
        self._behind, self._again = True, None
        self._pending = {SYNC: None} if SYNC in self._pending else {}

    def connected(self) -> None:
        """Somebody is there to be told."""
        self.wants_walk = self.wants_walk or self._rests

    def walk(self, spool: Spool) -> None:
        """A walk begins, which was wanted; ``spool`` is where it can be read."""
        self.wants_walk = self._rests = False
        if self._bulk.fd >= 0 and self._first is None:
            self._first = _Reading(spool)
            return
        self._behind, self._again = False, _Reading(spool)
        self._pending = {WHOLE_TREE: None, **self._pending}

    def fds(self) -> list[int]:
        """What to poll for writing before ``write``."""
        bulk = self._bulk.rest or self._first and self._first.moves()
        asks = self._behind and not self.wants_walk
        walks = self._again is not None and self._again.moves()
        urgent = self._urgent.rest or asks or walks or self._sayable(1)
        fds = [self._bulk.fd] if bulk else []
        fds += [self._urgent.fd] if urgent else []
        return [fd for fd in fds if fd >= 0]

    def write(self, ready: set[int]) -> None:
        """Write to those of ``ready`` that are its own."""
        if self._bulk.fd in ready and self._first:
            self._bulk.write(self._first.take)
            if not self._bulk.rest and self._first.done():
                self._bulk.close()
        if self._urgent.fd in ready:
            self._urgent.write(self._next)
            if self._behind and not self._urgent.rest:
                self.wants_walk = True

    def _next(self) -> bytes:
        """Records that may go next: what was saved just now goes before what a walk names."""
        paths = self._sayable(_BLOCK)
        for path in paths:
            del self._pending[path]
        if paths or self._again is None:
            return encode(paths)
        data = self._again.take()
        if self._again.done():
            self._again = None
        return data

    def _sayable(self, most: int) -> list[bytes]:
        """The first paths, of about ``most`` bytes. A sync point waits for the walk."""
        paths, size = [], 0
        walking = self._behind or self._again is not None
        for path in self._pending:
            if size >= most:
                break
            if walking and path == SYNC:
                continue
            paths.append(path)
            size += len(path) + 1
        return paths

    def close(self) -> None:
        self._bulk.close()
        self._urgent.close()
