"""fr-pack as a filter: paths in, one tar archive out, and nobody who answers."""

from __future__ import annotations

import os
import select
from stat import S_ISLNK, S_ISREG

from filerep import command
from filerep.archive import tarstream
from filerep.archive.outbuffer import SIZE, OutBuffer
from filerep.archive.worker import SHARE, Worker, usable
from filerep.misnamed import Misnamed
from filerep.pathstream import Decoder, in_rows, normalize, quote
from filerep.replica.known import entries
from filerep.replica.known.unchanged import unchanged
from filerep.source import Source, changed_meanwhile, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from filerep.replica.known.statefile import State
    from filerep.replica.known.table import Table

_READ = 1 << 18
_RECENT = 100
_SECOND = 1_000_000_000


def pack(
    source: Source,
    records: int,
    archive: int,
    on_error: Callable[[str, bytes, OSError], None],
    on_bad_record: Callable[[bytes, str], None],
    table: Optional[Table] = None,
    state: Optional[State] = None,
) -> None:
    """Read a path stream from descriptor ``records``, write a tar stream to ``archive``.

    With a ``table``, what it says is there already is left out, and what is sent is entered
    and, with a ``state``, remembered. A path that cannot be read goes to ``on_error``,
    what is no such path to ``on_bad_record`` with what is wrong; ``OutputError`` escapes, and
    ``Stop`` where ``records`` cannot be read.
    Without a ``table`` a second process takes half of many paths.
    """
    write = lambda data: command.write_all(archive, data)
    packer = Packer(source, write, on_error, on_bad_record, table, state)
    decoder = Decoder()
    waiting = select.poll()
    waiting.register(records, select.POLLIN)
    while True:
        if not waiting.poll(0):
            packer.pause()
        try:
            chunk = os.read(records, _READ)
        except OSError as error:
            why = f"cannot read standard input: {command.reason(error)}"
            raise command.Stop(command.NO_INPUT, why) from None
        source.forget_directories()
        if not chunk:
            break
        packer.pack(decoder.feed(chunk))
    unended = decoder.close()
    if unended:
        packer.pack([unended], ended=False)
    packer.close()


class Packer:
    """Writes members for paths, in large writes."""

    def __init__(
        self,
        source: Source,
        write: Callable[[memoryview], None],
        on_error: Callable[[str, bytes, OSError], None],
        on_bad_record: Callable[[bytes, str], None],
        table: Optional[Table] = None,
        state: Optional[State] = None,
    ) -> None:
        self._source = source
        self._on_error = on_error
        self._on_bad_record = on_bad_record
        self._misnamed = Misnamed(source)
        self._ended = True
        self._absolute: list[bytes] = []  # paths, by now relative
        self._table = table
        self._state = state
        self._archive = Archive(write)
        self._archive.first = table is None
        self._recent: list[bytes] = []  # the paths that were packed last
        self._packs_for_other = False  # is this the second process?
        self._entered: list[tuple[bytes, bytes]] = []
        self._alone = table is not None or not usable()
        self._worker: Optional[Worker] = None

    def pack(self, records: list[bytes], ended: bool = True) -> None:
        """Write a member for what is at each of these paths now; ``ended`` by NULs."""
        self._ended = ended
        self._recent = records[-_RECENT:]
        self._misnamed.read(records)
        if len(records) > SHARE and not self._alone and self._worker is None:
            try:
                self._worker = Worker(self._prepare_worker)
            except OSError:
                self._alone = True
        worker = self._worker
        if len(records) <= SHARE or worker is None:
            self._pack_all(records)
            return
        for begin in range(0, len(records), 2 * SHARE):
            middle = begin + SHARE
            worker.begin(records[middle : middle + SHARE])
            self._pack_all(records[begin:middle])
            length, left = worker.finish(self._archive.out)
            if length:
                self._archive.added(length, 0)
            self._pack_all(left)

    def _prepare_worker(
        self, write: Callable[[memoryview], None]
    ) -> Callable[[list[bytes]], list[bytes]]:
        """See worker.py."""
        left: list[bytes] = []
        on_error = lambda _, path, __: left.append(path)
        on_bad = lambda record, _: left.append(record)
        packer = Packer(self._source, write, on_error, on_bad)
        packer._archive.first, packer._packs_for_other = False, True

        def pack(records: list[bytes]) -> list[bytes]:
            self._source.forget_directories()
            left.clear()
            left.extend(packer._pack(records))
            packer._flush()
            return left

        return pack

    def _pack_all(self, records: list[bytes]) -> None:
        torn = self._pack(records)
        self._pack(torn, patient=True)

    def _pack(self, records: list[bytes], patient: bool = False) -> list[bytes]:
        """Write members; the paths of files that changed while they were read.

        ``patient``: such a file is sent as it was read.
        """
        torn = []
        for above, row in in_rows(records, self._odd):
            begin = len(above) + 1 if above else 0
            try:
                directory = self._source.directory(above)
            except OSError as error:
                for path in row:
                    self._failed(path, error)
                continue
            for path in row:
                name = path[begin:]
                try:
                    status = os.lstat(name, dir_fd=directory)
                    mode = status.st_mode
                    if self._source.left_out(path, status):
                        continue
                    if S_ISREG(mode):
                        if not self._file(path, directory, name, status, patient):
                            torn.append(path)
                    elif S_ISLNK(mode):
                        self._symlink(path, directory, name, status)
                except OSError as error:
                    self._failed(path, error)
        if self._absolute:
            more, self._absolute = self._absolute, []
            torn += self._pack(more, patient)
        return torn

    def _failed(self, path: bytes, error: OSError) -> None:
        if not changed_meanwhile(error):
            self._on_error("read", path, error)
        elif not self._packs_for_other:
            hint = self._misnamed.hint(path, self._ended)
            if hint:
                self._on_bad_record(path, hint)

    def _odd(self, record: bytes) -> None:
        if normalize(record) is not None:
            return
        path = self._source.relative(record) if record.startswith(b"/") else None
        if path is None:
            refused = self._misnamed.refused(record)
            if refused:
                self._on_bad_record(record, refused)
        else:
            self._absolute.append(path)

    def _symlink(
        self, path: bytes, directory: int, name: bytes, status: os.stat_result
    ) -> None:
        target = os.readlink(name, dir_fd=directory)
        table = self._table
        if table is not None and unchanged(table, path, status, target):
            return
        mtime_ns, precise = status.st_mtime_ns, not self._archive.first
        kind = tarstream.SYMLINK
        member = tarstream.member(
            _named(path), kind, 0o777, 0, mtime_ns, target, precise
        )
        self._archive.add(member)
        if not precise and mtime_ns % _SECOND:
            self._symlink(path, directory, name, status)
            return
        if table is not None:
            self._enter(table, path, status)

    def _file(
        self,
        path: bytes,
        directory: int,
        name: bytes,
        status: os.stat_result,
        patient: bool,
    ) -> bool:
        """Write a file; False if it was not all the time as ``status`` says.

        If it changed and no part of it is out yet, it is left out.
        """
        table = self._table
        if table is not None and unchanged(table, path, status, b""):
            return True
        size = status.st_size
        first = self._archive.first
        header = tarstream.file_member(_named(path), status, not first)
        fd = self._source.open_in(directory, name)
        try:
            if not patient and len(header) + size <= SIZE:
                added = self._archive.out.add_whole(header, fd, status)
                rested = added > 0
                if rested:
                    self._archive.added(added, added)
            else:
                first = False
                rested = self._archive.stream(header, fd, status, patient)
        finally:
            os.close(fd)
        if first and rested and status.st_mtime_ns % _SECOND:
            return self._file(path, directory, name, status, patient)
        if table is not None and rested:
            self._enter(table, path, status)
        return rested

    def _enter(self, table: Table, path: bytes, status: os.stat_result) -> None:
        value = entries.entry(status, entries.OURS)
        table.put(path, value)
        self._entered.append((path, value))

    def pause(self) -> None:
        """Let a tar that reads whole records see all there is so far."""
        self._archive.fill()
        self._flush()

    def close(self) -> None:
        """End the archive. One that is empty may be so by a mistake, which is said."""
        if self._archive.empty:
            hint = self._misnamed.elsewhere()
            if hint:
                self._on_bad_record(b"", hint)
        elif self._archive.filled:
            # As if it had been named once more: one that was packed, a short one if there is.
            short = [path for path in self._recent if self._is_short(path)]
            for path in reversed(self._recent + short):
                self._pack([path], patient=True)
                if not self._archive.filled:
                    break
        self._archive.end()
        self._flush()
        if self._worker is not None:
            self._worker.end()

    def _is_short(self, path: bytes) -> bool:
        try:
            status = self._source.look(path)
        except OSError:
            return False
        return status is not None and status.st_size < SIZE

    def _flush(self) -> None:
        """Write all; only what was written is remembered."""
        self._archive.flush()
        if self._state is not None:
            try:
                self._state.append(self._entered, [])
            except OSError as error:
                self._on_error("write", self._state.path, error)
                self._state = None
        self._entered.clear()


