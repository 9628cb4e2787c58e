"""Which batch goes out next, and its way to the connection."""

from __future__ import annotations

import time

from filerep.farend.shell import shell_quote
from filerep.replica import onsync
from filerep.replica.known import entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from filerep.replica.scheduling.inflight import Sent
    from filerep.replica.wiring import Parts

_MANY_LISTINGS = 1000  # directories: others may be named before so few are asked for


class Dispatch:
    """Sends what can be sent, one batch after the other, and says when nothing is left."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._number = 0
        self.stopping = False  # as the wrapper was killed, or asks for it
        self.finishing = False
        self._compresses = False

    def may_send(self) -> bool:
        """A few batches under way keep both ends busy; more would only delay a save."""
        listing = self._parts.inventory.under_way
        enough = self._parts.pace.enough(self._parts.flight)
        return not (self.finishing or listing or enough or self._parts.economy.waits)

    def may_list(self) -> bool:
        return not (self.finishing or self._parts.flight)

    def queued(self) -> bool:
        return bool(
            self._parts.schedule or self._parts.flight.ahead or self._parts.pieces
        )

    def idle(self) -> bool:
        """Is nothing left that could be done now?"""
        waiting = (
            self._parts.inventory.waited_for
            or self._parts.flight
            or self._parts.schedule.resting
        )
        return not (waiting or self.queued())

    def command(self, *commands: bytes) -> None:
        self._send(self._parts.filler.command(*commands))

    def send_what_can_be(self, more_may_come: bool) -> None:
        """``more_may_come``: from fr-walk, so no few directories are asked for yet."""
        self.list_if_many()
        hinders = self._parts.reuse.retained.hinders
        if hinders and self.may_send() and not self.stopping:
            self.command(b":")
        while self.may_send() and not self.stopping:
            question = self._parts.economy.question()
            if question:
                self.command(*question)
                continue
            if self._parts.economy.level and not self._compresses:
                # Else the first to be compressed were the one behind the next, which may be large.
                self._compresses = True
                self.command(b":")
                continue
            sent = self._next()
            if sent is None:
                break
            self._send_planned(sent)
        if more_may_come:
            return
        if self._parts.inventory.wanted and self.may_list():
            self._list()

    def _list(self) -> None:
        known = len(self._parts.here.table) + len(self._parts.schedule.bulk)
        self._parts.connection.answers.expect_listing(known)
        self.command(*self._parts.inventory.request())

    def _next(self) -> Optional[Sent]:
        """The batch that is to go out next, perhaps an empty one; None for no such."""
        if self._parts.flight.ahead:
            return self._parts.filler.planned_ahead()
        due = self._parts.failures.due()
        if (
            not self._parts.schedule.pressing
            and due is not None
            and due <= time.monotonic()
        ):
            retry = self._parts.failures.take()
            sent, left = self._parts.filler.from_retry(retry)
            if not sent.batch:
                # They are gone here; so may be a directory that was kept for their sake.
                above = {path.rpartition(b"/")[0] for path in retry.paths}
                self._parts.schedule.again(sorted(above - {b""}, reverse=True))
            if left:
                self._parts.failures.put_back(left, retry)
            return sent
        queue = self._parts.schedule.turn(bool(self._parts.pieces))
        if queue is None:
            return self._piece() if self._parts.pieces else None
        return self._parts.filler.from_queue(queue)

    def _piece(self) -> Sent:
        """The next piece of a large file; or nothing, if the far end has to be taught how."""
        if self._parts.economy.want():
            return self._parts.filler.command()
        return self._parts.filler.piece()

    def list_if_many(self) -> None:
        if self._parts.inventory.wanted > _MANY_LISTINGS and self.may_list():
            self._list()

    def plan_ahead(self) -> bool:
        if self.stopping or self._parts.options.dry_run:
            return False
        return self._parts.filler.plan_ahead()

    def meanwhile(self) -> bool:
        """What to do while the connection takes no more; False: nothing left."""
        if self.plan_ahead():
            return True
        tally = self._parts.reporter.tally
        return tally is not None and tally.step()

    def _send_planned(self, sent: Sent) -> None:
        """Send what was planned, if anything, and remember what needed no sending."""
        self._parts.state_writer.write(self._parts.here.table.adopted)
        self._parts.here.table.adopted.clear()
        if sent.batch:
            self._send(sent)

    def _send(self, sent: Sent) -> None:
        batch = sent.batch
        if batch.deletions or batch.removals:
            self._parts.here.source.check()
        if self._parts.options.dry_run and not batch.commands:
            self._rehearse(sent)
            batch.only_compare()
            if not batch:
                return
        batch.released = self._parts.reuse.retained.left()
        self._number += 1
        batch.number = self._number
        sent.started = time.monotonic()
        if not self._parts.flight:
            self._parts.silence.broken()
        self._parts.state_writer.write(intended=sent.intended)
        if self._parts.reporter.one_file:
            self._parts.reporter.one_file.under_way = self._parts.flight.bytes()
        self._parts.flight.add(sent)
        much = self._parts.pace.quick and bool(self._parts.schedule.bulk)
        told = self._parts.reporter
        self._parts.sender.send(sent, told.tally, told.one_file, much)
        self._parts.silence.broken()  # what has been taken so far shows life

    def _rehearse(self, sent: Sent) -> None:
        self._parts.reporter.rehearse(sent, self._parts.here.table)
        for directory, mode in sent.batch.directories:
            entry = entries.directory_entry(mode, entries.OURS)
            self._parts.here.table.put_directory(directory, entry)

    def run_on_sync(self) -> None:
        sent = self._parts.filler.command(
            b"hook " + shell_quote(self._parts.options.on_sync)
        )
        sent.batch.files.append((onsync.NAMES, self._parts.on_sync.begin()))
        self._send(sent)

    def finish(self) -> None:
        self.finishing = self._parts.hearing.may_end = True
        self._parts.pieces.end()
        self.command(b"finish")
