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
  --since N          Of all files send those that have changed since then: N is
                     in nanoseconds since 1970.
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

import os

from filerep import command
from filerep.command import Command, Stop
from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Optional

    from filerep.replica.known.statefile import State
    from filerep.replica.known.table import Table
    from filerep.source import Source


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("fr-pack", __doc__ or command.usage(__spec__), _main, argv)


def _main(run: Command) -> int:
    # What --version and a wrong option do without is imported here, and each mode by itself.
    from filerep.source import RootGone

    root = command.source_root(run.args["SRC"])
    try:
        os.fstat(0)
    except OSError:  # the next file to be opened would be taken for it
        raise Stop(command.NO_INPUT, "standard input is closed") from None
    source = _open_source(root)
    source.on_own = lambda path: run.say(
        f"{quote(path)} is written by this run itself, and left out"
    )
    wire = run.args["--wire"] is not None
    state = _open_state(run, wire)
    try:
        if wire:
            from filerep.replica.wiremode import converse

            return converse(run, root, source, state)
        _pack(run, source, state)
    except RootGone:
        raise Stop(
            command.NO_INPUT,
            f"{quote(root)} was moved, deleted or unmounted; nothing was removed",
        ) from None
    finally:
        if state is not None:
            state.close()
    return run.status


def _pack(run: Command, source: Source, state: Optional[State]) -> None:
    """As a filter, between standard input and output."""
    from filerep.archive.outbuffer import widen
    from filerep.replica.packing import pack

    if os.isatty(1):
        raise Stop(command.USAGE, "will not write an archive to a terminal")
    table = None
    if run.args["--listing"] or run.args["--state"]:
        table = _there(run, state)
    source.leave_out(1, 2, *([] if state is None else [state.fileno()]))
    widen(1)
    bad = lambda _, why: run.on_bad(why)
    pack(source, 0, 1, run.on_error, bad, table, state)


def _there(run: Command, state: Optional[State]) -> Table:
    """What is at the other end already, by --state and --listing."""
    from filerep.replica.known import entries, openstate
    from filerep.replica.known.table import Table

    table = Table()
    if state is not None:
        openstate.tidied(run, state).enter(table, entries.OURS)
    if run.args["--listing"]:
        _read_listing(run.args["--listing"], table)
    return table


def _open_source(root: bytes) -> Source:
    from filerep.source import Source

    try:
        return Source(root)
    except OSError as error:
        why = command.reason(error)
        raise Stop(command.NO_INPUT, f"cannot open {quote(root)}: {why}") from None


def _open_state(run: Command, wire: bool) -> Optional[State]:
    """The file of --state, None without one; a dry run leaves it as it is."""
    if run.args["--dry-run"] or not run.args["--state"]:
        return None
    from filerep.replica.known import openstate

    return openstate.open_(run, wire)


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


if __name__ == "__main__":
    command.leave(main())
