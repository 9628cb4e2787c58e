"""What the frames of a state file say, as rows of a table."""

from __future__ import annotations

import os
import struct
from itertools import islice

from filerep.digest import BYTES as DIGEST_BYTES
from filerep.pathstream import inside, is_name
from filerep.replica.known import entries, stateframes
from filerep.replica.known.stateframes import Frames
from filerep.replica.known.table import Table, place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PUT, REMOVED, INTENDED, SHOWN, ROWS = b"+", b"-", b"?", b"#", b"="
ABOUT, FAR, SILENT, SLOW = b"@", b"~", b"!", b"s"

_PUT_HEAD = struct.Struct("<BI")  # width of an entry, entries
_ROWS_HEAD = struct.Struct("<BII")  # width, rows, bytes of their directories
_COUNT = struct.Struct("<I")
_NO_DIGEST = bytes(DIGEST_BYTES)
_OURS_UNSEEN = bytes((entries.OURS | entries.UNSEEN,))
_MARKS = {
    entries.OURS | listed | unsure | unseen | old | away
    for listed in (0, entries.LISTED)
    for unsure in (0, entries.UNSURE)
    for unseen in (0, entries.UNSEEN)
    for old in (0, entries.OLD)
    for away in (0, entries.UNMOUNTED)
}
# What the next run keeps of it, whatever else it makes of it.
_LASTING = entries.UNSURE | entries.OLD | entries.UNMOUNTED

# Bounds for what was not written by us. Longer paths are not remembered.
MOST_PATH = 1 << 16
_MOST_ABOVE = 16 << 20  # bytes of directories that only paths below them tell of

_ENOUGH = 1000  # entries for a frame of rows, or so many more as the last row has
_MOST_NAMES = 20_000

HEAD_BYTES = _PUT_HEAD.size  # in front of the entries of a PUT


def put(paths: list[bytes], values: list[bytes]) -> bytes:
    """What a PUT holds; all entries have one length."""
    head = _PUT_HEAD.pack(len(values[0]), len(values))
    return b"%s%s%s" % (head, b"".join(values), b"\0".join(paths))


def shown(digests: dict[bytes, bytes]) -> bytes:
    """What a SHOWN holds for digests by directory."""
    count = _COUNT.pack(len(digests))
    return count + b"".join(digests.values()) + b"\0".join(digests)


class Remembered:
    """What a state file says."""

    def __init__(self) -> None:
        # By directory, as in a table; entries are marked UNSEEN.
        self.rows: dict[bytes, dict[bytes, bytes]] = {}
        self.digests: dict[bytes, bytes] = {}
        self.about = b""  # what all of it is of, for a person
        self.far = b""  # what the file system over there is like
        self.silent: set[bytes] = set()  # paths at which the far end was
        self.slow = False  # was the connection, when it was measured last?
        self.form = "empty"  # or "ours", "other version", "foreign"
        self.old = False  # may it be wrong by now?
        self.damaged = 0  # how much of it was left out, or more than nothing
        self.count = 0  # of frames
        self.end = 0  # bytes up to the end of the last whole frame
        self.logged = 0  # bytes of frames that are no rows

    def encode(self) -> Iterator[bytes]:
        """A state file that says the same, in pieces, but for its flag; then ``count`` is that of its frames."""
        yield stateframes.HEADER + stateframes.flag(stateframes.OPEN, 0)
        self.count = 0
        silent = [(SILENT, path) for path in self.silent]
        slow = SLOW, b"1" if self.slow else b""
        for kind, data in ((ABOUT, self.about), (FAR, self.far), slow, *silent):
            if data:
                yield stateframes.frame(kind, data, self.count)
                self.count += 1
        for width in entries.WIDTHS:
            some: list[tuple[bytes, list[bytes]]] = []
            waiting = 0
            for directory, row in self.rows.items():
                names = [name for name, value in row.items() if len(value) == width]
                for at in range(0, len(names), _MOST_NAMES):
                    part = names[at : at + _MOST_NAMES]
                    some.append((directory, part))
                    waiting += len(part) + len(directory) // 100
                    if waiting >= _ENOUGH:
                        yield self._frame(width, some)
                        some, waiting = [], 0
            if some:
                yield self._frame(width, some)

    def _frame(self, width: int, some: list[tuple[bytes, list[bytes]]]) -> bytes:
        directories = b"\0".join([directory for directory, _ in some])
        pieces = [_ROWS_HEAD.pack(width, len(some), len(directories))]
        pieces += [_COUNT.pack(len(names)) for _, names in some]
        pieces += [self.digests.get(one, _NO_DIGEST) for one, _ in some]
        pieces.append(directories)
        for directory, names in some:
            row = self.rows[directory]
            pieces += [row[name] for name in names]
        pieces.append(b"\0".join([name for _, names in some for name in names]))
        self.count += 1
        return stateframes.frame(ROWS, b"".join(pieces), self.count - 1)

    def enter(self, into: Table, marks: int) -> None:
        """Put it into a table that is empty, with ``marks``.

        What is ours is in directories that are ours, see `claim_directories`, whatever the frames
        say: that one was removed may come to be told after what was put there once more.
        """
        above = entries.UNSURE | (0 if self.old else marks)
        for directory, row in self.rows.items():
            if marks != entries.OURS | entries.UNSEEN:
                for name, value in row.items():
                    row[name] = entries.marked(
                        value, marks | entries.marks(value) & _LASTING
                    )
            into.put_row(directory, row, above)
        into.digests = self.digests

    def grow_old(self) -> None:
        """Nothing of it is sure any more."""
        self.old = True
        self.digests.clear()
        for row in self.rows.values():
            for name, value in row.items():
                row[name] = entries.marked(value, entries.marks(value) | entries.OLD)


