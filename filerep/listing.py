"""What the far end says it holds: the receiver's answer to ``list``.

Two forms, by what is there. GNU find, one record of two fields an entry::

    find DIR... -maxdepth 1 -printf '%y %m %s %T@ %p\\0%l\\0'

busybox and other systems with ``stat -c``; no path holds ``//``, so that ends a record::

    find DIR... -maxdepth 1 -exec stat -c '%f %s %Y %y %n//' {} +
"""

from __future__ import annotations

import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from filerep.table import Listed

_SECOND = 1_000_000_000
_LETTERS = {stat.S_IFREG: b"f", stat.S_IFLNK: b"l", stat.S_IFDIR: b"d"}

# stat(1) tells no target in a form that can be parsed; no symlink has this one.
_UNKNOWN_TARGET = b""

ENDS = {"find": b"end\0\0", "stat": b"end//\n"}
END_COMMANDS = {"find": b"printf 'end\\0\\0'", "stat": b"echo end//"}
_BEFORE_END = {"find": b"\0", "stat": b"//\n"}


def find_end(form: str, data: bytes | bytearray, start: int) -> int:
    """Where the end mark behind a listing begins in ``data``, -1 if not there yet.

    It stands at the very beginning or behind a record's end, which no name can hold.
    """
    if data.startswith(ENDS[form]):
        return 0
    mark = _BEFORE_END[form] + ENDS[form]
    at = data.find(mark, max(0, start - len(mark)))
    return at if at < 0 else at + len(_BEFORE_END[form])


def parse(form: str, data: bytes) -> dict[bytes, list[Listed]]:
    """What each directory holds, as name, type letter, permissions, size, mtime, target.

    Directories are relative, the listed one itself ``b""``. What cannot be parsed (a
    line of an error) is left out, and is sent then.
    """
    found: dict[bytes, list[Listed]] = {}
    parts = _parse_stat(data) if form == "stat" else _parse_find(data)
    for path, letter, mode, size, mtime, target in parts:
        directory, _, name = path.rpartition(b"/")
        if directory[:2] == b"./":
            directory = directory[2:]
        elif directory == b".":
            directory = b""
        row = found.get(directory)
        if row is None:
            row = found[directory] = []
        if name != b".":
            row.append((name, letter, mode, size, mtime, target))
    return found


def _parse_find(data: bytes) -> Iterator[tuple[bytes, bytes, int, int, int, bytes]]:
    fields = data.split(b"\0")
    for head, target in zip(fields[0::2], fields[1::2]):
        try:
            letter, mode, size, time, path = head.split(b" ", 4)
            seconds, _, fraction = time.partition(b".")
            # Before 1970 too: find writes -2.5 for a second and a half before it.
            mtime = int(seconds) * _SECOND + int(fraction[:9].ljust(9, b"0"))
            yield path, letter, int(mode, 8), int(size), mtime, target
        except ValueError:
            continue


def _parse_stat(data: bytes) -> Iterator[tuple[bytes, bytes, int, int, int, bytes]]:
    for record in data.split(b"//\n"):
        try:
            raw, size, seconds, _, clock, _, path = record.split(b" ", 6)
            mode = int(raw, 16)
            fraction = clock.partition(b".")[2]
            mtime = int(seconds) * _SECOND + int(fraction[:9].ljust(9, b"0"))
            letter = _LETTERS.get(stat.S_IFMT(mode), b"?")
            target = _UNKNOWN_TARGET if letter == b"l" else b""
            yield path, letter, mode & 0o7777, int(size), mtime, target
        except ValueError:
            continue
