"""The connection as fr-pack holds it: answers come in, batches go out, as PROTOCOL.md has it.

Standard output is written without blocking, and while it is full the answers are read: else
each end could wait for the other to read.
"""

from __future__ import annotations

import os
import select
import time

from filerep.archive.lentpages import Pool
from filerep.archive.outbuffer import OutBuffer
from filerep.command import UNAVAILABLE, OutputError, Stop
from filerep.farend.answers import Answers, Silent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Optional

    from filerep.archive.gzipstream import GzipStream
    from filerep.farend.abilities import Far

# Longer than poll(2) was asked to wait by this: the machine or this process was stopped.
STOPPED = 1.0

# From so many bytes on a batch is sent from a pool. Smaller ones come alone, mostly, and memory
# that is used once costs what copying does.
_LARGE = 10 << 20


class Output(OutBuffer):
    """Standard output, buffered; while it takes no more, answers are read.

    Large batches are sent from a pool, as long as it has anything that is not lent.
    """

    def __init__(self, fd: int, answers: Answers, patience: float) -> None:
        """``patience``: seconds without a byte taken after which the far end is given up."""
        self.fd = fd
        self._answers = answers
        self.patience = patience
        self._patience = patience or None
        # What to do with the time while waiting, a little a call; False: nothing left.
        self.meanwhile: Callable[[], bool] = bool
        self.written: Callable[[int], object] = bool  # told of each write
        # What can be read when the end is asked for, and what is called then, once.
        self.stop_fd = -1
        self.stopped: Callable[[], object] = bool
        # To give back to the pool what was answered meanwhile, if anything was.
        self.reclaim: Callable[[], object] = bool
        self.heard: Callable[[], object] = bool  # an answer may be there
        super().__init__(self.write)
        self._own = self._memory
        self._pool: Optional[Pool] = None
        self._no_pool = False
        self._large = False
        self._slot: Optional[int] = None  # of the pool, which is filled now
        self._lent: list[int] = []
        self._gzip: Optional[GzipStream] = None  # of the present batch
        self.packing = 0.0  # seconds that compressing the last one took
        # What was said behind the last archive: its number, and the form of the next.
        self.last = b"0 20"
        os.set_blocking(fd, False)

    def begin(self, size: int, level: int = 0) -> None:
        """A batch of ``size`` bytes follows, roughly, to be compressed if ``level`` is not 0."""
        if level:
            from filerep.archive.gzipstream import GzipStream

            self._gzip = GzipStream(level)
            return
        if size < _LARGE or self._no_pool:
            return
        try:
            self._pool = self._pool or Pool()
        except OSError:
            self._no_pool = True
            return
        self._large = True
        self._take_slot(self._pool)

    def end_archive(self) -> int:
        """What was compressed goes out now, behind the number of its blocks; its bytes."""
        self.packing = 0.0
        if self._gzip is None:
            return 0
        super().flush()
        self.packing = self._gzip.seconds
        data, self._gzip = self._gzip.end(), None
        self.write(b"%d\n" % (len(data) // 512))
        self.write(data)
        return len(data)

    def end(self) -> list[int]:
        """That was the batch; what is to be given back once it is answered."""
        self._large = False
        self.flush()
        if self._slot is not None:
            self.give_back([self._slot])
            self._slot, self._memory = None, self._own
        lent, self._lent = self._lent, []
        return lent

    def give_back(self, lent: list[int]) -> None:
        if self._pool is not None:
            self._pool.give_back(lent)

    def free(self) -> None:
        """Nothing is under way: leave the memory to others that only large batches need."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def flush(self) -> None:
        if self._pool is None or self._slot is None:
            super().flush()
        elif self._used:
            slot, used = self._slot, self._used
            self._lend(self._pool, slot, used)
            self._lent.append(slot)
            self._slot, self._memory, self._used = None, self._own, 0
        if self._large and self._pool is not None and self._slot is None:
            self._take_slot(self._pool)

    def _take_slot(self, pool: Pool) -> None:
        """Fill a slot that is not lent from now on, if there is one."""
        slot = pool.take()
        if slot is None and self.reclaim():
            slot = pool.take()
        if slot is not None:
            self._slot, self._memory = slot, pool.memory(slot)

    def _lend(self, pool: Pool, slot: int, size: int) -> None:
        start = 0
        while start < size:
            try:
                count = pool.lend(self.fd, slot, start, size)
                start += count
                self.written(count)
            except BlockingIOError:
                self._wait()
            except OSError:  # no pipe, or not allowed; else write says it, too
                self._large, self._no_pool = False, True
                self.write(pool.memory(slot)[start:size])
                return

    def write(self, data: bytes | memoryview) -> None:
        if self._gzip is not None:
            self._gzip.add(data)
            self.heard()  # that took its time
            return
        view = memoryview(data)
        while view:
            try:
                count = os.write(self.fd, view)
                view = view[count:]
                self.written(count)
            except BlockingIOError:
                self._wait()
            except OSError as error:
                raise (self._answers.refusal() or OutputError(error)) from None

    def again(self, marker: bytes) -> None:
        """Show the far end the place from which on it can take archives again.

        It looks for a line with ``marker``, which no data can hold, and has lost all before that.
        """
        self.write(b"\n%s %s\n" % (marker, self.last))

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        if not self._answers.ended:
            poll.register(self._answers.fd, select.POLLIN)
        if self.stop_fd >= 0:
            poll.register(self.stop_fd, select.POLLIN)
        while not poll.poll(0) and self.meanwhile():
            pass
        began = time.monotonic()
        ready = poll.poll(self._patience and self._patience * 1000)
        if not ready and time.monotonic() - began > (self._patience or 0) + STOPPED:
            return
        if not ready:
            raise Silent(self._patience or 0)
        for fd, _ in ready:
            if fd == self._answers.fd:
                self._answers.fill()
                self.heard()
            elif fd == self.stop_fd:
                self.stop_fd = -1
                self.stopped()


class Connection:
    """Both directions, and what the far end at their other end can do."""

    def __init__(self, far: Far, answers: Answers, out: Output) -> None:
        self.far = far
        self.answers = answers
        self.out = out

    def again(self) -> Iterator[bytes]:
        """See Output; the lines that come until the far end is there. Raises ``Stop``."""
        self.out.again(self.far.marker)
        while True:
            for what, line in self.answers.take():
                if line == b"again" and what == "line":
                    return
                yield line
            if self.answers.ended:
                raise Stop(UNAVAILABLE, "it was closed")
            self.answers.wait(self.out.patience)
