"""What is known of a first copy while it is under way, beside how far it has come."""

from __future__ import annotations

from filerep.wrapper.terminal.formatting import bare, countdown, files, size, size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_MOST_REMOVED = 20  # lines
_LONG = 60.0  # seconds: worth a thought while it has just begun
_SPECIAL = set("*?[]\\!# ")  # in a pattern or to a shell


class FirstCopy:
    """Counts what has arrived, and keeps what is to be told of it."""

    def __init__(self, again: bool = False) -> None:
        """``again``: after a loss of the connection, once there was one."""
        self._again = again
        self.begun = False
        self._files = self._bytes = 0
        self._of_files = self._of_bytes = 0  # to be sent in all, 0 while nobody knows
        self._removed: list[str] = []
        self._removals = 0
        self._said_heavy = False

    def progress(self, what: dict[str, Any]) -> None:
        self._of_files = what["of_files"] or 0
        self._of_bytes = what["of_bytes"] or 0

    def batch(self, what: dict[str, Any]) -> None:
        self._files += what["files"]
        self._bytes += what["bytes"]
        self._removals += what["deletions"]
        room = _MOST_REMOVED - len(self._removed)
        self._removed += what["removed"][:room]

    def removed(self) -> Iterator[str]:
        """What was removed, a line each."""
        for name in sorted(self._removed):
            yield f"removed {name}"
        more = self._removals - len(self._removed)
        if more:
            count = f"{more:,} more" if self._removed else f"{more:,}"
            yield f"removed {count} {'file' if more == 1 else 'files'}"

    def heavy(self, what: dict[str, Any], seconds: float) -> str:
        """One line on the directory that makes it last so long, if one does."""
        if self._said_heavy or seconds < _LONG or not what.get("heavy"):
            return ""
        place, count = what["heavy"]
        if what["bytes"] > self._of_bytes / 2:
            return ""
        self._said_heavy = True
        name = bare(f"'{place}/'")
        said = f"{size(self._of_bytes)} to send, about {countdown(seconds)}"
        said += f": {size(count)} of it in {name}"
        if _SPECIAL.isdisjoint(place) and name[0] != "'":
            said += f"; --exclude {name} leaves it out"
        return said

    def left(self) -> str:
        """How much of it has arrived; nothing if it has not begun."""
        if not self._files:
            what = "what has changed is not all there"
            what = what if self._again else "the first copy is not done"
            return what if self.begun else ""
        if not self._of_files:
            return f"{files(self._files)} sent, {size(self._bytes)}"
        count = f"{self._files:,} of {files(max(self._of_files, self._files))} sent"
        return f"{count}, {size_of(self._bytes, max(self._of_bytes, self._bytes))}"
