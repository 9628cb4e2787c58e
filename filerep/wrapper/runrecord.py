"""What a run tells of itself in its lock file: from where to where, since when, how it is.

The lock goes with the process and the file stays, so it also names what its state file is of.
It is overwritten in one write, and never shortened while somebody may read it.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Optional

CONNECTING, COPYING, IN_SYNC = "connecting", "copying", "in sync"
SENDING, FAILING = "sending", "failing"


class Record:
    """The lock file's words, kept up to date; never raises for a disk that is full."""

    def __init__(
        self,
        fd: Optional[int] = None,
        source: bytes = b"",
        destination: bytes = b"",
        connection: Sequence[str] = (),
    ) -> None:
        """``fd`` is open on the lock file; without one nothing is kept."""
        self._fd = fd
        self._about: dict[str, Any] = {
            "source": os.fsdecode(source),
            "destination": os.fsdecode(destination),
            "command": list(connection),
            "since": time.time(),
        }
        self._written = 0

    def connected(self, destination: bytes) -> None:
        """The far end has told what the destination is in full."""
        self._about.update(destination=os.fsdecode(destination), unread=0)
        self.tell(COPYING)

    def tell(self, state: str, files: int = 0, failing: int = 0, why: str = "") -> None:
        """How it is; ``files`` are there, ``failing`` of them are not, and the last said so."""
        self._about.update(state=state, failing=failing, why=why, at=time.time())
        if files:
            self._about["files"] = files
        self._write()

    def unread(self, count: int, why: str) -> None:
        """``count`` paths cannot be sent as they are here, ``why`` of one; however else it is."""
        self._about.update(unread=count, unread_why=why if count else "")
        self._write()

    def _write(self) -> None:
        if self._fd is None:
            return
        import json

        text = json.dumps(self._about).ljust(self._written)
        self._written = len(text)
        try:
            os.pwrite(self._fd, b"%d\n%s\n" % (os.getpid(), text.encode()), 0)
        except OSError:
            pass


def read(data: bytes) -> tuple[int, dict[str, Any]]:
    """The process and what it told, from a lock file's bytes; 0 and nothing if unknown."""
    import json

    first, _, rest = data.partition(b"\n")
    try:
        about = json.loads(rest.partition(b"\n")[0] or b"{}")
        # JSON may hold surrogates that stand for no byte of any path.
        os.fsencode(json.dumps(about, ensure_ascii=False))
        return int(first), about if isinstance(about, dict) else {}
    except (ValueError, RecursionError):
        return 0, {}
