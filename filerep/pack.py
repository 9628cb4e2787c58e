"""fr-pack: read a path stream, write what is at those paths as a tar stream.

Usage:
  fr-pack [options] [--mirror]... [--exclude PATTERN]... [--include PATTERN]...
          [--exclude-from FILE]... [--include-from FILE]... SRC

Reads NUL-terminated paths from standard input, relative to SRC or absolute and
below it, looks at each, and writes the regular files and symbolic links it
finds to standard output as one tar archive. Links are sent as links, owners
are not sent, set-id bits are left out.

Whenever the input pauses, all that was read so far is written at once and
padded to tar's record of 10240 bytes, so that a plain `tar -x` at the other
end of the pipe applies it immediately. A record may come late, twice, or for a
path that is gone. A member may be in the archive twice, to fill such a pause.

  path    this path may have changed: it is sent if it is there
  path/   something at or below it may be gone; `./` is the whole tree. A tar
          archive cannot say that a file is gone: such a record is passed over
          (file-replicator, which speaks with the far end, removes)

Options:
  --listing FILE     Send only what differs from what FILE says is there.
                     FILE is what `find . -printf '%y %m %s %T@ %p\\0%l\\0'`
                     prints at the other end.
  --state FILE       Send only what changed since the last run with this FILE.
                     What was sent is remembered in it.
  -h, --help         Show this.
  -V, --version      Show the version.

Options that file-replicator gives it:
  --wire N           Speak with its receiver, whose ready line comes on N.
                     All the others here go with this one.
  --answers-fd N     Where the receiver's answers are read [default: 0].
  --urgent-fd N      A path stream that goes before standard input.
  --report-fd N      Where to tell the wrapper what happens.
  --about TEXT       What --state's FILE is of, kept in it for whoever looks.
  --no-delete        Remove nothing at the far end.
  --hold N           Where more than half of all files are gone, if they are a
                     hundred or more, remove them N seconds later [default: 5].
  --no-initial       Do not compare with what the far end has.
  --dry-run          Change nothing, report what would be done.
  --checksum         Compare contents at the start, not size and time.
  --progress         Report how far the first copy has come.
  --names            Report the names of all files.
  --on-sync COMMAND  What the far end runs once changes pause.
  --keepalive N      Ask for a sign of life after N seconds [default: 15].
  --own FILES        Never send these, device:inode,...
  --compress         Compress always; else as the connection shows.
  --no-compress      Compress never.
  --whole-file       Send whole files always; else as the connection shows.
  --no-whole-file    Never send what the far end holds already.
  --mirror           Remove what only the far end has; twice: without limit.
                     What does not count stays there; the rest of these, as
                     fr-walk has them, say what counts.
  --gitignore        What is ignored does not (the default).
  --no-gitignore     What is ignored does.
  --exclude PATTERN  What matches does not.
  --include PATTERN  What matches does.
  --exclude-from FILE
                     What matches a line of FILE does not.
  --include-from FILE
                     What matches a line of FILE does.
  --editor-files     Editors' files do.

Exit status:
  0   everything was sent
  1   some paths were left out, each with a message
  64  wrong usage, or standard output is a terminal
  66  SRC cannot be used, or was moved, deleted or unmounted
  69  with --wire: the far end or the connection failed
  70  a bug
  71  the system refused
  74  the output could not be written

Examples:
  git ls-files -z | fr-pack . > snapshot.tar
  fr-watch . | fr-pack . | ssh host tar -xC /srv/app
"""

from __future__ import annotations

import contextlib
import os
import select
from stat import S_ISLNK, S_ISREG

from filerep import command
from filerep.archive import tarstream
from filerep.archive.outbuffer import SIZE, OutBuffer, widen
from filerep.archive.worker import SHARE, Worker, usable
from filerep.command import Command, OutputError, Stop
from filerep.pathstream import Decoder, in_rows, normalize, quote
from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.known.unchanged import unchanged
from filerep.source import RootGone, Source, changed_meanwhile, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Optional

    from filerep.farend.abilities import Far
    from filerep.replica.known.statefile import State
    from filerep.replica.known.staterows import Remembered
    from filerep.replica.options import Options
    from filerep.rules.ignore import Rules

