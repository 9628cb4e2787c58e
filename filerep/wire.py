"""fr-pack's side of the conversation with receiver.sh: batches out, answers in.

What is to be looked at waits in five places, and a path is always in as many of them as it
has reasons to be:

* ``urgent``: named by fr-watch. Goes before everything else.
* ``bulk``: named by fr-walk, or found to be looked at again; read only as fast as it is used.
* ``waiting``: in a directory whose listing has been asked for.
* ``later``: changed while it was read, or just emptied; looked at again in a moment.
* ``lots``: failed over there; each lot is tried as a batch of its own, more and more rarely.

The table is changed when a batch is sent, not when it is acknowledged, so that a path named
twice is compared with what is under way. When a batch fails, what it changed is doubted
and looked at again; when the connection is lost, the table goes with this process. What
outlives it, the state file, is written on acknowledgement only.

Both directions are pipes. Were one end to write only, and the other to answer at length, both
would block: so standard output is written without blocking, and while it is full the
answers are read. A listing, which is as long as the tree, is never under way together with a
batch.
"""

from __future__ import annotations

import errno
import heapq
import json
import os
import select
import stat
import time
from collections import OrderedDict

from filerep import listing
from filerep import table as tables
from filerep import tarstream
from filerep.batch import COMMIT, Batch, Member, directory_mode, shell_quote
from filerep.command import UNAVAILABLE, OutputError, Stop
from filerep.outbuffer import OutBuffer
from filerep.pathstream import Decoder, normalize, quote
from filerep.source import Source, kind
from filerep.tally import Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Optional

    from filerep.ignore import Rules
    from filerep.state import State

# A batch is at least so large where there is more to send, and grows while the far end keeps
# up, so that a save made meanwhile waits for a fraction of a second and not for a minute.
_LEAST_BYTES = 1 << 20
_MOST_BYTES = 1 << 26
_MOST_PATHS = 4000
_GOOD_TIME = 0.25
_ALL_PATHS = 1 << 20  # read ahead, where somebody wants to know how long it will take

_READ = 1 << 16
_SMALL = 1 << 16  # files up to this size are read whole before their header is written
_WRITE = 1 << 18

_EMPTIED_WAIT = 0.05
_TORN_WAIT = (0.02, 2.0)
_TORN_PATIENCE = 10.0
_RETRY_WAIT = (0.5, 30.0)
# Where changes never pause, so long is tried to reach a point with nothing under way.
_QUIET_WAIT = 0.5
_MARK_PATIENCE = 3.0
_URGENT_TURNS = 4  # batches for fr-watch, then one for fr-walk

# Woken so much too late, this process itself was stopped (Ctrl-Z), and has no right to call
# the far end silent.
_STOPPED = 1.0

_LOT_PAUSE = 4.0  # times what the failure took, before the next lot is tried
_COARSE_TICKS = 2_100_000_000  # ns; for stamps in whole seconds, or FAT's two

STAGE_PREFIX = b".filerep-"


class Far:
    """What the receiver's ready line told: which tar and lister, whether it is empty."""

    def __init__(self, words: str) -> None:
        told = dict(word.partition("=")[::2] for word in words.split())
        self.stage = os.fsencode(told["stage"])
        self.tar = told.get("tar", "other")
        self.list = told.get("list", "none")
        self.empty = told.get("empty") == "1"
        self.counted = self.tar != "gnu"
        self.precise = self.tar in ("gnu", "bsd")


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


class Answers:
    """The receiver's answers: lines, and now and then a listing.

    The end of an --on-sync command is told by a line of its own process, which may fall
    anywhere into a listing. Such a line is written at once, so it is always whole, and
    nobody else knows the number in it: it is cut out wherever it turns up.
    """

    def __init__(self, fd: int, far: Far) -> None:
        self.fd = fd
        self.ended = False
        self._form = far.list
        self._hook = b"filerep-" + far.stage.rpartition(b"-")[2] + b" "
        self._aside: list[bytes] = []
        self._data = bytearray()
        self._listing = False
        self._searched = 0

    def fill(self) -> None:
        """Read what is there; to be called when ``fd`` is readable."""
        try:
            chunk = os.read(self.fd, 1 << 20)
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            chunk = b""
        start = max(0, len(self._data) - len(self._hook) - 12)
        self._data += chunk
        self.ended = self.ended or not chunk
        while (at := self._data.find(self._hook, start)) >= 0:
            end = self._data.find(b"\n", at)
            if end < 0:
                break
            self._aside.append(bytes(self._data[at + len(self._hook) : end]))
            del self._data[at : end + 1]
            self._searched = min(self._searched, at)

    def take(self) -> Iterator[tuple[str, bytes]]:
        """("line", text) or ("listing", data) for each answer that is there whole."""
        while self._aside:
            yield "line", self._aside.pop(0)
        while True:
            if self._listing:
                at = listing.find_end(self._form, self._data, self._searched)
                if at < 0:
                    self._searched = len(self._data)
                    return
                self._listing = False
                yield "listing", bytes(self._data[:at])
                del self._data[: at + len(listing.ENDS[self._form])]
                continue
            at = self._data.find(b"\n")
            if at < 0:
                return
            line = bytes(self._data[:at])
            del self._data[: at + 1]
            if line == b"listing":
                self._listing, self._searched = True, 0
            else:
                yield "line", line


