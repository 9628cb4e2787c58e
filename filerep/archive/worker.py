"""A second process that packs every other share of the paths, on a processor of its own.

Two thirds of what a small file takes is Python's, of which one thread runs at a time, so
threads do not help. What the second process writes comes through a pipe, and is put where
its paths stand. What it has trouble with it hands back: there is one place that knows what
to do about it, and says so.
"""

from __future__ import annotations

import os
import struct

from filerep import command, pathstream
from filerep.archive.outbuffer import widen
from filerep.command import OutputError, Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from filerep.archive.outbuffer import OutBuffer

    Write = Callable[[memoryview], None]
    Pack = Callable[[list[bytes]], list[bytes]]

# So many small files, packed, have room in the pipe, and neither process waits for the other.
SHARE = 256
_ROOM = 1 << 20  # bytes; what an unprivileged user can have

_KILLED = "its worker process was killed"

# How many bytes follow: of archive, or, less than none, of the paths handed back and of one
# that is not there. These end a share.
_size = struct.Struct("<q")


def usable() -> bool:
    """Is there a second processor?"""
    try:
        return len(os.sched_getaffinity(0)) > 1
    except AttributeError:  # macOS
        return (os.cpu_count() or 1) > 1


class Worker:
    """The second process, and the pipes to and from it."""

    def __init__(self, prepare: Callable[[Write], Pack]) -> None:
        """Start it; raises OSError. In it, ``prepare`` is given what to write an archive with.

        What it returns is called for each share, and returns the paths to hand back.
        """
        share, self._share = os.pipe()
        self._packed, packed = os.pipe()
        widen(packed, _ROOM)
        try:
            self._pid = os.fork()
        except OSError:
            for fd in (share, self._share, packed, self._packed):
                os.close(fd)
            raise
        if self._pid == 0:
            os.close(self._share)
            os.close(self._packed)
            _serve(share, packed, prepare)
        os.close(share)
        os.close(packed)

    def begin(self, paths: list[bytes]) -> None:
        """Have ``paths`` packed; `finish` must follow before the next ones."""
        data = pathstream.encode(paths)
        try:
            command.write_all(self._share, _size.pack(len(data)) + data)
        except OutputError:
            raise Stop(command.OS_ERROR, _KILLED) from None

    def finish(self, out: OutBuffer) -> tuple[int, list[bytes]]:
        """Add what was packed to ``out``; its bytes, and the paths handed back."""
        length = 0
        try:
            while True:
                (size,) = _size.unpack(_read(self._packed, _size.size))
                if size < 0:
                    return length, _paths(_read(self._packed, -1 - size))
                length += size
                out.read(self._packed, size)
        except EOFError:
            raise Stop(command.OS_ERROR, _KILLED) from None

    def end(self) -> None:
        os.close(self._share)
        os.close(self._packed)
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass  # who ignores SIGCHLD is told of none


def _serve(share: int, packed: int, prepare: Callable[[Write], Pack]) -> NoReturn:
    """Pack what comes, until the first process ends, for whatever reason."""

    def write(data: memoryview) -> None:
        command.write_all(packed, _size.pack(len(data)))
        command.write_all(packed, data)

    try:
        # Who reads the archive, or writes the paths, is to see the first process end.
        os.close(0)
        os.close(1)
        pack = prepare(write)
        while True:
            (size,) = _size.unpack(_read(share, _size.size))
            left = pathstream.encode(pack(_paths(_read(share, size))))
            command.write_all(packed, _size.pack(-1 - len(left)) + left)
    finally:
        os._exit(0)


def _paths(data: bytes) -> list[bytes]:
    return data.split(b"\0")[:-1]


def _read(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