def read(fd: int) -> Remembered:
    """What the state file ``fd`` remembers; raises OSError."""
    about = os.fstat(fd)
    return _read(about.st_size, lambda size, at: os.pread(fd, size, at), about)


def parse(data: bytes) -> Remembered:
    """What a state file's bytes remember."""
    return _read(len(data), lambda size, at: data[at : at + size])


def _read(
    size: int, source: stateframes.Read, about: os.stat_result | None = None
) -> Remembered:
    kept = Remembered()
    header = source(stateframes.BEGIN, 0)
    if not size:
        return kept
    if not header.startswith(stateframes.HEADER):
        ours = header.startswith(stateframes.NAME) or stateframes.HEADER.startswith(
            header
        )
        kept.form = "other version" if ours else "foreign"
        return kept
    kept.form = "ours"
    found = Frames(size, source)
    reader = _Reader(kept)
    for kind, data in found:
        reader.frame(kind, data)
        if kind not in (ROWS, ABOUT, FAR):
            kept.logged += stateframes.FRAME_BYTES + len(data)
    kept.count, kept.end = found.count, found.end
    kept.damaged += found.damaged
    kept.rows = {directory: row for directory, row in kept.rows.items() if row}
    reader.drop_unreachable()
    flag = header[len(stateframes.HEADER) :]
    if kept.damaged or not stateframes.is_true(flag, kept.count, about):
        kept.grow_old()
    return kept


