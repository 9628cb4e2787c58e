"""What earlier runs have sent, in one small file that is mostly appended to.

It lets a file that was removed while nothing ran be removed over there at the next start.
Losing it loses only that (and, with a tar that keeps whole seconds, some sending anew).
Believing it where it is wrong would cost more: a path that it calls ours and that the far end
has made since would be removed. So it must be known what of it is true.

The file is a header, a flag, then frames, which are appended. A frame is its kind, the length
of what it holds, its number (counted from 0) and a checksum of all of that, behind four bytes
by which the next one is found where a length is damaged. The kinds, in which a directory's path
ends in ``/``, and paths have NUL in between:

* PUT: the width of an entry, a count, so many entries of the table, their paths:
  acknowledged. Entries of another width stand in a frame of their own.
* REMOVED: paths, removed over there.
* INTENDED: paths, written before a new path is sent. An answer can be lost on its way
  while what it answers was done: what the far end holds there is not known, but if it
  holds anything, it is ours. So a run killed at any moment has remembered all it may
  later delete.
* SHOWN: a count, so many digests, as many directories. A listing with this digest shows
  what is remembered of the directory at this point of the file, no less and no more. It is
  obsolete once a later frame changes that, and saves reading that listing word by word.
* ABOUT: a line for a person, what the file is of.
* FAR: what was found out of the file system over there by writing to it, for --dry-run.
* SILENT: paths. As these were made of what the far end holds, it fell silent, and the connection
  was lost. It might do so each time, so they are sent whole.
* SLOW: something where the connection was slow when it was measured, nothing where it was not. The
  next run knows that before it has sent anything.
* ROWS: some directories and all that is in them (or a part, where that is long), so that a
  start costs little for each file: a width; how many there are; how long their paths are;
  then for each a count and a digest, or zeros; their paths; all entries; all names. The file
  is rewritten as these when much was appended.

A frame of another kind, or with entries of another width, is passed over: a later version may
write such. To keep more of a file (a digest of its content, the signatures of its blocks),
give it a kind of its own, ``_Reader.frame`` a branch that reads it, and ``Remembered.encode``
a piece that writes it. What it says of a path is obsolete once a PUT or REMOVED names that path, so
it stands behind the PUT that it belongs to, and a cut between the two means no more than that
it is missing.

Which of it is true? The flag, which is overwritten in place, says what became of the run that
wrote last. It has ended in order, with so many frames. Or it is under way, or was killed, which
loses nothing that was written unless the machine stopped as well: so the flag names the
machine's start. Or it could not write any more, as on a full disk. A file that was brought back
from a backup, or copied from another machine, tells what was so then. So a flag also says when the
one before it was written, a moment before, or which inode the file has: of a copy neither is true.

Where the flag, a number or a checksum tells that something may be missing, nothing can be said for
sure of the rest either, as a later removal of it may be what is missing: all of it is OLD then (see
entries.py), and the damaged frames are left out.
"""

from __future__ import annotations

import errno
import os

from filerep import ownfiles
from filerep.ownfiles import Held
from filerep.replica.known import entries, stateframes, staterows
from filerep.replica.known.staterows import Remembered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# A log that is saved all day must not fill the disk: once so much was appended, and at
# least as much as there was, the file is tidied as at a start.
_LEAST_ROOM = 4 << 20

_MOST_BYTES = 1 << 20  # of paths in a frame

# Of file-replicator there is one for each file. But where it was killed, its fr-pack may take
# that long to end.
_PATIENCE = 5.0  # seconds

# Of a flag that tells when the one before it was written, until that was just now.
_TRIES = 5


class Busy(Exception):
    """Another run holds the state file."""


class Foreign(Exception):
    """A file that is neither empty nor a state file."""


