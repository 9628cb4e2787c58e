"""How fast the far end takes what it is sent: how much goes into a batch, and what pays.

Every batch is a measurement: how long it took from its first byte to its answer.
"""

from __future__ import annotations

import time
from collections import deque

from filerep.farend.answers import Silent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.replica.scheduling.inflight import Flight, Sent

# A batch grows while the far end keeps up, so that a save made meanwhile waits for a fraction
# of a second and not for a minute. The most is such that a pool can lend nearly all of it (see
# lentpages.py): twice as much is slower, and so is half of it. The first is so small as nothing
# is known of the connection yet.
FIRST_BYTES = 1 << 18
_LEAST_BYTES = 1 << 16
_MOST_BYTES = 1 << 24
# Seconds from sending a batch to its answer, besides the way there and back.
_GOOD_TIME = 0.25

# To remove files, or put small ones into place, takes a slow disk or network file system a time for
# each: a batch of 4,000 took 99 s. So the number of files, too, grows while the far end keeps up,
# and shrinks where that is what takes long.
MOST_FILES = 4000
_FIRST_FILES, _LEAST_FILES = 250, 100
_LONG_TIME = 1.0

# Batches of less say nothing about bytes a second, only about the way there and back; unless
# they take long for their size.
_TELLING_BYTES = 3 << 16
_LEAST_TELLING = 1 << 15
_LONG = 0.1
# Unpacking and putting into place take time, too, which is not the connection's. They are done
# at some hundred megabytes a second; here is what is allowed for them on a busy machine, where
# everything else would make a pipe look slow, and compressing slower still.
_ALLOWED = 20e6
# An old measurement fades with each new one: other work on the machine only slows. Faster, if
# the new one is far below it: who limits a link may have let the old one go at once, as what
# was saved up while nothing went.
_FADES, _FADES_FAR, _FAR = 0.9, 0.5, 4
_SURE = 2  # measurements
_PROVEN_PIECES = 4
_MOST_BATCHES = 3  # under way; `astray` in receiver.sh is about them
_ALL = 1 << 62

# Of so many batches it is found out what each costs whatever its size, if they are as unlike as this
# part of their size; and how much of that is believed, in seconds.
_WINDOW, _TELLING_BATCHES, _UNLIKE, _MOST_OVERHEAD = 8, 4, 0.3, 1.0

# Below this rate, in bytes a second and what is allowed left out, it pays to look for what the
# far end holds already. Where none is known yet, so it is taken to be where the way there and
# back takes so many seconds: the opening's, which has much to do, and a batch's.
_SLOW_RATE = 10e6
_SLOW_OPENING, _SLOW_WAY = 0.06, 0.03
# zlib's levels, by the rate up to which each makes a batch arrive sooner. They take 6 to 43 ms
# a megabyte here, the ninth 134, and leave a third to a quarter of program text. Below the rate
# that follows none of them holds up, nor at the one that is thought of where none is known yet.
_LEVELS = ((6e5, 9), (3e6, 7), (4e6, 6), (7e6, 3), (_SLOW_RATE, 1))
_HOLDS_UP, _UNKNOWN = 4e6, 3e6
# From such a part of the time on, compressing may be all that holds a batch up.
_MOST_PACKING = 0.75
_FORGETS = 0.75  # with each new one
_PROBE_EVERY = 24  # batches, one the other way

# What was written may be in the buffers of a slow connection still, for which pipe, ssh and
# sockets have some megabytes.
_BUFFERED = 4 << 20
_SLOWEST = 32_768  # bytes a second


class Overhead:
    """What each batch costs whatever its size: some processes over there, on a busy machine.

    To make batches smaller does not help against it: so it is told apart from what their bytes
    take, by the line that fits the last ones best.
    """

    def __init__(self) -> None:
        self._last: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self._seconds = 0.0

    def answered(self, size: int, took: float) -> None:
        """A batch of ``size`` bytes took so many seconds, those of others left out."""
        self._last.append((size, took))

    def seconds(self) -> float:
        """What it is by now; asked for by few, as most batches are saves."""
        count = len(self._last)
        if not count:
            return 0.0
        size_mean = sum(size for size, _ in self._last) / count
        took_mean = sum(took for _, took in self._last) / count
        spread = sum((size - size_mean) ** 2 for size, _ in self._last)
        if count >= _TELLING_BATCHES and spread > count * (size_mean * _UNLIKE) ** 2:
            slope = sum(
                (size - size_mean) * (took - took_mean) for size, took in self._last
            )
            self._seconds = took_mean - max(0.0, slope / spread) * size_mean
        self._seconds = max(0.0, min(self._seconds, took_mean, _MOST_OVERHEAD))
        return self._seconds


