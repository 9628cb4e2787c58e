"""A large file goes in pieces, each in a batch of its own, so that no save waits for all of it.

Which files do is decided in economy.py.

The far end puts each behind those before, in a file of the staging directory, and the last one
puts the whole into place. The file here must be the same from the first look to the last: if it
is not, and what goes is not just what was appended to it, it begins anew. One that never rests
would do so for ever: after a while it is sent as it is read, as restless.py has it. In the end
the far end shows that the size is right, and over a slow link the digest.
"""

from __future__ import annotations

import os
import stat
import time

from filerep.digest import digest
from filerep.farend.ways import Way
from filerep.replica.transfer.signature import Signer
from filerep.source import same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any, Optional

    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.scheduling.queues import Paths
    from filerep.replica.scheduling.restless import Restless
    from filerep.replica.transfer.economy import Economy
    from filerep.source import Source

    Place = Callable[[bytes, os.stat_result, bytes, Sent, Way], None]

# A file that was begun because the connection was not known begins anew, and whole, if that is
# sooner: as long as so little of it is sent.
_LITTLE = 16
_READ = 1 << 20


class Transfer:
    """A file that goes in pieces, and how far it has come."""

    def __init__(
        self,
        path: bytes,
        status: os.stat_result,
        way: Optional[Way],
        economy: Economy,
        shown: bool,
        there: Container[str] = (),
    ) -> None:
        """``way``: how it is built of what is there and of the pieces; None: they are all of it.

        ``shown``: is a digest to show in the end that it is right? ``there`` are the names of
        those of which a cut run has sent something.
        """
        self.path = path
        self.status = status
        self.way = way
        self.ranges = [(0, status.st_size)] if way is None else way.ranges
        self.size = status.st_size if way is None else way.size  # bytes that are sent
        self.sent = 0
        self.began = time.monotonic()
        look = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        words = b" ".join(way.words) if way is not None else b""
        self.name = digest(path + repr(look).encode() + words).hex()
        #: Was it begun before it is known what the far end has for digests?
        self.early = economy.tools is None
        # The pieces are put together where nobody else writes; a digest of all is for a link on
        # which there is time for it.
        tools = economy.tools
        shown = shown and (economy.reuses or self.name in there)
        shows = shown and tools is not None and tools.digests
        self._digest: Any = tools.digest() if tools is not None and shows else None
        self._signer = Signer(economy.block(status.st_size)) if economy.signs else None
        self._fd = -1

    def hold(self, source: Source) -> None:
        """Keep the file open: else the inode number may soon be another's, saved by a rename."""
        try:
            self._fd = source.open(self.path)
        except OSError:
            pass  # who reads it says why

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def is_still(self, status: os.stat_result) -> bool:
        """Is that the same file, however it has changed, and does it have as much in it?"""
        try:
            if self._fd < 0 or not os.path.samestat(os.fstat(self._fd), status):
                return False
        except OSError:
            return False  # on FUSE or NFS, if it is gone
        begun = self.status
        return os.path.samestat(begun, status) and status.st_size >= begun.st_size

    @property
    def digests(self) -> bool:
        """Can the far end show that it has the right bytes?"""
        return self._digest is not None

    def next(self, length: int) -> list[tuple[int, int]]:
        """Where in the file the next ``length`` bytes are that are to be sent."""
        found, passed = [], 0
        for start, size in self.ranges:
            skip = max(0, self.sent - passed)
            if skip < size and length > 0:
                found.append((start + skip, min(size - skip, length)))
                length -= found[-1][1]
            passed += size
        return found

    def read(self, data: memoryview) -> None:
        """This is what comes next in the file."""
        if self._digest is not None:
            self._digest.update(data)
        if self._signer is not None:
            self._signer.feed(data)

    def digest(self) -> str:
        """Of all that was read; nothing where the far end could not say the same."""
        return self._digest.hexdigest() if self._digest is not None else ""

    def signature(self) -> Optional[bytes]:
        return self._signer.signature() if self._signer is not None else None


class Piece(Way):
    """A piece that is about to be sent, of ``transfer``."""

    __slots__ = ("transfer",)

    def __init__(self, transfer: Transfer, length: int) -> None:
        built = transfer.way
        words = [transfer.name.encode(), b"%d" % transfer.sent]
        if transfer.sent + length < transfer.size:
            super().__init__(b"piece")
        elif built is not None:
            super().__init__(b"assemble", built.digest, signature=built.signature)
            words += built.words
        else:
            # As long as it will be, for who counts before it is read.
            super().__init__(b"last", "0" * len(transfer.digest()))
        self.words = words
        self.ranges, self.size = transfer.next(length), length
        self.before, self.of = transfer.sent, transfer.size
        self.began = transfer.began
        self.transfer = transfer

    def read(self, data: memoryview) -> None:
        self.transfer.read(data)
        self.transfer.sent += len(data)

    def end(self) -> None:
        """All of it was read."""
        if self.verb == b"last":
            self.digest = self.transfer.digest()
            self.signature = self.transfer.signature()


