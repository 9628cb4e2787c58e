"""The parts of a conversation, made and joined: who is told by whom.

Each module says what its part is for. Here is only who needs which of the others.
"""

from __future__ import annotations

import os
import time

from filerep.pathstream import quote
from filerep.replica.acknowledging import Acknowledging, Hearing
from filerep.replica.filling import Filler
from filerep.replica.known.forgotten import Forgotten
from filerep.replica.known.inventory import Inventory
from filerep.replica.known.statewriter import StateWriter
from filerep.replica.known.ticks import Ticks
from filerep.replica.leftovers import Leftovers
from filerep.replica.members import Members
from filerep.replica.onsync import OnSync
from filerep.replica.planning.mounted import Mounted
from filerep.replica.planning.plan import Plan
from filerep.replica.planning.sides import Aside, Sides
from filerep.replica.planning.twins import Twins
from filerep.replica.repairs import Mender
from filerep.replica.reporting import Reporter
from filerep.replica.scheduling.edited import PATIENCE
from filerep.replica.scheduling.failures import Failures
from filerep.replica.scheduling.inflight import Flight
from filerep.replica.scheduling.judging import Judging
from filerep.replica.scheduling.missing import Missing
from filerep.replica.scheduling.removals import Removals
from filerep.replica.scheduling.restless import Restless
from filerep.replica.scheduling.schedule import Schedule
from filerep.replica.scheduling.since import Since
from filerep.replica.scheduling.unreadable import Unreadable
from filerep.replica.sending import Sender
from filerep.replica.settling import Settling
from filerep.replica.transfer.economy import TINY, Economy
from filerep.replica.transfer.pace import Pace, Silence
from filerep.replica.transfer.pieces import Pieces
from filerep.replica.transfer.reuse import Reuse
from filerep.replica.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from filerep.farend.connection import Connection
    from filerep.replica.options import Here, Options, Tell


