"""fr-pack --wire: its arguments become a conversation with the far end."""

from __future__ import annotations

import os
import time

from filerep import command
from filerep.command import Command, OutputError, Stop
from filerep.farend.abilities import Far
from filerep.farend.answers import Answers, Refused
from filerep.farend.connection import Connection, Output
from filerep.pathstream import quote
from filerep.replica.conversation import Conversation
from filerep.replica.known import entries, openstate
from filerep.replica.known.staterows import Remembered
from filerep.replica.known.table import Table
from filerep.replica.options import Here, Options, Removal, Tell, Transfer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Optional

    from filerep.replica.known.statefile import State
    from filerep.rules.ignore import Rules
    from filerep.rules.sieve import Sieve
    from filerep.source import Source


def converse(run: Command, root: bytes, source: Source, state: Optional[State]) -> int:
    """Replicate until the far end has said bye; the exit status. Raises ``Stop``."""
    began = time.monotonic(), time.time_ns()
    options = _options(run)
    source.own |= _identities(run.args["--own"] or "")
    report_fd = _descriptor(run, "--report-fd")
    urgent_fd = _descriptor(run, "--urgent-fd")
    answers_fd = _descriptor(run, "--answers-fd")
    report = _reporter(report_fd)
    # All that takes time is done before there is a far end to wait for.
    remembered, state = _remembered(run, state)
    rules = _rules(run, root) if options.removal.mirror else None
    if rules:
        rules()  # a file that is of no use is said before anything begins
    with open(_descriptor(run, "--wire"), "rb") as told:
        line = told.readline()
    if not line:
        return command.UNAVAILABLE  # the wrapper says why
    far = Far(os.fsdecode(line))
    if options.dry_run:
        far.recall(remembered.far)
    answers = Answers(answers_fd, far)
    out = Output(1, answers, 3 * options.keepalive)
    table = _table(remembered, state, far, options.initial)
    if state is not None:
        try:
            about = os.fsencode(run.args["--about"] or "")
            state.name(about, far.tried, remembered)
        except OSError as error:
            openstate.say_forgotten(run, error)
            state = None
    counting = lambda paths: _counting(run, root, paths)
    kept = remembered.silent, remembered.slow
    sieve = lambda: _sieve(run, root)
    mounts = (
        os.fsencode(run.args["--state"]) + b".mounts" if run.args["--state"] else None
    )
    talk = Conversation(
        Here(source, table, state, rules, counting, *kept, sieve, began, mounts),
        Connection(far, answers, out),
        options,
        Tell(run.say, run.on_error, report),
    )
    bulk_fd = 0 if options.initial else -1
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


def _remembered(
    run: Command, state: Optional[State]
) -> tuple[Remembered, Optional[State]]:
    """What earlier runs have sent, and the file to go on with, if there can be one."""
    try:
        return openstate.recall(run, state), state
    except OSError as error:
        openstate.say_forgotten(run, error)
        if state is not None:
            state.give_up()
        return Remembered(), None


def _options(run: Command) -> Options:
    args = run.args
    removal = Removal(
        delete=not args["--no-delete"],
        hold=command.number(args["--hold"], "--hold"),
        mirror=args["--mirror"],
    )
    transfer = Transfer(
        compress=_either(args, "compress"),
        whole_file=_either(args, "whole-file"),
        checksum=args["--checksum"],
    )
    return Options(
        removal,
        transfer,
        initial=not args["--no-initial"],
        since_ns=_nanoseconds(args["--since"]),
        dry_run=args["--dry-run"],
        keepalive=command.number(args["--keepalive"], "--keepalive"),
        on_sync=os.fsencode(args["--on-sync"] or ""),
        progress=args["--progress"],
        names=args["--names"],
    )


def _nanoseconds(text: Optional[str]) -> Optional[int]:
    if text is None:
        return None
    if not text.isdecimal():
        raise Stop(command.USAGE, f"--since takes nanoseconds, not {quote(text)}")
    return int(text)


def _either(args: Mapping[str, Any], name: str) -> Optional[bool]:
    """Was ``--name`` given, or ``--no-name``, or neither?"""
    if args[f"--no-{name}"]:
        return False
    return True if args[f"--{name}"] else None


def _rules(run: Command, root: bytes) -> Callable[[], Rules]:
    """Reads the rules as they are by then, the same as fr-walk's."""
    from filerep.rules import ignore

    return lambda: ignore.load_asked(root, run.args, _nobody, _nobody)


def _nobody(*_: object) -> None:
    """Who reads the rules to send by them has told what is wrong."""


def _sieve(run: Command, root: bytes) -> Sieve:
    """Tells what fr-walk would name by now; raises OSError and ``Stop``."""
    from filerep.rules.sieve import Sieve

    load = _rules(run, root)
    return Sieve(root, load(), load, _nobody, _nobody)


def _counting(run: Command, root: bytes, paths: list[bytes]) -> list[bytes]:
    """Those of ``paths`` that fr-walk would name by now; all, where that cannot be told."""
    try:
        sieve = _sieve(run, root)
        try:
            return sieve.sift(paths, False)
        finally:
            sieve.close()
    except (OSError, Stop):
        return paths


def _table(
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
    fd = command.descriptor(run.args[option], option)
    return -1 if fd is None else fd


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
