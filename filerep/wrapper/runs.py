"""All runs of this user, as their files in the state directory show: --status and --forget."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from filerep import ownfiles, processtable
from filerep.command import OK, OS_ERROR, SKIPPED, UNAVAILABLE, Stop, reason
from filerep.pathstream import quote
from filerep.wrapper import runrecord
from filerep.wrapper.job import state_directory
from filerep.wrapper.terminal.formatting import bare, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_LOCK = ".lock"
_MOST_BYTES = 1 << 20  # of a lock file
_OLD = 90 * 86400.0  # seconds
_DAY = 86400.0


class Run:
    """One lock file, and what it says of the process that made it."""

    def __init__(
        self, path: str, status: os.stat_result, runs: Callable[[int, int], bool]
    ) -> None:
        """``runs`` says whether a process holds the file of an inode."""
        self.path = path
        self.age = time.time() - status.st_mtime
        try:
            with open(path, "rb") as file:
                self.process, self._about = runrecord.read(file.read(_MOST_BYTES))
        except OSError:
            self.process, self._about = 0, {}
        self.running = runs(self.process, status.st_ino)
        self._stopped = self.running and processtable.stopped(self.process)

    def get(self, name: str, default: Any) -> Any:
        """What it says of ``name``, if it is of the kind of ``default``."""
        found = self._about.get(name, default)
        return found if isinstance(found, type(default)) else default

    @property
    def source(self) -> str:
        return str(self.get("source", ""))

    @property
    def good(self) -> bool:
        in_sync = self.get("state", "") == runrecord.IN_SYNC
        missing = self.get("failing", 0) or self.get("unread", 0)
        return in_sync and not missing and not self._stopped

    @property
    def connecting(self) -> str:
        """Is it connecting, and why again?"""
        if self.get("state", "") != runrecord.CONNECTING:
            return ""
        why = self.get("why", "")
        return _with("connecting again" if why else "connecting", why)

    def gone(self) -> bool:
        """Is it known what it was of, and is that no more?"""
        return bool(self.source) and not os.path.isdir(os.fsencode(self.source))

    def describe(self) -> Iterator[str]:
        """From where to where; by what, since when, how it is."""
        if not self.source:
            yield f"process {self.process}: another version, which does not say"
            return
        source = bare(quote(os.fsencode(self.source)))
        there = bare(quote(os.fsencode(str(self.get("destination", "")))))
        words = quote(" ".join(map(str, self.get("command", []))))[1:-1]
        yield f"{source} -> {there}"
        yield f"  by {words}"
        since = _moment(self.get("since", 0.0))
        yield f"  process {self.process}, since {since}: {self._state()}"

    def _state(self) -> str:
        state, at = str(self.get("state", "")), _moment(self.get("at", 0.0))
        failing, unread = self.get("failing", 0), self.get("unread", 0)
        settled = failing or state == runrecord.IN_SYNC
        if self._stopped:
            return f"stopped (Ctrl-Z): fg, or kill -CONT {self.process}, has it go on"
        if failing:
            state = f"not in sync, {files(failing)} could not be written"
        elif state == runrecord.IN_SYNC and self.get("files", 0):
            state = f"in sync since {at}, {files(self.get('files', 0))} at the start"
        elif state == runrecord.SENDING:
            state = f"sending since {at}"
        elif state == runrecord.COPYING:
            state = "comparing and copying"
        said = _with(state, self.get("why", ""))
        if settled and unread:
            paths = "1 path" if unread == 1 else f"{unread:,} paths"
            unsent = f"{paths} could not be sent"
            said += f", but {_with(unsent, self.get('unread_why', ''))}"
        return said


def _with(state: str, why: str) -> str:
    said = "".join(one if one.isprintable() else "?" for one in why)
    return f"{state} ({said})" if said else state


def _moment(seconds: float) -> str:
    try:
        when = time.localtime(seconds)
    except (ValueError, OverflowError, OSError):
        return "no time that there is"
    return time.strftime("%H:%M" if time.time() - seconds < _DAY else "%b %d", when)


def find(directory: str, age: float = 0.0) -> list[Run]:
    """Those that run and those that have, by source; none that was heard of since ``age``."""
    runs: list[Run] = []
    holds = _holding()
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith(_LOCK) and entry.is_file(follow_symlinks=False):
                    status = entry.stat()
                    if time.time() - status.st_mtime >= age:
                        runs.append(Run(entry.path, status, holds))
    except FileNotFoundError:
        pass
    return sorted(runs, key=lambda run: (run.source, run.path))


def _holding() -> Callable[[int, int], bool]:
    """Who says whether a process has locked the file of an inode.

    The kernel does: to try for the lock ourselves could keep a run from starting.
    """
    try:
        with open("/proc/locks", "rb") as file:
            words = [line.split() for line in file]
    except OSError:
        return lambda process, _: process > 0 and _lives(process)
    # One that waits for a lock has an arrow behind its number.
    words = [one for one in words if len(one) > 5 and one[1] != b"->"]
    held = {(int(one[4]), int(one[5].rpartition(b":")[2])) for one in words}
    return lambda process, inode: (process, inode) in held


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def status(key: str, say: Callable[[str], None]) -> int:
    """Show those that run, or the one of ``key``; good if all are in sync."""
    found = [run for run in find(state_directory()) if run.running]
    if key:
        found = [run for run in found if os.path.basename(run.path) == key + _LOCK]
    if not found:
        which = "with these arguments" if key else "for this user"
        raise Stop(UNAVAILABLE, f"no file-replicator is running {which}")
    for run in found:
        for line in run.describe():
            say(line)
    return OK if all(run.good for run in found) else SKIPPED


def connecting(process: int) -> str:
    """What is said of a run that has no connection, and why; nothing of another."""
    with suppress(OSError):
        for run in find(state_directory()):
            if run.process == process and run.running:
                return run.connecting
    return ""


def forget(key: str, say: Callable[[str], None]) -> int:
    """Remove the state of ``key``, or of all whose source is gone, and what nobody knows."""
    forgot = False
    for run in find(state_directory()):
        mine = os.path.basename(run.path) == key + _LOCK
        old = run.gone() or not run.source and run.age > _OLD
        if mine if key else old:
            try:
                removed = _remove(run.path)
            except OSError as error:
                said = (
                    f"cannot forget what is kept in {quote(error.filename or run.path)}"
                )
                raise Stop(OS_ERROR, f"{said}: {reason(error)}") from None
            if removed:
                shown = bare(quote(os.fsencode(run.source))) if run.source else run.path
                say(f"forgot what was sent of {shown}")
                forgot = True
            elif key:
                who = f"process {run.process}" if run.process else "another process"
                raise Stop(UNAVAILABLE, f"{who} is at work with it; stop it first")
    if not forgot:
        say("there was nothing to forget")
    return OK


def prune() -> None:
    """Remove what has not been used for months, and whose source is gone."""
    with suppress(OSError):
        for run in find(state_directory(), _OLD):
            if run.gone():
                with suppress(OSError):
                    _remove(run.path)


def _remove(path: str) -> bool:
    """Remove a lock file and all that goes with it, unless it is held; raises OSError."""
    fd = ownfiles.open_file(path)
    try:
        ownfiles.lock(fd)
        stem = os.path.basename(path)[: -len(_LOCK)]
        directory = os.path.dirname(path)
        for name in os.listdir(directory):
            if name.startswith(f"{stem}.") and not name.endswith(_LOCK):
                os.unlink(os.path.join(directory, name))
        os.unlink(path)
        return True
    except ownfiles.Held:
        return False
    finally:
        os.close(fd)