_READ = 1 << 18
_RECENT = 100
_SECOND = 1_000_000_000


def pack(
    source: Source,
    records: int,
    archive: int,
    on_error: Callable[[str, bytes, OSError], None],
    on_bad_record: Callable[[bytes, str], None],
    table: Optional[Table] = None,
    state: Optional[State] = None,
) -> None:
    """Read a path stream from descriptor ``records``, write a tar stream to ``archive``.

    With a ``table``, what it says is there already is left out, and what is sent is entered
    and, with a ``state``, remembered. A path that cannot be read goes to ``on_error``,
    what is no such path to ``on_bad_record`` with what is wrong; ``OutputError`` escapes.
    Without a ``table`` a second process takes half of many paths.
    """
    write = lambda data: command.write_all(archive, data)
    packer = _Packer(source, write, on_error, on_bad_record, table, state)
    decoder = Decoder()
    waiting = select.poll()
    waiting.register(records, select.POLLIN)
    while True:
        if not waiting.poll(0):
            packer.pause()
        chunk = os.read(records, _READ)
        source.forget_directories()
        if not chunk:
            break
        packer.pack(decoder.feed(chunk))
    unended = decoder.close()
    if unended:
        packer.pack([unended], ended=False)
    packer.close()


class _Packer:
    """Writes members for paths, in large writes."""

    def __init__(
        self,
        source: Source,
        write: Callable[[memoryview], None],
        on_error: Callable[[str, bytes, OSError], None],
        on_bad_record: Callable[[bytes, str], None],
        table: Optional[Table] = None,
        state: Optional[State] = None,
    ) -> None:
        from filerep.misnamed import Misnamed  # not for the wire

        self._source = source
        self._on_error = on_error
        self._on_bad_record = on_bad_record
        self._misnamed = Misnamed(source)
        self._ended = True
        self._absolute: list[bytes] = []  # paths, by now relative
        self._table = table
        self._state = state
        self._out = OutBuffer(write)
        self._length = 0
        # The bytes of the last member, if it is in the buffer still.
        self._last = 0
        self._recent: list[bytes] = []  # the paths that were packed last
        self._filled = False  # does the archive end with a filler?
        # Docker takes an archive for one by its first 512 bytes, which have to be a member's. So
        # none of its time stands before it, and it comes a second time for that, if it is short.
        self._first = table is None
        self._packs_for_other = False  # is this the second process?
        self._entered: list[tuple[bytes, bytes]] = []
        self._alone = table is not None or not usable()
        self._worker: Optional[Worker] = None

    def pack(self, records: list[bytes], ended: bool = True) -> None:
        """Write a member for what is at each of these paths now; ``ended`` by NULs."""
        self._ended = ended
        self._recent = records[-_RECENT:]
        if len(records) > SHARE and not self._alone and self._worker is None:
            try:
                self._worker = Worker(self._prepare_worker)
            except OSError:
                self._alone = True
        worker = self._worker
        if len(records) <= SHARE or worker is None:
            self._pack_all(records)
            return
        for begin in range(0, len(records), 2 * SHARE):
            middle = begin + SHARE
            worker.begin(records[middle : middle + SHARE])
            self._pack_all(records[begin:middle])
            length, left = worker.finish(self._out)
            if length:
                self._added(length, 0)
            self._pack_all(left)

    def _prepare_worker(
        self, write: Callable[[memoryview], None]
    ) -> Callable[[list[bytes]], list[bytes]]:
        """See worker.py."""
        left: list[bytes] = []
        on_error = lambda _, path, __: left.append(path)
        on_bad = lambda record, _: left.append(record)
        packer = _Packer(self._source, write, on_error, on_bad)
        packer._first, packer._packs_for_other = False, True

        def pack(records: list[bytes]) -> list[bytes]:
            self._source.forget_directories()
            left.clear()
            left.extend(packer._pack(records))
            packer._flush()
            return left

        return pack

    def _pack_all(self, records: list[bytes]) -> None:
        torn = self._pack(records)
        self._pack(torn, patient=True)

    def _pack(self, records: list[bytes], patient: bool = False) -> list[bytes]:
        """Write members; the paths of files that changed while they were read.

        ``patient``: such a file is sent as it was read.
        """
        torn = []
        for above, row in in_rows(records, self._odd):
            begin = len(above) + 1 if above else 0
            try:
                directory = self._source.directory(above)
            except OSError as error:
                for path in row:
                    self._failed(path, error)
                continue
            for path in row:
                name = path[begin:]
                try:
                    status = os.lstat(name, dir_fd=directory)
                    mode = status.st_mode
                    if S_ISREG(mode):
                        if self._source.is_own(path, status):
                            continue
                        if not self._file(path, directory, name, status, patient):
                            torn.append(path)
                    elif S_ISLNK(mode):
                        self._symlink(path, directory, name, status)
                except OSError as error:
                    self._failed(path, error)
        if self._absolute:
            more, self._absolute = self._absolute, []
            torn += self._pack(more, patient)
        return torn

    def _failed(self, path: bytes, error: OSError) -> None:
        if not changed_meanwhile(error):
            self._on_error("read", path, error)
        elif not self._packs_for_other:
            hint = self._misnamed.hint(path, self._ended)
            if hint:
                self._on_bad_record(path, hint)

    def _odd(self, record: bytes) -> None:
        if normalize(record) is not None:
            return
        path = self._source.relative(record) if record.startswith(b"/") else None
        if path is None:
            self._on_bad_record(record, f"not a path below SRC: {quote(record)}")
        else:
            self._absolute.append(path)

    def _symlink(
        self, path: bytes, directory: int, name: bytes, status: os.stat_result
    ) -> None:
        target = os.readlink(name, dir_fd=directory)
        table = self._table
        if table is not None and unchanged(table, path, status, target):
            return
        mtime_ns, kind, precise = status.st_mtime_ns, tarstream.SYMLINK, not self._first
        member = tarstream.member(
            _named(path), kind, 0o777, 0, mtime_ns, target, precise
        )
        self._out.add(member)
        self._added(len(member), len(member))
        if not precise and mtime_ns % _SECOND:
            self._symlink(path, directory, name, status)
            return
        if table is not None:
            self._enter(table, path, status)

    def _file(
        self,
        path: bytes,
        directory: int,
        name: bytes,
        status: os.stat_result,
        patient: bool,
    ) -> bool:
        """Write a file; False if it was not all the time as ``status`` says.

        If it changed and no part of it is out yet, it is left out.
        """
        table = self._table
        if table is not None and unchanged(table, path, status, b""):
            return True
        size = status.st_size
        first = self._first
        header = tarstream.file_member(_named(path), status, not first)
        fd = self._source.open_in(directory, name)
        try:
            if not patient and len(header) + size <= SIZE:
                added = self._out.add_whole(header, fd, status)
                rested = added > 0
                if rested:
                    self._added(added, added)
            else:
                first = False
                rested = self._stream(header, fd, status, patient)
        finally:
            os.close(fd)
        if first and rested and status.st_mtime_ns % _SECOND:
            return self._file(path, directory, name, status, patient)
        if table is not None and rested:
            self._enter(table, path, status)
        return rested

    def _enter(self, table: Table, path: bytes, status: os.stat_result) -> None:
        value = entries.entry(status, entries.OURS)
        table.put(path, value)
        self._entered.append((path, value))

    def _stream(
        self, header: bytes, fd: int, status: os.stat_result, patient: bool
    ) -> bool:
        """Write a file as it is read: cut, or filled with zeros, to the size in ``header``."""
        if not (patient or same(os.fstat(fd), status)):
            return False
        size, padding = status.st_size, tarstream.padding(status.st_size)
        self._out.add(header)
        try:
            whole = self._out.read(fd, size) == size
        finally:
            self._out.add(padding)
            self._added(len(header) + size + len(padding), 0)
        return whole and same(os.fstat(fd), status)

    def _added(self, size: int, last: int) -> None:
        """So many bytes of members are in, ``last`` of them of the last one, if it is short."""
        self._length += size
        self._last = last
        self._first = self._filled = False

    def pause(self) -> None:
        """Let a tar that reads whole records see all there is so far.

        Python's tarfile takes a filler that no member follows for a broken archive: it goes
        before the last one, where there is another before that.
        """
        filler = tarstream.filler(-self._length % tarstream.RECORD)
        if filler:
            inner = self._length > self._last > 0
            if not (inner and self._out.insert(self._last, filler)):
                self._out.add(filler)
                self._filled = True
            self._length += len(filler)
        self._flush()

    def close(self) -> None:
        if self._filled:
            # As if it had been named once more: one that was packed, a short one if there is.
            short = [path for path in self._recent if self._is_short(path)]
            for path in reversed(self._recent + short):
                self._pack([path], patient=True)
                if not self._filled:
                    break
        self._out.add(tarstream.end(self._length))
        self._flush()
        if self._worker is not None:
            self._worker.end()

    def _is_short(self, path: bytes) -> bool:
        try:
            status = self._source.look(path)
        except OSError:
            return False
        return status is not None and status.st_size < SIZE

    def _flush(self) -> None:
        """Write all; only what was written is remembered."""
        self._last = 0
        self._out.flush()
        if self._state is not None:
            try:
                self._state.append(self._entered, [])
            except OSError as error:
                self._on_error("write", self._state.path, error)
                self._state = None
        self._entered.clear()


