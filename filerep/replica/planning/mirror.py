"""--mirror: what only the destination has, and may go."""

from __future__ import annotations

import stat

from filerep.replica.known import entries
from filerep.replica.known.table import Table
from filerep.source import kind

TYPE_CHECKING = False
if TYPE_CHECKING:

    from filerep.rules.ignore import Rules
    from filerep.source import Source


def links(table: Table, rules: Rules, source: Source) -> dict[bytes, Rules]:
    """The rules of each directory at the far end in which anything counts."""
    found = {b"": rules}
    for path, _ in table.below(b""):
        if path.endswith(b"/"):
            parent, _, name = path[:-1].rpartition(b"/")
            above = found.get(parent)
            if above is not None and above.counts(name, True):
                found[path[:-1]] = _enter(above, path[:-1], name, source)
    return found


def _enter(above: Rules, path: bytes, name: bytes, source: Source) -> Rules:
    """The rules in ``path``, also if only the far end has that directory."""
    try:
        return above.enter(name, source.directory(path))
    except OSError:
        return above.enter(name)


def victims(
    table: Table, rules: dict[bytes, Rules], source: Source
) -> tuple[list[bytes], int, int]:
    """Paths only the far end has, the inner first; how many are files; of how many files.

    All that counts in the source is ours by now. That a path is not there is looked at once
    more, since it may only have been unreadable. A directory's path ends in ``/``.
    """
    paths: list[bytes] = []
    files = count = 0
    for path, value in table.below(b""):
        directory = path.endswith(b"/")
        files += not directory
        parent, _, name = path.rstrip(b"/").rpartition(b"/")
        link = rules.get(parent)
        if entries.marks(value) & entries.OURS or link is None:
            continue
        if link.counts(name, directory) and _only_there(source, path):
            paths.append(path)
            count += not directory
    return paths[::-1], count, files


def _only_there(source: Source, path: bytes) -> bool:
    """Is what stands at ``path`` over there of a kind that here is not, or not sent?"""
    try:
        found = kind(source.look(path.rstrip(b"/")))
    except OSError:
        return False
    return not found or found == stat.S_IFDIR and not path.endswith(b"/")


def claim(table: Table, paths: list[bytes]) -> None:
    """Make ``paths`` ours, so that they are removed as if the source had had them."""
    for path in paths:
        if path.endswith(b"/"):
            value = table.get_directory(path[:-1])
            if value is not None:
                value = entries.marked(value, entries.marks(value) | entries.OURS)
                table.put_directory(path[:-1], value)
        else:
            value = table.get(path)
            if value is not None:
                value = entries.marked(value, entries.marks(value) | entries.OURS)
                table.put(path, value)
