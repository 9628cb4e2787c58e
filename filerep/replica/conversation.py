"""fr-pack's side of the conversation that farend/PROTOCOL.md describes: when to look at what.

What is to be looked at waits in one of these places:

* ``urgent``: named by fr-watch. Goes before everything else.
* ``bulk``: named by fr-walk, or found to be looked at again; read only as fast as it is used.
* in the listings, until the directory it is in is listed.
* ``later``: changed while it was read, or just emptied; looked at again in a moment.
* ``big``: larger than a batch; when nothing else is to be done.
* in the failures: failed over there, tried again more and more rarely.
* ``ahead``: looked at already, the next batch. It goes before everything that is named later, as
  what it holds may be older than that; so it is planned from ``bulk`` only, and only while
  nothing is urgent.

A batch that failed is doubted and its paths looked at again; when the connection is lost, the
table goes with this process. What outlives it, the state file, is written on acknowledgement
only. A listing, which is as long as the tree, is never under way together with a batch: each
end would wait for the other to read.
"""

from __future__ import annotations

import heapq
import os
import select
import stat
import time

from filerep.command import UNAVAILABLE, Stop
from filerep.farend.abilities import Far
from filerep.farend.batch import Batch
from filerep.farend.connection import STOPPED, Answers, Output, silent
from filerep.farend.shell import shell_quote
from filerep.pathstream import Records, in_rows, normalize, quote
from filerep.replica import mirror
from filerep.replica import table as tables
from filerep.replica.inventory import Listings
from filerep.replica.plan import Plan, Sent
from filerep.replica.queues import Paths, Rows
from filerep.replica.repairs import Mender
from filerep.replica.retries import Failures, Lot
from filerep.replica.sending import Sender
from filerep.replica.tally import Tally
from filerep.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Optional

    from filerep.replica.state import State
    from filerep.rules.ignore import Rules

# A batch is at least so large where there is more to send, and grows while the far end keeps
# up, so that a save made meanwhile waits for a fraction of a second and not for a minute. The
# most is such that a pool can lend nearly all of it (see lentpages.py): twice as much is slower,
# and so is half of it.
_LEAST_BYTES = 1 << 20
_MOST_BYTES = 1 << 24
_MOST_PATHS = 4000
_GOOD_TIME = 0.25
_ALL_PATHS = 1 << 20  # read ahead, where somebody wants to know how long it will take

FORGOTTEN = "what is removed while nothing runs will not be removed at the far end"

_BUFFERED = 4 << 20
_SLOWEST = 32_768  # bytes a second
# Where changes never pause, so long is tried to reach a point with nothing under way.
_QUIET_WAIT = 0.5
_AHEAD_TIME = 0.005
_MANY_FILES = 100
_MANY_LISTINGS = 1000  # directories: others may be named before so few are asked for
_URGENT_TURNS = 4  # batches for fr-watch, then one for fr-walk


class Options:
    """How fr-pack was asked to do it; seconds where not said otherwise."""

    def __init__(
        self,
        delete: bool = True,
        initial: bool = True,
        dry_run: bool = False,
        mirror: int = 0,
        keepalive: float = 15.0,
        on_sync: bytes = b"",
        progress: bool = False,
    ) -> None:
        self.delete = delete
        self.initial = initial
        self.dry_run = dry_run
        self.mirror = mirror  # 2: however much it removes
        self.keepalive = keepalive
        self.on_sync = on_sync
        self.progress = progress


class Refused(Stop):
    """What another connection would not change."""


