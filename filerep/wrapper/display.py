"""What file-replicator shows while it runs: lines on stderr, and on a terminal a bar.

All that goes to stderr goes through here, so that a line never lands in the bar, and each of
our own begins at the left. What the far end's programs write is shown as it is, except that
on a terminal the control characters are taken out, all but line ends, tabs and colours: a
file there or the machine itself must not move the cursor about, name the window or forge
what we say. No colours of our own, so there is nothing for NO_COLOR to turn off.
"""

from __future__ import annotations

import codecs
import os
import re

from filerep.command import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, TextIO

# Only a terminal needs these, so they are compiled when used: it takes 4 ms.
_COLOUR = r"\x1b\[[0-9;]*m"
# What a terminal acts on: an escape sequence, begun or whole, and every other control character.
_CONTROL = (
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
# The beginning of one, or half of a line end, whose rest may be in the next piece.
_BEGUN = r"(?:\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[ -/]*)|\r)\Z"
_LONGEST_ESCAPE = 1000


def size(count: float) -> str:
    """``count`` bytes as a person reads it, in powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            break
        count /= 1000
    else:
        unit = "TB"
    if unit == "bytes":
        return "1 byte" if count == 1 else f"{count:.0f} bytes"
    return f"{count:.{0 if count >= 9.95 else 1}f} {unit}"


def duration(ms: float) -> str:
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 99_950:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def columns(text: str) -> int:
    """How wide ``text`` is on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    marks = sum(unicodedata.combining(character) > 0 for character in text)
    return len(text) + wide - marks


def shorten(name: str, excess: int) -> str:
    """``name`` without ``excess`` of its middle, but with enough to know it by."""
    kept = max(20, len(name) - excess - len("..."))
    if excess <= 0 or kept + len("...") >= len(name):
        return name
    return f"{name[: kept // 2]}...{name[-(kept - kept // 2):]}"


def some(names: list[str], count: int) -> str:
    """The first names, then how many more."""
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    return ", ".join(names) + more


def batch_line(what: dict[str, Any], width: int = 0) -> str:
    """What was sent and removed, with so many names as fit ``width`` columns."""

    def line(most: int, excess: int = 0) -> str:
        parts = []
        for verb, names, count in (
            ("sent", what["sent"], what["files"]),
            ("removed", what["removed"], what["deletions"]),
        ):
            if count:
                shown = [shorten(name, excess) for name in names[:most]]
                parts.append(f"{verb} {some(shown, count)}")
        if what["files"]:
            parts[0] += f", {size(what['bytes'])}"
        return f"{'; '.join(parts)}, {duration(what['ms'])}" if parts else ""

    for most in (3, 2, 1):
        text = line(most)
        if not width or columns(text) <= width:
            return text
    excess = columns(text) - width
    both = bool(what["files"] and what["deletions"])
    return line(1, excess // 2 + 1 if both else excess)


def first_line(what: dict[str, Any], watching: bool) -> str:
    """What the first copy came to."""
    if what["rehearsed"]:
        count = f"{files(what['files'])} to send, {size(what['bytes'])}"
        return f"nothing was changed: {count}; {what['removals']:,} to remove"
    if not what["compared"]:
        did = "watching" if watching else "nothing to do"
        return f"{did}; what is at the far end was not compared"
    if not what["files"]:
        did = "nothing to send"
    elif what["files"] >= what["known"]:
        did = size(what["bytes"])
    else:
        did = f"{what['files']:,} of them sent, {size(what['bytes'])}"
    if what["removals"]:
        did += f", {what['removals']:,} removed"
    did += " in " if what["files"] or what["removals"] else ", "
    did += duration(what["ms"])
    if what["failing"]:
        state = f"not in sync, {files(what['failing'])} could not be written"
    else:
        state = "in sync"
    return f"{state}: {files(what['known'])}, {did}" + (
        "; watching" if watching else ""
    )


def harmless(text: str) -> str:
    """``text`` without what a terminal acts on, but for colours, tabs and line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")

    def keep(found: re.Match[str]) -> str:
        return found[0] if re.fullmatch(_COLOUR, found[0]) else ""

    return re.sub(_CONTROL, keep, text)


class FarText:
    """The far end's bytes as text for a terminal, whatever pieces they come in."""

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._rest = ""

    def feed(self, data: bytes) -> str:
        text = self._rest + self._decoder.decode(data)
        begun = re.compile(_BEGUN).search(text, max(0, len(text) - _LONGEST_ESCAPE))
        cut = begun.start() if begun else len(text)
        self._rest = text[cut:]
        return harmless(text[:cut])


class Display:
    """Writes to ``stream``, which is a terminal or is not; never raises for it.

    What a dry run would do goes to standard output.
    """

    def __init__(
        self,
        stream: Optional[TextIO],
        program: str,
        quiet: bool = False,
        debugging: bool = False,
    ) -> None:
        self._stream = stream
        self._program = program
        self._quiet = quiet
        self._debugging = debugging
        self._bar: Any = None
        self._far: Optional[FarText] = None
        self._failing = False  # is the destination known to be out of step?
        self._left = True  # is the cursor at the left?
        self._held = ""  # a line of the far end's without its end, under a bar
        self.terminal = False
        try:
            if stream is not None and stream.isatty():
                self.terminal = os.environ.get("TERM", "dumb") != "dumb"
                self._far = FarText(stream.encoding)
        except ValueError:
            self._stream = None  # closed before we began

    @property
    def bar(self) -> bool:
        """Is there anybody to show a bar to?"""
        return self.terminal and not self._quiet

    # -- what is told -----------------------------------------------------------------

    def message(self, text: str) -> None:
        """What must be known, also when quiet."""
        self.line(f"{self._program}: {text}")

    def line(self, text: str) -> None:
        """A stage's message, which names its program already.

        It may hold words of the far end's; names in it are quoted (see pathstream).
        """
        shown = (one if one.isprintable() else "?" for one in text)
        self._write("".join(shown) + "\n")

    def far_end(self, data: bytes) -> None:
        """What a program at the far end wrote to stderr, or the connection command."""
        if self._stream is None:
            return
        if self._far is None:
            self._left = data.endswith(b"\n")
            try:
                self._stream.flush()
                self._stream.buffer.write(data)
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None
            return
        text = self._held + self._far.feed(data)
        self._held = ""
        if self._bar is not None:
            text, _, self._held = text.rpartition("\n")
            text += "\n" if text else ""
        if text:
            self._write(text, beside=not self._left)

    def report(self, what: dict[str, Any], watching: bool) -> None:
        """What fr-pack reports: see conversation.py."""
        kind = what["is"]
        if self._debugging:
            self.message(f"debugging: {what}")
        if kind == "progress":
            self._progress(what)
        if kind == "first":
            self._end_bar()
            self._failing = what["failing"] > 0
        if kind == "sync":
            if self._failing and not what["failing"]:
                self.message("in sync again")
            self._failing = what["failing"] > 0
        if kind == "would":
            self._list(f"would {what['do']} {what['path']}")
        if self._quiet:
            return
        if kind == "first":
            self.message(first_line(what, watching))
        elif kind == "batch" and not what["bulk"]:
            text = batch_line(what, self._room())
            if text:
                self.message(text)
        elif kind == "hook" and what["status"]:
            self.message(f"the --on-sync command exited with {what['status']}")

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._end_bar()
        if not self._left:
            self._write("")

    # -- how --------------------------------------------------------------------------

    def _list(self, text: str) -> None:
        """A line that was asked for, so on stdout; raises ``OutputError``."""
        if self._bar is not None:
            self._bar.clear()
        write_all(1, os.fsencode(text) + b"\n")
        if self._bar is not None:
            self._bar.refresh()

    def _room(self) -> int:
        """Columns for a message, 0 for as many as it takes."""
        if not self.terminal or self._stream is None:
            return 0
        try:
            width = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            return 0
        return max(width - len(self._program) - 2, 1) if width else 0

    def _write(self, text: str, beside: bool = False) -> None:
        """Write whole lines; ``beside`` what stands in the line already, if anything."""
        if self._stream is None:
            return
        try:
            if self._bar is not None:
                self._bar.clear()
            if not self._left and not beside:
                self._stream.write("\n")
            self._stream.write(text)
            self._stream.flush()
            self._left = text.endswith("\n") or not text
            if self._bar is not None:
                self._bar.refresh()
        except (OSError, ValueError):
            self._stream = self._bar = None

    def _progress(self, what: dict[str, Any]) -> None:
        if not self.bar or self._stream is None:
            return
        try:
            if self._bar is None:
                if not self._left:
                    self._write("")
                self._bar = _bar(self._stream, self._program)
            self._bar.total = what["of_bytes"] and max(what["of_bytes"], what["bytes"])
            count = f"{what['files']:,}"
            if what["of_files"]:
                count += f"/{what['of_files']:,}"
            self._bar.set_postfix_str(f"{count} files", refresh=False)
            self._bar.update(what["bytes"] - self._bar.n)
        except (OSError, ValueError):
            self._stream = self._bar = None

    def _end_bar(self) -> None:
        bar, self._bar = self._bar, None
        try:
            if bar is not None:
                bar.close()
        except (OSError, ValueError):
            self._stream = None
        held, self._held = self._held, ""
        if held:
            self._write(held)


def _bar(stream: TextIO, program: str) -> Any:
    """tqdm's bar, without the thread and the semaphores it brings for other uses."""
    import threading

    from tqdm import tqdm

    tqdm.monitor_interval = 0
    tqdm.set_lock(threading.RLock())
    return tqdm(
        desc=program,
        unit="B",
        unit_scale=True,
        mininterval=0,  # what comes is rare enough
        miniters=1,
        smoothing=0.1,
        dynamic_ncols=True,
        leave=False,
        file=stream,
    )
