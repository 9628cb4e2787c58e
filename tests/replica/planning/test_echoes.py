"""A file that comes back as it was sent is not sent for ever."""

from __future__ import annotations

import os
from pathlib import Path

from programs import wait_for

from filerep.replica.known import entries
from filerep.replica.planning.echoes import Echoes
from filerep.source import Source


def comes_back(path: Path, text: str, mtime: int = 1_600_000_000_123_456_789) -> None:
    """It is a new file, as one that arrived, with the mtime that it had."""
    new = path.with_name("new")
    new.write_text(text)
    os.utime(new, ns=(0, mtime))
    new.rename(path)


def test_it_is_sent_once_and_then_while_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    comes_back(path, "one")
    echoes = Echoes(Source(bytes(tmp_path)), True)
    value = entries.entry(path.stat(), entries.OURS)

    def heard() -> bool:
        """Is it an echo? If it is not, it is sent."""
        told = echoes.heard(b"f", path.stat(), b"", value)
        found = echoes.asked(b"f")
        if not told and found is not None:
            echoes.arrived([b"f"], {b"f": found})
        return told

    comes_back(path, "one")
    assert not heard()
    comes_back(path, "one")
    assert heard() and heard()
    comes_back(path, "two")  # an edit that keeps size and mtime
    assert not heard()
    comes_back(path, "two")
    assert heard()
    comes_back(path, "two", mtime=1)
    assert not heard()


def test_a_file_that_is_looked_at_twice_before_it_is_sent_is_no_echo(
    tmp_path: Path,
) -> None:
    path = tmp_path / "f"
    comes_back(path, "one")
    echoes = Echoes(Source(bytes(tmp_path)), True)
    value = entries.entry(path.stat(), entries.OURS)
    comes_back(path, "two")
    for _ in range(3):
        assert not echoes.heard(b"f", path.stat(), b"", value)


def test_what_is_older_than_what_was_sent_waits_for_the_newer_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "f"
    comes_back(path, "one", mtime=5)
    echoes = Echoes(Source(bytes(tmp_path)), True)
    value = entries.entry(path.stat(), entries.OURS)
    comes_back(path, "one", mtime=6)
    assert not echoes.crosses(b"f", path.stat(), value)
    comes_back(path, "old", mtime=4)
    for _ in range(
        3
    ):  # somebody may have put it back; it may be large, and is looked at often
        assert not echoes.crosses(b"f", path.stat(), value)
    comes_back(path, "old", mtime=4)
    first = echoes.crosses(b"f", path.stat(), value)
    assert 0 < echoes.crosses(b"f", path.stat(), value) < first < 1
    wait_for(lambda: not echoes.crosses(b"f", path.stat(), value))
    assert not echoes.crosses(b"f", path.stat(), value)
    # What only a listing has shown, or an earlier run has sent, is not waited for.
    for bits in (entries.LISTED, entries.OURS | entries.UNSEEN):
        old = entries.marked(value, bits)
        assert not echoes.crosses(b"f", path.stat(), old)


def test_a_link_that_was_something_else_meanwhile_is_no_echo(tmp_path: Path) -> None:
    """Found by a hunt: such a link was not sent, where a tar sets no times of links."""
    link, file = tmp_path / "f", tmp_path / "file"
    link.symlink_to("a")
    file.write_text("a")
    echoes = Echoes(Source(bytes(tmp_path)), False)
    there = entries.entry(link.lstat(), entries.OURS)
    assert not echoes.heard(b"f", link.lstat(), b"a", there)
    echoes.arrived([b"f"], {b"f": echoes.asked(b"f") or b""})
    assert echoes.heard(b"f", link.lstat(), b"a", there)
    was_file = entries.entry(file.stat(), entries.OURS)
    assert not echoes.heard(b"f", link.lstat(), b"a", was_file)
    echoes.arrived([b"f"], {})  # another one, that nobody asked for
    assert not echoes.heard(b"f", link.lstat(), b"a", there)
