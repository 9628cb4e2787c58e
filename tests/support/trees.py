"""Trees of files: making them, comparing them, and names that break programs."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# Names that quoting, splitting, globbing, options or decoding get wrong.
HOSTILE_NAMES = [
    b" ",
    b"a b",
    b" leading",
    b"trailing ",
    b"trailing\t",
    b"new\nline",
    b"\n",
    b"trailing newline\n",
    b"two\n\nlines",
    b"carriage\rreturn",
    b"tab\there",
    b"'",
    b"''",
    b"it's",
    b"'; touch escaped; '",
    b'"',
    b'a"b',
    b"\\",
    b"back\\slash",
    b"\\n",
    b"trailing\\",
    b"'\\''",
    b"$HOME",
    b"$(touch escaped)",
    b"`touch escaped`",
    b"${IFS}",
    b"a;b",
    b"a&b",
    b"a|b",
    b"a>b",
    b"a<b",
    b"(a)",
    b"{a,b}",
    b"#comment",
    b"~",
    b"~root",
    b"!history",
    b"!!",
    b"a=b",
    b"-",
    b"--",
    b"-rf",
    b"-rf *",
    b"-n",
    b"-e",
    b"--help",
    b"--checkpoint-action=exec=sh",
    b"*",
    b"?",
    b"[a-z]",
    b"[!a]",
    b"**",
    b".",
    b"..",
    b"...",
    b".hidden",
    b"..dots",
    b"commit",
    b"EOF",
    b"end",
    b"\x01",
    b"\x1b[31mred\x1b[0m",
    b"\x1b]0;title\x07",
    b"\x7f",
    b"\x80",
    b"\xff\xfe",
    b"\xc3",
    b"caf\xc3\xa9",
    b"cafe\xcc\x81",  # the same to a reader, decomposed
    "\N{SNOWMAN}".encode(),
    "\N{RIGHT-TO-LEFT OVERRIDE}txt.exe".encode(),
    "\N{LINE SEPARATOR}".encode(),
    b"CON",
    b"a:b",
    b"n" * 100,
    b"n" * 101,
    b"n" * 255,
    b"\xff" * 255,
    "\N{SNOWMAN}".encode() * 85,
    b"'" * 255,
    b"\n" * 255,
]
HOSTILE_NAMES = [name for name in HOSTILE_NAMES if name not in (b".", b"..")]
# Every byte that a name may hold, each in a name of its own and all in two long ones.
EVERY_BYTE = [bytes([byte]) for byte in range(1, 256) if byte not in b"/."]
EVERY_BYTE += [bytes(set(range(1, 129)) - {47}), bytes(range(128, 256))]

# Names of paths that are more than a name: long beyond tar's fields, deep, hostile above.
HOSTILE_PATHS = [
    b"-rf/*/a b/\n",
    b"d'/'; touch escaped; '/f",
    b"\xff/\xfe/\xfd",
    b"/".join([b"n" * 99, b"m" * 99]),
    b"/".join([b"n" * 155, b"m" * 100]),
    b"/".join([b"n" * 156, b"m" * 101]),
    b"/".join([b"deep"] * 100),
    b"/".join([b"x" * 200] * 15),
    b" / / ",
    b"~/$HOME/`",
    b"a\\/b\\",
]


def plant(root: Path | bytes, entries: Mapping[bytes | str, object]) -> None:
    """Make files in ``root``: a path and its bytes or text, or a symlink as ``("->", target)``."""
    for name, content in entries.items():
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        make_directories(os.path.dirname(path))
        if isinstance(content, tuple):
            os.symlink(content[1], path)
        else:
            data = content if isinstance(content, bytes) else str(content).encode()
            with open(path, "wb") as file:
                file.write(data)


def make_directories(path: bytes) -> None:
    with contextlib.suppress(FileExistsError):
        os.makedirs(path)


def hostile_tree(root: Path | bytes) -> None:
    """A tree with every hostile name as a file, a directory and a symlink's target."""
    base = os.fsencode(root)
    for number, name in enumerate([*HOSTILE_NAMES, *EVERY_BYTE]):
        plant(base, {b"files/" + name: b"content of %d" % number})
    for number, name in enumerate(HOSTILE_NAMES):
        plant(base, {b"directories/" + name + b"/f": b"below %d" % number})
        plant(base, {b"links/%d" % number: ("->", name)})
    for path in HOSTILE_PATHS:
        plant(base, {b"paths/" + path: b"at " + path[:20]})