class _Reader:
    """Takes frames in, one after the other."""

    def __init__(self, kept: Remembered) -> None:
        self._kept = kept

    def frame(self, kind: bytes, data: bytes) -> None:
        try:
            if kind == PUT:
                self._put(data)
            elif kind == ROWS:
                self._rows(data)
            elif kind == REMOVED:
                self._removed(data)
            elif kind == INTENDED:
                for row, name, _ in self._places(data, data.split(b"\0")):
                    row.setdefault(name, entries.UNSEEN_DOUBTED)
            elif kind == SHOWN:
                self._shown(data)
            elif kind == ABOUT:
                self._kept.about = data
            elif kind == FAR:
                self._kept.far = data
            elif kind == SILENT:
                self._kept.silent.update(data.split(b"\0"))
            elif kind == SLOW:
                self._kept.slow = bool(data)
        except (struct.error, ValueError):
            self._kept.damaged += len(data)  # checked, and yet nothing that we write

    def _put(self, data: bytes) -> None:
        width, count = _PUT_HEAD.unpack_from(data)
        if width not in entries.WIDTHS:
            return
        stop = _PUT_HEAD.size + width * count
        values = _entries(data, _PUT_HEAD.size, stop, width)
        paths = data[stop:]
        names = paths.split(b"\0")
        if len(names) != count:
            raise ValueError
        for row, name, number in self._places(paths, names):
            row[name] = values[number]
        self._kept.silent.difference_update(names)

    def _places(
        self, joined: bytes, paths: list[bytes]
    ) -> Iterator[tuple[dict[bytes, bytes], bytes, int]]:
        """The row of each of ``paths``, its name there, and its number; rows are changed."""
        checked = _is_plain(joined, paths)
        rows, digests = self._kept.rows, self._kept.digests
        row: dict[bytes, bytes] = {}
        last = None
        for number, path in enumerate(paths):
            if not checked and not (len(path) <= MOST_PATH and inside(path)):
                self._kept.damaged += 1
                continue
            if path.endswith(b"/"):
                parent, name = place(path)
            else:
                parent, _, name = path.rpartition(b"/")
            if parent != last:
                last = parent
                digests.pop(parent, None)
                if parent in rows:
                    row = rows[parent]
                else:
                    row = rows[parent] = {}
            yield row, name, number

    def _removed(self, data: bytes) -> None:
        paths = data.split(b"\0")
        self._kept.silent.difference_update(paths)
        for path in paths:
            parent, name = place(path)
            self._kept.digests.pop(parent, None)
            self._kept.rows.get(parent, {}).pop(name, None)

    def _shown(self, data: bytes) -> None:
        (count,) = _COUNT.unpack_from(data)
        stop = _COUNT.size + count * DIGEST_BYTES
        directories = data[stop:].split(b"\0")
        if len(directories) != count:
            raise ValueError
        digests = _pieces(data, _COUNT.size, stop, DIGEST_BYTES)
        self._kept.digests.update(zip(directories, digests))

    def _rows(self, data: bytes) -> None:
        width, count, length = _ROWS_HEAD.unpack_from(data)
        if width not in entries.WIDTHS:
            return
        at = _ROWS_HEAD.size + count * _COUNT.size
        counts = [one for (one,) in _COUNT.iter_unpack(data[_ROWS_HEAD.size : at])]
        begin = at + count * DIGEST_BYTES
        digests = _pieces(data, at, begin, DIGEST_BYTES)
        start = begin + length
        directories = data[begin:start].split(b"\0")
        stop = start + sum(counts) * width
        values = _entries(data, start, stop, width)
        names = data[stop:].split(b"\0")
        if len(counts) != count or len(directories) != count or not counts:
            raise ValueError
        if len(names) != len(values):
            raise ValueError
        if not all(map(_is_directory, directories)):
            raise ValueError
        if not (_is_plain(data[stop:], names, True) or all(map(_is_entry, names))):
            raise ValueError
        rows, pairs = self._kept.rows, zip(names, values)
        for directory, size, found in zip(directories, counts, digests):
            row = dict(islice(pairs, size))
            if rows.setdefault(directory, row) is not row:
                rows[directory].update(row)
            if found != _NO_DIGEST:
                self._kept.digests[directory] = found

    def drop_unreachable(self) -> None:
        """Leave out what would make a table of many directories that nothing names.

        A path of 60,000 bytes names 30,000 directories above it, each with a path of its own.
        """
        rows = self._kept.rows
        left = _MOST_ABOVE
        for directory in list(rows):
            above = directory
            while above:
                above = above.rpartition(b"/")[0]
                if above in rows:
                    break
                left -= len(above)
                if left < 0:
                    self._kept.damaged += 1
                    del rows[directory]
                    break


def _pieces(data: bytes, start: int, stop: int, width: int) -> Sequence[bytes]:
    """``data`` from ``start`` to ``stop``, ``width`` bytes each; raises ValueError.

    All at once that takes a third of the time.
    """
    if stop > len(data):
        raise ValueError
    pieces = struct.Struct(f"{width}s" * ((stop - start) // width))
    return pieces.unpack_from(data, start)


def _entries(data: bytes, start: int, stop: int, width: int) -> Sequence[bytes]:
    """The entries there, all UNSEEN; raises ValueError."""
    if stop > len(data):
        raise ValueError
    marks = set(data[start + width - 1 : stop : width])
    if not marks <= _MARKS:
        raise ValueError
    if marks == {entries.OURS}:
        form = struct.Struct(f"{width - 1}sx" * ((stop - start) // width))
        return [one + _OURS_UNSEEN for one in form.unpack_from(data, start)]
    values = _pieces(data, start, stop, width)
    if all(bits & entries.UNSEEN for bits in marks):
        return values
    return [
        entries.marked(value, entries.marks(value) | entries.UNSEEN) for value in values
    ]


def _is_plain(joined: bytes, paths: list[bytes], one_part: bool = False) -> bool:
    """Are all of ``paths``, as they stand with NUL in between, surely inside?

    False: a closer look is needed, at each, which takes longer than all else. ``one_part``:
    they are names in a directory, of which a directory's ends in ``/``.
    """
    ended = b"\0%s\0" % joined
    if b"\0." in ended or b"\0/" in ended or b"\0\0" in ended:
        return False
    if one_part:
        return b"/" not in joined or joined.count(b"/") == ended.count(b"/\0")
    if b"/." in ended or b"//" in ended:
        return False
    return len(joined) <= MOST_PATH or max(map(len, paths)) <= MOST_PATH


def _is_directory(path: bytes) -> bool:
    if path.endswith(b"/") or len(path) > MOST_PATH:
        return False
    return not path or inside(path)


def _is_entry(name: bytes) -> bool:
    return is_name(name[:-1] if name.endswith(b"/") else name)
