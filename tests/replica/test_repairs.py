"""What is known after the far end could not do all of a batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from filerep.command import Stop
from filerep.farend.batch import Batch, Operation
from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.repairs import Mender
from filerep.replica.scheduling.failures import Failures, Retry
from filerep.replica.scheduling.inflight import Sent
from filerep.replica.transfer.retained import Retained
from filerep.replica.undo import Undo


class Case:
    """A table, what is retained, and a batch of one directory ``d`` that is not answered."""

    def __init__(self) -> None:
        self.table = Table()
        self.retained = Retained()
        self.again: list[bytes] = []
        self.failures = Failures(print)
        self.sent = Sent(Batch(b".filerep-x"))
        self.sent.entries = [(b"d/", entries.directory_entry(0o755, entries.OURS))]
        self.table.put_directory(b"d", self.sent.entries[0][1])

    def mend(self, word: str, verb: bytes, path: bytes, directory: bytes) -> set[bytes]:
        """What is unapplied after ``word`` was answered for ``path``, or ``directory``."""
        operation = Operation(verb, [path])
        self.sent.batch.numbered = [(operation, directory), (operation, path)]
        self.sent.trouble = [(word, int(word == "stale"), "")]
        return self.mender().mend(self.sent)

    def mender(self) -> Mender:
        inventory: Any = type("", (), {"doubt": lambda self: None})()
        return Mender(
            Undo(self.table),
            self.table,
            inventory,
            self.failures,
            print,
            self.again.extend,
            lambda path: None,
            self.retained,
        )


@pytest.fixture
def value(tmp_path: Path) -> bytes:
    (tmp_path / "f").touch()
    return entries.entry(os.lstat(tmp_path / "f"), entries.OURS)


def test_a_wrong_guess_in_a_new_directory_is_forgotten_alone(value: bytes) -> None:
    # What came with it was forgotten too, and stayed over there once it was removed here.
    case = Case()
    case.sent.batch.directories = [(b"d", 0o755)]
    for path in (b"d/guess", b"d/other"):
        case.sent.entries.append((path, value))
        case.table.put(path, value)
    assert case.mend("stale", b"all take", b"d/guess", b"") == {b"d/guess"}
    assert case.again == [b"d/guess"]
    assert case.table.get(b"d/other") == value
    guessed = case.table.get(b"d/guess")
    assert guessed and entries.marks(guessed) & entries.UNSURE


def test_a_directory_that_stays_for_what_failed_in_it_is_still_ours(
    value: bytes,
) -> None:
    # It was forgotten in the state file: after another start nobody removed it any more.
    case = Case()
    case.sent.removed = [b"d/f", b"d/"]
    case.sent.batch.deletions, case.sent.batch.removals = [b"d/f"], [b"d"]
    dels, dirs = Operation(b"del", [b"d/f"]), Operation(b"rmd", [b"d"])
    case.sent.batch.numbered = [(dels, b"d/f"), (dirs, b"d")]
    case.sent.trouble = [("bad", 0, "Input/output error"), ("kept", 1, "")]
    assert case.mender().mend(case.sent) == {b"d/f", b"d"}
    case.sent.trouble = [("kept", 1, "")]  # it holds what was made there
    case.failures.why.clear()
    case.table.remove(b"d")
    assert case.mender().mend(case.sent) == set()


def test_what_a_file_did_not_take_the_place_of_is_not_forgotten(value: bytes) -> None:
    # Its removal was void, and so was the file's way into the place of the directory it is in.
    # It was moved aside then as what somebody else had made, and stayed.
    case = Case()
    mender = case.mender()
    case.table.put(b"d", value)  # by a batch that is not answered
    case.sent.removed = [b"d/e/f", b"d/e/", b"d/"]
    numbered = [(Operation(b"del", [b"lost/f", b"d/e/f"]), b"lost")]
    numbered += [
        (Operation(b"rmd", [b"d/e"]), b"d/e"),
        (Operation(b"rmd", [b"d"]), b"d"),
    ]
    case.sent.batch.numbered = numbered
    case.sent.trouble = [("lost", 0, ""), ("kept", 1, ""), ("kept", 2, "")]
    mender.mend(case.sent)
    sent = Sent(Batch(b".filerep-x"))
    sent.entries = [(b"d", value)]
    sent.batch.add(b"d", os.lstat(__file__), b"", [])
    sent.batch.numbered = [(Operation(b"put", [b"d"]), b"d")]
    sent.trouble = [("bad", 0, "Directory not empty")]
    mender.mend(sent)
    left = case.table.get(b"d/e/f")
    assert left and entries.marks(left) & entries.OURS and case.table.get(b"d") is None


def test_a_mode_that_was_refused_is_tried_once_more() -> None:
    # By a system that had no descriptor left for a moment, say: the mode stayed wrong for good.
    case = Case()
    mender = case.mender()
    case.sent.batch.modes = [(b"d", 0o755)]
    case.sent.batch.numbered = [(Operation(b"mod", [b"d"]), b"d")]
    case.sent.trouble = [("mode", 0, "")]
    assert mender.mend(case.sent) == {b"d"} and case.again == [b"d"]
    unsure = case.table.get_directory(b"d")
    assert unsure and entries.marks(unsure) & entries.UNSURE
    assert mender.mend(case.sent) == set() and case.again == [b"d"]


def test_what_is_not_retained_after_all_is_not_looked_for_again(value: bytes) -> None:
    # A link in a directory's place over there: nothing could be retained from it, and the
    # file was to be made of that for ever.
    case = Case()
    case.retained.add(b"gone/f", entries.signed(value, b"signature"), case.sent.batch)
    assert case.retained.find(b"d/f", 0, b"signature")
    case.sent.entries.append((b"d/f", value))
    case.table.put(b"d/f", value)
    lost = b".filerep-x/.retained/0"
    assert case.mend("lost", b"all copy", b"d/f", lost) == {b"d/f"}
    assert case.again == [b"d/f"]
    assert not case.retained.find(b"d/f", 0, b"signature")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (0, "it was unpacked, and is gone"),
        (2, "its tar ended with 2"),
        (137, "its tar was killed by signal 9"),
    ],
)
def test_why_all_of_a_batch_failed_is_told_where_nothing_was_said(
    status: int, why: str
) -> None:
    # Told with no reason, and at once, for what is none of the path's fault.
    case = Case()
    case.sent.retry = Retry([b"f"], 0.5, "")
    case.sent.batch.deletions.append(b"f")
    case.mender().failed(case.sent, status, "")
    assert case.failures.why == {b"f": why}
    assert case.failures.take().mixed
    about_nothing = Sent(Batch(b".filerep-x"))  # but to list what is there, say
    with pytest.raises(Stop, match=f"the far end failed: {why}"):
        case.mender().failed(about_nothing, status, "")


def test_a_retry_that_is_lost_with_another_batch_goes_on_where_it_was() -> None:
    # It began anew, at once: two files that kill tar, both under way, did so for ever.
    case = Case()
    case.sent.retry = Retry([b"f"], 1.0, "its tar was killed", mixed=True)
    case.sent.batch.deletions.append(b"f")
    case.sent.unapplied = True
    assert case.mender().mend(case.sent) == {b"f"}
    assert not case.again and case.failures.why == {b"f": "its tar was killed"}
    retry = case.failures.take()
    assert (retry.paths, retry.wait, retry.mixed) == ([b"f"], 1.0, True)
