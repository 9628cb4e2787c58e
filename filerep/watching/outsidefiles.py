"""Files anywhere, there or not, and which watches tell when what their names lead to changes.

A name leads through directories and symbolic links: each may be made, switched or taken away.
So each directory on the way is watched for the next name, and the file that is reached by
its inode, as it may be written under some other name. Such a directory can be a busy one
(/tmp, a home), so only names that come and go are asked for in it.
"""

from __future__ import annotations

import os
import stat

from filerep.watching import inotifyevents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from filerep.watching.inotifyevents import Event, Kernel

_MOST_LINKS = 40
# Stamps are those of the kernel's last tick.
_TICK_NS = 20_000_000
# What is at the end of a way, and what is asked of it: git takes notice of who owns a directory.
_REACHED = {stat.S_IFREG: inotifyevents.FILE, stat.S_IFDIR: inotifyevents.OWNED}


class Places:
    """Which watches bear on which of the files that are followed."""

    def __init__(self, inotify: Kernel, root: bytes) -> None:
        self._kernel = inotify
        self._root = os.path.realpath(root)
        self._names: dict[int, dict[bytes, set[bytes]]] = {}
        self._reached: dict[int, set[bytes]] = {}

    def __contains__(self, wd: int) -> bool:
        return wd in self._names or wd in self._reached

    def wds(self) -> set[int]:
        return {*self._names, *self._reached}

    def concerned(self, event: Event) -> set[bytes]:
        """The files that ``event`` may have changed."""
        if event.name:
            return self._names.get(event.wd, {}).get(event.name, set())
        return self._reached.get(event.wd, set())

    def follow(self, files: Iterable[bytes], since_ns: int) -> set[bytes]:
        """Follow ``files`` and no others; those that may have changed after ``since_ns``.

        They were read before they are watched, unless they were watched already.
        """
        way = _Way(self._kernel, self._root, self._names, self._reached)
        changed = {file for file in files if way.go(file) >= since_ns}
        self._names, self._reached = way.names, way.reached
        return changed


class _Way:
    """Goes the ways to many files, watching each directory on them once."""

    def __init__(
        self,
        inotify: Kernel,
        root: bytes,
        known_names: dict[int, dict[bytes, set[bytes]]],
        known_reached: dict[int, set[bytes]],
    ) -> None:
        self._kernel = inotify
        self._root = root
        # What is above the root is watched as such: if it is moved, that is the end.
        self._above = set()
        while root != b"/":
            self._above.add(root)
            root = os.path.dirname(root)
        self._known_names = known_names
        self._known_reached = known_reached
        self._wds: dict[bytes, int] = {}
        self.names: dict[int, dict[bytes, set[bytes]]] = {}
        self.reached: dict[int, set[bytes]] = {}

    def go(self, file: bytes) -> int:
        """Watch the way to ``file``; when, in ns, something that was not watched yet changed.

        0 if nothing is new on the way.
        """
        place = b"/"
        rest = file.split(b"/")[::-1]
        links = latest = 0
        while rest:
            name = rest.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                # By where the links led so far, as the kernel does.
                place = os.path.dirname(place)
                continue
            path = os.path.join(place, name)
            if path in self._above and (rest or path == self._root):
                place = path
                continue
            known = self._ask(place, name, file)
            try:
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode):
                    latest = max(latest, 0 if known else status.st_ctime_ns)
                    links += 1
                    if links > _MOST_LINKS:
                        break
                    target = os.readlink(path)
                    place = b"/" if target.startswith(b"/") else place
                    rest += target.split(b"/")[::-1]
                    continue
                mask = 0 if rest else _REACHED.get(stat.S_IFMT(status.st_mode), 0)
                if mask:
                    known = self._reach(path, file, mask)
                    latest = max(latest, 0 if known else status.st_ctime_ns)
            except OSError:
                latest = max(latest, 0 if known else _changed(place))
                break
            place = path
        return latest + _TICK_NS if latest else 0

    def _ask(self, place: bytes, name: bytes, file: bytes) -> bool:
        """Hear of ``name`` in ``place``, for the sake of ``file``; was that so before?"""
        wd = self._wds.get(place)
        if wd is None:
            try:
                wd = self._kernel.watch_name(place, inotifyevents.WAY)
            except OSError:
                wd = 0  # may be passed through but not read
            self._wds[place] = wd
        if wd:
            self.names.setdefault(wd, {}).setdefault(name, set()).add(file)
        return name in self._known_names.get(wd, ())

    def _reach(self, path: bytes, file: bytes, mask: int) -> bool:
        """Hear of it when what is at ``path`` is written; was that so before?"""
        wd = self._kernel.watch_name(path, mask)
        self.reached.setdefault(wd, set()).add(file)
        return wd in self._known_reached


def _changed(place: bytes) -> int:
    try:
        return os.stat(place).st_ctime_ns
    except OSError:
        return 0