class Conversation:
    """One connection's life, from the first listing to ``bye``."""

    def __init__(
        self,
        source: Source,
        table: tables.Table,
        state: Optional[State],
        far: Far,
        options: Options,
        answers: Answers,
        out: Output,
        say: Callable[[str], None],
        on_error: Callable[[str, bytes, OSError], None],
        report: Callable[[dict[str, Any]], None],
        rules: Optional[Rules] = None,
    ) -> None:
        self.source = source
        self.table = table
        self.state = state
        self.far = far
        self.options = options
        self._on_error = on_error
        self.answers = answers
        self.out = out
        self.say = say
        self.report = report
        self.rules = rules

        self.urgent = Paths()
        self.bulk = Rows()
        self.big = Paths()
        self.later: list[tuple[float, bytes]] = []
        self.failures = Failures(say)
        self.unread: set[bytes] = set()  # could not be read when they were last named

        can_list = options.initial and far.list != "none"
        self.listings = Listings(far, table, can_list and not far.empty)
        self.plan = Plan(
            source,
            table,
            options.delete,
            can_list,
            self.failures.why,
            self._unreadable,
            self._look_later,
            self._put_off,
        )
        self.mender = Mender(
            self.plan, table, self.listings, self.failures, say, self._again
        )
        self.sender = Sender(
            source, table, far, out, self._unreadable, self._look_later
        )

        self.flight: list[Sent] = []
        self.number = 0
        self.limit = _LEAST_BYTES
        self.marks = 0
        self.rehearsed: dict[bytes, bool] = {}  # told of already; is it one to send?
        self.awaited: Optional[float] = None  # since when _settled is waited for
        self.urgent_turns = 0
        self.tally = Tally(report, time.monotonic) if options.progress else None
        self.ahead: Optional[Sent] = None  # the next batch, as far as it is planned
        out.meanwhile = self._meanwhile
        out.reclaim = self._reclaim
        if self.tally:
            out.written = self.tally.written
        self.bulk_open = True
        self.walked = False  # has fr-walk named anything?
        self.looking = False  # ahead, see _look_ahead
        self.planning = False  # ahead, see _plan_ahead
        self.unseen_queued = far.empty  # nothing of an earlier run is there, then
        self.initial_done = False
        self.stopping = False
        self.finishing = False
        self.finished = False
        self.heard = time.monotonic()
        self.hook_due = False
        self.hook_runs = False
        self.files = 0
        self.removed = 0
        self.bytes = 0
        self.synced: Optional[bool] = None
        self.began = time.monotonic()

    # -- the loop ---------------------------------------------------------------------

    def run(self, bulk_fd: int, urgent_fd: int, stop_fd: int, report_fd: int) -> None:
        """Until both inputs have ended and all is acknowledged; -1 for no such input.

        Ends sooner, but tidily, when ``stop_fd`` can be read or nobody reads what is
        written to ``report_fd``: the wrapper was killed.

        Raises ``OutputError``, ``RootGone`` and ``Stop``.
        """
        bulk, urgent = Records(bulk_fd), Records(urgent_fd)
        self.bulk_open = bulk.fd >= 0
        if self.listings.needed:
            for directory in self.table.directories:
                self.listings.ask(directory)
            self._list_if_many()
        while not self.finished:
            asks_to_end = () if self.stopping else (stop_fd, report_fd)
            ready = self._await(bulk, urgent, asks_to_end)
            if urgent.fd in ready:
                for record in urgent.read():
                    self._name(record)
            if bulk.fd in ready:
                for directory, row in in_rows(bulk.read(), self._name):
                    self.walked = True
                    self.bulk.add(directory, row)
                self.bulk_open = bulk.fd >= 0
            if not ready.isdisjoint(asks_to_end):
                self.stopping = True
            self.source.forget_directories()
            self._hear()
            self._wake()
            if self.tally:
                self._measure(self.tally)
            self.looking = self.listings.under_way and self._look_ahead()
            self._send_what_can_be(bool(ready))
            self._hear()  # what came meanwhile: nothing else would tell of it
            self.planning = len(self.flight) > 1 and self._plan_ahead()
            if self.stopping and not self.finishing:
                self._finish()
            elif self._idle() and not self.bulk_open:
                self._settled(urgent.fd < 0)

    def _await(
        self, bulk: Records, urgent: Records, asks_to_end: Iterable[int]
    ) -> set[int]:
        """Wait until something is due or can be read; which descriptors that is, if any."""
        poll = select.poll()
        most = _ALL_PATHS if self.tally else _MOST_PATHS
        if bulk.fd >= 0 and len(self.bulk) < most:
            poll.register(bulk.fd, select.POLLIN)
        if urgent.fd >= 0 and not self._holds_back():
            poll.register(urgent.fd, select.POLLIN)
        for fd in asks_to_end:
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        poll.register(self.answers.fd, select.POLLIN)
        timeout = self._timeout()
        began = time.monotonic()
        ready = {fd for fd, _ in poll.poll(timeout)}
        late = time.monotonic() - began - (timeout or 0) / 1000
        if timeout is not None and late > STOPPED:
            self.heard += late
        if self.answers.fd in ready:
            self.answers.fill()
            self.heard = time.monotonic()
        return ready

    def _name(self, record: bytes) -> None:
        path = normalize(record)
        if path is None:
            self.say(f"not a path below the source: {quote(record)}")
        else:
            if self.unread:
                self._reread(path)
            self.urgent[path] = None
            # Behind what was named before: a mark must not overtake (see _mark).
            self.urgent.move_to_end(path)

    def _reread(self, path: bytes) -> None:
        """``path`` will be looked at again; so will be, if they count, those below ``d/``."""
        if path.endswith(b"/"):
            below = b"" if path == b"./" else path
            self.unread = {one for one in self.unread if not one.startswith(below)}
        self.unread.discard(path)

    def _measure(self, tally: Tally) -> None:
        """Find out how much is to be sent, once fr-walk has named all there is."""
        if not (tally.started or self.bulk_open or self.listings.waited_for):
            tally.start(self.bulk.paths(), self._waiting, self._size_to_send)
        elif not (self._may_send() and self._queued()):
            tally.step()

    def _waiting(self) -> int:
        """How many that fr-walk named are not in a batch, or in none that was begun."""
        return len(self.bulk) + (self.ahead.taken if self.ahead else 0)

    def _size_to_send(self, path: bytes) -> Optional[int]:
        try:
            status = self.source.look(path)
        except OSError:
            return None
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        return None if self.table.unchanged(path, status, b"") else status.st_size

    def _timeout(self) -> Optional[float]:
        """Milliseconds until something is due, None if nothing ever is."""
        if self.looking or self.tally and self.tally.measuring():
            return 0
        if not (self.initial_done or self.bulk_open) and self._idle():
            return 0  # without a first copy there is nothing to wait for
        if self._may_send() and self._queued() or self.planning:
            return 0
        if self.listings.wanted and self._may_list():
            return 0
        due = []
        if self.later:
            due.append(self.later[0][0])
        retry = self.failures.due()
        if retry is not None and self._may_send():
            due.append(retry)
        if self.options.keepalive:
            due.append(self.heard + self._patience())
        if not due:
            return None
        return max(0.0, min(due) - time.monotonic()) * 1000 + 1

    def _patience(self) -> float:
        """Seconds of silence to put up with: before asking, or for an answer.

        What was written may be in the buffers of a slow connection still, for which pipe,
        ssh and sockets have some megabytes.
        """
        if not self.flight:
            return self.options.keepalive
        written = sum(sent.batch.bytes for sent in self.flight)
        return 3 * self.options.keepalive + min(written, _BUFFERED) / _SLOWEST

    def _may_send(self) -> bool:
        """Two batches under way keep both ends busy; more would only delay a save."""
        under_way = self.listings.under_way
        return not (self.finishing or under_way or len(self.flight) > 1)

    def _may_list(self) -> bool:
        return not (self.finishing or self.flight)

    def _queued(self) -> bool:
        return bool(self.urgent or self.ahead or self.bulk or self.big)

    def _idle(self) -> bool:
        """Is nothing left that could be done now?"""
        waiting = self.listings.waited_for or self.flight or self.later
        return not (waiting or self._queued())

    def _holds_back(self) -> bool:
        """Is it time to take no more changes until all named so far is acknowledged?

        In a tree that never rests one is always under way, and who waits for the moment
        when none is (see _settled) would wait for ever. What fr-watch cannot hand over it
        merges, so nothing is lost and little delayed.
        """
        hook = self.hook_due and not self.hook_runs
        if (
            self.bulk_open
            or self.bulk
            or not (self.marks or hook or not self.initial_done)
        ):
            self.awaited = None
            return False
        now = time.monotonic()
        if self.awaited is None:
            self.awaited = now
        return now - self.awaited > _QUIET_WAIT

    def _wake(self) -> None:
        """Queue what is due, and ask for a sign of life after a silence."""
        now = time.monotonic()
        while self.later and self.later[0][0] <= now:
            self.urgent[heapq.heappop(self.later)[1]] = None
        patience = self._patience()
        if self.options.keepalive and now - self.heard >= patience:
            if self.flight:
                raise Stop(UNAVAILABLE, silent(patience))
            self.heard = now
            self._command(b":")

    def _settled(self, inputs_ended: bool) -> None:
        """Nothing to do: look at what only earlier runs knew, say so, end if asked."""
        self.out.free()
        if not self.unseen_queued:
            self.unseen_queued = True
            self._queue_unseen()
            if self.bulk:
                return
        if self.rules is not None:
            self._mirror(self.rules)
            if self.bulk or self.listings.wanted:
                return
        if not self.initial_done:
            self.initial_done = True
            self.tally, self.out.written = None, bool
            self.report(
                {
                    "is": "first",
                    "compared": self.options.initial,
                    "rehearsed": self.options.dry_run,
                    "removals": self.removed,
                    "files": self.files,
                    "bytes": self.bytes,
                    "known": self.table.ours(),
                    "failing": len(self.failures),
                    "ms": (time.monotonic() - self.began) * 1000,
                }
            )
            self.hook_due = self.hook_due or bool(self.options.on_sync)
        if self.hook_due and not self.hook_runs and not self.options.dry_run:
            self.hook_due, self.hook_runs = False, True
            command = b"hook " + shell_quote(self.options.on_sync)
            self._command(command)
            return
        if self.marks and not self.failures.before_mark():
            for _ in range(self.marks):
                missing = len(self.failures) + len(self.unread)
                self.report({"is": "mark", "failing": missing})
            self.marks = 0
        synced = not self.failures
        if synced:
            self.failures.all_well()
        if synced != self.synced:
            self.synced = synced
            self.report({"is": "sync", "failing": len(self.failures)})
        if inputs_ended and not self.hook_runs and not self.finishing:
            if not self.failures.hurry():
                self._finish()

    def _queue_unseen(self) -> None:
        """Look at what earlier runs have sent and this one has not seen.

        Raises ``Refused`` where that is all there ever was: a file system that is not mounted
        leaves an empty directory.
        """
        unseen = self.table.unseen()
        files = [path for path in unseen if not path.endswith(b"/")]
        files = [path for path in files if not self.plan.is_there(path)]
        if self.options.delete and len(files) >= _MANY_FILES and not self.walked:
            raise Refused(
                UNAVAILABLE,
                f"the source is empty, and {len(files):,} files at the far end came from"
                " it: nothing was removed, as something may not be mounted here;"
                " --clean-out-first removes them",
            )
        for directory, row in in_rows(files, self._name):
            self.bulk.add(directory, row)
        # The inner ones first, and behind what is in them.
        for path in reversed(unseen):
            if path.endswith(b"/"):
                self.bulk.add(tables.place(path)[0], [path[:-1]])

    def _mirror(self, rules: Rules) -> None:
        """Queue what only the far end has, or ask for more listings."""
        if not self.listings.needed and self.far.list == "none":
            raise Refused(UNAVAILABLE, "--mirror needs find or stat at the far end")
        links = mirror.links(self.table, rules, self.source)
        for directory in links:
            if self.listings.needed and not self.listings.asked(directory):
                self.listings.ask(directory)
        if self.listings.wanted:
            return
        self.rules = None
        paths, count, files = mirror.victims(self.table, links, self.source)
        if self.options.mirror < 2 and files >= 100 and count > files / 2:
            raise Refused(
                UNAVAILABLE,
                f"--mirror would remove {count:,} of {files:,} files at the far end:"
                " nothing was removed; give --mirror twice if that is right",
            )
        mirror.claim(self.table, paths)
        for path in (path.rstrip(b"/") for path in paths):
            self.bulk.add(path.rpartition(b"/")[0], [path])

    def _finish(self) -> None:
        self.finishing = True
        self._command(b"finish")

    def _command(self, *commands: bytes) -> None:
        self._send(Sent(self._new_batch(*commands)))

    def _new_batch(self, *commands: bytes) -> Batch:
        batch = Batch(self.far.stage, self.limit, _MOST_PATHS)
        batch.commands += commands
        return batch

    # -- hearing ----------------------------------------------------------------------

    def _hear(self) -> None:
        for what, data in self.answers.take():
            self.heard = time.monotonic()
            if what == "listing":
                for directory, row in self.listings.merge(data):
                    self.bulk.add(directory, row)
                self._remember([], [])
                continue
            word, _, rest = data.partition(b" ")
            if word == b"ok":
                sent = self._answered(rest)[0]
                self._landed(sent)
                self._acknowledged(sent)
            elif word == b"failed":
                sent, rest = self._answered(rest)
                self._landed(sent)
                status, _, words = rest.partition(b" ")
                self.mender.failed(sent, int(status), words.decode("utf-8", "replace"))
                self._shake()
            elif word == b"hook":
                self.hook_runs = False
                if not self.finishing:
                    self.report({"is": "hook", "status": int(rest)})
            elif word == b"bye":
                self.finished = True
            elif word in (b"bad", b"lost", b"there", b"kept", b"mode", b"aside"):
                self._trouble(word.decode(), rest)
        if self.answers.ended and not self.finished:
            raise Stop(UNAVAILABLE, "it was closed")

    def _answered(self, rest: bytes) -> tuple[Sent, bytes]:
        """The batch whose number begins ``rest``, the first under way, and what follows."""
        number, _, rest = rest.partition(b" ")
        if not self.flight or number != b"%d" % self.flight[0].batch.number:
            raise Stop(UNAVAILABLE, "the far end answers out of order")
        return self.flight[0], rest

    def _landed(self, sent: Sent) -> None:
        """The first batch under way is no more."""
        self.flight.pop(0)
        self.out.give_back(sent.lent)

    def _reclaim(self) -> bool:
        """Give back what batches were sent from whose answer is there, to be heard later."""
        landed = [
            sent
            for sent in self.flight
            if sent.lent and self.answers.told(sent.batch.number)
        ]
        for sent in landed:
            self.out.give_back(sent.lent)
            sent.lent = []
        return bool(landed)

    def _trouble(self, word: str, rest: bytes) -> None:
        """One line about one path of the batch that is about to be acknowledged."""
        sent, rest = self._answered(rest)
        identity, _, words = rest.partition(b" ")
        sent.trouble.append((word, int(identity), words.decode("utf-8", "replace")))

    def _acknowledged(self, sent: Sent) -> None:
        void = self.mender.mend(sent)
        if void:
            self._shake()
        entries, removed = sent.entries, sent.removed
        if void:
            entries = [pair for pair in entries if pair[0].rstrip(b"/") not in void]
            removed = [path for path in removed if path.rstrip(b"/") not in void]
        if self.state is not None:
            # What was removed may be on its way again, which is remembered already.
            flight = self.flight if removed else ()
            again = {path for other in flight for path in other.intended}
            forgotten = [path for path in removed if path not in again]
            self._remember(entries, forgotten, grown=() if void else sent.intended)
        if sent.shaken:
            later = [*self.flight, self.ahead] if self.ahead else self.flight
            gone = {path for other in later for path in other.removed}
            self._again(self.plan.restore(sent, void | gone))
        if sent.lot:
            self.failures.tried(sent.lot)
            # A directory may have stayed only for the sake of what is removed now.
            self._again(path.rpartition(b"/")[0] for path in removed if b"/" in path)
        took = time.monotonic() - sent.started
        if sent.batch.bytes >= self.limit // 2:
            if took < _GOOD_TIME:
                # Eight times as much would still take a good time.
                times = 8 if took < _GOOD_TIME / 8 else 2
                self.limit = min(self.limit * times, _MOST_BYTES)
            elif took > 4 * _GOOD_TIME:
                self.limit = max(self.limit // 2, _LEAST_BYTES)
            if self.ahead:
                self.ahead.batch.limit = self.limit
        self._tell(sent, took, void)

    def _tell(self, sent: Sent, took: float, undone: set[bytes]) -> None:
        batch = sent.batch
        fit = [path for path, _ in sent.entries if not path.endswith(b"/")]
        fit = [path for path in fit if path not in undone]
        gone = [path for path in batch.deletions if path not in undone]
        if not (fit or gone or batch.modes):
            return
        self.files += len(fit)
        self.removed += len(gone)
        self.bytes += batch.bytes
        self.hook_due = self.hook_due or bool(
            self.options.on_sync and self.initial_done
        )
        self.report(
            {
                "is": "batch",
                "sent": [quote(path) for path in fit[:3]],
                "files": len(fit),
                "removed": [quote(path) for path in gone[:3]],
                "deletions": len(gone),
                "bytes": batch.bytes,
                "ms": took * 1000,
                "bulk": not self.initial_done,
            }
        )

    def _shake(self) -> None:
        """What was planned since took for done what was not."""
        for later in self.flight:
            later.shaken = True
        if self.ahead:
            self.ahead.shaken = True

    def _remember(
        self,
        entries: list[tuple[bytes, bytes]],
        removed: list[bytes],
        intended: Sequence[bytes] = (),
        grown: Sequence[bytes] = (),
    ) -> None:
        """Enter it in the state file; without one, if that cannot be written."""
        if self.state is None:
            return
        try:
            self.state.intend(intended)
            self.state.append(entries, removed, grown)
            self.state.confirm(self.listings.confirmed)
            self.listings.confirmed.clear()
        except OSError as error:
            self.state = None
            self.say(
                f"cannot write the state file, {os.strerror(error.errno or 0)}: {FORGOTTEN}"
            )

    def _again(self, paths: Iterable[bytes]) -> None:
        for path in paths:
            self.urgent[path] = None

    # -- planning ---------------------------------------------------------------------

    def _send_what_can_be(self, more_may_come: bool) -> None:
        self._list_if_many()
        while self._may_send() and not self.stopping:
            if self.ahead:
                sent, self.ahead = self.ahead, None
                if not self.urgent:
                    self._fill(sent, self.bulk)
                self._send_planned(sent)
                continue
            due = self.failures.due()
            if not self.urgent and due is not None and due <= time.monotonic():
                self._try_lot(self.failures.take())
                continue
            queue = self.urgent or self.bulk or self.big
            if not queue:
                break
            self.urgent_turns += 1
            if self.urgent_turns > _URGENT_TURNS:
                # Or the tree's other files would wait until this one rests.
                queue = self.bulk or self.big or queue
            if queue is not self.urgent:
                self.urgent_turns = 0
            sent = Sent(self._new_batch())
            self._fill(sent, queue)
            self._send_planned(sent)
        if more_may_come and self.bulk_open:
            return
        if self.listings.wanted and self._may_list():
            self._command(*self.listings.request())

    def _list_if_many(self) -> None:
        if self.listings.wanted > _MANY_LISTINGS and self._may_list():
            self._command(*self.listings.request())

    def _look_ahead(self) -> bool:
        """Use the time that the far end takes to list; is there more to look at?"""
        while self.bulk:
            directory, row = self.bulk.take()
            if self.listings.knows(directory):
                self.bulk.put_back(directory, row)
                break
            self.listings.wait(directory, row)
        until = time.monotonic() + _AHEAD_TIME
        while self.listings.look_ahead(self.plan.altered):
            if time.monotonic() > until:
                return True
        return False

    def _plan_ahead(self) -> bool:
        """Plan the next batch of what fr-walk named, a row a call; is there more to plan?

        That hides the time it takes behind the far end's, which has two batches to deal with.
        """
        if self.urgent or self.stopping or self.options.dry_run or not self.bulk:
            return False
        if self.ahead is None:
            self.ahead = Sent(self._new_batch())
        elif self.ahead.batch.full:
            return False
        before = self.ahead.taken
        self._fill(self.ahead, self.bulk, 1)
        return self.ahead.taken > before

    def _meanwhile(self) -> bool:
        """What to do while the connection takes no more; False: nothing left."""
        if self._plan_ahead():
            return True
        return self.tally is not None and self.tally.step()

    def _try_lot(self, lot: Lot) -> None:
        """Look at what has failed once more, as a batch of its own."""
        queue = Paths((path, None) for path in lot.paths)
        sent = Sent(self._new_batch(), lot)
        self._fill(sent, queue)
        if queue:
            self.failures.put_back(list(queue), lot)
        self._send_planned(sent)

    def _send_planned(self, sent: Sent) -> None:
        """Send what was planned, if anything, and remember what needed no sending."""
        self._remember(self.table.adopted, [])
        self.table.adopted.clear()
        if sent.batch:
            self._send(sent)

    def _fill(self, sent: Sent, queue: Rows | Paths, rows: int = 1 << 62) -> None:
        """Take from ``queue`` what makes a batch, or all of it that needs nothing."""
        again = self.urgent if isinstance(queue, Rows) else queue
        left = 4 * _MOST_PATHS
        while queue and left > 0 and rows > 0 and not sent.batch.full:
            directory, row = queue.take()
            if len(row) > left:
                queue.put_back(directory, row[left:])
                del row[left:]
            rows -= 1
            left -= len(row)
            sent.taken += len(row)
            if row[0] == b".":
                self._mark()
            elif row[0].endswith(b"/"):
                self.plan.verify(row[0], again)
            elif not self.listings.knows(directory):
                self.listings.wait(directory, row)
            else:
                done = self.plan.row(directory, row, sent, again)
                if done < len(row):
                    queue.put_back(directory, row[done:])
                    sent.taken -= len(row) - done
                    return

    def _put_off(
        self,
        path: bytes,
        size: int,
        sent: Sent,
        queue: Paths,
    ) -> bool:
        """Leave a large file for when nothing else is to be sent."""
        if size <= self.limit or sent.lot or queue is self.big:
            return False
        if not (sent.batch.members or self.urgent):
            return False
        self.big[path] = None
        return True

    def _unreadable(self, action: str, path: bytes, error: OSError) -> None:
        self.unread.add(path)
        self._on_error(action, path, error)

    def _look_later(self, path: bytes, wait: float) -> None:
        heapq.heappush(self.later, (time.monotonic() + wait, path))

    def _mark(self) -> None:
        """A script waits for what was named before this; told once nothing is left."""
        self.marks += 1
        self.failures.mark()

    def _send(self, sent: Sent) -> None:
        batch = sent.batch
        if batch.deletions or batch.removals:
            self.source.check()
        if self.options.dry_run and not batch.commands:
            self._rehearse(sent)
            return
        self.number += 1
        batch.number = self.number
        sent.started = time.monotonic()
        if not self.flight:
            self.heard = sent.started
        self._remember([], [], sent.intended)
        self.flight.append(sent)
        much = self.limit > 2 * _LEAST_BYTES and bool(self.bulk)
        self.sender.send(sent, self.tally, much)
        self.heard = time.monotonic()  # what has been taken so far shows life

    def _rehearse(self, sent: Sent) -> None:
        batch = sent.batch
        for member in batch.members:
            if member.path not in self.rehearsed:
                self.rehearsed[member.path] = True
                self._would("send", member.path)
                self.files += 1
                self.bytes += member.size
        for path in batch.deletions:
            if path not in self.rehearsed:
                self.rehearsed[path] = False
                self.removed += 1
                self._would("remove", path)
        for directory, mode in batch.directories:
            self.table.put_directory(
                directory, tables.directory_entry(mode, tables.OURS)
            )

    def _would(self, verb: str, path: bytes) -> None:
        self.report({"is": "would", "do": verb, "path": quote(path)})
