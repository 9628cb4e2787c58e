"""A file is put where it belongs: into a batch, with the directories it needs, which are ours then.

A directory above it that the far end lacks comes with the batch. One that the far end has
already, for all we know by itself, becomes ours and gets our mode.
"""

from __future__ import annotations

import os
import stat

from filerep.farend.batch import directory_mode
from filerep.replica.known import entries
from filerep.replica.scheduling.inflight import NotInThisBatch
from filerep.source import kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.farend.ways import Way
    from filerep.replica.planning.deletions import Deletions
    from filerep.replica.planning.echoes import Echoes
    from filerep.replica.planning.sides import Aside, Sides
    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.transfer.reuse import Reuse


class Placing:
    """Adds files to a batch, and directories to what is ours."""

    def __init__(
        self,
        sides: Sides,
        aside: Aside,
        reuse: Reuse,
        echoes: Echoes,
        deletions: Deletions,
    ) -> None:
        self._source = sides.source
        self._table = sides.table
        self._deletes = sides.deletes
        self._aside = aside
        self._reuse = reuse
        self._echoes = echoes
        self._deletions = deletions

    def file(
        self,
        path: bytes,
        status: os.stat_result,
        target: bytes,
        sent: Sent,
        way: Optional[Way] = None,
    ) -> None:
        """Have ``path`` put where it belongs, and the directories made that are not there."""
        new = self._new_directories(path, sent)
        if new is None:
            return
        if way is None or way.verb not in (b"same", b"keep"):
            self._reuse.replaced(path, sent.batch)
        sent.batch.add(path, status, target, new, way)
        sent.planned.add(path)
        found = self._echoes.asked(path)
        if found is not None:
            sent.echoes[path] = found
        if way is not None and way.verb == b"take":
            self._deletions.file(way.source, sent)
        sent.intended += [directory + b"/" for directory, _ in new]
        if not self._table.remembered(path):
            sent.intended.append(path)
        self.claim(path, sent)

    def _new_directories(
        self, path: bytes, sent: Sent
    ) -> Optional[list[tuple[bytes, os.stat_result]]]:
        """Directories above ``path`` that the far end lacks, top first; None: gone here."""
        new: list[tuple[bytes, os.stat_result]] = []
        directory = path.rpartition(b"/")[0]
        known, staged = self._table.directories, sent.batch.staged
        while directory not in known and directory not in staged:
            status = self._source.look(directory)
            if directory in sent.planned:
                raise NotInThisBatch  # it deals with what is in the way
            if kind(status) != stat.S_IFDIR:
                return None  # its own record comes, or came before this one
            assert status is not None
            if not self._deletes:
                sent.batch.keeps = True
            elif self._table.get(directory) is not None:
                self._deletions.file(directory, sent)
            new.append((directory, status))
            directory = directory.rpartition(b"/")[0]
        return new[::-1]

    def claim(self, path: bytes, sent: Sent) -> None:
        """The directories above are ours now, and have our permission bits."""
        directory = path.rpartition(b"/")[0]
        if directory == sent.claimed:
            return
        sent.claimed = directory
        while directory not in self._table.directories:
            path, directory = directory, directory.rpartition(b"/")[0]
        for above in self._table.claim_directories(path):
            value = self._table.get_directory(above)
            try:
                status = self._source.look(above)
            except OSError as error:
                self._aside.unreadable("read", above, error)
                continue
            if value is not None and kind(status) == stat.S_IFDIR:
                assert status is not None
                self._table.adopted.append((above + b"/", value))
                self.directory(above, status, sent)

    def directory(self, path: bytes, status: os.stat_result, sent: Sent) -> None:
        """``path`` is a directory here: what is ours over there gets its mode."""
        if self._table.get(path) is not None and self._deletes:
            self._deletions.file(path, sent)
        value = self._table.get_directory(path)
        if value is None or not entries.marks(value) & entries.OURS:
            return
        mode = directory_mode(status)
        unlike = entries.marks(value) & (entries.UNSEEN | entries.UNMOUNTED)
        if unlike:
            value = entries.marked(value, entries.marks(value) & ~unlike)
            self._table.put_directory(path, value)
        keeps = self._table.mode_bits(path + b"/") & 0o777
        if entries.marks(value) & entries.UNSURE or (
            keeps and entries.mode_of(value) & 0o1777 != mode
        ):
            value = entries.directory_entry(mode, entries.OURS)
            self._table.put_directory(path, value)
            sent.entries.append((path + b"/", value))
            if keeps:
                sent.batch.modes.append((path, mode))
                sent.planned.add(path)
