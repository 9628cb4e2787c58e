"""The benchmarks still run; how fast they find us is not asserted."""

from __future__ import annotations

import sys

import pytest
from farends import need
from programs import TESTS, run


@pytest.mark.parametrize(
    "names",
    [("pack", "switch", "start", "each"), ("restart", "watch", "memory"), ("wire",)],
    ids=" ".join,
)
def test_a_quick_run_prints_a_table(names: tuple[str, ...]) -> None:
    need("rsync")
    done = run([sys.executable, TESTS / "bench", "--quick", *names], timeout=110)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(b"| ")]
    assert len(rows) >= 2 + len(names), done.stdout
    assert b"not measured" not in done.stdout
