"""A batch as a gzip stream: every gunzip reads it, dd can count it, what does not shrink is stored."""

from __future__ import annotations

import gzip
import os
import random
import subprocess

import pytest
from farends import need

from filerep.archive.gzipstream import BLOCK, GzipStream

TEXT = b"the same words again and again\n" * 20_000
NOISE = random.Random(1).randbytes(300_000)
UNPACKERS = ["gzip -dc", "busybox gzip -dc", "toybox gunzip -c", "bsdcat"]
CASES = {
    "nothing": [],
    "a byte": [b"x"],
    "text": [TEXT],
    "noise": [NOISE],
    "both, in turns": [TEXT, NOISE, b"small", NOISE[:100], TEXT[:5000], NOISE],
    "many small pieces": [b"%d\n" % number for number in range(3000)],
}


def stream(pieces: list[bytes], level: int = 3) -> bytes:
    packed = GzipStream(level)
    for piece in pieces:
        packed.add(piece)
    return packed.end()


@pytest.mark.parametrize("level", [1, 6])
@pytest.mark.parametrize("name", CASES)
def test_it_is_whole_blocks_and_holds_what_was_added(name: str, level: int) -> None:
    packed = stream(CASES[name], level)
    assert len(packed) % BLOCK == 0
    assert gzip.decompress(packed) == b"".join(CASES[name])


def test_whatever_its_length_the_last_block_is_filled() -> None:
    for size in range(600):
        packed = stream([NOISE[:size]])
        assert len(packed) % BLOCK == 0 and gzip.decompress(packed) == NOISE[:size]


@pytest.mark.parametrize("words", UNPACKERS)
def test_each_gunzip_reads_it(words: str) -> None:
    need(words.split()[0])
    pieces = CASES["both, in turns"]
    done = subprocess.run(words.split(), input=stream(pieces), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"".join(pieces)


def test_text_shrinks_and_noise_does_not_grow() -> None:
    assert len(stream([TEXT])) < len(TEXT) / 50
    assert len(stream([NOISE])) < len(NOISE) + 1000
    assert len(stream([TEXT, NOISE])) < len(NOISE) + len(TEXT) / 50 + 1000


def test_over_the_slowest_links_what_lies_between_pictures_shrinks() -> None:
    # 3 kB of headers for each, which were stored with it.
    archive = (bytes(3000) + NOISE[:30_000]) * 9
    assert len(stream([archive], 3)) > len(archive)
    assert len(stream([archive], 6)) < 9 * 31_000


def test_a_memoryview_is_taken_as_it_is_then() -> None:
    memory = bytearray(os.urandom(5000))
    packed = GzipStream(1)
    packed.add(memoryview(memory))
    before = bytes(memory)
    memory[:] = bytes(5000)
    assert gzip.decompress(packed.end()) == before
