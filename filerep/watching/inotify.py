"""A directory tree under inotify(7): which paths may have changed.

Level-triggered: an event says "this name in this directory is dirty, look", whatever its
type and its place in the order. RENAME_EXCHANGE of a and b arrives as FROM a, TO b, FROM b,
TO a; whoever takes FROM for "gone" unwatches the new b.

Watch, then list, and both on one inode. A directory is opened without following a link,
the watch is added through that descriptor (``/proc/self/fd/N/.``), and the same descriptor
is listed. What is in the directory was there before the listing and is listed, or came
after the watch and has an event. By name, the two could be two directories. A watch on
``/proc/self/fd/N`` without the dot would be one on the magic link.

No memory of files, one node for each directory, and a node never moves. A directory that
leaves its place is dropped with its watches (its old wds would go on reporting under the
old name) and everything known below is to be looked for (``path/``); where it turns up it
is taken in anew, and every name in it is named. A reader may have looked at ``d/f`` while
d was away: only naming ``d/f`` again puts that right.

One inode can be two nodes, by a bind mount for good or by an unfinished rename for a while,
so a wd stands for a set of nodes. One mapping too many costs a look in vain.

Overflow: when the mark has been read, whatever was lost happened before, so taking the tree
in again covers it. ctime could not narrow that down: what is below a renamed directory
keeps its own.

RACE: stores through a live mmap, a write through a link outside the tree, a write through
a descriptor whose name was unlinked while the file has another, and a file system that
changes beneath the mount have no events. The audit finds them by their ctime, late; without
an audit the replica keeps the old contents. What is mounted has no event either, but polling
the mount table tells of it.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import struct
import time

from filerep.pathstream import WHOLE_TREE
from filerep.rules import repository
from filerep.rules.ignore import rule_file
from filerep.rules.walking import listing
from filerep.source import RootGone
from filerep.watching.limits import queue_limit
from filerep.watching.mounts import Mounts
from filerep.watching.pending import SETTLE_SECONDS, Holds
from filerep.watching.roots import ABSENT, Descent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filerep.rules.ignore import OnError, Rules
    from filerep.watching.pending import Pending
    from filerep.watching.roots import Root

MODIFY = 0x2
ATTRIB = 0x4
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
UNMOUNT = 0x2000
Q_OVERFLOW = 0x4000
IGNORED = 0x8000
ONLYDIR = 0x1000000
DONT_FOLLOW = 0x2000000
EXCL_UNLINK = 0x4000000
MASK_ADD = 0x20000000
ISDIR = 0x40000000

# MODIFY: truncate(2) and a log held open give nothing else.
_EVENTS = CREATE | DELETE | MOVED_FROM | MOVED_TO | CLOSE_WRITE | MODIFY | ATTRIB
_MASK = _EVENTS | EXCL_UNLINK | ONLYDIR | DONT_FOLLOW
_ROOT_MASK = _MASK | DELETE_SELF | MOVE_SELF
# Above the root: only what takes the root away. While anyone holds the root open, its
# deletion is an event in its parent and nowhere else.
_ABOVE_MASK = MOVE_SELF | DELETE_SELF | ONLYDIR | MASK_ADD
_PARENT_MASK = _ABOVE_MASK | DELETE
# Directories that hold rule files and are not in the tree.
_RULES_MASK = CREATE | DELETE | MOVED_FROM | MOVED_TO | CLOSE_WRITE | ONLYDIR | MASK_ADD

_AT_ONCE = CLOSE_WRITE | MOVED_TO | ATTRIB
_GONE = DELETE | MOVED_FROM
# Not only of one file.
_WIDER = ISDIR | IGNORED | UNMOUNT | Q_OVERFLOW

_READ_SIZE = 1 << 18
# More than a queue holds, and an end to it when a writer is as fast as the reader.
_READS = 1024
_AUDIT_FACTOR = 100
_AUDIT_SLICE_SECONDS = 0.005
# Time stamps come in steps: 4 to 10 ms of the kernel's tick, 1 or 2 s on old file systems.
_STAMP_SLACK_NS = 2_100_000_000

# Stands for git's index among the directories whose rules were edited; no path is this.
_INDEX = b"/index"

_HEADER = struct.Struct("iIII")


class NoInotify(Exception):
    """There is no inotify on this system."""


class LimitReached(Exception):
    """The kernel gives no more watches or instances; ``errno`` says which."""

    def __init__(self, error: OSError) -> None:
        super().__init__(os.strerror(error.errno or 0))
        self.errno = error.errno or 0


def events(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The events in ``data`` as wd, mask and name, which NULs follow."""
    unpack, size_of_header = _HEADER.unpack_from, _HEADER.size
    position, end = 0, len(data)
    while position < end:
        wd, mask, _, size = unpack(data, position)
        start = position + size_of_header
        position = start + size
        yield wd, mask, data[start:position]


