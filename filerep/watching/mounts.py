"""What is mounted at and below a directory, by proc(5); nothing where there is no /proc.

inotify says nothing when something is mounted over a watched directory, and writes into
the new mount are silent too. The kernel does announce every change of the mount table, to
whoever polls mountinfo.
"""

from __future__ import annotations

import os
import select

from filerep.filesystem import mounts

_TABLE = "/proc/self/mountinfo"


class Mounts:
    """The mount points below ``root``; polling ``fileno`` for POLLPRI tells of changes."""

    def __init__(self, root: bytes) -> None:
        """Raises OSError where there is no mountinfo."""
        self._below = os.path.join(os.path.realpath(root), b"")
        self._file = open(_TABLE, "rb", buffering=0)
        self._seen = self._read()

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()

    def stirred(self) -> bool:
        """Has anything been mounted or unmounted, wherever, since this was asked?"""
        poller = select.poll()
        poller.register(self._file, select.POLLPRI)
        return bool(poller.poll(0))

    def changed(self) -> list[bytes]:
        """Where, relative to the root, something was mounted or unmounted since."""
        before, self._seen = self._seen, self._read()
        return sorted({path for _, path in before ^ self._seen})

    def points(self) -> list[bytes]:
        """Where, relative to the root, something is mounted."""
        return sorted({path for _, path in self._seen})

    def _read(self) -> set[tuple[bytes, bytes]]:
        self._file.seek(0)
        table = self._file.read()
        return {(number, path) for number, path, _ in mounts(table, self._below)}
