"""fr-pack's side of the conversation in farend/PROTOCOL.md: the loop that joins its parts.

What waits to be looked at is in the schedule, what is on its way in the flight; the filler
takes from the one and makes batches for the other, the hearing tells what came of them, and
when nothing is left the settling takes its next step.

A batch that failed is doubted and its paths looked at again; when the connection is lost, the
table goes with this process. What outlives it, the state file, is written on acknowledgement
only. A listing, which is as long as the tree, is never under way together with a batch: each
end would wait for the other to read.
"""

from __future__ import annotations

import select
import stat
import time

from filerep.farend.connection import STOPPED
from filerep.farend.shell import shell_quote
from filerep.pathstream import Records, in_rows, normalize, quote
from filerep.replica import onsync
from filerep.replica import table as tables
from filerep.replica.audit import Audit
from filerep.replica.economy import Economy
from filerep.replica.filling import MOST_PATHS, Filler
from filerep.replica.hearing import Acknowledging, Hearing
from filerep.replica.inventory import Inventory
from filerep.replica.memory import Memory
from filerep.replica.mounted import Mounted
from filerep.replica.onsync import OnSync
from filerep.replica.pace import Pace, Silence
from filerep.replica.pieces import Pieces
from filerep.replica.plan import Plan
from filerep.replica.repairs import Mender
from filerep.replica.reporting import Reporter
from filerep.replica.restless import Restless
from filerep.replica.retries import Failures, Unread
from filerep.replica.reuse import Reuse
from filerep.replica.schedule import Schedule
from filerep.replica.sending import Sender
from filerep.replica.sent import Flight
from filerep.replica.settling import Settling
from filerep.replica.twins import Twins
from filerep.replica.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Optional

    from filerep.farend.connection import Connection
    from filerep.replica.options import Here, Options, Tell
    from filerep.replica.sent import Sent
    from filerep.replica.tally import Tally

_ALL_PATHS = 1 << 20  # read ahead, where somebody wants to know how long it will take
_MANY_LISTINGS = 1000  # directories: others may be named before so few are asked for


