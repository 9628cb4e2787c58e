"""One far end of many: fr-pack alone, which reads what its parent's fr-watch and fr-walk name.

Its process is a run as any other, with a state file and a lock of its own, so that --wait,
--status and the next start, alone or with others, find it as such. By one socket it asks the
parent, by a byte each time: for what fr-pack is to read, which comes as descriptors, and for a
sync point there; and says that it has connected, or could not. When the socket is at its end
the parent has gone.
"""

from __future__ import annotations

import os
import signal
import socket

from filerep.wrapper.signals import Signalled
from filerep.wrapper.stages import Stages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filerep.wrapper.job import Job
    from filerep.wrapper.processes import Processes
    from filerep.wrapper.stages import RunStage

FEED, SYNC_POINT, CONNECTED, UNREACHED = b"f", b"s", b"c", b"u"


class Parent:
    """The socket to the parent."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def fileno(self) -> int:
        return self._socket.fileno()

    def tell(self, what: bytes) -> None:
        """Raises ``Signalled`` if the parent has gone."""
        try:
            self._socket.sendall(what)
        except OSError:
            raise Signalled(signal.SIGTERM) from None

    def tell_connected(self, connected: bool) -> None:
        self.tell(CONNECTED if connected else UNREACHED)

    def feed(self) -> list[int]:
        """Where to read what is walked, and what is watched, if anything is."""
        self.tell(FEED)
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, 1, 2)
        except ConnectionError:
            data, fds = b"", []
        if not data:
            raise Signalled(signal.SIGTERM)
        for fd in fds:
            os.set_inheritable(fd, False)
        return fds


class FedStages(Stages):
    """fr-pack, and in the place of fr-watch and fr-walk a parent."""

    def __init__(
        self,
        job: Job,
        processes: Processes,
        run: RunStage,
        parent: Parent,
        again: bool,
    ) -> None:
        self._parent = parent
        super().__init__(job, processes, run, again)
        self.watching = job.watches
        self.begins_at_once = True

    def _inputs(self) -> tuple[tuple[int, int], tuple[int, int]]:
        bulk, urgent, *_ = [*self._parent.feed(), -1]
        self._processes.own(*(fd for fd in (bulk, urgent) if fd >= 0))
        return (bulk, -1), (urgent, -1)

    def start_sources(self) -> None:
        self._processes.close(self._errors)

    def name_last(self) -> None:
        pass  # the parent ends as well

    def ask_sync_point(self) -> None:
        self._parent.tell(SYNC_POINT)
