"""fr-pack's side of the conversation in farend/PROTOCOL.md: the loop that joins its parts.

A path waits in the schedule. The filler takes it from there into a batch, the dispatch sends the
batch, and until it is answered it belongs to the flight. The hearing takes the answer. When
nothing waits and nothing is on its way, the settling takes its next step.

A batch that failed is doubted and its paths looked at again; when the connection is lost, the
table goes with this process. What outlives it, the state file, is written on acknowledgement
only. A listing, which is as long as the tree, is never under way together with a batch: each
end would wait for the other to read.
"""

from __future__ import annotations

import select
import time

from filerep.command import UNAVAILABLE
from filerep.farend.answers import Refused, Silent
from filerep.farend.connection import STOPPED
from filerep.pathstream import Records, in_rows, normalize, quote
from filerep.replica.dispatch import Dispatch
from filerep.replica.estimating import measure
from filerep.replica.filling import MOST_PATHS
from filerep.replica.outstanding import Outstanding
from filerep.replica.scheduling.judging import is_rule_file
from filerep.replica.wiring import Parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Optional

    from filerep.farend.connection import Connection
    from filerep.replica.options import Here, Options, Tell
    from filerep.replica.progress import Tally
    from filerep.replica.scheduling.failures import Failures

_ALL_PATHS = 1 << 20  # read ahead, where somebody wants to know how long it will take


