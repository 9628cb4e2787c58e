"""Large batches are sent without copying them, where that can be done."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator

import pytest
from programs import wait_for

from filerep.archive import lentpages
from filerep.farend.abilities import Far
from filerep.farend.answers import Answers
from filerep.farend.connection import Output

FAR = Far("staging=.filerep-x tar=gnu list=find")

# A small one between two that are large enough.
BATCHES = [os.urandom(11 << 20), os.urandom(1000), os.urandom((11 << 20) + 1)]


class Carrier:
    """Output, and what comes out at the other end."""

    def __init__(self, reader: int, writer: int) -> None:
        self.got = bytearray()
        self._reader, self._writer = reader, writer
        answers, self._told = os.pipe()
        self.answers = Answers(answers, FAR)
        self.out = Output(writer, self.answers, 0)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while chunk := os.read(self._reader, 1 << 20):
            self.got += chunk

    def send(self, batch: bytes) -> list[int]:
        self.out.begin(len(batch))
        for at in range(0, len(batch), 10_000):
            self.out.add(batch[at : at + 10_000])
        return self.out.end()

    def answer(self, text: bytes) -> None:
        os.write(self._told, text)

    def close(self) -> None:
        self.out.free()
        os.close(self._writer)
        self._thread.join()
        for fd in (self._reader, self.answers.fd, self._told):
            os.close(fd)


@contextlib.contextmanager
def carrier(reader: int = -1, writer: int = -1) -> Iterator[Carrier]:
    if reader < 0:
        reader, writer = os.pipe()
    one = Carrier(reader, writer)
    try:
        yield one
    finally:
        one.close()


def assert_arrives(reader: int = -1, writer: int = -1) -> None:
    with carrier(reader, writer) as one:
        for batch in BATCHES:
            one.send(batch)
    assert one.got == b"".join(BATCHES)


@pytest.mark.parametrize("slots", [1, 30, 100])
def test_everything_arrives_in_order_however_much_can_be_lent(
    slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lentpages, "_SLOTS", slots)
    assert_arrives()


def test_pages_are_lent_to_pipes_only() -> None:
    here, there = socket.socketpair()
    assert_arrives(here.detach(), there.detach())


@pytest.mark.parametrize("missing", ["_splice", "_create"])
def test_where_there_is_no_such_call_all_is_copied(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lentpages, missing, None)
    assert_arrives()


def test_where_memory_is_short_all_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert_arrives()


def test_what_was_answered_is_lent_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given back while the next batch is sent, or after that, but never both."""
    monkeypatch.setattr(lentpages, "_SLOTS", 40)
    size = 12 << 20
    batches = [os.urandom(size) for _ in range(6)]
    with carrier() as one:
        lent: list[int] = []
        read = 0  # when so many bytes are

        def reclaim() -> bool:
            if not lent or len(one.got) < read:
                return False
            one.out.give_back(lent)
            lent.clear()
            return True

        one.out.reclaim = reclaim
        for batch in batches:
            now = one.send(batch)
            assert len(set(now)) == len(now), "lent twice at a time"
            wait_for(lambda: not lent or reclaim())
            lent += now
            read += size
        wait_for(reclaim)
        assert len(one.send(batches[0])) == 40, "not all were given back"
    assert one.got == b"".join([*batches, batches[0]])


@pytest.mark.parametrize(
    "text, told",
    [
        (b"ok 7\n", True),
        (b"bad 7 1 Permission denied\nok 7\n", True),
        (b"failed 7 2 tar: what ok 8 means\n", True),
        (b"ok 7", False),
        (b"ok 77\n", False),
        (b"ok 6\nbad 7 1 ok 7\n", False),
        (b"bad 7 1 failed 7 2\n", False),
        (b"", False),
    ],
)
def test_an_answer_is_known_by_its_line(text: bytes, told: bool) -> None:
    with carrier() as one:
        if text:
            one.answer(text)
        assert one.answers.told(7) == told
        taken = [line for _, line in one.answers.take()]
        assert b"".join(line + b"\n" for line in taken) == text[: text.rfind(b"\n") + 1]
