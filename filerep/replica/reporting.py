"""What the wrapper is told: a dictionary for each thing that happens, ``is`` says which.

* ``first``: the first copy is done. ``batch``: one was acknowledged. ``progress``: how far
  the first copy has come (see progress.py). ``sending``: the same of one file, later. ``would``: what a dry run would do.
* ``sync_point``: all that was named before the last `.` has arrived, but for ``failing`` paths; an
  --on-sync command will have seen it when ``hooks`` have ended.
* ``sync``: ``failing`` paths are out of step; 0 for none.
* ``at_work``: a second has passed since all had arrived, or by ``now`` it has.
* ``failing``: which paths have just failed, and why.
* ``unreadable``: a path that cannot be read here, and why. ``unread``: so many
  ``paths`` are missing for that, one of them and why.
* ``left``: the end was asked for, and so many ``paths`` have not arrived; the last one counts.
* ``tools``: what the far end has for a slow connection. ``hook``: the --on-sync command has ended.
"""

from __future__ import annotations

import os
import time
from collections import Counter

from filerep.command import reason
from filerep.pathstream import gathered, quote
from filerep.replica.progress import OneFile, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional

    from filerep.replica.known.table import Table
    from filerep.replica.scheduling.inflight import Sent

_NAMES = 3  # of each kind are shown
_REMOVED = 20  # of those that a first copy removed, which nobody was seen to remove
_PLACES = 16  # directories
_LONG = 1.0  # seconds at work, before that is told
# How a file came to be there, by the verb of its way, see ways.py.
_WAYS = {
    b"keep": "touched",
    b"copy": "copied",
    b"take": "moved",
    b"build": "in parts",
    b"assemble": "in parts",
    b"last": "in pieces",
}


