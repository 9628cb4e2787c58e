"""Files that change again and again, or while they are read: each is sent at a pace of its own.

A log of 60 MB that gets twenty lines a second could be sent all the time, and would be torn
each time, where it goes whole. So a file that was sent a moment ago, and is named again, rests
for ten times as long as sending it takes, and twice as long with each time, up to half a minute,
or two seconds where only parts of it go; so does one that was torn. It is looked at sooner if it
has not been written to for a second. One that is saved now and then goes at once, as long as
sending it takes no more than a tenth of the time, and two seconds ahead of that; so does a log of
which parts go, where a quarter of a second without a write is the end of a burst of lines. Small
files cost nothing, and do not rest.
What sending costs is what it cost the last time. But where only what is new of a file may have
to be sent, the first sending of the whole says nothing about that: then only reading it counts.

Nothing waits for those that rest, but who asks for a sync point (--wait, the first "in sync").
Then each of them is owed one more sending, at once; and one that is torn over and over is sent
as it is read, which may be a mix of two versions, rather than never.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Optional

# Bytes a second: what sending costs, unless the connection is slower, and what reading does.
_RATE = 50e6
_READ_RATE = 400e6
_FACTOR = 10
_AHEAD = 20.0  # seconds of rest that may be put off
_LEAST = 0.05  # seconds of rest; who would rest for less does not
_MOST = 30.0
_MOST_IN_PARTS = 2.0  # unless reading alone asks for more
_PART = 8  # times as much is read as sent
_TORN_WAIT = (0.02, 2.0)
_PATIENCE = 10.0
_OWED_PATIENCE = 3.0
_RESTED, _RESTED_IN_PARTS = 1.0, 0.25  # seconds without a write
_SAVED = 0.3  # seconds since it was sent: what is named now is another save
_LOOK_EVERY = 0.1


class _File:
    """One of them."""

    __slots__ = (
        *("wait", "sent", "until", "paid", "few"),
        *("held", "torn", "torn_since", "named"),
    )

    def __init__(self) -> None:
        self.wait = 0.0  # seconds, the last time
        self.sent = self.until = 0.0  # by the monotonic clock, as the next
        self.paid = 0.0  # when it will have rested for all that was sent
        self.few = False  # were it few bytes that went the last time, of many?
        self.held = False  # since it was sent last
        self.torn = False  # since it was sent last
        self.torn_since: Optional[float] = None
        self.named = False  # is there anything to send?


class Restless:
    """Knows which files were sent lately, and when each may be sent again."""

    def __init__(
        self,
        clock: Callable[[], float],
        mtime: Callable[[bytes], float],
        rate: Callable[[], Optional[float]],
    ) -> None:
        """``mtime`` tells when a file was written to, in seconds of `time.time`, 0 if it has
        gone; ``rate`` how many bytes a second the connection takes, if that is known.
        """
        self._clock = clock
        self._mtime = mtime
        self._rate = rate
        self._files: dict[bytes, _File] = {}
        self._next_look = 0.0
        self._owed: dict[bytes, float] = {}  # since when

    def __bool__(self) -> bool:
        """Does any of them wait to be sent?"""
        return bool(self.waiting())

    def waiting(self) -> list[bytes]:
        """Those that do."""
        return [path for path, file in self._files.items() if file.named]

    @property
    def owed(self) -> bool:
        """Is any owed a sending?"""
        return bool(self._owed)

    def settle(self, asked: bool) -> None:
        """All that was to be looked at has been: owed are those that were torn again.

        ``asked``: somebody waits for what was named before. What was torn since may be of that,
        and is looked at again at once.
        """
        self._owed = {
            path: since for path, since in self._owed.items() if self._files[path].named
        }
        if not asked:
            return
        now = self._clock()
        soon = now + _TORN_WAIT[0]
        for path, file in self._files.items():
            if file.torn and file.named and path not in self._owed:
                self._owed[path] = now
                file.until = min(file.until, soon)

    def holds(self, path: bytes) -> bool:
        """``path`` was named: is it to rest first? Then it is known here."""
        file = self._files.get(path)
        now = self._clock()
        if file is None or now >= file.until:
            return False
        saved = not (file.torn or file.named) and now - file.sent >= _SAVED
        if saved and now >= file.paid - _AHEAD:
            return False
        file.named = file.held = True
        return True

    def sent(
        self, path: bytes, size: int, read: int = 0, in_parts: bool = False
    ) -> None:
        """``path`` was sent, as it was at one moment: so many bytes, ``read`` were read.

        ``in_parts``: if it changes, only what is new of it may have to be sent.
        """
        self._owed.pop(path, None)
        file = self._files.get(path)
        rest = self._rest(0 if in_parts and file is None else size, read)
        if file is None and rest < _LEAST:
            return
        if file is None:
            file = self._files[path] = _File()
        file.few = in_parts and size * _PART < read
        self._again(file, rest, max(rest, _MOST_IN_PARTS) if file.few else _MOST)
        file.torn, file.torn_since = False, None

    def sent_torn(self, path: bytes, size: int, began: Optional[float] = None) -> None:
        """It was sent though it changed meanwhile, after all this time.

        ``began``: when the first of it was read, if not just now. What had begun before the
        sending was owed may be older than what somebody has saved and waits for.
        """
        file = self._files.setdefault(path, _File())
        self._again(file, self._rest(size))
        file.torn, file.named = False, True
        if began is not None and began < self._owed.get(path, 0.0):
            file.until = self._clock()
        else:
            self._owed.pop(path, None)

    def torn(self, path: bytes, size: int) -> None:
        """It changed while it was read, and was not sent."""
        file = self._files.setdefault(path, _File())
        now = self._clock()
        if file.torn_since is None:
            file.torn_since, file.wait = now, _TORN_WAIT[0]
        else:
            file.wait = min(2 * file.wait, _TORN_WAIT[1])
        rest = 0.0 if path in self._owed else min(self._rest(size), _PATIENCE)
        file.until = now + max(file.wait, rest)
        file.torn = file.named = True

    def patient(self, path: bytes) -> bool:
        """Was ``path`` torn again and again, so that it is to be sent as it is read?

        RACE: a file that does not rest for ten seconds (a log, a disk image) may arrive as a
        mix of two versions, until it rests.
        """
        file = self._files.get(path)
        if file is None or file.torn_since is None:
            return False
        patience = _OWED_PATIENCE if path in self._owed else _PATIENCE
        return self._clock() - file.torn_since > patience

    def _rest(self, size: int, read: int = 0) -> float:
        rate = min(self._rate() or _RATE, _RATE)
        return _FACTOR * (size / rate + read / _READ_RATE)

    def _again(self, file: _File, rest: float, most: float = _MOST) -> None:
        now = self._clock()
        soon = file.held and now < file.until + 4 * file.wait
        file.wait = min(max(2 * file.wait if soon else 0.0, rest), most, _MOST)
        file.paid = min(max(file.paid, now), now + _AHEAD) + file.wait
        file.sent, file.until = now, now + file.wait
        file.named = file.held = False

    def due(self) -> Optional[float]:
        """When to call ``wake``."""
        waiting = [file.until for file in self._files.values() if file.named]
        return min(self._next_look, min(waiting)) if waiting else None

    def wake(self) -> list[bytes]:
        """Those that may be sent now. The others are forgotten once they are quiet."""
        now = self._clock()
        look = now >= self._next_look
        found = []
        for path, file in list(self._files.items()):
            if not file.named:
                quiet = now > max(file.until, file.paid) + 4 * file.wait + _RESTED
                if quiet and path not in self._owed:
                    del self._files[path]
            elif now >= file.until or look and self._rested(path, file, now):
                file.named = False
                found.append(path)
        if look:
            self._next_look = now + _LOOK_EVERY
        return found

    def _rested(self, path: bytes, file: _File, now: float) -> bool:
        ahead = file.few and not file.torn and now >= file.paid - _AHEAD
        return time.time() - self._mtime(path) > (
            _RESTED_IN_PARTS if ahead else _RESTED
        )

    def owe(self, had: Collection[bytes] = ()) -> list[bytes]:
        """Each of those that rest is to be sent once more, at once, if it is not yet; these.

        ``had``: but not those that had their turn. One that never rests waits again then.
        """
        waiting = [
            path
            for path, file in self._files.items()
            if file.named and path not in self._owed and path not in had
        ]
        self._owed.update(dict.fromkeys(waiting, self._clock()))
        for path in waiting:
            self._files[path].named = False
            self._files[path].until = 0.0
        return waiting
