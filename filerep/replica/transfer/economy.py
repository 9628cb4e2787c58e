"""What it pays to do so that less goes over the connection.

On a pipe or into a container nothing of this is done: whole files are there sooner than any
thought about them. What the far end has for it is asked when it is first wanted, by a batch of
its own, so that no start takes longer.
"""

from __future__ import annotations

import os
import time

from filerep.command import UNAVAILABLE
from filerep.farend.answers import Refused
from filerep.farend.tools import Tools, lesson
from filerep.replica.transfer import signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from filerep.replica.options import Options
    from filerep.replica.transfer.pace import Pace

# For tests: everything is tiny, and all of it is done always.
TINY = bool(os.environ.get("FILEREP_TINY"))
_TINY_BLOCK = 64
_TINY_PIECE = 100

# Files of less are sent whole: what says that they are the same is as long.
_LEAST_BYTES = 1 << 8
# A large file goes in pieces if it takes longer than this on its way, in seconds.
_LONG = 1.0
_BELIEVED = 2  # times as much as was taken at that rate so far
# Bytes: a larger file is no way to find out how fast a connection is.
_TELLING = 1 << 20
# Seconds in which nothing is compressed once that could not be unpacked: at first, at most.
_AS_IT_IS, _MOST_AS_IT_IS = 30.0, 3600.0


class Economy:
    """Decides by the measured rate, the options, and the far end's tools."""

    def __init__(
        self, options: Options, pace: Pace, say: Callable[[str], None]
    ) -> None:
        self._transfer = options.transfer
        self._dry_run = options.dry_run
        self._pace = pace
        self._say = say
        self.tools: Optional[Tools] = None
        self.taught = False  # does it know what to do with what is not whole?
        self._asked = False
        self._wanted = False  # has something come up that needs the tools?
        self._reused = False  # was it ever looked for what the far end holds?
        self._as_it_is = 0.0  # seconds in which nothing is compressed
        self._packs_from = 0.0  # when they are over, by the monotonic clock

    @staticmethod
    def block(size: int) -> int:
        """How large a block of a signature is, for a file of ``size``."""
        return _TINY_BLOCK if TINY else signature.block_of(size)

    def question(self) -> list[bytes]:
        """The lines that ask the far end for its tools, if that is to be done now."""
        asked = self._transfer
        wanted = TINY or asked.compress or asked.whole_file is False
        wanted = wanted or self._wanted
        if asked.checksum or not self._plain and (wanted or self._pace.slow):
            return self._ask()
        return []

    @property
    def waits(self) -> bool:
        """Is nothing to be sent before the far end has told its tools?

        Over a slow link what they save is worth the time of one way there and back.
        """
        wanted = self._transfer.checksum or self._pace.slow or self._wanted
        return wanted and self._asked and self.tools is None

    @property
    def _plain(self) -> bool:
        """Were both said: nothing but whole files, one behind the other?"""
        return bool(self._transfer.whole_file) and self._transfer.compress is False

    def want(self) -> bool:
        """Something needs the tools, whatever the connection is like; are they to come yet?"""
        self._wanted = not self._plain
        return self._wanted and self.tools is None

    def _ask(self) -> list[bytes]:
        """The same, whatever the connection is like; nothing if they were asked already."""
        if self._asked:
            return []
        self._asked = True
        return [lesson(), b"tools"]

    def answer(self, words: str) -> None:
        """The far end has these tools; nothing if it did not say, as it was not taught.

        Raises ``Refused`` if what was asked for cannot be done with them.
        """
        if self.tools is not None:
            return
        self.tools = Tools(words)
        self.taught = bool(words)
        if self._transfer.checksum and not self.tools.digests:
            raise Refused(
                UNAVAILABLE, "--checksum needs sha1sum or md5sum at the far end"
            )

    def not_unpacked(self, began: float) -> None:
        """What unpacks has failed for a batch that was sent from ``began`` on: it does without."""
        if began < self._packs_from:
            return  # it was told to be compressed before that was known
        self._as_it_is = min(max(_AS_IT_IS, 2 * self._as_it_is), _MOST_AS_IT_IS)
        self._packs_from = time.monotonic() + self._as_it_is

    @property
    def level(self) -> int:
        """How the next batch is compressed, 0 for not at all."""
        if (
            self.tools is None
            or not self.tools.unzip
            or self._transfer.compress is False
            or self._packs_from
            and time.monotonic() < self._packs_from
        ):
            return 0
        if TINY or self._transfer.compress:
            return self._pace.level or 1
        return self._pace.level

    @property
    def reuses(self) -> bool:
        """Is it looked for what the far end holds already?"""
        if self.tools is None or not self.tools.digests or self._transfer.whole_file:
            return False
        return TINY or self._transfer.whole_file is False or self._pace.slow

    @property
    def signs(self) -> bool:
        """Is a signature kept of what is sent whole?

        Also while compressing seems to take the time: on a busy machine that comes and goes.
        """
        self._reused = self._reused or self.reuses
        return self.reuses or self._reused and self._pace.may_be_slow

    @property
    def will_check(self) -> bool:
        return self._transfer.checksum

    @property
    def checks(self) -> bool:
        """Are files that seem to be the same compared by their contents?"""
        return self._transfer.checksum and self.tools is not None and self.tools.digests

    def worth(self, size: int) -> bool:
        """Is a file of ``size`` bytes large enough for that?"""
        return size >= (1 if TINY else _LEAST_BYTES)

    def in_pieces(self, size: int) -> bool:
        """Does a file of ``size`` go in pieces?"""
        if self._dry_run or self.tools is not None and not self.taught:
            return False
        if TINY:
            return self.tools is not None and size > _TINY_PIECE
        if size <= self._pace.limit or self._plain:
            return False
        rate = self._pace.rate
        if size <= _TELLING:
            return False
        return rate is None or size > min(_LONG * rate, _BELIEVED * self._pace.proven)

    def piece(self, size: int) -> int:
        """How many bytes the next piece of a file of ``size`` has."""
        return max(_TINY_PIECE, size // 5) if TINY else self._pace.piece
