"""How a file that has changed is made of what the far end holds."""

from __future__ import annotations

import os
import random
from pathlib import Path

from filerep.farend.batch import Batch
from filerep.farend.tools import Tools
from filerep.farend.ways import Way
from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.options import Options, Removal, Transfer
from filerep.replica.scheduling.inflight import Sent
from filerep.replica.transfer.economy import Economy
from filerep.replica.transfer.pace import Pace
from filerep.replica.transfer.reuse import Reuse
from filerep.replica.transfer.signature import Signer, block_of
from filerep.source import Source

OLD = random.Random(3).randbytes(300_000)


def sent(root: Path, marks: int, old: bytes = OLD) -> Reuse:
    """Of a tree with `f`, of which ``old`` was sent, and is in the table so."""
    path = root / "f"
    path.write_bytes(old)
    table, source = Table(), Source(os.fsencode(root))
    signer = Signer(block_of(len(old)))
    signer.feed(old)
    value = entries.entry(path.lstat(), marks)
    table.put(b"f", entries.signed(value, signer.signature()))
    economy = Economy(Options(Removal(), Transfer(whole_file=False)), Pace(), print)
    economy.tools = Tools("sum=sha1sum unzip= attributes=")
    return Reuse(source, table, economy)


def way(root: Path, marks: int, new: bytes, name: str = "f") -> Way | None:
    """How ``name`` goes, which is ``new``; OLD was sent of `f`."""
    reuse = sent(root, marks)
    (root / "new").write_bytes(new)
    (root / "new").rename(root / name)
    return reuse.way(os.fsencode(name), (root / name).lstat())


def test_a_second_save_a_moment_after_the_first_goes_in_parts(tmp_path: Path) -> None:
    # Where the kernel keeps coarse times, what was sent as soon as it was saved is UNSURE: the
    # next save of a large file, however little was new in it, was sent whole.
    for marks in (entries.OURS, entries.OURS | entries.UNSURE):
        found = way(tmp_path, marks, OLD[:9] + b"new" + OLD[12:])
        assert found is not None and found.verb == b"build"
        assert found.size < len(OLD) // 10


def test_of_what_was_just_saved_a_copy_is_copied_there(tmp_path: Path) -> None:
    found = way(tmp_path, entries.OURS | entries.UNSURE, OLD, "copied")
    assert found is not None and found.verb == b"copy" and found.source == b"f"


def test_what_is_only_touched_stays_where_it_is_though_it_is_retained_too(
    tmp_path: Path,
) -> None:
    # It was copied, digested and moved into place: 1,000 directories that were renamed and then
    # touched took three times as long.
    reuse = sent(tmp_path, entries.OURS)
    value = reuse._table.get(b"f")
    reuse.retained.add(b"before", value, Batch(b"stage"))
    (tmp_path / "f").touch()
    found = reuse.way(b"f", (tmp_path / "f").lstat())
    assert found is not None and found.verb == b"keep"


def test_what_was_moved_and_edited_is_built_of_what_it_was(tmp_path: Path) -> None:
    # A log that is moved aside, to which a line is written yet: all of it was sent.
    reuse = sent(tmp_path, entries.OURS)
    with open(tmp_path / "f", "ab") as file:
        file.write(b"one line more")
    (tmp_path / "f").rename(tmp_path / "moved")
    found = reuse.way(b"moved", (tmp_path / "moved").lstat())
    assert found is not None and (found.verb, found.source) == (b"build", b"f")
    assert found.size < 20_000


def test_what_goes_whole_while_the_machine_is_busy_goes_in_parts_the_next_time() -> (
    None
):
    # It had no signature then, so all of it went once more.
    pace = Pace(way=0.1)
    economy = Economy(Options(Removal(), Transfer()), pace, print)
    economy.tools = Tools("sum=sha1sum unzip=gzip attributes=")
    assert economy.reuses and economy.signs
    for start in range(4):  # compressing takes longer than the link
        answered(pace, start, took=0.4, size=300_000, packing=0.38)
    assert not economy.reuses and economy.signs
    for start in range(4, 8):
        answered(pace, start, took=0.12, size=8_000_000, packing=0.0)
    assert not economy.reuses and not economy.signs


def answered(pace: Pace, start: float, took: float, size: int, packing: float) -> None:
    sent = Sent(Batch(b"stage", pace.limit))
    sent.batch.bytes = sent.archive = size
    sent.started, sent.packed, sent.packing = start, packing > 0, packing
    sent.wire = size // 5 if sent.packed else size
    pace.answered(sent, start + took)


def test_a_perl_puts_more_parts_together_than_processes_do(tmp_path: Path) -> None:
    # A file of 1 MB that is edited in 300 places went whole.
    old = random.Random(4).randbytes(1_000_000)
    new = bytearray(old)
    for at in range(500, len(old), 3_000):
        new[at] ^= 1
    for perl, built in (("", False), ("perl", True)):
        reuse = sent(tmp_path, entries.OURS, old)
        reuse._economy.tools = Tools(f"sum=sha1sum unzip= attributes= perl={perl}")
        (tmp_path / "new").write_bytes(new)
        (tmp_path / "new").rename(tmp_path / "f")
        found = reuse.way(b"f", (tmp_path / "f").lstat())
        assert (found is not None and found.verb == b"build") == built