class Conversation:
    """One connection's life, from the first listing to ``bye``."""

    def __init__(
        self, here: Here, connection: Connection, options: Options, tell: Tell
    ) -> None:
        self._say = tell.say
        parts = Parts(here, connection, options, tell, self._hooked)
        self._parts = parts
        # Seen in the source, it tells that the destination is in there.
        staging = connection.far.staging
        self._staging = b"/" + staging if staging and not options.dry_run else b"\0"
        self._dispatch = Dispatch(parts)
        self._outstanding = Outstanding(parts)
        self._bulk_open = True
        self._looking = False  # ahead, while the far end lists
        self._planning = False  # ahead, while batches are under way
        self._signing = False  # what was there before, while nothing is to be done
        connection.out.meanwhile = self._dispatch.meanwhile
        connection.out.reclaim = parts.hearing.reclaim
        connection.out.heard = parts.hearing.note
        if parts.reporter.tally:
            connection.out.written = parts.reporter.tally.written
            parts.pieces.on_taken_up = parts.reporter.tally.there

    @property
    def failures(self) -> Failures:
        return self._parts.failures

    @property
    def stopping(self) -> bool:
        """Did the wrapper end, or ask for the end?"""
        return self._dispatch.stopping

    def run(self, bulk_fd: int, urgent_fd: int, stop_fd: int, report_fd: int) -> None:
        """Until both inputs have ended and all is acknowledged; -1 for no such input.

        Ends sooner, but tidily, when ``stop_fd`` can be read or nobody reads what is
        written to ``report_fd``: the wrapper was killed.

        Raises ``OutputError``, ``RootGone`` and ``Stop``.
        """
        try:
            self._run(bulk_fd, urgent_fd, stop_fd, report_fd)
        except Silent:
            self._doubt_the_first()
            raise
        finally:
            found = self._parts.pace.found
            if found is not None and (found or self._parts.here.slow):
                self._parts.state_writer.found_slow(found)

    def _doubt_the_first(self) -> None:
        """What the far end was at as it fell silent is not tried the same way again."""
        for sent in self._parts.flight.under_way[:1]:
            self._parts.state_writer.fell_silent(sent.batch.made())

    def _run(self, bulk_fd: int, urgent_fd: int, stop_fd: int, report_fd: int) -> None:
        bulk, urgent = Records(bulk_fd), Records(urgent_fd)
        out = self._parts.connection.out
        out.stop_fd, out.stopped = stop_fd, self._outstanding.tell
        self._bulk_open = bulk.fd >= 0
        if self._parts.inventory.needed:
            for directory in self._parts.here.table.directories:
                self._parts.inventory.ask(directory)
            self._dispatch.list_if_many()
        while not self._parts.hearing.finished:
            asks_to_end = () if self._dispatch.stopping else (stop_fd, report_fd)
            ready = self._await(bulk, urgent, asks_to_end)
            self._read(bulk, urgent, ready)
            if not ready.isdisjoint(asks_to_end):
                self._dispatch.stopping = True
            self._parts.here.source.forget_directories()
            self._parts.hearing.take()
            self._parts.schedule.wake()
            self._parts.schedule.again(self._parts.unreadable.wake())
            if self._parts.silence.too_long():
                self._dispatch.command(b":")
            if self._parts.reporter.tally:
                self._measure(self._parts.reporter.tally)
            self._looking = (
                self._parts.inventory.under_way and self._parts.filler.look_ahead()
            )
            self._dispatch.send_what_can_be(bool(ready) and self._bulk_open)
            self._parts.hearing.take()  # what came meanwhile: nothing else would tell of it
            if self._dispatch.stopping:
                self._outstanding.tell()
            enough = self._parts.pace.enough(self._parts.flight)
            self._planning = enough and self._dispatch.plan_ahead()
            if self._dispatch.stopping and not self._dispatch.finishing:
                self._dispatch.finish()
            elif self._dispatch.idle() and not self._bulk_open:
                self._settle(urgent.fd < 0)
                self._signing = (
                    self._parts.settling.initial_done
                    and self._parts.reuse.signing.sign_one()
                )
            elif self._parts.settling.initial_done:
                self._parts.reporter.at_work()

    def _await(
        self, bulk: Records, urgent: Records, asks_to_end: Iterable[int]
    ) -> set[int]:
        """Wait until something is due or can be read; which descriptors that is, if any."""
        poll = select.poll()
        most = _ALL_PATHS if self._parts.reporter.tally else MOST_PATHS
        if bulk.fd >= 0 and len(self._parts.schedule.bulk) < most:
            poll.register(bulk.fd, select.POLLIN)
        if urgent.fd >= 0 and not self._holds_back():
            poll.register(urgent.fd, select.POLLIN)
        for fd in asks_to_end:
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        answers = self._parts.connection.answers
        poll.register(answers.fd, select.POLLIN)
        timeout = self._timeout()
        began = time.monotonic()
        ready = {fd for fd, _ in poll.poll(timeout)}
        late = time.monotonic() - began - (timeout or 0) / 1000
        if timeout is not None and late > STOPPED:
            self._parts.silence.broken(late)
        if answers.fd in ready:
            answers.fill()
            self._parts.silence.broken()
        return ready

    def _read(self, bulk: Records, urgent: Records, ready: set[int]) -> None:
        """Take in the paths that are there."""
        if urgent.fd in ready:
            self._outstanding.forget()
            for record in urgent.read():
                self._name(record)
        if bulk.fd in ready:
            for directory, row in in_rows(bulk.read(), self._name):
                self._refuse_staging(directory)
                self._parts.leftovers.walked = True
                row = self._parts.since.named(row)
                if row:
                    self._parts.schedule.bulk.add(directory, row)
            self._bulk_open = bulk.fd >= 0

    def _name(self, record: bytes) -> None:
        path = normalize(record)
        if path is None and record.startswith(b"/"):
            path = self._parts.here.source.relative(record)
        if path is None:
            self._say(f"not a path below the source: {quote(record)}")
        else:
            self._refuse_staging(path)
            if is_rule_file(path) and self._others_wait():
                self._parts.schedule.again(self._parts.judging.edited())
            for inside in self._parts.unreadable.named(path):
                self._parts.schedule.name(inside)
            self._parts.filler.plan.named(path, record.endswith(b"/."))
            self._parts.schedule.name(path)

    def _others_wait(self) -> bool:
        """Does anything that was named a while ago wait to be sent?"""
        schedule = self._parts.schedule
        queues = schedule.bulk or schedule.backlog or schedule.big or self._bulk_open
        large = self._parts.pieces or self._parts.restless
        others = self._parts.inventory.waited_for or self._parts.judging.minds
        return bool(queues or large or others)

    def _refuse_staging(self, path: bytes) -> None:
        """Raise ``Refused`` if ``path`` is staged: so each batch would cause the next."""
        if self._staging in path:
            where = quote(path.partition(self._staging)[0])
            raise Refused(UNAVAILABLE, f"the destination is inside SRC_DIR, at {where}")

    def _measure(self, tally: Tally) -> None:
        """Find out how much is to be sent, once fr-walk has named all there is."""
        if not (tally.started or self._bulk_open or self._parts.inventory.waited_for):
            measure(tally, self._parts)
        elif not (self._dispatch.may_send() and self._dispatch.queued()):
            tally.step()

    def _timeout(self) -> Optional[float]:
        """Milliseconds until something is due, None if nothing ever is."""
        tally = self._parts.reporter.tally
        if self._looking or tally and tally.measuring():
            return 0
        if (
            not (self._parts.settling.initial_done or self._bulk_open)
            and self._dispatch.idle()
        ):
            return 0  # without a first copy there is nothing to wait for
        if self._dispatch.may_send() and self._dispatch.queued() or self._planning:
            return 0
        if self._signing and self._dispatch.idle():
            return 0
        if self._parts.inventory.wanted and self._dispatch.may_list():
            return 0
        retry = self._parts.failures.due() if self._dispatch.may_send() else None
        hook = (
            self._parts.on_sync.next()
            if self._dispatch.may_send() and self._dispatch.idle()
            else None
        )
        idle = self._dispatch.idle() and not self._bulk_open
        forgotten = (
            self._parts.forgotten.next() if idle and self._dispatch.may_send() else None
        )
        due = [
            self._parts.schedule.due(),
            self._parts.unreadable.due(),
            retry,
            self._parts.silence.due(),
            None if idle else self._parts.reporter.due(),
            hook,
            forgotten,
        ]
        first = min((at for at in due if at is not None), default=None)
        if first is None:
            return None
        return max(0.0, first - time.monotonic()) * 1000 + 1

    def _holds_back(self) -> bool:
        if self._bulk_open or self._parts.schedule.bulk:
            self._parts.settling.in_the_first_copy()
            return False
        return self._parts.settling.holds_back(self._parts.pieces.paths())

    def _settle(self, inputs_ended: bool) -> None:
        """Nothing to do: look at what only earlier runs knew, say so, end if asked."""
        self._parts.connection.out.free()
        again = self._parts.judging.end()
        if again:
            self._parts.schedule.again(again)
            return
        ended = self._parts.settling.step(self._dispatch.run_on_sync, inputs_ended)
        if self._parts.settling.initial_done:
            self._parts.pieces.forget()
            one_file = self._parts.reporter.one_file
            self._parts.connection.out.written = one_file.written if one_file else bool
            self._parts.pieces.on_taken_up = bool
            self._tell_compared()
        self._parts.reuse.forget(self._parts.settling.initial_done)
        if ended and not self._dispatch.finishing:
            self._dispatch.finish()

    def _tell_compared(self) -> None:
        """What --checksum has found, once."""
        compared, differing = self._parts.reuse.compared, self._parts.reuse.differing
        self._parts.reuse.compared = 0
        if compared:
            found = f"{differing:,} of them differ" if differing else "all are the same"
            files = f"{compared:,} files"
            if compared == 1:
                found = "it differs" if differing else "it is the same"
                files = "1 file"
            self._say(f"compared the contents of {files}: {found}")

    def _hooked(self, status: int) -> None:
        took = self._parts.on_sync.ended()
        if not self._dispatch.finishing:
            self._parts.reporter.hook(status, took)
