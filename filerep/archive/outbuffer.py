"""One buffer between many small pieces and large writes.

File data is read straight into it, behind the header, and goes out from it: one copy in
each direction and no memory that was not touched before, which on a virtual machine costs
more than the copying. sendfile(2) would save the copies, but pages it puts into a pipe are
still the file's: a write to it shows in what was already sent, and checked. (For large
batches the second copy is saved: see lentpages.py.)
"""

from __future__ import annotations

import os

try:
    from fcntl import F_GETPIPE_SZ, F_SETPIPE_SZ, fcntl
except ImportError:  # not Linux, or Python 3.9
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

SIZE = 1 << 18
_ZEROS = bytes(512)


def widen(fd: int, size: int = SIZE) -> None:
    """Let a pipe hold all that is written at once, so that its writer need not wait.

    What is no pipe, or cannot be changed (the user's pipes are used up), stays as it is.
    """
    try:
        if fcntl is not None and fcntl(fd, F_GETPIPE_SZ) < size:
            fcntl(fd, F_SETPIPE_SZ, size)
    except OSError:
        pass


class OutBuffer:
    """Collects in_calls, and hands them to ``write`` when full or told to."""

    def __init__(self, write: Callable[[memoryview], None]) -> None:
        self._write = write
        self._memory = memoryview(bytearray(SIZE))
        self._used = 0
        # Shown what is read of files, before it goes out.
        self.seen: Optional[Callable[[memoryview], object]] = None

    def __len__(self) -> int:
        """Bytes not yet written."""
        return self._used

    def add(self, piece: bytes) -> None:
        size = len(piece)
        if self._used + size > SIZE:
            self.flush()
            if size > SIZE:
                self._write(memoryview(piece))
                return
        self._memory[self._used : self._used + size] = piece
        self._used += size

    def insert(self, before: int, piece: bytes) -> bool:
        """Add ``piece`` in front of the last ``before`` bytes; False if there is no room."""
        at, used, size = self._used - before, self._used, len(piece)
        if at < 0 or used + size > SIZE:
            return False
        self._memory[at + size : used + size] = self._memory[at:used]
        self._memory[at : at + size] = piece
        self._used += size
        return True

    def read(self, fd: int, size: int) -> int:
        """Add ``size`` bytes of ``fd``; how many there were.

        The rest are zeros, also when reading fails, so that a header keeps its promise;
        OSError is raised behind them.
        """
        left = size
        failed = None
        while left:
            if self._used == SIZE:
                self.flush()
            try:
                got = os.readv(fd, [self._memory[self._used : self._used + left]])
            except OSError as error:
                failed, got = error, 0
            if not got:
                break
            if self.seen is not None:
                self.seen(self._memory[self._used : self._used + got])
            self._used += got
            left -= got
        missing = left
        while left:
            self.add(bytes(min(left, SIZE)))
            left -= min(left, SIZE)
        if failed is not None:
            raise failed
        return size - missing

    def add_whole(self, header: bytes, fd: int, status: os.stat_result) -> int:
        """Add ``header``, the file that ``fd`` has open and zeros to the end of a block.

        How many bytes that were; 0 if the file is not, or was not all the time, as
        ``status`` says. Then, and at an OSError, nothing was added. Header and file must be no
        more than ``SIZE``.
        """
        size = status.st_size
        length = len(header) + size + -size % 512
        if self._used + length > SIZE:
            self.flush()
        used = self._used
        start = used + len(header)
        stop = start + size
        end = used + length
        memory = self._memory
        memory[used:start] = header
        memory[stop:end] = _ZEROS[: end - stop]
        if size and os.readv(fd, [memory[start:stop]]) != size:
            return 0
        now = os.fstat(fd)  # as `same`, without a call
        if (
            now.st_ctime_ns != status.st_ctime_ns
            or now.st_mtime_ns != status.st_mtime_ns
            or now.st_size != size
            or now.st_ino != status.st_ino
        ):
            return 0
        if self.seen is not None:
            self.seen(memory[start:stop])
        self._used = end
        return length

    def flush(self) -> None:
        if self._used:
            used, self._used = self._used, 0
            self._write(self._memory[:used])
