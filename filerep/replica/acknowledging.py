"""What the far end's answers mean for the table, the state file and what is to come."""

from __future__ import annotations

import time

from filerep.command import UNAVAILABLE, Stop
from filerep.farend.answers import LAST_WORDS, ended, nonsense, understood

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from filerep.farend.answers import Answer
    from filerep.farend.connection import Connection
    from filerep.replica.filling import Filler
    from filerep.replica.known.statewriter import StateWriter
    from filerep.replica.repairs import Mender
    from filerep.replica.reporting import Reporter
    from filerep.replica.scheduling.failures import Failures
    from filerep.replica.scheduling.inflight import Flight, Sent
    from filerep.replica.scheduling.schedule import Schedule
    from filerep.replica.transfer.pace import Silence

_MOST_KILLED = 100
_MOST_PASSED = 16 << 20  # bytes of lines that are no answers, one after the other
_DOUBTFUL = ("lost", "there", "kept")  # answers on which the table forgets paths
_MOST_TROUBLE = 4  # answers for each path or directory of a batch


class Hearing:
    """Takes the answers that have come, each by what it says."""

    def __init__(
        self,
        connection: Connection,
        flight: Flight,
        silence: Silence,
        on_listing: Callable[[bytes], None],
        on_batch: Acknowledging,
        on_hook: Callable[[int], None],
        on_tools: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._answers = connection.answers
        self._out = connection.out
        self._flight = flight
        self._silence = silence
        self._on_listing = on_listing
        self._on_batch = on_batch
        self._on_hook = on_hook
        self._on_tools = on_tools
        self._passed = 0  # bytes of lines since the last that was an answer
        self._killed = 0  # times that what unpacks was, since the last `ok`
        self.may_end = False  # was the far end asked to?
        self.finished = False  # has it said bye?
        self.on_no_modes: Callable[[], object] = bool  # they could not be set

    def take(self) -> None:
        """All answers that are there; raises ``Stop``."""
        for what, data in self._answers.take():
            self._silence.broken()
            if what == "listing":
                self._on_listing(data)
            else:
                self._line(data)
        if self._answers.ended and not self.finished:
            raise Stop(UNAVAILABLE, "it was closed")

    def _line(self, line: bytes) -> None:
        answer = understood(line)
        if answer is None:
            self._passed += len(line) + 1
            if self._passed > _MOST_PASSED:
                raise nonsense("says what is no answer, without end")
            return
        self._passed = 0
        word = answer.word
        if word == "ok":
            sent = self._answered(answer)
            if self._answers.expects_listing:
                raise nonsense("has not listed what it was asked for")
            self._killed = 0
            self._landed(sent)
            self._on_batch.done(sent)
        elif word == "failed":
            sent = self._answered(answer)
            self._landed(sent)
            if sent.unapplied:
                self._on_batch.done(sent)
            else:
                self._on_batch.failed(sent, answer.other, answer.text)
        elif word == "modes":
            self._answered(answer).unapplied = True  # the next try is without them
            self.on_no_modes()
        elif word == "torn":
            self._torn(answer)
        elif word in LAST_WORDS:
            raise ended(answer)
        elif word == "hook":
            self._on_hook(answer.number)
        elif word == "tools":
            self._answered(answer)
            self._on_tools(answer.text)
        elif word == "bye":
            if not self.may_end:
                raise Stop(UNAVAILABLE, "the far end has ended by itself")
            self.finished = True
        elif word == "again":
            raise nonsense("is there again, and was not gone")
        else:
            self._trouble(answer)

    def _trouble(self, answer: Answer) -> None:
        """One line about one path of the batch that is about to be acknowledged."""
        sent = self._answered(answer)
        numbered = sent.batch.numbered
        sensible = answer.other < len(numbered)
        if sensible and answer.word != "lost":  # that is about a directory it is in
            operation, path = numbered[answer.other]
            sensible = path in operation.paths
        if not sensible or len(sent.trouble) >= _MOST_TROUBLE * len(numbered):
            raise nonsense(f"answers {answer.word!r} for what was never sent")
        sent.trouble.append((answer.word, answer.other, answer.text))

    def _torn(self, answer: Answer) -> None:
        """What unpacked the first batch was killed; all that is under way is lost with it.

        Or it was killed while it waited for one.
        """
        if not self._flight or len(self._flight.under_way[0].paths) != 1:
            # What is tried alone is tried more and more rarely, however many there are.
            self._killed += 1
        if self._killed > _MOST_KILLED:
            raise Stop(UNAVAILABLE, "the far end's tar is killed again and again")
        if not self._flight:
            for line in self._connection.again():
                self._line(line)
            return
        sent = self._answered(answer)
        for line in self._connection.again():
            if line.startswith(b"torn "):
                raise nonsense("is killed more than once at a time")
            self._line(line)
        others = self._flight.under_way[1:]
        if any(other.batch.commands for other in others):
            raise Stop(UNAVAILABLE, "the far end's tar was killed")
        self._landed(sent)
        self._on_batch.failed(sent, answer.other, answer.text)
        for other in others:
            other.unapplied = True
            self._landed(other)
            self._on_batch.done(other)

    def _answered(self, answer: Answer) -> Sent:
        """The batch that it is about, the first under way."""
        sent = self._flight.first(answer.number)
        if sent is None:
            raise Stop(UNAVAILABLE, "the far end answers out of order")
        return sent

    def _landed(self, sent: Sent) -> None:
        """The first batch under way is no more."""
        self._flight.land()
        self._out.give_back(sent.lent)
        if sent.batch.commands[-1:] == [b"tools"]:
            self._on_tools("")  # if it did not answer, it has none

    def note(self) -> None:
        """Answers have come while a batch is written. They are taken later, but came now."""
        for sent in self._flight.under_way:
            if not sent.answered and self._answers.told(sent.batch.number):
                sent.answered = time.monotonic()

    def reclaim(self) -> bool:
        """Give back what batches were sent from whose answer is there, to be heard later."""
        landed = [
            sent
            for sent in self._flight.under_way
            if sent.lent and self._answers.told(sent.batch.number)
        ]
        for sent in landed:
            self._out.give_back(sent.lent)
            sent.lent = []
        return bool(landed)


class Acknowledging:
    """Keeps what a batch has done, mends what it has not, and tells of it."""

    def __init__(
        self,
        flight: Flight,
        schedule: Schedule,
        mender: Mender,
        state: StateWriter,
        failures: Failures,
        reporter: Reporter,
        filler: Filler,
        on_change: Callable[[list[bytes]], None],
        on_doubt: Callable[[], None],
    ) -> None:
        """``on_doubt`` is called where the table may have forgotten something."""
        self._flight = flight
        self._schedule = schedule
        self._mender = mender
        self._state = state
        self._failures = failures
        self._reporter = reporter
        self._filler = filler
        self._on_change = on_change
        self._on_doubt = on_doubt

    def failed(self, sent: Sent, status: int, words: str) -> None:
        """Nothing of ``sent`` was done."""
        self._count(sent, False)
        self._mender.failed(sent, status, words)
        self._flight.taint()
        self._on_doubt()

    def done(self, sent: Sent) -> None:
        """All of ``sent`` was done, but for what answers have told before."""
        self._count(sent, not sent.unapplied)
        unapplied = self._mender.mend(sent)
        if unapplied or sent.trouble:
            # Where a directory was lost, what later batches have put below it is forgotten, too.
            self._flight.taint()
        if any(word in _DOUBTFUL for word, _, _ in sent.trouble):
            self._on_doubt()
        entries, removed = [*sent.respelled, *sent.entries], sent.removed
        if unapplied:
            entries = [
                pair for pair in entries if pair[0].rstrip(b"/") not in unapplied
            ]
            removed = [path for path in removed if path.rstrip(b"/") not in unapplied]
        self._mender.placed(entries)
        if self._state:
            self._remember(sent, entries, removed, unapplied)
        if sent.tainted:
            gone = {path for other in self._flight.later() for path in other.removed}
            self._schedule.again(self._mender.restore(sent, unapplied | gone))
        if sent.retry:
            self._failures.tried(sent.retry)
            # A directory may have stayed only for the sake of what is removed now.
            self._schedule.again(directories_of(removed))
        now = sent.answered or time.monotonic()
        self._filler.answered(sent, now)
        self._filler.plan.arrived(sent, (path for path, _ in entries))
        changed = self._reporter.batch(sent, now - sent.began, unapplied)
        if changed:
            self._on_change(changed)

    def _count(self, sent: Sent, arrived: bool) -> None:
        if self._reporter.tally:
            self._reporter.tally.answered(sent.tallied, arrived)

    def _remember(
        self,
        sent: Sent,
        entries: list[tuple[bytes, bytes]],
        removed: list[bytes],
        unapplied: set[bytes],
    ) -> None:
        # What was removed may be on its way again, which is remembered already.
        flight = self._flight.under_way if removed else ()
        again = {path for other in flight for path in other.intended}
        forgotten = [path for path in removed if path not in again]
        self._state.write(entries, forgotten, grown=() if unapplied else sent.intended)


def directories_of(paths: Iterable[bytes]) -> list[bytes]:
    """Those that ``paths`` are in, where a directory's ends in ``/``, but for the root."""
    above = (path.rstrip(b"/").rpartition(b"/")[0] for path in paths)
    return [directory for directory in above if directory]
