"""file-replicator: keep a copy of a directory up to date in any shell you can reach.

Usage:
  file-replicator [options] [--exclude PATTERN]... [--include PATTERN]... [--mirror]...
                  SRC_DIR DEST_PARENT_DIR CONNECTION_COMMAND...

Copies SRC_DIR to DEST_PARENT_DIR at the far end, under its own name, then watches it and
sends each change at once, until Ctrl-C. A link's own name counts; `.` and a `/` behind mean
the real name of the directory. DEST_PARENT_DIR is an absolute path. CONNECTION_COMMAND is
any command that gives a shell on its standard input: bash, ssh host sh, docker exec -i
my_container sh. A `--` may stand before it. Nothing is installed at the far end; it needs a
POSIX shell and a tar.

Options stand before SRC_DIR, or anywhere before a `--`.

Options:
  --clean-out-first               Empty the destination directory first, completely.
  --with-initial-replication      Copy the tree at the start [default].
  --no-initial-replication        Only send what changes from now on.
  --replicate-on-change           Watch, and send each change [default].
  --no-replicate-on-change        End after the first copy.
  --gitignore                     Leave out what git would ignore, and .git [default].
  --no-gitignore                  Copy everything.
  --exclude PATTERN               Leave out what matches too; as a line of .gitignore.
  --include PATTERN               Copy what matches whatever any other rule says.
  --no-delete                     Remove nothing at the far end.
  --mirror                        At the start, also remove what only the destination has,
                                  except what is ignored. More than half of it: only when
                                  given twice.
  --dry-run                       List on standard output what would be sent and removed;
                                  change nothing.
  --on-sync COMMAND               Have sh run COMMAND in the destination directory after
                                  the first copy and after each change, one at a time.
  --wait                          Wait until the file-replicator that runs with the same
                                  arguments has replicated all that is saved by now. No
                                  other options are needed with it.
  --retry                         Connect again when the connection is lost [default].
  --no-retry                      End when the connection is lost.
  --keepalive SECONDS             Ask for a sign of life after a silence of SECONDS; three
                                  times that without one and the connection is taken for
                                  lost. 0: never [default: 15].
  --connect-timeout SECONDS       How long to wait for the shell to answer [default: 60].
  --poll SECONDS                  Look for changes every SECONDS rather than use inotify.
  --audit SECONDS                 How often to look for changes inotify cannot tell; 0: never.
  --quiet                         Only say what is wrong.
  --debugging                     Say everything.
  -h, --help                      Show this.
  -V, --version                   Show the version.

Exit status:
  0    the destination was made the same (--no-replicate-on-change, --wait)
  1    so it was, but for some paths that could not be read, each with a message
  64   wrong usage
  66   SRC_DIR cannot be used, or was moved, deleted or unmounted
  69   the connection or the far end failed, or refused some of the files; none runs
       that could be waited for, or another runs already
  70   a bug
  71   the system refused (no process, no descriptor)
  130  after Ctrl-C; 143 after SIGTERM, 129 after SIGHUP

Files:
  $XDG_STATE_HOME/file-replicator  (~/.local/state) what was sent, so that what is removed
       here while nothing runs is removed there at the next start

Example:
  file-replicator my_project /home/code -- docker exec -i my_container sh
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from importlib import import_module

from filerep import command
from filerep.command import Command, Stop
from filerep.digest import digest
from filerep.farend.shell import script_text, shell_quote
from filerep.pathstream import quote
from filerep.wrapper.display import Display, duration
from filerep.wrapper.stage import Stage
from filerep.wrapper.waiting import Waiters, lock, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Optional

_PIPE_BYTES = 1 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_END_GRACE = 0.7
_LAST_WORDS = 4096
_MOST_REASONS = 4  # a line each, while a lost connection cannot be had again

# Ctrl-C, a request, a terminal that was closed.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Lost(Exception):
    """The connection, the far end or a stage is gone; what follows is another attempt."""


class Signalled(Exception):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def arrange(words: list[str], takes_value: dict[str, bool]) -> list[str]:
    """Options to the front, wherever they stand before the connection command.

    The command begins at the third word that is no option, or behind a ``--`` after the
    second; a ``--`` further on is its own (``kubectl exec -i pod -- sh``).
    """
    options: list[str] = []
    places: list[str] = []
    rest = list(words)
    ended = False
    while rest:
        word = rest.pop(0)
        if word == "--":
            if len(places) == 2:
                break
            ended = True
        elif word.startswith("-") and word != "-" and not ended:
            options.append(word)
            if takes_value.get(word) and rest:
                options.append(rest.pop(0))
        elif len(places) == 2:
            rest.insert(0, word)
            break
        else:
            places.append(f"./{word}" if word.startswith("-") else word)
    return options + places + rest


def _plain_path(path: bytes) -> bytes:
    """``path`` without what means nothing in it, so that one directory has one name."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    return (b"/" if path.startswith(b"/") else b"") + b"/".join(parts)


