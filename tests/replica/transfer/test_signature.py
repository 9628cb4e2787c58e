"""Signatures: what of a file is still the same, wherever it stands by now."""

from __future__ import annotations

import hashlib
import random
import tempfile
import tracemalloc

import pytest

from filerep.replica.transfer.signature import (
    BLOCK,
    FINGERPRINT_BYTES,
    Comparison,
    Signer,
    block_of,
)

RANDOM = random.Random(5)
NOISE = RANDOM.randbytes(40 * BLOCK + 1234)
LOG = "".join(
    f"2026-11-26 14:{n % 60:02d} INFO request {n} took {RANDOM.randrange(999)} ms\n"
    for n in range(20_000)
).encode()
ZEROS = bytes(20 * BLOCK + 7)
TREES = {"noise": NOISE, "log": LOG, "zeros": ZEROS}


def sign(data: bytes, block: int = BLOCK, step: int = 1 << 20) -> bytes:
    signer = Signer(block)
    for at in range(0, len(data), step):
        signer.feed(data[at : at + step])
    return signer.signature()


def compare(
    old: bytes, new: bytes, block: int = BLOCK, new_block: int = 0
) -> Comparison:
    """Compares, and sees that the ranges make up the new file."""
    with tempfile.TemporaryFile() as file:
        file.write(new)
        file.flush()
        found = Comparison(sign(old, block), len(old), hashlib.sha1(), block, new_block)
        assert found.read(file.fileno(), len(new))
    pieces, at = [], 0
    for one in found.ranges:
        assert one.start == at and one.length > 0
        at += one.length
        if one.old < 0:
            pieces.append(new[one.start : one.start + one.length])
        else:
            assert one.old % (block // 4) == 0
            pieces.append(old[one.old : one.old + one.length])
    assert b"".join(pieces) == new
    assert found.digest.digest() == hashlib.sha1(new).digest()
    assert found.signature == sign(new, new_block or block)
    return found


def test_a_signature_is_a_thousandth_of_the_file() -> None:
    assert len(sign(NOISE)) == FINGERPRINT_BYTES * 41
    assert sign(b"") == b""
    assert len(sign(b"x")) == FINGERPRINT_BYTES


def test_it_takes_little_more_memory_while_it_is_made_or_compared() -> None:
    # It took four times as much, at either end: of a file of 100 GB some 800 MB.
    data = bytes(1 << 16)
    tracemalloc.start()
    try:
        signer = Signer(block=64)
        for _ in range(100):
            signer.feed(data)
        old = signer.signature()
        Comparison(old, 100 * len(data), hashlib.sha1(), 64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(old)


@pytest.mark.parametrize("step", [1, 7, 4096, BLOCK, BLOCK + 1])
def test_it_is_the_same_in_whatever_pieces_it_is_fed(step: int) -> None:
    data = NOISE[: 3 * BLOCK + 77] if step > 1 else NOISE[: BLOCK + 3]
    assert sign(data, step=step) == sign(data)


@pytest.mark.parametrize("data", TREES.values(), ids=TREES)
def test_what_is_the_same_holds_nothing_new(data: bytes) -> None:
    assert compare(data, data).new_bytes == 0


def edits(data: bytes) -> dict[str, tuple[bytes, int]]:
    """New contents, and how many bytes of them may be new."""
    middle, draw = len(data) // 2, random.Random(9)
    places = bytearray(data)
    for _ in range(10):
        at = draw.randrange(len(data) - 50)
        places[at : at + 40] = draw.randbytes(40)
    return {
        "appended": (data + b"x" * 1000, 1000),
        "appended much": (data + draw.randbytes(3 * BLOCK), 3 * BLOCK),
        "in the middle": (
            data[:middle] + b"\xee" * 140 + data[middle + 140 :],
            BLOCK // 2,
        ),
        "in ten places": (bytes(places), 10 * BLOCK // 2),
        "put before": (b"one line more\n" + data, 14),
        "put before, much": (draw.randbytes(2 * BLOCK + 5) + data, 2 * BLOCK + 5),
        "inserted": (data[:middle] + b"some words\n" + data[middle:], 2 * BLOCK),
        "cut at the front": (data[1000:], BLOCK),
        "cut in the middle": (data[:middle] + data[middle + 5000 :], 2 * BLOCK),
        "much written anew": (
            data[:150_000] + draw.randbytes(400_000) + data[400_000:],
            400_000 + 2 * BLOCK,
        ),
        "cut at the end": (data[:-5000], BLOCK),
        "its front at its end": (data[7 * BLOCK :] + data[: 7 * BLOCK], BLOCK),
        "pieces in another order": (
            data[100_000:200_000] + data[:100_000] + data[200_000:],
            5 * BLOCK,
        ),
    }


@pytest.mark.parametrize("edit", edits(NOISE))
@pytest.mark.parametrize("data", [NOISE, LOG], ids=["noise", "log"])
def test_only_what_is_new_is_new(data: bytes, edit: str) -> None:
    new, most = edits(data)[edit]
    assert compare(data, new).new_bytes <= most


QUARTER = BLOCK // 4


@pytest.mark.parametrize("size", [2 * QUARTER, BLOCK, 3 * QUARTER + 77, 3 * BLOCK - 9])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_what_is_put_in_or_cut_out_costs_the_quarter_it_is_in(
    size: int, part: float
) -> None:
    # All of the block behind it was new, and all of a file that is no larger.
    old, at = NOISE[:size], int(size * part)
    assert compare(old, old[:at] + b"a line\n" + old[at:]).new_bytes <= QUARTER + 7
    assert compare(old, old[:at] + old[at + 50 :]).new_bytes <= 2 * QUARTER


@pytest.mark.parametrize("size", [300, 2500, 9_000, 20_000, 50_000, 150_000, 600_000])
def test_an_edit_costs_about_the_root_of_the_size(size: int) -> None:
    # As with rsync. A quarter of 16 KiB was all of a small file, or most.
    block, old, half = block_of(size), NOISE[:size], size // 2
    part = max(512, 8 * size**0.5)
    new = old[:half] + b"a line\n" + old[half:]
    assert compare(old, new, block).new_bytes < part + 8


@pytest.mark.parametrize(
    "size, most",
    [
        (2_000, 16),
        (16_000, 128),
        (500_000, 2_000),
        (8_000_000, 16_000),
        (100_000_000, 100_000),
    ],
)
def test_a_signature_takes_little_memory(size: int, most: int) -> None:
    assert -(-size // block_of(size)) * FINGERPRINT_BYTES <= most


def test_a_file_that_grows_gets_larger_blocks() -> None:
    for old in (100, 2_000, 10_000, 16_384, 60_000, 130_000):
        for new in (old - 50, old + 50, 2 * old, 9 * old):
            found = compare(NOISE[:old], NOISE[:new], block_of(old), block_of(new))
            assert found.new_bytes <= max(0, new - old) + block_of(old)


@pytest.mark.parametrize("cut", [False, True])
def test_many_small_edits_of_a_large_log_cost_as_much_as_so_many(cut: bool) -> None:
    # All of it was searched for the blocks behind the first twenty, and what followed was new.
    draw = random.Random(3)
    old = b"".join(
        b"2026-11-26 14:%02d INFO request %d took %d ms\n" % (n % 60, n, n * n % 999)
        for n in range(100_000)
    )
    new = old
    for _ in range(80):
        at = draw.randrange(len(new))
        new = new[:at] + (new[at + 5 :] if cut else b"words" + new[at:])
    assert compare(old, new).new_bytes < 80 * BLOCK


@pytest.mark.parametrize("old, new", [(NOISE, b""), (b"", NOISE), (NOISE, NOISE[:9])])
def test_an_empty_or_tiny_file_is_no_trouble(old: bytes, new: bytes) -> None:
    compare(old, new)


def test_a_file_that_has_nothing_in_common_is_new() -> None:
    other = random.Random(77).randbytes(len(NOISE))
    assert compare(NOISE, other).new_bytes == len(other)


def test_a_file_that_is_shorter_than_it_was_looked_at_is_not_read() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(NOISE[:100])
        file.flush()
        found = Comparison(sign(NOISE), len(NOISE), hashlib.sha1())
        assert not found.read(file.fileno(), 200)


@pytest.mark.parametrize("seed", range(60))
def test_random_edits_of_small_files_with_tiny_blocks(seed: int) -> None:
    draw = random.Random(seed)
    alphabet = bytes(draw.choices(range(256), k=draw.choice((1, 2, 40))))
    old = bytes(draw.choices(alphabet, k=draw.randrange(3000)))
    new = bytearray(old)
    for _ in range(draw.randrange(6)):
        at = draw.randrange(len(new) + 1)
        kind = draw.randrange(4)
        if kind == 0:
            new[at:at] = draw.choices(alphabet, k=draw.randrange(200))
        elif kind == 1:
            del new[at : at + draw.randrange(300)]
        elif kind == 2:
            new[at : at + 20] = draw.randbytes(min(20, len(new) - at))
        else:
            piece = new[at : at + 500]
            del new[at : at + 500]
            to = draw.randrange(len(new) + 1)
            new[to:to] = piece
    compare(old, bytes(new), 64)
