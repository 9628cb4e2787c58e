"""tar members as bytes: GNU headers every tar reads alike.

GNU headers with ``L`` and ``K`` records for long names, because pax ``path`` records are
not safe: bsdtar changes NFD names and fails in the C locale. A pax ``x`` record holds the
modification time only, and only where it has a fraction. tarfile is not used: it passes
times through floats, which rounds them, and takes twice as long a member.
"""

from __future__ import annotations

import os
from functools import lru_cache
from struct import Struct
from zlib import adler32 as _adler32

BLOCK = 512
RECORD = 10240  # tar reads and writes 20 blocks at a time, unless told otherwise
LARGE_RECORD = 262_144  # what fr-pack writes at once; half or twice that is slower

FILE = b"0"
SYMLINK = b"2"
DIRECTORY = b"5"
PAX = b"x"
PAX_GLOBAL = b"g"
LONG_NAME = b"L"
LONG_TARGET = b"K"

_OWNER = b"0000000\x000000000\x00"  # uid and gid 0, which -o or a plain user ignore
_MAGIC = b"ustar  \x00"  # GNU's old magic, without which L and K mean nothing

# name; mode, owner, size and mtime; checksum; kind; target; magic; then user, group, device and
# prefix, all empty. Each field is cut to its width and filled with zeros.
_header = Struct("100s48s8s1s100s8s247s").pack


def padding(size: int) -> bytes:
    """The zeros that fill ``size`` bytes of data up to a whole block."""
    return _ZEROS[: -size % BLOCK]


_ZEROS = bytes(BLOCK)
_CHECKSUM = 148  # where the first of its six octal digits stands
_ZERO = ord("0")
_MOST_SUM = 0o77777  # toybox 0.8.9 takes no header with more: see member


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
    if 0 <= size < 8**11 and 0 <= mtime < 8**11:
        # One formatting instead of three: a tenth of what a small member costs.
        numbers = b"%07o\0%s%011o\0%011o\0" % (mode, _OWNER, size, mtime)
    else:
        fields = (mode, _OWNER, _number(size, 12), _number(mtime, 12))
        numbers = b"%07o\0%s%s%s" % fields
    name, target = name[:100], target[:100]
    # The sum of all bytes. The lower half of Adler-32 is one more than a sum, modulo 65521,
    # which these fields cannot reach, and takes a tenth of sum()'s time.
    total = _adler32(target, _adler32(numbers, _adler32(name + kind))) & 0xFFFF
    field = b"%06o\0 " % (total + _SUM)
    return _header(name, numbers, field, kind, target, _MAGIC, b"")


# The checksum's own field counts as spaces; see header for the 1.
_SUM = sum(b"        " + _MAGIC) - 1


@lru_cache(maxsize=1024)
def _record_header(kind: bytes, name: bytes, size: int) -> bytes:
    return header(name, kind, size=size)  # all mtime records share one or two of these


def _record(kind: bytes, name: bytes, data: bytes) -> bytes:
    size = len(data)
    return b"%s%s%s" % (_record_header(kind, name, size), data, padding(size))


_PAX_TIME = _record_header(PAX, b"././@PaxHeader", 30) + b"30 mtime="
_PAX_FILL = b"\n" + padding(30)
_precise_header = Struct(
    f"{len(_PAX_TIME)}s20s{len(_PAX_FILL)}s100s48s8s1s100s8s247s"
).pack


def pax_record(keyword: bytes, value: bytes) -> bytes:
    """``LENGTH keyword=value\\n``, LENGTH counting itself (POSIX pax, "Extended Header")."""
    rest = len(keyword) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) + rest != length:
        length += 1
    return b"%d %s=%s\n" % (length, keyword, value)


def file_member(name: bytes, status: os.stat_result, precise: bool = True) -> bytes:
    """``member`` for a regular file as ``status`` shows it.

    What nearly all files have in common is put together in one go, in half the time.
    """
    size = status.st_size
    seconds, fraction = divmod(status.st_mtime_ns, 1_000_000_000)
    mode = status.st_mode & 0o777
    if (
        fraction
        and precise
        and len(name) <= 100
        and 1_000_000_000 <= seconds < 8**11
        and size < 8**11
    ):
        numbers = b"%07o\0%s%011o\0%011o\0" % (mode, _OWNER, size, seconds)
        total = (_adler32(numbers, _adler32(name + FILE)) & 0xFFFF) + _SUM
        if total <= _MOST_SUM:
            time = b"%d.%09d" % (seconds, fraction)
            field = b"%06o\0 " % total
            return _precise_header(
                _PAX_TIME, time, _PAX_FILL, name, numbers, field, FILE, b"", _MAGIC, b""
            )
    return member(name, FILE, mode, size, status.st_mtime_ns, precise=precise)


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
    main = header(name, kind, mode, size, seconds, target)
    fraction = fraction if precise else 0
    # What has many bytes beyond ASCII goes into records, whose data is in no checksum.
    crowded = main[_CHECKSUM] != _ZERO
    if crowded:
        main = header(b"x", kind, mode, size, seconds, b"x" if target else b"")
    if len(name) <= 100 and len(target) <= 100 and not crowded:
        if not fraction:
            return main
        if 1_000_000_000 <= seconds < 10_000_000_000:
            # As below, for the years 2001 to 2286, in which the record's length is known.
            time = b"%d.%09d" % (seconds, fraction)
            return b"".join((_PAX_TIME, time, _PAX_FILL, main))
    parts = []
    if fraction:
        if seconds >= 0:
            value = b"%d.%09d" % (seconds, fraction)
        else:
            whole, part = divmod(-mtime_ns, 1_000_000_000)
            value = b"-%d.%09d" % (whole, part)
        parts.append(_record(PAX, b"././@PaxHeader", pax_record(b"mtime", value)))
    if len(target) > 100 or crowded and target:
        parts.append(_record(LONG_TARGET, b"././@LongLink", target + b"\0"))
    if len(name) > 100 or crowded:
        parts.append(_record(LONG_NAME, b"././@LongLink", name + b"\0"))
    parts.append(main)
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


def end(length: int, record: int = RECORD) -> bytes:
    """What ends an archive of ``length`` bytes: two zero blocks, up to a whole ``record``."""
    return bytes(2 * BLOCK + -(length + 2 * BLOCK) % record)
