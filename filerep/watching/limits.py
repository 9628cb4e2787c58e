"""Why inotify gives no more, and what raises that: inotify(7), user_namespaces(7)."""

from __future__ import annotations

import errno
import os


class NoInotify(Exception):
    """There is no inotify on this system."""


class LimitReached(Exception):
    """The kernel gives no more watches or instances; ``errno`` says which."""

    def __init__(self, error: OSError) -> None:
        super().__init__(os.strerror(error.errno or 0))
        self.errno = error.errno or 0


# The limit is one for all processes of a user, or of a user namespace.
_WATCHES = ("fs.inotify.max_user_watches", "user.max_inotify_watches")
_INSTANCES = ("fs.inotify.max_user_instances", "user.max_inotify_instances")


def explain(number: int, directories: int) -> str:
    """The line for an inotify call that failed with ``number`` on a tree of that size."""
    if number == errno.ENOSPC:
        name, value = _lowest(_WATCHES)
        enough = max(524_288, 2 * directories)
        return (
            f"cannot watch {directories:,} directories: {name} is {value}"
            " (this is not about disk space);"
            f" to raise it: sudo sysctl {name}={enough}; polling instead"
        )
    if _out_of_descriptors():
        import resource

        value = str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        return (
            f"cannot start inotify: this process may open {value} files, and 1 more is"
            " needed; to raise it: ulimit -n 1024; polling instead"
        )
    name, value = _lowest(_INSTANCES)
    return (
        f"cannot start inotify: {name} is {value}, all in use, and 1 more is needed;"
        f" to raise it: sudo sysctl {name}=1024; polling instead"
    )


def queue_limit() -> str:
    return _value("fs.inotify.max_queued_events")


def _lowest(names: tuple[str, ...]) -> tuple[str, str]:
    known = [(name, _value(name)) for name in names]
    numbers = [(name, value) for name, value in known if value.isdigit()]
    return min(numbers, key=lambda pair: int(pair[1]), default=known[0])


def _value(name: str) -> str:
    try:
        with open("/proc/sys/" + name.replace(".", "/"), "rb") as file:
            return file.read().strip().decode()
    except OSError:
        return "unknown"


def _out_of_descriptors() -> bool:
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EMFILE
    return False
