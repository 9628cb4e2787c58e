"""What pages and comments name is there, and CONTRIBUTING.md leaves no room out."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from programs import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
PICTURE = PAGE.split("    filerep/\n", 1)[1].split("\n\n", 1)[0]
HOUSE = sorted(
    path
    for path in (ROOT / "filerep").rglob("*")
    if path.suffix in (".py", ".sh") and not path.name.startswith("__")
)
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "filerep/farend/PROTOCOL.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
EXAMPLES = ("generated.py", "main.py")
OTHERS = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("release/*.py")]
THERE = "".join(f"{path}\n" for path in [*HOUSE, *PAGES, *OTHERS])
WORDS = re.findall(r"^\| ([a-z][^|]*?) \|", PAGE.split("\n## Words\n")[1], re.MULTILINE)


def test_the_picture_shows_every_module() -> None:
    names = [path.name for path in HOUSE if path.suffix == ".py"]
    assert not [name for name in names if not re.search(rf"\b{name}", PICTURE)]


@pytest.mark.parametrize("path", [*HOUSE, *PAGES], ids=lambda path: path.name)
def test_each_file_of_ours_that_is_named_is_there(path: Path) -> None:
    named = re.findall(r"(?<![\w/])[\w/]*\w\.(?:py|sh|md)\b", path.read_text())
    ours = {name for name in named if os.path.basename(name) not in EXAMPLES}
    assert not {name for name in ours if f"/{name}\n" not in THERE}


@pytest.mark.parametrize("line", [line for line in WORDS if line != "word"])
def test_a_word_that_is_explained_is_used(line: str) -> None:
    text = " ".join(path.read_text() for path in HOUSE).lower()
    text = re.sub(r"[\s#_]+", " ", text)
    for word in re.sub(r"\(.*?\)", "", line).split(","):
        word = word.strip().removeprefix("to ")
        assert re.search(rf"\b{re.escape(word.lower())}", text), word


def test_no_word_is_explained_twice() -> None:
    words = [word.strip() for line in WORDS for word in line.split(",")]
    assert {word for word in words if words.count(word) > 1} <= {"word"}
