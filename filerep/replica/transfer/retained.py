"""What the far end retains for a while of what was replaced or removed there.

Who switches a branch mostly switches back. So over a slow connection the far end links what
is about to go into the staging directory (`retain` in reuse.sh), from where it is copied if the
same content is wanted again. A link takes no time. It takes room where it is the last name of a
file: how much is bounded here, and given back when the disk over there is full.

Nothing depends on it: like all that is reused it is shown right by a digest, and what is not
there after all is sent whole.
"""

from __future__ import annotations

import time
from collections import OrderedDict

from filerep.replica.known import entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Optional, Union

    from filerep.farend.batch import Batch

_MOST_BYTES = 64 << 20
_MOST_FILES = 10_000
_FILE_BYTES = _MOST_BYTES >> 3  # larger ones are not retained

DIRECTORY = b".retained"  # in the staging directory

if TYPE_CHECKING:
    _Content = tuple[int, bytes]  # a file's size and its signature
    _Was = tuple[Union[bytes, int], ...]  # the path that it was at, and its inode here
    _Shelves = OrderedDict[int, list[tuple[_Content, _Was]]]


class Retained:
    """Which contents are retained, and where; the oldest go first."""

    def __init__(self) -> None:
        self._where: dict[_Content, bytes] = {}
        self._sizes: dict[int, int] = {}  # how many of them have that size
        self._shelves: _Shelves = OrderedDict()  # a staged directory each
        self._last: dict[Union[bytes, int], _Content] = {}  # by what it was
        self._bytes = 0
        self._files = 0
        self._number = 0
        self._left: list[bytes] = []  # staged, and of no use any more
        self.hinders = False  # is room wanted over there that it takes?
        self._gives = False  # is it to be told to give that back?
        self._made_room = 0.0  # when it was told, by the monotonic clock
        self._offered: dict[bytes, _Content] = {}  # by the path that it was offered for

    def add(self, path: bytes, value: Optional[bytes], batch: Batch) -> None:
        """``path``, of which the table has ``value``, is replaced or removed by ``batch``."""
        signature = entries.signature(value) if value is not None else b""
        if value is None or not signature:
            return
        content = entries.size_of(value), signature
        if content in self._where or content[0] > _FILE_BYTES:
            return
        directory, _, name = path.rpartition(b"/")
        shelves = batch.retained.values()
        number, paths = batch.retained.get(directory) or (self._number, [])
        while self._bytes + content[0] > _MOST_BYTES or self._files >= _MOST_FILES:
            oldest = next(iter(self._shelves))
            if oldest == number or any(oldest == one for one, _ in shelves):
                return  # they come with this batch
            self._empty(oldest)
        if not paths:
            batch.retained[directory] = number, paths
            self._number += 1
        paths.append(path)
        was = path, entries.inode_of(value)
        self._shelves.setdefault(number, []).append((content, was))
        self._last.update(dict.fromkeys(was, content))
        self._where[content] = b"%s/%s/%d/%s" % (batch.staging, DIRECTORY, number, name)
        self._sizes[content[0]] = self._sizes.get(content[0], 0) + 1
        self._bytes += content[0]
        self._files += 1

    def _empty(self, number: int) -> None:
        for content, was in self._shelves.pop(number):
            self._forget(content)
            for one in was:
                if self._last.get(one) == content:
                    del self._last[one]
        self.leave([b"%s/%d" % (DIRECTORY, number)])

    def leave(self, paths: Iterable[bytes]) -> None:
        """These of the staging directory are of no use any more."""
        self._left += paths

    def left(self) -> list[bytes]:
        """What is to be removed from the staging directory by the next batch."""
        left, self._left = self._left, []
        if self._gives:
            self._made_room = time.monotonic()
        self.hinders = self._gives = False
        return left

    def _forget(self, content: _Content) -> None:
        if self._where.pop(content, None) is not None:
            self._sizes[content[0]] -= 1
            self._bytes -= content[0]
            self._files -= 1

    def has_size(self, size: int) -> bool:
        """May a content of that size be retained?"""
        return self._sizes.get(size, 0) > 0

    def find(self, path: bytes, size: int, signature: bytes) -> bytes:
        """Where over there what is wanted for ``path`` is retained; nothing if it is not."""
        found = self._where.get((size, signature), b"")
        if found:
            self._offered[path] = size, signature
        return found

    def last(self, path: bytes, inode: int) -> Optional[tuple[bytes, int, bytes]]:
        """What ``path`` was before, there or elsewhere: where that is over there now, its size, its
        signature."""
        content = self._last.get(inode) or self._last.get(path)
        found = self._where.get(content, b"") if content is not None else b""
        if content is None or not found:
            return None
        self._offered[path] = content
        return (found, *content)

    def distrust(self, path: bytes) -> None:
        """What was offered for ``path`` was not there."""
        content = self._offered.pop(path, None)
        if content is not None:
            self._forget(content)

    def give_way(self, began: float) -> bool:
        """The disk over there was full for what was sent from ``began`` on.

        Is there anything here to give back, or has there been since?
        """
        numbers = list(self._shelves)
        for number in numbers:
            self._empty(number)
        self._offered.clear()
        self._gives = self._gives or bool(numbers)
        self.hinders = bool(self._left)
        return self._gives or began < self._made_room
