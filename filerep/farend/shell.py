"""Words for a shell, and the scripts that the far end is sent."""

from __future__ import annotations

import os
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# The words of one call stay far below the 128 KiB that POSIX systems allow them in all.
CALL_BYTES = 48_000
_CALL_NAMES = 1_000


def shell_quote(word: bytes) -> bytes:
    return b"'" + word.replace(b"'", b"'\\''") + b"'"


@lru_cache(maxsize=None)
def script_text(name: str) -> bytes:
    """One of the scripts that the far end is sent, without its comments; raises ImportError.

    They are half of it, and bash reads a byte at a time. What is sent once more, over another
    connection, is the same, whatever an upgrade has put there meanwhile.
    """
    path = os.path.join(os.path.dirname(__file__), "scripts", name + ".sh")
    # As the loader of this module reads it, so that all may be in a zip archive.
    try:
        data: bytes = __loader__.get_data(path)  # type: ignore[name-defined]
    except FileNotFoundError:
        raise ImportError(name=os.path.basename(path)) from None
    lines = data.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.lstrip().startswith(b"#"))


def in_calls(paths: list[bytes]) -> Iterator[list[bytes]]:
    """``paths`` in rows short enough for one call."""
    some: list[bytes] = []
    length = 0
    for path in paths:
        if some and (length + len(path) > CALL_BYTES or len(some) >= _CALL_NAMES):
            yield some
            some, length = [], 0
        some.append(path)
        length += len(path) + 40
    if some:
        yield some
