"""The patterns of gitignore(5), as git's wildmatch reads them, cut at their slashes.

git matches ``a/*/b`` against whole paths. Here a pattern becomes tuples of globs, one
for each part of a path, so that a walk can match one part at a time while it goes down
and forget the patterns that can no longer match. Everything is bytes, as it is in git.

wildmatch.c has corners that the manual does not tell, kept here because a file counts
if git says so (each was seen with git 2.39, and is a case in the tests):

* git before 2.52 compares the literal beginning of a pattern with a slash in it apart,
  and gives wildmatch only what follows. So the ``**`` of ``/foo**/bar`` stands at the
  beginning for wildmatch, and crosses slashes: ``foobar`` and ``foox/y/bar`` match.
* ``**\\/`` crosses slashes but does not match nothing at all, as ``**/`` does.
* A bracket expression never matches a slash, but a slash may stand in it.
* What is malformed (``[a``, ``[[:nope:]]``, a last backslash) matches nothing.
* With core.ignoreCase only some characters of a pattern are folded: ``[A]`` and ``\\A``
  match neither ``a`` nor ``A``.
"""

from __future__ import annotations

from itertools import groupby, product

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Union

    # One byte that must stand there, the bytes that may (a set of them takes 30 times as much
    # memory), or anything at all.
    Token = Union[int, bytes, None]
    Glob = tuple[Token, ...]

# No file system in use has longer names; a longer part of a pattern matches nothing, and
# would only make for a large regex.
LONGEST_NAME = 1024
#: Of a whole pattern; what is longer matches nothing. To read a megabyte of it takes a gigabyte.
LONGEST_PATTERN = 1 << 16
#: The longest literal worth searching for.
LONGEST = 64

STAR = None
#: The part ``**``: any number of parts; as the last, at least one.
DEEP: Glob = ()
#: The part between the slashes of ``a//b``, which no path has.
EMPTY: Glob = (b"",)

SLASH = b"/"  # marks between parts while a pattern is cut; no class holds a slash
ESCAPED_SLASH = b"\\/"
STARS = b"/**"

SPECIAL = b"*?[\\"
UPPER = frozenset(range(0x41, 0x5B))
LOWER = frozenset(range(0x61, 0x7B))
DIGIT = frozenset(range(0x30, 0x3A))
PRINT = frozenset(range(0x20, 0x7F))
# git's own tables (ctype.c), not the locale's: no vertical tab or form feed in space.
CLASSES = {
    b"alnum": UPPER | LOWER | DIGIT,
    b"alpha": UPPER | LOWER,
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset(range(0x20)) | {0x7F},
    b"digit": DIGIT,
    b"graph": PRINT - {0x20},
    b"lower": LOWER,
    b"print": PRINT,
    b"punct": PRINT - UPPER - LOWER - DIGIT - {0x20},
    b"space": frozenset(b" \t\n\r"),
    b"upper": UPPER,
    b"xdigit": DIGIT | frozenset(b"abcdefABCDEF"),
}
ANY = frozenset(range(1, 256)) - {0x2F}
ANY_ONE = bytes(sorted(ANY))


class Never(ValueError):
    """The pattern is malformed, or asks for what no path has: it matches nothing."""


def by_version(text: bytes) -> bool:
    """Does it depend on git's version what the pattern matches?"""
    literal, stars, _ = text.partition(b"**")
    return stars != b"" and literal[-1:] not in (b"", b"/") and not _is_wild(literal)


def _is_wild(text: bytes) -> bool:
    return len(text.translate(None, SPECIAL)) < len(text)


def split(
    text: bytes, fold: bool = False, before_2_52: bool = False
) -> list[tuple[Glob, ...]]:
    """``text``, a pattern without ``!`` and last slash, as alternatives of parts.

    No alternative means that it matches nothing. With ``fold`` the globs are to be
    matched against names in lower case.
    """
    if len(text) > LONGEST_PATTERN:
        return []
    if not fold and not _is_wild(text):  # most are, and a large tree has thousands
        if b"/" not in text:
            return [(DEEP, tuple(text))] if text else []
        parts = text[text[:1] == b"/" :].split(b"/")
        return [tuple([tuple(part) for part in parts])] if all(parts) else []
    try:
        if b"/" not in text:
            tokens, _ = scan(text, fold)
            glob = tuple(STAR if token is STARS else token for token in tokens)
            return [(DEEP, glob)] if 0 < len(glob) <= LONGEST_NAME else []
        text = text[1:] if text.startswith(b"/") else text
        tokens, literal = scan(text, fold)
    except Never:
        return []
    marked = _deep(tokens, literal if before_2_52 else 0)
    alternatives = (_collapse(parts) for parts in _cut(marked, 0, [], []))
    return [
        parts
        for parts in alternatives
        if EMPTY not in parts and max(map(len, parts)) <= LONGEST_NAME
    ]