class Output(OutBuffer):
    """Standard output, buffered; while it takes no more, answers are read."""

    def __init__(self, fd: int, answers: Answers, patience: float) -> None:
        """``patience``: seconds without a byte taken after which the far end is given up."""
        self.fd = fd
        self._answers = answers
        self._patience = patience or None
        # What to do with the time while waiting, a little a call; False: nothing left.
        self.meanwhile: Callable[[], bool] = bool
        super().__init__(self.write)
        os.set_blocking(fd, False)

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:
                self._wait()
            except OSError as error:
                raise OutputError(error) from None

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        if not self._answers.ended:
            poll.register(self._answers.fd, select.POLLIN)
        while not poll.poll(0) and self.meanwhile():
            pass
        began = time.monotonic()
        ready = poll.poll(self._patience and self._patience * 1000)
        if not ready and time.monotonic() - began > (self._patience or 0) + _STOPPED:
            return
        if not ready:
            raise Stop(UNAVAILABLE, silent(self._patience or 0))
        for fd, _ in ready:
            if fd == self._answers.fd:
                self._answers.fill()


def silent(seconds: float) -> str:
    return f"no sign of life from the far end for {seconds:g} s"


class Lot:
    """Paths that failed over there, to be tried again together after ``wait`` seconds."""

    def __init__(self, paths: list[bytes], wait: float) -> None:
        self.paths = paths
        self.wait = wait

    def __lt__(self, other: Lot) -> bool:
        return id(self) < id(other)


