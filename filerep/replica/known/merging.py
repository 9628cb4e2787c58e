"""What the far end lists, taken into the table."""

from __future__ import annotations

import stat

from filerep.replica.known.entries import (
    LISTED,
    OLD,
    OURS,
    UNSEEN,
    UNSURE,
    fold,
    listed,
    marked,
    marks,
    numbers,
)
from filerep.replica.known.unchanged import same_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Optional

    from filerep.farend.listing import Listed
    from filerep.replica.known.table import Table

_TYPES = {b"f": stat.S_IFREG, b"l": stat.S_IFLNK, b"d": stat.S_IFDIR}


def merge_listing(table: Table, directory: bytes, listing: Iterable[Listed]) -> bool:
    """Take in all that the far end has in ``directory`` itself.

    What is not there any more is dropped. Was it all just as remembered?
    """
    if directory and table.get_directory(directory) is None:
        return False
    names = table.directories[directory]
    prefix = directory + b"/" if directory else b""
    found: dict[bytes, bytes] = {}
    for name, letter, permissions, size, mtime, target in listing:
        key = name + b"/" if letter == b"d" else name
        before = names.get(key)
        mode = _TYPES.get(letter, 0) | permissions
        if before is not None and before[-1] & OLD:
            before = _proven(before, mode, size, mtime, table.mode_bits(prefix + key))
            if before is not None:
                table.adopted.append((prefix + key, before))
        if before is None:
            inode = fold(target) if letter == b"l" else 0
            found[key] = listed(mode, LISTED, size, mtime, inode)
        else:
            bits = table.mode_bits(prefix + key)
            found[key] = _merged(bits, before, letter, mode, size, mtime, target)
    if found == names:
        return True
    for key in names:
        if key not in found and key.endswith(b"/"):
            table.drop(prefix + key[:-1])
    names.clear()
    names.update(found)
    for key in found:
        if key.endswith(b"/"):
            table.directories.setdefault(prefix + key[:-1], {})
    return False


def _merged(
    counting: int,
    before: bytes,
    letter: bytes,
    mode: int,
    size: int,
    mtime: int,
    target: bytes,
) -> bytes:
    """The entry of what was remembered as ``before``, and is listed so.

    ``counting`` are the bits of its mode that count.
    What was sent and is there unaltered is kept with what is known of it; altered, it stays
    ours but UNSURE.
    """
    _, sent_mode, sent_size, sent_mtime, _ = numbers(before)
    bits = before[-1]
    if letter == b"d":
        if bits & OURS and counting & 0o777 and (mode ^ sent_mode) & 0o1777:
            bits |= UNSEEN  # to be looked at, if it was already
        return listed(mode, bits)
    if letter == b"l":
        if not target and stat.S_ISLNK(sent_mode) and size == sent_size:
            return before
        return listed(mode, LISTED | bits, size, mtime, fold(target))
    if (
        size == sent_size
        and (mtime == sent_mtime or same_time(sent_mtime, mtime))
        and not (mode ^ sent_mode) & counting
    ):
        return before
    # Ours, but not what was acknowledged last: a version whose answer was lost, say. A
    # later edit that kept its mtime would look like that one.
    bits |= LISTED | (UNSURE if bits & OURS else 0)
    return listed(mode, bits, size, mtime)


def _proven(
    value: bytes, mode: int, size: int, mtime: int, bits: int
) -> Optional[bytes]:
    """``value``, which is OLD, as it is remembered for sure: if a listing shows it as sent."""
    _, sent_mode, sent_size, sent_mtime, _ = numbers(value)
    if (mode ^ sent_mode) & bits:
        return None
    if not stat.S_ISDIR(mode) and (
        size != sent_size or not same_time(sent_mtime, mtime)
    ):
        return None
    return marked(value, marks(value) & ~OLD)
