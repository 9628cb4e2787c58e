"""The git program: where it is and which version, and nothing about any repository.

It is never asked about a repository: whoever made one wrote its settings, and these can
have git start a command (a transport for a missing object, fsmonitor, a filter, a
pager, an alias, a hook). What it is asked here needs no repository, and it is started
so that it looks for none and reads nobody's settings.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Optional

    Version = tuple[int, ...]

#: The rules hold as of this version where there is no git program.
NEWEST = (2, 52)
_LONGEST_ANSWER = 4096
_ANSWERS: dict[tuple[bytes, bytes], bytes] = {}
_FOUND: dict[bytes, Optional[bytes]] = {}


def find(environ: Mapping[bytes, bytes]) -> bytes | None:
    """The git program on the user's PATH, as an absolute path.

    A relative part of PATH is passed over: it may lead into SRC.
    """
    path = environ.get(b"PATH", b"")
    if path not in _FOUND:
        _FOUND[path] = None
        for place in path.split(b":"):
            program = os.path.join(place, b"git")
            if place.startswith(b"/") and os.access(program, os.X_OK):
                if os.path.isfile(program):
                    _FOUND[path] = program
                    break
    return _FOUND[path]


def version(environ: Mapping[bytes, bytes]) -> Version:
    """The version of the git program, or the newest whose rules are known."""
    words = ask(b"--version", environ).split()
    if len(words) < 3 or words[:2] != [b"git", b"version"]:
        return NEWEST
    numbers = []
    for part in words[2].split(b"."):
        if not part.isdigit():
            break
        numbers.append(int(part[:9]))
    return tuple(numbers) or NEWEST


def prefix(environ: Mapping[bytes, bytes]) -> bytes:
    """Where the git program is installed, `/usr` mostly."""
    program = find(environ)
    real = os.path.realpath(program) if program else b"/usr/bin/git"
    place = os.path.dirname(os.path.dirname(real))
    return place if place != b"/" else b"/usr"


def system_settings(environ: Mapping[bytes, bytes]) -> bytes:
    """The file of settings that hold for all users."""
    program = find(environ)
    if program in (None, b"/usr/bin/git", b"/bin/git") and sys.platform != "darwin":
        return b"/etc/gitconfig"
    named = ask(b"var GIT_CONFIG_SYSTEM", environ).split(b"\n")[0]  # since 2.41
    if named.startswith(b"/"):
        return named
    place = prefix(environ)
    return b"/etc/gitconfig" if place == b"/usr" else place + b"/etc/gitconfig"


def ask(words: bytes, environ: Mapping[bytes, bytes]) -> bytes:
    """What the git program prints, empty if there is none, or it fails; asked once."""
    program = find(environ)
    if program is None:
        return b""
    key = (program, words)
    if key not in _ANSWERS:
        _ANSWERS[key] = _run([program, *words.split()], environ)
    return _ANSWERS[key]


def _run(words: list[bytes], environ: Mapping[bytes, bytes]) -> bytes:
    kept = {
        b"PATH": environ.get(b"PATH", b""),
        b"LC_ALL": b"C",
        b"GIT_CONFIG_NOSYSTEM": b"1",
        b"GIT_CONFIG_GLOBAL": b"/dev/null",
        b"GIT_DIR": b"/dev/null",
        b"GIT_ALLOW_PROTOCOL": b"none",
        b"GIT_OPTIONAL_LOCKS": b"0",
        b"GIT_PAGER": b"cat",
        b"GIT_TERMINAL_PROMPT": b"0",
    }
    if words[1] == b"var":  # would not tell which file it has to leave alone
        del kept[b"GIT_CONFIG_NOSYSTEM"]
    # Apple's git is a shim, which looks there for the real one.
    for name in (b"HOME", b"TMPDIR", b"DEVELOPER_DIR"):
        if name in environ:
            kept[name] = environ[name]
    import signal  # few runs get here, and it takes a while

    reader, out = os.pipe()
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_OPEN, 0, b"/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out, 1),
        (os.POSIX_SPAWN_OPEN, 2, b"/dev/null", os.O_WRONLY, 0),
    ]
    try:
        # subprocess would cost a tenth of the start of this program to import.
        pid = os.posix_spawn(
            words[0], words, kept, file_actions=actions, setsigdef=[signal.SIGPIPE]
        )
    except OSError:
        os.close(reader)
        return b""
    finally:
        os.close(out)
    said = b""
    with open(reader, "rb", buffering=0) as file:
        while len(said) < _LONGEST_ANSWER and (chunk := file.read(_LONGEST_ANSWER)):
            said += chunk
    status = os.waitpid(pid, 0)[1]
    return b"" if status else said
