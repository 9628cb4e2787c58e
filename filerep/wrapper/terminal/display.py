"""What file-replicator shows while it runs: lines on stderr, and on a terminal a bar.

All that goes to stderr goes through here. On a terminal each line of ours has the time of day in
front, and each of the far end's `| ` (see fartext.py); a burst of batches is a count that runs
in the bottom line and stays as one line when it has been quiet for a moment. Elsewhere each
line of ours names the program, a burst is a line a second, and the far end's bytes are as they are.
One far end of many has its name in front of every line, its own too, and draws no bottom line.

Drawing waits for nothing and comes after the work: who loops asks ``due`` when to call ``tick``.
"""

from __future__ import annotations

import errno
import os
import signal
import time

from filerep.command import BySignal, OutputError, Stop, write_all
from filerep.pathstream import quote
from filerep.wrapper.terminal.bursts import QUIET, TimedBurst
from filerep.wrapper.terminal.fartext import FarText, marked
from filerep.wrapper.terminal.firstcopy import FirstCopy
from filerep.wrapper.terminal.formatting import beginning, duration
from filerep.wrapper.terminal.reportlines import (
    far_line,
    first_line,
    ignored_line,
    left_words,
    tools_line,
    would_line,
)
from filerep.wrapper.terminal.screen import GREEN, RED, Screen
from filerep.wrapping import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Optional, TextIO

    from filerep.wrapper.terminal.progressbar import Bar, OneFile

_CONNECTING = 1.0
_SHORTEST_COMMAND, _LONGEST_COMMAND = 25, 60  # columns
_BUG = "internal error"
_FAILURES = ("cannot ", "not in sync", _BUG, "the connection was lost")
_IN_SYNC = "in sync"


