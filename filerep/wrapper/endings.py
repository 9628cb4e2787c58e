"""What it means that a process has ended, or the connection has."""

from __future__ import annotations

import errno
import os
import re
import time

from filerep import command
from filerep.command import Stop
from filerep.farend.answers import NONSENSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn, Optional

    from filerep.wrapper.processes import Processes
    from filerep.wrapper.reports import Reports
    from filerep.wrapper.stages import Stages
    from filerep.wrapper.stderr import Errors

_CLOSED = ("", "it was closed", os.strerror(errno.EPIPE))  # as fr-pack says it
_KILLED_GRACE = 1.0  # seconds
_KILLED = 128  # and the signal's number, as a shell tells it
_LAST_BREATH = 0.2  # seconds between the end of what a connection says, and its own


class Lost(Exception):
    """The connection, the far end or a stage is gone; what follows is another attempt."""


def one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


# What programs print behind the line that says what is wrong: how they are used, where that stands,
# what else could not be done for it.
_USAGE = r"\s*usage\b"
_BEHIND = r".* (-h|--help)\b|sudo: error initializing audit plugin\b"
# ssh, when its jump host or ProxyCommand has ended, which has said why before.
_PROXY_ENDED = r".*\bUNKNOWN port 65535\b"
_OF_PROXY = (
    rf"{_PROXY_ENDED}|kex_exchange_identification: |stdio forwarding failed|Warning: "
)


def last_line(*texts: bytes) -> str:
    """The last line in the first of ``texts`` that has any, what is wrong if it can be told."""
    for text in texts:
        lines = [line for line in text.decode("utf-8", "replace").splitlines()]
        lines = [line for line in lines if line.strip()]
        if lines:
            return one_line(_telling(lines))
    return ""


def _telling(lines: list[str]) -> str:
    for at, line in enumerate(lines):
        if at and re.match(_USAGE, line, re.IGNORECASE):
            lines = lines[:at]
            break
    if re.match(_PROXY_ENDED, lines[-1]):
        lines = [line for line in lines if not re.match(_OF_PROXY, line)] or lines
    while lines[1:] and re.match(_BEHIND, lines[-1]):
        lines.pop()
    return lines[0] if re.match(_USAGE, lines[0], re.IGNORECASE) else lines[-1]


def how_ended(words: Sequence[str], status: int) -> str:
    """``ssh exited with 255``: how the connection command ``words`` ended."""
    program = one_line(os.path.basename(words[0]))
    if status < 0:
        return f"{program} was killed by signal {-status}"
    return f"{program} exited with {status}"


def closed(words: Sequence[str]) -> str:
    """The connection command ``words`` runs, and takes or gives nothing more."""
    program = one_line(os.path.basename(words[0]))
    return f"the far end has closed the connection, though {program} still runs"


def unanswered(words: Sequence[str], status: int, why: str, hint: str) -> Lost:
    """The connection command ended with ``status`` before a shell answered.

    ``why`` is the last line that it said, ``hint`` what could help.
    """
    said = f": {why}" if why else ""
    return Lost(f"{how_ended(words, status)} before a shell answered{said}{hint}")


def unready(words: Sequence[str], status: int, why: str) -> Lost:
    """As `unanswered`, where a shell had answered and was not ready."""
    said = f": {why}" if why else ""
    return Lost(f"{how_ended(words, status)} before the far end was ready{said}")


def unanswered_yet(seconds: float, why: str) -> Lost:
    """No shell has answered for ``seconds``; ``why`` is what was said instead."""
    said = f"; it said: {why}" if why else ""
    return Lost(
        f"no shell answered within {seconds:g} s: the connection command must give a"
        f" POSIX shell, such as sh, on its standard input{said}"
    )


# The first line of start.sh gives a variable a value. This is said of it by csh and PowerShell, fish,
# and cmd. A POSIX shell that shows what it runs (set -x) says nothing behind it.
_OTHER_SHELL = rb"POSIXLY_CORRECT=1 ?:|set POSIXLY_CORRECT 1|'POSIXLY_CORRECT' is"


def is_other_shell(said: bytes) -> bool:
    """Has a shell said that which understands another language?"""
    return re.search(_OTHER_SHELL, said) is not None


def other_shell() -> Lost:
    return Lost(
        "the connection command gives no POSIX shell, but one such as csh, fish or"
        " PowerShell; have it end in sh (ssh host sh)"
    )


