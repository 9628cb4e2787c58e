"""What the far end says it holds, when asked by the commands below; PROTOCOL.md has both forms."""

from __future__ import annotations

import stat

from filerep.farend.shell import in_calls, shell_quote
from filerep.pathstream import inside, is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Tuple

    # name, type letter, permission bits, size, mtime in ns, symlink target
    Listed = Tuple[bytes, bytes, int, int, int, bytes]

_SECOND = 1_000_000_000
_LETTERS = {stat.S_IFREG: b"f", stat.S_IFLNK: b"l", stat.S_IFDIR: b"d"}

# stat(1) tells no target in a form that can be parsed; no symlink has this one.
_UNKNOWN_TARGET = b""

_LIST = {
    "find": rb"-path '*/.' -printf '\0\0%p\0' -o -printf '%y %m %s %T@ %f\0%l\0'",
    "stat": b"-exec stat -c '%f %s %Y %y %n//' {} +",
    "bsd": b"-exec stat -f '%p %z %Fm %N//' {} +",
}

# Two NULs in a row are met behind an empty target only, so `end` is no target here.
ENDS = {"find": b"\0\0end\0", "stat": b"end//\n", "bsd": b"end//\n"}
_SAY_END = {form: b"echo end//" for form in ENDS}
_SAY_END["find"] = rb"printf '\0\0end\0'"
_BEFORE_END = {"find": b"", "stat": b"//\n", "bsd": b"//\n"}
# The blanks in front of a record's path; a date has two.
_BLANKS = {"stat": 6, "bsd": 3}


# No listing goes through a symlink: once one stands where a directory was, each part of each
# path is looked at. All that is above a directory is asked for before it. What a find that was
# killed has not told would count as missing: another connection asks again.
_FUNCTIONS = rb"""
real() { p=${1%%/.}; until [ "$p" = . ]; do [ ! -L "$p" ] || return; p=${p%%/*}; done; }
look() { find "$@" -maxdepth 1 %s 2>"$null"; [ $? -le 128 ] || { echo 'its find was killed' >&2; exit; }; }
list() {
  closed=''
  for d; do
    [ ! -L "${d%%/.}" ] || links=1
    [ -r "$d" ] && [ -x "$d" ] || closed=1
  done
  if [ -z "$links" ]; then look "$@"; else
    for d; do if real "$d"; then look "$d"; fi; done
  fi
  [ "$closed" ] || return 0
  for d; do
    p=${d%%/.}
    if [ ! -d "$p" ] || { [ -r "$p" ] && [ -x "$p" ]; }; then continue; fi
    if real "$d"; then printf %s "$d"; fi
  done
}
links="""
# Behind the others, a directory that may not be looked into, which looks empty.
_CLOSED = {
    "find": rb"'\0\0%s\0!\0\0'",
    "stat": rb"'0 0 0 0 0 0 %s//\n!//\n'",
    "bsd": rb"'0 0 0 %s//\n!//\n'",
}


def commands(form: str, directories: Iterable[bytes]) -> list[bytes]:
    """What has a shell list ``directories``, sorted, and say the end marker."""
    words = [shell_quote(b"./%s/." % one if one else b"./.") for one in directories]
    lists = [b"list " + b" ".join(some) for some in in_calls(words)]
    functions = _FUNCTIONS % (_LIST[form], _CLOSED[form])
    return [functions, *lists, _SAY_END[form]]


def find_end(form: str, data: bytes | bytearray, start: int) -> int:
    """Where the end marker behind a listing begins in ``data``, -1 if not there yet.

    It stands at the very beginning or behind a record's end, which no name can hold.
    """
    if data.startswith(ENDS[form]):
        return 0
    marker = _BEFORE_END[form] + ENDS[form]
    at = data.find(marker, max(0, start - len(marker)))
    return at if at < 0 else at + len(_BEFORE_END[form])


def closed(body: bytes) -> bool:
    """Is that of a directory that could not be looked into?"""
    return body == b"!"


