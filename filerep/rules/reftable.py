"""The branch that is checked out, where git keeps its refs in tables (gitformat-reftable(5)).

Such a repository's HEAD file says nothing; the newest table that has a record of that name does.
"""

from __future__ import annotations

import os

from filerep.rules.untrustedfile import opened, read

HEAD = b"HEAD"
NO_VALUE, ONE_OBJECT, TWO_OBJECTS, SYMBOLIC = range(4)
# Names are in order, so HEAD is far in front; and a table may be as large as anything.
_READ = 1 << 16
_MOST_TABLES = 1000


def head(git_dir: bytes) -> bytes | None:
    """The ref that HEAD names; None where it names none, or that cannot be told."""
    place = os.path.join(git_dir, b"reftable")
    try:
        names = (read(os.path.join(place, b"tables.list")) or b"").split()
        for name in names[: -_MOST_TABLES - 1 : -1]:
            if b"/" in name:
                return None
            found = _find(os.path.join(place, name))
            if found is not None:
                return found or None
    except (OSError, IndexError):
        pass
    return None


def _find(table: bytes) -> bytes | None:
    """What HEAD names by this table, empty for no ref; None if HEAD is not in it."""
    fd = opened(table)
    if fd is None:
        return b""
    try:
        data = os.pread(fd, _READ, 0)
    finally:
        os.close(fd)
    version = data[4]
    at = (
        {1: 24, 2: 28}[version]
        if data[:4] == b"REFT" and 0 < version < 3
        else len(data)
    )
    width = 32 if data[24:28] == b"s256" and version == 2 else 20
    if data[at] != 0x72:
        return None  # it has no refs at all
    end = int.from_bytes(data[at + 1 : at + 4], "big")
    end -= 2 + 3 * int.from_bytes(data[end - 2 : end], "big")  # where names begin anew
    at += 4
    name = b""
    while at < end and name < HEAD:
        kept, at = _number(data, at)
        size, at = _number(data, at)
        name = name[:kept] + data[at : at + (size >> 3)]
        at += size >> 3
        _, at = _number(data, at)  # when it was written
        kind = size & 7
        if kind == SYMBOLIC:
            length, at = _number(data, at)
            if name == HEAD:
                return data[at : at + length]
            at += length
        else:
            at += {NO_VALUE: 0, ONE_OBJECT: width, TWO_OBJECTS: 2 * width}.get(
                kind, end
            )
            if name == HEAD:
                return b""
    return None


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``data[at]``, as in a pack, and where it ends."""
    byte = data[at]
    value = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = data[at]
        value = (value + 1) << 7 | byte & 0x7F
    return value, at + 1
