"""How wide text is on a terminal, and a line in rows that a terminal has room for."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, TextIO

_USUAL = 80  # columns, where the terminal does not say


def is_tty(stream: Optional[TextIO]) -> bool:
    """Is ``stream`` a terminal, of whatever kind?"""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False  # closed before we began


def is_terminal(stream: Optional[TextIO]) -> bool:
    """Is ``stream`` a terminal that knows what columns are?"""
    return is_tty(stream) and os.environ.get("TERM", "dumb") != "dumb"


def terminal_width(stream: TextIO) -> int:
    """Columns that a line may take on the terminal ``stream``."""
    try:
        found = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        found = 0
    # Not the last one: there some terminals go to the next row by themselves.
    return max((found or _USUAL) - 1, 1)


def columns(text: str) -> int:
    """How wide ``text`` is on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    marks = sum(unicodedata.combining(character) > 0 for character in text)
    return len(text) + wide - marks


def wrapped(text: str, width: int, indent: int) -> str:
    """``text`` in rows of ``width`` columns, all but the first indented; words stay whole."""
    if not width or columns(text) <= width or width <= 2 * indent:
        return text
    rows, row = [], ""
    for word in text.split(" "):
        if row.strip() and columns(row) + 1 + columns(word) > width:
            rows.append(row)
            row = " " * indent + word
        else:
            row = f"{row} {word}" if row or rows else word
    return "\n".join([*rows, row])


def hanging(text: str, width: int) -> str:
    """``text`` in rows that begin where it does, but for the first two columns further."""
    rest = text.lstrip(" ")
    lead = " " * (len(text) - len(rest))
    return lead + wrapped(rest, width - len(lead), 2).replace("\n", "\n" + lead)


def usage_in_rows(text: str, width: int) -> str:
    """A usage ``text`` in rows: what an option is about stays in the column it begins in."""
    rows = []
    for line in text.splitlines():
        rest = line.lstrip(" ")
        lead = " " * (len(line) - len(rest))
        _, gap, about = rest.partition("  ")
        indent = len(rest) - len(about.lstrip(" ")) if gap else 0
        inner = wrapped(rest, width - len(lead), indent)
        rows += [lead + row for row in inner.split("\n")]
    return "\n".join(rows)