def _named(path: bytes) -> bytes:
    """``path`` as a member's name: bsdtar takes \\ and c: off the front, also on Unix."""
    return b"./" + path if path[:1] == b"\\" or path[1:2] == b":" else path


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("fr-pack", __doc__ or "", _main, argv)


def _main(run: Command) -> int:
    root = command.source_root(run.args["SRC"])
    try:
        os.fstat(0)
    except OSError:  # the next file to be opened would be taken for it
        raise Stop(command.NO_INPUT, "standard input is closed") from None
    source = _open_source(root)
    table = Table() if run.args["--listing"] or run.args["--state"] else None
    source.on_own = lambda path: run.say(
        f"{quote(path)} is written by this run itself, and left out"
    )
    wire = run.args["--wire"] is not None
    state = None if run.args["--dry-run"] else _open_state(run, wire)
    try:
        if wire:
            return _converse(run, root, source, state)
        if os.isatty(1):
            raise Stop(command.USAGE, "will not write an archive to a terminal")
        if table is not None:
            if state is not None:
                _tidied(run, state).enter(table, entries.OURS | entries.UNSEEN)
            if run.args["--listing"]:
                _read_listing(run.args["--listing"], table)
        source.leave_out(1, 2, *([] if state is None else [state.fileno()]))
        widen(1)
        bad = lambda _, why: run.on_bad(why)
        pack(source, 0, 1, run.on_error, bad, table, state)
    except RootGone:
        raise Stop(
            command.NO_INPUT,
            f"{quote(root)} was moved, deleted or unmounted; nothing was removed",
        ) from None
    finally:
        if state is not None:
            state.close()
    return run.status


