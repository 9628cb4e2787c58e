"""A fuzz test: one try, with many seeds, each printed before it can fail.

FILEREP_HUNT=SECONDS goes on for so long, FILEREP_SEED=N begins with that seed.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

HUNT = float(os.environ.get("FILEREP_HUNT") or 0)


def hunts(test: Callable[..., None]) -> Callable[..., None]:
    """It goes on for as long as it is told to, and is found by `-k hunt`."""
    marked: Any = pytest.mark.timeout(HUNT + 120)(test)
    return pytest.mark.hunt(marked)  # type: ignore[no-any-return]


def each_seed(count: int, one: Callable[[random.Random], None]) -> None:
    """Try ``one``, with seeds never tried before."""
    seed = first = int(os.environ.get("FILEREP_SEED") or random.randrange(1 << 40))
    print(f"\nseeds from {first}", flush=True)
    deadline = time.monotonic() + HUNT
    while seed < first + count or time.monotonic() < deadline:
        try:
            one(random.Random(seed))
        except Exception as error:
            raise AssertionError(f"FILEREP_SEED={seed}: {error}") from error
        seed += 1
    if HUNT:
        print(f"{seed - first} seeds from {first}", flush=True)


def spoil(good: bytes, dice: random.Random) -> bytes:
    """``good``, damaged in one of the ways that files are."""
    data = bytearray(good)
    at = dice.randrange(len(data))
    until = min(len(data), at + dice.choice([1, 4, 60, 500]))
    way = dice.randrange(9)
    if way == 0:
        for _ in range(dice.choice([1, 2, 8])):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif way == 1:
        data[at:until] = dice.choice(
            [bytes(until - at), b"\xff" * (until - at), dice.randbytes(until - at)]
        )
    elif way == 2:
        del data[at:]
    elif way == 3:
        del data[at:until]
    elif way == 4:
        piece = data[at:until]
        at = dice.randrange(len(data))
        data[at:at] = piece
    elif way == 5:
        data[at:at] = dice.randbytes(dice.randrange(1, 3000))
    elif way == 6:
        data += bytes(dice.randrange(5000))
    elif way == 7:
        data = data[at:] + data[:at]
    else:
        data[at:until] = data[at:until][::-1]
    return bytes(data)
