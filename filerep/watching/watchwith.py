"""Changes that another program tells of, by printing paths: fswatch, watchman, a build tool.

Such a program is believed in one thing only: where it is worth looking at once. What it
missed before it was ready, what it does not see or forgets to say, and what it has changed
when it ends is found by the same looks at everything as without it, only more rarely. What
it prints may be anything: paths outside of SRC, endless lines, rubbish.
"""

from __future__ import annotations

import os
import select
import signal
import stat

from filerep.pathstream import quote
from filerep.rules.ignore import rule_file
from filerep.watching.currentrules import recent
from filerep.watching.polling import DEFAULT_SECONDS, Snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filerep.rules.ignore import Rules
    from filerep.rules.origin import OnError
    from filerep.watching.pending import Pending
    from filerep.watching.rootcheck import Root

_READ = 1 << 16
_LONGEST = 1 << 16  # of a path; what is longer is no path
# Beyond so many paths at a time one look at everything is less work.
_MOST_PATHS = 5000
_MOST_TOLD = 200_000
_PATIENCE = 1.0  # seconds
_AGAIN_SECONDS = 0.15
# How long ago a directory may have been away while a reader looked at what was named in it.
_AWAY_NS = 30_000_000_000
_AUDIT_SECONDS = 60.0
# When what changed before the program was ready is looked for, after the start.
_EARLY_SECONDS = (1.0, 5.0)
# Its children end with it, and all with us: the shell's group goes when our end of the pipe does.
# What is stopped hears of that only once it goes on, and what does not care is killed.
_SCRIPT = """
{
  read -r _ <&3
  cd /
  trap '' TERM
  kill -s TERM 0
  kill -s CONT 0
  sleep 1
  kill -s KILL 0
} >/dev/null 2>&1 &
exec 3<&-
eval "$1"
"""


class Teller:
    """The program, and what it has printed."""

    def __init__(self, command: str, directory: bytes) -> None:
        """Start ``command`` by the shell, in ``directory``; raises OSError."""
        import subprocess  # takes longer to import than all the rest

        life, self._life = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["sh", "-c", f"exec 3<&{life}\n{_SCRIPT}", "sh", command],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=(life,),
                start_new_session=True,
            )
        finally:
            os.close(life)
        assert self._process.stdout
        self._out = self._process.stdout.fileno()
        self._rest = b""
        self._by_nul = False
        self.ended = False

    def fileno(self) -> int:
        return self._out

    def read(self) -> list[bytes]:
        """The paths that came; to be called when there is something to read.

        As soon as there is a NUL, that is what ends a path, else a newline.
        """
        data = os.read(self._out, _READ)
        self.ended = not data
        data = self._rest + data
        self._by_nul = self._by_nul or b"\0" in data
        paths = data.split(b"\0" if self._by_nul else b"\n")
        self._rest = b"" if self.ended else paths.pop()
        if len(self._rest) > _LONGEST:
            self._rest = b""
        return [path for path in paths if path and len(path) <= _LONGEST]

    def close(self) -> int:
        """End it, if it has not ended; its exit status, as the shell has it."""
        if not self.ended:
            self._process.terminate()
        os.close(self._life)
        status = self._end()
        assert self._process.stdout
        self._process.stdout.close()
        return status if status >= 0 else 128 - status

    def _end(self) -> int:
        """Its status; one that does not end when it is asked to is killed."""
        import subprocess

        try:
            return self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()


