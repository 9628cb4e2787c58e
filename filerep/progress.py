"""What file-replicator shows while it runs."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def size(count: float) -> str:
    """``count`` bytes as a person reads it, in powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            break
        count /= 1000
    else:
        unit = "TB"
    digits = 0 if unit == "bytes" or count >= 9.95 else 1
    return f"{count:.{digits}f} {unit}"


def duration(ms: float) -> str:
    if ms < 10:
        return f"{ms:.1f} ms"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def some(names: list[str], count: int) -> str:
    """The first names, then how many more."""
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    return ", ".join(names) + more


class Display:
    """Lines on stderr for what the stages report."""

    def __init__(self, say: Callable[[str], None], quiet: bool, debugging: bool) -> None:
        self.say = say
        self.quiet = quiet
        self.debugging = debugging

    def message(self, text: str) -> None:
        """What must be known, also when quiet."""
        self.say(text)

    def line(self, text: str) -> None:
        """A stage's message, which names its program already."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def far_end(self, data: bytes) -> None:
        """What a program at the far end wrote to stderr."""
        sys.stderr.buffer.write(data)
        sys.stderr.flush()

    def report(self, what: dict[str, Any], watching: bool) -> None:
        if self.debugging:
            self.say(f"debugging: {what}")
        if self.quiet:
            return
        if what["is"] == "first":
            self.say(
                f"in sync: {what['known']:,} files, {size(what['bytes'])} sent"
                f" in {duration(what['ms'])}" + ("; watching" if watching else "")
            )
        elif what["is"] == "batch" and not what["bulk"]:
            parts = []
            if what["files"]:
                parts.append(
                    f"sent {some(what['sent'], what['files'])}, {size(what['bytes'])}"
                )
            if what["deletions"]:
                parts.append(f"removed {some(what['removed'], what['deletions'])}")
            if parts:
                self.say(f"{'; '.join(parts)}, {duration(what['ms'])}")
        elif what["is"] == "hook" and what["status"]:
            self.say(f"the --on-sync command exited with {what['status']}")
        elif what["is"] == "would":
            verb = "send" if "send" in what else "remove"
            self.say(f"would {verb} {what[verb]}")

    def close(self) -> None:
        """Leave the terminal as it was."""
