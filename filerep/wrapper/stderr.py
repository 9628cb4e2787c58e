"""What the stages and the far end write to stderr."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filerep.wrapper.events import Events
    from filerep.wrapper.processes import Processes
    from filerep.wrapper.terminal.display import Display

LAST_WORDS = 16384  # a whole usage text behind what is wrong, as of docker


class Errors:
    """Shows what comes on stderr: the stages' by the line, the far end's as it is."""

    def __init__(
        self,
        processes: Processes,
        display: Display,
        events: Events,
        stages: int,
        far: int,
    ) -> None:
        self._events = events
        self._processes = processes
        self._display = display
        self._stages = stages
        self._far = far
        self._line = b""  # of a stage, not yet whole
        self.words = b""  # the last of the far end's, until it is ready
        self.ready = False
        self._unwatched: set[str] = set()  # what fr-watch could not read, and why
        self._watch_said: set[str] = set()
        self._walk_missed = False  # could fr-walk not read something else?

    def fds(self) -> list[int]:
        """What to poll for reading before ``hear``."""
        return [self._stages, self._far]

    def hear(self, ready: set[int]) -> None:
        if self._stages in ready:
            self._hear_stages()
        if self._far in ready:
            self.hear_far()

    def hear_far(self) -> None:
        """Show what the far end has written; before it is ready, keep it."""
        if not self._readable(self._far):
            return
        chunk = os.read(self._far, 65536)
        if not chunk:
            self._processes.close(self._far)
        elif self.ready:
            self._display.far_end(chunk)
        else:
            self.words = (self.words + chunk)[-LAST_WORDS:]

    def drain_stages(self) -> None:
        """Show what is there of those that have ended."""
        while self._readable(self._stages):
            self._hear_stages()

    def only_walk_missed(self) -> bool:
        """Could fr-walk not read what fr-watch could? So for a moment only; told once.

        Nobody else would ever name that.
        """
        self.drain_stages()
        missed, self._walk_missed = self._walk_missed, False
        return missed

    def _hear_stages(self) -> None:
        chunk = os.read(self._stages, 65536)
        if not chunk:
            self._processes.close(self._stages)
            return
        *lines, self._line = (self._line + chunk).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace")
            program, _, said = text.partition(": ")
            if program == "fr-watch":
                self._watch_said.add(said)
            elif program == "fr-walk" and said in self._watch_said:
                continue  # both read the same rules
            self._display.line(text)
            self._events.tell("message", program=program, text=said)
            # One says "open" where the other says "read".
            what = said.partition("'")[2]
            if program == "fr-watch":
                self._unwatched.add(what)
            elif program == "fr-walk" and what not in self._unwatched:
                self._walk_missed = True

    def _readable(self, fd: int) -> bool:
        poll = select.poll()  # select(2) knows no descriptor above 1023
        for one in self._processes.open([fd]):
            poll.register(one, select.POLLIN)
        return bool(poll.poll(0))
