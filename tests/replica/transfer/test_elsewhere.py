"""Which files over there are looked at for one that was moved or copied."""

from __future__ import annotations

import os
import time
from pathlib import Path

from operations import exchange

from filerep.farend.tools import Tools
from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.options import Options, Removal, Transfer
from filerep.replica.transfer.economy import Economy
from filerep.replica.transfer.elsewhere import Elsewhere
from filerep.replica.transfer.pace import Pace
from filerep.replica.transfer.signing import Signing
from filerep.source import Source

FILES = 1000


def finder(root: Path) -> tuple[Table, Elsewhere]:
    table, source = Table(), Source(os.fsencode(root))
    economy = Economy(Options(Removal(), Transfer()), Pace(), print)
    economy.tools = Tools("sum=sha1sum unzip= attributes=")
    signing = Signing(source, table, economy)
    return table, Elsewhere(source, table, economy, signing)


def moving(root: Path, size: int, step: int) -> float:
    """Seconds that it takes to find each of many files whose directory was renamed."""
    (root / "old").mkdir(parents=True)
    table, elsewhere = finder(root)
    for number in range(FILES):
        path = root / f"old/{number}"
        path.write_bytes(b"%05d" % number + bytes(size + step * number))
        status = path.lstat()
        table.put(b"old/%d" % number, entries.entry(status, entries.OURS))
    (root / "old").rename(root / "new")
    began = time.process_time()
    for number in range(FILES):
        path = root / f"new/{number}"
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            way = elsewhere.find(b"new/%d" % number, file.fileno(), status)
        assert way is not None and way.source == b"old/%d" % number
        assert way.verb == b"take"
    return time.process_time() - began


def test_many_files_of_one_size_are_found_as_soon_as_others(tmp_path: Path) -> None:
    # Each was compared with each other: 10,000 that were moved took minutes.
    others = moving(tmp_path / "others", 300, 1)
    assert moving(tmp_path / "alike", 300, 0) < 3 * others


def test_two_files_that_changed_places_are_found_though_nothing_is_signed(
    tmp_path: Path,
) -> None:
    # As between two runs: both were sent whole.
    table, elsewhere = finder(tmp_path)
    for name, size in (("a", 3000), ("b", 5000)):
        (tmp_path / name).write_bytes(bytes(size))
        status = (tmp_path / name).lstat()
        table.put(name.encode(), entries.entry(status, entries.OURS))
    exchange(bytes(tmp_path / "a"), bytes(tmp_path / "b"))
    for path, other in ((b"a", b"b"), (b"b", b"a")):
        with open(os.fsencode(tmp_path) + b"/" + path, "rb") as file:
            way = elsewhere.find(path, file.fileno(), os.fstat(file.fileno()))
        assert way is not None and (way.verb, way.source) == (b"copy", other)