class Job:
    """What is replicated where, by which connection, as the arguments have it."""

    def __init__(self, run: Command) -> None:
        args = run.args
        self.run = run
        self.args = args
        typed = command.source_root(args["SRC_DIR"])
        self.source = os.path.realpath(typed)
        self.name = os.path.basename(typed)  # a link's own, without a / behind it
        if self.name in (b"", b".", b".."):
            self.name = os.path.basename(self.source)
        self.parent = _plain_path(os.fsencode(args["DEST_PARENT_DIR"]))
        self.connection: list[str] = args["CONNECTION_COMMAND"]
        if not self.name:
            raise Stop(
                command.USAGE,
                "SRC_DIR is the root directory, which has no name; name one in it",
            )
        if not self.parent.startswith(b"/"):
            said = f"DEST_PARENT_DIR must be absolute: {quote(self.parent)}"
            raise Stop(command.USAGE, said)
        if args["--mirror"] and args["--no-initial-replication"]:
            said = "--mirror compares, which --no-initial-replication rules out"
            raise Stop(command.USAGE, said)
        self.walks = not args["--no-initial-replication"]
        self.watches = not args["--no-replicate-on-change"] and not args["--dry-run"]
        self.retries = not args["--no-retry"] and self.watches
        self.keepalive = command.number(args["--keepalive"], "--keepalive")
        self.timeout = command.number(args["--connect-timeout"], "--connect-timeout")
        self.key = self._key()

    def _key(self) -> str:
        there = self.parent + b"/" + self.name
        parts = [self.source, there, *map(os.fsencode, self.connection)]
        return digest(b"\0".join(parts)).hex()

    def rules(self) -> list[str]:
        """The options that choose files, for the stages that do."""
        options = ["--no-gitignore"] if self.args["--no-gitignore"] else []
        for name in ("--exclude", "--include"):
            for pattern in self.args[name]:
                options += [f"{name}={pattern}"]
        return options

    def state_file(self, suffix: str) -> str:
        """Where ``suffix`` of this job is kept; its directory is made."""
        home = os.environ.get("XDG_STATE_HOME", "")
        if not home.startswith("/"):
            home = os.path.expanduser("~/.local/state")
        directory = os.path.join(home, "file-replicator")
        os.makedirs(directory, 0o700, exist_ok=True)
        return os.path.join(directory, self.key + suffix)


def questions(job: Job, nonce: str, first: bool) -> bytes:
    """What is written to the connection first: see probe.sh."""
    if job.args["--dry-run"]:
        task = b"dry"
    else:
        task = b"clean" if job.args["--clean-out-first"] and first else b""
    words = [
        nonce.encode(),
        job.parent,
        job.name,
        b".filerep-" + job.key[:8].encode(),
        task,
    ]
    arguments = b"set -- " + b" ".join(map(shell_quote, words)) + b"\n"
    return arguments + script_text("probe")


