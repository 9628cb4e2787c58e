"""Sizes, durations, names and lines as a person reads them, and how wide they are."""

from __future__ import annotations

from filerep.wrapping import columns

_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_LEAST_NAME = 12  # columns: enough of a path's end to know it by


def size(count: float) -> str:
    """``count`` bytes as a person reads it, in powers of 1000."""
    number, unit = _scaled(count)
    return "1 byte" if (number, unit) == ("1", "bytes") else f"{number} {unit}"


def size_of(count: float, whole: float) -> str:
    """How many bytes of how many: ``11 of 43 MB``."""
    number, unit = _scaled(count)
    if unit == _scaled(whole)[1]:
        return f"{number} of {size(whole)}"
    return f"{size(count)} of {size(whole)}"


def _scaled(count: float) -> tuple[str, str]:
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    digits = 0 if unit == "bytes" or count >= 9.95 else 1
    return f"{count:.{digits}f}", unit


def duration(ms: float) -> str:
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 99_950:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def countdown(seconds: float) -> str:
    """Time that is left, which is never known to a fraction."""
    return f"{seconds:.0f} s" if seconds < 99.5 else duration(seconds * 1000)


def files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def ending(name: str, width: int) -> str:
    """``name``, or of one that is wider than ``width`` as much of its end as fits."""
    if columns(name) <= width:
        return name
    quote = name[:1] if name[:1] == "'" else ""
    kept = name
    width = max(width, _LEAST_NAME) - len(quote) - len("...")
    while columns(kept) > width:
        kept = kept[1:]
    return f"{quote}...{kept}"


def beginning(text: str, width: int) -> str:
    """``text``, or of one that is wider than ``width`` as much as fits."""
    if columns(text) <= width:
        return text
    room = max(width - len("..."), 0)
    text = text[:room]
    while columns(text) > room:
        text = text[:-1]
    return f"{text}..."


def bare(name: str) -> str:
    """A quoted ``name`` without quotes, if none of its characters could be mistaken."""
    inner = name[1:-1]
    plain = all(one.isalnum() or one in "_-+.@/" for one in inner)
    return inner if inner and plain else name