def entries(root: Path | bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Every path below ``root`` and its lstat, directories before what is in them.

    What vanishes meanwhile is left out.
    """
    base = os.fsencode(root)
    stack = [b""]
    while stack:
        directory = stack.pop()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in sorted(os.listdir(os.path.join(base, directory))):
                path = os.path.join(directory, name)
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    status = os.lstat(os.path.join(base, path))
                    yield path, status
                    if stat.S_ISDIR(status.st_mode):
                        stack.append(path)


def tree(
    root: Path | bytes,
    *,
    times: bool = True,
    whole_seconds: bool = False,
    link_times: bool = False,
    modes: bool = True,
    directory_modes: bool = True,
    without: Iterable[bytes] = (),
) -> dict[bytes, tuple[object, ...]]:
    """What can be compared of the tree ``root``: a path and what is there.

    Directories count by existence and permission bits. ``without`` are first parts of
    paths to leave out. A path that vanishes meanwhile, or becomes another kind of file
    (``readlink`` of what is no symlink any more: ``EINVAL``), is left out as well; who
    waits for two trees to be alike looks again.
    """
    base = os.fsencode(root)
    left_out = tuple(without)
    found: dict[bytes, tuple[object, ...]] = {}
    for path, status in entries(base):
        if path.split(b"/")[0] in left_out:
            continue
        full = os.path.join(base, path)
        mode = stat.S_IMODE(status.st_mode)
        nanoseconds = status.st_mtime_ns
        time = nanoseconds // 10**9 if whole_seconds else nanoseconds
        with replaced_meanwhile():
            if stat.S_ISDIR(status.st_mode):
                found[path] = ("directory", oct(mode) if directory_modes else "")
            elif stat.S_ISLNK(status.st_mode):
                shown = time if times and link_times else ""
                found[path] = ("symlink", os.readlink(full), shown)
            elif stat.S_ISREG(status.st_mode):
                shown_mode = oct(mode) if modes else ""
                shown = time if times else ""
                found[path] = ("file", digest(full), shown_mode, shown)
            else:
                found[path] = ("special", oct(status.st_mode))
    return found


@contextlib.contextmanager
def replaced_meanwhile() -> Iterator[None]:
    """Pass over the errors of a path that is no longer what ``lstat`` said it is."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        pass
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def digest(path: bytes) -> str:
    """Size and hash of a file; the first bytes of a small one, to be read in a failure."""
    with open(path, "rb") as file:
        data = file.read()
    if len(data) <= 40:
        return repr(data)
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:16]}"


def differences(
    source: Mapping[bytes, tuple[object, ...]],
    destination: Mapping[bytes, tuple[object, ...]],
    most: int = 20,
) -> str:
    """How two trees differ, a line each; empty if they do not."""
    lines = []
    for path in sorted({*source, *destination}):
        one, other = source.get(path), destination.get(path)
        if one != other:
            lines.append(f"{path!r}: {one or 'nothing'}, not {other or 'nothing'}")
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join(lines[:most] + more)


def assert_same(
    source: Path | bytes,
    destination: Path | bytes,
    *,
    whole_seconds: bool = False,
    **options: bool,
) -> None:
    """The destination holds exactly what the source does; empty directories do not count."""
    one = tree(source, whole_seconds=whole_seconds, **options)  # type: ignore[arg-type]
    other = tree(destination, whole_seconds=whole_seconds, **options)  # type: ignore[arg-type]
    said = differences(without_empty(one, other), other)
    assert not said, f"source, not destination:\n{said}"


def without_empty(
    found: Mapping[bytes, tuple[object, ...]],
    other: Mapping[bytes, tuple[object, ...]] | None = None,
) -> dict[bytes, tuple[object, ...]]:
    """``found`` less the directories that hold no file, which are not replicated.

    One that ``other``, the destination, has all the same was emptied, and may stay.
    """
    needed = set()
    for path, what in found.items():
        if what[0] in ("file", "symlink") or (other and path in other):
            while path and path not in needed:
                needed.add(path)
                path = path.rpartition(b"/")[0]
    return {path: what for path, what in found.items() if path in needed}
