"""What the arguments say: what is replicated where, by which connection."""

from __future__ import annotations

import os
import re
import stat
import time

from filerep import command, ownfiles
from filerep.command import Stop
from filerep.digest import digest
from filerep.pathstream import quote
from filerep.wrapper import mistakes
from filerep.wrapper.processes import PIPE_BYTES
from filerep.wrapper.profiles import FOLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_STATE = "file-replicator"  # the directory below the user's own for state


def _source(args: Mapping[str, Any]) -> bytes:
    """SRC_DIR, which is a directory; raises ``Stop``."""
    text = args["SRC_DIR"]
    try:
        return command.source_root(text)
    except Stop as stop:
        hint = mistakes.no_source(text, args)
        raise Stop(stop.status, f"{stop}{hint}") from None


def _name(text: str) -> bytes:
    name = os.fsencode(text)
    if name in (b"", b".", b"..") or b"/" in name:
        said = f"--as takes the name of a directory, not {quote(name)}"
        raise Stop(command.USAGE, f"{said}; what is above it is DEST_PARENT_DIR")
    return name


def plain_path(path: bytes) -> bytes:
    """``path`` without what means nothing in it, so that one directory has one name.

    What is relative is so to where the far end's shell starts, and `.` is that place.
    """
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    return (b"/" if path.startswith(b"/") else b"") + b"/".join(parts) or b"."


def _rule_file(name: str) -> str:
    """The absolute name of a file of rules; raises ``Stop`` if it cannot be one.

    Here, before anything is begun: what is in it is for the stages, which are several.
    """
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            raise Stop(command.NO_INPUT, f"cannot read {quote(name)}: it is no file")
    except (OSError, ValueError) as error:
        why = command.reason(error) if isinstance(error, OSError) else str(error)
        raise Stop(command.NO_INPUT, f"cannot read {quote(name)}: {why}") from None
    return os.path.abspath(name)


def _absolute(path: bytes) -> bytes:
    """``path`` with no link resolved, nothing if the current directory is gone."""
    try:
        return os.path.join(os.getcwdb(), path)
    except OSError:
        return b""


def state_directory() -> str:
    """Where runs keep what they know; raises OSError."""
    return os.path.join(ownfiles.state_home(), _STATE)


class Job:
    """What is replicated where, by which connection, as the arguments have it."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        self.args = args
        self.began_ns = time.time_ns()
        typed = _source(args)
        self.source = os.path.realpath(typed)
        # As it was typed: the stages see it when a link on the way leads elsewhere.
        self.way = _absolute(typed) or self.source
        self.name = os.path.basename(typed.rstrip(b"/"))  # a link's own
        if self.name in (b"", b".", b".."):
            self.name = os.path.basename(self.source)
        if args["--as"] is not None:
            self.name = _name(args["--as"])
        self.parent = plain_path(os.fsencode(args["DEST_PARENT_DIR"]))
        self.connection: list[str] = args["CONNECTION_COMMAND"]
        if not self.name:
            raise Stop(
                command.USAGE,
                "SRC_DIR is the root directory, which has no name; give it one by --as",
            )
        if self.name.startswith(b".filerep-"):
            said = (
                f"a copy cannot be called {quote(self.name)}, as what is on its way is"
            )
            raise Stop(command.USAGE, f"{said}; --as takes another name")
        self.walks = not args["--no-initial-replication"]
        once = args["--once"] or args["--no-replicate-on-change"]
        self.compares = bool(once and args["--dry-run"])  # only asks what differs
        self.run = args["--run"]  # None, or a command for the far end
        self.watches = not (once or args["--dry-run"] or self.run is not None)
        self.retries = not args["--no-retry"] and self.watches
        self.keepalive = command.number(args["--keepalive"], "--keepalive")
        self.hold = command.number(args["--hold"], "--hold")
        self.timeout = command.number(args["--connect-timeout"], "--connect-timeout")
        if not self.timeout:  # of --keepalive it is never; but a wait is to have an end
            said = "--connect-timeout takes more than 0: no shell has answered by then"
            raise Stop(command.USAGE, f"{said}; 9999 waits for hours")
        if args["--poll"] is not None:
            command.number(args["--poll"], "--poll")
        if args["--audit"] not in (None, "auto"):
            command.number(args["--audit"], "--audit")
        self.pipe_bytes = PIPE_BYTES  # of each pipe to and from the far end
        self.rules()  # raises Stop while nothing has begun
        for name in ("--exclude", "--include"):
            for pattern in args[name]:
                mistakes.refuse_path(name, pattern, self.source)
        self.key = self._key()

    def _key(self) -> str:
        there = self.parent + b"/" + self.name
        parts = [self.source, there, *map(os.fsencode, self.connection)]
        return digest(b"\0".join(parts)).hex()

    def about(self) -> str:
        """What is replicated where by what, in a line."""
        there = quote(os.path.join(self.parent, self.name))
        return f"{quote(self.source)} -> {there} by {quote(' '.join(self.connection))}"

    def rules(self) -> list[str]:
        """The options that choose files, for the stages that do."""
        options = ["--no-gitignore"] if self.args["--no-gitignore"] else []
        options += [f"--exclude=/{FOLDER}/"]
        for name in ("--exclude", "--include"):
            for pattern in self.args[name]:
                command.refuse_pattern(name, pattern)
                options += [f"{name}={pattern}"]
        for name in ("--exclude-from", "--include-from"):
            options += [f"{name}={_rule_file(file)}" for file in self.args[name]]
        options += ["--editor-files"] if self.args["--editor-files"] else []
        return options + self._own_left_out()

    def _own_left_out(self) -> list[str]:
        """The options by which what we write, where it is in SRC_DIR, is no part of it.

        It changes with each save, and so would each save cause the next. The state of other
        runs too: two that replicate each other's would never rest.
        """
        places = []
        try:
            places.append(os.path.join(os.path.realpath(state_directory()), ""))
        except OSError:
            pass
        events = self.args["--events"]
        if events is not None and not events.isdigit():
            places.append(os.path.realpath(events))
        above = os.path.join(os.fsdecode(self.source), "")
        inner = [one[len(above) :] for one in places if one.startswith(above)]
        return ["--exclude=/" + re.sub(r"([\\*?\[\] ])", r"\\\1", one) for one in inner]

    def events_fds(self) -> list[int]:
        """The descriptor that --events names, if it is one of its own."""
        events = self.args["--events"] or ""
        return [fd for fd in map(int, re.findall(r"\A[0-9]+\Z", events)) if fd > 2]

    def state_file(self, suffix: str) -> str:
        """Where ``suffix`` of this job is kept; its directory is made. Raises OSError."""
        directory = state_directory()
        ownfiles.make_directory(directory)
        return os.path.join(directory, self.key + suffix)
