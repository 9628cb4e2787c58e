"""What one of many far ends is yet to be told: records in, pipes out, no processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from filerep.pathstream import Decoder, encode
from filerep.wrapper.each import feeds
from filerep.wrapper.each.feeds import Feed, Spool

MOST = 50


class Reader:
    """The reading ends of a feed's pipes."""

    def __init__(self, walks: bool, rests: bool = False) -> None:
        (self.bulk, to_bulk), (self.urgent, to_urgent) = os.pipe(), os.pipe()
        for fd in (self.bulk, self.urgent):
            os.set_blocking(fd, False)
        self.feed = Feed(to_bulk, to_urgent, walks, rests)
        self._decoders = {self.bulk: Decoder(), self.urgent: Decoder()}

    def read(self, fd: int) -> list[bytes]:
        """The records that come while both take what is there."""
        found: list[bytes] = []
        while fds := self.feed.fds():
            before = len(found)
            self.feed.write(set(fds))
            found += self._taken(fd)
            if len(found) == before and self.feed.wants_walk:
                break
        return found + self._taken(fd)

    def _taken(self, fd: int) -> list[bytes]:
        try:
            return self._decoders[fd].feed(os.read(fd, 1 << 20))
        except BlockingIOError:
            return []

    def close(self) -> None:
        self.feed.close()
        os.close(self.bulk)
        os.close(self.urgent)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Of a far end that has been told of all there was."""
    monkeypatch.setattr(feeds, "_MOST", MOST)
    reader = Reader(walks=True)
    reader.feed.walk(spooled())
    reader.read(reader.bulk)
    yield reader
    reader.close()


def spooled(*paths: bytes, ended: bool = True) -> Spool:
    spool = Spool()
    spool.add(encode(paths))
    spool.ended = ended
    return spool


def test_each_path_is_kept_once_in_the_order_it_came(reader: Reader) -> None:
    reader.feed.name([b"a", b"b"])
    reader.feed.name([b"c", b"a"])
    assert reader.read(reader.urgent) == [b"a", b"b", b"c"]
    reader.feed.name([b"a"])
    assert reader.read(reader.urgent) == [b"a"]


def test_a_sync_point_comes_behind_all_that_was_named(reader: Reader) -> None:
    reader.feed.name([b"a"])
    reader.feed.sync_point()
    reader.feed.name([b"b"])
    reader.feed.sync_point()
    assert reader.read(reader.urgent) == [b"a", b"b", b"."]


def test_what_is_walked_is_read_by_each_at_his_own_pace() -> None:
    one, other = Reader(walks=True), Reader(walks=True)
    spool = Spool()
    one.feed.walk(spool)
    other.feed.walk(spool)
    spool.add(b"first\0cut")
    assert one.read(one.bulk) == [b"first"]
    spool.add(b" here\0last\0")
    assert one.read(one.bulk) == [b"cut here", b"last"]
    spool.ended = True
    assert one.read(one.bulk) == []
    assert os.read(one.bulk, 1) == b""  # its end
    names = other.read(other.bulk)
    assert names == [b"first", b"cut here", b"last"]
    one.close()
    other.close()


def test_a_record_may_be_longer_than_what_is_read_at_once() -> None:
    path = b"d/" * 100_000 + b"f"
    spool = spooled(b"a", path, b"b")
    data, at = b"", 0
    while some := spool.read(at):
        assert some.endswith(b"\0")
        data, at = data + some, at + len(some)
    assert data == encode([b"a", path, b"b"])


def test_a_walk_that_was_killed_leaves_no_half_record() -> None:
    spool = Spool()
    spool.add(b"whole\0secret.k")
    spool.cut()
    spool.add(b"whole\0secret.key\0")
    assert spool.read(0) == b"whole\0whole\0secret.key\0"


def test_beyond_a_bound_a_walk_names_what_has_changed(reader: Reader) -> None:
    feed = reader.feed
    feed.name([b"%d" % number for number in range(MOST + 1)])
    feed.name([b"more"])
    assert reader.read(reader.urgent) == []
    assert feed.wants_walk
    feed.walk(spooled(b"x", b"y"))
    assert not feed.wants_walk
    assert reader.read(reader.urgent) == [b"./", b"x", b"y"]
    feed.name([b"z"])
    assert reader.read(reader.urgent) == [b"z"]


def test_nothing_is_walked_for_one_that_does_not_read(reader: Reader) -> None:
    feed = reader.feed
    feed.name([b"%d" % number + b"-" * 4000 for number in range(MOST)])
    for _ in range(5):
        feed.write(set(feed.fds()))
    feed.name([b"%d" % number for number in range(MOST + 1)])
    assert not feed.wants_walk
    feed.write(set(feed.fds()))
    assert not feed.wants_walk  # the pipe is full
    reader.read(reader.urgent)
    assert feed.wants_walk


def test_a_save_goes_before_what_is_walked_and_a_sync_point_behind(
    reader: Reader,
) -> None:
    feed = reader.feed
    feed.sync_point()
    feed.lose()
    assert reader.read(reader.urgent) == []
    spool = spooled(b"x", ended=False)
    feed.walk(spool)
    feed.name([b"saved"])
    assert reader.read(reader.urgent) == [b"./", b"saved", b"x"]
    spool.add(b"y\0")
    spool.ended = True
    assert reader.read(reader.urgent) == [b"y", b"."]


def test_one_whose_reader_has_gone_keeps_nothing(reader: Reader) -> None:
    os.close(reader.urgent)
    feed = reader.feed
    feed.name([b"a"])
    feed.write(set(feed.fds()))
    feed.name([b"%d" % number for number in range(MOST + 1)])
    assert feed.fds() == [] and not feed.wants_walk
    reader.urgent = os.open(os.devnull, os.O_RDONLY)


def test_one_that_is_not_connected_yet_costs_no_walk_and_keeps_nothing() -> None:
    reader = Reader(walks=True, rests=True)
    feed = reader.feed
    feed.name([b"a"])
    feed.lose()
    assert feed.fds() == [] and not feed.wants_walk
    feed.connected()
    assert feed.wants_walk
    feed.walk(spooled(b"x"))
    feed.name([b"b"])
    assert reader.read(reader.bulk) == [b"x"]
    reader.close()


def test_without_a_walk_all_is_kept_from_the_beginning() -> None:
    reader = Reader(walks=False, rests=True)
    reader.feed.name([b"a"])
    assert not reader.feed.wants_walk
    assert reader.read(reader.urgent) == [b"a"]
    assert os.read(reader.bulk, 1) == b""
    reader.close()
