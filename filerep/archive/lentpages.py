"""Memory whose pages go into a pipe as they are, instead of being copied.

write(2) takes new pages from the system for all it puts into a pipe, and copies; in a first
copy that is a third of fr-pack's time. splice(2) lends the pipe the pages of a file: here
of one in memory, which is mapped and filled like any buffer.

A page that was lent must not change before the far end has read it, and who carries it there
may pass it on in the same way, and be slow. Only the far end's answer to a batch tells that it
has read all of that. So what a batch was sent from is used again once it is answered, and not
before. Pages of the files themselves are never lent: a write to one would show in what was
already sent, and checked.
"""

from __future__ import annotations

import errno
import os

from filerep.archive.outbuffer import SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Optional

# Enough for most of the largest batches (see conversation.py) and for what is sent of the next until the
# answer comes. More is slower, as less of it stays in the processor's caches.
_SLOTS = (20 << 20) // SIZE

# Both are Linux's; the first came with Python 3.10, the second with glibc 2.27.
_splice = getattr(os, "splice", None)
_create = getattr(os, "memfd_create", None)


class Pool:
    """Slots of ``SIZE`` bytes, by number."""

    def __init__(self) -> None:
        """Raises OSError where there is no splice(2), or no memory."""
        if _splice is None or _create is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        import mmap  # for those who send much only

        self._made = 0
        self._free: list[int] = []
        self._fd = _create("fr-pack")
        try:
            os.ftruncate(self._fd, _SLOTS * SIZE)
            self._memory = memoryview(mmap.mmap(self._fd, _SLOTS * SIZE))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Be done; the memory goes with its last view, and what is lent once it is read."""
        os.close(self._fd)

    def take(self) -> Optional[int]:
        """A slot that is not lent, to be filled; None if all are."""
        if self._free:
            return self._free.pop()
        if self._made == _SLOTS:
            return None
        try:
            # Without that, memory that is short is told by SIGBUS.
            os.posix_fallocate(self._fd, self._made * SIZE, SIZE)
        except OSError:
            return None
        self._made += 1
        return self._made - 1

    def memory(self, slot: int) -> memoryview:
        return self._memory[slot * SIZE : (slot + 1) * SIZE]

    def lend(self, pipe: int, slot: int, start: int, stop: int) -> int:
        """Put bytes ``start`` to ``stop`` of a slot into ``pipe``; how many fitted.

        Does not wait; raises OSError, BlockingIOError if nothing fits.
        """
        assert _splice is not None
        # The flag: before Linux 5.1 it is not enough that the pipe does not block.
        count = _splice(
            self._fd,
            pipe,
            stop - start,
            offset_src=slot * SIZE + start,
            flags=os.SPLICE_F_NONBLOCK,
        )
        return int(count)

    def give_back(self, slots: Iterable[int]) -> None:
        """Nobody reads these any more."""
        self._free += slots
