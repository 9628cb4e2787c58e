"""The path stream: NUL-terminated byte strings, and how a path is shown to a person.

A record says one thing: this path may have changed, look. Records are relative to the
source root, with ``/`` between parts. A record that ends in ``/`` says: of all you know
at or below this path, find what has gone; ``./`` is the whole tree.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Tuple

    Row = Tuple[bytes, "list[bytes]"]  # a directory, and paths of what is in it

WHOLE_TREE = b"./"
#: What fr-watch prints once all changes before a request have been named.
SYNC = b"."

_READ = 1 << 16
# So much at a time is some thousand paths: work for a while, and soon begun.
_ENOUGH = 1 << 17
_READS = 16
_MOST_DIRECTORIES = 64
_NO_NAMES = (b"", b".", b"..")


def encode(paths: Iterable[bytes]) -> bytes:
    """The records for ``paths``, ready to be written."""
    return b"".join([path + b"\0" for path in paths])


class Decoder:
    """Turns chunks of a path stream, cut anywhere, into whole records."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The records that ``chunk`` completes; empty records are dropped."""
        records = chunk.split(b"\0")
        if len(records) > 1:
            records[0] = b"".join(self._rest) + records[0]
            self._rest = []
        self._rest.append(records.pop())
        return [record for record in records if record]

    def close(self) -> bytes:
        """What stands behind the last NUL, or ``b""``: a stream that was cut short."""
        rest = b"".join(self._rest)
        self._rest = []
        return rest


class Records:
    """A path stream, read from a descriptor as it comes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd  # -1 for no stream, or one that has ended
        self.unended = b""  # the last record, if it ended without a NUL
        self._decoder = Decoder()

    def read(self) -> list[bytes]:
        """The records that are there, up to a bound; to be called when ``fd`` is readable."""
        chunk = os.read(self.fd, _READ)
        data, size = [chunk], len(chunk)
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        # A writer may write a page at a time, and what one page names be little.
        while chunk and size < _ENOUGH and len(data) < _READS and poll.poll(0):
            chunk = os.read(self.fd, _READ)
            data.append(chunk)
            size += len(chunk)
        records = self._decoder.feed(b"".join(data))
        if not chunk:
            self.fd = -1
            self.unended = self._decoder.close()
            records += [self.unended] if self.unended else []
        return records


def normalize(record: bytes) -> bytes | None:
    """``record`` in its one spelling, or None when it names nothing below the root.

    ``find . -print0`` writes ``./a``, people write ``a//b``: both mean a path below the
    root. An absolute path or one with a ``..`` part does not. The root itself is ``b"."``
    and the whole tree ``b"./"``; a trailing ``/`` keeps its meaning.
    """
    if record[:1] not in b"./" and b"/." not in record and b"//" not in record:
        return record  # as our own stages write them
    if b"/" not in record:
        return record if record not in (b"", b"..") else None
    parts = record.split(b"/")
    if not parts[0]:
        return None
    tail = b"" if parts[-1] else b"/"
    kept = [part for part in parts if part not in (b"", b".")]
    if b".." in kept:
        return None
    return (b"/".join(kept) or b".") + tail


def inside(path: bytes) -> bool:
    """Is ``path``, as it stands, below the root? The gate for all paths not of our making.

    What a state file, a far end or a list names passes here before it is looked at, kept,
    or becomes a word of a script.
    """
    return path not in (b".", WHOLE_TREE) and normalize(path) == path


def is_name(name: bytes) -> bool:
    """Can ``name`` be that of something in a directory?"""
    return name not in _NO_NAMES and b"/" not in name and b"\0" not in name


def in_rows(records: Iterable[bytes], odd: Callable[[bytes], None]) -> Iterator[Row]:
    """``records`` normalized, in rows; those that say more or less than "look" go to ``odd``.

    These are `.`, those that end in ``/``, and those that name nothing below the root.
    """
    directory = b""
    row: list[bytes] = []
    above = None  # what stands in front of a name that needs no closer look
    for record in records:
        parent, _, name = record.rpartition(b"/")
        if parent == above and name not in _NO_NAMES:
            row.append(record)
            continue
        path = normalize(record)
        if path is None or path.endswith(b"/") or path == b".":
            odd(record)
            continue
        parent = path.rpartition(b"/")[0]
        if row and parent != directory:
            yield directory, row
            row = []
        row.append(path)
        directory = parent
        above = parent or None
    if row:
        yield directory, row


def quote(path: bytes | str) -> str:
    r"""``path`` in single quotes, on one line, whatever bytes it holds.

    Control characters, quotes, backslashes and bytes that are not UTF-8 come as ``\xNN``
    or ``\'``, so that a name can neither forge a second message nor drive a terminal.
    """
    text = path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else path
    if text.isprintable() and "'" not in text and "\\" not in text:
        return f"'{text}'"
    shown = []
    for character in text:
        if character in "'\\":
            shown.append("\\" + character)
        elif character.isprintable():
            shown.append(character)
        else:
            raw = character.encode("utf-8", "surrogateescape")
            shown.append("".join(f"\\x{byte:02x}" for byte in raw))
    return "'" + "".join(shown) + "'"


def gathered(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """``counts`` by directory, for ``most`` directories if that can be: the deepest go up.

    ``""`` is the root. More than ``most`` directly below it are left as they are, up to a bound.
    """
    found = dict(counts)
    while len(found) > most:
        depth = max(directory.count("/") for directory in found)
        if not depth:
            break
        level = found
        found = {}
        for directory, count in level.items():
            if directory.count("/") == depth:
                directory = directory.rpartition("/")[0]
            found[directory] = found.get(directory, 0) + count
    if len(found) > _MOST_DIRECTORIES:
        few = sorted(found, key=found.__getitem__)[: -_MOST_DIRECTORIES or None]
        rest = sum(found.pop(directory) for directory in few)
        found[""] = found.get("", 0) + rest
    return found
