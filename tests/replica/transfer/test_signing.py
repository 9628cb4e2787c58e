"""Signatures of what was there at the start, made while nothing else is to be done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from filerep.farend.tools import Tools
from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.options import Options, Removal, Transfer
from filerep.replica.transfer import signing as signing_module
from filerep.replica.transfer.economy import Economy
from filerep.replica.transfer.pace import Pace
from filerep.replica.transfer.signature import Signer
from filerep.replica.transfer.signing import Signing
from filerep.source import Source

SIZE = 40_000_003
AT_ONCE = SIZE // 5


def signing(root: Path) -> tuple[Table, Signing]:
    """Of a tree in which a large file is `large`, which the far end has as it is."""
    with open(root / "large", "wb") as file:
        file.truncate(SIZE - 3)
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    table, source = Table(), Source(os.fsencode(root))
    table.put(b"large", entries.entry((root / "large").lstat(), entries.OURS))
    economy = Economy(Options(Removal(), Transfer(whole_file=False)), Pace(), print)
    economy.tools = Tools("sum=sha1sum unzip= attributes=")
    return table, Signing(source, table, economy)


def bytes_read() -> int:
    """So many were read by this process, proc(5)."""
    words = Path("/proc/self/io").read_text().split()
    return int(words[words.index("rchar:") + 1])


def test_a_save_waits_for_no_more_than_a_part_of_a_large_file(tmp_path: Path) -> None:
    # A save made in the first moments waited for all of it: of 4 GB up to 20 seconds.
    table, one = signing(tmp_path)
    more = True
    while more:
        before = bytes_read()
        more = one.sign_one()
        assert bytes_read() - before < AT_ONCE
    signer = Signer()
    signer.feed((tmp_path / "large").read_bytes())
    value = table.get(b"large")
    assert value is not None and entries.signature(value) == signer.signature()


def test_a_file_that_changes_meanwhile_is_not_signed(tmp_path: Path) -> None:
    table, one = signing(tmp_path)
    assert one.sign_one()
    with open(tmp_path / "large", "r+b") as file:
        file.write(b"begin")
    while one.sign_one():
        pass
    value = table.get(b"large")
    assert value is not None and not entries.signature(value)


def test_of_small_files_those_written_last_are_signed_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None was, so of what a branch changed all went, if nothing had been sent before.
    monkeypatch.setattr(signing_module, "_SMALL_BYTES", 30_500)
    table, one = signing(tmp_path)
    for number in range(10):
        path = tmp_path / f"{number}"
        path.write_bytes(bytes(5000))
        os.utime(path, (1000, 1000 + number * 7 % 10))
        table.put(b"%d" % number, entries.entry(path.lstat(), entries.OURS))
    while one.sign_one():
        pass
    signed = [path for path, value in table.below(b"") if entries.signature(value)]
    youngest = sorted(range(10), key=lambda number: number * 7 % 10)[-6:]
    assert sorted(signed) == sorted([b"large", *(b"%d" % one for one in youngest)])
