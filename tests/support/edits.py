"""An editor gone mad: all that people, editors and git do to a tree, drawn at random.

Run as a program it is a process of its own, confined to one directory, that does what it is
told a line at a time and answers a line: the operations it did. They name real paths, so the
same list can be done again, and a part of it too: an operation that has become impossible
is passed over.

Confined: no symlink it makes holds ``..`` or begins with ``/``, so each resolves below
the directory it is in; the real path is looked at before each operation; and the process
has a mount namespace of its own, in which all but that directory is read-only.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import random
import select
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Union

from trees import EVERY_BYTE, HOSTILE_NAMES

Op = list[Any]  # the verb, then its arguments; paths as latin-1 text
Word = Union[int, bytes]

# So few names that the same one is a file, a directory and a symlink in turn.
NAMES = [b"a", b"b", b"c", b"d", b"file.txt", b"__pycache__", b".x"]
SIZES = [0, 1, 5, 100, 511, 512, 513, 4096, 65536, 65537, 300_000, 1_500_000]
SIZE_WEIGHTS = [4, 4, 8, 8, 1, 2, 1, 4, 1, 1, 1, 0.3]
FILE_MODES = [0o644, 0o644, 0o755, 0o600, 0o444, 0o400, 0o777, 0o640]
DIRECTORY_MODES = [0o755, 0o755, 0o700, 0o777, 0o775, 0o711, 0o555]
# Whole seconds as tar leaves them, the first second, far ahead, and all the digits.
TIMES = [
    1_500_000_000_000_000_000,
    1_500_000_001_000_000_000,
    1,
    1_234_567_890_123_456_789,
    4_000_000_000_000_000_001,
]
# Some with a comment in front, which is how do_ignore tells to rename.
PATTERNS = [
    b"a",
    b"/b",
    b"c/",
    b"*.txt",
    b"!a",
    b"!c/",
    b"__*",
    b"a/**/f",
    b"b/*",
    b"# a",
]
RENAME_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def text(value: Word | str) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


class Editor:
    """Does operations in ``root``; ``away`` is beside it, for what is moved out."""

    def __init__(self, place: bytes) -> None:
        self.place = os.path.realpath(place)
        self.root = os.path.join(self.place, b"source")
        self.away = os.path.join(self.place, b"away")
        self.held: dict[int, int] = {}
        # The names that inodes had which were written to by one of several.
        self.shared: dict[int, set[bytes]] = {}
        for directory in (self.root, self.away):
            os.makedirs(directory, exist_ok=True)

    # -- doing --------------------------------------------------------------------------

    def do(self, op: Op) -> None:
        """Do one operation, as far as it can still be done."""
        verb, *words = op
        arguments = [w.encode("latin-1") if isinstance(w, str) else w for w in words]
        try:
            getattr(self, f"do_{verb}")(*arguments)
        except (OSError, shutil.Error):
            pass

    def at(self, path: bytes) -> bytes:
        """The full path, whose directory must not be a way out."""
        full = os.path.join(self.place, path)
        real = os.path.realpath(os.path.dirname(full))
        if not (real + b"/").startswith(self.place + b"/") or b".." in path.split(b"/"):
            raise PermissionError(full)
        return full

    def visible(self, path: bytes) -> bytes:
        """The full path, unless it is a link outside to a file that may be inside too.

        What is done through such a one inotify cannot tell; the audit is for that.
        """
        full = self.at(path)
        if not os.path.lexists(full):
            return full
        status = os.lstat(full)
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            if path.startswith(b"away/"):
                raise PermissionError(full)
            known = self.shared.setdefault(status.st_ino, set())
            known.update(self.names(status.st_ino))
        return full

    def names(self, inode: int) -> list[bytes]:
        """The names in the source of a file."""
        full = [os.path.join(self.place, path) for path in self.paths(b"source")[0]]
        return [path for path in full if os.lstat(path).st_ino == inode]

    def tell_of_shared(self) -> None:
        """Touch the files that were written through a name which is gone now.

        That is the audit's part too: the event came under a name that leads nowhere.
        """
        for inode, before in self.shared.items():
            names = self.names(inode)
            if names and not before.issubset(names):
                os.chmod(names[0], stat.S_IMODE(os.lstat(names[0]).st_mode))
        self.shared.clear()

    def fill(self, path: bytes, size: int, seed: int, flags: int) -> None:
        fd = os.open(
            self.visible(path), os.O_WRONLY | os.O_NOFOLLOW | os.O_CREAT | flags, 0o644
        )
        try:
            os.write(fd, random.Random(seed).randbytes(size))
        finally:
            os.close(fd)

    def do_write(self, path: bytes, size: int, seed: int) -> None:
        self.fill(path, size, seed, os.O_TRUNC)

    def do_append(self, path: bytes, size: int, seed: int) -> None:
        self.fill(path, size, seed, os.O_APPEND)

    def do_overwrite(self, path: bytes, size: int, seed: int) -> None:
        self.fill(path, size, seed, 0)

    def do_truncate(self, path: bytes, size: int) -> None:
        if not os.path.islink(self.at(path)):
            os.truncate(self.visible(path), size)

    def do_save(self, path: bytes, size: int, seed: int) -> None:
        """As most editors do: a temporary file, renamed."""
        temporary = path[:-1] + b"~"
        self.fill(temporary, size, seed, os.O_TRUNC)
        os.rename(self.at(temporary), self.at(path))

    def do_vim(self, path: bytes, size: int, seed: int) -> None:
        """The old file is moved aside, so that the name is gone for a moment."""
        backup = path + b"~"
        os.rename(self.at(path), self.at(backup))
        self.fill(path, size, seed, os.O_EXCL)
        os.chmod(self.at(path), 0o644)
        os.unlink(self.at(backup))

    def do_checkout(self, path: bytes, size: int, seed: int) -> None:
        """As git does: away with it, then anew."""
        if os.path.isdir(self.at(path)) and not os.path.islink(self.at(path)):
            shutil.rmtree(self.at(path))
        else:
            os.unlink(self.at(path))
        self.fill(path, size, seed, os.O_EXCL)

    def do_same_size(self, path: bytes, seed: int) -> None:
        """An edit that leaves size and modification time."""
        status = os.lstat(self.at(path))
        if stat.S_ISREG(status.st_mode):
            self.fill(path, status.st_size, seed, 0)
            os.utime(self.at(path), ns=(status.st_atime_ns, status.st_mtime_ns))

    def do_hold(self, number: int, path: bytes) -> None:
        self.do_drop(number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self.held[number] = os.open(self.at(path), flags, 0o644)

    def do_log(self, number: int, size: int, seed: int) -> None:
        """One line more into a file held open; it may have been moved meanwhile."""
        fd = self.held.get(number, -1)
        if fd < 0:
            return
        # inotify tells what is done through the name that was opened: nothing, if that
        # was removed while the file has another.
        name = os.readlink(f"/proc/self/fd/{fd}")
        if os.fstat(fd).st_nlink == 1 and not name.endswith(" (deleted)"):
            os.write(fd, random.Random(seed).randbytes(size))

    def do_drop(self, number: int) -> None:
        if number in self.held:
            os.close(self.held.pop(number))

    def do_mmap(self, path: bytes, seed: int) -> None:
        fd = os.open(self.visible(path), os.O_RDWR | os.O_NOFOLLOW)
        try:
            size = os.fstat(fd).st_size
            if size:
                with mmap.mmap(fd, size) as view:
                    view[: min(size, 64)] = random.Random(seed).randbytes(min(size, 64))
                    view.flush()
        finally:
            os.close(fd)
        os.utime(self.at(path))

    def do_rename(self, path: bytes, other: bytes) -> None:
        os.rename(self.at(path), self.at(other))

    def do_exchange(self, path: bytes, other: bytes) -> None:
        one, two = self.at(path), self.at(other)
        if _libc.renameat2(-100, one, -100, two, RENAME_EXCHANGE):
            raise OSError(ctypes.get_errno(), "renameat2")

    def do_swap(self, path: bytes, other: bytes) -> None:
        between = path + b".swap"
        self.do_rename(path, between)
        self.do_rename(other, path)
        self.do_rename(between, other)

    def do_symlink(self, target: bytes, path: bytes) -> None:
        assert not target.startswith(b"/") and b".." not in target.split(b"/")
        os.symlink(target, self.at(path))

    def do_relink(self, target: bytes, path: bytes) -> None:
        """ln -sfn"""
        self.do_symlink(target, path + b".new")
        os.rename(self.at(path + b".new"), self.at(path))

    def do_link(self, path: bytes, other: bytes) -> None:
        os.link(self.at(path), self.at(other), follow_symlinks=False)

    def do_chmod(self, path: bytes, mode: int) -> None:
        if not os.path.islink(self.at(path)):
            os.chmod(self.visible(path), mode)

    def do_utime(self, path: bytes, time: int) -> None:
        os.utime(self.visible(path), ns=(time, time), follow_symlinks=False)

    def do_unlink(self, path: bytes) -> None:
        os.unlink(self.at(path))

    def do_rmdir(self, path: bytes) -> None:
        os.rmdir(self.at(path))

    def do_rmtree(self, path: bytes) -> None:
        if not os.path.islink(self.at(path)):
            shutil.rmtree(self.at(path), ignore_errors=True)

    def do_mkdir(self, path: bytes) -> None:
        os.mkdir(self.at(path))

    def do_deep(self, path: bytes, name: bytes, depth: int, seed: int) -> None:
        """mkdir -p, and a file at once in each."""
        for _ in range(depth):
            os.mkdir(self.at(path))
            self.fill(path + b"/f", seed % 50, seed, 0)
            path += b"/" + name

    def do_burst(self, path: bytes, count: int, seed: int) -> None:
        """Many small files at once, as a package manager makes them."""
        for number in range(count):
            if number % 8 == 0:
                os.mkdir(self.at(path + b"/p%d" % number))
            self.fill(path + b"/p%d/%d" % (number // 8 * 8, number), 20, seed, 0)

    def do_copy(self, path: bytes, other: bytes) -> None:
        """cp -a"""
        if os.path.isdir(self.at(path)) and not os.path.islink(self.at(path)):
            if not (self.at(other) + b"/").startswith(self.at(path) + b"/"):
                shutil.copytree(self.at(path), self.at(other), symlinks=True)
        else:
            shutil.copy2(self.at(path), self.at(other), follow_symlinks=False)

    def do_overflow(self, path: bytes, count: int) -> None:
        """So many events that the kernel's queue cannot hold them."""
        one, two = self.at(path + b"/o1"), self.at(path + b"/o2")
        self.fill(path + b"/o1", 1, 1, 0)
        self.fill(path + b"/o2", 1, 2, 0)
        for _ in range(count // 2):
            os.chmod(one, 0o644)
            os.chmod(two, 0o644)

    def do_ignore(self, path: bytes, content: bytes) -> None:
        """Edit an ignore file in place, or by renaming, or remove it."""
        if not content:
            os.unlink(self.at(path))
        elif content.startswith(b"#"):
            self.do_relink(b"nowhere", path + b".tmp")
            os.unlink(self.at(path + b".tmp"))
            with open(self.at(path + b".tmp"), "xb") as file:
                file.write(content)
            os.rename(self.at(path + b".tmp"), self.at(path))
        else:
            with open(self.at(path), "wb") as file:
                file.write(content)

    def do_pause(self, milliseconds: float) -> None:
        """A person's hesitation."""
        select.select([], [], [], milliseconds / 1000)

    def do_clear(self) -> None:
        for number in list(self.held):
            self.do_drop(number)
        for directory in (self.root, self.away):
            for name in os.listdir(directory):
                full = os.path.join(directory, name)
                if os.path.isdir(full) and not os.path.islink(full):
                    shutil.rmtree(full, ignore_errors=True)
                else:
                    os.unlink(full)

    # -- drawing ------------------------------------------------------------------------

    def paths(self, top: bytes) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Files, directories (``top`` too) and symlinks there are at and below ``top``."""
        files: list[bytes] = []
        directories: list[bytes] = []
        links: list[bytes] = []
        stack = [top]
        while stack:
            directory = stack.pop()
            directories.append(directory)
            try:
                with os.scandir(os.path.join(self.place, directory)) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                path = directory + b"/" + entry.name
                if entry.is_symlink():
                    links.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    stack.append(path)
                else:
                    files.append(path)
        return files, directories, links

    def draw(
        self, dice: random.Random, names: Sequence[bytes], pauses: bool, ignoring: bool
    ) -> Op:
        """One operation that can be done now; ``ignoring``: .gitignore is edited too."""
        files, directories, links = self.paths(b"source")
        inner = directories[1:]
        every = files + inner + links
        fresh = dice.choice(directories) + b"/" + dice.choice(names)
        size = dice.choices(SIZES, SIZE_WEIGHTS)[0]
        seed = dice.randrange(1 << 30)
        anything = dice.choice(every) if every else fresh
        a_file = dice.choice(files) if files else fresh
        a_directory = dice.choice(inner) if inner else fresh
        somewhere = dice.choice([fresh, fresh, anything, a_file])
        way_out = b"away/" + dice.choice(names)
        outside = self.paths(b"away")
        target = dice.choice([*names, dice.choice(names) + b"/" + dice.choice(names)])
        slot = dice.randrange(2)
        if len(every) > 400:
            return self.op("rmtree", a_directory)
        choices: list[tuple[float, Callable[[], Op]]] = [
            (6, lambda: self.op("write", somewhere, size, seed)),
            (3, lambda: self.op("append", a_file, size % 5000, seed)),
            (2, lambda: self.op("overwrite", a_file, size % 5000, seed)),
            (2, lambda: self.op("truncate", a_file, size)),
            (4, lambda: self.op("save", somewhere, size, seed)),
            (2, lambda: self.op("vim", a_file, size, seed)),
            (3, lambda: self.op("checkout", anything, size, seed)),
            (1, lambda: self.op("same_size", a_file, seed)),
            (1, lambda: self.op("hold", slot, somewhere)),
            (3, lambda: self.op("log", slot, 1 + size % 300, seed)),
            (1, lambda: self.op("drop", slot)),
            (1, lambda: self.op("mmap", a_file, seed)),
            (5, lambda: self.op("rename", anything, fresh)),
            (3, lambda: self.op("rename", anything, somewhere)),
            (3, lambda: self.op("rename", a_directory, fresh)),
            (2, lambda: self.op("exchange", anything, dice.choice(every or [fresh]))),
            (2, lambda: self.op("swap", anything, dice.choice(every or [fresh]))),
            (3, lambda: self.op("rename", anything, way_out)),
            (2, lambda: self.op("rename", a_directory, way_out)),
            (3, lambda: self.op("symlink", target, fresh)),
            (2, lambda: self.op("relink", target, somewhere)),
            (2, lambda: self.op("link", a_file, fresh)),
            (3, lambda: self.op("chmod", a_file, dice.choice(FILE_MODES))),
            (2, lambda: self.op("chmod", a_directory, dice.choice(DIRECTORY_MODES))),
            (2, lambda: self.op("utime", anything, dice.choice(TIMES))),
            (3, lambda: self.op("unlink", anything)),
            (1, lambda: self.op("rmdir", a_directory)),
            (3, lambda: self.op("rmtree", a_directory)),
            (3, lambda: self.op("mkdir", fresh)),
            (4, lambda: self.op("deep", fresh, dice.choice(names), 1 + slot * 3, seed)),
            (0.3, lambda: self.op("burst", dice.choice(directories), 60, seed)),
            (2, lambda: self.op("copy", anything, fresh)),
        ]
        back = outside[0] + outside[1][1:] + outside[2]
        if back:
            returning = dice.choice(back)
            choices.append((4, lambda: self.op("rename", returning, somewhere)))
            choices.append((1, lambda: self.op("chmod", returning, 0o755)))
            inside = outside[0] + [one + b"/" + b"new" for one in outside[1][1:]]
            if inside:
                edited = dice.choice(inside)
                choices.append((2, lambda: self.op("write", edited, size, seed)))
        if ignoring:
            rules = dice.choice(directories) + b"/.gitignore"
            lines = b"\n".join(dice.choice(PATTERNS) for _ in range(dice.randrange(4)))
            choices.append((5, lambda: self.op("ignore", rules, lines)))
        if pauses:
            choices.append((6, lambda: self.op("pause", dice.choice([1, 5, 20, 60]))))
        weights = [weight for weight, _ in choices]
        return dice.choices([make for _, make in choices], weights)[0]()

    def op(self, verb: str, *words: Word) -> Op:
        return [verb, *map(text, words)]


def names_for(dice: random.Random) -> list[bytes]:
    """The names of one sequence: plain ones and a few that break programs."""
    hostile = [*HOSTILE_NAMES, *EVERY_BYTE]
    return dice.sample(NAMES, 4) + dice.choices(hostile, k=dice.choice([0, 2, 4]))


def serve(place: bytes, requests: Iterable[str], answer: Callable[[str], None]) -> None:
    """``{"draw": count, "seed": s, "pauses": bool}`` or ``{"do": ops}``, a line each."""
    editor = Editor(place)
    for line in requests:
        request = json.loads(line)
        done: list[Op] = []
        for op in request.get("do", ()):
            editor.do(op)
            if request.get("pace"):
                editor.do_pause(1000 * request["pace"])
        if "draw" in request:
            dice = random.Random(request["seed"])
            ignoring = request.get("ignoring", False)
            names = NAMES if ignoring else names_for(dice)
            for _ in range(request["draw"]):
                op = editor.draw(dice, names, request["pauses"], ignoring)
                editor.do(op)
                done.append(op)
        editor.tell_of_shared()
        answer(json.dumps(done))


def confined(place: Path) -> list[str]:
    """The words that start a program which can write nothing outside ``place``."""
    script = (
        'mount --make-rprivate / && mount --bind "$0" "$0"'
        ' && mount -o remount,ro,bind / && exec "$@"'
    )
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *rights, "--mount", "sh", "-c", script, str(place)]


class Hand:
    """The editor's process, seen from the test."""

    def __init__(self, place: Path) -> None:
        words = [*confined(place), sys.executable, __file__, str(place)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.request({"do": []})

    def request(self, what: dict[str, object]) -> list[Op]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the editor died"
        done: list[Op] = json.loads(answer)
        return done

    def draw(
        self, count: int, seed: object, pauses: bool = True, ignoring: bool = False
    ) -> list[Op]:
        """Do ``count`` operations drawn by ``seed``; which they were."""
        request = {"draw": count, "seed": str(seed), "pauses": pauses}
        return self.request({**request, "ignoring": ignoring})

    def do(self, *ops: Sequence[Word | str]) -> None:
        """Do operations: each a verb and its arguments."""
        self.request({"do": [list(map(text, op)) for op in ops]})

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def main() -> int:
    def answer(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    serve(os.fsencode(sys.argv[1]), sys.stdin, answer)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
