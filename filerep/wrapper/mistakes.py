"""What was probably meant, where what was typed cannot work: a hint for the message."""

from __future__ import annotations

import os

from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def not_run(words: Sequence[str]) -> str:
    """The system knows no command of that name."""
    first, rest = words[0], words[1:]
    if not rest and len(first.split()) > 1:
        return "; write the command without quotes around it"
    return ""


def not_answered(words: Sequence[str], status: int, options: Collection[str]) -> str:
    """The command ended with ``status`` before a shell answered.

    ``options`` are ours; a command would not understand them.
    """
    for word in words[1:]:
        name = word.partition("=")[0]
        if name.startswith("--") and name in options:
            return f"; options such as {quote(name)} go before SRC_DIR"
    if status == 0:
        program = os.path.basename(words[0])
        if program in ("docker", "podman", "kubectl", "nerdctl") and "exec" in words:
            return f"; it read no standard input: {program} exec needs -i"
        return (
            "; it read no standard input, where a shell must take its commands"
            " (docker exec needs -i)"
        )
    last = os.path.basename(words[-1])
    if status in (126, 127) and last in ("bash", "zsh", "ash", "dash", "ksh"):
        return f"; if there is no {last} over there, try sh"
    return ""