class Pace:
    """The size of batches, and the rate of the connection, as measured."""

    def __init__(self, way: float = 0.0, was_slow: bool = False) -> None:
        """``way``: seconds there and back, as far as it is known; 0 if it is not.

        ``was_slow``: an earlier run has found it so.
        """
        self.limit = FIRST_BYTES
        self.files = _FIRST_FILES  # at most in a batch
        self.way = way or _SLOW_OPENING
        self._was_slow = was_slow
        self._seems_slow = was_slow or way > _SLOW_OPENING
        # Bytes of archive a second, uncompressed and compressed; the best of late.
        self._plain: Optional[float] = None
        self._packed: Optional[float] = None
        self._wire: Optional[float] = None  # what went of the compressed ones
        # Seconds that the last ones were compressed for, and that they took: answers may come in
        # pairs, and the second seems to have taken no time at all.
        self._packing = self._packed_in = 0.0
        self._batches = 0
        # Bytes in a row that were taken as fast as the rate says: a link may have buffers, or
        # be let go for a moment by who limits it.
        self.proven = 0
        self._answered_at = 0.0
        self._answers: deque[float] = deque(maxlen=_MOST_BATCHES)  # when they came
        self._overhead = Overhead()

    @property
    def quick(self) -> bool:
        """Has the limit grown?"""
        return self.limit >= _MOST_BYTES // 8

    @property
    def piece(self) -> int:
        """Bytes of a large file that go at once, and a save waits for: a part of what is proven."""
        return min(self.limit, max(FIRST_BYTES, self.proven // _PROVEN_PIECES))

    @property
    def rate(self) -> Optional[float]:
        """Bytes a second on the wire, None if that is not known."""
        return self._wire if self._plain is None else self._plain

    @property
    def slow(self) -> bool:
        """Is the connection what takes the time?"""
        if self._plain is not None:
            sure = self._batches >= _SURE or self._seems_slow
            return sure and self._plain < _SLOW_RATE
        if self._wire is None or self._batches < _SURE:
            return self._seems_slow and not self._is_near
        # On a busy machine compressing makes a pipe look slow, but not as slow as that.
        least = _HOLDS_UP if self._is_near else _SLOW_RATE
        return self._wire < least and not self._held_up

    @property
    def may_be_slow(self) -> bool:
        """Has it carried nothing fast of late, whatever held that up?"""
        return self.rate is None or self.rate < _SLOW_RATE

    @property
    def _is_near(self) -> bool:
        """Is it no longer there and back than to a process here, for all that is known?"""
        return self.way < _SLOW_WAY and not self._was_slow

    @property
    def _held_up(self) -> bool:
        """Was it compressing what the last ones took?"""
        return self._packing > _MOST_PACKING * self._packed_in

    @property
    def found(self) -> Optional[bool]:
        """Is it slow, as was measured in this run? None if it was not."""
        if self.rate is None or self._batches < _SURE:
            return None
        return self.slow

    def enough(self, flight: Flight) -> bool:
        """Are both ends busy with what is under way, also while an answer is on its long way?"""
        return len(flight) >= (_MOST_BATCHES if self.slow else 2)

    @property
    def level(self) -> int:
        """How to compress the next batch, 0 for not at all."""
        if not self.slow or self._plain is None and self._is_near:
            return 0  # and that is measured
        plain, packed = self._plain or 0.0, self._packed
        if packed is not None and plain > _HOLDS_UP:
            # Which is sooner is measured; the other one is tried now and then, as what comes
            # next may shrink more, or less. Over a slower link compressing never holds up.
            other = self._batches % _PROBE_EVERY == 0
            if (packed < plain) != other:
                return 0
        rate = self.rate or _UNKNOWN
        return next((level for most, level in _LEVELS if rate < most), 0)

    def answered(self, sent: Sent, now: float) -> None:
        """``sent`` has been answered; the answers come in order."""
        took = now - sent.started
        self.way = min(self.way, took)
        self._measure(sent, now)
        if not (sent.batch.read or sent.batch.commands):  # they take time of their own
            self._overhead.answered(sent.wire, self._alone(sent, now))
            self._count(sent, self._alone(sent, now))
        self._answers.append(now)
        self._answered_at = now
        # What follows is about its own size: those behind it on the way have it, too, and each
        # of them would change the limit once more.
        size = sent.batch.bytes
        if size < self.piece // 2:
            return
        overhead = self._overhead.seconds()
        good = max(_GOOD_TIME, overhead) + self.way / 2
        # Those that were answered since it began each had theirs.
        overheads = sum(at > sent.started for at in self._answers)
        bytes_took = took - self.way - overhead * overheads
        if bytes_took < good:
            # Eight times as much would still take a good time; unless the link let go at once
            # what it had saved up, which is no sign of how much more it takes so.
            times = 8 if took < good / 8 else 2 if bytes_took < good / 2 else 1
            most = min(2 * max(size, self.proven), _MOST_BYTES)
            self.limit = max(self.limit, min(size * times, most))
        elif bytes_took > 1.5 * good:
            smaller = int(size * good / bytes_took)
            self.limit = max(min(self.limit, smaller), _LEAST_BYTES)

    def _count(self, sent: Sent, took: float) -> None:
        """A batch took so many seconds: how many files may the next ones have?"""
        count = sent.batch.count
        if count < self.files // 2:
            return
        took -= self._overhead.seconds()
        if took > _LONG_TIME:
            fewer = int(count * 2 * _GOOD_TIME / took)
            self.files = max(min(self.files, fewer), _LEAST_FILES)
        elif took < 2 * _GOOD_TIME:
            more = count * (4 if took < _GOOD_TIME else 2)
            self.files = min(max(self.files, more), MOST_FILES)

    def _alone(self, sent: Sent, now: float) -> float:
        """Seconds that both ends had for ``sent`` alone.

        It was on its way while the answer before it was.
        """
        return now - max(sent.started + self.way, self._answered_at)

    def _measure(self, sent: Sent, now: float) -> None:
        small = sent.archive < _TELLING_BYTES and now - sent.started < self.way + _LONG
        # To remove is no matter of bytes.
        removes = len(sent.batch.deletions) > _LEAST_FILES
        if small or removes or sent.archive < _LEAST_TELLING:
            return
        self._batches += 1
        all_of_it = self._alone(sent, now)
        took = all_of_it - sent.archive / _ALLOWED
        rate = sent.archive / max(took, 0.0005)
        # What is faster than slow is no less good for having been faster still once.
        known = self.rate
        good = known is None or rate > min(known / _FAR, _SLOW_RATE)
        fades = _FADES if good else _FADES_FAR
        # Nothing is allowed for here: of what shrinks to a tenth it would be all.
        wire = sent.wire / max(all_of_it, 0.0005) if sent.packed else rate
        if known is not None and known < min(wire / _FAR, _SLOW_RATE):
            self.proven = 0  # what went slowly does not show that it is fast now
        if self.proven < _ALL:
            self.proven = self.proven + sent.archive if good else 0
        if self.proven >= _MOST_BYTES // 2 and wire > _SLOW_RATE:
            # No buffer holds so much; other work may slow it all the same.
            self.proven = _ALL
        if sent.packed:
            self._packing = self._packing * _FORGETS + sent.packing
            self._packed_in = self._packed_in * _FORGETS + all_of_it
            self._packed = max(rate, (self._packed or 0.0) * fades)
            self._wire = max(wire, (self._wire or 0.0) * fades)
        else:
            self._plain = max(rate, (self._plain or 0.0) * fades)


class Silence:
    """How long nothing has been heard, and when that is too long."""

    def __init__(self, keepalive: float, flight: Flight) -> None:
        """``keepalive`` seconds without a sign of life are put up with; 0 for any number."""
        self._keepalive = keepalive
        self._flight = flight
        self._heard = time.monotonic()

    def broken(self, late: float = 0.0) -> None:
        """There was a sign of life; or this process was stopped for ``late`` seconds."""
        self._heard = self._heard + late if late else time.monotonic()

    def due(self) -> Optional[float]:
        """When to ask for a sign of life, or to give up."""
        return self._heard + self._patience() if self._keepalive else None

    def too_long(self) -> bool:
        """Is it time to ask for a sign of life? Raises ``Silent`` if one was due."""
        now = time.monotonic()
        patience = self._patience()
        if not self._keepalive or now - self._heard < patience:
            return False
        if self._flight:
            raise Silent(patience)
        self._heard = now
        return True

    def _patience(self) -> float:
        """Seconds of silence to put up with: before asking, or for an answer."""
        if not self._flight:
            return self._keepalive
        return 3 * self._keepalive + min(self._flight.bytes(), _BUFFERED) / _SLOWEST
