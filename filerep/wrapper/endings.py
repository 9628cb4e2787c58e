"""What it means that a process has ended, or the connection has."""

from __future__ import annotations

from filerep import command
from filerep.command import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class Lost(Exception):
    """The connection, the far end or a stage is gone; what follows is another attempt."""


def one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def unanswered(status: int, words: bytes) -> Lost:
    """The connection command ended with ``status`` before a shell answered.

    ``words`` are the last that it wrote to stderr.
    """
    how = f"was killed by signal {-status}" if status < 0 else f"exited with {status}"
    lines = [line for line in words.splitlines() if line.strip()]
    why = f": {one_line(lines[-1].decode('utf-8', 'replace'))}" if lines else ""
    return Lost(f"the connection command {how} before a shell answered{why}")


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
    raise Stop(status, "")