def not_typed(words: Sequence[str], seconds: float, why: str) -> Lost:
    """As `unanswered_yet`, of a command ``words`` that waits for somebody at the terminal."""
    program = one_line(os.path.basename(words[0]))
    said = f"; it said: {why}" if why else ""
    return Lost(
        f"{program} asked something on the terminal, such as for a password, and was not"
        f" answered within {seconds:g} s (--connect-timeout){said}"
    )


def not_ready(why: str) -> Lost:
    """A shell has answered, and nothing more; ``why`` is what was said instead."""
    said = f"; it said: {why}" if why else ""
    return Lost(
        "the far end answered and then fell silent, before it was ready: the connection"
        f" is dead, or one of its programs (tar, find, perl) hangs{said}"
    )


def is_good(status: int) -> bool:
    """Has a stage that ended with ``status`` done its work?"""
    return status in (command.OK, command.SKIPPED)


def stage_ended(name: str, status: int, lost: str, refused: str) -> NoReturn:
    """Raise what it means that a stage ended with ``status`` while others need it.

    ``lost`` and ``refused`` are what fr-pack has told of the connection.
    """
    if status == command.UNAVAILABLE:
        if refused:
            raise Stop(status, refused)
        raise Lost(lost)
    if status < 0:
        raise Lost(f"{name} was killed by signal {-status}")
    if status == command.TERMINATED:
        raise Lost(f"{name} was asked to end by a signal")
    if is_good(status):
        raise Lost(f"{name} ended")
    # What it could not write to was a pipe of ours.
    raise Stop(command.OS_ERROR if status == command.IO_ERROR else status, "")


class Endings:
    """Sees whether one of a session's processes has ended, and says what that means."""

    def __init__(
        self,
        connection: Sequence[str],
        processes: Processes,
        stages: Stages,
        errors: Errors,
        reports: Reports,
    ) -> None:
        self._connection = connection
        self._processes = processes
        self._stages = stages
        self._errors = errors
        self._reports = reports
        self._killed_at: Optional[float] = None  # the connection
        self.skipped = False  # could something not be read?

    def soon(self, pause: Optional[float]) -> Optional[float]:
        """For how long to wait at most, where nothing else is due for ``pause`` seconds."""
        if self._killed_at is None:
            return pause
        return _LAST_BREATH if pause is None else min(pause, _LAST_BREATH)

    def done(self) -> bool:
        """Has fr-pack ended well? Raises what the end of any stage means.

        fr-pack's last report tells why it ended: it is judged once that has been read.
        """
        processes = self._processes
        self._notice_a_kill()
        for name in processes.names():
            reports = processes.open([self._stages.reports])
            if name == "connection" or name == "fr-pack" and reports:
                continue
            status = processes.status(name)
            if status is None:
                continue
            self.skipped = self.skipped or status == command.SKIPPED
            if status == command.SKIPPED and self._errors.only_walk_missed():
                self._stages.name_all()
            if is_good(status) and name != "fr-pack":
                continue  # fr-watch too: its reader has gone, or ends for lack of it
            self._errors.drain_stages()
            if is_good(status):
                if "fr-watch" not in processes.names():
                    return True
                # Its input ended: so did fr-watch, whose status tells why.
                name, status = "fr-watch", processes.wait("fr-watch")
                self._errors.drain_stages()
            lost = self._how_lost() if status == command.UNAVAILABLE else ""
            stage_ended(name, status, lost, self._reports.refused)
        return False

    def _notice_a_kill(self) -> None:
        """Raise ``Lost`` if the connection was killed and its end is not to be seen.

        A tar or an --on-sync command that it has started may live on, and hold the pipes.
        """
        status = self._processes.status("connection")
        if status is None or status >= 0:
            return
        now = time.monotonic()
        self._killed_at = self._killed_at or now
        if now - self._killed_at > _KILLED_GRACE:
            raise Lost(how_ended(self._connection, status))

    def _how_lost(self) -> str:
        """Why the connection does not work any more.

        That it was closed is all that fr-pack can see when the command has ended. What is
        killed may be cut off amid its last words, and these then make no sense; one that exits
        after them does so for our sake.
        """
        senseless = self._reports.lost.endswith(NONSENSE)
        if self._reports.lost not in _CLOSED and not senseless:
            return self._reports.lost
        status = self._processes.status_soon("connection", _LAST_BREATH)
        if senseless and (status is None or 0 <= status <= _KILLED):
            return self._reports.lost
        if status is None:
            return closed(self._connection)
        return how_ended(self._connection, status)
