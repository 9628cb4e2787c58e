"""A batch on its way, and what the table and the state file are to make of it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.farend.batch import Batch
    from filerep.replica.scheduling.failures import Retry


class NotInThisBatch(Exception):
    """A path has to wait for the next batch, and is the first to be looked at for it."""


class Sent:
    """A batch, planned or under way: what it changed in the table, to be kept or doubted."""

    def __init__(self, batch: Batch, retry: Optional[Retry] = None) -> None:
        self.batch = batch
        self.retry = retry  # what had failed before and is tried again with it
        self.entries: list[tuple[bytes, bytes]] = []  # put into the table
        self.removed: list[bytes] = []
        # What the table has by another name now, and the far end, too.
        self.respelled: list[tuple[bytes, bytes]] = []
        self.intended: list[bytes] = []  # new to the state file
        self.planned: set[bytes] = set()
        self.emptied: set[bytes] = set()  # directories looked through for it
        self.unapplied = False  # nothing of it was put in place
        self.tainted = False  # trouble with an earlier batch may have undone this one
        self.claimed: Optional[bytes] = b""  # the directory that was last, to save time
        self.taken = 0  # paths that were looked at for it
        self.echoes: dict[bytes, bytes] = {}  # digests, see echoes.py
        self.lent: list[int] = []  # memory it is sent from, see lentpages.py
        self.started = 0.0  # monotonic seconds
        self.answered = 0.0  # the same, if that was while another was written
        self.archive = 0  # bytes of it, as they are unpacked
        self.packed = False  # did they go compressed?
        self.packing = 0.0  # seconds that took
        self.wire = 0  # bytes that it then was
        self.tallied = (0, 0)  # files and bytes, see progress.py
        # Of each answer that tells of some: word, number, words.
        self.trouble: list[tuple[str, int, str]] = []

    @property
    def paths(self) -> list[bytes]:
        """All the batch is about, as records to look at once more."""
        batch = self.batch
        return (
            [member.path for member in batch.members]
            + batch.deletions
            + batch.removals
            + [directory for directory, _ in batch.modes]
            + [path for path, _ in batch.spelled]
        )

    @property
    def began(self) -> float:
        """When it was sent, or the first piece of a file whose last one it holds."""
        ways = (member.way for member in self.batch.reused)
        pieces = (way.began for way in ways if way and way.began is not None)
        return min(pieces, default=self.started)


class Flight:
    """The batches under way, oldest first, and the one that is planned to follow them.

    The far end answers them in their order. What is planned takes for done what those before
    it do; when one of them fails, all later ones are tainted: what they found in the table may
    not be so.
    """

    def __init__(self) -> None:
        self.under_way: list[Sent] = []
        # Looked at already. It goes before all that is named later, as what it holds may be
        # older than that.
        self.ahead: Optional[Sent] = None

    def __bool__(self) -> bool:
        return bool(self.under_way)

    def __len__(self) -> int:
        return len(self.under_way)

    def add(self, sent: Sent) -> None:
        self.under_way.append(sent)

    def first(self, number: int) -> Optional[Sent]:
        """The oldest batch if it has that number, which is the one that can be answered."""
        if self.under_way and number == self.under_way[0].batch.number:
            return self.under_way[0]
        return None

    def land(self) -> Sent:
        """The oldest batch is answered, and under way no more."""
        return self.under_way.pop(0)

    def later(self) -> list[Sent]:
        """All that was planned after what has landed."""
        return [*self.under_way, self.ahead] if self.ahead else list(self.under_way)

    def taint(self) -> None:
        for sent in self.later():
            sent.tainted = True

    def bytes(self) -> int:
        return sum(sent.batch.bytes for sent in self.under_way)
