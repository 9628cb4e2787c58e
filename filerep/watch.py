"""Print every path of a directory tree that changes, each ended by a NUL byte.

Usage:
  fr-watch [options] [--exclude PATTERN]... [--include PATTERN]...
           [--exclude-from FILE]... [--include-from FILE]... SRC

Waits for changes and names them the moment they happen, relative to SRC. What
exists when it starts is not named; see fr-walk. A record says "this may have
changed, look", and comes in two forms:

  path    look at this path: a file, a symbolic link or a directory that was
          made, written, moved here, given other permissions, or is gone
  path/   something at or below this directory may be gone: look for all that
          you know to be there; `./` is the whole tree

So a record too many does no harm, and a file is named once however often it
changed before the reader took the record. A file that is held open and
written, and a name that goes away, are named after 50 ms, everything else at
once.

The same files count as for fr-walk, and editing a .gitignore takes effect at
once. A name that comes to be ignored is no longer watched; nothing else is
done about it.

SIGUSR1 asks for a sync point: the record `.` is printed once every change made
before the signal has been named. SIGUSR2 has all that is there named.

Options:
  --gitignore        Leave out what git ignores (the default).
  --no-gitignore     Watch everything, .git included, but no editors' files.
  --exclude PATTERN  Leave out what matches PATTERN, a line as in gitignore(5).
                     It is relative to SRC, and wins over every .gitignore. May
                     be given again.
  --include PATTERN  Watch what matches, whatever else says no. May be given
                     again.
  --exclude-from FILE
                     Leave out what matches a line of FILE, as fr-walk does.
                     May be given again.
  --include-from FILE
                     Watch what matches a line of FILE. May be given again.
  --editor-files     Watch what editors write beside a file too.
  --ready-fd N       Write a newline to descriptor N once every watch is in
                     place, and close it: no change after that is missed.
  --poll SECONDS     Look at all files every SECONDS.
                     It looks more rarely if that would take more than a tenth
                     of a processor. 0 leaves it to fr-watch: inotify where
                     there is one, and a look every second on file systems that
                     others change (NFS, CIFS, FUSE, 9p and their like), or
                     that do not tell a from A [default: 0].
  --watch-with COMMAND
                     Have COMMAND tell what changed: `fswatch -0 -r .`, say.
                     The shell runs it in SRC. It prints paths, absolute or
                     relative to SRC, each ended by NUL or a newline. What it
                     has missed is found by looking at everything: soon after
                     the start, at the times of --audit, when a sync point is
                     asked for, and when it ends; then fr-watch polls.
  --audit SECONDS    Find what inotify cannot report every SECONDS.
                     That is what was written through a link outside SRC or a
                     shared mapping, or beneath a mount. 0 is never; auto is
                     every minute, or more rarely so that it takes less than
                     one per cent of a processor, a number ten [default: auto].
  --mark-gone        Print what is gone as `path/`, whatever it was, and a
                     directory as `path/.`. A reader that is slow then takes
                     nothing that came to be there later for what was named.
  --verbose          Say what is watched, and how.
  -h, --help         Print this text.
  -V, --version      Print the version.

Exit status:
  0    the reader of standard output has gone
  1    the same, and something could not be read, which a line on stderr names
  64   wrong usage
  66   SRC is not a directory, or was moved, deleted, unmounted or mounted
       over; no record says that anything in it has gone
  70   a bug
  71   the system refused
  74   standard output took no more

The end of SRC is noticed at once, also where it is reached by a symbolic link
that now leads elsewhere. That a directory above SRC was moved which cannot be
read is noticed at the next change.

Example:
  fr-watch . | fr-pack . | ssh host 'tar -x -C /srv/app'
"""

from __future__ import annotations

import os
import select
import signal
import time

from filerep import command
from filerep.command import OutputError, Stop
from filerep.filesystem import shared_type
from filerep.pathstream import SYNC, WHOLE_TREE, encode, quote
from filerep.rules import ignore
from filerep.rules.lastread import LastRead
from filerep.source import RootGone
from filerep.watching.limits import LimitReached, NoInotify, explain
from filerep.watching.pending import Pending
from filerep.watching.rootcheck import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Union

    from filerep.command import Command
    from filerep.rules.ignore import Rules
    from filerep.watching.inotify import Inotify
    from filerep.watching.polling import Snapshots

    Tracker = Union[Inotify, Snapshots]

OUT = 1
_USR2 = bytes([signal.SIGUSR2])


