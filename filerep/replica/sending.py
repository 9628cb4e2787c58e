"""One batch as bytes: its members, the commit, and the line behind."""

from __future__ import annotations

import time

from filerep.archive import tarstream
from filerep.farend.commit import COMMIT, Commit
from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.members import is_piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.farend.abilities import Far
    from filerep.farend.batch import Batch
    from filerep.farend.connection import Output
    from filerep.replica.known.ticks import Ticks
    from filerep.replica.members import Members
    from filerep.replica.progress import OneFile, Tally
    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.transfer.economy import Economy

_SECOND = 1_000_000_000
_COARSE_TICKS = 2_100_000_000  # ns; for stamps in whole seconds, or FAT's two
_UNSURE = entries.OURS | entries.UNSURE


class Sender:
    """Writes batches to the connection, and enters in the table what was sent."""

    def __init__(
        self,
        table: Table,
        far: Far,
        out: Output,
        economy: Economy,
        members: Members,
        ticks: Ticks,
    ) -> None:
        self._table = table
        self._far = far
        self._out = out
        self._economy = economy
        self._members = members
        self._ticks = ticks
        self._record = tarstream.RECORD  # bytes, of the next archive
        self._packed = False  # is the next archive compressed?

    def send(
        self,
        sent: Sent,
        tally: Tally | None = None,
        one_file: OneFile | None = None,
        much: bool = False,
    ) -> None:
        """``much``: the next batch is a large one."""
        batch = sent.batch
        if tally:
            tally.plan(sum(not is_piece(one) for one in batch.members), batch.bytes)
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
        took, unfit = self._send_members(sent, entered, tally, one_file)
        length += took
        commit = Commit(batch, unfit)
        scripts = _members(commit.members())
        batch.numbered = commit.numbered
        if records and _records_of(length + len(scripts)) > records:
            scripts, sent.unapplied = _members([(COMMIT, b"dirty=1\n")]), True
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
        sent.archive, sent.packed, sent.packing = length, packed, self._out.packing
        if tally:
            sent.tallied = tally.sent()
        if unfit:
            sent.entries = [pair for pair in sent.entries if pair[0] not in unfit]

    def _send_members(
        self,
        sent: Sent,
        entered: list[tuple[Optional[bytes], Optional[bytes]]],
        tally: Tally | None,
        one_file: OneFile | None,
    ) -> tuple[int, set[bytes]]:
        """How many bytes of archive went out, and the paths of what must not be put in place."""
        length = 0
        unfit: set[bytes] = set()
        for member, (old, new) in zip(sent.batch.members, entered):
            if tally:
                tally.begin(member.size)
            elif one_file:
                one_file.begin(member)
            took, fit = self._members.send(member)
            if tally:
                tally.end(fit, not is_piece(member))
            length += took
            if fit:
                self._members.sent(member)
                if self._members.signature is not None:
                    self._sign(member.path, new, self._members.signature, sent)
                continue
            unfit.add(member.path)
            # Unless something else was planned for it meanwhile, as the next batch was. Of a
            # piece nothing is in the table yet.
            if new is not None and self._table.get(member.path) == new:
                self._table.put_back(member.path, old)
            self._members.put_off(member.path, member.status.st_size)
        return length, unfit

    def _next_form(self, much: bool) -> int:
        """The blocks of the next archive's records; 0 if it is compressed.

        What unpacks it is started ahead of it. GNU tar takes two thirds of the time if it
        reads many blocks at once, so it is told how many before anybody knows what it will get.
        """
        self._packed = self._economy.level > 0
        if self._packed:
            self._record = tarstream.BLOCK
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
        ticks_of = self._ticks.of
        put = self._table.put
        for member in sent.batch.members:
            status, path = member.status, member.path
            if member.way is not None and member.way.verb == b"piece":
                entered.append((None, None))
                continue
            ctime = status.st_ctime_ns
            ticks = ticks_of(path, status)
            young = ticks and ctime > now - ticks
            sure = ctime <= coarse or ctime % _SECOND and not young
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