def receiver(job: Job, told: dict[str, str]) -> bytes:
    """What is written to the connection once it has answered so."""
    found = f"form={told['tar']} full={told['full']}\n"
    unpack = "unpack_gnu" if told["tar"] == "gnu" else "unpack_counted"
    names = [unpack, "rename_by_perl", "receiver"]
    if job.args["--on-sync"]:
        names.insert(0, "on_sync")
    return found.encode() + b"".join(map(script_text, names))


class Session:
    """One connection and the stages that feed it, from start to teardown."""

    def __init__(
        self, job: Job, display: Display, waiters: Waiters, wakeup: int
    ) -> None:
        self.job = job
        self.display = display
        self._waiters = waiters
        self._wakeup = wakeup
        self._children: dict[str, subprocess.Popen[bytes] | Stage] = {}
        self._fds: set[int] = set()
        self._words = b""  # the last that the connection said on stderr
        self._lines: dict[int, bytes] = {}  # a line of stderr not yet whole
        self.ready = False
        self.synced = False
        self.failing = 0
        self.skipped = False
        self.lost = ""  # why, in fr-pack's words
        self.refused = ""  # why another attempt is of no use
        self.watch_ready = False

    # -- descriptors and processes ----------------------------------------------------

    def _pipe(self, size: int = 0) -> tuple[int, int]:
        reader, writer = os.pipe()
        self._fds |= {reader, writer}
        if size and hasattr(fcntl, "F_SETPIPE_SZ"):
            try:
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, size)
            except OSError:
                pass  # the user's pipes are used up: the usual size will do
        return reader, writer

    def _close(self, *fds: int) -> None:
        for fd in fds:
            if fd in self._fds:
                self._fds.remove(fd)
                os.close(fd)

    def _start_connection(self) -> None:
        words = self.job.connection
        try:
            self._children["connection"] = subprocess.Popen(
                words,
                stdin=self._to_far[0],
                stdout=self._from_far[1],
                stderr=self._far_errors[1],
                # A terminal sends Ctrl-C to all of its foreground processes. Only this one
                # acts on it: the others end in their turn, so that the far end can be tidied.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
            )
        except OSError as error:
            said = f"cannot run {quote(words[0])}: {command.reason(error)}"
            raise Stop(command.UNAVAILABLE, said) from None
        self._close(self._to_far[0], self._from_far[1], self._far_errors[1])

    def _start_stage(
        self,
        module: str,
        options: Sequence[str],
        stdin: int,
        stdout: int,
        keep: Sequence[int] = (),
    ) -> None:
        name = f"fr-{module}"
        words = [*options, os.fsdecode(self.job.source)]

        def body() -> int:
            return int(import_module(f"filerep.{module}").main(words))

        try:
            files = (stdin, stdout, self._stage_errors[1])
            self._children[name] = Stage(name, body, files, keep)
        except OSError as error:
            said = f"cannot start {name}: {command.reason(error)}"
            raise Stop(command.OS_ERROR, said) from None

    # -- the connection ---------------------------------------------------------------

    def connect(self, first: bool, mirrors: bool) -> str:
        """Start the connection and the receiver; what its ready line tells.

        Nothing has been connected before if ``first``, or in sync if ``mirrors``.
        Raises ``Lost`` with the reason in words.
        """
        self._nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._fds.add(self._nothing)
        self._stage_errors = self._pipe()
        self._to_far = self._pipe(_PIPE_BYTES)
        self._from_far = self._pipe(_PIPE_BYTES)
        self._far_errors = self._pipe()
        self._start_pack(mirrors)  # first, as it takes longest to be ready
        self._start_connection()
        nonce = os.urandom(8).hex()
        self._write_far(questions(self.job, nonce, first))
        if self.job.watches:
            self._start_watch()
        else:
            self._close(self._urgent[1])
            if self.job.walks:
                self._start_walk()
        if not self.job.walks:
            self._close(self._paths[1])
        if not self._walk_to_come():
            self._close(self._stage_errors[1])
        return self._await_ready(nonce)

    def _write_far(self, script: bytes) -> None:
        try:
            os.write(self._to_far[1], script)
        except OSError:
            pass  # its end is seen where its answer is awaited, with its words

    def _await_ready(self, nonce: str) -> str:
        """What the far end tells of itself until it is ready, found behind any other output."""
        said = b""
        told: dict[str, str] = {}
        mark = f"filerep-{nonce} ".encode()
        limit: Optional[float] = time.monotonic() + self.job.timeout
        while True:
            line = said.partition(mark)[2]
            if b"\n" in line:
                line, _, said = line.partition(b"\n")
                word, _, rest = os.fsdecode(line).partition(" ")
                if word == "ready":
                    self.ready = True
                    rest = self._rehearsed_clean_out(rest)
                    tools = f"tar={told['tar']} list={told['list']}"
                    return f"{tools} {rest} stage=.filerep-{self.job.key[:8]}-{nonce}"
                if word != "here":
                    raise Lost(f"the far end refused: {_one_line(rest)}")
                told = dict(pair.partition("=")[::2] for pair in rest.split())
                refuse_overlap(self.job, told)
                if told["tar"] == "none":
                    raise Lost("the far end refused: there is no tar")
                self._write_far(receiver(self.job, told))
                limit = None  # a shell, which may have much to clean out yet
                continue
            if f"set -- '{nonce}'".encode() in said:
                raise Lost(
                    "the connection command sends back what it is sent: it is no shell,"
                    " or has a terminal (use docker exec -i without -t, ssh without -t)"
                )
            ready = self._poll(
                [self._from_far[0], self._far_errors[0], self._stage_errors[0]],
                None if limit is None else limit - time.monotonic(),
            )
            if self._stage_errors[0] in ready:
                self._hear_stages()
                continue
            if not ready:
                raise Lost(
                    f"no shell answered within {self.job.timeout:g} s: the connection"
                    " command must give a shell on its standard input"
                )
            if self._far_errors[0] in ready:
                self._hear_far_errors()
            if self._from_far[0] in ready:
                chunk = os.read(self._from_far[0], 65536)
                said += chunk
                if not chunk:
                    raise Lost(self._last_words())

    def _rehearsed_clean_out(self, far: str) -> str:
        """The ready line as it would be; with --dry-run nothing is cleaned out."""
        both = self.job.args["--dry-run"] and self.job.args["--clean-out-first"]
        if not both or "empty=0" not in far:
            return far
        self.display.message("would first remove all that is in the destination")
        return far.replace("empty=0", "empty=1")

    def _last_words(self) -> str:
        """Why the connection ended, as far as it told."""
        child = self._children["connection"]
        try:
            status = child.wait(1)
        except subprocess.TimeoutExpired:
            child.terminate()
            status = child.wait()
        self._hear_far_errors()
        how = (
            f"was killed by signal {-status}" if status < 0 else f"exited with {status}"
        )
        lines = [line for line in self._words.splitlines() if line.strip()]
        words = f": {_one_line(lines[-1].decode('utf-8', 'replace'))}" if lines else ""
        return f"the connection command {how} before a shell answered{words}"

    def _hear_far_errors(self) -> None:
        """Show what the far end writes to stderr; before it is ready, keep it."""
        fd = self._far_errors[0]
        if fd not in self._fds or not _readable(fd):
            return
        chunk = os.read(fd, 65536)
        if not chunk:
            self._close(fd)
        elif self.ready:
            self.display.far_end(chunk)
        else:
            self._words = (self._words + chunk)[-_LAST_WORDS:]

    def _poll(self, fds: list[int], seconds: Optional[float]) -> set[int]:
        """Which of ``fds`` can be read; raises ``Signalled``. None waits for ever."""
        poll = select.poll()
        ours = {self._wakeup, *self._waiters.fds(), *self._fds}
        for fd in [*fds, self._wakeup]:
            if fd in ours:
                poll.register(fd, select.POLLIN)
        timeout = None if seconds is None else max(0.0, seconds) * 1000
        ready = {fd for fd, _ in poll.poll(timeout)}
        if self._wakeup in ready:
            for number in os.read(self._wakeup, 64):
                if number in _ENDING:
                    raise Signalled(number)
        return ready

    # -- the stages -------------------------------------------------------------------

    def _start_watch(self) -> None:
        ready, told = self._pipe()
        self._watch_ready = ready
        options = [*self.job.rules(), "--ready-fd", str(told)]
        for name in ("--poll", "--audit"):
            if self.job.args[name] is not None:
                options += [name, self.job.args[name]]
        self._start_stage("watch", options, self._nothing, self._urgent[1], [told])
        self._close(self._urgent[1], told)

    def _start_walk(self) -> None:
        self._start_stage("walk", self.job.rules(), self._nothing, self._paths[1])
        self._close(self._paths[1])

    def _start_pack(self, mirrors: bool) -> None:
        """Start fr-pack, which waits for `replicate`, and what it needs no far end for."""
        args = self.job.args
        self._paths = self._pipe(_PIPE_BYTES)
        self._urgent = self._pipe()
        far, self._far_told = self._pipe()
        self._reports, report = self._pipe()
        options = ["--wire", str(far), "--answers-fd", str(self._from_far[0])]
        options += [
            "--report-fd",
            str(report),
            "--keepalive",
            f"{self.job.keepalive:g}",
        ]
        passed = [far, self._from_far[0], report]
        state = self._state()
        if state:
            options += ["--state", state]
        if self.job.watches:
            options += ["--urgent-fd", str(self._urgent[0])]
            passed.append(self._urgent[0])
        for name in ("--no-delete", "--dry-run"):
            options += [name] if args[name] else []
        options += [] if self.job.walks else ["--no-initial"]
        if args["--mirror"] and mirrors:
            options += ["--mirror"] * args["--mirror"] + self.job.rules()
        options += ["--progress"] if self.display.bar else []
        if args["--on-sync"]:
            options += ["--on-sync", args["--on-sync"]]
        self._start_stage("pack", options, self._paths[0], self._to_far[1], passed)
        self._close(self._paths[0], self._urgent[0], far, report)

    def replicate(self, far: str) -> None:
        """Run the stages until the far end has said bye; raises ``Lost`` or ``Stop``."""
        self._close(self._to_far[1], self._from_far[0])
        if self.job.walks or not self.job.watches:
            self._begin(far)
        self._listen(self._reports, far)

    def _begin(self, far: str) -> None:
        """Tell fr-pack what the far end is, whereupon it begins.

        Without a first copy it has nothing to wait for before it says "watching": so this
        waits until fr-watch does.
        """
        try:
            os.write(self._far_told, os.fsencode(far) + b"\n")
        except OSError:
            pass  # fr-pack has ended, which is told of
        self._close(self._far_told)

    def _walk_to_come(self) -> bool:
        return self.job.walks and "fr-walk" not in self._children

    def _state(self) -> Optional[str]:
        try:
            path = self.job.state_file(".state")
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            return path
        except OSError as error:
            self.display.message(
                f"cannot keep state, {command.reason(error)}: what is removed here while"
                " nothing runs will not be removed at the far end"
            )
            return None

    def _listen(self, reports: int, far: str) -> None:
        """Pass on what stages and far end tell, until fr-pack has ended."""
        import json  # the far end is at work by now

        pending = b""
        while True:
            fds = [reports, self._stage_errors[0], self._far_errors[0]]
            if self.job.watches and not self.watch_ready:
                fds.append(self._watch_ready)
            ready = self._poll(fds + self._waiters.fds(), None)
            self._waiters.hear(ready)
            if self._stage_errors[0] in ready:
                self._hear_stages()
            if self._far_errors[0] in ready:
                self._hear_far_errors()
            if self.job.watches and not self.watch_ready and self._watch_ready in ready:
                self.watch_ready = os.read(self._watch_ready, 1) == b"\n"
                self._close(self._watch_ready)
                if self.watch_ready and not self.job.walks:
                    self._begin(far)
                if self.watch_ready and self._walk_to_come():
                    self._start_walk()
                    self._close(self._stage_errors[1])
            if reports in ready:
                chunk = os.read(reports, 65536)
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    self._report(json.loads(line))
                if not chunk:
                    self._close(reports)
            if self.watch_ready and self._waiters.due():
                self._signal("fr-watch", signal.SIGUSR1)
            if self._judge(reports):
                return

    def _hear_stages(self) -> None:
        fd = self._stage_errors[0]
        chunk = os.read(fd, 65536)
        if not chunk:
            self._close(fd)
            return
        *lines, self._lines[fd] = (self._lines.get(fd, b"") + chunk).split(b"\n")
        for line in lines:
            self.display.line(line.decode("utf-8", "replace"))

    def _report(self, what: dict[str, Any]) -> None:
        kind = what["is"]
        if kind == "mark":
            self._waiters.answer(what["failing"])
        if kind == "lost":
            self.lost = what["why"]
        if kind == "refused":
            self.refused = what["why"]
        if kind == "sync":
            self.failing = what["failing"]
            if not self.failing:
                self.synced = True
        self.display.report(what, self.job.watches)

    def _judge(self, reports: int) -> bool:
        """Has fr-pack ended well? Raises what the end of any stage means.

        fr-pack's last report tells why it ended: it is judged once that has been read.
        """
        for name, child in self._children.items():
            if name == "connection" or name == "fr-pack" and reports in self._fds:
                continue
            status = child.poll()
            if status is None:
                continue
            good = status in (command.OK, command.SKIPPED)
            self.skipped = self.skipped or status == command.SKIPPED
            if good and name != "fr-pack":
                continue  # fr-watch too: its reader has gone, or ends for lack of it
            self._drain_stages()
            if good:
                watch = self._children.get("fr-watch")
                if watch is None:
                    return True
                # Its input ended: so did fr-watch, whose status tells why.
                name, status = "fr-watch", watch.wait()
                self._drain_stages()
            if status == command.UNAVAILABLE:
                if self.refused:
                    raise Stop(status, self.refused)
                raise Lost(self.lost)
            if status < 0:
                raise Lost(f"{name} was killed by signal {-status}")
            if status == command.TERMINATED:
                raise Lost(f"{name} was asked to end by a signal")
            if status == command.OK:
                raise Lost(f"{name} ended")
            raise Stop(status, "")
        return False

    def _drain_stages(self) -> None:
        fd = self._stage_errors[0]
        while fd in self._fds and _readable(fd):
            self._hear_stages()

    # -- the end ----------------------------------------------------------------------

    def close(self, grace: float = _END_GRACE) -> None:
        """End what still runs: fr-pack first, which lets the far end tidy up."""
        deadline = time.monotonic() + grace
        self._waiters.again()
        for name in ("fr-watch", "fr-walk", "fr-pack"):
            self._signal(name, signal.SIGTERM)
        self._close(*(self._fds - {self._stage_errors[0], self._far_errors[0]}))
        for name in ("fr-pack", "connection", "fr-watch", "fr-walk"):
            child = self._children.get(name)
            if child is None:
                continue
            # SIGTERM before SIGKILL: a local receiver tidies up on it.
            for end in (child.terminate, child.kill, None):
                try:
                    child.wait(max(0.1, deadline - time.monotonic()))
                    break
                except subprocess.TimeoutExpired:
                    if end is not None:
                        end()
        self._close(*list(self._fds))

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass; raises ``Signalled``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._poll([], deadline - time.monotonic())

    def _signal(self, name: str, number: int) -> None:
        child = self._children.get(name)
        if child is not None and child.poll() is None:
            child.send_signal(number)


