"""One digest for all that has to be told apart."""

from __future__ import annotations

try:
    # hashlib, which has the same function, loads OpenSSL first: longer than all we hash.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

BYTES = 16


def digest(data: bytes) -> bytes:
    """BLAKE2b of ``data``, 16 bytes."""
    return blake2b(data, digest_size=BYTES).digest()
