"""What the table says after the far end could not do all of a batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from filerep.farend.batch import Batch, Stanza
from filerep.replica import table as tables
from filerep.replica.repairs import Mender
from filerep.replica.sent import Sent
from filerep.replica.undo import Undo


def test_a_wrong_guess_in_a_new_directory_is_forgotten_alone(tmp_path: Path) -> None:
    # What came with it was forgotten too, and stayed over there once it was removed here.
    (tmp_path / "f").touch()
    value = tables.entry(os.lstat(tmp_path / "f"), tables.OURS)
    table = tables.Table()
    sent = Sent(Batch(b".filerep-x"))
    sent.batch.directories = [(b"d", 0o755)]
    sent.entries = [(b"d/", tables.directory_entry(0o755, tables.OURS))]
    sent.entries += [(b"d/guess", value), (b"d/other", value)]
    table.put_directory(b"d", sent.entries[0][1])
    for path, entry in sent.entries[1:]:
        table.put(path, entry)
    sent.batch.numbered = [(Stanza(b"all take", [b"d/guess"]), b"d/guess")]
    sent.trouble = [("stale", 0, "")]
    again: list[bytes] = []
    nothing: Any = None
    mender = Mender(
        Undo(table),
        table,
        nothing,
        nothing,
        print,
        again.extend,
        lambda path: None,
        nothing,
    )
    assert mender.mend(sent) == {b"d/guess"}
    assert again == [b"d/guess"]
    assert table.get(b"d/other") == value
    guessed = table.get(b"d/guess")
    assert guessed and tables.marks(guessed) & tables.UNSURE