def bodies(form: str, data: bytes) -> dict[bytes, bytes]:
    """What was said of each directory that is there; `parse` reads it.

    It is the same while the directory holds the same, except for the order of its names,
    which a file system may change as it likes.
    """
    return dict(_split_find(data) if form == "find" else _split_stat(form, data))


def _split_find(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    for part in data.split(b"\0\0\0"):  # a target may have been empty, or not
        top, _, body = part.lstrip(b"\0").partition(b"\0")
        if top:
            yield top[2:-2], body.rstrip(b"\0")


def _split_stat(form: str, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    parts = data.split(b"/.//\n")
    for part, following in zip(parts, parts[1:]):
        # Behind the last record that is whole, the next directory's own begins.
        top = part.rpartition(b"//\n")[2].split(b" ", _BLANKS[form])[-1]
        yield top[2:], following.rpartition(b"//\n")[0]


def parse(form: str, body: bytes) -> list[Listed]:
    """Each entry's name, type letter, permissions, size, mtime in ns, and target.

    What cannot be parsed (a line of an error) is left out, and is sent then. So is what is
    no name: a far end that lists ``../x`` must not have us look there, or remove it.
    """
    found = _parse_find(body) if form == "find" else _parse_stat(form, body)
    return [one for one in found if is_name(one[0])]


def parse_find(data: bytes) -> dict[bytes, list[Listed]]:
    """The same for each directory in the output of ``find``, as given to --listing::

    find . -printf '%y %m %s %T@ %p\\0%l\\0'
    """
    found: dict[bytes, list[Listed]] = {b"": []}
    for path, letter, mode, size, mtime, target in _parse_find(data):
        path = path[2:]  # there is a ./ in front
        if inside(path):
            directory, _, name = path.rpartition(b"/")
            row = found.setdefault(directory, [])
            row.append((name, letter, mode, size, mtime, target))
    return found


def _parse_find(data: bytes) -> Iterator[Listed]:
    fields = data.split(b"\0")
    fields.append(b"")  # the last target, if it was empty and cut off
    for head, target in zip(fields[0::2], fields[1::2]):
        try:
            letter, mode, size, time, name = head.split(b" ", 4)
            seconds, _, fraction = time.partition(b".")
            # Before 1970 too: find writes -2.5 for a second and a half before it.
            mtime = _mtime(seconds, fraction)
            yield name, letter, _mode(mode[-5:], 8) & 0o7777, _size(size), mtime, target
        except ValueError:
            continue


def _parse_stat(form: str, data: bytes) -> Iterator[Listed]:
    for record in data.split(b"//\n"):
        try:
            if form == "bsd":
                raw, size, time, path = record.split(b" ", 3)
                clock = time
            else:
                raw, size, time, _, clock, _, path = record.split(b" ", 6)
            mode = _mode(raw[-8:], 8 if form == "bsd" else 16)
            mtime = _mtime(time.partition(b".")[0], clock.partition(b".")[2])
            letter = _LETTERS.get(stat.S_IFMT(mode), b"?")
            target = _UNKNOWN_TARGET if letter == b"l" else b""
            name = path.rpartition(b"/")[2]
            yield name, letter, mode & 0o7777, _size(size), mtime, target
        except ValueError:
            continue


# What is longer is no number of a file system's: it has 64 bits, and a sign.
_DIGITS = 20
_MOST = (1 << 63) - 1


def _mtime(seconds: bytes, fraction: bytes) -> int:
    """In ns; raises ValueError."""
    if len(seconds) > _DIGITS:
        raise ValueError
    whole = int(seconds)
    if not -_MOST <= whole <= _MOST:
        raise ValueError
    return whole * _SECOND + int(fraction[:9].ljust(9, b"0"))


def _mode(text: bytes, base: int) -> int:
    mode = int(text, base)
    if mode < 0:
        raise ValueError
    return mode


def _size(text: bytes) -> int:
    if len(text) > _DIGITS:
        raise ValueError
    size = int(text)
    if not 0 <= size <= _MOST:
        raise ValueError
    return size