def watch(
    tracker: Tracker,
    pending: Pending,
    root: Root,
    out: int,
    wake: int,
    mark_gone: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Write what ``tracker`` finds to ``out`` until its reader has gone.

    The number of SIGUSR2, read from ``wake``, asks for all to be named, any other byte for a
    sync point. With ``mark_gone`` what is gone is written with a ``/`` behind it, and a
    directory with ``/.``. Raises ``RootGone``,
    ``OutputError``, OSError, and ``LimitReached`` if the tracker cannot go on.
    """
    poller = select.poll()
    poller.register(wake, select.POLLIN)
    sources = tracker.descriptors()
    for fd, events in sources.items():
        poller.register(fd, events)
    mark = root.mark if mark_gone else None
    rest = b""
    asked = False
    while True:
        tracker.work()
        if asked and tracker.sync():
            pending.last(SYNC)
            asked = False
        pending.settle(clock())
        # Asked for no event, poll still tells that the reader has gone.
        wanted = rest or (pending and tracker.settled())
        poller.register(out, select.POLLOUT if wanted else 0)
        ready = dict(poller.poll(_milliseconds(clock(), pending, tracker)))
        if ready.get(out, 0) & (select.POLLERR | select.POLLHUP):
            return
        if wake in ready:
            told = os.read(wake, 4096)
            asked = asked or bool(told.strip(_USR2))
            if _USR2 in told:
                tracker.look_at_everything()
        elif not sources.keys().isdisjoint(ready):
            tracker.read(any(ready.get(fd, 0) & select.POLLPRI for fd in sources))
            for fd in sources.keys() - tracker.descriptors().keys():
                poller.unregister(fd)
                del sources[fd]
        if ready.get(out, 0) & select.POLLOUT:
            root.check()  # or all that was in it looks deleted
            try:
                rest = _hand_over(out, rest, pending, tracker, mark)
            except BrokenPipeError:
                return
            except OSError as error:
                raise OutputError(error) from None


def _hand_over(
    out: int,
    rest: bytes,
    pending: Pending,
    tracker: Tracker,
    mark: Callable[[bytes], bytes] | None,
) -> bytes:
    """Write ``rest`` and what is pending, as much as goes without waiting; what is left over.

    A pipe that poll calls writable, as ``out`` is now, takes PIPE_BUF bytes. O_NONBLOCK is
    no way: it belongs to the open file, which others share, the user's terminal perhaps.
    """
    poller = select.poll()
    poller.register(out, select.POLLOUT)
    while rest or pending:
        if not rest:
            paths = pending.take(select.PIPE_BUF)
            marks = {
                path: mark(path)
                for path in paths
                if mark and path != SYNC and not path.endswith(b"/")
            }
            judged = tracker.judged(paths)
            if judged is None:
                pending.put_back(paths)
                break
            rest = encode(path + marks.get(path, b"") for path in judged)
            if not rest:
                continue
        rest = rest[os.write(out, rest[: select.PIPE_BUF]) :]
        if poller.poll(0) != [(out, select.POLLOUT)]:
            break
    return rest


def _milliseconds(now: float, pending: Pending, tracker: Tracker) -> float | None:
    due = [pending.deadline(), tracker.deadline()]
    first = min((time for time in due if time is not None), default=None)
    return None if first is None else max(0.0, (first - now) * 1000)


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("fr-watch", __doc__ or command.usage(__spec__), _body, argv)


def _body(run: Command) -> int:
    try:
        os.fstat(OUT)  # before another file gets its number
    except OSError as error:
        raise OutputError(error) from None
    wake = _wake_on_signal()
    name = command.source_root(run.args["SRC"])
    ready_fd = command.descriptor(run.args["--ready-fd"], "--ready-fd")
    pending = Pending(time.monotonic)
    try:
        root = _open(name)
        follow = Followed(run, root, pending)
        tracker = follow.start()
        if ready_fd is not None:
            command.write_all(ready_fd, b"\n")
            os.close(ready_fd)
        while True:
            try:
                watch(tracker, pending, root, OUT, wake, run.args["--mark-gone"])
                return run.status
            except LimitReached as limit:
                tracker.close()
                tracker = follow.go_on_without(limit)
    except RootGone:
        why = "was moved, deleted, unmounted or mounted over"
        raise Stop(command.NO_INPUT, f"{quote(name)} {why}") from None
    except OSError as error:
        why = command.reason(error)
        raise Stop(command.OS_ERROR, f"cannot watch {quote(name)}: {why}") from None


class Followed:
    """What the arguments say is to be followed, and how."""

    def __init__(self, run: Command, root: Root, pending: Pending) -> None:
        audit = run.args["--audit"]
        self._audit_seconds = (
            None if audit == "auto" else command.number(audit, "--audit")
        )
        self._poll_seconds = command.number(run.args["--poll"], "--poll")
        self._run = run
        self._root = root
        self._pending = pending
        self._said: set[object] = set()
        self._last = LastRead()

    def start(self) -> Tracker:
        """A tracker at work: inotify if it can be had and serves, else snapshots."""
        if self._run.args["--watch-with"]:
            return self._told(self._run.args["--watch-with"])
        if self._poll_seconds:
            return self._snapshots()
        if deaf := self._deaf():
            self._run.say(f"{quote(self._root.path)} {deaf}; polling it")
            return self._snapshots()
        try:
            return self._tree()
        except NoInotify as error:
            self._run.say(f"{error}; polling instead")
            return self._snapshots()
        except LimitReached as limit:
            snapshots = self._snapshots()
            self._run.say(explain(limit.errno, snapshots.directories()))
            return snapshots

    def _deaf(self) -> str:
        """Why inotify would not tell of all that changes, if it would not."""
        if kind := shared_type(self._root.path):
            return f"is on {kind}, where inotify does not see what others change"
        if self._root.folds():
            # Of a name that was typed in another case nothing tells what it stands for.
            return "does not tell a from A, and inotify only knows what was typed"
        return ""

    def go_on_without(self, limit: LimitReached) -> Tracker:
        """Snapshots in place of inotify, which came to its ``limit`` at work."""
        self._pending.now(WHOLE_TREE)
        snapshots = self._snapshots(naming=True)
        self._run.say(explain(limit.errno, snapshots.directories()))
        return snapshots

    def _tree(self) -> Inotify:
        try:
            # Here, as its import takes 10 ms and is not to be had everywhere.
            from filerep.watching.inotify import Inotify
        except ImportError as error:
            raise NoInotify(f"inotify is not at hand ({error})") from None
        tree = Inotify(
            self._root,
            self._load,
            self._pending,
            self._on_error,
            self._run.say,
            self._audit_seconds,
        )
        try:
            tree.start()
        except LimitReached:
            tree.close()  # or its watches would stay counted
            raise
        if self._run.args["--verbose"]:
            self._run.say(f"watching {_directories(tree.directories())} by inotify")
        return tree

    def _snapshots(self, naming: bool = False) -> Snapshots:
        from filerep.watching.polling import (  # most need none
            DEFAULT_SECONDS,
            Snapshots,
        )

        snapshots = Snapshots(
            self._root,
            self._load,
            self._pending,
            self._on_error,
            self._poll_seconds or DEFAULT_SECONDS,
        )
        snapshots.start(naming)
        if self._run.args["--verbose"]:
            self._run.say(f"polling {_directories(snapshots.directories())}")
        return snapshots

    def _told(self, program: str) -> Tracker:
        from filerep.watching.watchwith import Told  # few want it

        told = Told(
            self._root,
            self._load,
            self._pending,
            self._on_error,
            self._run.say,
            program,
            self._audit_seconds,
        )
        told.start()
        return told

    def _load(self) -> Rules:
        self._root.check()
        args = self._run.args
        return ignore.load_asked(
            self._root.path, args, self._on_error, self._note, self._last
        )

    def _on_error(self, action: str, path: bytes, error: OSError) -> None:
        """Report a bad path once, however often it is looked at."""
        if (action, path) not in self._said:
            self._said.add((action, path))
            self._run.on_error(action, path, error)

    def _note(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._run.say(text)


def _directories(count: int) -> str:
    return "1 directory" if count == 1 else f"{count:,} directories"


def _wake_on_signal() -> int:
    """A descriptor from which the number of each SIGUSR1 and SIGUSR2 can be read."""
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGUSR1,))
    return wake


def _open(name: bytes) -> Root:
    """The root, known to be readable; raises ``Stop(NO_INPUT)``."""
    try:
        root = Root(name)
        os.close(root.open())
    except OSError as error:
        why = f"cannot open {quote(name)}: {command.reason(error)}"
        raise Stop(command.NO_INPUT, why) from None
    return root


if __name__ == "__main__":
    command.leave(main())
