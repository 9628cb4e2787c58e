"""What follows from a look, where the source changes between two looks."""

from __future__ import annotations

import errno
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Optional

import pytest

from filerep.farend.abilities import Far
from filerep.farend.answers import Answers
from filerep.farend.batch import Batch
from filerep.farend.connection import Output
from filerep.farend.tools import Tools
from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.replica.known.ticks import Ticks
from filerep.replica.members import Members
from filerep.replica.options import Options, Removal, Transfer
from filerep.replica.planning.plan import Plan
from filerep.replica.planning.sides import Aside, Sides
from filerep.replica.planning.twins import Twins
from filerep.replica.scheduling.inflight import Sent
from filerep.replica.scheduling.queues import Paths
from filerep.replica.scheduling.restless import Restless
from filerep.replica.sending import Sender
from filerep.replica.transfer.economy import Economy
from filerep.replica.transfer.pace import Pace
from filerep.replica.transfer.reuse import Reuse
from filerep.source import Source


class Case:
    """A source of one directory ``d`` with the files ``x`` and ``y``, all of it sent."""

    def __init__(
        self, root: Path, twins: Callable[[Source], Optional[Twins]] = lambda _: None
    ) -> None:
        self.root = root / "source"
        (self.root / "d").mkdir(parents=True)
        self.table = Table()
        self.table.put_directory(b"d", entries.directory_entry(0o755, entries.OURS))
        for name in ("x", "y"):
            (self.root / "d" / name).write_text(name)
            status = os.lstat(self.root / "d" / name)
            path = f"d/{name}".encode()
            self.table.put(path, entries.entry(status, entries.OURS))
        self.source = Source(os.fsencode(self.root))
        self.later: list[bytes] = []
        self.errors: list[bytes] = []
        self.options = Options(Removal(), Transfer())
        self.economy = Economy(self.options, Pace(), lambda text: None)
        self.plan = Plan(
            Sides(self.source, self.table, deletes=True, complete=True),
            Aside(
                later=lambda path, wait: self.later.append(path),
                unreadable=lambda action, path, error: self.errors.append(path),
            ),
            reuse=Reuse(self.source, self.table, self.economy),
            twins=twins(self.source),
        )

    def look(self, *paths: bytes) -> Batch:
        """One batch of ``paths`` and what they lead to; what has to wait is in ``later``."""
        queue = OrderedDict.fromkeys(paths)
        sent = Sent(Batch(b".filerep-x"))
        for _ in range(100):
            if not queue:
                return sent.batch
            path = queue.popitem(last=False)[0]
            if not self.plan.look(path, sent, queue):
                self.later.append(path)
        raise AssertionError(f"endless: {queue}")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_directory_that_went_takes_its_files_along(case: Case) -> None:
    os.rename(case.root / "d", case.root.parent / "away")
    batch = case.look(b"d")
    assert sorted(batch.deletions) == [b"d/x", b"d/y"]
    assert batch.removals == [b"d"]


def test_a_directory_that_goes_between_two_looks_is_looked_at_later(case: Case) -> None:
    """Its files are still seen by its descriptor, which ends when new records are read."""
    case.look(b"d/x")
    os.rename(case.root / "d", case.root.parent / "away")
    case.look(b"d")
    assert case.later == [b"d"]
    case.source.forget_directories()
    assert case.look(b"d").removals == [b"d"]


def test_a_file_in_a_directorys_place_is_sent_though_it_is_seen_if_that_has_gone(
    case: Case,
) -> None:
    """A hunt found it, at a start: the file's name waited for a listing, and each look at it
    was taken for the one that is to show whether the directory has gone.
    """
    os.rename(case.root / "d", case.root.parent / "away")
    (case.root / "d").write_text("a file")
    case.plan.named(b"d", False)
    queue = OrderedDict[bytes, None]()
    case.plan.gone.verify(b"d/", queue)
    batch = case.look(*queue)
    assert sorted(batch.deletions) == [b"d/x", b"d/y"]
    assert [member.path for member in batch.members] == [b"d"]


@pytest.mark.parametrize("known", [True, False])
def test_a_file_in_place_of_what_was_named_as_a_directory_is_not_sent(
    known: bool, case: Case
) -> None:
    """By the rules `*`, `!*/` and `!*.py` every directory counts, and no file of that name."""
    path = b"d" if known else b"new"
    case.plan.named(path, True)
    if known:
        os.rename(case.root / "d", case.root.parent / "away")
    (case.root / path.decode()).write_text("a secret")
    case.source.forget_directories()
    first = case.look(path)
    assert not first.members
    assert sorted(first.deletions) == ([b"d/x", b"d/y"] if known else [])
    assert not case.look(path).members  # for whatever other reason
    case.plan.named(path, False)
    assert [member.path for member in case.look(path).members] == [path]


def test_a_file_that_nobody_named_in_a_directorys_place_is_not_sent(case: Case) -> None:
    """The rules ignore it, for all that is known."""
    os.rename(case.root / "d", case.root.parent / "away")
    (case.root / "d").write_text("a secret")
    queue = OrderedDict[bytes, None]()
    case.plan.gone.verify(b"d/", queue)
    batch = case.look(*queue)
    assert sorted(batch.deletions) == [b"d/x", b"d/y"]
    assert not batch.members


def test_a_directory_that_became_a_file_between_two_looks(case: Case) -> None:
    case.look(b"d/x")
    os.rename(case.root / "d", case.root.parent / "away")
    (case.root / "d").write_text("a file")
    case.look(b"d")
    assert case.later == [b"d"]
    case.source.forget_directories()
    batch = case.look(b"d")
    assert batch.removals == [b"d"]
    assert [member.path for member in batch.members] == [b"d"]


