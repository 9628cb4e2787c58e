"""What was named and is not over there: it failed there, it cannot be read here, or it rests.

Each of them is looked at again in its own time. For who asks whether all is well that time is
now, and what is missing after that is told.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filerep.replica.scheduling.failures import Failures
    from filerep.replica.scheduling.restless import Restless
    from filerep.replica.scheduling.unreadable import Unreadable


class Missing:
    """The three as one."""

    def __init__(
        self, failures: Failures, unreadable: Unreadable, restless: Restless
    ) -> None:
        self.failures = failures
        self.unreadable = unreadable
        self.restless = restless

    def __contains__(self, path: object) -> bool:
        """Did ``path`` fail, or could it not be read?"""
        return path in self.failures.why or path in self.unreadable

    def count(self) -> int:
        """How many failed or cannot be read."""
        return len(self.failures) + self.unreadable.count()

    def sync_point(self) -> list[bytes]:
        """Somebody waits for what was named before now; what to look at once more for it."""
        self.failures.sync_point()
        return [*self.unreadable.take(), *self.restless.owe()]

    def before_sync_point(self) -> bool:
        """Is something to be tried, or owed, before who waits is answered?"""
        return self.restless.owed or self.failures.before_sync_point()
