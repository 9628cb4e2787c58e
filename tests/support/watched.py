"""A tree, its watcher and a replica in one thread, moved on by hand."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sink import Sink

from filerep.pathstream import encode
from filerep.rules import ignore
from filerep.rules.lastread import LastRead
from filerep.watching import inotifyevents
from filerep.watching.inotify import Inotify
from filerep.watching.pending import Pending
from filerep.watching.polling import Snapshots
from filerep.watching.rootcheck import Root


class Watched:
    """A tree, its watcher and a replica, moved on by hand."""

    def __init__(self, source: Path, polling: bool = False) -> None:
        self.source = source
        self.errors: list[tuple[str, bytes, OSError]] = []
        self.said: list[str] = []
        self.last = LastRead()
        self.pending = Pending(lambda: 0.0)
        self.root = Root(os.fsencode(source))
        self.tracker: Inotify | Snapshots
        if polling:
            self.tracker = Snapshots(
                self.root, self.load, self.pending, self.on_error, 1.0
            )
        else:
            self.tracker = Inotify(
                self.root,
                self.load,
                self.pending,
                self.on_error,
                self.said.append,
                0.0,
            )
        self.tracker.start()
        self.sink = Sink(source)
        self.sink.walk()

    def load(self) -> ignore.Rules:
        return ignore.load(self.root.path, on_error=self.on_error, last=self.last)

    def on_error(self, action: str, path: bytes, error: OSError) -> None:
        self.errors.append((action, path, error))

    def records(self) -> list[bytes]:
        """Everything that has changed until now, as records."""
        self.tracker.sync()
        if isinstance(self.tracker, Inotify):
            self.tracker.rules.work(float("inf"))
        self.pending.settle(float("inf"))
        taken: list[bytes] = []
        while self.pending:
            taken += self.judged(4096)
        self.sink.feed(encode(taken))
        return taken

    def judged(self, size: int) -> list[bytes]:
        """What fr-watch would hand over."""
        paths = self.pending.take(size)
        judged = self.tracker.judged(paths)
        if judged is None:
            self.pending.put_back(paths)
            self.tracker.work()
        return judged or []

    def some(self, size: int) -> None:
        """Let the reader have ``size`` bytes, or about as many."""
        self.tracker.read()
        self.tracker.work()
        self.pending.settle(float("inf"))
        if self.pending:
            self.sink.feed(encode(self.judged(size)))

    def lose_events(self) -> None:
        """What an overflow does: the queue's contents are lost, and there is the mark."""
        assert isinstance(self.tracker, Inotify)
        self.tracker.kernel.soak()
        mark = struct.pack("iIII", -1, inotifyevents.Q_OVERFLOW, 0, 0)
        self.tracker.kernel.backlog = [mark]


@contextmanager
def watched(source: Path, polling: bool = False) -> Iterator[Watched]:
    it = Watched(source, polling)
    try:
        yield it
    finally:
        it.tracker.close()
