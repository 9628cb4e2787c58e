"""Which file system something is on, by proc(5); nothing where there is no /proc."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Those a change can reach by another way than this kernel's own calls, so that inotify
# hears nothing of it. fuseblk (a local disk behind FUSE) is not among them.
_SHARED = frozenset(
    "9p afs beegfs ceph cifs coda fuse gpfs hgfs lustre ncpfs nfs nfs4 ocfs2 prl_fs smb2"
    " smb3 smbfs vboxsf virtiofs vmhgfs".split()
)

# What the kernel tells of itself, in files that nobody has made: /proc, /sys and what is in them.
_MADE_UP = frozenset(
    "binfmt_misc bpf cgroup cgroup2 configfs debugfs efivarfs fusectl proc pstore resctrl"
    " securityfs selinuxfs smackfs sysfs tracefs".split()
)

# As mountinfo has them; the backslash last, as each that is in a name is one of these.
_ESCAPED = {
    rb"\040": b" ",
    rb"\011": b"\t",
    rb"\012": b"\n",
    rb"\043": b"#",
    rb"\134": b"\\",
}


def is_made_up(kind: str) -> bool:
    """Are the files of this type of file system made up by the kernel as they are read?"""
    return kind in _MADE_UP


def file_system(fd: int) -> str:
    """The type of the file system that the open ``fd`` is on, by proc(5), or ``""``.

    By its mount: a device tells nothing where each part of a mount has one of its own.
    """
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
            ids = [line.split()[1] for line in info if line.startswith(b"mnt_id:")]
        with open("/proc/self/mountinfo", "rb") as mounts:
            for line in mounts:
                fields = line.split(b" ")
                if fields[:1] == ids:
                    return fields[fields.index(b"-") + 1].decode("ascii", "replace")
    except (OSError, ValueError, IndexError):
        pass
    return ""


def shared_type(directory: bytes) -> str:
    """The type of the file system of ``directory`` if others change it, or ``""``."""
    kind = _type(directory)
    return kind if kind in _SHARED or kind.startswith("fuse.") else ""


def _type(directory: bytes) -> str:
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return file_system(fd)
    finally:
        os.close(fd)


def mount_points(root: bytes) -> dict[bytes, str]:
    """Where below ``root`` something is mounted, and its type; nothing where there is no /proc."""
    below = os.path.join(os.path.realpath(root), b"")
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            return {path: kind for _, path, kind in mounts(table.read(), below)}
    except OSError:
        return {}


def is_mounted(root: bytes) -> bool:
    """Is ``root`` where something is mounted? False where there is no /proc."""
    name = os.path.realpath(root)
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            return any(path == b"" for _, path, _ in mounts(table.read(), name))
    except OSError:
        return False


def mounts(table: bytes, below: bytes) -> Iterator[tuple[bytes, bytes, str]]:
    """Of each line of mountinfo: its number, the path from ``below``, which ends in ``/``, the type."""
    for line in table.splitlines():
        fields = line.split(b" ")
        path = fields[4]
        if b"\\" in path:
            for escaped, byte in _ESCAPED.items():
                path = path.replace(escaped, byte)
        if path.startswith(below):
            kind = fields[fields.index(b"-") + 1].decode("ascii", "replace")
            yield fields[0], path[len(below) :], kind
