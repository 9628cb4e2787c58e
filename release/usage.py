"""A program's usage text, taken apart: what its manual and its completion are made of.

The text is the docstring of the program's module, read without running it. Its form is that of
docopt with these habits: a heading is a line that begins at the margin with a capital and ends
with a colon; below it come paragraphs at the margin, and indented blocks. An indented block is
a list if its first line has a term, two blanks or more, and an explanation; else it is shown as
it is.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import List, NamedTuple, Tuple, Union

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    "file-replicator": "replicate",
    "fr-pack": "pack",
    "fr-walk": "walk",
    "fr-watch": "watch",
}
_HEADING = re.compile(r"[A-Z][^.:`]{0,60}:$")
_TERM = re.compile(r"(\S.*?)(?: {2,}(\S.*))?$")


class Paragraph(NamedTuple):
    text: str


class Literal(NamedTuple):
    lines: List[str]


class Definitions(NamedTuple):
    """Pairs of a term and its explanation."""

    terms: List[Tuple[str, str]]


Block = Union[Paragraph, Literal, Definitions]


class Section(NamedTuple):
    heading: str  # "" for what describes the program
    blocks: List[Block]


class Option(NamedTuple):
    short: str
    long: str
    value: str  # what it is called; "" for none
    again: bool  # may be given more than once
    text: str


class Usage(NamedTuple):
    program: str
    summary: str
    synopsis: List[str]
    sections: List[Section]
    options: List[Option]


def read(program: str) -> Usage:
    """The usage of ``program``, from its source."""
    path = ROOT / "filerep" / f"{MODULES[program]}.py"
    return parse(program, ast.get_docstring(ast.parse(path.read_text())) or "")


def version() -> str:
    """What `filerep.__version__` is, without running it."""
    found = re.search(r'"([0-9.]+)"', (ROOT / "filerep/__init__.py").read_text())
    assert found is not None
    return found[1]


def parse(program: str, text: str) -> Usage:
    summary, _, rest = text.strip().partition("\n\n")
    summary = summary.removeprefix(f"{program}: ").rstrip(".").replace("\n", " ")
    sections = []
    heading = ""
    lines: List[str] = []
    blank = True
    for line in [*rest.splitlines(), "", "End:"]:
        if blank and _HEADING.fullmatch(line):
            sections.append(Section(heading, blocks(lines)))
            heading, lines = line[:-1], []
        else:
            # The synopsis ends with a blank line, and what describes the program begins.
            if heading == "Usage" and not line:
                sections.append(Section(heading, blocks(lines)))
                heading, lines = "", []
            lines.append(line)
        blank = not line
    sections = [section for section in sections if section.blocks]
    usage = next(section for section in sections if section.heading == "Usage")
    synopsis = forms(program, usage)
    others = [section for section in sections if section is not usage]
    return Usage(program, summary, synopsis, others, options(others, synopsis))


def forms(program: str, section: Section) -> List[str]:
    """Each way to call the program, on one line."""
    words: List[str] = []
    for block in section.blocks:
        assert isinstance(block, Literal), block
        words += [word for line in block.lines for word in line.split()]
    return [
        f"{program}{form}"
        for form in re.split(rf"(?:^| ){program}(?= )", " ".join(words))[1:]
    ]


def blocks(lines: List[str]) -> List[Block]:
    found: List[Block] = []
    chunk: List[str] = []
    for line in [*lines, ""]:
        # A paragraph and an indented block may follow each other without a blank line.
        other = bool(chunk) and bool(line) and (line[0] == " ") != (chunk[0][0] == " ")
        if chunk and (not line or other):
            found.append(block(chunk))
            chunk = []
        if line:
            chunk.append(line)
    return joined(found)


def block(lines: List[str]) -> Block:
    if lines[0][0] != " ":
        return Paragraph(" ".join(lines))
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    lines = [line[margin:] for line in lines]
    first = _TERM.fullmatch(lines[0])
    assert first is not None
    if not (first[2] or lines[0].startswith("-")):
        return Literal(lines)
    terms: List[Tuple[str, str]] = []
    for line in lines:
        if line[0] == " " and terms:
            term, said = terms.pop()
            terms.append((term, f"{said} {line.strip()}".strip()))
        else:
            match = _TERM.fullmatch(line)
            assert match is not None
            terms.append((match[1], match[2] or ""))
    return Definitions(terms)


def joined(found: List[Block]) -> List[Block]:
    """``found``, lists that only a blank line parts being one."""
    all_: List[Block] = []
    for one in found:
        last = all_[-1] if all_ else None
        if isinstance(one, Definitions) and isinstance(last, Definitions):
            last.terms.extend(one.terms)
        else:
            all_.append(one)
    return all_


def options(sections: List[Section], synopsis: List[str]) -> List[Option]:
    found = []
    for section in sections:
        for block_ in section.blocks:
            if isinstance(block_, Definitions):
                for term, text in block_.terms:
                    if term.startswith("-"):
                        found.append(option(term, text, synopsis))
    return found


def option(term: str, text: str, synopsis: List[str]) -> Option:
    short = long = value = ""
    for word in re.split(r"[ ,=]+", term):
        if word.startswith("--"):
            long = word
        elif word.startswith("-"):
            short = word
        else:
            value = word
    again = any(
        re.search(rf"\[{long or short}[^]]*\]\.\.\.", form) for form in synopsis
    )
    return Option(short, long, value, again, text)
