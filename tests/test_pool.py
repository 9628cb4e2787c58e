"""Large batches are sent without copying them, where that can be done."""

from __future__ import annotations

import errno
import os
import socket
import threading

import pytest

from filerep import pool
from filerep.link import Answers, Far, Output

# A small one between two that are large enough.
BATCHES = [os.urandom(9 << 20), os.urandom(1000), os.urandom((9 << 20) + 1)]


def arrived(reader: int, writer: int) -> bytes:
    """What comes out at ``reader`` of batches that are sent to ``writer``."""
    got = bytearray()

    def read() -> None:
        while chunk := os.read(reader, 1 << 20):
            got.extend(chunk)

    answers, told = os.pipe()
    out = Output(writer, Answers(answers, Far("stage=.filerep-x")), 0)
    carrier = threading.Thread(target=read)
    carrier.start()
    for batch in BATCHES:
        out.begin(len(batch))
        for at in range(0, len(batch), 10_000):
            out.add(batch[at : at + 10_000])
        out.end()
    out.free()
    os.close(writer)
    carrier.join()
    for fd in (reader, answers, told):
        os.close(fd)
    return bytes(got)


@pytest.mark.parametrize("slots", [1, 30, 100])
def test_everything_arrives_in_order_however_much_can_be_lent(
    slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_SLOTS", slots)
    assert arrived(*os.pipe()) == b"".join(BATCHES)


def test_pages_are_lent_to_pipes_only() -> None:
    here, there = socket.socketpair()
    assert arrived(here.detach(), there.detach()) == b"".join(BATCHES)


def test_where_there_is_no_splice_all_is_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "_splice", None)
    assert arrived(*os.pipe()) == b"".join(BATCHES)


def test_where_memory_is_short_all_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert arrived(*os.pipe()) == b"".join(BATCHES)