def _open_source(root: bytes) -> Source:
    try:
        return Source(root)
    except OSError as error:
        why = command.reason(error)
        raise Stop(command.NO_INPUT, f"cannot open {quote(root)}: {why}") from None


def _open_state(run: Command, wire: bool) -> Optional[State]:
    """``wire``: it is file-replicator's, in a place of its own, and can be done without."""
    path = run.args["--state"]
    if not path:
        return None
    from filerep.replica.known.statefile import Busy, State

    try:
        return State(os.fsencode(path), wire)
    except Busy:
        said = f"{quote(path)} is in use by another run"
        raise Stop(command.UNAVAILABLE, said) from None
    except OSError as error:
        if wire:
            _forget(run, error)
            # What it says may not be so any more by the next start.
            with contextlib.suppress(OSError):
                os.unlink(path)
            return None
        said = f"cannot use {quote(path)}: {command.reason(error)}"
        raise Stop(command.IO_ERROR, said) from None


def _forget(run: Command, error: OSError) -> None:
    from filerep.replica.known.statewriter import FORGOTTEN

    run.say(f"cannot write the state file, {command.reason(error)}: {FORGOTTEN}")


def _tidied(run: Command, state: State) -> Remembered:
    from filerep.replica.known.statefile import Foreign

    path = quote(run.args["--state"])
    try:
        remembered = state.tidy()
    except Foreign:
        said = f"{path} is neither empty nor a state file: it is left as it is"
        raise Stop(command.USAGE, said) from None
    except OSError as error:
        said = f"cannot write {path}: {command.reason(error)}"
        raise Stop(command.IO_ERROR, said) from None
    lost = _lost(remembered)
    if lost:
        run.say(f"the state file {path} {lost}: some of it is sent anew")
    return remembered


