"""What the stages say, and what follows from it."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from filerep.wrapper.processes import Processes
from filerep.wrapper.stderr import Errors

NOBODY: Any = SimpleNamespace(line=lambda text: None, tell=lambda *_, **__: None)


@pytest.mark.parametrize(
    ("said", "missed"),
    [
        ("fr-watch: cannot read 'd': no\nfr-walk: cannot open 'd': no\n", False),
        ("fr-watch: cannot read 'd': no\nfr-walk: cannot open 'e': no\n", True),
        ("fr-watch: cannot read 'd': one\nfr-walk: cannot open 'd': another\n", True),
        ("fr-walk: cannot read 'd': no\n", True),
        ("fr-watch: cannot read 'd': no\n", False),
    ],
)
def test_what_fr_walk_alone_could_not_read_is_told_once(
    said: str, missed: bool
) -> None:
    processes = Processes()
    reader, writer = processes.pipe()
    errors = Errors(processes, NOBODY, NOBODY, reader, -1)
    os.write(writer, said.encode())
    assert errors.only_walk_missed() == missed
    assert not errors.only_walk_missed()
    processes.close(reader, writer)
