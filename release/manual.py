"""A manual page from a usage text: man(7) for groff and mandoc alike."""

from __future__ import annotations

import re
from typing import List

from usage import MODULES, Block, Definitions, Literal, Paragraph, Usage, version


def page(usage: Usage) -> str:
    """The page of a program, section 1."""
    name = usage.program
    lines = [
        f'.TH {escaped(name.upper())} 1 "" "file-replicator {version()}" "User Commands"',
        ".nh",  # words stay whole, and blanks single: both are copied from here
        ".ad l",
        ".SH NAME",
        f"{escaped(name)} \\- {text(usage.summary[0].lower() + usage.summary[1:])}",
        ".SH SYNOPSIS",
    ]
    for form in usage.synopsis:
        lines += [f".HP\n\\fB{escaped(name)}\\fR{escaped(form[len(name):])}"]
    for section in usage.sections:
        lines.append(heading(section.heading))
        for block in section.blocks:
            lines += shown(block)
    others = [f"\\fB{escaped(other)}\\fR(1)" for other in MODULES if other != name]
    lines += [".SH SEE ALSO", ", ".join(others)]
    return "\n".join(merged(lines)) + "\n"


def heading(said: str) -> str:
    """Those of a group of options stand below that of all of them."""
    if said.startswith("Options "):
        return f".SS {escaped(said)}"
    return f".SH {escaped(said.upper() or 'DESCRIPTION')}"


def merged(lines: List[str]) -> List[str]:
    """``lines`` without a heading that repeats the one before it."""
    kept: List[str] = []
    last = ""
    for line in lines:
        if line.startswith(".SH "):
            if line == last:
                continue
            last = line
        kept.append(line)
    return kept


def shown(block: Block) -> List[str]:
    if isinstance(block, Paragraph):
        return [".PP", text(block.text)]
    if isinstance(block, Literal):
        return [".PP", ".nf", *map(escaped, block.lines), ".fi"]
    assert isinstance(block, Definitions)
    lines = []
    for term, said in block.terms:
        lines += [".TP", term_of(term), text(said) if said else "\\&"]
    return lines


def term_of(term: str) -> str:
    """Words that are typed as they are in bold, those that stand for others in italics."""
    words = []
    for word in term.split(" "):
        font = "I" if re.fullmatch(r"[A-Z][A-Z_]*\.*", word) else "B"
        words.append(f"\\f{font}{escaped(word)}\\fR")
    return " ".join(words)


def text(said: str) -> str:
    """Running text: what is in backquotes, and options, in bold."""
    parts = []
    for part in re.split(r"(`[^`]+`|(?<![\w-])--?[a-z][a-z-]*(?![\w-]))", said):
        if part[:1] in ("`", "-") and len(part) > 1:
            parts.append(f"\\fB{escaped(part.strip('`'))}\\fR")
        else:
            parts.append(escaped(part))
    whole = "".join(parts)
    # At the beginning of a line these two would be requests.
    return f"\\&{whole}" if whole[:1] in (".", "'") else whole


def escaped(said: str) -> str:
    said = said.replace("\\", "\\e").replace("-", "\\-")
    # An ASCII quote and a backquote, not typographic ones: they are to be copied.
    said = said.replace("'", "\\(aq").replace("`", "\\(ga").replace("~", "\\(ti")
    said = said.replace("^", "\\(ha")
    return f"\\&{said}" if said[:1] == "." else said
