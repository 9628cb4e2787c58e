"""Does the connection command ask somebody at the terminal?

It is given pipes only: if it has a terminal open, or what it has started has, it opened that by
itself, as ssh does for a password or a new host's key. What cannot be told so (macOS has no
/proc) is told by a terminal that does not show what is typed.
"""

from __future__ import annotations

import os

from filerep.processtable import family

_TERMINAL = "/dev/tty"  # each process's own, and the name by which it is asked for


def asks(pid: int) -> bool:
    """Do ``pid`` and its children ask something, that is to say wait at the terminal?"""
    return any(map(_has_terminal, family(str(pid)))) or hides_what_is_typed(_TERMINAL)


def hides_what_is_typed(terminal: str | int) -> bool:
    """Does ``terminal``, a path or a descriptor, not show what is typed?"""
    own = None
    try:
        import termios

        if isinstance(terminal, str):
            terminal = own = os.open(terminal, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
        return not termios.tcgetattr(terminal)[3] & termios.ECHO
    except (ImportError, OSError, termios.error):
        return False
    finally:
        if own is not None:
            os.close(own)


def _has_terminal(pid: str) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as files:
            return any(os.readlink(file.path) == _TERMINAL for file in files)
    except OSError:
        return False
