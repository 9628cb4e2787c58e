"""The first words with the far end: what is asked of it, and the scripts that it needs."""

from __future__ import annotations

import os
import time

from filerep import command
from filerep.command import Stop
from filerep.farend.abilities import heard
from filerep.farend.answers import NONSENSE
from filerep.farend.shell import script_text, shell_quote
from filerep.wrapper import mistakes
from filerep.wrapper.endings import Lost, one_line
from filerep.wrapper.job import plain_path
from filerep.wrapper.overlap import (
    AROUND,
    Destination,
    Trace,
    boot_id,
    refuse_overlap,
    refuse_sentinel,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from filerep.wrapper.job import Job

_LEAST_TIMEOUT = 3.0  # seconds; what takes longer is told of once a second
_MOST_HEARD = 16 << 20  # bytes
MOST_SAID = 1 << 20  # bytes, of whoever is no shell of ours
_WITHOUT = "use docker exec -i without -t, ssh without -t"
_TERMINAL = f"the connection command has a terminal, which alters data ({_WITHOUT})"


class Bootstrap:
    """Leads the far end from its first answer to its ready line.

    It is fed what the far end says on stdout, and writes back by ``write``.
    """

    def __init__(self, job: Job, write: Callable[[bytes], None]) -> None:
        self._job = job
        self._write = write
        self.nonce = os.urandom(8).hex()
        self._staging = f".filerep-{job.key[:8]}-{self.nonce}".encode()
        self._marker = os.urandom(8).hex()  # see `again` in receiver.sh
        self._said = b""
        self._heard = 0  # bytes
        self._told: dict[str, str] = {}
        self._parent = job.parent
        self._answered_at = 0.0
        self._there = Destination()
        self._cleans = False
        self._once: set[str] = set()  # words that have us write, and have come
        self._trace: Optional[Trace] = None
        self.answered = False  # by a shell, with anything
        self.deadline = 0.0  # of the answer that is awaited

    def ask(self, first: bool) -> None:
        """Begin. Nothing has been connected before if ``first``."""
        self._cleans = _task(self._job, first) == b"clean"
        self.deadline = time.monotonic() + self._job.timeout
        self._write(questions(self._job, self.nonce, first))

    def hear(self, chunk: bytes) -> Optional[str]:
        """What the far end tells of itself once it is ready, found behind any other output.

        Raises ``Lost`` with the reason in words, and ``Stop``.
        """
        self._said += chunk
        self._heard += len(chunk)
        if len(self._said) > MOST_SAID or self._heard > _MOST_HEARD:
            who = "far end" if self._told else "connection command"
            raise Lost(f"the {who} talks without end, and is not ready")
        mark = f"filerep-{self.nonce} ".encode()
        while b"\n" in (line := self._said.partition(mark)[2]):
            line, _, self._said = line.partition(b"\n")
            word, _, rest = os.fsdecode(line).partition(" ")
            self.answered = True
            if word == "working\r":  # a terminal ends each line with both
                raise Lost(_TERMINAL)
            if word == "ready":
                names = ("tar", "list", "shell")
                tools = " ".join(f"{name}={self._told.get(name, '')}" for name in names)
                staging = os.fsdecode(self._staging)
                if not self._job.args["--dry-run"]:  # it is elsewhere
                    refuse_sentinel(self._job.source, self._staging, below=False)
                way = time.monotonic() - self._answered_at
                return f"{tools} {rest} staging={staging} way={way:.3f} marker={self._marker}"
            if word in ("here", "sentinel"):
                self._expect_once(word)
            if word == "sentinel":
                refuse_sentinel(self._job.source, self._staging, below=True)
                name = self._staging + b"-source"
                self._trace = Trace(self._job.source, name)
                self._write(b"look %s\n" % name if self._trace else b"go\n")
            if word == "around":
                raise Stop(command.USAGE, AROUND)
            if word in ("sentinel", "working"):
                self.expect()
                continue
            if word in ("real", "mount"):
                self._there.hear(word, os.fsencode(rest))
                continue
            if word == "at":
                self._parent = plain_path(os.fsencode(rest))
                continue
            if word != "here":
                hint = mistakes.refused(rest, self._job.parent)
                rest = rest.replace(f"-{self.nonce}", "")  # the same reason each time
                rest = rest.replace("./.filerep-", self._where("/.filerep-"))
                raise Lost(f"the far end refused: {one_line(rest)}{hint}")
            self._answer(rest)
        if f"set -- '{self.nonce}'".encode() in self._said:
            raise Lost(
                "the connection command sends back what it is sent: it is no shell,"
                f" or has a terminal ({_WITHOUT})"
            )
        return None

    def _expect_once(self, word: str) -> None:
        """Raise ``Lost`` if ``word`` is not due.

        Each `here` has us write the receiver, and a `sentinel` a file in SRC_DIR.
        """
        due = word == "here" or (self._cleans and "here" in self._once)
        if not due or word in self._once:
            raise Lost(f"the far end says {word!r} unasked{NONSENSE}")
        self._once.add(word)

    def _answer(self, here: str) -> None:
        """Send the receiver to who has told ``here``."""
        self._told = heard(here)
        refuse_overlap(self._job.source, self._told, self._there, self._cleans)
        if self._told["tar"] == "none":
            raise Lost("the far end refused: there is no tar")
        self._answered_at = time.monotonic()
        self._write(receiver(self._job, self.nonce, self._marker, self._told))
        self.expect()

    def close(self) -> None:
        """It is ready, or never will be."""
        if self._trace is not None:
            self._trace.remove()

    def expect(self) -> None:
        """It is at work, and will say so again within this time from now on."""
        self.deadline = time.monotonic() + max(self._job.timeout, _LEAST_TIMEOUT)

    @property
    def destination(self) -> bytes:
        """The directory at the far end, absolute once it has answered."""
        return os.path.join(self._parent, self._job.name)

    def _where(self, name: str) -> str:
        """A path in the destination, which the far end tells as relative to that."""
        return os.fsdecode(self.destination) + name

    @property
    def words(self) -> bytes:
        """What else was said on stdout: of no meaning, unless no more comes."""
        return self._said


def _task(job: Job, first: bool) -> bytes:
    if job.args["--dry-run"]:
        return b"dry"
    return b"clean" if job.args["--clean-out-first"] and first else b""


def questions(job: Job, nonce: str, first: bool) -> bytes:
    """What is written to the connection first: see start.sh and probe.sh."""
    words = [
        nonce.encode(),
        job.parent,
        job.name,
        b".filerep-" + job.key[:8].encode(),
        _task(job, first),
        boot_id().encode(),
    ]
    return start(words, script_text("probe"))


def begun(nonce: str) -> bytes:
    """The line that says that ``script`` of `start` has begun."""
    return f"filerep-{nonce} working\n".encode()


def start(words: list[bytes], script: bytes) -> bytes:
    """What has the far end run ``script`` in a shell of our own, with these arguments.

    The second of them is the directory that the destination is in.
    """
    # What it runs from now on may hang; that it has begun shows that it is a shell.
    begin = b"printf '%s\\n' \"filerep-$1 working\"\n"
    if not words[1].startswith(b"/"):
        begin += script_text("locate")
    lines = [
        b"POSIXLY_CORRECT=1",  # see start.sh for that, and for the backslashes
        b"\\set -- " + b" ".join(map(shell_quote, words)),
        b"FILEREP_SCRIPT=" + shell_quote(begin + script),
        b"\\export FILEREP_SCRIPT",
        script_text("start"),
    ]
    return b"\n".join(lines)


def run_script(job: Job) -> bytes:
    """What a far end needs to run the command that --run names."""
    run = os.fsencode(job.args["--run"])
    return b"run=" + shell_quote(run) + b"\n" + script_text("run")


def receiver(job: Job, nonce: str, marker: str, told: dict[str, str]) -> bytes:
    """What is written to the connection once it has answered so."""
    found = f"form={told['tar']} full={told['full']} marker={marker} run_then=\n"
    unpack = "unpack_gnu" if told["tar"] == "gnu" else "unpack_counted"
    names = [unpack, "rename_by_perl", "receiver"]
    if job.args["--on-sync"]:
        names.insert(0, "on_sync")
    scripts = b"".join(map(script_text, names))
    if job.args["--run"] is not None:
        scripts = run_script(job) + b"run_then=1\n" + scripts
    edge = f"#{nonce}\n".encode()
    return edge + found.encode() + scripts + edge
