"""docs/security.md: each of its sentences names the tests that hold it."""

from __future__ import annotations

import re

import pytest
from programs import ROOT

CHAPTER = (ROOT / "docs/security.md").read_text().partition("\n")[2]
# A sentence, and what stands in the comment behind it.
PROMISES = re.findall(r"(.*?)<!--(.*?)-->", CHAPTER, re.DOTALL)
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
}
# What needs no test, or can have none: a window that the comments call RACE.
OTHERS = {"all below", "nothing is promised", "RACE"}


def test_the_page_ends_with_a_comment() -> None:
    assert len(PROMISES) > 10
    assert not CHAPTER.rpartition("-->")[2].strip()


@pytest.mark.parametrize("sentence, names", PROMISES)
def test_each_sentence_has_its_tests(sentence: str, names: str) -> None:
    said = " ".join(sentence.strip().lstrip("*").split())
    assert re.fullmatch(r"[^.]*(\.local[^.]*)?\.", said), "one sentence, one comment"
    if names.strip() not in OTHERS:
        assert set(names.split()) <= TESTS