def _remembered(run: Command, state: Optional[State]) -> Remembered:
    """What the state file says; ``state`` is None in a dry run, which leaves it as it is.

    Raises OSError.
    """
    from filerep.replica.known import staterows

    if state is not None:
        kept = state.tidy()
    elif run.args["--state"]:
        try:
            with open(run.args["--state"], "rb") as file:
                kept = staterows.read(file.fileno())
        except FileNotFoundError:
            return staterows.Remembered()
    else:
        return staterows.Remembered()
    lost = _lost(kept)
    if lost:
        run.say(
            f"the state file {lost}: of what is removed here while nothing runs, what was"
            " changed at the far end stays there"
        )
    return kept


def _lost(remembered: Remembered) -> str:
    """Why a state file does not tell all, in words; nothing if it does."""
    if remembered.form not in ("empty", "ours"):
        return "is another version's, and begins anew"
    if remembered.damaged:
        return "is damaged, and what is no good in it was left out"
    return "may not tell all that was sent" if remembered.old else ""


def _read_listing(path: str, table: Table) -> None:
    """Enter a whole listing; directories first, which find names before what is in them."""
    from filerep.farend import listing
    from filerep.replica.known.merging import merge_listing

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        said = f"cannot open {quote(path)}: {command.reason(error)}"
        raise Stop(command.NO_INPUT, said) from None
    found = listing.parse_find(data)
    for directory in sorted(found):
        if not directory or table.get_directory(directory) is not None:
            merge_listing(table, directory, found[directory])


def _rules(run: Command, root: bytes) -> Rules:
    """What --mirror leaves alone at the far end, by the same rules as fr-walk."""
    from filerep.rules import ignore

    return ignore.load_asked(root, run.args, run.on_error, run.say)


def _counting(run: Command, root: bytes, paths: list[bytes]) -> list[bytes]:
    """Those of ``paths`` that fr-walk would name by now; all, where that cannot be told."""
    from filerep.rules import ignore
    from filerep.rules.sieve import Sieve

    def nobody(*_: object) -> None:
        """Who reads the rules to send by them has told what is wrong."""

    def load() -> Rules:
        return ignore.load_asked(root, run.args, nobody, nobody)

    try:
        sieve = Sieve(root, load(), load, nobody, nobody)
        try:
            return sieve.sift(paths, False)
        finally:
            sieve.close()
    except (OSError, Stop):
        return paths


