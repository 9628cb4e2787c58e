"""Whether rules were edited while something waits: by what stat says of their files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from filerep.replica.scheduling.edited import Edited
from filerep.rules.ignore import load
from filerep.rules.sieve import Sieve
from filerep.source import Source


class Waiting:
    """Something waits to be sent from ``source``, and its own clock says for how long."""

    def __init__(self, base: Path) -> None:
        self.source = base / "source"
        self.home = base / "home"
        for place in (".git/info", ".git/objects", ".git/refs", "d/e", "d/.git/info"):
            (self.source / place).mkdir(parents=True)
        for place in ("d/.git/objects", "d/.git/refs"):
            (self.source / place).mkdir()
        for at in (self.source, self.source / "d"):
            (at / ".git/HEAD").write_text("ref: refs/heads/m\n")
            (at / ".git/index").write_text("")
        (self.home / "git").mkdir(parents=True)
        (self.source / ".gitignore").write_text("")
        self.now = 100.0
        # Its files have rested for long when it begins.
        self.ahead_ns = 10_000_000_000
        self.asked = 0
        root = os.fsencode(self.source)
        self.edited = Edited(
            Source(root),
            self.inputs,
            1.0,
            None,
            lambda: self.now,
            lambda: time.time_ns() + self.ahead_ns,
        )

    def inputs(self, directory: bytes) -> list[bytes]:
        self.asked += 1
        root = os.fsencode(self.source)
        environ = {b"XDG_CONFIG_HOME": os.fsencode(self.home)}
        rules = lambda: load(root, on_error=print, environ=environ)
        sieve = Sieve(root, rules(), rules, print, print)
        try:
            return sieve.inputs(directory)
        finally:
            sieve.close()

    def found(self, directory: bytes = b"d/e", after: float = 1.0) -> bool:
        self.now += after
        return self.edited.found(directory)


@pytest.fixture
def waiting(tmp_path: Path) -> Waiting:
    return Waiting(tmp_path)


def test_what_waits_no_longer_than_a_moment_costs_nothing(waiting: Waiting) -> None:
    (waiting.source / ".gitignore").write_text("x")
    assert not waiting.found(after=0.9)
    waiting.edited.end()
    assert not waiting.found() and not waiting.found(after=0.9)
    assert not waiting.asked


EDITS: dict[str, Callable[[Waiting], object]] = {
    "a .gitignore": lambda it: (it.source / "d/e/.gitignore").write_text("x"),
    "one above": lambda it: (it.source / ".gitignore").write_text("x"),
    "info/exclude": lambda it: (it.source / ".git/info/exclude").write_text("x"),
    "the user's": lambda it: (it.home / "git/ignore").write_text("x"),
    "settings": lambda it: (it.home / "git/config").write_text("[a]\nb = c\n"),
    "the index": lambda it: (it.source / ".git/index").write_text("x"),
    "an inner one's": lambda it: (it.source / "d/.git/info/exclude").write_text("x"),
    "an inner index": lambda it: (it.source / "d/.git/index").write_text("x"),
    "the end of one": lambda it: (it.source / "d/.git/HEAD").unlink(),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_is_found_once(what: str, waiting: Waiting) -> None:
    assert not waiting.found() and not waiting.found()
    EDITS[what](waiting)
    assert not waiting.found(after=0.1)  # each is looked at a few times a second
    assert waiting.found()
    assert not waiting.found()


def test_what_was_edited_before_it_was_looked_at_is_found_by_its_time(
    waiting: Waiting,
) -> None:
    waiting.edited.end()
    waiting.ahead_ns = 0
    assert not waiting.found()
    assert waiting.found()


def test_what_goes_on_beside_the_rules_is_no_edit(waiting: Waiting) -> None:
    assert not waiting.found() and not waiting.found()
    (waiting.source / "d/e/new").write_text("")
    (waiting.source / ".git/refs/heads").mkdir()
    (waiting.source / ".git/objects/aa").mkdir()
    assert not waiting.found()