class Parts:
    """All of one conversation, but the loop and what it sends."""

    def __init__(
        self,
        here: Here,
        connection: Connection,
        options: Options,
        tell: Tell,
        on_hook: Callable[[int], None],
    ) -> None:
        self.here = here
        self.connection = connection
        self.options = options
        self._tell = tell
        far = connection.far
        self._can_list = options.initial and far.list != "none"
        self.pace = Pace(far.way, here.slow)
        self.failures = Failures(tell.say, tell.failing)
        self._make_queues()
        self._make_known()
        self._make_transfer()
        self._make_plan()
        self._make_tellers()
        self._make_ends(on_hook)
        if not far.keeps_modes:
            self._keep_no_modes()
        for volume in far.without_modes if far.keeps_modes else ():
            here.table.ignore_modes_in(volume)
            tell.say(
                f"{quote(volume)} at the far end keeps no permission bits: files have those"
                " that it gives them"
            )
        if far.empty:
            self.leftovers.nothing_unseen()
        for path in here.silent:
            self._distrust(path)

    def _make_queues(self) -> None:
        """What waits, and what is on its way."""
        here, options, clock = self.here, self.options, time.monotonic
        root, pace = here.source.root, self.pace
        at_once = options.dry_run or options.removal.mirror > 1
        self.restless = Restless(clock, self._mtime, lambda: pace.rate)
        removals = Removals(
            clock,
            0.0 if at_once else options.removal.hold,
            here.table,
            self._tell.say,
            lambda: _is_locked(root),
            lambda since, paths: _removed_by_git(root, since, paths),
        )
        self.schedule = Schedule(clock, self.restless, removals)
        self.unreadable = Unreadable(
            here.source,
            here.counting,
            self._tell.on_error,
            self._tell.unreadable,
            clock,
        )
        patience = 0.0 if TINY else PATIENCE
        self.judging = Judging(here.source, here.sieve, patience, here.began)
        self.schedule.judge = self.judging.rested
        self.since = Since(here.source, here.table, options.since_ns)
        self.flight = Flight()
        self.silence = Silence(options.keepalive, self.flight)

    def _make_known(self) -> None:
        """What is known of the far end, and the net below that."""
        here, far, options = self.here, self.connection.far, self.options
        self.inventory = Inventory(far, here.table, self._can_list and not far.empty)
        self.state_writer = StateWriter(
            here.state, self.inventory.confirmed, self._tell.say
        )
        self.forgotten = Forgotten(
            here.source,
            here.table,
            self.state_writer,
            self.inventory,
            time.monotonic,
            enabled=self._can_list and options.removal.delete and not options.dry_run,
        )

    def _make_transfer(self) -> None:
        """What sends less than whole files."""
        here = self.here
        self.economy = Economy(self.options, self.pace, self._tell.say)
        self.reuse = Reuse(here.source, here.table, self.economy)
        self.pieces = Pieces(
            here.source,
            self.economy,
            self.schedule.big,
            self.restless,
            self.reuse.retained.leave,
            self.connection.far.parts,
        )

    def _make_plan(self) -> None:
        """What looks at paths, and what fills batches with what follows."""
        here, far = self.here, self.connection.far
        self.filler = Filler(
            far.staging,
            self.schedule,
            self.flight,
            self.inventory,
            self.pace,
            self.economy,
            self.judging,
            self.since,
            self._sync_point,
        )
        self.filler.pieces = self.pieces
        self._twins = None
        if far.folds or far.volumes:
            self._twins = Twins(here.source, far.fold, here.counting)
        deletes = self.options.removal.delete
        sides = Sides(here.source, here.table, deletes, complete=self._can_list)
        sides.has_links, sides.times_links = far.has_links, far.precise
        aside = Aside(self.schedule.look_later, self.unreadable.add)
        aside.failing = self.failures.why
        aside.too_big = self.filler.put_off
        aside.removals = self.filler.removals
        aside.waits = self.schedule.waits
        self._mounted = Mounted(
            here.source.root,
            here.mounts,
            here.table,
            self._tell.say,
            self.state_writer,
            lambda: not self.flight,
        )
        aside.mounted_away = self._mounted.away
        distrust = self.inventory.distrust
        self.filler.plan = Plan(sides, aside, self.reuse, self._twins, distrust)

    def _make_tellers(self) -> None:
        """What tells the wrapper, and takes the steps that are told of."""
        options, here = self.options, self.here
        self.reporter = Reporter(
            self._tell.report, options.progress, options.dry_run, options.names
        )
        locked = lambda: _is_locked(here.source.root)
        self.on_sync = OnSync(bool(options.on_sync), time.monotonic, locked)
        missing = Missing(self.failures, self.unreadable, self.restless)
        self.leftovers = Leftovers(
            here,
            options.removal,
            self.schedule,
            self.inventory,
            self.forgotten,
            self.filler.plan.gone,
            missing,
            self._mounted,
        )
        self.settling = Settling(
            options,
            here.table,
            self.schedule,
            missing,
            self.leftovers,
            self.reporter,
            self.on_sync,
        )

    def _make_ends(self, on_hook: Callable[[int], None]) -> None:
        """The two ends of the connection: what hears answers, and what sends batches."""
        here, far, out = self.here, self.connection.far, self.connection.out
        mender = Mender(
            Undo(here.table),
            here.table,
            self.inventory,
            self.failures,
            self._tell.say,
            self.schedule.again,
            self._distrust,
            self.reuse.retained,
            self.economy.not_unpacked,
        )
        acknowledging = Acknowledging(
            self.flight,
            self.schedule,
            mender,
            self.state_writer,
            self.failures,
            self.reporter,
            self.filler,
            self.settling.changed,
            self.forgotten.suspect,
        )
        self.hearing = Hearing(
            self.connection,
            self.flight,
            self.silence,
            self._listed,
            acknowledging,
            on_hook,
            self._told_tools,
        )
        self.hearing.on_no_modes = self._keep_no_modes
        members = Members(
            here.source,
            far.precise,
            out,
            self.economy,
            self.restless,
            self.unreadable.add,
        )
        ticks = Ticks(here.source, os.uname().release)
        self.sender = Sender(here.table, far, out, self.economy, members, ticks)

    def _keep_no_modes(self) -> None:
        if self.here.table.keeps_modes:
            self.here.table.ignore_modes()
            self._tell.say(
                "the far end keeps no permission bits: files have those that it gives them"
            )

    def _mtime(self, path: bytes) -> float:
        try:
            status = self.here.source.look(path)
        except OSError:
            return 0.0
        return status.st_mtime if status is not None else 0.0

    def _sync_point(self) -> None:
        self.settling.sync_point()

    def _listed(self, data: bytes) -> None:
        if self._twins is not None:
            self._twins.forget()
        for directory, row in self.inventory.merge(data):
            self.schedule.bulk.add(directory, row)
        self.state_writer.write()

    def _told_tools(self, words: str) -> None:
        economy = self.economy
        told = economy.tools is not None
        economy.answer(words)
        if not told:
            self.reporter.tools(words, economy.reuses, bool(economy.level))

    def _distrust(self, path: bytes) -> None:
        """What was thought to be over there for ``path`` is not."""
        self.reuse.distrust(path)
        self.pieces.distrust(path)


def _is_locked(root: bytes) -> bool:
    from filerep.rules.repository import is_locked  # few need it

    return is_locked(root)


def _removed_by_git(root: bytes, since: float, paths: Iterable[bytes]) -> bool:
    from filerep.rules.worktree import were_removed  # few need it

    return were_removed(root, since, paths)
