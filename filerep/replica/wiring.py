"""The parts of a conversation, made and joined: who is told by whom.

Each module says what its part is for. Here is only who needs which of the others.
"""

from __future__ import annotations

import time

from filerep.replica.acknowledging import Acknowledging, Hearing
from filerep.replica.filling import Filler
from filerep.replica.known.forgotten import Audit
from filerep.replica.known.inventory import Inventory
from filerep.replica.known.statewriter import Memory
from filerep.replica.onsync import OnSync
from filerep.replica.planning.mounted import Mounted
from filerep.replica.planning.plan import Plan
from filerep.replica.planning.twins import Twins
from filerep.replica.repairs import Mender
from filerep.replica.reporting import Reporter
from filerep.replica.scheduling.failures import Failures
from filerep.replica.scheduling.inflight import Flight
from filerep.replica.scheduling.removals import Removals
from filerep.replica.scheduling.restless import Restless
from filerep.replica.scheduling.schedule import Schedule
from filerep.replica.scheduling.unreadable import Unread
from filerep.replica.sending import Sender
from filerep.replica.settling import Settling
from filerep.replica.transfer.economy import Economy
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
        self.failures = Failures(tell.say, tell.failing)
        far, out, table = connection.far, connection.out, here.table
        pace = self.pace = Pace(far.way)
        restless = Restless(time.monotonic, self._mtime, lambda: pace.rate)
        root = here.source.root
        removals = Removals(
            time.monotonic,
            0.0 if options.dry_run or options.mirror > 1 else options.hold,
            table,
            tell.say,
            lambda: _is_locked(root),
            lambda since, paths: _removed_by_git(root, since, paths),
        )
        schedule = self.schedule = Schedule(time.monotonic, restless, removals)
        flight = self.flight = Flight()
        unread = self.unread = Unread(
            here.source, here.counting, tell.on_error, time.monotonic
        )
        self.silence = Silence(options.keepalive, flight)
        reporter = Reporter(
            tell.report, options.progress, options.dry_run, options.names
        )
        self.reporter = reporter
        can_list = options.initial and far.list != "none"
        inventory = Inventory(far, table, can_list and not far.empty)
        self.inventory = inventory
        self.memory = Memory(here.state, inventory.confirmed, tell.say)
        audit = self.audit = Audit(
            here.source,
            table,
            self.memory,
            inventory,
            time.monotonic,
            enabled=can_list and options.delete and not options.dry_run,
        )
        economy = self.economy = Economy(options, pace, tell.say)
        reuse = self.reuse = Reuse(here.source, table, economy)
        pieces = self.pieces = Pieces(
            here.source,
            economy,
            schedule.big,
            restless.torn,
            reuse.retained.leave,
            far.parts,
        )
        self.filler = Filler(
            far.stage, schedule, flight, inventory, pace, economy, self._mark
        )
        self.filler.pieces = pieces
        self._twins = None
        if far.folds:
            self._twins = Twins(here.source, far.fold, here.counting)
        plan = self.filler.plan = Plan(
            here.source,
            table,
            options.delete,
            can_list,
            self.failures.why,
            unread.add,
            schedule.look_later,
            self.filler.put_off,
            reuse,
            self._twins,
            inventory.distrust,
        )
        if not far.keeps_modes:
            self._keep_no_modes()
        kept = here.state.path + b".mounts" if here.state else None
        plan.gone.hold = self.filler.hold
        plan.gone.away = Mounted(here.source.root, kept, tell.say).away
        mender = Mender(
            Undo(table),
            table,
            inventory,
            self.failures,
            tell.say,
            schedule.again,
            self._distrust,
            reuse.retained,
        )
        on_sync = OnSync(
            bool(options.on_sync), time.monotonic, lambda: _is_locked(root)
        )
        self.on_sync = on_sync
        self.settling = Settling(
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
            self.memory,
            self.failures,
            reporter,
            self.filler,
            self.settling.changed,
            audit.suspect,
        )
        self.hearing = Hearing(
            connection,
            flight,
            self.silence,
            self._listed,
            acknowledging,
            on_hook,
            self._told_tools,
        )
        self.hearing.on_no_modes = self._keep_no_modes
        self.sender = Sender(
            here.source, table, far, out, economy, restless, unread.add
        )
        if far.empty:
            self.settling.nothing_unseen()

    def _keep_no_modes(self) -> None:
        if self.here.table.keeps_modes:
            self.here.table.ignore_modes()
            self._tell.say(
                "the far end keeps no modes: files have those that it gives them"
            )

    def _mtime(self, path: bytes) -> float:
        try:
            status = self.here.source.look(path)
        except OSError:
            return 0.0
        return status.st_mtime if status is not None else 0.0

    def _mark(self) -> None:
        self.settling.mark()

    def _listed(self, data: bytes) -> None:
        if self._twins is not None:
            self._twins.forget()
        for directory, row in self.inventory.merge(data):
            self.schedule.bulk.add(directory, row)
        self.memory.write()

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
    from filerep.rules.tracked import were_removed  # few need it

    return were_removed(root, since, paths)