class Conversation:
    """One connection's life, from the first listing to ``bye``."""

    def __init__(
        self, here: Here, connection: Connection, options: Options, tell: Tell
    ) -> None:
        self._here = here
        self._connection = connection
        self._options = options
        self._say = tell.say
        self.failures = Failures(tell.say, tell.failing)
        self.stopping = False  # as the wrapper was killed, or asks for it
        self._finishing = False
        self._number = 0
        self._bulk_open = True
        self._looking = False  # ahead, while the far end lists
        self._planning = False  # ahead, while batches are under way
        self._signing = False  # what was there before, while nothing is to be done
        self._join(here, connection, options, tell)

    def _join(
        self, here: Here, connection: Connection, options: Options, tell: Tell
    ) -> None:
        """Make the parts, and tell each of those it needs."""
        far, out, table = connection.far, connection.out, here.table
        pace = self._pace = Pace(far.way)
        restless = Restless(time.monotonic, self._mtime, lambda: pace.rate)
        schedule = self._schedule = Schedule(time.monotonic, restless)
        flight = self._flight = Flight()
        unread = self._unread = Unread(tell.on_error)
        self._silence = Silence(options.keepalive, flight)
        reporter = Reporter(
            tell.report, options.progress, options.dry_run, options.names
        )
        self._reporter = reporter
        can_list = options.initial and far.list != "none"
        inventory = Inventory(far, table, can_list and not far.empty)
        self._inventory = inventory
        self._memory = Memory(here.state, inventory.confirmed, tell.say)
        audit = self._audit = Audit(
            here.source,
            table,
            self._memory,
            inventory,
            time.monotonic,
            enabled=can_list and options.delete and not options.dry_run,
        )
        economy = self._economy = Economy(options, pace, tell.say)
        reuse = self._reuse = Reuse(here.source, table, economy)
        pieces = self._pieces = Pieces(
            here.source, table, economy, schedule.big, restless.torn, far.parts
        )
        self._filler = Filler(
            far.stage, schedule, flight, inventory, pace, economy, self._mark
        )
        self._filler.pieces = pieces
        plan = self._filler.plan = Plan(
            here.source,
            table,
            options.delete,
            can_list,
            self.failures.why,
            unread.add,
            schedule.look_later,
            self._filler.put_off,
            reuse,
        )
        if far.folds:
            plan.twins = Twins(here.source, far.fold)
        if not far.keeps_modes:
            self._keep_no_modes()
        kept = here.state.path + b".mounts" if here.state else None
        plan.away = Mounted(here.source.root, kept, tell.say).away
        mender = Mender(
            Undo(table),
            table,
            inventory,
            self.failures,
            tell.say,
            schedule.again,
            self._distrust,
        )
        root = here.source.root
        on_sync = OnSync(
            bool(options.on_sync), time.monotonic, lambda: _is_locked(root)
        )
        self._on_sync = on_sync
        self._settling = Settling(
            here,
            options,
            schedule,
            inventory,
            plan,
            self.failures,
            unread,
            reporter,
            on_sync,
            restless,
            audit,
        )
        acknowledging = Acknowledging(
            flight,
            schedule,
            mender,
            self._memory,
            self.failures,
            reporter,
            self._filler,
            self._settling.changed,
            audit.suspect,
        )
        self._hearing = Hearing(
            connection,
            flight,
            self._silence,
            self._listed,
            acknowledging,
            self._hooked,
            self._told_tools,
        )
        self._hearing.on_no_modes = self._keep_no_modes
        self._sender = Sender(
            here.source, table, far, out, economy, restless, unread.add
        )
        if far.empty:
            self._settling.nothing_unseen()
        out.meanwhile = self._meanwhile
        out.reclaim = self._hearing.reclaim
        if reporter.tally:
            out.written = reporter.tally.written

    def _keep_no_modes(self) -> None:
        if self._here.table.keeps_modes:
            self._here.table.ignore_modes()
            self._say("the far end keeps no modes: files have those that it gives them")

    # -- the loop ---------------------------------------------------------------------

    def run(self, bulk_fd: int, urgent_fd: int, stop_fd: int, report_fd: int) -> None:
        """Until both inputs have ended and all is acknowledged; -1 for no such input.

        Ends sooner, but tidily, when ``stop_fd`` can be read or nobody reads what is
        written to ``report_fd``: the wrapper was killed.

        Raises ``OutputError``, ``RootGone`` and ``Stop``.
        """
        bulk, urgent = Records(bulk_fd), Records(urgent_fd)
        self._bulk_open = bulk.fd >= 0
        if self._inventory.needed:
            for directory in self._here.table.directories:
                self._inventory.ask(directory)
            self._list_if_many()
        while not self._hearing.finished:
            asks_to_end = () if self.stopping else (stop_fd, report_fd)
            ready = self._await(bulk, urgent, asks_to_end)
            self._read(bulk, urgent, ready)
            if not ready.isdisjoint(asks_to_end):
                self.stopping = True
            self._here.source.forget_directories()
            self._hearing.take()
            self._schedule.wake()
            if self._silence.too_long():
                self._command(b":")
            if self._reporter.tally:
                self._measure(self._reporter.tally)
            self._looking = self._inventory.under_way and self._filler.look_ahead()
            self._send_what_can_be(bool(ready))
            self._hearing.take()  # what came meanwhile: nothing else would tell of it
            full = len(self._flight) >= self._pace.batches
            self._planning = full and self._plan_ahead()
            if self.stopping and not self._finishing:
                self._finish()
            elif self._idle() and not self._bulk_open:
                self._settle(urgent.fd < 0)
                self._signing = self._settling.initial_done and self._reuse.sign_one()

    def _await(
        self, bulk: Records, urgent: Records, asks_to_end: Iterable[int]
    ) -> set[int]:
        """Wait until something is due or can be read; which descriptors that is, if any."""
        poll = select.poll()
        most = _ALL_PATHS if self._reporter.tally else MOST_PATHS
        if bulk.fd >= 0 and len(self._schedule.bulk) < most:
            poll.register(bulk.fd, select.POLLIN)
        if urgent.fd >= 0 and not self._holds_back():
            poll.register(urgent.fd, select.POLLIN)
        for fd in asks_to_end:
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        answers = self._connection.answers
        poll.register(answers.fd, select.POLLIN)
        timeout = self._timeout()
        began = time.monotonic()
        ready = {fd for fd, _ in poll.poll(timeout)}
        late = time.monotonic() - began - (timeout or 0) / 1000
        if timeout is not None and late > STOPPED:
            self._silence.broken(late)
        if answers.fd in ready:
            answers.fill()
            self._silence.broken()
        return ready

    def _read(self, bulk: Records, urgent: Records, ready: set[int]) -> None:
        """Take in the paths that are there."""
        if urgent.fd in ready:
            for record in urgent.read():
                self._name(record)
        if bulk.fd in ready:
            for directory, row in in_rows(bulk.read(), self._name):
                self._settling.walked = True
                self._schedule.bulk.add(directory, row)
            self._bulk_open = bulk.fd >= 0

    def _name(self, record: bytes) -> None:
        path = normalize(record)
        if path is None and record.startswith(b"/"):
            path = self._here.source.relative(record)
        if path is None:
            self._say(f"not a path below the source: {quote(record)}")
        else:
            for inside in self._unread.named(path):
                self._schedule.name(inside)
            self._filler.plan.named(path)
            self._schedule.name(path)

    def _mtime(self, path: bytes) -> float:
        try:
            status = self._here.source.look(path)
        except OSError:
            return 0.0
        return status.st_mtime if status is not None else 0.0

    def _measure(self, tally: Tally) -> None:
        """Find out how much is to be sent, once fr-walk has named all there is."""
        if not (tally.started or self._bulk_open or self._inventory.waited_for):
            waiting = self._planned_ahead() + self._schedule.bulk.paths()
            aside = lambda: [*self._schedule.big, *self._pieces.paths()]
            tally.start(waiting, self._waiting, self._size_to_send, aside)
        elif not (self._may_send() and self._queued()):
            tally.step()

    def _planned_ahead(self) -> list[bytes]:
        """The paths in the batch that was begun, as many as were taken for it."""
        ahead = self._flight.ahead
        if ahead is None:
            return []
        paths = [member.path for member in ahead.batch.members]
        return paths + [b"."] * (ahead.taken - len(paths))

    def _waiting(self) -> int:
        """How many that fr-walk named are not in a batch, or in none that was begun."""
        ahead = self._flight.ahead
        return len(self._schedule.bulk) + (ahead.taken if ahead else 0)

    def _size_to_send(self, path: bytes) -> Optional[int]:
        try:
            status = self._here.source.look(path)
        except OSError:
            return None
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        same = self._here.table.unchanged(path, status, b"")
        return None if same else status.st_size

    def _timeout(self) -> Optional[float]:
        """Milliseconds until something is due, None if nothing ever is."""
        tally = self._reporter.tally
        if self._looking or tally and tally.measuring():
            return 0
        if not (self._settling.initial_done or self._bulk_open) and self._idle():
            return 0  # without a first copy there is nothing to wait for
        if self._may_send() and self._queued() or self._planning:
            return 0
        if self._signing and self._idle():
            return 0
        if self._inventory.wanted and self._may_list():
            return 0
        retry = self.failures.due() if self._may_send() else None
        hook = self._on_sync.next() if self._may_send() and self._idle() else None
        idle = self._idle() and not self._bulk_open
        audit = self._audit.next() if idle and self._may_send() else None
        due = [self._schedule.due(), retry, self._silence.due(), hook, audit]
        first = min((at for at in due if at is not None), default=None)
        if first is None:
            return None
        return max(0.0, first - time.monotonic()) * 1000 + 1

    # -- what may be done -------------------------------------------------------------

    def _may_send(self) -> bool:
        """A few batches under way keep both ends busy; more would only delay a save."""
        listing = self._inventory.under_way
        many = len(self._flight) >= self._pace.batches
        return not (self._finishing or listing or many or self._economy.waits)

    def _may_list(self) -> bool:
        return not (self._finishing or self._flight)

    def _queued(self) -> bool:
        return bool(self._schedule or self._flight.ahead or self._pieces)

    def _idle(self) -> bool:
        """Is nothing left that could be done now?"""
        waiting = self._inventory.waited_for or self._flight or self._schedule.resting
        return not (waiting or self._queued())

    def _holds_back(self) -> bool:
        if self._bulk_open or self._schedule.bulk:
            self._settling.in_the_first_copy()
            return False
        return self._settling.holds_back()

    # -- what is done -----------------------------------------------------------------

    def _settle(self, inputs_ended: bool) -> None:
        """Nothing to do: look at what only earlier runs knew, say so, end if asked."""
        self._connection.out.free()
        ended = self._settling.step(self._run_on_sync, inputs_ended)
        if self._settling.initial_done:
            self._connection.out.written = bool
            self._tell_compared()
        self._reuse.forget(self._settling.initial_done)
        if ended and not self._finishing:
            self._finish()

    def _run_on_sync(self) -> None:
        sent = self._filler.command(b"hook " + shell_quote(self._options.on_sync))
        sent.batch.files.append((onsync.NAMES, self._on_sync.begin()))
        self._send(sent)

    def _tell_compared(self) -> None:
        """What --checksum has found, once."""
        compared, differing = self._reuse.compared, self._reuse.differing
        self._reuse.compared = 0
        if compared:
            found = f"{differing:,} of them differ" if differing else "all are the same"
            self._say(f"compared the contents of {compared:,} files: {found}")

    def _finish(self) -> None:
        self._finishing = self._hearing.may_end = True
        self._command(b"finish")

    def _command(self, *commands: bytes) -> None:
        self._send(self._filler.command(*commands))

    def _mark(self) -> None:
        self._settling.mark()

    def _listed(self, data: bytes) -> None:
        for directory, row in self._inventory.merge(data):
            self._schedule.bulk.add(directory, row)
        self._memory.write()

    def _told_tools(self, words: str) -> None:
        economy = self._economy
        told = economy.tools is not None
        economy.answer(words)
        if not told:
            self._reporter.tools(words, economy.reuses, bool(economy.level))

    def _hooked(self, status: int) -> None:
        took = self._on_sync.ended()
        if not self._finishing:
            self._reporter.hook(status, took)

    def _send_what_can_be(self, more_may_come: bool) -> None:
        self._list_if_many()
        while self._may_send() and not self.stopping:
            question = self._economy.question()
            if question:
                self._command(*question)
                continue
            sent = self._next()
            if sent is None:
                break
            self._send_planned(sent)
        if more_may_come and self._bulk_open:
            return
        if self._inventory.wanted and self._may_list():
            self._list()

    def _list(self) -> None:
        known = len(self._here.table) + len(self._schedule.bulk)
        self._connection.answers.expect_listing(known)
        self._command(*self._inventory.request())

    def _next(self) -> Optional[Sent]:
        """The batch that is to go out next, perhaps an empty one; None for no such."""
        if self._flight.ahead:
            return self._filler.planned_ahead()
        due = self.failures.due()
        if not self._schedule.urgent and due is not None and due <= time.monotonic():
            lot = self.failures.take()
            sent, left = self._filler.from_lot(lot)
            if not sent.batch:
                # They are gone here; so may be a directory that was kept for their sake.
                above = {path.rpartition(b"/")[0] for path in lot.paths}
                self._schedule.again(sorted(above - {b""}, reverse=True))
            if left:
                self.failures.put_back(left, lot)
            return sent
        queue = self._schedule.turn(bool(self._pieces))
        if queue is None:
            return self._filler.piece() if self._pieces else None
        if queue is self._schedule.big and self._pieces_begin():
            return self._filler.command()
        return self._filler.from_queue(queue)

    def _pieces_begin(self) -> bool:
        """Does the next large file go in pieces? The far end is taught how, if need be."""
        if not self._pieces.begin():
            return False
        question = self._economy.ask()
        if question:
            self._command(*question)
        return True

    def _distrust(self, path: bytes) -> None:
        """What was thought to be over there for ``path`` is not."""
        self._reuse.distrust(path)
        self._pieces.abandon(path)

    def _list_if_many(self) -> None:
        if self._inventory.wanted > _MANY_LISTINGS and self._may_list():
            self._list()

    def _plan_ahead(self) -> bool:
        if self.stopping or self._options.dry_run:
            return False
        return self._filler.plan_ahead()

    def _meanwhile(self) -> bool:
        """What to do while the connection takes no more; False: nothing left."""
        if self._plan_ahead():
            return True
        tally = self._reporter.tally
        return tally is not None and tally.step()

    def _send_planned(self, sent: Sent) -> None:
        """Send what was planned, if anything, and remember what needed no sending."""
        self._memory.write(self._here.table.adopted)
        self._here.table.adopted.clear()
        if sent.batch:
            self._send(sent)

    def _send(self, sent: Sent) -> None:
        batch = sent.batch
        if batch.deletions or batch.removals:
            self._here.source.check()
        if self._options.dry_run and not batch.commands:
            self._rehearse(sent)
            batch.only_compare()
            if not batch:
                return
        self._number += 1
        batch.number = self._number
        sent.started = time.monotonic()
        if not self._flight:
            self._silence.broken()
        self._memory.write(intended=sent.intended)
        self._flight.add(sent)
        much = self._pace.quick and bool(self._schedule.bulk)
        self._sender.send(sent, self._reporter.tally, much)
        self._silence.broken()  # what has been taken so far shows life

    def _rehearse(self, sent: Sent) -> None:
        self._reporter.rehearse(sent, self._here.table)
        for directory, mode in sent.batch.directories:
            entry = tables.directory_entry(mode, tables.OURS)
            self._here.table.put_directory(directory, entry)


def _is_locked(root: bytes) -> bool:
    from filerep.rules.repository import is_locked  # only --on-sync needs it

    return is_locked(root)