class Told(Snapshots):
    """The tree below ``root``, looked at where ``command`` says, and all of it now and then."""

    def __init__(
        self,
        root: Root,
        load: Callable[[], Rules],
        pending: Pending,
        on_error: OnError,
        say: Callable[[str], None],
        command: str,
        audit_seconds: float | None,
    ) -> None:
        """``audit_seconds`` 0 is no look at everything but at the start, None the usual."""
        seconds = _AUDIT_SECONDS if audit_seconds is None else audit_seconds
        super().__init__(root, load, pending, on_error, seconds or float("inf"))
        self.rest_factor = 99
        self._say = say
        self._command = command
        self._teller: Teller | None = Teller(command, root.path)
        self._early: list[float] = []
        self._told: dict[bytes, tuple[int, ...]] = {}
        self._again: dict[bytes, float] = {}
        self._outside = False
        # By these names the program may know SRC.
        self._names = {
            root.path,
            os.path.realpath(root.path),
            os.path.normpath(root.path),
        }

    def descriptors(self) -> dict[int, int]:
        return {self._teller.fileno(): select.POLLIN} if self._teller else {}

    def close(self) -> None:
        if self._teller:
            self._teller.close()
            self._teller = None

    def start(self, naming: bool = False) -> None:
        super().start(naming)
        now = self._clock()
        self._early = [now + seconds for seconds in _EARLY_SECONDS]
        self._hasten(self._early.pop(0))

    def work(self) -> None:
        looked = self._look is not None
        super().work()
        if looked and self._look is None and self._early:
            self._hasten(self._early.pop(0))
        due = [path for path, time in self._again.items() if time <= self._clock()]
        for path in due:
            del self._again[path]
        self.look_at(due)

    def deadline(self) -> float | None:
        times = [super().deadline(), *self._again.values()]
        return min((time for time in times if time is not None), default=None)

    def read(self, mounted: bool = True) -> None:
        if self._teller is None:
            return
        told = {path for record in self._teller.read() for path in self._below(record)}
        paths = {path for path in told if self._is_news(path)}
        if len(paths) > _MOST_PATHS:
            self._hasten(self._clock())
        else:
            self.look_at(sorted(paths))
        # A rule file, or what git keeps: what counts may be something else now.
        if any(rule_file(part) for path in paths for part in path.split(b"/")):
            self._hasten(self._clock() + DEFAULT_SECONDS)
        if self._teller.ended:
            self._go_on_alone()

    def _is_news(self, path: bytes) -> bool:
        """Is something else at ``path`` than when it was last told?

        Many programs tell of opening and reading too. So our own looks would be told, and
        looked at, without end, and a reader's likewise.
        """
        try:
            status = os.lstat(os.path.join(self._root.path, path))
        except OSError:
            return self._told.pop(path, None) is not None or self.knows(path)
        stamp = (
            *(status.st_ino, status.st_mode, status.st_size),
            *(status.st_mtime_ns, status.st_ctime_ns),
        )
        if self._told.get(path) == stamp:
            return False
        if len(self._told) > _MOST_TOLD:
            self._told.clear()
        self._told[path] = stamp
        if self._is_moved(status):
            self.forget(path)
        if recent(self._wall_ns(), status.st_ctime_ns):
            # The next change may leave the same stamp: so once more when it can't.
            self._again[path] = self._clock() + _AGAIN_SECONDS
        return True

    def _is_moved(self, status: os.stat_result) -> bool:
        """Is it a directory that was moved of late, for all one can tell?

        If it was away for a moment and somebody looked then, what is in it has been taken for
        gone. What comes or goes in it would have changed both times.
        """
        if not stat.S_ISDIR(status.st_mode):
            return False
        late = self._wall_ns() - status.st_ctime_ns < _AWAY_NS
        return late and status.st_ctime_ns != status.st_mtime_ns

    def _below(self, record: bytes) -> list[bytes]:
        """The path in SRC that ``record`` means, if it means one."""
        path = os.path.normpath(os.path.join(self._root.path, record))
        for name in self._names:
            if path == name:
                return [b""]
            if path.startswith(os.path.join(name, b"")):
                return [path[len(name) :].lstrip(b"/")]
        if not self._outside:
            self._outside = True
            self._say(
                f"{quote(self._command)} names {quote(record[:80])}, which is not in"
                f" {quote(self._root.path)}: such paths are passed over"
            )
        return []

    def _go_on_alone(self) -> None:
        assert self._teller
        status = self._teller.close()
        self._teller = None
        self._seconds = DEFAULT_SECONDS
        self.rest_factor = 9
        self._hasten(self._clock())
        self._say(f"{quote(self._command)} ended with status {status}; polling instead")
