"""Looks at files that are not there: a stat result, and a listing's row, of any numbers."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filerep.farend.listing import Listed

SECOND = 10**9


def found(
    ino: int = 1,
    mode: int = 0o644,
    size: int = 5,
    mtime: int = 7 * SECOND + 3,
    ctime: int = 9 * SECOND + 9,
    type_: int = stat.S_IFREG,
) -> os.stat_result:
    """A stat result with just these numbers."""
    whole = (type_ | mode, ino, 0, 1, 0, 0, size, 0, mtime // SECOND, ctime // SECOND)
    return os.stat_result(whole, {"st_mtime_ns": mtime, "st_ctime_ns": ctime})


def listed(path: bytes, mtime: int, size: int = 5, mode: int = 0o644) -> Listed:
    return (path, b"f", mode, size, mtime, b"")