class Pieces:
    """The file that goes in pieces now, and those that wait for it."""

    def __init__(
        self,
        source: Source,
        economy: Economy,
        waiting: Paths,
        restless: Restless,
        leave: Callable[[list[bytes]], None],
        there: dict[str, int],
    ) -> None:
        """``waiting`` are large files, some of which go in pieces; ``restless`` has one that has
        changed looked at again; ``leave`` is told what is staged and of no use any more;
        ``there`` says how much of which file a cut run has sent.
        """
        self._source = source
        self._economy = economy
        self._waiting = waiting
        self._restless = restless
        self._leave = leave
        self._there = dict(there)
        self.current: Optional[Transfer] = None
        self._doubted: set[bytes] = set()
        self._used = bool(there)  # has the far end ever had a piece?
        self.on_taken_up: Callable[[int], object] = bool  # so much was there already

    def __bool__(self) -> bool:
        return self.current is not None

    def paths(self) -> list[bytes]:
        """The file that is on its way."""
        return [] if self.current is None else [self.current.path]

    def left(self, path: bytes) -> Optional[int]:
        """How many bytes of ``path`` are to be sent yet, None if it is not on its way."""
        if self.current is None or self.current.path != path:
            return None
        return self.current.size - self.current.sent

    def abandon(self, path: bytes) -> None:
        """What was sent of ``path`` is of no use any more."""
        if self.current is not None and self.current.path == path:
            self._abandon(self.current)

    def _abandon(self, transfer: Transfer) -> None:
        self.current = None
        if transfer.sent:
            self._leave([_part(transfer.name)])

    def forget(self) -> None:
        """What a cut run has sent and nobody has asked for by now is of no use."""
        self._leave([_part(name) for name in self._there])
        self._there.clear()

    def end(self) -> None:
        """The run ends. The next one goes on with the file that is on its way; else nothing stays,
        as what was killed over there may have left."""
        if self._used and self.current is None:
            self._leave([_part("")])

    def distrust(self, path: bytes) -> None:
        """The digest of ``path`` was wrong: it goes once more, and without one.

        The digest tool over there may be what is wrong, and it would be so each time.
        """
        self.abandon(path)
        self._doubted.add(path)

    def begin(self, path: bytes, status: os.stat_result, way: Optional[Way]) -> None:
        """``path`` is the next that goes in pieces, in that way."""
        shown = path not in self._doubted
        self._doubted.discard(path)
        self._start(path, status, way, shown)

    def _start(
        self, path: bytes, status: os.stat_result, way: Optional[Way], shown: bool
    ) -> Transfer:
        begun = Transfer(path, status, way, self._economy, shown, self._there)
        begun.hold(self._source)
        self.current, self._used = begun, True
        if begun.digests:
            self._take_up(begun)
            self.on_taken_up(begun.sent)
        return begun

    def _take_up(self, transfer: Transfer) -> None:
        """Go on where a connection that was cut has ended, if the file is the same still.

        That is what its name over there says. What arrived is shown right with the rest.
        """
        there = self._there.pop(transfer.name, 0)
        if not 0 < there <= transfer.size:
            return
        if transfer.way is not None:
            transfer.sent = there
            return
        try:
            fd = self._source.open(transfer.path)
        except OSError:
            return
        try:
            while transfer.sent < there:
                data = os.read(fd, min(_READ, there - transfer.sent))
                if not data:
                    break
                transfer.read(memoryview(data))
                transfer.sent += len(data)
        finally:
            os.close(fd)

    def next(self, sent: Sent, place: Place) -> None:
        """Add the next piece to the batch ``sent``, which is empty yet; ``place`` is the plan's."""
        transfer = self.current
        assert transfer is not None
        if transfer.early and self._economy.tools is not None:
            transfer = self._start(
                transfer.path, transfer.status, transfer.way, shown=True
            )
        path, size = transfer.path, transfer.size
        if not self._goes_on(transfer, self._look(path)):
            return
        sooner = transfer.sent * _LITTLE < size and not self._economy.in_pieces(size)
        if sooner and (transfer.sent or not self._economy.taught):
            self._abandon(transfer)
            self._waiting[path] = None
            return
        length = min(self._economy.piece(size), size - transfer.sent)
        piece = Piece(transfer, length)
        if piece.puts:
            self.current = None
            place(path, transfer.status, b"", sent, piece)
        else:
            sent.batch.piece(path, transfer.status, piece)

    def takes(self, path: bytes, status: os.stat_result) -> bool:
        """``path`` was looked at: is it on its way, and goes on or rests now, if it changed?"""
        if self.current is None or self.current.path != path:
            return False
        self._goes_on(self.current, status)
        return True

    def _goes_on(self, transfer: Transfer, status: Optional[os.stat_result]) -> bool:
        """Is it the same still, or to be sent all the same? If not, it rests and begins anew."""
        path, begun = transfer.path, transfer.status
        if status is not None:
            fits = same if transfer.way is None else transfer.way.fits
            if fits(status, begun):
                return True
            if transfer.is_still(status) and self._restless.patient(path):
                return True
        self._abandon(transfer)
        self._restless.torn(path, begun.st_size)
        return False

    def _look(self, path: bytes) -> Optional[os.stat_result]:
        try:
            status = self._source.look(path)
        except OSError:
            return None
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        return status


def _part(name: str) -> bytes:
    """Where in the staging directory the pieces of a transfer are put together."""
    return b".parts/" + name.encode()
