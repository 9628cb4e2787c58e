"""--each: what is to be done for each of its words, and what comes of that."""

from __future__ import annotations

from filerep import command
from filerep.command import USAGE, Stop
from filerep.pathstream import quote
from filerep.wrapper import mistakes
from filerep.wrapper.job import Job
from filerep.wrapper.processes import PIPE_BYTES
from filerep.wrapper.terminal.formatting import bare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")

PLACE = "{}"
# The pipes of one user hold 64 MB by default (pipe(7)), after which new ones hold a page.
_ALL_PIPES, _LEAST_PIPE = 16 << 20, 1 << 16


def jobs(args: Mapping[str, Any]) -> dict[str, Job]:
    """The job of each far end by its name, or the only one by no name; raises ``Stop``."""
    words: list[str] = args["--each"] or []
    if not words:
        return {"": Job(args)}
    places = [args["DEST_PARENT_DIR"], args["--as"] or "", *args["CONNECTION_COMMAND"]]
    if not any(PLACE in place for place in places):
        mistakes.each_without_place(words)
    found: dict[str, Job] = {}
    for word in words:
        name = bare(quote(word))
        if not word:
            raise Stop(USAGE, "--each takes words, and one of them is empty")
        if name in found:
            raise Stop(USAGE, f"--each has {name} twice")
        found[name] = Job({**args, **_put(args, word)})
    share = max(_LEAST_PIPE, _ALL_PIPES // len(found))
    for job in found.values():
        job.pipe_bytes = min(PIPE_BYTES, 1 << share.bit_length() - 1)
    return found


def worst(
    these: Mapping[str, T], act: Callable[[T], int], say: Callable[[str], object]
) -> int:
    """The worst exit status of ``act`` on each; what it raises is said by name.

    Without a name there is one, whose ``Stop`` escapes.
    """
    if "" in these:
        return act(these[""])
    found = command.OK
    for name, one in these.items():
        try:
            status = act(one)
        except Stop as stop:
            say(f"{name}: {stop}")
            status = stop.status
        found = max(found, status)
    return found


def _put(args: Mapping[str, Any], word: str) -> dict[str, Any]:
    """The arguments in which `{}` may stand, with ``word`` in its place."""
    found: dict[str, Any] = {}
    for name in ("DEST_PARENT_DIR", "--as"):
        if args[name] is not None:
            found[name] = args[name].replace(PLACE, word)
    words = args["CONNECTION_COMMAND"]
    found["CONNECTION_COMMAND"] = [one.replace(PLACE, word) for one in words]
    return found
