"""What a conversation is given: how to do it, what there is here, whom to tell."""

from __future__ import annotations

import os

from filerep.command import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Optional

    from filerep.replica.known.statefile import State
    from filerep.replica.known.table import Table
    from filerep.rules.ignore import Rules
    from filerep.rules.sieve import Sieve
    from filerep.source import Source


class Removal:
    """What is removed over there of what is not here."""

    def __init__(self, delete: bool = True, hold: float = 5.0, mirror: int = 0) -> None:
        self.delete = delete
        self.hold = hold  # seconds: what is gone, if that is most of all
        self.mirror = mirror  # 2: however much it removes


class Transfer:
    """How contents travel; None: by what the connection shows."""

    def __init__(
        self,
        compress: Optional[bool] = None,
        whole_file: Optional[bool] = None,
        checksum: bool = False,
    ) -> None:
        self.compress = compress
        self.whole_file = whole_file
        self.checksum = checksum


class Options:
    """How fr-pack was asked to do it."""

    def __init__(
        self,
        removal: Removal,
        transfer: Transfer,
        *,
        initial: bool = True,
        since_ns: Optional[int] = None,
        dry_run: bool = False,
        keepalive: float = 15.0,
        on_sync: bytes = b"",
        progress: bool = False,
        names: bool = False,
    ) -> None:
        """``since_ns``: of all files only those go that changed since then, by `time.time_ns`.

        ``keepalive`` in seconds; ``names``: of all files in the reports.
        """
        self.removal = removal
        self.transfer = transfer
        self.initial = initial
        self.since_ns = since_ns
        self.dry_run = dry_run
        self.keepalive = keepalive
        self.on_sync = on_sync
        self.progress = progress
        self.names = names


class Here:
    """This side: the source, what the far end has of it, and what tells that next time."""

    def __init__(
        self,
        source: Source,
        table: Table,
        state: Optional[State] = None,
        rules: Optional[Callable[[], Rules]] = None,
        counting: Callable[[list[bytes]], list[bytes]] = lambda paths: paths,
        silent: Iterable[bytes] = (),
        slow: bool = False,
        sieve: Optional[Callable[[], Sieve]] = None,
        began: Optional[tuple[float, int]] = None,
        mounts: Optional[bytes] = None,
    ) -> None:
        """``rules`` reads what --mirror leaves alone, None without it.

        ``counting`` gives those of some paths that count now; ``silent`` are those at which the
        far end fell silent in an earlier run, ``slow``: so was the connection then. ``sieve`` reads
        the rules anew, by which paths count. fr-walk began after ``began``, by `time.monotonic`
        and `time.time_ns`. In the file ``mounts`` is kept what was mounted here.
        """
        self.source = source
        self.table = table
        self.state = state
        self.rules = rules
        self.counting = counting
        self.silent = silent
        self.slow = slow
        self.sieve = sieve
        self.began = began
        self.mounts = mounts


class Tell:
    """Whom to tell: the user in words, the user of a path, the wrapper by a report."""

    def __init__(
        self,
        say: Callable[[str], None],
        on_error: Callable[[str, bytes, OSError], None],
        report: Callable[[dict[str, Any]], None],
    ) -> None:
        self.say = say
        self.on_error = on_error
        self.report = report

    def failing(self, paths: list[bytes], why: str) -> None:
        """``paths`` could not be written or removed."""
        names = [os.fsdecode(path) for path in paths]
        self.report({"is": "failing", "paths": names, "why": why})

    def unreadable(self, path: bytes, error: OSError) -> None:
        """``path`` could not be read here."""
        name, why = os.fsdecode(path), reason(error)
        self.report({"is": "unreadable", "path": name, "why": why})
