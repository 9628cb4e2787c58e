"""What is in a directory, and what of that counts by which rules."""

from __future__ import annotations

from filerep.rules.walking import SLICE, counted, scan, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filerep.rules.ignore import Rules


class Entries:
    """The entries of a directory as they were read, in slices, each joined."""

    def __init__(self, fd: int) -> None:
        """Read the directory open as ``fd``; raises OSError."""
        self._slices = list(scan(fd))

    def whole(self) -> bytes | None:
        """All of them joined, where one slice held all; see ``Rules.enter``."""
        if len(self._slices) != 1:
            return None
        joined = b"".join(self._slices[0])
        return joined if joined.count(b"\0") < SLICE else None

    def have(self, name: bytes) -> bool:
        """Is ``name`` among them, in whatever case?"""
        joined = b"\0%s\0" % name
        return any(joined in part.lower() for parts in self._slices for part in parts)

    def names(self) -> set[bytes]:
        """All names, whatever they are."""
        return {
            name for parts in self._slices for part in parts for name in split(part)
        }

    def picked(self, rules: Rules) -> tuple[list[bytes], list[bytes]]:
        """Those that count: files and links, directories."""
        found: tuple[list[bytes], list[bytes]] = ([], [])
        for parts in self._slices:
            files, dirs, _ = counted(rules, *parts)
            found[0].extend(split(files))
            found[1].extend(split(dirs))
        return found