class State:
    """The open, locked state file."""

    def __init__(self, path: bytes, ours: bool = False) -> None:
        """Open or make ``path``; raises ``Busy`` or OSError.

        ``ours``: a file of that name can only be ours. Else ``tidy`` raises ``Foreign`` for
        one that does not look like it.
        """
        self.path = path
        self._ours = ours
        self._room = _LEAST_ROOM  # how much more is written before the file is tidied
        self._count = 0  # of frames
        self._end = 0  # of the last one
        self._failed = False  # does the file lack what cannot be written any more?
        self._fd = ownfiles.open_file(path)
        self._lock(self._fd)

    def _lock(self, fd: int) -> None:
        try:
            ownfiles.lock(fd, _PATIENCE if self._ours else 0.0)
        except Held:
            os.close(fd)
            raise Busy from None
        except OSError:
            os.close(fd)
            raise

    def tidy(self) -> Remembered:
        """What is remembered. What is no whole frame is cut off, what is obsolete left out.

        Raises OSError if the file cannot be written, ``Foreign`` if it must not be.
        """
        kept = staterows.read(self._fd)
        if kept.form == "foreign" and not self._ours:
            raise Foreign
        if kept.form != "ours":
            self._begin()
            return kept
        os.ftruncate(self._fd, kept.end)
        self._count, self._end = kept.count, kept.end
        self._room = max(_LEAST_ROOM, kept.end)
        if not kept.old:
            self._flag(stateframes.OPEN)
        if kept.old or 8 * kept.logged > kept.end:
            try:
                self._rewrite(kept)
            except OSError:  # a full disk, say: the old file says the same
                self._failed = self._failed or kept.old
        return kept

    def recall(self) -> Remembered:
        """What is remembered by now; raises OSError."""
        return staterows.read(self._fd)

    def _rewrite(self, kept: Remembered) -> None:
        """Write everything anew, in rows, in a file that takes the old one's place."""
        old = self._fd
        fresh = self.path + b".new"
        _remove_leftover(fresh)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(fresh, flags, 0o600)
        end = 0
        try:
            for data in kept.encode():
                _write_all(fd, data, end)
                end += len(data)
            flag = stateframes.flag(stateframes.OPEN, kept.count, os.fstat(fd))
            _write_all(fd, flag, len(stateframes.HEADER))
            ownfiles.lock(fd)
            os.rename(fresh, self.path)
        except OSError:
            os.close(fd)
            os.unlink(fresh)
            raise
        os.close(old)
        self._fd, self._count, self._end = fd, kept.count, end

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """The run ends in order; let another one have the file."""
        if self._end and not self._failed:
            try:
                for _ in range(_TRIES):
                    flag = self._flag(stateframes.ENDED)
                    if stateframes.is_true(flag, self._count, os.fstat(self._fd)):
                        break
            except OSError:
                pass  # it will be taken for killed
        os.close(self._fd)

    def _begin(self) -> None:
        """Make it a file that remembers nothing; raises OSError."""
        os.ftruncate(self._fd, 0)
        flag = stateframes.flag(stateframes.OPEN, 0, os.fstat(self._fd))
        _write_all(self._fd, stateframes.HEADER + flag, 0)
        self._count, self._end = 0, stateframes.BEGIN

    def clear(self) -> None:
        """The far end is empty: nothing that was sent is there."""
        self._count, self._end = 0, stateframes.BEGIN
        try:
            os.ftruncate(self._fd, self._end)  # the rest stays: the disk may be full
            self._flag(stateframes.OPEN)
        except OSError:
            self.give_up()

    def name(self, about: bytes, far: bytes, kept: Remembered) -> None:
        """Have the file say what it is of, and what the far end is like, if it has not
        ``kept`` that; raises OSError."""
        found = [(staterows.ABOUT, about, kept.about), (staterows.FAR, far, kept.far)]
        begins = self._end == stateframes.BEGIN
        self._write([(kind, now) for kind, now, then in found if begins or now != then])

    def intend(self, paths: Sequence[bytes]) -> None:
        """Remember that ``paths`` are about to be sent, a directory's ending in ``/``."""
        self._write(_joined(staterows.INTENDED, paths))

    def fell_silent(self, paths: Sequence[bytes]) -> None:
        """Remember that the far end did, as it made ``paths`` of what it holds."""
        self._write(_joined(staterows.SILENT, paths))

    def found_slow(self, slow: bool) -> None:
        """Remember that the connection is, or that it is not."""
        self._write([(staterows.SLOW, b"1" if slow else b"")])

    def append(
        self,
        put: list[tuple[bytes, bytes]],
        removed: list[bytes],
        grown: Sequence[bytes] = (),
    ) -> None:
        """Remember ``put``, pairs of path and entry, and forget ``removed``.

        Those of ``put`` in ``grown`` were intended, and not remembered before.
        """
        self._room += _lasting(grown) - _lasting(removed)
        found = _joined(staterows.REMOVED, removed)
        for some in _by_width(put):
            for paths in _portions(some):
                values = [some[path] for path in paths]
                found.append((staterows.PUT, staterows.put(paths, values)))
        self._write(found)

    def confirm(self, digests: dict[bytes, bytes]) -> None:
        """Remember listings, by directory, that showed just what is remembered now."""
        found = []
        for paths in _portions(digests):
            data = staterows.shown({path: digests[path] for path in paths})
            found.append((staterows.SHOWN, data))
        self._write(found)

    def _write(self, found: list[tuple[bytes, bytes]]) -> None:
        """Append frames of these kinds and contents; raises OSError."""
        if not found:
            return
        data = b""
        for kind, content in found:
            data += stateframes.frame(kind, content, self._count)
            self._count += 1
        try:
            _write_all(self._fd, data, self._end)
            self._end += len(data)
            self._room -= len(data)
            if self._room < 0:
                self.tidy()
        except OSError:
            self.give_up()
            raise

    def give_up(self) -> None:
        """What happens from now on is not remembered: have the next start know that.

        None of it takes room on the disk. If nothing can be written at all, the file goes.
        """
        self._failed = True
        try:
            os.ftruncate(self._fd, self._end)
            self._flag(stateframes.UNWRITTEN)
        except OSError:
            try:
                os.unlink(self.path)
            except OSError:
                pass

    def _flag(self, sign: bytes) -> bytes:
        flag = stateframes.flag(sign, self._count, os.fstat(self._fd))
        _write_all(self._fd, flag, len(stateframes.HEADER))
        return flag


