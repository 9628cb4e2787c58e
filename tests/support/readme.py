"""The code blocks of README.md and docs/, and the help texts in them, which this script renews."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
README = ROOT / "README.md"
RECIPES = ROOT / "docs/recipes.md"
HELP = re.compile(r"<!-- help: (\S+) (\S+) -->\n(?:\n```text\n.*?\n```\n)?", re.DOTALL)


class Block(NamedTuple):
    heading: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Every code block with a language, and the heading it stands under."""
    found = []
    heading = ""
    lines = iter(page.read_text().splitlines())
    for line in lines:
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
        elif line.startswith("```") and line != "```":
            text = []
            for inner in lines:
                if inner == "```":
                    break
                text.append(inner)
            found.append(Block(heading, line[3:], "\n".join(text) + "\n"))
    return found


def help_of(program: str, option: str = "--help") -> str:
    words = [sys.executable, str(ROOT / "bin" / program), option]
    env = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        words, check=True, capture_output=True, text=True, env=env
    ).stdout


def refreshed(text: str) -> str:
    """``text`` with each program's help as it is now."""

    def block(found: re.Match[str]) -> str:
        said = help_of(found[1], found[2])
        return f"{found[0].splitlines()[0]}\n\n```text\n{said}```\n"

    return HELP.sub(block, text)


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text()))
