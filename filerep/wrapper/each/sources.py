"""The one fr-watch and the one fr-walk that name the paths for many far ends.

fr-walk runs once for all that are connected at the start, and again for those that have come
to need it by the time it is free; never twice at a time. It names what there is when it runs,
so it begins once every feed that it is for keeps what fr-watch names.

Either may be killed, and is started again. What has changed while there was no fr-watch nobody
knows: every feed is then told of all there is.
"""

from __future__ import annotations

import os
import signal
import time

from filerep import command
from filerep.command import Stop
from filerep.pathstream import Decoder
from filerep.wrapper.each.feeds import SYNC, Feed, Spool
from filerep.wrapper.endings import Lost, is_good, stage_ended
from filerep.wrapper.stages import verbosity, watch_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Optional

    from filerep.wrapper.job import Job
    from filerep.wrapper.processes import Processes
    from filerep.wrapper.stages import RunStage

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_SHORT_LIFE = 2.0  # seconds: what ends within them has something wrong with it
_READ = 1 << 16


class Sources:
    """Starts them, hears what they name, and passes it on to the feeds."""

    def __init__(
        self,
        job: Job,
        processes: Processes,
        run_stage: RunStage,
        say: Callable[[str], object],
    ) -> None:
        self._job = job
        self._processes = processes
        self._run_stage = run_stage
        self._say = say
        self._nothing = processes.nothing()
        self.errors, self._errors = processes.pipe()
        self._named = -1  # where fr-watch is read
        self._decoder = Decoder()
        self._watch_ready = -1
        self.watching = False
        self._walked = -1  # where fr-walk is read
        self._spool: Optional[Spool] = None  # where that is kept
        self._feeds: list[Feed] = []
        self._asking: list[Feed] = []  # for a sync point, the next that is drawn
        self._drawn: list[Feed] = []  # the one that is
        self._due: dict[str, float] = {}  # when what was killed is started again
        self._started: dict[str, float] = {}
        self._pause = 0.0
        self.skipped = False

    # -- feeds ------------------------------------------------------------------------

    def feed(self, rests: bool) -> tuple[Feed, list[int]]:
        """A new feed, and where it is to be read: what is walked, and what is watched."""
        bulk, to_bulk = self._processes.pipe()
        urgent, to_urgent = self._processes.pipe() if self._job.watches else (-1, -1)
        self._processes.let_go(to_bulk, to_urgent)
        # After a loss all is to be named, though no first copy is asked for.
        feed = Feed(to_bulk, to_urgent, self._job.walks or rests, rests)
        self._feeds.append(feed)
        return feed, [fd for fd in (bulk, urgent) if fd >= 0]

    def drop(self, feed: Feed) -> None:
        """Nobody reads it any more."""
        feed.close()
        for some in (self._feeds, self._asking, self._drawn):
            if feed in some:
                some.remove(feed)

    def standard_files(self) -> tuple[int, int, int]:
        """Descriptors 0 to 2 of a far end's process: nothing in, and ours out."""
        out, errors = (fd if _is_open(fd) else self._nothing for fd in (1, 2))
        return self._nothing, out, errors

    def ask_sync_point(self, feed: Feed) -> None:
        self._asking.append(feed)

    def name_all(self) -> None:
        """Have fr-watch name all that there is."""
        self._processes.signal("fr-watch", signal.SIGUSR2)

    # -- what they say ----------------------------------------------------------------

    def start(self) -> None:
        if self._job.watches:
            self._start_watch()

    def fds(self) -> list[int]:
        """What to poll for reading before ``hear``."""
        return [self._named, self._watch_ready, self._walked]

    def outlets(self) -> list[int]:
        """What to poll for writing before ``hear``."""
        return [fd for feed in self._feeds for fd in feed.fds()]

    def due(self) -> Optional[float]:
        """Seconds until ``go_on`` is to be called whatever is ready."""
        if not self._due:
            return None
        return max(0.0, min(self._due.values()) - time.monotonic())

    def hear(self, ready: set[int]) -> None:
        """Take what is there; raises ``Stop`` if they cannot go on."""
        if self._watch_ready in ready:
            self._hear_ready()
        if self._named in ready:
            self._hear_watch()
        if self._walked in ready:
            self._hear_walk()
        for feed in self._feeds:
            feed.write(ready)

    def _hear_ready(self) -> None:
        if os.read(self._watch_ready, 1) == b"\n":
            self.watching = True
            for feed in self._feeds:
                feed.lose()
        self._processes.close(self._watch_ready)
        self._watch_ready = -1

    def _hear_watch(self) -> None:
        chunk = os.read(self._named, _READ)
        if not chunk:
            self._processes.close(self._named)
            self._named = -1
            self._watch_ended(self._processes.wait("fr-watch"))
            return
        paths = self._decoder.feed(chunk)
        reached = SYNC in paths
        if reached:
            paths = [path for path in paths if path != SYNC]
        for feed in self._feeds:
            feed.name(paths)
        if reached:
            for feed in self._drawn:
                feed.sync_point()
            self._drawn = []

    def _watch_ended(self, status: int) -> None:
        self.watching = False
        self._asking, self._drawn = self._drawn + self._asking, []
        self._again("fr-watch", status)

    def _hear_walk(self) -> None:
        assert self._spool is not None
        chunk = os.read(self._walked, _READ)
        if chunk:
            self._spool.add(chunk)
            return
        self._processes.close(self._walked)
        self._walked = -1
        status = self._processes.wait("fr-walk")
        if is_good(status):
            self.skipped = self.skipped or status == command.SKIPPED
            self._spool.ended, self._spool = True, None
        else:
            self._spool.cut()
            self._again("fr-walk", status)

    def _again(self, name: str, status: int) -> None:
        """``name`` has ended, and is started again if that can be of use."""
        try:
            stage_ended(name, status, "", "")
        except Lost as error:
            now = time.monotonic()
            young = now - self._started[name] < _SHORT_LIFE
            pause = 2 * self._pause if young else 0.0
            self._pause = min(max(pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._due[name] = now + self._pause
            self._say(f"{error}; starting it again")

    # -- going on ---------------------------------------------------------------------

    def go_on(self) -> None:
        """Start what is due or asked for, once all that is there has been heard."""
        now = time.monotonic()
        for name in [name for name, due in self._due.items() if due <= now]:
            del self._due[name]
            if name == "fr-watch":
                self._start_watch()
            else:
                self._start_walk()
        waiting = [feed for feed in self._feeds if feed.wants_walk]
        sees = self.watching or not self._job.watches
        if waiting and sees and self._spool is None:
            self._spool = Spool()
            for feed in waiting:
                feed.walk(self._spool)
            self._start_walk()
        if self._asking and self.watching and not self._drawn:
            self._drawn, self._asking = self._asking, []
            self._processes.signal("fr-watch", signal.SIGUSR1)

    def _start_watch(self) -> None:
        self._named, out = self._processes.pipe()
        self._decoder = Decoder()
        self._watch_ready, told = self._processes.pipe()
        words = [*watch_options(self._job), "--ready-fd", str(told)]
        self._start("watch", words, out, [told])
        self._processes.close(told)

    def _start_walk(self) -> None:
        self._walked, out = self._processes.pipe()
        self._start("walk", self._job.rules() + verbosity(self._job), out)

    def _start(
        self, module: str, options: list[str], out: int, keep: Iterable[int] = ()
    ) -> None:
        words = [*options, os.fsdecode(self._job.way)]
        self._started[f"fr-{module}"] = time.monotonic()
        self._processes.start_stage(
            f"fr-{module}",
            lambda: self._run_stage(module, words),
            (self._nothing, out, self._errors),
            list(keep),
        )
        self._processes.close(out)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
