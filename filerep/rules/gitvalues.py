"""Values of git's settings and of its variables, as git reads them."""

from __future__ import annotations

import os

from filerep.rules import gitversion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_OPTIONAL = b":(optional)"
_UNITS = {b"": 1, b"k": 1 << 10, b"m": 1 << 20, b"g": 1 << 30}


def boolean(value: bytes | None, otherwise: bool = False) -> bool:
    """``value`` as git reads it: a name without ``=`` is true, a number other than 0 too."""
    if value is None:
        return True
    word = value.lower()
    if word in (b"true", b"yes", b"on", b"1"):
        return True
    if word in (b"false", b"no", b"off", b"", b"0"):
        return False
    import re  # nearly all values are words

    number = re.fullmatch(rb"\s*([+-]?(?:0x[0-9a-f]+|[0-9]+))([kmg]?)", word)
    if not number:
        return otherwise
    try:
        digits = number[1]
        octal = digits.lstrip(b"+-").startswith(b"0") and b"x" not in digits
        return int(digits, 8 if octal else 0) * _UNITS[number[2]] != 0
    except ValueError:
        return otherwise


def settings_directory(environ: Mapping[bytes, bytes]) -> bytes:
    """Where programs keep the user's settings; empty if nothing says it."""
    home = environ.get(b"HOME", b"")
    return environ.get(b"XDG_CONFIG_HOME") or (home and home + b"/.config")


def optional(path: bytes, environ: Mapping[bytes, bytes]) -> tuple[bytes, bool]:
    """``path`` without the mark that it need not be there, and whether it has the mark.

    To git before 2.52 that is a part of the name. It is one in an `include.path` still.
    """
    if path.startswith(_OPTIONAL) and gitversion.version(environ) >= (2, 52):
        return path[len(_OPTIONAL) :], True
    return path, False


def expand(
    path: bytes, environ: Mapping[bytes, bytes], real_home: bool = False
) -> bytes | None:
    """``path`` with `~` and `%(prefix)` filled in; None where that cannot be.

    With ``real_home`` the links on the way to the user's home are followed.
    """
    if path.startswith(b"%(prefix)/"):
        return os.path.join(gitversion.prefix(environ), path[len(b"%(prefix)/") :])
    if not path.startswith(b"~"):
        return path
    user, slash, rest = path[1:].partition(b"/")
    if not user:
        home = environ.get(b"HOME")
        home = os.path.realpath(home) if home and real_home else home
    else:
        import pwd

        try:
            home = os.fsencode(pwd.getpwnam(os.fsdecode(user)).pw_dir)
        except (KeyError, ValueError):
            home = None
    return None if home is None else home + slash + rest