class Reporter:
    """Counts what was done, and tells of it."""

    def __init__(
        self,
        report: Callable[[dict[str, Any]], None],
        progress: bool,
        rehearsed: bool,
        names: bool = False,
    ) -> None:
        """``names`` if all are to be told, and not the few that are shown."""
        self._report = report
        self._names = names
        self._rehearsed = rehearsed
        self._rehearsals: dict[bytes, bool] = {}  # told of already; is it one to send?
        self._files = 0
        self._removed = 0
        self._bytes = 0
        self._failing: Optional[int] = None
        self._unread: tuple[int, bytes] = (0, b"")
        self._at_work: Optional[float] = None  # when that will be told
        self._told_at_work = False
        self._began = time.monotonic()
        self._first = True
        self.tally = Tally(report, time.monotonic) if progress else None
        self._after = OneFile(report, time.monotonic) if progress else None
        self.one_file: Optional[OneFile] = None  # once the first copy is done

    def batch(self, sent: Sent, took: float, undone: set[bytes]) -> list[bytes]:
        """``sent`` was acknowledged after so many seconds, but for what is ``undone``.

        All that was changed.
        """
        batch = sent.batch
        fit = [path for path, _ in sent.entries if not path.endswith(b"/")]
        undone = undone | batch.compared()
        fit = [path for path in fit if path not in undone]
        gone = [path for path in batch.deletions if path not in undone]
        changed = [*fit, *gone, *(path for path, _ in batch.modes)]
        if not changed:
            return changed
        self._files += len(fit)
        self._removed += len(gone)
        size = batch.bytes + batch.bytes_before()
        self._bytes += size
        self._report(
            {
                "is": "batch",
                "sent": [quote(path) for path in fit[:_NAMES]],
                "files": len(fit),
                "sent_in": {} if self._first else _places(fit),
                "removed": [
                    quote(path) for path in gone[: _REMOVED if self._first else _NAMES]
                ],
                "removed_in": {} if self._first else _places(gone),
                "deletions": len(gone),
                "bytes": size,
                "ms": took * 1000,
                "bulk": self._first,
                "ways": {} if self._first else _ways(sent, fit),
                "names": [os.fsdecode(path) for path in fit] if self._names else [],
                "gone": [os.fsdecode(path) for path in gone] if self._names else [],
            }
        )
        return changed

    def first(self, compared: bool, known: int, ignored: int, failing: int) -> None:
        """The first copy is done: the far end has ``known`` files of ours that count.

        ``ignored`` others came from here once, are here still, and do not count any more.
        """
        self._first = False
        if self.tally is not None:
            self.tally.close()
            self.tally = None
        self.one_file = self._after
        self._report(
            {
                "is": "first",
                "compared": compared,
                "rehearsed": self._rehearsed,
                "removals": self._removed,
                "files": self._files,
                "bytes": self._bytes,
                "known": known,
                "ignored": 0 if self._rehearsed else ignored,
                "failing": failing,
                "ms": (time.monotonic() - self._began) * 1000,
            }
        )

    def sync_point(self, missing: int, hooks: int) -> None:
        """Once ``hooks`` more have ended, one has seen all that was named before."""
        self._report({"is": "sync_point", "failing": missing, "hooks": hooks})

    def at_work(self) -> None:
        """Something waits or is under way: told once that has lasted."""
        now = time.monotonic()
        if self._at_work is None:
            self._at_work = now + _LONG
        elif not self._told_at_work and now >= self._at_work:
            self._told_at_work = True
            self._report({"is": "at_work", "now": True})

    def due(self) -> Optional[float]:
        """When ``at_work`` is to be told, by the monotonic clock."""
        return None if self._told_at_work else self._at_work

    def sync(self, failing: int) -> None:
        """Nothing is left to do; told when ``failing``, the paths out of step, has changed."""
        self._at_work = None
        if self._told_at_work:
            self._told_at_work = False
            self._report({"is": "at_work", "now": False})
        if self._failing != failing:
            self._failing = failing
            self._report({"is": "sync", "failing": failing})

    def unread(self, count: int, first: Optional[tuple[bytes, OSError]]) -> None:
        """Nothing is left to do, and ``count`` paths cannot be read, one of them for that reason.

        Told when it has changed.
        """
        path, why = (first[0], reason(first[1])) if first else (b"", "")
        if self._unread != (count, path):
            self._unread = count, path
            name = os.fsdecode(path)
            self._report({"is": "unread", "paths": count, "path": name, "why": why})

    def outstanding(self, paths: list[bytes], gone: bool) -> None:
        """The end was asked for, and the changes of ``paths`` have not arrived.

        ``gone`` if all of them were removed here.
        """
        names = [quote(path) for path in paths[:_NAMES]]
        told = {"is": "left", "paths": len(paths), "names": names, "gone": gone}
        every = [os.fsdecode(path) for path in paths] if self._names else []
        self._report({**told, "all": every})

    def tools(self, words: str, reuses: bool, packs: bool) -> None:
        """The connection is slow: what the far end has for saving it, and what is done so."""
        self._report({"is": "tools", "has": words, "reuses": reuses, "packs": packs})

    def hook(self, status: int, ms: float) -> None:
        self._report({"is": "hook", "status": status, "ms": ms})

    def rehearse(self, sent: Sent, table: Table) -> None:
        """Tell what ``sent`` would do, each path once; ``table`` says what is there."""
        batch = sent.batch
        compared = batch.compared()
        for member in batch.members:
            if member.path not in self._rehearsals and member.path not in compared:
                self._rehearsals[member.path] = True
                new = table.get(member.path) is None
                self._would("send", member.path, bytes=member.size, new=new)
                self._files += 1
                self._bytes += member.size
        for path in batch.deletions:
            if path not in self._rehearsals:
                self._rehearsals[path] = False
                self._removed += 1
                self._would("remove", path)

    def _would(self, verb: str, path: bytes, **more: Any) -> None:
        name = os.fsdecode(path)
        self._report(
            {"is": "would", "do": verb, "path": quote(path), "name": name, **more}
        )


def _ways(sent: Sent, paths: list[bytes]) -> dict[str, int]:
    """How many of ``paths`` came to be there in which way."""
    by_path = {one.path: one.way for one in sent.batch.reused}
    whole = "compressed" if sent.packed else "whole"
    ways = [by_path.get(path) for path in paths]
    return Counter(_WAYS.get(way.verb, whole) if way else whole for way in ways)


def _places(paths: list[bytes]) -> dict[str, int]:
    """Directories that hold all of ``paths``, and how many of them."""
    above = Counter(path.rpartition(b"/")[0] for path in paths)
    return gathered({quote(one)[1:-1]: above[one] for one in above}, _PLACES)