class Directory:
    """A directory of the tree, as it was when it was last listed."""

    __slots__ = ("children", "named", "parent", "path", "rules", "wd")

    def __init__(self, path: bytes, parent: Directory | None, rules: Rules) -> None:
        self.path = path
        self.parent = parent
        self.rules = rules
        # 0 where it is not watched, being unreadable or gone; the kernel starts at 1.
        self.wd = 0
        # Was every name in it given to pending?
        self.named = False
        self.children: dict[bytes, Directory] | None = None

    def name(self) -> bytes:
        return self.path.rpartition(b"/")[2]

    def child(self, name: bytes) -> Directory | None:
        return self.children.get(name) if self.children else None

    def join(self, name: bytes) -> bytes:
        return self.path + b"/" + name if self.path else name

    def family(self) -> Iterator[Directory]:
        """This directory and those below, as they are at the start."""
        rest = [self]
        while rest:
            node = rest.pop()
            if node.children:
                rest.extend(node.children.values())
            yield node

    def attached(self) -> bool:
        """Is it still in the tree?"""
        node = self
        while node.parent:
            if node.parent.child(node.name()) is not node:
                return False
            node = node.parent
        return True


class Tree:
    """The watched tree below ``root``; what may have changed goes to ``pending``."""

    def __init__(
        self,
        root: Root,
        load: Callable[[], Rules],
        pending: Pending,
        on_error: OnError,
        say: Callable[[str], None],
        audit_seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Raises ``NoInotify``, ``LimitReached`` or OSError.

        ``audit_seconds`` 0 is no audit, None an audit of less than 1 % of a core.
        """
        try:
            from inotify_simple import INotify
        except ImportError as error:
            raise NoInotify(f"inotify is not at hand ({error})") from None
        if not os.path.isdir("/proc/self/fd"):
            raise NoInotify("there is no /proc, which inotify is used through")
        try:
            self._kernel = INotify(nonblocking=True)
        except AttributeError:
            raise NoInotify("this system has no inotify") from None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise LimitReached(error) from None
            if error.errno == errno.ENOSYS:
                raise NoInotify("this kernel has no inotify") from None
            raise
        self._fd: int = self._kernel.fileno()
        self._root = root
        self._load = load
        self._pending = pending
        self._on_error = on_error
        self._say = say
        self._clock = clock
        self._wall_ns = wall_ns
        self._audit_seconds = audit_seconds
        self._mounts: Mounts | None = None
        try:
            self._mounts = Mounts(root.path)
        except OSError:
            pass
        self._nodes: dict[int, tuple[Directory, ...]] = {}
        self._top = Directory(b"", None, load())
        self._above: set[int] = set()
        self._rule_files: dict[int, set[bytes]] = {}
        self._index = (0, b"")
        self._edited = Holds(SETTLE_SECONDS)
        self._unreadable: dict[bytes, Directory] = {}
        self._links: Links | None = None
        self._incomplete: list[bytes] = []  # whose other names are to be looked for
        self._backlog: list[bytes] = []
        self._overflowed = False
        self._audit: Iterator[None] | None = None
        self._audit_due: float | None = None
        self._audited_at = (0, 0.0)

    # What the loop calls.

    def descriptors(self) -> dict[int, int]:
        """What to poll, and for which events, to know when to ``read``."""
        found = {self._fd: select.POLLIN}
        if self._mounts:
            found[self._mounts.fileno()] = select.POLLPRI
        return found

    def close(self) -> None:
        self._kernel.close()
        if self._mounts:
            self._mounts.close()

    def start(self) -> None:
        """Put every watch in place, naming nothing; raises ``LimitReached`` or OSError."""
        os.close(self._root.open())
        self._audited_at = (self._wall_ns(), self._clock())
        self._watch_above()
        self._watch_rule_files()
        with Descent(self._root) as descent:
            self._take_in(self._top, False, descent)
        self._plan_audit(0.0)

    def directories(self) -> int:
        return len(self._nodes)

    def read(self, mounted: bool = True) -> None:
        """Take over the events there are now, and what was mounted if that has changed."""
        self._soak()
        backlog, self._backlog = self._backlog, []
        for data in backlog:
            self._handle(data)
        if mounted and self._mounts:
            self._root.check()
            for path in self._mounts.changed():
                self._mounted(path)

    def deadline(self) -> float | None:
        """When ``work`` is to be called next."""
        if self._audit or self._overflowed or self._backlog:
            return 0.0
        due = [self._edited.deadline(), self._audit_due]
        return min((time for time in due if time is not None), default=None)

    def work(self) -> None:
        """Do what is due: heal an overflow, read edited rules, a piece of the audit."""
        if self._backlog:
            self.read()
        if self._overflowed:
            self._overflowed = False
            self._say(
                "the kernel lost events, as more than"
                f" {queue_limit()} waited (fs.inotify.max_queued_events);"
                " looking at everything again"
            )
            self.look_at_everything()
        for path in self._edited.release(self._clock()):
            self._read_rules(path)
        if self._audit_due is not None and self._clock() >= self._audit_due:
            self._audit_due = None
            self._audit = self._auditing()
        if self._audit and next(self._audit, self) is self:
            self._audit = None
        self._complete_links()

    def sync(self) -> None:
        """Bring everything that has changed until now to ``pending``."""
        self.read()
        for path in self._edited.release(float("inf")):
            self._read_rules(path)
        self.work()

    def look_at_everything(self) -> None:
        """Name whatever is there, and have what has gone looked for."""
        self._root.check()
        self._pending.now(WHOLE_TREE)
        self._top.rules = self._load()
        with Descent(self._root) as descent:
            self._take_in(self._top, True, descent)
        self._watch_rule_files()

    # Events.

    def _soak(self) -> None:
        """Empty the kernel's queue, which is bounded, into memory, which is not."""
        try:
            for _ in range(_READS):
                self._backlog.append(os.read(self._fd, _READ_SIZE))
        except BlockingIOError:
            pass

    def _handle(self, data: bytes) -> None:
        # A save by rename has five events, and one look at each of two names is enough: by
        # watch and name, padded as it is, the first event, all of them, and the last.
        dirty: dict[tuple[int, bytes], list[int]] = {}
        for wd, mask, name in events(data):
            if name and not mask & _WIDER:
                seen = dirty.get((wd, name))
                if seen is None:
                    dirty[wd, name] = [mask, mask, mask]
                else:
                    seen[1] |= mask
                    seen[2] = mask
                continue
            self._handle_files(dirty)
            dirty = {}
            if mask & Q_OVERFLOW:
                self._overflowed = True
            else:
                self._event(wd, name.rstrip(b"\0"), mask, mask, mask)
        self._handle_files(dirty)

    def _handle_files(self, dirty: dict[tuple[int, bytes], list[int]]) -> None:
        for (wd, name), (first, mask, last) in dirty.items():
            self._event(wd, name.rstrip(b"\0"), first, mask, last)

    def _event(self, wd: int, name: bytes, first: int, mask: int, last: int) -> None:
        """``name`` in what ``wd`` watches had the events in ``mask``, from first to last.

        The last tells whether to look at once; whether the file was written to, all do.
        """
        if wd in self._above and (not name or mask & DELETE):
            self._root.check()
        if name in self._rule_files.get(wd, ()):
            self._rules_changed(b"", last)
        if wd == self._index[0] and name == self._index[1]:
            self._edited.hold(_INDEX, self._clock())
        nodes = self._nodes.get(wd)
        if nodes is None:
            return
        if mask & (IGNORED | UNMOUNT):
            self._watch_ended(wd, mask)
        elif name:
            for node in nodes:
                self._changed(node, name, first, mask, last)
        elif self._top in nodes:
            self._root_changed()

    def _watch_ended(self, wd: int, mask: int) -> None:
        nodes = self._nodes[wd]
        if mask & IGNORED:
            del self._nodes[wd]
        for node in nodes:
            if node.parent is None:
                raise RootGone
            if mask & IGNORED:
                node.wd = 0
            elif node.attached():
                self._look(node.parent, node.name(), moved=True)

    def _mounted(self, path: bytes) -> None:
        """Something was mounted at ``path``, or unmounted."""
        above, _, name = path.rpartition(b"/")
        parent = self._find(above)
        if parent and parent.rules.counts(name, True):
            self._look(parent, name, moved=True)

    def _root_changed(self) -> None:
        mode = stat.S_IMODE(self._root.check().st_mode)
        if mode != self._root.mode:
            self._root.mode = mode
            # Not `.`, which is the answer to a request for a sync point.
            self._pending.now(WHOLE_TREE)
            self._retry(b"")

    def _changed(
        self, node: Directory, name: bytes, first: int, mask: int, last: int
    ) -> None:
        # The top of a repository, which begins or ends here, bounds the rules.
        if rule_file(name) or name == b".git":
            self._rules_changed(node.path, last)
        is_dir = bool(mask & ISDIR)
        if not node.rules.counts(name, is_dir):
            return
        path = node.join(name)
        if is_dir:
            if mask & ATTRIB and node.child(name):
                self._pending.now(path)
                self._retry(path)
            else:
                self._look(node, name, moved=not mask & CREATE)
            return
        hint = self._pending.now if last & _AT_ONCE else self._pending.later
        if last & _GONE and self._links is None:
            # What came and went, as a file that takes another's name, is hardly known to
            # anybody, but may have been listed in between.
            (self._pending.aside if first & CREATE else hint)(path)
            return
        hint(path)
        # MOVED_TO too: what was written before the move had an event under a name that
        # leads nowhere by now.
        if mask & (MODIFY | CLOSE_WRITE | ATTRIB | MOVED_TO):
            for other in self._other_names(path):
                hint(other)
        elif self._links and mask & CREATE:
            self._links.add(path)

    def _look(self, parent: Directory, name: bytes, moved: bool) -> None:
        """Bring the node of a directory in line with what is there now."""
        path = parent.join(name)
        node = parent.child(name)
        with Descent(self._root) as descent:
            try:
                fd = descent.open(path)
            except OSError as error:
                if error.errno not in ABSENT:
                    self._pending.now(path)
                    self._unread(node or self._add(parent, name), error)
                    return
                if node:
                    self._drop(node)
                self._pending.later(path)
                self._pending.later(path + b"/")
                return
            if node is None:
                node = self._add(parent, name)
            before = node.wd
            self._watch(node, fd)
            self._pending.now(path)
            if moved or before not in (0, node.wd):
                self._pending.now(path + b"/")
            elif before and node.named:
                # Watched since it was listed, and never away: nothing can have been missed.
                return
            self._take_in(node, True, descent)

    def _retry(self, path: bytes) -> None:
        """Try again what could not be read at or below ``path``."""
        if not self._unreadable:
            return
        below = path + b"/" if path else b""
        for other, node in list(self._unreadable.items()):
            if (other == path or other.startswith(below)) and node.attached():
                if node.parent:
                    self._look(node.parent, node.name(), moved=False)

    # The nodes.

    def _find(self, path: bytes) -> Directory | None:
        node: Directory | None = self._top
        for name in path.split(b"/") if path else ():
            node = node.child(name) if node else None
        return node

    def _add(self, parent: Directory, name: bytes) -> Directory:
        node = Directory(parent.join(name), parent, parent.rules)
        if parent.children is None:
            parent.children = {}
        parent.children[name] = node
        return node

    def _drop(self, node: Directory) -> None:
        """Forget ``node`` and what is below."""
        if node.parent and node.parent.children:
            del node.parent.children[node.name()]
        for each in node.family():
            self._unwatch(each)
            self._unreadable.pop(each.path, None)

    def _watch(self, node: Directory, fd: int) -> None:
        """Watch the directory open as ``fd`` for ``node``; raises ``LimitReached``."""
        mask = _MASK if node.parent else _ROOT_MASK
        try:
            wd = self._kernel.add_watch(f"/proc/self/fd/{fd}/.", mask)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise LimitReached(error) from None
            raise
        if wd in self._above or wd in self._rule_files or wd == self._index[0]:
            self._kernel.add_watch(f"/proc/self/fd/{fd}/.", _PARENT_MASK)
        if wd != node.wd:
            self._unwatch(node)
            node.wd = wd
            self._nodes[wd] = (*self._nodes.get(wd, ()), node)

    def _unwatch(self, node: Directory) -> None:
        wd, node.wd = node.wd, 0
        if not wd:
            return
        others = tuple(other for other in self._nodes.get(wd, ()) if other is not node)
        if others:
            self._nodes[wd] = others
            return
        self._nodes.pop(wd, None)
        if wd in self._above or wd in self._rule_files or wd == self._index[0]:
            return
        try:
            self._kernel.rm_watch(wd)
        except OSError:
            pass  # the kernel was faster: the directory is deleted

    def _take_in(self, node: Directory, naming: bool, descent: Descent) -> None:
        """Watch and list ``node``, known or new, and everything below."""
        rest = [node]
        turn = 0
        while rest:
            node = rest.pop()
            try:
                fd = descent.open(node.path)
            except OSError as error:
                if error.errno not in ABSENT:
                    self._unread(node, error)
                elif not node.wd and node.parent:
                    self._drop(node)
                continue
            self._watch(node, fd)
            rest.extend(self._enter(node, fd, naming))
            turn += 1
            if turn % 64 == 0:
                self._soak()

    def _enter(self, node: Directory, fd: int, naming: bool) -> list[Directory]:
        """List the watched ``node``, open as ``fd``; returns the nodes of what is below."""
        self._unreadable.pop(node.path, None)
        if node.parent:
            node.rules = node.parent.rules.enter(node.name(), fd)
        node.named = naming
        files, dirs = self._list(fd, node.path, node.rules)
        if naming:
            for name in files + dirs:
                self._pending.now(node.join(name))
            for name in files:
                for other in self._other_names(node.join(name)):
                    self._pending.now(other)
        self._drop_all_but(node, dirs)
        return [node.child(name) or self._add(node, name) for name in dirs]

    def _drop_all_but(self, node: Directory, names: list[bytes]) -> None:
        for name in set(node.children or ()).difference(names):
            child = node.child(name)
            if child:
                self._drop(child)

    def _list(
        self, fd: int, path: bytes, rules: Rules
    ) -> tuple[list[bytes], list[bytes]]:
        return listing(fd, path or b".", rules, self._on_error)

    def _unread(self, node: Directory, error: OSError) -> None:
        self._unreadable[node.path] = node
        self._on_error("read", node.path or b".", error)

    # Hard links.

    def _other_names(self, path: bytes) -> list[bytes]:
        """The other names in the tree of the file at ``path``.

        An event comes for the name that was used. Names not met before are looked for
        by a walk, which most trees never need: see `_complete_links`.
        """
        before = self._links.last_names(path) if self._links else []
        try:
            status = os.lstat(b"%s/%s" % (self._root.path, path))
        except OSError:
            return before
        if status.st_nlink < 2 or not stat.S_ISREG(status.st_mode):
            return before
        if self._links is None:
            self._links = Links(self._root.path)
        names = self._links.names(status, path)
        if self._links.grown and 1 + len(names) < status.st_nlink:
            self._incomplete.append(path)
        return before + names

    def _complete_links(self) -> None:
        """Find the other names of files met under a new one: one walk for all of them."""
        paths, self._incomplete = self._incomplete, []
        if not paths or self._links is None:
            return
        with Descent(self._root) as descent:
            for node in self._top.family():
                self._add_links(node, descent, self._links)
        self._links.grown = False
        for path in paths:
            for other in self._other_names(path):
                self._pending.now(other)

    def _add_links(self, node: Directory, descent: Descent, links: Links) -> None:
        try:
            files, _ = self._list(descent.open(node.path), node.path, node.rules)
        except OSError:
            return
        for name in files:
            links.add(node.join(name))

    # Rules.

    def _rules_changed(self, path: bytes, mask: int) -> None:
        """Rules in the directory ``path`` were edited, or are being edited.

        Between truncation and writing an ignore file is empty, and everything counts.
        """
        if mask & _AT_ONCE:
            self._edited.forget(path)
            self._read_rules(path)
        else:
            self._edited.hold(path, self._clock())

    def _read_rules(self, path: bytes) -> None:
        if path == _INDEX:
            # git writes it for many reasons; rarely to track a file that is ignored.
            if self._load().tracked_tree() == self._top.rules.tracked_tree():
                return
            path = b""
        node = self._find(path)
        if node is None:
            return
        self._links = None
        # What was deleted while it was ignored, and is not ignored now.
        self._pending.now((path or b".") + b"/")
        with Descent(self._root) as descent:
            for each in node.family():
                self._apply_rules(each, descent)

    def _apply_rules(self, node: Directory, descent: Descent) -> None:
        """Name what new rules let appear in ``node``, unwatch what they hide."""
        try:
            fd = descent.open(node.path)
        except OSError:
            return  # gone or unreadable, which has an event of its own
        before, _ = self._list(fd, node.path, node.rules)
        if node.parent is None:
            node.rules = self._load()
            self._watch_rule_files()
        else:
            node.rules = node.parent.rules.enter(node.name(), fd)
        files, dirs = self._list(fd, node.path, node.rules)
        for name in set(files).difference(before):
            self._pending.now(node.join(name))
        self._drop_all_but(node, dirs)
        for name in dirs:
            if node.child(name) is None:
                self._look(node, name, moved=True)

    def _watch_rule_files(self) -> None:
        """Watch the directories of the rule files outside the tree."""
        wanted: dict[int, set[bytes]] = {}
        for file in self._top.rules.source_files():
            directory, name = os.path.split(file)
            try:
                wd = self._kernel.add_watch(directory, _RULES_MASK)
            except OSError:
                continue
            wanted.setdefault(wd, set()).add(name)
        self._rule_files = wanted
        self._index = (0, b"")
        index = repository.index_above(self._root.path)
        if index:
            directory, name = os.path.split(index)
            try:
                self._index = (self._kernel.add_watch(directory, _RULES_MASK), name)
            except OSError:
                pass

    def _watch_above(self) -> None:
        """Hear of it when the root, or a directory above it, is moved."""
        path = os.path.realpath(self._root.path)
        mask = _PARENT_MASK
        while path != b"/":
            path = os.path.dirname(path)
            try:
                self._above.add(self._kernel.add_watch(path, mask))
            except OSError:
                pass  # may be passed through but not read; the next event finds it out
            mask = _ABOVE_MASK

    # The audit.

    def _plan_audit(self, took: float) -> None:
        if self._audit_seconds is None:
            self._audit_due = self._clock() + max(60.0, _AUDIT_FACTOR * took)
        elif self._audit_seconds:
            self._audit_due = self._clock() + self._audit_seconds

    def _auditing(self) -> Iterator[None]:
        """Find what had no event: changed files by ctime, other directories by their inode.

        Files whose ctime says they have changed since the last audit are named, so most
        saves are named twice; naming all would make a reader without a memory send the
        whole tree each time. Yields after each directory.
        """
        began = (self._wall_ns(), self._clock())
        wall_ns, clock = self._audited_at
        since = wall_ns - _STAMP_SLACK_NS
        jumped = (began[0] - wall_ns) / 1e9 - (began[1] - clock)
        if abs(jumped) > 1:
            since = 0  # the clock was set, so stamps cannot be compared with it
        self._root.check()
        self._pending.now(WHOLE_TREE)
        took = 0.0
        nodes = iter(list(self._top.family()))
        more = True
        while more:
            started = self._clock()
            # A descent is not kept over a yield: events are handled there, and a node
            # that has got a new inode must not be given back the old one.
            with Descent(self._root) as descent:
                more = False
                for node in nodes:
                    if node.attached():
                        self._audit_directory(node, since, descent)
                    if self._clock() - started > _AUDIT_SLICE_SECONDS:
                        more = True
                        break
            took += self._clock() - started
            yield
        self._audited_at = began
        self._plan_audit(took)

    def _audit_directory(self, node: Directory, since: int, descent: Descent) -> None:
        try:
            fd = descent.open(node.path)
            before = node.wd
            self._watch(node, fd)
            if before != node.wd:
                self._pending.now(node.path + b"/")
                self._take_in(node, True, descent)
                return
            files, dirs = self._list(fd, node.path, node.rules)
            for name in files + dirs:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if status.st_ctime_ns >= since:
                    self._pending.now(node.join(name))
            for name in dirs:
                if node.child(name) is None:
                    self._look(node, name, moved=True)
        except OSError:
            pass  # it is changing right now, which has events of its own


class Links:
    """Where the files with several names are, by inode."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._paths: dict[int, bytes] = {}
        self._inodes: dict[bytes, int] = {}
        self.grown = True  # are there names that were not looked for?

    def last_names(self, path: bytes) -> list[bytes]:
        """The other names of the file that was at ``path`` when it was last looked at.

        What is there now may be another, as a file can be written and replaced before
        the event for the writing is read.
        """
        names = self._paths.get(self._inodes.get(path, 0), b"").split(b"\0")
        return [name for name in names if name and name != path]

    def add(self, path: bytes) -> None:
        """Remember ``path`` if it is a file with several names."""
        try:
            status = os.lstat(os.path.join(self._root, path))
        except OSError:
            return
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
            known = self._paths.get(status.st_ino, b"")
            if path not in known.split(b"\0"):
                self._paths[status.st_ino] = known + path + b"\0"
                self.grown = True
            self._inodes[path] = status.st_ino

    def names(self, status: os.stat_result, path: bytes) -> list[bytes]:
        """The names of the file ``status`` other than ``path``."""
        names = []
        known = self._paths.get(status.st_ino, b"").split(b"\0")
        self.grown = self.grown or path not in known
        for other in known:
            if other and other != path:
                try:
                    found = os.lstat(os.path.join(self._root, other))
                except OSError:
                    continue
                if os.path.samestat(found, status):
                    names.append(other)
        self._paths[status.st_ino] = b"\0".join([path, *names, b""])
        self._inodes[path] = status.st_ino
        return names
