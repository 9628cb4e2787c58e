"""What the far end's programs write, made safe to stand between our own lines.

A file over there or the machine itself must not move the cursor about, name the window, hide
what stands next, or write a line that looks like ours. So of what a terminal acts on only
colours are left, and of these none that can hide text, which backgrounds, black and concealing
can; colours end with their line; and `| ` stands at the margin of each row, also where the
terminal would break a long one, which is why it is broken here.
"""

from __future__ import annotations

import codecs
import re

from filerep.wrapping import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "| "
# Only a terminal needs these, so they are compiled when used: it takes 4 ms.
_COLOUR = r"\x1b\[([0-9;]*)m"
# What a terminal acts on: an escape sequence, begun or whole, and every other control character.
_CONTROL = (
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
# The beginning of one, or half of a line end, whose rest may be in the next piece.
_BEGUN = r"(?:\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[ -/]*)|\r)\Z"
_LONGEST_ESCAPE = 1000
_LONGEST_LINE = 10_000
_TAB = 8
_MOST_COLOURS = 4
# Bold, faint, italic, underlined, each off again; the seven colours that are not black.
_HARMLESS = {*range(1, 5), *range(21, 25), *range(31, 38), 39, *range(91, 98)}
_PLAIN = "\x1b[0m"


class FarText:
    """The far end's bytes as lines for a terminal, whatever pieces they come in."""

    def __init__(self, encoding: str, coloured: bool = True) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._coloured = coloured
        self._rest = ""  # an escape sequence that is not whole
        self.partial = ""  # a line that has not ended

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes, without their ends."""
        text = self._rest + self._decoder.decode(data)
        begun = re.compile(_BEGUN).search(text, max(0, len(text) - _LONGEST_ESCAPE))
        cut = begun.start() if begun else len(text)
        self._rest = text[cut:]
        *lines, self.partial = (self.partial + self._harmless(text[:cut])).split("\n")
        while len(self.partial) > _LONGEST_LINE:
            lines.append(self.partial[:_LONGEST_LINE])
            self.partial = self.partial[_LONGEST_LINE:]
        return lines

    def end(self) -> list[str]:
        """The line that has not ended, if any."""
        partial, self.partial = self.partial, ""
        return [partial] if partial else []

    def _harmless(self, text: str) -> str:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = re.sub(_CONTROL, self._keep, text)
        if text.isascii():
            return text
        # What is not printable beyond that are other blanks, and marks that turn the direction.
        return "".join(
            one if one.isprintable() or one in "\n\t\x1b" else " " * one.isspace()
            for one in text
        )

    def _keep(self, found: re.Match[str]) -> str:
        colour = re.fullmatch(_COLOUR, found[0])
        if not colour or not self._coloured:
            return ""
        numbers = [int(number or 0) for number in colour[1][:100].split(";")]
        kept = [str(number) for number in _harmless_numbers(numbers)]
        return f"\x1b[{';'.join(kept)}m" if kept else ""


def _harmless_numbers(numbers: list[int]) -> Iterator[int]:
    rest = iter(numbers)
    for number in rest:
        if number in (38, 48):  # a colour of many: its own numbers follow
            for _ in range({5: 1, 2: 3}.get(next(rest, 0), 0)):
                next(rest, 0)
        elif number == 0 or number in _HARMLESS:
            yield number


def marked(line: str, width: int) -> list[str]:
    """``line`` in rows of ``width`` columns (0: in one), each with the mark, colours ended."""
    room = max(width - len(MARK), 1) if width else 0
    rows, row, at = [], "", 0
    colours: list[str] = []  # that are set, and set again in the next row
    for piece in re.findall(r"\x1b\[[0-9;]*m|[^\x1b]", line):
        if piece[0] == "\x1b":
            colours = [] if piece == _PLAIN else [*colours[-_MOST_COLOURS:], piece]
            row += piece
            continue
        if piece == "\t":
            piece = " " * (_TAB - at % _TAB)
        wide = columns(piece)
        if room and at + wide > room:
            rows.append(row)
            row, at = "".join(colours), 0
        row += piece[:room] if room else piece
        at += wide
    rows.append(row)
    return [MARK + row + (_PLAIN if "\x1b" in row else "") for row in rows]
