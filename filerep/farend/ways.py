"""How a file comes to be at the far end: sent whole, or made of what is there already.

`reuse.sh` does what these say, and PROTOCOL.md tells when. Each has the digest of the whole
file, by which the far end shows that it has made the right one.
"""

from __future__ import annotations

from filerep.source import grown, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Optional


class Way:
    """A file that is not sent as it is. ``verb`` is that of reuse.sh:

    * ``same``: it is there already, as far as is known; only that is to be shown.
    * ``keep``: what is at its path has its content; only time and mode are new.
    * ``copy``, ``take``: another path has, ``source``; with `take` that is about to go.
    * ``build``: made of ranges of what is at its path, and of what is sent.
    * ``piece``, ``last``: the next bytes of it are sent, to be put behind those before.
    * ``assemble``: the same, of what is new in a file that is then built.
    """

    __slots__ = (
        "verb",
        "digest",
        "source",
        "words",
        "ranges",
        "size",
        "before",
        "of",
        "began",
        "signature",
        "appended",
    )

    def __init__(
        self,
        verb: bytes,
        digest: str = "",
        source: bytes = b"",
        words: Sequence[bytes] = (),
        ranges: Sequence[tuple[int, int]] = (),
        signature: Optional[bytes] = None,
    ) -> None:
        self.verb = verb
        self.digest = digest
        self.source = source
        # Of `build`: what it is made of; of a piece: its name, and where.
        self.words = words
        # What of the file is sent: where it begins, how many bytes.
        self.ranges = ranges
        self.size = sum(length for _, length in ranges)
        self.before = 0  # bytes of it that went in batches before this one
        self.of = 0  # bytes of it that are sent in all those
        self.began: Optional[float] = None  # when they did, by the monotonic clock
        self.signature = signature  # of the whole file, if it is known by now
        self.appended = False  # is all that is new behind what was there?

    @property
    def puts(self) -> bool:
        """Is something put into place by it?"""
        return self.verb not in (b"same", b"keep", b"piece")

    @property
    def sends(self) -> bool:
        """Has it a member in the archive? One that is empty has the time and the mode."""
        return self.verb not in (b"same", b"take")

    def fits(self, now: os.stat_result, then: os.stat_result) -> bool:
        """Does it make of a file what that was ``then``, for all that has become of it ``now``?

        A log grows all the time, and is never torn by that: what came since is for the next time.
        """
        return same(now, then) or self.appended and grown(now, then)

    def read(self, data: memoryview) -> None:
        """So much of it was read to be sent."""

    def end(self) -> None:
        """All that is to be sent of it was read."""
