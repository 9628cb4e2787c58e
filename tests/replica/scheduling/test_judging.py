"""What waits while the rules are edited is judged once more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from filerep.command import Stop
from filerep.replica.scheduling.judging import Judging, is_rule_file
from filerep.rules.ignore import Rules, load
from filerep.rules.sieve import Sieve
from filerep.source import Source

FILES = ["a", "b.log", "d/c.log", "d/e"]


@pytest.fixture
def judging(tmp_path: Path) -> Judging:
    (tmp_path / "d").mkdir()
    for path in FILES:
        (tmp_path / path).write_text(path)
    root = os.fsencode(tmp_path)

    def rules() -> Rules:
        return load(root, on_error=print)

    return Judging(Source(root), lambda: Sieve(root, rules(), rules, print, print))


def some(*paths: str) -> list[bytes]:
    return [path.encode() for path in paths]


def test_nothing_is_asked_for_before_the_rules_are_edited(
    judging: Judging, tmp_path: Path
) -> None:
    (tmp_path / ".gitignore").write_text("*\n")
    assert judging.sift(some("a", "b.log")) == some("a", "b.log")
    assert not judging.end()
    assert is_rule_file(b"d/.gitignore") and not is_rule_file(b"d/x.gitignore")


def test_what_is_ignored_by_then_is_left_out_and_what_has_gone_is_not(
    judging: Judging, tmp_path: Path
) -> None:
    (tmp_path / ".gitignore").write_text("*.log\n")
    assert not judging.edited()
    (tmp_path / "d/c.log").unlink()
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "a")  # which is never sent, so what was there has gone
    assert judging.sift(some(*FILES)) == some("a", "d/c.log", "d/e")
    assert not judging.end()
    assert judging.sift(some("b.log")) == some("b.log")  # fr-watch has judged it


def test_what_was_left_out_by_mistake_comes_after_all(
    judging: Judging, tmp_path: Path
) -> None:
    """The rules were read amid an edit that fr-watch has not seen: it would name none of them."""
    (tmp_path / ".gitignore").write_text("*\n")
    judging.edited()
    assert not judging.sift(some(*FILES))
    (tmp_path / ".gitignore").write_text("*.log\n")
    assert sorted(judging.end()) == some("a", "d/e")
    assert not judging.end()
    assert judging.minds
    (tmp_path / ".gitignore").write_text("d/\n")
    assert judging.edited() == some("b.log")
    (tmp_path / ".gitignore").unlink()
    assert judging.end() == some("d/c.log")
    assert not judging.end() and not judging.minds


def test_rules_that_cannot_be_read_hold_up_nothing(tmp_path: Path) -> None:
    def fail() -> Sieve:
        raise Stop(1, "no rules")

    judging = Judging(Source(os.fsencode(tmp_path)), fail)
    judging.edited()
    assert judging.sift(some("a")) == some("a")
    assert not judging.end()
