"""The arguments of each morning, kept in a file of the project.

`.file-replicator/NAME`, in the current directory or one above: a word a line, as it would be
typed without quotes; blanks around it do not count, nor do empty lines and those that begin
with `#`. Paths in it are relative to the directory that `.file-replicator` is in.
"""

from __future__ import annotations

import codecs
import os
import stat

from filerep import command
from filerep.command import NO_INPUT, USAGE, Stop
from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

FOLDER = ".file-replicator"
DEFAULT = "default"
_LONGEST = 1 << 20


def find(name: str) -> Optional[str]:
    """The file of the profile ``name``, or None."""
    _check(name)
    at = _here()
    while at:
        path = os.path.join(at, FOLDER, name)
        if os.path.lexists(path):
            return path
        above = os.path.dirname(at)
        at = above if above != at else ""
    return None


def _here() -> str:
    """The current directory; nothing if that has gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def names() -> list[str]:
    """The profiles that ``find`` would find."""
    found: set[str] = set()
    at = _here()
    while at:
        try:
            found.update(os.listdir(os.path.join(at, FOLDER)))
        except OSError:
            pass
        above = os.path.dirname(at)
        at = above if above != at else ""
    return sorted(found)


def project(path: str) -> str:
    """Where the paths in the profile ``path`` begin."""
    return os.path.dirname(os.path.dirname(path))


def read(path: str) -> list[str]:
    """The words in ``path``; raises ``Stop``."""
    try:
        # Not to wait for the other end of a fifo.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise Stop(NO_INPUT, f"{quote(path)} is no file")
            _refuse_others(path, status)
            _refuse_others(os.path.dirname(path), os.stat(os.path.dirname(path)))
            text = os.fsdecode(file.read(_LONGEST).removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        said = f"cannot read {quote(path)}: {command.reason(error)}"
        raise Stop(NO_INPUT, said) from None
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _refuse_others(path: str, status: os.stat_result) -> None:
    """Refuse what somebody else could have written: it names a command to be run.

    A directory above may be anybody's (/tmp).
    """
    ours = {0, os.geteuid()}
    if not os.geteuid():
        ours.add(int(os.environ.get("SUDO_UID", "0")))
    if status.st_uid not in ours:
        whose = f"belongs to user {status.st_uid}"
    elif status.st_mode & 0o002:
        whose = "can be written by everybody"
    else:
        return
    said = f"{quote(path)} {whose}, and could run any command as you"
    raise Stop(NO_INPUT, f"{said}; make it your own, or type the words")


def save(name: str, words: list[str]) -> tuple[str, bool]:
    """Keep ``words`` as the profile ``name`` of this directory.

    The path of its file, and whether others stood there.
    """
    _check(name)
    for word in words:
        if not word or word != word.strip() or word[0] == "#" or word.splitlines()[1:]:
            said = f"cannot save {quote(word)}: a profile has a word a line"
            raise Stop(USAGE, f"{said}, without blanks around it or # in front")
    path = os.path.join(FOLDER, name)
    # Whoever reads it meanwhile has the old one or the new one.
    fresh = f"{path}.{os.getpid()}.new"
    text = b"".join(os.fsencode(word) + b"\n" for word in words)
    try:
        os.makedirs(FOLDER, exist_ok=True)
        with open(fresh, "wb") as file:
            file.write(text)
        others = _holds_other(path, text)
        os.replace(fresh, path)
    except OSError as error:
        said = f"cannot write {quote(path)}: {command.reason(error)}"
        raise Stop(command.IO_ERROR, said) from None
    return path, others


def _holds_other(path: str, text: bytes) -> bool:
    """Is there a file at ``path`` already, with other words in it?"""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            return file.read(_LONGEST) != text
    except OSError:
        return False


def _check(name: str) -> None:
    if not name or "/" in name or name.startswith(".") or not name.isprintable():
        said = f"a profile cannot be called {quote(name)}"
        raise Stop(USAGE, f"{said}: it is a file in {FOLDER}, and not a hidden one")