def _collapse(parts: tuple[Glob, ...]) -> tuple[Glob, ...]:
    """``**/**`` is ``**``."""
    before = (None, *parts)
    return tuple(p for p, b in zip(parts, before) if p is not DEEP or b is not DEEP)


def _deep(tokens: Sequence[Token], literal: int) -> list[Token]:
    """``tokens`` where only runs that cross slashes are STARS; the others are one star."""
    out: list[Token] = []
    for at, token in enumerate(tokens):
        if token is not STARS:
            out.append(token)
            continue
        begins = at == literal or tokens[at - 1] in (SLASH, ESCAPED_SLASH)
        ends = at + 1 == len(tokens) or tokens[at + 1] in (SLASH, ESCAPED_SLASH)
        if not (begins and ends):
            out.append(STAR)
        elif out[-2:] == [STARS, SLASH]:
            out.pop()  # "**/**" is "**"; every one more would double the alternatives
        else:
            out.append(STARS)
    return out


def _cut(
    tokens: Sequence[Token], at: int, done: list[Glob], part: list[Token]
) -> Iterator[tuple[Glob, ...]]:
    """The alternatives that ``tokens[at:]`` adds behind ``done`` and a begun ``part``."""
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token is SLASH or token is ESCAPED_SLASH:
            done.append(tuple(part) or EMPTY)
            part = []
        elif token is STARS:
            if at == len(tokens):
                if part:
                    yield (*done, (*part, STAR))
                    done.append((*part, STAR))
                yield (*done, DEEP)
                return
            if tokens[at] is SLASH and part:
                yield from _cut(tokens, at + 1, [*done], [*part])
            if part or tokens[at] is ESCAPED_SLASH:
                done.append((*part, STAR))
            done.append(DEEP)
            part = []
            at += 1
        else:
            part.append(token)
    yield (*done, tuple(part) or EMPTY)


def scan(text: bytes, fold: bool) -> tuple[list[Token], int]:
    """The tokens of ``text``, and how many of them its literal beginning makes."""
    tokens: list[Token] = []
    literal = -1
    at = 0
    while at < len(text):
        byte = text[at]
        at += 1
        if literal < 0 and byte in SPECIAL:
            literal = len(tokens)
        if byte == 0x2F:
            tokens.append(SLASH)
        elif byte == 0x3F:
            tokens.append(ANY_ONE)
        elif byte == 0x5C:
            if at == len(text) or (fold and text[at] in UPPER):
                raise Never
            tokens.append(ESCAPED_SLASH if text[at] == 0x2F else text[at])
            at += 1
        elif byte == 0x5B:
            members, at = bracket(text, at, fold)
            tokens.append(members)
        elif byte == 0x2A:
            stars = at
            while text[at : at + 1] == b"*":
                at += 1
            tokens.append(STAR if at == stars else STARS)
        else:
            tokens.append(byte + 0x20 if fold and byte in UPPER else byte)
    return tokens, len(tokens) if literal < 0 else literal


