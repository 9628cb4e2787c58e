"""What it means that a process has ended, or the connection has."""

from __future__ import annotations

import os
import re

from filerep import command
from filerep.command import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


class Lost(Exception):
    """The connection, the far end or a stage is gone; what follows is another attempt."""


def one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


# What programs print behind the line that says what is wrong: how they are used, where that stands,
# what else could not be done for it.
_USAGE = r"\s*usage\b"
_BEHIND = r".* (-h|--help)\b|sudo: error initializing audit plugin\b"


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


def unanswered_yet(seconds: float, why: str) -> Lost:
    """No shell has answered for ``seconds``; ``why`` is what was said instead."""
    said = f"; it said: {why}" if why else ""
    return Lost(
        f"no shell answered within {seconds:g} s: the connection command must give a"
        f" POSIX shell, such as sh, on its standard input{said}"
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
