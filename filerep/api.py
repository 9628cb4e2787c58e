"""What other Python programs may use: walk, watch, pack, and replicate once.

Each runs the program of its name in a process of its own. So nothing of the caller's is touched,
no signal handler, no thread, no fork in between; the kernel's queue of changes is emptied while
the caller is busy; and what a function does is what the program's manual says. docs/python.md
shows how, and what is promised between versions: of this package, this module only.

Paths are bytes, relative to the source, as in the path stream; `os.fsdecode` makes them str.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import NamedTuple

from filerep import command
from filerep.pathstream import Decoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import IO, Any, Optional, Union

    PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
    OnMessage = Optional[Callable[[str], None]]

__all__ = ["Failed", "Outcome", "Watch", "pack", "replicate", "walk", "watch"]

# Python looks for modules in the current directory first, which may be the source.
_START = """
import sys
if sys.path[0] == "": del sys.path[0]
from filerep.command import leave; from filerep.{0} import main; leave(main())
"""
_READ = 1 << 16


class Failed(Exception):
    """It could not be done: ``status`` is the program's, the text its last message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Outcome(NamedTuple):
    """What became of a replication. Later versions may have more at the end."""

    complete: bool  # the destination is the same, nothing was left out
    files: int  # that the destination has of the source now
    sent: list[bytes]  # paths that were sent; with dry_run, that would be
    removed: list[bytes]  # as the source has them no more
    failing: dict[bytes, str]  # paths that could not be written or removed, and why
    bytes: int  # of the files sent
    seconds: float  # from the answer of the far end on
    messages: list[str]  # what a user would have read


class _Program:
    """A program at work, whose messages are heard."""

    def __init__(
        self,
        module: str,
        words: Sequence[str],
        on_message: Callable[[str], object],
        stdin: Union[int, IO[bytes]] = subprocess.DEVNULL,
        stdout: Union[int, IO[bytes]] = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> None:
        own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        paths = [own, *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START.format(module), *words],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            pass_fds=pass_fds,
        )
        self._on_message = on_message
        self._last = ""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._last = os.fsdecode(line.rstrip(b"\n"))
            self._on_message(self._last)

    def end(self, also: int = command.OK) -> int:
        """Wait for the end; the status: 0, 1 or ``also``, else raises ``Failed``."""
        status = self.process.wait()
        self._listener.join()
        if status not in (command.OK, command.SKIPPED, also):
            raise Failed(status, self._last)
        return status

    def stop(self) -> None:
        """End it, whatever it does."""
        self.process.terminate()
        self.process.wait()
        self._listener.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def walk(
    source: PathLike,
    *,
    gitignore: bool = True,
    exclude: Iterable[str] = (),
    include: Iterable[str] = (),
    on_message: OnMessage = None,
) -> Iterator[bytes]:
    """Every file and symbolic link of ``source`` that counts, as fr-walk(1) has it.

    One that cannot be read is passed over with a message, which ``on_message`` gets from
    another thread; None writes it to stderr. Raises ``Failed``.
    """
    words = [*_rules(gitignore, exclude, include), _named(source)]
    program = _Program("walk", words, on_message or _to_stderr, stdout=subprocess.PIPE)
    try:
        yield from _records(program)
        program.end()
    finally:
        program.stop()


class Watch:
    """The changes of a directory tree: iterate, or ``read`` all there are, until ``close``."""

    def __init__(self, program: _Program) -> None:
        self._program = program
        self._decoder = Decoder()
        self._waiting: list[bytes] = []

    def read(self) -> list[bytes]:
        """Wait for a change; the paths of all that is known by then, each once.

        Empty once the watch is closed. Raises ``Failed`` when the source has gone.
        """
        records, self._waiting = self._waiting, []
        stdout = self._program.process.stdout
        while not records and stdout is not None and not stdout.closed:
            chunk = os.read(stdout.fileno(), _READ)
            if not chunk:
                self._program.end()
                break
            records = self._decoder.feed(chunk)
        return list(dict.fromkeys(records))

    def __iter__(self) -> Iterator[bytes]:
        while records := self.read():
            while records:
                path = records.pop(0)
                self._waiting = records
                yield path
                records = self._waiting

    def close(self) -> None:
        self._program.stop()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()


def watch(
    source: PathLike,
    *,
    gitignore: bool = True,
    exclude: Iterable[str] = (),
    include: Iterable[str] = (),
    poll: float = 0,
    on_message: OnMessage = None,
) -> Watch:
    """Follow ``source`` as fr-watch(1) does; no change after the return is missed.

    A path may have changed, be new or be gone: look. One that ends in ``/``: of all you know
    below, find what has gone. ``poll`` is in seconds, 0 for inotify where there is one.
    Messages as for ``walk``. Raises ``Failed``.
    """
    words = [*_rules(gitignore, exclude, include), "--poll", f"{poll:g}"]
    words.append(_named(source))
    ready, told = os.pipe()
    words = ["--ready-fd", str(told), *words]
    try:
        program = _Program(
            "watch",
            words,
            on_message or _to_stderr,
            stdout=subprocess.PIPE,
            pass_fds=[told],
        )
    except OSError:
        os.close(ready)
        raise
    finally:
        os.close(told)
    with open(ready, "rb") as readable:
        if readable.read(1):
            return Watch(program)
    try:
        program.end()
        raise Failed(command.BUG, "fr-watch ended")
    finally:
        program.stop()


