"""What fr-pack reports while a connection lasts."""

from __future__ import annotations

import os

from filerep.pathstream import quote
from filerep.wrapper import runrecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from filerep.wrapper.events import Events
    from filerep.wrapper.terminal.display import Display
    from filerep.wrapper.waiting import Waiters


class Reports:
    """Passes on what fr-pack reports, and keeps what matters at the end."""

    def __init__(
        self, display: Display, events: Events, waiters: Waiters, watches: bool
    ) -> None:
        self._display = display
        self._events = events
        self._waiters = waiters
        self._watches = watches
        self._line = b""  # not yet whole
        self.synced = False
        self._failing = 0  # paths
        self._failed = ""  # which did so last, and why
        self.differs = False  # is there something that a dry run would do?
        self.lost = ""  # why, in fr-pack's words
        self.refused = ""  # why another attempt is of no use

    def hear(self, chunk: bytes) -> None:
        import json  # the far end is at work by now

        *lines, self._line = (self._line + chunk).split(b"\n")
        for line in lines:
            self._report(json.loads(line))

    def _report(self, what: dict[str, Any]) -> None:
        kind = what["is"]
        if kind == "sync_point":
            self._waiters.answer(what["failing"], what["hooks"])
        if kind == "hook":
            self._waiters.on_sync_ended(what["status"])
        if kind == "lost":
            self.lost = what["why"]
        if kind == "refused":
            self.refused = what["why"]
        if kind == "failing":
            self._failed = _failed(what["paths"], what["why"])
        if kind == "unread":
            why = _failed([what["path"]], what["why"])
            self._waiters.record.unread(what["paths"], why)
        if kind == "first":
            self._first(what)
        if self._events.wanted:
            self._event(kind, what)
        self._display.report(what, self._watches)
        if kind == "sync":
            self._sync(what["failing"])
        if kind == "at_work" and not self._failing:
            now = what["now"]
            self._waiters.record.tell(runrecord.SENDING if now else runrecord.IN_SYNC)

    def _event(self, kind: str, what: dict[str, Any]) -> None:
        """The same under the names that others rely on: see docs/events.md."""
        tell = self._events.tell
        if kind == "batch":
            names = {"sent": what["names"], "removed": what["gone"]}
            counts = {key: what[key] for key in ("files", "deletions", "bytes", "ms")}
            tell("batch", first=what["bulk"], **counts, **names)
        elif kind == "progress":
            keys = ("files", "bytes", "of_files", "of_bytes")
            tell("progress", **{key: what[key] for key in keys})
        elif kind == "first":
            of_all = ("known", "files", "removals", "bytes", "failing", "ms")
            told = {key: what[key] for key in of_all}
            told["deletions"] = told.pop("removals")
            told["destination_files"] = told.pop("known")
            tell("would_all" if what["rehearsed"] else "first_copy", **told)
        elif kind == "would":
            told = {key: what.get(key) for key in ("bytes", "new")}
            tell("would", do=what["do"], path=what["name"], **told)
        elif kind == "failing":
            tell("failing", paths=what["paths"], why=what["why"])
        elif kind == "unreadable":
            tell("unreadable", path=what["path"], why=what["why"])
        elif kind == "left":
            tell("outstanding", paths=what["all"])
        elif kind == "sync" and what["failing"]:
            tell("out_of_sync", failing=what["failing"])
        elif kind == "sync":
            tell("in_sync")
        elif kind == "hook":
            tell("hook", status=what["status"], ms=what["ms"])

    def _sync(self, failing: int) -> None:
        self.synced = self.synced or not failing
        self._failing = failing
        state = runrecord.FAILING if failing else runrecord.IN_SYNC
        why = self._failed if failing else ""
        self._waiters.record.tell(state, failing=failing, why=why)

    def _first(self, what: dict[str, Any]) -> None:
        if what["rehearsed"]:
            self.differs = bool(what["files"] or what["removals"])
        self._waiters.record.tell(runrecord.IN_SYNC, what["known"])


def _failed(paths: list[str], why: str) -> str:
    more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
    return f"{quote(os.fsencode(paths[0]))}{more}: {why}"