def _by_width(pairs: list[tuple[bytes, bytes]]) -> Iterator[dict[bytes, bytes]]:
    """Entries by path, of one length each time; the last of a path counts."""
    found = dict(pairs)
    widths = set(map(len, found.values()))
    if len(widths) == 1:
        yield found
        return
    for width in widths:
        yield {path: value for path, value in found.items() if len(value) == width}


def _joined(kind: bytes, paths: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return [(kind, b"\0".join(some)) for some in _portions(paths)]


def _portions(paths: Sequence[bytes] | dict[bytes, bytes]) -> Iterator[list[bytes]]:
    """``paths``, but for those that are too long to be remembered, as much as a frame holds."""
    size = sum(map(len, paths)) + entries.ENTRY_BYTES * len(paths)
    if size <= staterows.MOST_PATH:  # as nearly always
        if paths:
            yield list(paths)
        return
    some: list[bytes] = []
    size = 0
    for path in paths:
        length = len(path)
        if length > staterows.MOST_PATH:
            continue
        some.append(path)
        size += length + entries.ENTRY_BYTES
        if size > _MOST_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _lasting(paths: Sequence[bytes]) -> int:
    """Bytes that INTENDED and PUT of each path take, which are there to stay until it is removed.

    They leave the room as it is: to tidy a file that only grew would save little, and takes
    the memory of a second table.
    """
    if not paths:
        return 0
    heads = 2 * stateframes.FRAME_BYTES + staterows.HEAD_BYTES
    return heads + 2 * sum(map(len, paths)) + (2 + entries.ENTRY_BYTES) * len(paths)


def _write_all(fd: int, data: bytes, at: int) -> None:
    """Or OSError: the rest is tried, as a full disk takes a part without a word."""
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, at)
        if not count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view, at = view[count:], at + count


def _remove_leftover(path: bytes) -> None:
    """Remove what a killed run has left at ``path``; what is not ours stays in the way."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        name = os.read(fd, len(stateframes.NAME))
        ours = name == stateframes.NAME[: len(name)]
    except OSError:
        ours = False
    os.close(fd)
    if ours:
        os.unlink(path)
