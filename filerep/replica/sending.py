"""One batch as bytes: its members, the commit, and the line behind.

What matters here is that no torn file is put in place: a file counts as read whole if, behind
the last byte, its status is still what it was when it was looked at. One that is not stays
in the stage, or is taken back from the buffer, and is looked at again in a moment.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from filerep.archive import tarstream
from filerep.archive.outbuffer import SIZE
from filerep.farend.batch import Batch, Member
from filerep.farend.commit import COMMIT, Commit
from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.known.unchanged import ticks
from filerep.replica.transfer.signature import Signer
from filerep.source import changed_meanwhile, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from filerep.farend.abilities import Far
    from filerep.farend.connection import Output
    from filerep.farend.ways import Way
    from filerep.replica.progress import Tally
    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.scheduling.restless import Restless
    from filerep.replica.transfer.economy import Economy
    from filerep.source import Source

_RESTLESS_BYTES = 1 << 18  # smaller files cost nothing
_SECOND = 1_000_000_000
_COARSE_TICKS = 2_100_000_000  # ns; for stamps in whole seconds, or FAT's two
_UNSURE = entries.OURS | entries.UNSURE


class Sender:
    """Writes batches to the connection, and enters in the table what was sent."""

    def __init__(
        self,
        source: Source,
        table: Table,
        far: Far,
        out: Output,
        economy: Economy,
        restless: Restless,
        on_error: Callable[[str, bytes, OSError], None],
    ) -> None:
        self._source = source
        self._table = table
        self._far = far
        self._out = out
        self._economy = economy
        self._on_error = on_error
        self._restless = restless
        self._ticks = ticks(source.device, os.uname().release)
        self._unreadable: set[bytes] = set()
        # Of what was sent last.
        self._signature: Optional[bytes] = None
        self._mixed = False  # it changed while it was read
        self._record = tarstream.RECORD  # bytes, of the next archive
        self._packed = False  # is the next archive compressed?

    def send(self, sent: Sent, tally: Tally | None = None, much: bool = False) -> None:
        """``much``: the next batch is a large one."""
        batch = sent.batch
        if tally:
            tally.plan(sum(not _is_piece(one) for one in batch.members), batch.bytes)
        batch.arrange(self._far)
        packed = self._packed
        self._out.begin(batch.bytes, max(1, self._economy.level) if packed else 0)
        counted = self._far.counted and not packed
        records = self._records(batch) if counted else 0
        if records:
            self._out.add(b"%d\n" % records)
        headers = batch.headers()
        # What is planned from here on looks at the table as it will be.
        for directory, mode in batch.directories:
            value = entries.directory_entry(mode, entries.OURS)
            self._table.put_directory(directory, value)
            sent.entries.append((directory + b"/", value))
        entered = self._enter(sent)
        self._out.add(headers)
        length = len(headers)
        unfit: set[bytes] = set()
        for member, (old, new) in zip(batch.members, entered):
            if tally:
                tally.begin(member.size)
            took, fit = self._send_member(member)
            if tally:
                tally.end(fit, not _is_piece(member))
            length += took
            if fit:
                self._tell_restless(member)
                if self._signature is not None:
                    self._sign(member.path, new, self._signature, sent)
            elif new is None:  # a piece
                unfit.add(member.path)
                self._put_off(member.path, member.status.st_size)
            else:
                unfit.add(member.path)
                # Unless something else was planned for it meanwhile, as the next batch was.
                if self._table.get(member.path) == new:
                    self._table.put_back(member.path, old)
                self._put_off(member.path, member.status.st_size)
        commit = Commit(batch, unfit)
        scripts = _members(commit.members())
        batch.numbered = commit.numbered
        if records and _records_of(length + len(scripts)) > records:
            scripts, sent.void = _members([(COMMIT, b"dirty=1\n")]), True
        self._out.add(scripts)
        length += len(scripts)
        end = tarstream.end(length, self._record)
        self._out.add(end)
        if records:
            self._out.add(bytes(records * tarstream.RECORD - length - len(end)))
        sent.wire = self._out.end_archive() or length
        self._out.last = b"%d %d" % (batch.number, self._next_form(much))
        self._out.add(b"batch %s\n" % self._out.last)
        sent.lent = self._out.end()
        sent.archive, sent.packed = length, packed
        if tally:
            sent.tallied = tally.sent()
        if unfit:
            sent.entries = [pair for pair in sent.entries if pair[0] not in unfit]

    def _next_form(self, much: bool) -> int:
        """The blocks of the next archive's records; 0 if it is compressed.

        What unpacks it is started ahead of it. GNU tar takes two thirds of the time if it
        reads many blocks at once, so it is told how many before anybody knows what it will get.
        """
        self._packed = self._economy.level > 0
        if self._packed:
            return 0
        large = much and self._far.tar == "gnu"
        self._record = tarstream.LARGE_RECORD if large else tarstream.RECORD
        return self._record // tarstream.BLOCK

    def _sign(
        self, path: bytes, value: Optional[bytes], signature: bytes, sent: Sent
    ) -> None:
        """Keep with what was sent of ``path``, ``value``, by what to know it again."""
        if value is None or self._table.get(path) != value:
            return
        signed = entries.signed(value, signature)
        self._table.put(path, signed)
        sent.entries = [
            (one, signed if one == path else other) for one, other in sent.entries
        ]

    def _enter(self, sent: Sent) -> list[tuple[Optional[bytes], Optional[bytes]]]:
        """Enter the files of a batch in the table; what it said of them, and says now.

        Of a piece it says nothing yet.
        """
        entered: list[tuple[Optional[bytes], Optional[bytes]]] = []
        now = time.time_ns()
        # See unchanged.py on ctimes that are younger than the clock that made them.
        coarse = now - _COARSE_TICKS
        young = now - self._ticks if self._ticks else 2 * now  # none is too young
        put = self._table.put
        for member in sent.batch.members:
            status, path = member.status, member.path
            if member.way is not None and member.way.verb == b"piece":
                entered.append((None, None))
                continue
            ctime = status.st_ctime_ns
            sure = ctime <= coarse or ctime % _SECOND and ctime <= young
            value = entries.entry(status, entries.OURS if sure else _UNSURE)
            sent.entries.append((path, value))
            entered.append((put(path, value), value))
        return entered

    def _records(self, batch: Batch) -> int:
        length = len(batch.headers())
        for member in batch.members:
            if member.way is None or member.way.sends:
                length += len(member.header(self._far.precise))
            length += member.size + len(tarstream.padding(member.size))
        return _records_of(length + len(_members(Commit(batch, set()).members())))

    def _send_member(self, member: Member) -> tuple[int, bool]:
        """How many bytes of archive went out, and whether it may be put in place."""
        self._signature, self._mixed = None, False
        if member.way is not None:
            return self._send_reused(member, member.way)
        header = member.header(self._far.precise)
        status, size, out = member.status, member.size, self._out
        if stat.S_ISLNK(status.st_mode):
            out.add(header)
            return len(header), True
        patient = self._restless.patient(member.path)
        signer = self._signer(size)
        took = 0
        try:
            fd = self._source.open(member.path)
            out.seen = signer.feed if signer is not None else None
            try:
                if not patient and len(header) + size + tarstream.BLOCK <= SIZE:
                    took = out.add_whole(header, fd, status)
                    if took and signer is not None:
                        self._signature = signer.signature()
                    return took, took > 0
                if not (patient or same(os.fstat(fd), status)):
                    return 0, False
                padding = tarstream.padding(size)
                took = len(header) + size + len(padding)
                out.add(header)
                try:
                    whole = out.read(fd, size) == size
                finally:
                    out.add(padding)
                unchanged = same(os.fstat(fd), status)
                if patient and unchanged and not whole:
                    # A size that is no promise, as below /sys: it will never be whole.
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                if whole and unchanged and signer is not None:
                    self._signature = signer.signature()
                self._mixed = whole and not unchanged
                return took, whole and (patient or unchanged)
            finally:
                out.seen = None
                os.close(fd)
        except OSError as error:
            self._unread(member.path, error)
            return took, False

    def _signer(self, size: int) -> Optional[Signer]:
        """What makes the signature of a file that is sent whole, if it is to be kept."""
        if self._economy.reuses and self._economy.worth(size):
            return Signer(self._economy.block)
        return None

    def _send_reused(self, member: Member, way: Way) -> tuple[int, bool]:
        """Send what the far end lacks of a file, and see that it is the same as it was."""
        header = member.header(self._far.precise) if way.sends else b""
        status, out = member.status, self._out
        took = 0
        try:
            fd = self._source.open(member.path)
            try:
                if not same(os.fstat(fd), status):
                    return 0, False
                padding = tarstream.padding(member.size)
                took = len(header) + member.size + len(padding)
                out.add(header)
                whole = True
                out.seen = way.read
                try:
                    for start, length in way.ranges:
                        os.lseek(fd, start, os.SEEK_SET)
                        whole = out.read(fd, length) == length and whole
                finally:
                    out.seen = None
                    out.add(padding)
                whole = whole and same(os.fstat(fd), status)
                way.end()
                self._signature = way.signature if whole else None
                return took, whole
            finally:
                os.close(fd)
        except OSError as error:
            self._unread(member.path, error)
            return took, False

    def _unread(self, path: bytes, error: OSError) -> None:
        """What cannot be read is told; what is only held by somebody is looked at again.

        A lease (fcntl(2): Samba's, an NFS server's) is given back, of which no event tells.
        """
        if not changed_meanwhile(error) and error.errno != errno.EAGAIN:
            self._on_error("read", path, error)
            self._unreadable.add(path)

    def _tell_restless(self, member: Member) -> None:
        """``member`` was sent, and what it cost."""
        way, size = member.way, member.status.st_size
        if way is not None and way.verb == b"piece":
            return
        if self._mixed:
            self._restless.sent_torn(member.path, size)
        elif size >= _RESTLESS_BYTES or self._restless:
            before = 0 if way is None else way.before
            self._restless.sent(member.path, before + member.size, size)

    def _put_off(self, path: bytes, size: int) -> None:
        """It was not sent: when to look again."""
        if path in self._unreadable:
            self._unreadable.remove(path)  # said once, and looked at when named again
        else:
            self._restless.torn(path, size)


def _is_piece(member: Member) -> bool:
    """Is more of the file to come?"""
    return member.way is not None and member.way.verb == b"piece"


def _members(scripts: list[tuple[bytes, bytes]]) -> bytes:
    """Archive members, by name, with their data."""
    members = []
    for name, data in scripts:
        members.append(tarstream.member(name, tarstream.FILE, 0o600, len(data)))
        members += (data, tarstream.padding(len(data)))
    return b"".join(members)


def _records_of(length: int) -> int:
    """tar records of an archive whose members take ``length`` bytes."""
    return (length + len(tarstream.end(length))) // tarstream.RECORD
