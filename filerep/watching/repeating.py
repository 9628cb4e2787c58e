"""Names that polling names once more, until a later look has shown that once was enough.

Between two looks of ours a file can come back, be sent by a reader who looks just then, and
go again: both looks find it gone, and it would stay over there for good. Or a directory is
away while the reader looks, and what is in it is taken for gone. Under inotify each of these
changes has an event and names the path again. Here a directory's stamp tells as much: as
long as one on the way to a name has changed since the last look, it is named once more.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# How long after it was named a reader may take to look.
_SECONDS = 30.0


class Confirming:
    """The names that a reader may not have looked at yet, and the directories that changed."""

    def __init__(self) -> None:
        self._now = 0.0
        self._changed: set[bytes] = set()
        self._there: dict[bytes, float] = {}
        self._gone: dict[bytes, float] = {}
        self._fresh: dict[bytes, bool] = {}

    def begin(self, now: float) -> None:
        """A look begins."""
        self._now = now
        self._changed.clear()
        self._fresh.clear()

    def changed(self, directory: bytes) -> None:
        """Something came, went or was moved in ``directory`` since the last look, or it itself."""
        self._changed.add(directory)

    def named(self, path: bytes, gone: bool) -> None:
        """This look has found ``path`` changed, or gone, and it was named."""
        self._fresh[path] = gone

    def end(self) -> list[bytes]:
        """What was named by looks before this one, and is to be named again."""
        again = []
        for names, gone in ((self._there, False), (self._gone, True)):
            for path, until in list(names.items()):
                if path in self._fresh:
                    del names[path]
                elif any(each in self._changed for each in _way(path, gone)):
                    again.append(path)
                    names[path] = self._now + _SECONDS
                elif until < self._now:
                    del names[path]
        for path, gone in self._fresh.items():
            (self._gone if gone else self._there)[path] = self._now + _SECONDS
        self._fresh.clear()
        return again


def _way(path: bytes, gone: bool) -> Iterator[bytes]:
    """The directories whose change bears on ``path``.

    A file that is there has a stamp of its own, and what is above it can only move; what is
    gone may have come and gone again in the directory that it was in. The root never moves.
    """
    directory = path.rstrip(b"/").rpartition(b"/")[0]
    if gone:
        yield directory
    while directory:
        yield directory
        directory = directory.rpartition(b"/")[0]
