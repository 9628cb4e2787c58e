"""Of a file that is to be sent: does the far end hold it already, or most of it?

Five questions, in this order (what is at no path over there begins with the third):

* Is what is at its path the same but for time and mode? The signature that was kept when that was
  sent tells. Nothing is less to do over there.
* Was it there a while ago, and has the far end retained it? Or is what is at its path the same in
  parts?
* Does another path hold it, as the file was moved or copied (see elsewhere.py)?
* Of what is at no path: was it moved and edited, or removed from there, so that most is known?
* Has what is at its path the same size, and nothing else is known of it? Then it may well be the
  same.

Each answer is a guess. The far end shows by a digest of the whole file whether it is right, and
where it is not (`distrust`), the file is sent whole.
"""

from __future__ import annotations

import os
import stat

from filerep.farend.ways import Way
from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.scheduling.inflight import NotInThisBatch
from filerep.replica.transfer.elsewhere import Elsewhere
from filerep.replica.transfer.retained import Retained
from filerep.replica.transfer.signature import Comparison
from filerep.replica.transfer.signing import Signing, compare
from filerep.source import changed_meanwhile, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.farend.batch import Batch
    from filerep.replica.transfer.economy import Economy
    from filerep.source import Source

# What is new in it may be at most so much of a file that is built of ranges.
_MOST_NEW = 0.75
_MOST_RANGES = 400  # a process or two each, but for a perl's
_MOST_BY_PERL = 5000  # as many words as one argument has room for
_GUESS_BYTES = 4096  # for files of less a wrong guess costs more than it saves


