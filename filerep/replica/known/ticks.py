"""How old a ctime must be before it can tell two changes apart: the tick of its clock."""

from __future__ import annotations

from filerep.filesystem import file_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from filerep.source import Source

# Since Linux 6.13 these give the next change after a stat a stamp of its own.
_MULTIGRAIN = frozenset(("ext4", "xfs", "btrfs", "tmpfs"))
_MULTIGRAIN_SINCE = (6, 13)
_TICKS_NS = 20_000_000  # two of the slowest common clock (HZ=100)


class Ticks:
    """The ticks of each file system in the source, as others may be mounted in it."""

    def __init__(self, source: Source, release: str) -> None:
        """``release``: of the kernel, as uname(2) has it."""
        self._source = source
        try:
            version = tuple(int(part) for part in release.split(".")[:2])
        except ValueError:
            version = ()
        self._multigrain = version >= _MULTIGRAIN_SINCE
        # By device. One of its own may be part of a mount (a subvolume of btrfs, what comes
        # from below an overlay), so the mount is asked, and not the device, what it is.
        self._known: dict[int, int] = {}

    def of(self, path: bytes, status: os.stat_result) -> int:
        """In ns, for the file ``path`` that ``status`` shows; 0 if every change has its stamp.

        Stamps in whole seconds are seen by their fraction, and treated as such wherever
        they occur.
        """
        ticks = self._known.get(status.st_dev)
        if ticks is None:
            ticks = self._known[status.st_dev] = self._find(path)
        return ticks

    def _find(self, path: bytes) -> int:
        if not self._multigrain:
            return _TICKS_NS
        try:
            kind = file_system(self._source.directory(path.rpartition(b"/")[0]))
        except OSError:
            return _TICKS_NS  # it is gone
        return 0 if kind in _MULTIGRAIN else _TICKS_NS
