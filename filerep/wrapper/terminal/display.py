"""What file-replicator shows while it runs: lines on stderr, and on a terminal a bar.

All that goes to stderr goes through here. On a terminal each line of ours has the time of day in
front, and each of the far end's `| ` (see fartext.py). Elsewhere each line of ours names the
program, and the far end's bytes are as they are, but not on a terminal that knows no columns
(TERM=dumb), where its lines are marked too. One far end of many has its name in front of
every line, its own too, and draws no bottom line. Here is what is told; where it stands, and for
how long, is for console.py.
"""

from __future__ import annotations

import errno
import os
import signal
import time

from filerep.command import BySignal, OutputError, Stop, write_all
from filerep.pathstream import quote
from filerep.wrapper.terminal.console import BUG, Console
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
from filerep.wrapper.terminal.screen import Screen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Optional, TextIO

_CONNECTING = 1.0
_SHORTEST_COMMAND, _LONGEST_COMMAND = 25, 60  # columns


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
        self._console = Console(self._screen, clock, self._verbose)
        self._first = FirstCopy()
        self._failing = False  # is the destination known to be out of step?
        self._connecting: Optional[float] = None  # since when, until that is said
        self._connection = self._hint = ""
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
        self._console.say(text)

    def failure(self, text: str) -> None:
        """What is wrong."""
        self._console.say(text, failure=True)

    def line(self, text: str) -> None:
        """A stage's message, less the name of its program, which nobody has typed.

        It may hold words of the far end's; names in it are quoted (see pathstream).
        """
        shown = "".join(one if one.isprintable() else "?" for one in text)
        program, colon, rest = shown.partition(": ")
        if not colon or not program.startswith("fr-"):
            rest = shown
        if rest.startswith(BUG):
            rest = f"{BUG} in {program}{rest[len(BUG) :]}"
        self._console.say(rest)

    def far_end(self, data: bytes) -> None:
        """What a program at the far end wrote to stderr, or the connection command."""
        self._console.far_end(data)

    def connecting(
        self,
        words: Sequence[str],
        asks: Callable[[], bool] = bool,
        hint: str = "",
    ) -> None:
        """The command ``words`` was started, of which is told if that takes long, and a ``hint``.

        But not where it ``asks`` somebody at the terminal, whose question must stand last.
        Without words nothing is told: that it connects again was said.
        """
        self._asks = asks
        self._console.clear()
        self._first = FirstCopy(again=not words)
        self._lost, self._left = not words, {}
        self._connecting = None if self._quiet or not words else self._clock()
        self._connection, self._hint = quote(" ".join(words)), hint

    def connected(self, destination: bytes, ready: str) -> None:
        """It has answered by the line ``ready``, and will replicate to ``destination``."""
        if self._verbose:
            self._console.say(far_line(ready))
        self._connecting = None
        self._lost = False
        self._first.begun = True
        self._where = quote(destination.replace(b"//", b"/"))

    def report(self, what: dict[str, Any], watching: bool) -> None:
        """What fr-pack reports: see conversation.py."""
        if self._debugging:
            import json

            self._console.say(f"debugging: {json.dumps(what)}")
        kind = what["is"]
        if kind == "progress":
            self._progress(what)
        elif kind == "batch":
            self._batch(what)
        elif kind == "first":
            self._first_copied(what, watching)
        elif kind == "sync":
            if self._failing and not what["failing"]:
                self._console.say("in sync again")
            self._failing = what["failing"] > 0
        elif kind == "would":
            self._would[what["path"]] = would_line(what)
        elif kind == "sending":
            self._sending(what)
        elif kind == "hook":
            self._hook(what)
        elif kind == "failing" or kind == "at_work" and not what["now"]:
            self._console.one_file = None
        elif kind == "left":
            self._left = what
        elif kind == "tools" and self._verbose:
            self._console.say(tools_line(what))

    def interrupted(self) -> None:
        """A signal has asked for the end: what has not arrived, if anything."""
        self._console.clear()
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
            self._console.say(said)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._console.close()

    # -- when -------------------------------------------------------------------------

    def due(self) -> Optional[float]:
        """In how many seconds ``tick`` is to be called, None for never."""
        first = self._console.due()
        if self._connecting is not None:
            told = self._connecting + _CONNECTING
            first = told if first is None else min(first, told)
        return None if first is None else max(0.0, first - self._clock())

    def tick(self) -> None:
        """Draw what is due."""
        now = self._clock()
        if self._connecting is not None and now >= self._connecting + _CONNECTING:
            self._connecting = None
            if not (self._screen.asked() or self._screen.terminal and self._asks()):
                self._console.say(self._unanswered())
        self._console.tick()

    def _unanswered(self) -> str:
        said = "connecting: {} has not answered yet"
        room = self._screen.room - len(said.format("")) if self._screen.room else 1000
        shown = min(max(room, _SHORTEST_COMMAND), _LONGEST_COMMAND)
        return said.format(beginning(self._connection, shown)) + self._hint

    # -- reports ----------------------------------------------------------------------

    def _progress(self, what: dict[str, Any]) -> None:
        self._first.progress(what)
        if not self.bar or what["of_files"] == 0:
            return
        bar = self._console.bar
        if bar is None:
            from filerep.wrapper.terminal.progressbar import Bar

            bar = Bar(self._clock, "utf" in self._screen.encoding.lower())
        bar.update(what)
        heavy = self._first.heavy(what, bar.seconds_left())
        if heavy:
            self._console.say(heavy)
        self._console.bar = bar

    def _sending(self, what: dict[str, Any]) -> None:
        if not self.bar:
            return
        file = self._console.one_file
        if file is None or file.path != what["path"]:
            from filerep.wrapper.terminal.progressbar import OneFile

            file = OneFile(self._clock, what["path"])
        file.told(what)
        self._console.one_file = file

    def _first_copied(self, what: dict[str, Any], watching: bool) -> None:
        first, self._first = self._first, FirstCopy()
        self._console.bar = None
        self._failing = what["failing"] > 0
        self._write_would()
        if self._quiet:
            return
        for line in first.removed():
            self._console.say(line)
        self._console.say(first_line(what, watching, self._where))
        if what["ignored"]:
            self._console.say(ignored_line(what["ignored"]))

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
        elif not self._quiet:
            self._console.batch(what)

    def _hook(self, what: dict[str, Any]) -> None:
        took = duration(what["ms"])
        if what["status"]:
            status = what["status"]
            self.failure(f"the --on-sync command exited with {status} after {took}")
        elif not self._quiet:
            self._console.say(f"the --on-sync command took {took}")