class Reuse:
    """Finds the way a file gets there with the fewest bytes."""

    def __init__(self, source: Source, table: Table, economy: Economy) -> None:
        self._source = source
        self._table = table
        self._economy = economy
        # Of what is there at first nothing is known but size and time.
        self.first_contact = True
        self.compared = self.differing = 0  # files, by their contents
        self.retained = Retained()
        self._wrong: set[bytes] = set()  # paths that the far end was wrong about
        self.signing = Signing(source, table, economy)
        self._elsewhere = Elsewhere(source, table, economy, self.signing)

    @property
    def active(self) -> bool:
        return self._economy.reuses or self.checks

    @property
    def checks(self) -> bool:
        """Is what seems to be the same compared by its content?"""
        return self.first_contact and self._economy.checks

    @property
    def will_check(self) -> bool:
        """Will it be, once the far end has told how?"""
        return self.first_contact and self._economy.will_check

    def check(self, path: bytes, status: os.stat_result) -> Optional[Way]:
        """How to see that ``path`` is the same over there; None if it is known not to be."""
        if path in self._wrong:
            return None
        try:
            fd = self._source.open(path)
        except OSError:
            return None
        try:
            found = compare(self._economy, fd, status.st_size)
        finally:
            os.close(fd)
        if found is None:
            return None
        self.compared += self.checks
        digest = found.digest.hexdigest()
        return Way(b"same", digest, signature=found.signature)

    def distrust(self, path: bytes) -> None:
        """What was thought to be there was not: send ``path`` whole, until all is sent."""
        self.differing += self.checks and path not in self._wrong
        self.retained.distrust(path)
        self._wrong.add(path)

    def forget(self, copied: bool) -> None:
        """Nothing is to be sent for now: let go of what only helps to find things.

        ``copied``: the first copy is done.
        """
        self.first_contact = not copied
        self._elsewhere.forget()
        self._wrong.clear()

    def looks_same(self, path: bytes, status: os.stat_result) -> Optional[Way]:
        """How to see that ``path`` is the same, which has its size, mode and time still.

        Restored from a copy it has another inode, and mostly the same content. An edit may have
        kept its time, too: only a digest tells. Raises ``NotInThisBatch`` if the far
        end has to be asked first what it has for that.
        """
        value = self._table.get(path)
        if value is None or entries.marks(value) & (entries.UNSURE | entries.LISTED):
            return None
        if not entries.looks_like(value, status) or not status.st_size:
            return None
        if entries.inode_of(value) == status.st_ino:
            return None  # it was written to, and its time set back
        if self._economy.want():
            raise NotInThisBatch
        tools = self._economy.tools
        if tools is None or not tools.digests:
            return None
        return self.check(path, status)

    def way(self, path: bytes, status: os.stat_result) -> Optional[Way]:
        """How the regular file ``path`` is to be made over there; None: sent whole."""
        if (
            path in self._wrong
            or not self._economy.reuses
            or not self._economy.worth(status.st_size)
        ):
            return None
        try:
            fd = self._source.open(path)
        except OSError:
            return None
        try:
            if not same(os.fstat(fd), status):
                return None
            if self._table.get(path) is None:  # of what was moved a link is enough
                found = self._elsewhere.find(path, fd, status)
                found = found or self._retained(path, fd, status)
                found = found or self._from_before(path, fd, status)
            else:
                found = (
                    self._by_signature(path, fd, status)
                    or self._retained(path, fd, status)
                    or self._elsewhere.find(path, fd, status)
                    or self._by_guess(path, fd, status)
                )
            return found if found and found.fits(os.fstat(fd), status) else None
        except OSError as error:
            if changed_meanwhile(error):
                return None
            raise
        finally:
            os.close(fd)

    def replaced(self, path: bytes, batch: Batch) -> None:
        """What is over there for ``path`` is about to go."""
        if self._economy.reuses:
            self.retained.add(path, self._table.get(path), batch)

    def _retained(self, path: bytes, fd: int, status: os.stat_result) -> Optional[Way]:
        """Was it there before, and is retained?"""
        if not self.retained.has_size(status.st_size):
            return None
        now = compare(self._economy, fd, status.st_size)
        found = b""
        if now is not None:
            found = self.retained.find(path, status.st_size, now.signature)
        if now is None or not found:
            return None
        return Way(b"copy", now.digest.hexdigest(), found, signature=now.signature)

    def _by_signature(
        self, path: bytes, fd: int, status: os.stat_result
    ) -> Optional[Way]:
        value = self._table.get(path)
        signed = entries.signature(value) if value is not None else b""
        if value is None or not signed:
            return None
        compared = compare(
            self._economy, fd, status.st_size, signed, entries.size_of(value)
        )
        if compared is None:
            return None
        digest, signature = compared.digest.hexdigest(), compared.signature
        if signature == signed and status.st_size == entries.size_of(value):
            return Way(_verb(value, status), digest, signature=signature)
        retained = self.retained.find(path, status.st_size, signature)
        if retained:
            return Way(b"copy", digest, retained, signature=signature)
        return self._built(compared, status, b"")

    def _from_before(
        self, path: bytes, fd: int, status: os.stat_result
    ) -> Optional[Way]:
        """Of what is at no path over there: is most of it what was moved, and edited, or what was
        removed from there?"""
        inode = status.st_ino
        before = self._elsewhere.moved(inode) or self.retained.last(path, inode)
        if before is None:
            return None
        source, size, signed = before
        compared = compare(self._economy, fd, status.st_size, signed, size)
        way = self._built(compared, status, source) if compared else None
        # Its pieces would be put where it is to be, and what they are added to is elsewhere.
        return None if way is None or self._economy.in_pieces(way.size) else way

    def _built(
        self, compared: Comparison, status: os.stat_result, source: bytes
    ) -> Optional[Way]:
        """Made of ranges of what was ``compared``, if much of it is the same."""
        digest, signature = compared.digest.hexdigest(), compared.signature
        unlike = compared.new_bytes > _MOST_NEW * status.st_size
        tools = self._economy.tools
        most = _MOST_BY_PERL if tools is not None and tools.perl else _MOST_RANGES
        if unlike or len(compared.ranges) > most:
            return None
        size = compared.quarter
        words = [b"%d" % size]
        for one in compared.ranges:
            if one.old < 0:
                words.append(b"%d" % one.length)
            else:
                words.append(b"%d+%d" % (one.old // size, -(-one.length // size)))
        ranges = [(one.start, one.length) for one in compared.ranges if one.old < 0]
        way = Way(b"build", digest, source, words, ranges, signature)
        way.appended = compared.appended
        return way

    def _by_guess(self, path: bytes, fd: int, status: os.stat_result) -> Optional[Way]:
        value = self._table.get(path)
        if value is None or not stat.S_ISREG(entries.mode_of(value)):
            return None
        if entries.signature(value) or entries.size_of(value) != status.st_size:
            return None
        if status.st_size < _GUESS_BYTES and not self.first_contact:
            return None
        found = compare(self._economy, fd, status.st_size)
        if found is None:
            return None
        digest = found.digest.hexdigest()
        return Way(_verb(value, status), digest, signature=found.signature)


def _verb(value: bytes, status: os.stat_result) -> bytes:
    """How a file is made that has the content of what was sent as ``value``.

    Restored, say, with another inode, it has its time and mode as well.
    """
    bits = (entries.mode_of(value) ^ status.st_mode) & 0o777
    other = bits or entries.mtime_of(value) != status.st_mtime_ns
    return b"keep" if other else b"same"