def _converse(run: Command, root: bytes, source: Source, state: Optional[State]) -> int:
    """The wire mode: see conversation.py."""
    from filerep.farend.abilities import Far
    from filerep.farend.answers import Answers
    from filerep.farend.connection import Connection, Output
    from filerep.replica.conversation import Conversation
    from filerep.replica.known.staterows import Remembered
    from filerep.replica.options import Here, Tell
    from filerep.replica.transfer.economy import Refused

    options = _options(run)
    source.own |= _identities(run.args["--own"] or "")
    report_fd = _descriptor(run, "--report-fd")
    report = _reporter(report_fd)
    # All that takes time is done before there is a far end to wait for.
    try:
        remembered = _remembered(run, state)
    except OSError as error:
        _forget(run, error)
        if state is not None:
            state.give_up()
        remembered, state = Remembered(), None
    rules = _rules(run, root) if options.mirror else None
    with open(_descriptor(run, "--wire"), "rb") as told:
        line = told.readline()
    if not line:
        return command.UNAVAILABLE  # the wrapper says why
    far = Far(os.fsdecode(line))
    answers = Answers(_descriptor(run, "--answers-fd"), far)
    out = Output(1, answers, 3 * options.keepalive)
    table = _recall(remembered, state, far, options.initial)
    if state is not None:
        try:
            state.name(os.fsencode(run.args["--about"] or ""), remembered)
        except OSError as error:
            _forget(run, error)
            state = None
    talk = Conversation(
        Here(source, table, state, rules, lambda paths: _counting(run, root, paths)),
        Connection(far, answers, out),
        options,
        Tell(run.say, run.on_error, report),
    )
    bulk_fd, urgent_fd = 0 if options.initial else -1, _descriptor(run, "--urgent-fd")
    try:
        talk.run(bulk_fd, urgent_fd, _terminated(), report_fd)
        if talk.failures and not talk.stopping:
            raise Refused(
                command.UNAVAILABLE,
                f"not in sync: {len(talk.failures):,} of the paths could not be written;"
                " why is said above",
            )
    except (OutputError, Stop) as error:
        if report_fd < 0:
            raise Stop(command.UNAVAILABLE, str(error)) from None
        # The wrapper says it, together with what it does about it.
        refused = isinstance(error, Refused)
        report({"is": "refused" if refused else "lost", "why": str(error)})
        return command.UNAVAILABLE
    return command.TERMINATED if talk.stopping else run.status


def _options(run: Command) -> Options:
    from filerep.replica.options import Options

    args = run.args
    return Options(
        delete=not args["--no-delete"],
        hold=command.number(args["--hold"], "--hold"),
        initial=not args["--no-initial"],
        dry_run=args["--dry-run"],
        mirror=args["--mirror"],
        keepalive=command.number(args["--keepalive"], "--keepalive"),
        on_sync=os.fsencode(args["--on-sync"] or ""),
        progress=args["--progress"],
        compress=_either(args, "compress"),
        whole_file=_either(args, "whole-file"),
        checksum=args["--checksum"],
        names=args["--names"],
    )


def _either(args: Mapping[str, Any], name: str) -> Optional[bool]:
    """Was ``--name`` given, or ``--no-name``, or neither?"""
    if args[f"--no-{name}"]:
        return False
    return True if args[f"--{name}"] else None


def _recall(
    remembered: Remembered, state: Optional[State], far: Far, initial: bool
) -> Table:
    """The table as earlier runs have left it."""
    table = Table()
    marks = entries.OURS | (entries.UNSEEN if initial else 0)
    if far.list == "none":
        marks |= entries.UNSURE  # what became of it there since, nobody can tell
    if far.empty:
        if state is not None:
            state.clear()
    elif initial and far.list != "none" or not remembered.old:
        remembered.enter(table, marks)  # what is old, a listing has to show
    return table


def _identities(text: str) -> set[tuple[int, int]]:
    """Device and inode of each file in ``text``; raises ``Stop``."""
    found = set()
    for one in text.split(",") if text else ():
        device, _, inode = one.partition(":")
        if not (device.isdecimal() and inode.isdecimal()):
            raise Stop(command.USAGE, f"--own takes device:inode, not {quote(one)}")
        found.add((int(device), int(inode)))
    return found


def _descriptor(run: Command, option: str) -> int:
    """The descriptor that ``option`` names, -1 if it was not given."""
    text = run.args[option]
    return -1 if text is None else int(command.number(text, option))


def _reporter(fd: int) -> Callable[[dict[str, object]], None]:
    """What tells the wrapper at ``fd`` what happens, a line of JSON each time."""
    import json

    def report(what: dict[str, object]) -> None:
        if fd >= 0:
            try:
                command.write_all(fd, json.dumps(what).encode() + b"\n")
            except OutputError:
                pass  # the wrapper was killed: see Conversation.run

    return report


def _terminated() -> int:
    """A descriptor that can be read after SIGTERM, which then does nothing else.

    What is under way is finished, and the far end tidies up.
    """
    import signal

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(writer)
    return reader
