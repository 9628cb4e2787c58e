"""Files that need nothing special are looked at here: nearly all there are.

Plain are files that are as the table says, and others, unless they were emptied, in a directory
that the far end has or is about to get. What follows from a look is what it is in plan.py, at a
third of the cost: hence the long body of `look`, and no call in it that could be spared.
"""

from __future__ import annotations

import os
import stat

from filerep.farend.batch import directory_mode
from filerep.replica.known import entries
from filerep.replica.known.inventory import STAGING_PREFIX
from filerep.replica.known.unchanged import same_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Optional

    from filerep.replica.planning.gone import Gone
    from filerep.replica.planning.sides import Aside, Sides
    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.transfer.reuse import Reuse


class FastPath:
    """Looks at the files of one directory for as long as they are plain."""

    def __init__(
        self,
        sides: Sides,
        aside: Aside,
        claim: Callable[[bytes, Sent], None],
        reuse: Reuse,
        gone: Gone,
    ) -> None:
        """Of ``gone``: what is to be looked at only to see whether it has gone. A look, whatever
        came of it, is the answer to that; were the path to stay there, a later one, to have it
        sent, would be taken for such a question."""
        self._source = sides.source
        self._table = sides.table
        self._complete = sides.complete
        self._failing = aside.failing
        self._claim = claim
        self._reuse = reuse
        self._gone_only = gone.only
        self._named = gone.named
        self._directories = gone.directories

    def look(self, directory: bytes, paths: list[bytes], start: int, sent: Sent) -> int:
        """Look at ``paths`` from ``start`` on while they are plain; where that ends.

        All of them are in ``directory``.
        """
        batch, failing, planned = sent.batch, self._failing, sent.planned
        gone_only, named = self._gone_only, self._named
        staged = batch.staged
        names = self._names(directory, staged)
        fd = None if names is None else self._open(directory)
        if names is None or fd is None:
            return start
        begin = len(directory) + 1 if directory else 0
        room, count = batch.room
        thinks, checks = self._reuse.active, self._reuse.checks
        shelf = None
        done, end = start, len(paths)
        while done < end:
            path = paths[done]
            if path in named:
                break
            name = path[begin:]
            value = names.get(name)
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                here = value is not None or path in planned or path in staged
                if here or not self._unknown(path):
                    break
                gone_only.discard(path)
                done += 1
                continue
            except OSError:
                break
            if (
                value is not None
                and not checks
                and same_file(self._table, names, name, path, value, status)
            ):
                if gone_only:
                    gone_only.discard(path)
                done += 1
                continue
            if (
                stat.S_IFMT(status.st_mode) != stat.S_IFREG
                or status.st_size > batch.limit
                or thinks
                or value is not None
                and (
                    not status.st_size or status.st_mtime_ns <= entries.mtime_of(value)
                )
                or path in planned
                or path in failing
                or path in gone_only
                or path in self._directories
                or path in staged
                or name + b"/" in names
                or self._source.left_out(path, status)
                or not directory
                and name.startswith(STAGING_PREFIX)
            ):
                break
            if shelf is None:
                shelf = batch.shelf(directory)
            shelf.put(name, path, status)
            planned.add(path)
            if value is None or not value[-1] & entries.OURS:
                sent.intended.append(path)
            done += 1
            room -= status.st_size
            count -= 1
            if room <= 0 or count <= 0:
                break
        if done > start:
            self._see(directory, fd)
            self._claim(paths[start], sent)
        return done

    def _names(
        self, directory: bytes, staged: Container[bytes]
    ) -> Optional[dict[bytes, bytes]]:
        """What the far end has in ``directory``, None if it has none, nor will soon."""
        names = self._table.directories.get(directory)
        return {} if names is None and directory in staged else names

    def _open(self, directory: bytes) -> Optional[int]:
        """A descriptor of ``directory``; None if it cannot be, or names in it are not plain."""
        try:
            fd = self._source.directory(directory)
        except OSError:
            return None
        return None if self._source.folds(fd) else fd

    def _unknown(self, path: bytes) -> bool:
        """Does the far end, for all we know, have nothing at ``path``?"""
        table = self._table
        return (
            self._complete and table.get(path) is None and path not in table.directories
        )

    def _see(self, directory: bytes, fd: int) -> None:
        """``directory``, open as ``fd``, is there; if it is as remembered, that was all."""
        value = self._table.get_directory(directory)
        if value is None or entries.marks(value) != entries.OURS | entries.UNSEEN:
            return
        try:
            status = os.fstat(fd)
        except OSError:
            return  # on FUSE, if it is gone by now
        if directory_mode(status) == entries.mode_of(value) & 0o1777:
            self._table.see_directory(directory)

    def altered(self, directory: bytes, paths: list[bytes]) -> list[bytes]:
        """Those of ``paths``, all in ``directory``, that are not as the table says."""
        names = self._table.directories.get(directory)
        if names is None or self._reuse.will_check:
            return paths
        try:
            fd = self._source.directory(directory)
        except OSError:
            return paths
        begin = len(directory) + 1 if directory else 0
        altered = []
        for path in paths:
            name = path[begin:]
            value = names.get(name)
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError:
                value = None
            if value is None or not same_file(
                self._table, names, name, path, value, status
            ):
                altered.append(path)
            else:
                self._gone_only.discard(path)
        self._see(directory, fd)
        return altered
