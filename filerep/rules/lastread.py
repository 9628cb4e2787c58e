"""What files of rules said when they were last read, for who reads them again and again.

git goes on without a file that it cannot read. But who follows a tree has sent by its rules
until then: if all that they hide came to count because a disk fails, a server is away for a
moment or rights were taken away, secrets would leave. So they hold until it can be read, or
has gone. Nothing tells when a disk has come to itself, so whoever follows a tree tries again
what is ``unread``.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filerep.rules.gitindex import Index

    OnNote = Callable[[str], None]

#: What is held in all. The files of a thousand projects take less; those read first go first.
MOST_BYTES = 16 << 20
MOST_INDEXES = 1000


class LastRead:
    """Texts, and what git tracked, by the absolute paths of their files."""

    def __init__(self) -> None:
        self._texts: dict[bytes, bytes] = {}
        self._size = 0
        self._indexes: dict[bytes, Index] = {}
        #: The files that could not be read when that was tried last.
        self.unread: set[bytes] = set()
        #: Rule files that are in git's index alone, whose objects git has yet to fetch.
        self.unfetched: set[bytes] = set()

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

    def still_unread(self) -> set[bytes]:
        """The files that could not be read when that was tried last, and are there.

        Those that git has yet to fetch are there if their directories are.
        """
        self.unread = {path for path in self.unread if os.path.lexists(path)}
        places = {path: os.path.dirname(path) for path in self.unfetched}
        self.unfetched = {path for path in places if os.path.lexists(places[path])}
        return self.unread | self.unfetched

    def index(self, path: bytes) -> Index | None:
        return self._indexes.get(path)

    def put_index(self, path: bytes, index: Index) -> None:
        self._indexes.pop(path, None)
        self._indexes[path] = index
        if len(self._indexes) > MOST_INDEXES:
            del self._indexes[next(iter(self._indexes))]


class Hearer:
    """Who is told of what is read; nobody, as it stands."""

    def __init__(self, last: LastRead | None = None) -> None:
        self.last = LastRead() if last is None else last

    def on_read(self, path: bytes, error: OSError | None, said: bytes = b"") -> None:
        """The file ``path``, which messages call ``said``, was read, or could not be."""

    def on_note(self, text: str) -> None:
        """Something that the user should know."""