def test_a_path_is_planned_once_a_batch(case: Case) -> None:
    """Once torn and once whole, nobody could tell what the far end has."""
    (case.root / "new").write_text("new")
    queue: OrderedDict[bytes, None] = OrderedDict()
    sent = Sent(Batch(b".filerep-x"))
    assert case.plan.look(b"new", sent, queue)
    (case.root / "new").write_text("newer")
    assert not case.plan.look(b"new", sent, queue)
    (case.root / "new").unlink()
    (case.root / "new").mkdir()
    (case.root / "new/f").write_text("below")
    assert not case.plan.look(b"new/f", sent, queue)
    assert [member.path for member in sent.batch.members] == [b"new"]


def test_a_new_directory_that_went_is_looked_at_after_it_was_sent(case: Case) -> None:
    """Else it would stay at the far end, empty."""
    (case.root / "new").mkdir()
    (case.root / "new/f").write_text("f")
    sent = Sent(Batch(b".filerep-x"))
    assert case.plan.row(b"new", [b"new/f"], sent, Paths()) == 1
    os.rename(case.root / "new", case.root.parent / "away")
    assert case.plan.row(b"", [b"new"], sent, Paths()) == 0


def test_what_changes_under_a_look_is_no_error(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case.root / "link").symlink_to("x")

    def target(path: bytes) -> bytes:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(case.source, "target", target)
    case.look(b"link")
    assert case.later == [b"link"] and not case.errors


def test_what_is_planned_while_a_batch_is_sent_has_the_last_word(case: Case) -> None:
    """A file that went while the batch it is in was sent, and came back as it had been."""
    path = case.root / "came"
    path.write_text("v1")
    case.table.put(b"came", entries.entry(os.lstat(case.root / "d/x"), entries.LISTED))
    batch, ahead = Sent(Batch(b".filerep-x")), Sent(Batch(b".filerep-x"))
    assert case.plan.look(b"came", batch, Paths())

    class Out(Output):
        def add(self, piece: bytes) -> None:
            if path.exists():  # as Dispatch.meanwhile does
                path.unlink()
                assert case.plan.look(b"came", ahead, Paths())

    far = Far("staging=.filerep-x tar=gnu list=find")
    restless = Restless(time.monotonic, lambda path: 0.0, lambda: None)
    with open(os.devnull, "r+b") as nowhere:
        out = Out(nowhere.fileno(), Answers(nowhere.fileno(), far), 0)
        members = Members(
            case.source,
            far.precise,
            out,
            case.economy,
            restless,
            lambda action, path, error: None,
        )
        ticks = Ticks(case.source, os.uname().release)
        Sender(case.table, far, out, case.economy, members, ticks).send(batch)
    assert ahead.batch.deletions == restless.owe() == [b"came"]
    assert case.table.get(b"came") is None


def test_what_came_to_be_where_something_had_gone_is_not_sent_for_that(
    case: Case,
) -> None:
    """It may be ignored by now, and then git has never listed it."""
    queue: OrderedDict[bytes, None] = OrderedDict()
    case.plan.gone.verify(b"new/", queue)  # which the far end has not got
    assert not queue
    case.look(b"d/x")
    case.plan.gone.verify(b"d/", queue)
    os.rename(case.root / "d", case.root.parent / "away")
    (case.root / "d").write_text("secret")
    case.source.forget_directories()
    batch = case.look(b"d")
    assert not batch.members and batch.removals == [b"d"]
    case.plan.gone.verify(b"d/", queue)
    case.plan.named(b"d", False)  # which is a reason to send it
    assert [member.path for member in case.look(b"d").members] == [b"d"]


def test_what_is_taken_from_another_path_is_removed_there_at_once(case: Case) -> None:
    """It is taken by a link: until the other name goes, both would be one file."""
    case.economy.tools = Tools("sum=sha1sum")
    case.options.transfer.whole_file = False
    content = "a line\n" * 500
    for path in ("d/moved", "d/other"):
        (case.root / path).write_text(content)
        status = os.lstat(case.root / path)
        case.table.put(path.encode(), entries.entry(status, entries.OURS))
    os.rename(case.root / "d/moved", case.root / "d/there")
    batch = case.look(b"d/there")
    assert [m.way.verb for m in batch.reused if m.way] == [b"take"]
    assert batch.deletions == [b"d/moved"]
    assert case.table.get(b"d/moved") is None
    os.rename(case.root / "d/other", case.root / "d/again")
    os.link(case.root / "d/again", case.root / "d/other")
    batch = case.look(b"d/again")
    assert b"take" not in [m.way.verb for m in batch.reused if m.way]
    assert not batch.deletions


def test_a_record_that_something_has_gone_takes_nothing_back(case: Case) -> None:
    """What was named before it is sent, though it waits in the same queue."""
    case.look(b"d/x")
    os.rename(case.root / "d", case.root.parent / "away")
    (case.root / "d").write_text("a file")
    case.source.forget_directories()
    queue: OrderedDict[bytes, None] = OrderedDict({b"d": None})
    case.plan.gone.verify(b"d/", queue)
    assert [member.path for member in case.look(b"d").members] == [b"d"]


def test_a_file_that_is_emptied_again_and_again_is_sent_as_it_is(case: Case) -> None:
    until = time.monotonic() + 5
    sent = False
    while not sent:
        assert time.monotonic() < until
        os.truncate(case.root / "d/x", 1)
        os.truncate(case.root / "d/x", 0)
        sent = bool(case.look(b"d/x").members)
    assert case.later  # it was given a moment