def bracket(text: bytes, at: int, fold: bool) -> tuple[bytes, int]:
    """The bytes that the bracket expression at ``text[at]`` matches, and its end."""

    def look(where: int) -> int:
        if where >= len(text):
            raise Never
        return text[where]

    members: set[int] = set()
    negated = look(at) in b"!^"
    at += negated
    before = 0  # what a range may begin with
    while True:
        byte = look(at)
        if byte == 0x5C:
            at += 1
            before = look(at)
            members.add(before)
        elif byte == 0x2D and before and look(at + 1) != 0x5D:
            at += 1
            if look(at) == 0x5C:
                at += 1
            span = range(before, look(at) + 1)
            members.update(span)
            if fold:
                members.update(byte + 0x20 for byte in UPPER.intersection(span))
            before = 0
        elif byte == 0x5B and look(at + 1) == 0x3A:
            end = text.find(b"]", at + 2)
            if end < 0:
                raise Never
            if end == at + 2 or text[end - 1] != 0x3A:
                members.add(byte)
                before = byte
            else:
                name = text[at + 2 : end - 1]
                if name not in CLASSES:
                    raise Never
                members |= CLASSES[name]
                if fold and name == b"upper":
                    members |= LOWER
                at = end
                before = 0
        else:
            members.add(byte)
            before = byte
        at += 1
        if look(at) == 0x5D:
            break
    return bytes(sorted(ANY - members if negated else ANY & members)), at + 1


def literals(glob: Glob, most: int = 16) -> list[tuple[bytes, ...]] | None:
    """``glob`` as few alternatives of what stands between its stars, or None.

    ``a[12]`` is ``(a1,)`` and ``(a2,)``; ``*.py[co]`` is ``("", ".pyc")`` and ``("", ".pyo")``.
    """
    try:  # the most usual ones, names and *.o, at once
        plain = bytes(glob[1:] if glob[:1] == (STAR,) else glob)  # type: ignore[arg-type]
        return [(b"", plain) if glob[:1] == (STAR,) else (plain,)]
    except TypeError:
        pass
    found: list[tuple[bytes, ...]] = [(b"",)]
    for star, tokens in groupby(glob, lambda token: token is STAR):
        if star:
            found = [(*runs, b"") for runs in found]
            continue
        choices = [
            (token,) if isinstance(token, int) else token or () for token in tokens
        ]
        number = len(found)
        for choice in choices:
            number *= len(choice)
            if not 0 < number <= most:
                return None
        found = [
            (*runs[:-1], bytes(chosen))
            for runs in found
            for chosen in product(*choices)
        ]
    return found


def matches(runs: tuple[bytes, ...], name: bytes) -> bool:
    """Are ``runs`` in ``name``, in this order, the first and last at its ends?"""
    at = len(runs[0])
    end = len(name) - len(runs[-1])
    if at > end or not name.startswith(runs[0]) or not name.endswith(runs[-1]):
        return False
    for run in runs[1:-1]:
        at = name.find(run, at, end)
        if at < 0:
            return False
        at += len(run)
    return True


def needle(glob: Glob) -> bytes:
    """A literal that every name matched by ``glob`` holds, NUL at either end of a name."""
    runs = [b"\0"]
    for token in glob:
        if isinstance(token, int):
            runs[-1] += bytes([token])
        else:
            runs.append(b"")
    runs[-1] += b"\0"
    best = max((run for run in runs if run != b"\0"), key=len, default=b"")
    return best[-LONGEST:] if best.endswith(b"\0") else best[:LONGEST]


def to_regex(glob: Glob) -> bytes:
    """A regex for the whole of a name.

    The text up to the next star is taken where it first fits, and not tried elsewhere:
    within one part of a path a later fit never helps. Python has atomic groups only
    since 3.11; a look-ahead and a back reference say the same. Without it a name of 255
    bytes and a pattern of ten stars would take years.
    """
    runs: list[list[bytes]] = [[]]
    for token in glob:
        if token is STAR:
            runs.append([])
        elif isinstance(token, int):
            runs[-1].append(b"\\x%02x" % token)
        else:
            runs[-1].append(_class(token))
    first, *rest = (b"".join(run) for run in runs)
    if not rest:
        return first
    out = [first]
    for number, run in enumerate((run for run in rest[:-1] if run), 1):
        out.append(b"(?=(?P<g%d>[^/]*?%s))(?P=g%d)" % (number, run, number))
    return b"".join([*out, b"[^/]*", rest[-1]])


def _class(members: bytes) -> bytes:
    if not members:
        return b"(?!)"
    # In ranges: one byte after the other, `?` would take a kilobyte.
    runs: list[list[int]] = []
    for byte in members:
        if runs and byte == runs[-1][1] + 1:
            runs[-1][1] = byte
        else:
            runs.append([byte, byte])
    return b"[%s]" % b"".join(b"\\x%02x-\\x%02x" % (low, high) for low, high in runs)
