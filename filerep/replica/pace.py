"""How much goes into a batch, and how long the far end may be silent."""

from __future__ import annotations

import time

from filerep.command import UNAVAILABLE, Stop
from filerep.farend.connection import silent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.replica.sent import Flight, Sent

# A batch is at least so large where there is more to send, and grows while the far end keeps
# up, so that a save made meanwhile waits for a fraction of a second and not for a minute. The
# most is such that a pool can lend nearly all of it (see lentpages.py): twice as much is
# slower, and so is half of it.
LEAST_BYTES = 1 << 20
_MOST_BYTES = 1 << 24
_GOOD_TIME = 0.25  # seconds from sending a batch to its answer

# What was written may be in the buffers of a slow connection still, for which pipe, ssh and
# sockets have some megabytes.
_BUFFERED = 4 << 20
_SLOWEST = 32_768  # bytes a second


class Pace:
    """The size of batches, by how long the far end takes to answer them."""

    def __init__(self) -> None:
        self.limit = LEAST_BYTES

    @property
    def quick(self) -> bool:
        """Has it grown?"""
        return self.limit > 2 * LEAST_BYTES

    def answered(self, sent: Sent, took: float) -> None:
        if sent.batch.bytes < self.limit // 2:
            return
        if took < _GOOD_TIME:
            # Eight times as much would still take a good time.
            times = 8 if took < _GOOD_TIME / 8 else 2
            self.limit = min(self.limit * times, _MOST_BYTES)
        elif took > 4 * _GOOD_TIME:
            self.limit = max(self.limit // 2, LEAST_BYTES)


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
        """Is it time to ask for a sign of life? Raises ``Stop`` if one was due."""
        now = time.monotonic()
        patience = self._patience()
        if not self._keepalive or now - self._heard < patience:
            return False
        if self._flight:
            raise Stop(UNAVAILABLE, silent(patience))
        self._heard = now
        return True

    def _patience(self) -> float:
        """Seconds of silence to put up with: before asking, or for an answer."""
        if not self._flight:
            return self._keepalive
        return 3 * self._keepalive + min(self._flight.bytes(), _BUFFERED) / _SLOWEST
