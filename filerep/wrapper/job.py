"""What the arguments say: what is replicated where, by which connection."""

from __future__ import annotations

import os

from filerep import command, ownfiles
from filerep.command import Stop
from filerep.digest import digest
from filerep.pathstream import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def arrange(words: list[str], takes_value: dict[str, bool]) -> list[str]:
    """Options to the front, wherever they stand before the connection command.

    The command begins at the third word that is no option, or behind a ``--`` after the
    second; a ``--`` further on is its own (``kubectl exec -i pod -- sh``).
    """
    options: list[str] = []
    places: list[str] = []
    rest = list(words)
    ended = False
    while rest:
        word = rest.pop(0)
        if word == "--":
            if len(places) == 2:
                break
            ended = True
        elif word.startswith("-") and word != "-" and not ended:
            options.append(word)
            if takes_value.get(word) and rest:
                options.append(rest.pop(0))
        elif len(places) == 2:
            rest.insert(0, word)
            break
        else:
            places.append(f"./{word}" if word.startswith("-") else word)
    return options + places + rest


def _plain_path(path: bytes) -> bytes:
    """``path`` without what means nothing in it, so that one directory has one name."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    return (b"/" if path.startswith(b"/") else b"") + b"/".join(parts)


class Job:
    """What is replicated where, by which connection, as the arguments have it."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        self.args = args
        typed = command.source_root(args["SRC_DIR"])
        self.source = os.path.realpath(typed)
        self.name = os.path.basename(typed)  # a link's own, without a / behind it
        if self.name in (b"", b".", b".."):
            self.name = os.path.basename(self.source)
        self.parent = _plain_path(os.fsencode(args["DEST_PARENT_DIR"]))
        self.connection: list[str] = args["CONNECTION_COMMAND"]
        if not self.name:
            raise Stop(
                command.USAGE,
                "SRC_DIR is the root directory, which has no name; name one in it",
            )
        if not self.parent.startswith(b"/"):
            said = f"DEST_PARENT_DIR must be absolute: {quote(self.parent)}"
            raise Stop(command.USAGE, said)
        if args["--mirror"] and args["--no-initial-replication"]:
            said = "--mirror compares, which --no-initial-replication rules out"
            raise Stop(command.USAGE, said)
        self.walks = not args["--no-initial-replication"]
        self.watches = not args["--no-replicate-on-change"] and not args["--dry-run"]
        self.retries = not args["--no-retry"] and self.watches
        self.keepalive = command.number(args["--keepalive"], "--keepalive")
        self.timeout = command.number(args["--connect-timeout"], "--connect-timeout")
        self.key = self._key()

    def _key(self) -> str:
        there = self.parent + b"/" + self.name
        parts = [self.source, there, *map(os.fsencode, self.connection)]
        return digest(b"\0".join(parts)).hex()

    def rules(self) -> list[str]:
        """The options that choose files, for the stages that do."""
        options = ["--no-gitignore"] if self.args["--no-gitignore"] else []
        for name in ("--exclude", "--include"):
            for pattern in self.args[name]:
                options += [f"{name}={pattern}"]
        return options

    def state_file(self, suffix: str) -> str:
        """Where ``suffix`` of this job is kept; its directory is made. Raises OSError."""
        directory = os.path.join(ownfiles.state_home(), "file-replicator")
        ownfiles.make_directory(directory)
        return os.path.join(directory, self.key + suffix)