def _readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def refuse_overlap(job: Job, told: dict[str, str]) -> None:
    """Raise ``Stop`` if the destination is inside the source, or the source inside it.

    probe.sh names the running kernel and the device and inode of each directory from
    the root down to the destination, as far as there are any, and waits: nothing has been
    made or cleaned out yet. The same kernel and the same inode is the same directory, also
    when seen from a container.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            here = file.read().strip()
    except OSError:
        return
    if not here or told.get("boot") != here:
        return
    ids = [one for one in told.get("ids", "").split(",") if one]
    source = os.stat(job.source)
    if f"{source.st_dev}:{source.st_ino}" in ids:
        if told.get("there") and ids[1:2] == [f"{source.st_dev}:{source.st_ino}"]:
            raise Stop(command.USAGE, "the destination is SRC_DIR itself")
        said = "the destination is inside SRC_DIR: each change would cause the next"
        raise Stop(command.USAGE, said)
    if not told.get("there"):
        return
    above = job.source
    while ids and above != b"/":
        above = os.path.dirname(above)
        status = os.stat(above)
        if len(ids) > 1 and f"{status.st_dev}:{status.st_ino}" == ids[1]:
            raise Stop(command.USAGE, "SRC_DIR is inside the destination")


def replicate(job: Job, display: Display, waiters: Waiters, wakeup: int) -> int:
    """Connect, replicate, and connect again after a loss; the exit status."""
    pause = since = 0.0
    worked = lost = synced = False
    said: set[str] = set()  # why it was lost, and cannot be had again
    while True:
        session = Session(job, display, waiters, wakeup)
        try:
            try:
                far = session.connect(not worked, not synced)
                worked = True
                if lost:
                    took = duration((time.monotonic() - since) * 1000)
                    display.message(f"connected again after {took}")
                    lost = False
                session.replicate(far)
                return command.SKIPPED if session.skipped else command.OK
            finally:
                session.close()
        except Lost as error:
            if not (worked and job.retries):
                raise Stop(command.UNAVAILABLE, str(error)) from None
            if session.synced:
                pause, synced = 0.0, True
            if not lost:
                since, said = time.monotonic(), set()
                words = f" ({error})" if str(error) else ""
                display.message(f"the connection was lost{words}; connecting again")
            elif str(error) not in said and len(said) < _MOST_REASONS:
                display.message(f"{error}; trying again")
            said.add(str(error))
            lost = True
        pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        session.wait(pause)


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("file-replicator", __doc__ or "", _main, argv, arrange)


def _main(run: Command) -> int:
    job = Job(run)
    if run.args["--wait"]:
        return wait(job.state_file(".sock"), run.say)
    waiters = _waiters(job)
    quiet, debugging = bool(run.args["--quiet"]), bool(run.args["--debugging"])
    display = Display(sys.stderr, run.program, quiet, debugging)
    wakeup, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (*_ENDING, signal.SIGCHLD):
        if (
            number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        ):  # nohup
            signal.signal(number, lambda *_: None)
    try:
        return replicate(job, display, waiters, wakeup)
    except Signalled as error:
        return error.status
    finally:
        display.close()
        waiters.close()


def _waiters(job: Job) -> Waiters:
    """Where --wait can reach this run; raises ``Stop`` if the like of it is under way."""
    if job.args["--dry-run"]:
        return Waiters()
    try:
        waiters = Waiters(lock(job.state_file(".lock")), job.state_file(".sock"))
        if job.watches:
            waiters.listen()
        return waiters
    except OSError:
        return Waiters()  # what it means that nothing can be kept is said in _state
