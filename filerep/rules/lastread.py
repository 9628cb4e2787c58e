"""What files of rules said when they were last read, for who reads them again and again.

git goes on without a file that it cannot read. But who follows a tree has sent by its rules
until then: if all that they hide came to count because a disk fails, a server is away for a
moment or rights were taken away, secrets would leave. So they hold until it can be read, or
has gone.
"""

from __future__ import annotations

#: What is held in all. The files of a thousand projects take less; those read first go first.
MOST_BYTES = 16 << 20


class LastRead:
    """Texts by the absolute paths of their files."""

    def __init__(self) -> None:
        self._texts: dict[bytes, bytes] = {}
        self._size = 0

    def get(self, path: bytes) -> bytes | None:
        return self._texts.get(path)

    def put(self, path: bytes, text: bytes | None) -> None:
        """It says ``text``; None where there is none."""
        before = self._texts.pop(path, None)
        if before is not None:
            self._size -= len(path) + len(before)
        if text is not None:
            self._texts[path] = text
            self._size += len(path) + len(text)
        while self._size > MOST_BYTES:
            self.put(next(iter(self._texts)), None)
