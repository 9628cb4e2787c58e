"""What is in the files of a batch: read, sent, and seen not to have changed meanwhile.

What matters here is that no torn file is put in place: a file counts as read whole if, behind
the last byte, its status is still what it was when it was looked at; or if it only grew, and
what is sent of it is what was appended before. One that is not stays in the staging directory,
or is taken back from the buffer, and is looked at again in a moment.
"""

from __future__ import annotations

import errno
import os
import stat

from filerep.archive import tarstream
from filerep.archive.outbuffer import SIZE
from filerep.replica.transfer.signature import Signer
from filerep.source import changed_meanwhile, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from filerep.farend.batch import Member
    from filerep.farend.connection import Output
    from filerep.farend.ways import Way
    from filerep.replica.scheduling.restless import Restless
    from filerep.replica.transfer.economy import Economy
    from filerep.source import Source

_RESTLESS_BYTES = 1 << 18  # smaller files cost nothing


class Members:
    """Writes members to the connection, one after the other."""

    def __init__(
        self,
        source: Source,
        precise: bool,
        out: Output,
        economy: Economy,
        restless: Restless,
        on_error: Callable[[str, bytes, OSError], None],
    ) -> None:
        """``precise``: does the far end's tar take times to the nanosecond?"""
        self._source = source
        self._precise = precise
        self._out = out
        self._economy = economy
        self._on_error = on_error
        self._restless = restless
        self._unreadable: set[bytes] = set()
        #: Of the last one: by what to know its content again, if that was made.
        self.signature: Optional[bytes] = None
        self._torn = False  # was it sent though it changed while it was read?

    def send(self, member: Member) -> tuple[int, bool]:
        """How many bytes of archive went out, and whether it may be put in place."""
        self.signature, self._torn = None, False
        if member.way is not None:
            return self._send_reused(member, member.way)
        header = member.header(self._precise)
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
                        self.signature = signer.signature()
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
                if whole and signer is not None:
                    self.signature = signer.signature()
                self._torn = whole and not unchanged
                return took, whole and (patient or unchanged)
            finally:
                out.seen = None
                os.close(fd)
        except OSError as error:
            self._unread(member.path, error)
            return took, False

    def _signer(self, size: int) -> Optional[Signer]:
        """What makes the signature of a file that is sent whole, if it is to be kept."""
        if self._economy.signs and self._economy.worth(size):
            return Signer(self._economy.block(size))
        return None

    def _send_reused(self, member: Member, way: Way) -> tuple[int, bool]:
        """Send what the far end lacks of a file, and see that it is the same as it was."""
        header = member.header(self._precise) if way.sends else b""
        status, out = member.status, self._out
        took = 0
        try:
            fd = self._source.open(member.path)
            try:
                before = os.fstat(fd)
                # Pieces are those of one file, however it changes meanwhile.
                patient = before.st_ino == status.st_ino and self._patient(member, way)
                if not (patient or way.fits(before, status)):
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
                unchanged = way.fits(os.fstat(fd), status)
                self._torn = whole and not unchanged
                whole = whole and (patient or unchanged)
                way.end()
                self.signature = way.signature if whole else None
                return took, whole
            finally:
                os.close(fd)
        except OSError as error:
            self._unread(member.path, error)
            return took, False

    def _patient(self, member: Member, way: Way) -> bool:
        """Is what changes meanwhile sent all the same? Not what is built of what was compared."""
        goes_on = way.verb in (b"piece", b"last")
        return goes_on and self._restless.patient(member.path)

    def _unread(self, path: bytes, error: OSError) -> None:
        """What cannot be read is told; what is only held by somebody is looked at again.

        A lease (fcntl(2): Samba's, an NFS server's) is given back, of which no event tells.
        """
        if not changed_meanwhile(error) and error.errno != errno.EAGAIN:
            self._on_error("read", path, error)
            self._unreadable.add(path)

    def sent(self, member: Member) -> None:
        """``member`` was sent, and what it cost."""
        way, size = member.way, member.status.st_size
        if way is not None and way.verb == b"piece":
            return
        if self._torn:
            began = None if way is None else way.began
            self._restless.sent_torn(member.path, size, began)
        elif size >= _RESTLESS_BYTES or self._restless:
            before = 0 if way is None else way.before
            in_parts = self.signature is not None
            self._restless.sent(member.path, before + member.size, size, in_parts)

    def put_off(self, path: bytes, size: int) -> None:
        """It was not sent: when to look again."""
        if path in self._unreadable:
            self._unreadable.remove(path)  # said once, and looked at when named again
        else:
            self._restless.torn(path, size)


def is_piece(member: Member) -> bool:
    """Is more of the file to come?"""
    return member.way is not None and member.way.verb == b"piece"