def pack(
    source: PathLike,
    paths: Iterable[bytes],
    archive: IO[bytes],
    *,
    on_message: OnMessage = None,
) -> bool:
    """Write what is at ``paths`` below ``source`` to ``archive``, a file with a descriptor,
    as fr-pack(1) does; was all of it written?

    A path that is gone is passed over. One that cannot be read is, too, with a message as for
    ``walk``. Raises ``Failed``.
    """
    archive.flush()
    words = [_named(source)]
    hears = on_message or _to_stderr
    program = _Program("pack", words, hears, subprocess.PIPE, archive)
    try:
        assert program.process.stdin is not None
        try:
            with program.process.stdin as stdin:
                for path in paths:
                    stdin.write(path + b"\0")
        except BrokenPipeError:
            pass  # it says why
        return program.end() == command.OK
    finally:
        program.stop()


def replicate(
    source: PathLike,
    parent: str,
    connection: Sequence[str],
    *,
    gitignore: bool = True,
    exclude: Iterable[str] = (),
    include: Iterable[str] = (),
    delete: bool = True,
    mirror: int = 0,
    clean_out_first: bool = False,
    dry_run: bool = False,
    on_message: OnMessage = None,
) -> Outcome:
    """Make ``parent``/NAME, where the command ``connection`` leads, the same as ``source``.

    Once, as file-replicator(1) does with --once; with ``dry_run`` nothing is changed, and it
    is complete if nothing would be. ``mirror`` is 1, or 2 for however much that removes. What
    a user would read goes to ``on_message``, and is in the outcome. Raises ``Failed`` if it
    could not be done; what single paths could not, is in the outcome.
    """
    words = _rules(gitignore, exclude, include)
    words += [] if delete else ["--no-delete"]
    words += ["--mirror"] * mirror
    words += ["--clean-out-first"] if clean_out_first else []
    words += ["--dry-run"] if dry_run else []
    words += ["--", os.fsdecode(source), parent, *_several("connection", connection)]
    reader, writer = os.pipe()
    words = ["--once", "--events", str(writer), *words]
    messages: list[str] = []

    def hear(line: str) -> None:
        program, _, text = line.partition(": ")
        messages.append(text if program == "file-replicator" else line)
        if on_message is not None:
            on_message(messages[-1])

    with open(reader, "rb") as events:
        try:
            program = _Program("replicate", words, hear, pass_fds=[writer])
        finally:
            os.close(writer)
        try:
            told = _Told()
            for line in events:
                told.add(json.loads(line))
            # What could not be written is told by the outcome.
            also = command.UNAVAILABLE if told.sums else command.OK
            status = program.end(also)
        finally:
            program.stop()
    return told.outcome(status == command.OK, messages)


class _Told:
    """What the events say of a run; see docs/events.md."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.removed: list[bytes] = []
        self.failing: dict[bytes, str] = {}
        self.sums: dict[str, int] = {}

    def add(self, event: dict[str, Any]) -> None:
        name = event["event"]
        if name == "batch":
            self.sent += map(os.fsencode, event["sent"])
            self.removed += map(os.fsencode, event["removed"])
        elif name == "would":
            paths = self.sent if event["do"] == "send" else self.removed
            paths.append(os.fsencode(event["path"]))
        elif name == "failing":
            for path in event["paths"]:
                self.failing[os.fsencode(path)] = event["why"]
        elif name in ("first_copy", "would_all"):
            self.sums = event

    def outcome(self, well: bool, messages: list[str]) -> Outcome:
        return Outcome(
            complete=well,
            files=self.sums["destination_files"],
            sent=list(dict.fromkeys(self.sent)),
            removed=list(dict.fromkeys(self.removed)),
            failing={} if well else self.failing,
            bytes=self.sums["bytes"],
            seconds=self.sums["ms"] / 1000,
            messages=messages,
        )


def _rules(
    gitignore: bool, exclude: Iterable[str], include: Iterable[str]
) -> list[str]:
    words = [] if gitignore else ["--no-gitignore"]
    # Paths are bytes here, so a pattern may well be, too.
    words += [f"--exclude={os.fsdecode(one)}" for one in _several("exclude", exclude)]
    words += [f"--include={os.fsdecode(one)}" for one in _several("include", include)]
    return words


def _several(name: str, words: Iterable[str]) -> list[str]:
    """``words``; raises TypeError for a single one, each of whose letters would be a word."""
    if isinstance(words, (str, bytes)):
        raise TypeError(f"{name} takes a list of words, not {words!r}")
    return list(words)


def _named(source: PathLike) -> str:
    """``source`` as a word that is no option."""
    name = os.fsdecode(source)
    return f"./{name}" if name.startswith("-") else name


def _records(program: _Program) -> Iterator[bytes]:
    assert program.process.stdout is not None
    decoder = Decoder()
    while chunk := os.read(program.process.stdout.fileno(), _READ):
        yield from decoder.feed(chunk)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
