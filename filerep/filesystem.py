"""Which file system something is on, by proc(5); nothing where there is no /proc."""

from __future__ import annotations

import os

# Those a change can reach by another way than this kernel's own calls, so that inotify
# hears nothing of it. fuseblk (a local disk behind FUSE) is not among them.
_SHARED = frozenset(
    "9p afs beegfs ceph cifs coda fuse gpfs hgfs lustre ncpfs nfs nfs4 ocfs2 prl_fs smb2"
    " smb3 smbfs vboxsf virtiofs vmhgfs".split()
)


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