class Archive:
    """A tar archive as it is written, the members so far to be seen at each pause."""

    def __init__(self, write: Callable[[memoryview], None]) -> None:
        self.out = OutBuffer(write)
        self._length = 0
        # The bytes of the last member, if it is in the buffer still.
        self._last = 0
        #: Does it end with a filler?
        self.filled = False
        #: Is no member in it yet? Docker takes an archive for one by its first 512 bytes, which
        #: have to be a member's. So none of its time stands before it, and it comes a second
        #: time for that, if it is short.
        self.first = True

    @property
    def empty(self) -> bool:
        """Is no member in it?"""
        return not self._length

    def add(self, member: bytes) -> None:
        self.out.add(member)
        self.added(len(member), len(member))

    def stream(
        self, header: bytes, fd: int, status: os.stat_result, patient: bool
    ) -> bool:
        """Write a file as it is read: cut, or filled with zeros, to the size in ``header``."""
        if not (patient or same(os.fstat(fd), status)):
            return False
        size, padding = status.st_size, tarstream.padding(status.st_size)
        self.out.add(header)
        try:
            whole = self.out.read(fd, size) == size
        finally:
            self.out.add(padding)
            self.added(len(header) + size + len(padding), 0)
        return whole and same(os.fstat(fd), status)

    def added(self, size: int, last: int) -> None:
        """So many bytes of members are in, ``last`` of them of the last one, if it is short."""
        self._length += size
        self._last = last
        self.first = self.filled = False

    def fill(self) -> None:
        """End with a whole record.

        Python's tarfile takes a filler that no member follows for a broken archive: it goes
        before the last one, where there is another before that.
        """
        filler = tarstream.filler(-self._length % tarstream.RECORD)
        if filler:
            inner = self._length > self._last > 0
            if not (inner and self.out.insert(self._last, filler)):
                self.out.add(filler)
                self.filled = True
            self._length += len(filler)

    def end(self) -> None:
        self.out.add(tarstream.end(self._length))

    def flush(self) -> None:
        """Write all there is."""
        self._last = 0
        self.out.flush()


def _named(path: bytes) -> bytes:
    """``path`` as a member's name: bsdtar takes \\ and c: off the front, also on Unix."""
    return b"./" + path if path[:1] == b"\\" or path[1:2] == b":" else path
