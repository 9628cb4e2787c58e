"""CONTRIBUTING.md leads to files that are there, and leaves no room out."""

from __future__ import annotations

import re

import pytest
from programs import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
PICTURE = PAGE.split("    filerep/\n", 1)[1].split("\n\n", 1)[0]
HOUSE = sorted(
    path
    for path in (ROOT / "filerep").rglob("*")
    if path.suffix in (".py", ".sh") and not path.name.startswith("__")
)
WORDS = re.findall(r"^\| ([a-z][^|]*?) \|", PAGE.split("\n## Words\n")[1], re.MULTILINE)


def test_the_picture_shows_every_module() -> None:
    names = [path.name for path in HOUSE if path.suffix == ".py"]
    assert not [name for name in names if not re.search(rf"\b{name}", PICTURE)]


def test_what_the_page_names_is_there() -> None:
    modules = set(re.findall(r"[\w/]*\w\.(?:py|sh)\b", PAGE))
    others = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("release/*.py")]
    there = [str(path.relative_to(ROOT)) for path in others]
    there += [str(path.relative_to(ROOT)) for path in HOUSE]
    missing = {
        name
        for name in modules
        if not any(f"/{path}".endswith(f"/{name}") for path in there)
    }
    assert not missing


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
