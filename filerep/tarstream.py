"""tar members as bytes: GNU headers every tar reads alike.

GNU headers with ``L`` and ``K`` records for long names, because pax ``path`` records are
not safe: bsdtar changes NFD names and fails in the C locale. A pax ``x`` record holds the
modification time only, and only where it has a fraction. tarfile is not used: it passes
times through floats, which rounds them, and takes twice as long a member.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

BLOCK = 512
RECORD = 10240  # tar reads and writes 20 blocks at a time, unless told otherwise

FILE = b"0"
SYMLINK = b"2"
DIRECTORY = b"5"
PAX = b"x"
PAX_GLOBAL = b"g"
LONG_NAME = b"L"
LONG_TARGET = b"K"

_OWNER = b"0000000\x000000000\x00"  # uid and gid 0, which -o or a plain user ignore
_MAGIC = b"ustar  \x00"  # GNU's old magic, without which L and K mean nothing
_REST = bytes(BLOCK - 265)  # user, group, device, prefix: all empty
_SPACES = b"        "


def padding(size: int) -> bytes:
    """The zeros that fill ``size`` bytes of data up to a whole block."""
    return bytes(-size % BLOCK)


def _number(value: int, width: int) -> bytes:
    """A header's numeric field: octal, or GNU's base 256 where octal has no room.

    Base 256 also carries times before 1970 (two's complement, first bit set).
    """
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    raw = (value & ((1 << (8 * width)) - 1)) | (1 << (8 * width - 1))
    return raw.to_bytes(width, "big")


def header(
    name: bytes,
    kind: bytes,
    mode: int = 0o644,
    size: int = 0,
    mtime: int = 0,
    target: bytes = b"",
) -> bytes:
    """One 512-byte header block; ``name`` and ``target`` are cut to what fits.

    ``mode`` is permission bits, ``size`` in bytes, ``mtime`` in whole seconds.
    """
    front = b"%s%s%s%s%s" % (
        name[:100].ljust(100, b"\0"),
        b"%07o\0" % mode,
        _OWNER,
        _number(size, 12),
        _number(mtime, 12),
    )
    back = b"%s%s%s" % (kind, target[:100].ljust(100, b"\0"), _MAGIC)
    # The checksum is the sum of all bytes, its own field counted as spaces. The lower half
    # of Adler-32 is one more than that sum, modulo 65521, which the sum cannot reach: two
    # names of 100 bytes at 255 and some ninety digits. It takes a tenth of sum()'s time.
    checksum = (zlib.adler32(b"%s%s%s" % (front, _SPACES, back)) & 0xFFFF) - 1
    return b"%s%06o\0 %s%s" % (front, checksum, back, _REST)


@lru_cache(maxsize=1024)
def _record_header(kind: bytes, name: bytes, size: int) -> bytes:
    return header(name, kind, size=size)  # all mtime records share one or two of these


def _record(kind: bytes, name: bytes, data: bytes) -> bytes:
    size = len(data)
    return b"%s%s%s" % (_record_header(kind, name, size), data, padding(size))


def pax_record(keyword: bytes, value: bytes) -> bytes:
    """``LENGTH keyword=value\\n``, LENGTH counting itself (POSIX pax, "Extended Header")."""
    rest = len(keyword) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) + rest != length:
        length += 1
    return b"%d %s=%s\n" % (length, keyword, value)


def member(
    name: bytes,
    kind: bytes,
    mode: int,
    size: int = 0,
    mtime_ns: int = 0,
    target: bytes = b"",
    precise: bool = True,
) -> bytes:
    """All header blocks of one member; ``size`` bytes of data and padding must follow.

    ``mtime_ns`` is in nanoseconds. Unless ``precise``, its fraction is left out.
    """
    # Floored, also before 1970: a reader that knows no pax gets the second that began.
    seconds, fraction = divmod(mtime_ns, 1_000_000_000)
    parts = []
    if fraction and precise:
        if seconds >= 0:
            value = b"%d.%09d" % (seconds, fraction)
        else:
            whole, part = divmod(-mtime_ns, 1_000_000_000)
            value = b"-%d.%09d" % (whole, part)
        parts.append(_record(PAX, b"././@PaxHeader", pax_record(b"mtime", value)))
    if len(target) > 100:
        parts.append(_record(LONG_TARGET, b"././@LongLink", target + b"\0"))
    if len(name) > 100:
        parts.append(_record(LONG_NAME, b"././@LongLink", name + b"\0"))
    parts.append(header(name, kind, mode, size, seconds, target))
    return b"".join(parts)


def filler(size: int) -> bytes:
    """``size`` bytes, a multiple of 512, that every tar reads and ignores.

    A pax global record with a comment: GNU, bsdtar, busybox and toybox all pass over it
    and, unlike after zero blocks, go on reading.
    """
    if not size:
        return b""
    space = size - BLOCK
    data = b""
    if space:
        # The length field of the record grows with it, so the text is fitted to it.
        text = space - len(b"%d comment=\n" % space)
        data = pax_record(b"comment", b" " * text)
    return header(b"././@PaxHeader", PAX_GLOBAL, size=len(data)) + data


def end(length: int) -> bytes:
    """What ends an archive of ``length`` bytes: two zero blocks, up to a whole record."""
    return bytes(2 * BLOCK + -(length + 2 * BLOCK) % RECORD)