class Display:
    """Turns what happens into lines; never raises for a terminal that is gone.

    What a dry run would do goes to standard output.
    """

    def __init__(
        self,
        stream: Optional[TextIO],
        program: str,
        quiet: bool = False,
        debugging: bool = False,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
        name: str = "",
    ) -> None:
        """``name``: of the far end that it is about, where there are many."""
        self._screen = Screen(stream, program, name=name)
        self._quiet = quiet
        self._debugging = debugging
        self._verbose = verbose or debugging
        self._clock = clock
        self._far = FarText(self._screen.encoding, self._screen.coloured)
        self._far_last = 0.0
        self._burst = TimedBurst(self._screen)
        self._bar: Optional[Bar] = None
        self._one_file: Optional[OneFile] = None  # that takes long
        self._first = FirstCopy()
        self._failing = False  # is the destination known to be out of step?
        self._connecting: Optional[float] = None  # since when, until that is said
        self._connection = ""
        self._asks: Callable[[], bool] = bool
        self._lost = False  # is it connecting again?
        self._left: dict[str, Any] = {}  # what has not arrived at the end
        self._would: dict[str, str] = {}
        self._where = ""  # the destination, quoted

    @property
    def bar(self) -> bool:
        """Is there anybody to show a bar to?"""
        return self._screen.draws and not self._quiet

    # -- what is told -----------------------------------------------------------------

    def message(self, text: str) -> None:
        """What must be known, also when quiet."""
        self._say(text)

    def failure(self, text: str) -> None:
        """What is wrong."""
        self._say(text, failure=True)

    def line(self, text: str) -> None:
        """A stage's message, less the name of its program, which nobody has typed.

        It may hold words of the far end's; names in it are quoted (see pathstream).
        """
        shown = "".join(one if one.isprintable() else "?" for one in text)
        program, colon, rest = shown.partition(": ")
        if not colon or not program.startswith("fr-"):
            rest = shown
        if rest.startswith(_BUG):
            rest = f"{_BUG} in {program}{rest[len(_BUG) :]}"
        self._say(rest)

    def far_end(self, data: bytes) -> None:
        """What a program at the far end wrote to stderr, or the connection command."""
        self._end_burst()
        if not (self._screen.terminal or self._screen.front):
            self._screen.raw(data)
            return
        self._far_lines(self._far.feed(data))
        self._far_last = self._clock()
        if not self._far.partial:
            self._draw_bottom()

    def connecting(self, words: Sequence[str], asks: Callable[[], bool] = bool) -> None:
        """The command ``words`` was started, of which is told if that takes long.

        But not where it ``asks`` somebody at the terminal, whose question must stand last.
        Without words nothing is told: that it connects again was said.
        """
        self._asks = asks
        self._bar = self._one_file = None
        self._first = FirstCopy(again=not words)
        self._lost, self._left = not words, {}
        self._draw_bottom()
        self._connecting = None if self._quiet or not words else self._clock()
        self._connection = quote(" ".join(words))

    def connected(self, destination: bytes, ready: str) -> None:
        """It has answered by the line ``ready``, and will replicate to ``destination``."""
        if self._verbose:
            self._say(far_line(ready))
        self._connecting = None
        self._lost = False
        self._first.begun = True
        self._where = quote(destination.replace(b"//", b"/"))

    def report(self, what: dict[str, Any], watching: bool) -> None:
        """What fr-pack reports: see conversation.py."""
        if self._debugging:
            import json

            self._say(f"debugging: {json.dumps(what)}")
        kind = what["is"]
        if kind == "progress":
            self._progress(what)
        elif kind == "batch":
            self._batch(what)
        elif kind == "first":
            self._first_copied(what, watching)
        elif kind == "sync":
            if self._failing and not what["failing"]:
                self._say("in sync again")
            self._failing = what["failing"] > 0
        elif kind == "would":
            self._would[what["path"]] = would_line(what)
        elif kind == "sending":
            self._sending(what)
        elif kind == "hook":
            self._hook(what)
        elif kind == "failing" or kind == "at_work" and not what["now"]:
            self._forget_one_file()
        elif kind == "left":
            self._left = what
        elif kind == "tools" and self._verbose:
            self._say(tools_line(what))

    def interrupted(self) -> None:
        """A signal has asked for the end: what has not arrived, if anything."""
        self._bar = self._one_file = None
        self._end_burst()
        self._draw_bottom()
        said = ""
        left = self._first.left()
        if left:
            said = f"interrupted: {left}; the next start goes on from there"
        elif self._left.get("paths"):
            told = self._left
            left = left_words(told["names"], told["paths"], told["gone"])
            said = f"interrupted: {left}; the next start catches up"
        elif self._lost:
            said = "interrupted while the connection was lost: what has not arrived"
            said += " by now, the next start sends"
        if said:
            self._screen.to_margin()
            self._say(said)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar = self._one_file = None
        self._end_burst()
        self._far_lines(self._far.end())
        self._screen.close()

    # -- when -------------------------------------------------------------------------

    def due(self) -> Optional[float]:
        """In how many seconds ``tick`` is to be called, None for never."""
        times = []
        if self._connecting is not None:
            times.append(self._connecting + _CONNECTING)
        if self._burst:
            times.append(self._burst.due())
        if self._far.partial and not self._bar:
            times.append(self._far_last + QUIET)
        return max(0.0, min(times) - self._clock()) if times else None

    def tick(self) -> None:
        """Draw what is due."""
        now = self._clock()
        if self._connecting is not None and now >= self._connecting + _CONNECTING:
            self._connecting = None
            if not (self._screen.asked() or self._screen.terminal and self._asks()):
                self._say(self._unanswered())
        if self._burst and now >= self._burst.due():
            if now >= self._burst.over():
                self._end_burst()
            else:
                self._show_burst()
        if self._far.partial and not self._bar and now >= self._far_last + QUIET:
            self._far_lines(self._far.end())

    def _unanswered(self) -> str:
        said = "connecting: {} has not answered yet"
        room = self._screen.room - len(said.format("")) if self._screen.room else 1000
        shown = min(max(room, _SHORTEST_COMMAND), _LONGEST_COMMAND)
        return said.format(beginning(self._connection, shown))

    # -- reports ----------------------------------------------------------------------

    def _progress(self, what: dict[str, Any]) -> None:
        self._first.progress(what)
        if not self.bar or what["of_files"] == 0:
            return
        if self._bar is None:
            from filerep.wrapper.terminal.progressbar import Bar

            self._bar = Bar(self._clock, "utf" in self._screen.encoding.lower())
        self._bar.update(what)
        heavy = self._first.heavy(what, self._bar.seconds_left())
        if heavy:
            self._say(heavy)
        self._draw_bottom()

    def _sending(self, what: dict[str, Any]) -> None:
        if not self.bar:
            return
        if self._one_file is None or self._one_file.path != what["path"]:
            from filerep.wrapper.terminal.progressbar import OneFile

            self._one_file = OneFile(self._clock, what["path"])
        self._one_file.told(what)
        self._draw_bottom()

    def _forget_one_file(self) -> None:
        self._one_file = None
        self._draw_bottom()

    def _first_copied(self, what: dict[str, Any], watching: bool) -> None:
        first, self._first = self._first, FirstCopy()
        self._bar = None
        self._draw_bottom()
        self._failing = what["failing"] > 0
        self._write_would()
        if self._quiet:
            return
        for line in first.removed():
            self._say(line)
        self._say(first_line(what, watching, self._where))
        if what["ignored"]:
            self._say(ignored_line(what["ignored"]))

    def _write_would(self) -> None:
        """What a dry run would do; raises ``OutputError``, and ``Stop`` if nobody reads it."""
        would, self._would = self._would, {}
        lines = [f"{self._screen.front}{would[path]}\n" for path in sorted(would)]
        try:
            write_all(1, os.fsencode("".join(lines)))
        except OutputError as error:
            if error.errno != errno.EPIPE:
                raise
            # A status of 0 would say that there is nothing to be done.
            raise Stop(BySignal(128 + signal.SIGPIPE), "") from None

    def _batch(self, what: dict[str, Any]) -> None:
        if what["bulk"]:
            self._first.batch(what)
            return
        if self._quiet:
            return
        if self._one_file is not None:
            named = what["sent"] + what["removed"]
            all_named = len(named) == what["files"] + what["deletions"]
            if self._one_file.path in named or not all_named:
                self._one_file = None
        now = self._clock()
        self._burst.add(what, now)
        if self._burst.due() <= now:
            self._show_burst()

    def _hook(self, what: dict[str, Any]) -> None:
        took = duration(what["ms"])
        if what["status"]:
            status = what["status"]
            self.failure(f"the --on-sync command exited with {status} after {took}")
        elif not self._quiet:
            self._say(f"the --on-sync command took {took}")

    # -- how --------------------------------------------------------------------------

    def _say(self, text: str, failure: bool = False) -> None:
        self._end_burst()
        if failure or text.startswith(_FAILURES):
            self._screen.say(text, RED)
        elif text.startswith(_IN_SYNC):
            self._screen.say(text, GREEN, _IN_SYNC)
        else:
            self._screen.say(text)

    def _show_burst(self) -> None:
        self._burst.drawn = self._clock()
        if self._screen.draws:
            self._draw_bottom()
        else:
            self._end_burst()

    def _end_burst(self) -> None:
        """Let what has come so far stay as a line."""
        if not self._burst:
            return
        text = self._burst.end(self._screen.room, self._verbose)
        self._draw_bottom()
        if text:
            self._screen.say(text)

    def _far_lines(self, lines: list[str]) -> None:
        front, width = self._screen.front, self._screen.width
        room = max(width - columns(front), 1) if width else 0
        if lines:
            rows = [row for one in lines for row in marked(one, room)]
            self._screen.lines([front + row for row in rows])

    def _draw_bottom(self) -> None:
        if self._bar is not None:
            self._screen.draw(self._bar.text(self._screen.bottom_width))
        elif self._burst:
            room = self._screen.bottom_room  # what is wider cannot be drawn over
            text = self._burst.line(room, self._verbose)
            self._screen.draw_timed(beginning(text, room) if room else text)
        elif self._one_file is not None:
            width = self._screen.bottom_width
            self._screen.draw(beginning(self._one_file.text(width), width))
        else:
            self._screen.draw("")
