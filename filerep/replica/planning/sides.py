"""What a plan is given: the two sides that it compares, and where a path goes that must wait."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Container
    from typing import Optional

    from filerep.farend.ways import Way
    from filerep.replica.known.table import Table
    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.scheduling.queues import Paths
    from filerep.replica.scheduling.removals import Removals
    from filerep.source import Source


class Sides:
    """What is here, what is over there, and what may follow from the difference."""

    def __init__(
        self,
        source: Source,
        table: Table,
        deletes: bool,
        complete: bool,
    ) -> None:
        """``deletes``: may anything be removed there? ``complete``: is what the table has
        not got not there?
        """
        self.source = source
        self.table = table
        self.deletes = deletes
        self.complete = complete
        self.has_links = True  # can there be symlinks?
        self.times_links = True  # have they the mtimes that are sent?


class Aside:
    """Where a path goes that is not for this batch; as it stands, no path needs any of it."""

    #: Paths that have failed over there, and have a time of their own to be tried.
    failing: Container[bytes] = ()

    def __init__(
        self,
        later: Callable[[bytes, float], None],
        unreadable: Callable[[str, bytes, OSError], None],
    ) -> None:
        #: Has a path looked at again in so many seconds.
        self.later = later
        #: Is told what could not be done with a path, by a verb, and why.
        self.unreadable = unreadable
        #: May take a file away from this batch, or raise ``NotInThisBatch``.
        self.too_big: Callable[
            [bytes, os.stat_result, Optional[Way], Sent, Paths], bool
        ] = lambda *_: False
        #: Where what is gone waits, unless this is its turn.
        self.removals: Callable[[Sent, Paths], Optional[Removals]] = lambda *_: None
        #: Is the path to be looked at anyhow, as it was named?
        self.waits: Callable[[bytes], bool] = lambda path: False
        #: Has what the far end has at the path gone with what was mounted here? Then it stays.
        self.mounted_away: Callable[[bytes], bool] = lambda path: False