class Sent:
    """A batch under way: what it changed in the table, to be remembered or doubted."""

    def __init__(self, batch: Batch, lot: Optional[Lot] = None) -> None:
        self.batch = batch
        self.lot = lot
        self.entries: list[tuple[bytes, bytes]] = []
        self.removed: list[bytes] = []
        self.void = False
        self.claimed: Optional[bytes] = b""  # the directory that was last, to save time
        self.started = time.monotonic()
        self.trouble: list[tuple[str, int, str]] = []


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
        self.answers = answers
        self.out = out
        self.say = say
        self.on_error = on_error
        self.report = report
        self.rules = rules
        self.ticks = tables.ticks(source.device, os.uname().release)

        # OrderedDict, since taking the first key of a dict passes over all deleted ones.
        self.urgent: OrderedDict[bytes, None] = OrderedDict()
        self.bulk: OrderedDict[bytes, None] = OrderedDict()
        self.waiting: dict[bytes, list[bytes]] = {}
        self.later: list[tuple[float, bytes]] = []
        self.torn: dict[bytes, tuple[float, float]] = {}  # path: since when, next wait
        self.lots: list[tuple[float, Lot]] = []
        self.failing: dict[bytes, str] = {}
        self.big: OrderedDict[bytes, None] = OrderedDict()

        # Directories whose listing was asked for (False) or is in (True).
        self.listed: dict[bytes, bool] = {}
        self.to_list: dict[bytes, None] = {}
        self.lists = options.initial and far.list != "none" and not far.empty
        # Is what is not in the table not there?
        self.complete = options.initial and far.list != "none"

        self.flight: list[Sent] = []
        self.number = 0
        self.limit = _LEAST_BYTES
        self.marks = 0
        self.marked = 0.0
        self.awaited: Optional[float] = None  # since when _settled is waited for
        self.urgent_turns = 0
        self.tally = Tally(report, time.monotonic) if options.progress else None
        if self.tally:
            out.meanwhile = self.tally.step
        self.next_lot = 0.0
        self.asked: list[bytes] = []
        self.unreadable: set[bytes] = set()
        self.bulk_open = True
        self.unseen_queued = False
        self.initial_done = False
        self.stopping = False
        self.finishing = False
        self.finished = False
        self.heard = time.monotonic()
        self.hook_due = False
        self.hook_runs = False
        self.files = 0
        self.bytes = 0
        self.synced: Optional[bool] = None
        self.began = time.monotonic()

    # -- the loop ---------------------------------------------------------------------

    def run(self, bulk_fd: int, urgent_fd: int, stop_fd: int) -> None:
        """Until both inputs have ended and all is acknowledged; -1 for no such input.

        Raises ``OutputError``, ``RootGone`` and ``Stop``.
        """
        decoders = {bulk_fd: Decoder(), urgent_fd: Decoder()}
        self.bulk_open = bulk_fd >= 0
        if self.lists:
            for directory in list(self.table.directories):
                self._ask(directory)
        while not self.finished:
            poll = select.poll()
            most = _ALL_PATHS if self.tally else _MOST_PATHS
            if bulk_fd >= 0 and len(self.bulk) < most:
                poll.register(bulk_fd, select.POLLIN)
            if urgent_fd >= 0 and not self._holds_back():
                poll.register(urgent_fd, select.POLLIN)
            if stop_fd >= 0:
                poll.register(stop_fd, select.POLLIN)
            poll.register(self.answers.fd, select.POLLIN)
            timeout = self._timeout()
            began = time.monotonic()
            ready = dict(poll.poll(timeout))
            late = time.monotonic() - began - (timeout or 0) / 1000
            if timeout is not None and late > _STOPPED:
                self.heard += late
            if self.answers.fd in ready:
                self.answers.fill()
            for fd in (urgent_fd, bulk_fd):
                if fd not in ready or fd < 0:
                    continue
                urgent = fd == urgent_fd
                chunk = os.read(fd, _READ)
                records = decoders[fd].feed(chunk)
                if not chunk:
                    rest = decoders[fd].close()
                    records = [rest] if rest else []
                    if urgent:
                        urgent_fd = -1
                    else:
                        bulk_fd, self.bulk_open = -1, False
                self._take(records, urgent)
            if stop_fd in ready:
                stop_fd, self.stopping = -1, True
            self.source.forget_directories()
            self._hear()
            self._wake()
            if self.tally:
                self._measure(self.tally)
            self._send_what_can_be(bool(ready))
            if self.stopping and not self.finishing:
                self._finish()
            elif self._idle() and not self.bulk_open:
                self._settled(urgent_fd < 0)

    def _take(self, records: Iterable[bytes], urgent: bool) -> None:
        queue = self.urgent if urgent else self.bulk
        for record in records:
            path = normalize(record)
            if path is None:
                self.say(f"not a path below the source: {quote(record)}")
            else:
                queue[path] = None
                if urgent:
                    # Behind what was named before: a mark must not overtake (see _mark).
                    queue.move_to_end(path)

    def _measure(self, tally: Tally) -> None:
        """Find out how much is to be sent, once fr-walk has named all there is."""
        listing = self.lists and (self.waiting or self.to_list or self.asked)
        if not (tally.started or self.bulk_open or listing):
            tally.start(self.bulk, self.bulk, self._size_to_send)
        elif not (self._may_send() and (self.urgent or self.bulk or self.big)):
            tally.step()

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
        if self.tally and self.tally.measuring():
            return 0
        if self._may_send() and (self.urgent or self.bulk or self.big):
            return 0
        if self.to_list and self._may_list():
            return 0
        due = []
        if self.later:
            due.append(self.later[0][0])
        if self.lots and self._may_send():
            due.append(max(self.lots[0][0], self.next_lot))
        if self.options.keepalive:
            due.append(self.heard + self.options.keepalive)
        if not due:
            return None
        return max(0.0, min(due) - time.monotonic()) * 1000 + 1

    def _may_send(self) -> bool:
        """Two batches under way keep both ends busy; more would only delay a save."""
        return not (self.finishing or self.asked or len(self.flight) > 1)

    def _may_list(self) -> bool:
        return not (self.finishing or self.flight)

    def _idle(self) -> bool:
        """Is nothing left that could be done now?"""
        queued = self.urgent or self.bulk or self.big or self.to_list or self.waiting
        return not (queued or self.flight or self.later)

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
        keepalive = self.options.keepalive
        if keepalive and now - self.heard >= keepalive:
            if self.flight and now - self.heard >= 3 * keepalive:
                raise Stop(UNAVAILABLE, silent(3 * keepalive))
            if not self.flight:
                self.heard = now
                self._command(b":")

    def _settled(self, inputs_ended: bool) -> None:
        """Nothing to do: look at what only earlier runs knew, say so, end if asked."""
        if not self.unseen_queued:
            self.unseen_queued = True
            for path in self.table.unseen():
                self.bulk[path.rstrip(b"/")] = None
            if self.bulk:
                return
        if self.rules is not None:
            if self._mirror(self.rules):
                return
            self.rules = None
        if not self.initial_done:
            self.initial_done = True
            self.tally, self.out.meanwhile = None, bool
            self.report(
                {
                    "is": "first",
                    "files": self.files,
                    "bytes": self.bytes,
                    "known": self.table.ours(),
                    "failing": len(self.failing),
                    "ms": (time.monotonic() - self.began) * 1000,
                }
            )
            self.hook_due = self.hook_due or bool(self.options.on_sync)
        if self.hook_due and not self.hook_runs and not self.options.dry_run:
            self.hook_due, self.hook_runs = False, True
            command = b"hook " + shell_quote(self.options.on_sync)
            self._command(command)
            return
        # What failed has been tried once more since the mark: the cause may be mended.
        since = time.monotonic() - self.marked
        tried = not self.lots or self.lots[0][0] > self.marked or since > _MARK_PATIENCE
        while self.marks and tried:
            self.marks -= 1
            self.report({"is": "mark", "failing": len(self.failing)})
        synced = not self.failing
        if synced != self.synced:
            self.synced = synced
            self.report({"is": "sync", "failing": len(self.failing)})
        if inputs_ended and not self.hook_runs and not self.finishing:
            self._finish()

    def _mirror(self, rules: Rules) -> bool:
        """Queue what only the far end has, or ask for more listings; False: nothing left.

        What is found becomes ours, so that it is removed as if the source had had it. All
        that counts in the source has been shown by now; that it is not there is looked at
        once more, since it may only have been unreadable.
        """
        links: dict[bytes, Optional[Rules]] = {b"": rules}
        for path, value in self.table.below(b""):
            if not path.endswith(b"/"):
                continue
            parent, _, name = path[:-1].rpartition(b"/")
            above = links.get(parent)
            here = None
            if above is not None and above.counts(name, True):
                here = self._enter(above, path[:-1], name)
            links[path[:-1]] = here
            if here is not None and path[:-1] not in self.listed:
                self._ask(path[:-1])
        if self.to_list:
            return True
        victims = []
        files = count = 0
        for path, value in self.table.below(b""):
            directory = path.endswith(b"/")
            parent, _, name = path.rstrip(b"/").rpartition(b"/")
            files += not directory
            link = links.get(parent)
            if tables.marks(value) & tables.OURS or link is None:
                continue
            if (
                link.counts(name, directory)
                and self.source.look(path.rstrip(b"/")) is None
            ):
                victims.append((path, value))
                count += not directory
        if self.options.mirror < 2 and files >= 100 and count > files / 2:
            raise Stop(
                UNAVAILABLE,
                f"--mirror would remove {count:,} of {files:,} files at the far end:"
                " nothing was removed; give --mirror twice if that is right",
            )
        for path, value in reversed(victims):
            value = tables.marked(value, tables.marks(value) | tables.OURS)
            if path.endswith(b"/"):
                self.table.put_directory(path[:-1], value)
            else:
                self.table.put(path, value)
            self.bulk[path.rstrip(b"/")] = None
        self.rules = None
        return bool(victims)

    def _enter(self, above: Rules, path: bytes, name: bytes) -> Rules:
        """The rules in ``path``, also if only the far end has that directory."""
        try:
            return above.enter(name, self.source.directory(path))
        except OSError:
            with_none = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return above.enter(name, with_none)
            finally:
                os.close(with_none)

    def _finish(self) -> None:
        self.finishing = True
        self._command(b"finish")

    def _command(self, *commands: bytes) -> None:
        self._send(Sent(self._new_batch(list(commands))))

    def _new_batch(self, commands: list[bytes]) -> Batch:
        self.number += 1
        batch = Batch(self.number, self.far.stage)
        batch.commands = commands
        return batch

    # -- hearing ----------------------------------------------------------------------

    def _hear(self) -> None:
        for what, data in self.answers.take():
            self.heard = time.monotonic()
            if what == "listing":
                self._merge(data)
                continue
            word, _, rest = data.partition(b" ")
            if word == b"ok":
                self._acknowledged(self.flight.pop(0))
            elif word == b"failed":
                words = rest.partition(b" ")[2].decode("utf-8", "replace")
                self._failed(self.flight.pop(0), words)
            elif word == b"hook":
                self.hook_runs = False
                if not self.finishing:
                    self.report({"is": "hook", "status": int(rest)})
            elif word == b"bye":
                self.finished = True
            elif word in (b"bad", b"lost", b"there", b"kept", b"aside"):
                self._trouble(word.decode(), rest)
        if self.answers.ended and not self.finished:
            raise Stop(UNAVAILABLE, "it was closed")

    def _trouble(self, word: str, rest: bytes) -> None:
        """One line about one path of the batch that is about to be acknowledged."""
        number, _, rest = rest.partition(b" ")
        identity, _, words = rest.partition(b" ")
        sent = self.flight[0]
        if int(number) != sent.batch.number:
            raise Stop(UNAVAILABLE, "the far end answers out of order")
        sent.trouble.append((word, int(identity), words.decode("utf-8", "replace")))

    def _acknowledged(self, sent: Sent) -> None:
        void: set[bytes] = set()
        if sent.void:
            void = set(self._paths(sent))
            self._undo(sent, void)
            self._again(void)
        numbered = sent.batch.numbered
        bad: dict[str, set[bytes]] = {}
        for word, identity, words in sent.trouble:
            if word == "bad":
                bad.setdefault(words, set()).add(numbered[identity][1])
            elif word != "kept":
                void |= self._mend(sent, word, identity, words)
        for words, paths in bad.items():
            # Together, as each is answered for alone: a thousand lots take their time.
            for path in self._paths(sent):
                if not paths.isdisjoint(_directories(path)):
                    paths.add(path)
            self._undo(sent, paths)
            self._fails(sorted(paths.intersection(self._paths(sent))), words, sent.lot)
            void |= paths
        self._keep([numbered[at][1] for word, at, _ in sent.trouble if word == "kept"])
        entries = [pair for pair in sent.entries if pair[0].rstrip(b"/") not in void]
        removed = [path for path in sent.removed if path.rstrip(b"/") not in void]
        if self.state is not None:
            self.state.append(entries, removed)
        if self.failing:
            for path in [path for path, _ in entries] + removed:
                if self.failing.pop(path, None) is not None:
                    # A directory may have stayed only for its sake.
                    if b"/" in path:
                        self.urgent[path.rpartition(b"/")[0]] = None
        took = time.monotonic() - sent.started
        if sent.batch.bytes >= self.limit // 2:
            if took < _GOOD_TIME:
                self.limit = min(self.limit * 2, _MOST_BYTES)
            elif took > 4 * _GOOD_TIME:
                self.limit = max(self.limit // 2, _LEAST_BYTES)
        self._tell(sent, took, void)

    def _tell(self, sent: Sent, took: float, undone: set[bytes]) -> None:
        batch = sent.batch
        fit = [path for path, _ in sent.entries if not path.endswith(b"/")]
        fit = [path for path in fit if path not in undone]
        gone = [path for path in batch.deletions if path not in undone]
        if not (fit or gone or batch.modes):
            return
        self.files += len(fit)
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

    def _mend(self, sent: Sent, word: str, identity: int, words: str) -> set[bytes]:
        """Act on one line of trouble; the paths of the batch that it made void."""
        stanza, path = sent.batch.numbered[identity]
        if word == "aside":
            self.say(
                f"a directory was in the way of {quote(path)} at the far end;"
                f" it is {quote(path + words.encode())} there now"
            )
            return set()
        paths = self._paths(sent)
        inside = {one for one in paths if one.startswith(path + b"/")}
        void: set[bytes] = set()
        if word == "lost":
            # No directory there, or a symlink: nothing below it is what was sent. What
            # was to be removed below it is gone.
            void = set(paths) - inside
            void |= {member.path for member in sent.batch.members}
            self._undo(sent, void)
            known = self._known_below(path)
            self.table.remove(path)
            self.listed = {}
            self._again([*known, *void])
        elif word == "there":
            # Thought new, but it is there: its files go into it one by one.
            void = inside
            self._undo(sent, void | {path})
            self.table.put_directory(path, tables.directory_entry(0, tables.UNSURE))
            self._again(void)
        return void

    def _keep(self, directories: list[bytes]) -> None:
        """Directories that were not empty over there: still ours if something failed in
        them, else they hold what was made at the far end."""
        for path in directories:
            if any(one.startswith(path + b"/") for one in self.failing):
                entry = tables.directory_entry(0, tables.OURS | tables.UNSURE)
                self.table.put_directory(path, entry)
            elif path.rpartition(b"/")[0] not in directories:
                self.say(
                    f"{quote(path)} stays at the far end: it holds files made there"
                )

    def _failed(self, sent: Sent, words: str) -> None:
        """All of a batch failed: tried again in parts, until the bad ones are alone."""
        paths = self._paths(sent)
        if sent.batch.commands or not paths:
            raise Stop(UNAVAILABLE, f"the far end failed: {words}")
        self._undo(sent, set(paths))
        size = -(-len(paths) // 8)
        for at in range(0, len(paths), size):
            self._fails(paths[at : at + size], words, sent.lot)
        took = time.monotonic() - sent.started
        self.next_lot = time.monotonic() + _LOT_PAUSE * took

    def _fails(self, paths: list[bytes], words: str, lot: Optional[Lot]) -> None:
        words = _plainly(words)
        if words not in self.failing.values():
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            self.say(
                f"cannot write {quote(paths[0])}{more} at the far end: {words};"
                " it is tried again"
            )
        for path in paths:
            self.failing[path] = words
        wait = min(lot.wait * 2 if lot else _RETRY_WAIT[0], _RETRY_WAIT[1])
        heapq.heappush(self.lots, (time.monotonic() + wait, Lot(paths, wait)))

    def _paths(self, sent: Sent) -> list[bytes]:
        batch = sent.batch
        return (
            [member.path for member in batch.members]
            + batch.deletions
            + batch.removals
            + [directory for directory, _ in batch.modes]
        )

    def _undo(self, sent: Sent, void: set[bytes]) -> None:
        """Doubt what was thought to be there, or gone, since this batch was sent."""
        for directory, _ in sent.batch.directories:
            if directory in void or any(
                one.startswith(directory + b"/") for one in void
            ):
                self.table.remove(directory)
        for path, _ in sent.entries:
            if path in void:
                self.table.doubt(path)
        for path in sent.removed:
            if path.rstrip(b"/") not in void:
                continue
            if path.endswith(b"/"):
                entry = tables.directory_entry(0, tables.OURS | tables.UNSURE)
                self.table.put_directory(path[:-1], entry)
            else:
                entry = tables.directory_entry(0, tables.OURS | tables.UNSURE)
                for above in _directories(path):
                    if above not in self.table.directories:
                        self.table.put_directory(above, entry)
                self.table.doubt(path)

    def _known_below(self, directory: bytes) -> list[bytes]:
        return [
            path
            for path, value in self.table.below(directory)
            if tables.marks(value) & tables.OURS and not path.endswith(b"/")
        ]

    def _again(self, paths: Iterable[bytes]) -> None:
        for path in paths:
            self.urgent[path] = None

    # -- listing ----------------------------------------------------------------------

    def _ask(self, directory: bytes) -> None:
        while directory not in self.listed:
            self.listed[directory] = False
            self.to_list[directory] = None
            if not directory:
                break
            directory = directory.rpartition(b"/")[0]

    def _is_listed(self, directory: bytes) -> bool:
        """Is known what the far end holds in ``directory``? If not, it is asked."""
        done = self.listed.get(directory)
        if done:
            return True
        if done is None:
            # What its parent does not hold needs no asking.
            parent = directory
            while parent:
                above = parent.rpartition(b"/")[0]
                if self.listed.get(above) and parent not in self.table.directories:
                    self.listed[directory] = True
                    return True
                parent = above
            self._ask(directory)
        return False

    def _send_listing(self) -> None:
        directories = sorted(self.to_list)
        self.to_list = {}
        commands = [b"echo listing"]
        words: list[bytes] = []
        for directory in directories:
            words.append(shell_quote(b"./" + directory if directory else b"."))
            if len(words) >= 500:
                commands.append(b"list " + b" ".join(words))
                words = []
        if words:
            commands.append(b"list " + b" ".join(words))
        commands.append(listing.END_COMMANDS[self.far.list])
        self.asked = directories
        self._command(*commands)

    def _merge(self, data: bytes) -> None:
        found = listing.parse(self.far.list, data)
        top = found.get(b"", [])
        found[b""] = [one for one in top if not one[0].startswith(STAGE_PREFIX)]
        for directory in self.asked:
            self.listed[directory] = True
            self.table.merge_listing(directory, found.get(directory, ()))
        for directory in self.asked:
            for path in self._changed(directory, self.waiting.pop(directory, [])):
                self.bulk[path] = None
        self.asked = []

    def _changed(self, directory: bytes, paths: list[bytes]) -> list[bytes]:
        """Of ``paths`` in ``directory``, those that have to be looked at one by one.

        What a start again finds unchanged, most of the tree, is passed over here at a third
        of the cost of `_look`.
        """
        names = self.table.directories.get(directory)
        if not names or not paths:
            return paths
        start = len(directory) + 1 if directory else 0
        changed: list[bytes] = []
        try:
            fd = self.source.directory(directory)
        except OSError:
            return paths
        for path in paths:
            name = path[start:]
            value = names.get(name)
            if value is not None:
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except OSError:
                    pass
                else:
                    if self.table.same_file(names, name, path, value, status):
                        continue
            changed.append(path)
        if len(changed) < len(paths):
            self._claim(paths[0], Sent(Batch(0, b"")))
        return changed

    # -- planning ---------------------------------------------------------------------

    def _send_what_can_be(self, more_may_come: bool) -> None:
        while self._may_send() and not self.stopping:
            lot = None
            queue = self.urgent
            if not queue and self.lots:
                now = time.monotonic()
                if self.lots[0][0] <= now and self.next_lot <= now:
                    lot = heapq.heappop(self.lots)[1]
                    queue = OrderedDict.fromkeys(lot.paths)
            queue = queue or self.bulk or self.big
            if not queue:
                break
            self.urgent_turns += 1
            if self.urgent_turns > _URGENT_TURNS and not lot:
                # Or the tree's other files would wait until this one rests.
                queue = self.bulk or self.big or queue
            if queue is not self.urgent:
                self.urgent_turns = 0
            batch = self._new_batch([])
            sent = Sent(batch, lot)
            self._plan(queue, sent)
            if self.state is not None:
                self.state.append(self.table.adopted, [])
            self.table.adopted.clear()
            if lot:
                # What turned out to need nothing fails no longer.
                for path in set(lot.paths).difference(self._paths(sent)):
                    self.failing.pop(path, None)
            if batch:
                self._send(sent)
            else:
                self.number -= 1
        hurry = len(self.to_list) > 1000 or not (more_may_come and self.bulk_open)
        if self.to_list and hurry and self._may_list():
            self._send_listing()

    def _plan(self, queue: OrderedDict[bytes, None], sent: Sent) -> None:
        """Take from ``queue`` what makes a batch of it, or all that needs nothing."""
        batch = sent.batch
        for _ in range(4 * _MOST_PATHS):
            if not queue:
                break
            path = queue.popitem(last=False)[0]
            if queue is self.bulk and not path.endswith(b"/"):
                directory = path[: max(path.rfind(b"/"), 0)]
                row = [path, *_row(queue, directory)]
                if self.lists and not self._is_listed(directory):
                    self.waiting.setdefault(directory, []).extend(row)
                    continue
                changed = self._changed(directory, row)
                if not changed:
                    continue
                path = changed.pop()
                for one in changed:
                    queue[one] = None
                    queue.move_to_end(one, last=False)
            if path == b".":
                self._mark()
            elif path.endswith(b"/"):
                self._verify(path, queue)
            else:
                self._look(path, sent, queue)
                if batch.bytes >= self.limit or batch.count >= _MOST_PATHS:
                    break

    def _mark(self) -> None:
        """A script waits for what was named before this; told once nothing is left."""
        self.marks += 1
        self.marked = self.next_lot = time.monotonic()
        self.lots = [(self.marked, lot) for _, lot in self.lots]
        heapq.heapify(self.lots)

    def _verify(self, record: bytes, queue: OrderedDict[bytes, None]) -> None:
        """Look at all of ours at or below ``record``, the files before their directories."""
        directory = b"" if record == b"./" else record[:-1]
        inner = []
        for path, value in self.table.below(directory):
            if tables.marks(value) & tables.OURS:
                if path.endswith(b"/"):
                    inner.append(path[:-1])
                elif path not in self.urgent:
                    queue[path] = None
        for path in reversed(inner):
            queue.pop(path, None)
            queue[path] = None
        if directory:
            queue.pop(directory, None)
            queue[directory] = None

    def _look(
        self, path: bytes, sent: Sent, queue: Optional[OrderedDict[bytes, None]] = None
    ) -> None:
        """Look at ``path`` and plan what follows from it."""
        if b"/" not in path and path.startswith(STAGE_PREFIX):
            return
        try:
            status = self.source.look(path)
            found = kind(status)
            if found == stat.S_IFREG or found == stat.S_IFLNK:
                assert status is not None
                if path in self.failing and sent.lot is None:
                    return  # it has its own time
                self._plan_file(path, status, sent, queue)
            elif found == stat.S_IFDIR:
                assert status is not None
                self._plan_directory(path, status, sent)
            else:
                self._plan_absent(path, sent, queue)
        except OSError as error:
            self.on_error("read", path, error)

    def _ours_below(self, path: bytes) -> bool:
        return any(
            tables.marks(value) & tables.OURS
            for inner, value in self.table.below(path)
            if not inner.endswith(b"/")
        )

    def _plan_file(
        self,
        path: bytes,
        status: os.stat_result,
        sent: Sent,
        queue: Optional[OrderedDict[bytes, None]],
    ) -> None:
        link = stat.S_ISLNK(status.st_mode)
        target = b""
        if link:
            target = self.source.target(path)
        if self.table.unchanged(path, status, target):
            self._claim(path, sent)
            if self.torn:
                self.torn.pop(path, None)
            return
        if path in self.table.directories:
            # A directory was here: what came from here goes first, then itself.
            if self.options.delete and queue is not None and self._ours_below(path):
                self._verify(path + b"/", queue)
                return
            if self.options.delete:
                self._remove_directory(path, sent)
            self.table.remove(path)
        if not link and status.st_size == 0:
            before = self.table.get(path)
            age = time.time_ns() - status.st_mtime_ns
            if before is not None and tables.size_of(before) and 0 <= age < 5e7:
                # Emptied a moment ago: most programs that save in place write next.
                self._look_later(path, _EMPTIED_WAIT)
                return
        new = self._new_directories(path, sent)
        if new is None:
            return
        if status.st_size > self.limit and (sent.batch.members or self.urgent):
            if not link and sent.lot is None and queue is not self.big:
                self.big[path] = None
                return
        sent.batch.add(path, status, target, new)
        self._claim(path, sent)

    def _new_directories(
        self, path: bytes, sent: Sent
    ) -> Optional[list[tuple[bytes, os.stat_result]]]:
        """Directories above ``path`` that the far end lacks, top first; None: gone here."""
        new: list[tuple[bytes, os.stat_result]] = []
        directory = path.rpartition(b"/")[0]
        while directory not in self.table.directories and not sent.batch.has_staged(
            directory
        ):
            status = self.source.look(directory)
            if kind(status) != stat.S_IFDIR:
                return None  # its own record comes, or came before this one
            assert status is not None
            if self.table.get(directory) is not None:
                self._delete(directory, sent)
            new.append((directory, status))
            directory = directory.rpartition(b"/")[0]
        return new[::-1]

    def _claim(self, path: bytes, sent: Sent) -> None:
        """The directories above are ours now, and have our permission bits."""
        directory = path.rpartition(b"/")[0]
        if directory == sent.claimed:
            return
        sent.claimed = directory
        while directory not in self.table.directories:
            path, directory = directory, directory.rpartition(b"/")[0]
        for above in self.table.claim_directories(path):
            value = self.table.get_directory(above)
            status = self.source.look(above)
            if value is not None and kind(status) == stat.S_IFDIR:
                assert status is not None
                self.table.adopted.append((above + b"/", value))
                self._plan_directory(above, status, sent)

    def _plan_directory(self, path: bytes, status: os.stat_result, sent: Sent) -> None:
        if self.table.get(path) is not None and self.options.delete:
            self._delete(path, sent)
        value = self.table.get_directory(path)
        if value is None or not tables.marks(value) & tables.OURS:
            return
        mode = directory_mode(status)
        if tables.marks(value) & tables.UNSEEN:
            value = tables.marked(value, tables.marks(value) & ~tables.UNSEEN)
            self.table.put_directory(path, value)
        if tables.marks(value) & tables.UNSURE or tables.mode_of(value) & 0o777 != mode:
            value = tables.directory_entry(mode, tables.OURS)
            self.table.put_directory(path, value)
            sent.entries.append((path + b"/", value))
            sent.batch.modes.append((path, mode))

    def _plan_absent(
        self, path: bytes, sent: Sent, queue: Optional[OrderedDict[bytes, None]]
    ) -> None:
        if not self.options.delete:
            return
        if path in self.table.directories:
            if self._ours_below(path):
                if queue is not None:
                    self._verify(path + b"/", queue)
            else:
                self._remove_directory(path, sent)
        if self.table.get(path) is not None or not self.complete:
            self._delete(path, sent)

    def _delete(self, path: bytes, sent: Sent) -> None:
        if path.rpartition(b"/")[0] in self.table.directories or not self.complete:
            sent.batch.deletions.append(path)
            sent.removed.append(path)
        parent, _, name = path.rpartition(b"/")
        self.table.directories.get(parent, {}).pop(name, None)

    def _remove_directory(self, path: bytes, sent: Sent) -> None:
        value = self.table.get_directory(path)
        if value is not None and tables.marks(value) & tables.OURS:
            for inner, mark in self.table.below(path):
                if inner.endswith(b"/") and tables.marks(mark) & tables.OURS:
                    sent.batch.removals.append(inner[:-1])
                    sent.removed.append(inner)
            sent.batch.removals.append(path)
            sent.removed.append(path + b"/")
            self.table.remove(path)

    def _look_later(self, path: bytes, wait: float) -> None:
        heapq.heappush(self.later, (time.monotonic() + wait, path))

    # -- sending ----------------------------------------------------------------------

    def _send(self, sent: Sent) -> None:
        batch = sent.batch
        if batch.deletions or batch.removals:
            self.source.check()
        if self.options.dry_run and not batch.commands:
            self._rehearse(sent)
            return
        sent.started = time.monotonic()
        if self.tally:
            self.tally.plan(batch.count, batch.bytes)
        if not self.flight:
            self.heard = sent.started
        self.flight.append(sent)
        records = self._records(batch) if self.far.counted else 0
        if records:
            self.out.add(b"%d\n" % records)
        headers = batch.headers()
        self.out.add(headers)
        length = len(headers)
        unfit: set[bytes] = set()
        for member in batch.members:
            took, fit = self._send_member(member)
            if self.tally:
                self.tally.sent(fit, 0 if member.size > _SMALL else member.size * fit)
            length += took
            if not fit:
                unfit.add(member.path)
            self._settle(member, fit, sent)
        script = batch.script(unfit)
        if records and self._archive(length, script) > records:
            script, sent.void = b"dirty=1\n", True
        commit = tarstream.member(COMMIT, tarstream.FILE, 0o600, len(script))
        self.out.add(commit + script + tarstream.padding(len(script)))
        length += len(commit) + len(script) + len(tarstream.padding(len(script)))
        end = tarstream.end(length)
        self.out.add(end)
        if records:
            self.out.add(bytes(records * tarstream.RECORD - length - len(end)))
        self.out.add(b"batch %d\n" % batch.number)
        self.out.flush()
        self.heard = time.monotonic()  # what has been taken so far shows life
        for directory, mode in batch.directories:
            value = tables.directory_entry(mode, tables.OURS)
            self.table.put_directory(directory, value)
            sent.entries.append((directory + b"/", value))
        for path, value in sent.entries:
            if not path.endswith(b"/"):
                self.table.put(path, value)

    def _archive(self, length: int, script: bytes) -> int:
        """tar records an archive takes whose members before the commit take ``length``."""
        length += len(tarstream.member(COMMIT, tarstream.FILE, 0o600, len(script)))
        length += len(script) + len(tarstream.padding(len(script)))
        return (length + len(tarstream.end(length))) // tarstream.RECORD

    def _records(self, batch: Batch) -> int:
        length = len(batch.headers())
        for member in batch.members:
            length += len(member.header(self.far.precise))
            length += member.size + len(tarstream.padding(member.size))
        return self._archive(length, batch.script(set()))

    def _send_member(self, member: Member) -> tuple[int, bool]:
        """How many bytes of archive went out, and whether it may be put in place."""
        header = member.header(self.far.precise)
        status, size = member.status, member.size
        if stat.S_ISLNK(status.st_mode):
            self.out.add(header)
            return len(header), True
        patient = self._patience_ended(member.path)
        padding = tarstream.padding(size)
        length = len(header) + size + len(padding)
        try:
            fd = self.source.open(member.path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                self._unreadable(member.path, error)
            return 0, False
        try:
            # Most fit into the buffer, and are taken back if they have changed meanwhile.
            revocable = self.out.fits(length)
            if not revocable and not (patient or _same(os.fstat(fd), status)):
                return 0, False
            self.out.add(header)
            try:
                fit = self.out.read(fd, size) == size
            except OSError as error:
                self._unreadable(member.path, error)
                fit = False
            fit = fit and (patient or _same(os.fstat(fd), status))
            if revocable and not fit:
                self.out.drop(len(header) + size)
                return 0, False
            self.out.add(padding)
            return length, fit
        finally:
            os.close(fd)

    def _unreadable(self, path: bytes, error: OSError) -> None:
        self.on_error("read", path, error)
        self.unreadable.add(path)

    def _patience_ended(self, path: bytes) -> bool:
        """RACE: a file that does not rest for ten seconds (a log, a disk image) is sent as
        it is read, which may be a mix of two versions, rather than never."""
        since = self.torn.get(path)
        return since is not None and time.monotonic() - since[0] > _TORN_PATIENCE

    def _settle(self, member: Member, fit: bool, sent: Sent) -> None:
        """After a member was sent: what the table may say, or when to look again."""
        path = member.path
        if fit:
            self.torn.pop(path, None)
            # See table.py on ctimes that are younger than the clock that made them.
            coarse = member.status.st_ctime_ns % 1_000_000_000 == 0
            age = time.time_ns() - member.status.st_ctime_ns
            young = age < (_COARSE_TICKS if coarse else self.ticks)
            bits = tables.OURS | (tables.UNSURE if young else 0)
            sent.entries.append((path, tables.entry(member.status, bits)))
        elif path in self.unreadable:
            self.unreadable.remove(path)  # said once, and looked at when named again
        else:
            since, wait = self.torn.get(path, (time.monotonic(), _TORN_WAIT[0]))
            self.torn[path] = (since, min(2 * wait, _TORN_WAIT[1]))
            self._look_later(path, wait)

    def _rehearse(self, sent: Sent) -> None:
        batch = sent.batch
        self.number -= 1
        for member in batch.members:
            self.report({"is": "would", "send": quote(member.path)})
        for path in batch.deletions:
            self.report({"is": "would", "remove": quote(path)})
        self.files += len(batch.members)
        self.bytes += batch.bytes
        for directory, mode in batch.directories:
            self.table.put_directory(
                directory, tables.directory_entry(mode, tables.OURS)
            )


def _row(queue: OrderedDict[bytes, None], directory: bytes) -> Iterator[bytes]:
    """Take from the front of ``queue`` what is in ``directory`` itself."""
    start = len(directory)
    while queue:
        path = next(iter(queue))
        at = path.rfind(b"/")
        if max(at, 0) != start or at > 0 and not path.startswith(directory):
            break
        if path.endswith(b"/"):
            break
        del queue[path]
        yield path


def _directories(path: bytes) -> Iterator[bytes]:
    """The directories above ``path``, from the top."""
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def _same(now: os.stat_result, then: os.stat_result) -> bool:
    return (
        now.st_ctime_ns == then.st_ctime_ns
        and now.st_mtime_ns == then.st_mtime_ns
        and now.st_size == then.st_size
        and now.st_ino == then.st_ino
    )


def _inside(path: bytes, directory: bytes) -> bool:
    return path.startswith(directory + b"/")


def _plainly(words: str) -> str:
    """The far end's words, with what to do where a common cause is behind them."""
    if "No space left" in words or "Wrote only " in words:  # the second is GNU tar's
        return "its disk is full"
    if words.startswith("not writable by "):
        who, _, line = words[len("not writable by ") :].partition(", ")
        fields = line.split(None, 8)
        if len(fields) == 9:
            return (
                f"directory {quote(fields[8])} belongs to {fields[2]}"
                f" and cannot be written by {who or 'this user'}"
            )
    return words
