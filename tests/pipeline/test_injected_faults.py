"""System calls that fail, one by one, in each stage and at the far end: no harm lasts.

strace(1) makes a call of a running process fail, as a full disk, a bad sector, or a machine out of
memory or descriptors would. The seed says which call of whom, with which error and when. Meanwhile
the source is edited. When the fault is over the destination becomes the same, or else the run has
ended, with a plain line and an exit status that `--help` knows.

FILEREP_HUNT=SECONDS goes on for so long with seeds never tried before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import farends
import pytest
from farends import FarEnd, local_shell
from operations import KINDS, Hands, draw
from pipelines import name_of, wrong
from programs import ROOT, Running, alive, environment, run, running, wait_for

from filerep.command import refused
from filerep.farend.shell import script_text
from filerep.replica.known.statewriter import FORGOTTEN

HUNT = float(os.environ.get("FILEREP_HUNT") or 0)

_DISK = ("EIO", "ENOSPC")
_LOOK = ("EIO", "ENOMEM", "EACCES")
_FEW = ("EMFILE", "ENFILE", "ENOMEM")
_FORKS = "clone,clone3,fork,vfork"

# Whose calls fail, and how; at the far end it is whatever process of it makes them.
CALLS: dict[str, dict[str, tuple[str, ...]]] = {
    "fr-pack": {
        "openat": (*_FEW, *_LOOK),
        "pread64,preadv,sendfile,splice,vmsplice": ("EIO", "ENOMEM"),
        "newfstatat,fstat,statx": _LOOK,
        "getdents64": ("EIO", "ENOMEM"),
        "readlinkat": ("EIO", "ENOMEM"),
        "pwrite64,writev,fsync,fdatasync,ftruncate,fallocate": _DISK,
        "rename,renameat,renameat2,unlink,unlinkat": _DISK,
        "mmap,mremap": ("ENOMEM",),
        "flock": ("EIO", "ENOLCK"),
    },
    "fr-watch": {
        "openat": (*_FEW, *_LOOK),
        "newfstatat,fstat,statx,fstatfs": _LOOK,
        "getdents64": ("EIO", "ENOMEM"),
        "inotify_add_watch": ("ENOSPC", "ENOMEM", "EACCES"),
        "inotify_init1": ("EMFILE", "ENFILE", "ENOMEM"),
        "mmap,mremap": ("ENOMEM",),
        "pread64,readlink,readlinkat": ("EIO", "ENOMEM"),
    },
    "fr-walk": {
        "openat": (*_FEW, *_LOOK),
        "newfstatat,fstat,statx": _LOOK,
        "getdents64": ("EIO", "ENOMEM"),
        "mmap,mremap": ("ENOMEM",),
    },
    "file-replicator": {
        "openat": (*_FEW, *_LOOK),
        "pipe2": _FEW,
        _FORKS: ("EAGAIN", "ENOMEM"),
        "socket,bind,listen,accept4,connect": (*_FEW, "EACCES", "ENOSPC"),
        "flock,ftruncate,pwrite64,fsync": (*_DISK, "ENOLCK"),
        "newfstatat,fstat,statx": _LOOK,
        "getdents64": ("EIO", "ENOMEM"),
        "mkdir,unlink,rename,chmod,unlinkat": _DISK,
        "fcntl,dup,dup2,dup3": ("EMFILE",),
    },
    "far end": {
        "openat,open,creat": (*_FEW, *_LOOK, *_DISK),
        "read": ("EIO", "ENOMEM"),
        "write": _DISK,
        "pipe,pipe2": _FEW,
        _FORKS: ("EAGAIN", "ENOMEM"),
        "execve": ("EAGAIN", "ENOMEM", "EIO"),
        "mkdir,mkdirat,mknod,mknodat": _DISK,
        "rename,renameat,renameat2": _DISK,
        "unlink,unlinkat,rmdir": ("EIO", "EBUSY"),
        "chmod,fchmod,fchmodat,utimensat": ("EIO", "EPERM"),
        "symlink,symlinkat,link,linkat": _DISK,
        "newfstatat,fstat,statx,stat,lstat": ("EIO", "ENOMEM"),
        "getdents64,chdir,fchdir": ("EIO", "ENOMEM"),
        "dup2,dup3": ("EMFILE",),
        "mmap,mremap": ("ENOMEM",),
    },
    # What strace has fail is not done: a pipe that a shell cannot close has no end.
    "tar": {"close": _DISK, "write": _DISK, "read": ("EIO",)},
    "perl": {
        "read": ("EIO", "ENOMEM"),
        "rename,renameat": _DISK,
        "newfstatat": ("EIO",),
    },
}
WHOM = [*CALLS, "far end", "fr-pack"]
SHELLS = ["bash-dash", "bash", "busybox", "dash"]
SEEDS = [2, 3, 4, 24, 28, 36, 41, 53, 61, 68]
STATUSES = (0, 1, 66, 69, 71)
# What no user can act upon.
PLAIN_NOT = ["internal error", "Traceback", "Errno"]
EDITS = [kind for kind in KINDS if kind not in ("hold", "write held", "release")]
PATIENCE = 40.0  # seconds

# With every module loaded: else each look of Python's for one would be a call to fail.
LOADED = """
import importlib, pkgutil, sys
import filerep
for module in pkgutil.walk_packages(filerep.__path__, "filerep."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import json, subprocess, traceback
from filerep.command import leave
from filerep.replicate import main
leave(main())
"""

# The far end's shell waits to be taken by strace, the first time.
GATE = """
if [ -p "$0" ]; then echo $$ >"$0.pid"; mv "$0.pid" "$0.at"; read -r _ <"$0"; fi
exec "$@"
"""


@dataclasses.dataclass(frozen=True)
class Fault:
    whom: str
    early: bool  # before the far end answers
    calls: str
    error: str
    when: str  # as strace has it; in each process by itself

    def __str__(self) -> str:
        moment = "from the start" if self.early else "later"
        return (
            f"{self.error} in call {self.when} of {self.calls} of {self.whom}, {moment}"
        )


def draw_fault(dice: random.Random) -> Fault:
    whom = dice.choice(WHOM)
    calls = dice.choice(list(CALLS[whom]))
    first = dice.choice([1, 1, 2, 3, dice.randrange(1, 8), dice.randrange(1, 30)])
    more = dice.choice(["", "", "+1", "+2", "+7", f"..{first + 5}"])
    early = whom == "fr-walk" or whom not in ("tar", "perl") and dice.random() < 0.5
    return Fault(whom, early, calls, dice.choice(CALLS[whom][calls]), f"{first}{more}")


def told(fault: Fault, shell: str) -> bool:
    """Is there anybody at such a far end who could make that call, and tell of it?"""
    if shell == "busybox" and "chmod" in fault.calls:
        return False  # its tar goes on as if nothing was
    return fault.whom != "perl" or "dash" in shell


class Strace:
    """Has calls of a process, and of those that it starts from now on, fail until ``end``."""

    def __init__(self, pid: int, fault: Fault, log: Path) -> None:
        (strace,) = farends.need("strace")
        self._log = log
        inject = f"inject={fault.calls}:error={fault.error}:when={fault.when}"
        words = [strace, "-f", "-o", str(log), "-e", f"trace={fault.calls}"]
        self._program = Running([*words, "-e", inject, "-p", str(pid)])
        self._program.says("attached")

    def struck(self) -> bool:
        return b"(INJECTED)" in self._log.read_bytes()

    def end(self) -> None:
        self._program.end(signal.SIGINT)
        self._program.close()


class Run:
    """file-replicator at work, and what is done to it."""

    def __init__(self, far: FarEnd, place: Path, seed: object) -> None:
        self.dice = random.Random(f"{seed}")
        self.fault = draw_fault(self.dice)
        while not told(self.fault, far.name.partition("+")[0]):
            self.fault = draw_fault(self.dice)
        self.watches = self.fault.whom != "fr-walk" and self.dice.random() < 0.8
        self.place = place
        self.source = place / "source"
        self.destination = far.here / "source"
        self.sub_second = far.sub_second
        self.struck = False
        self.forgot = False  # was the state file of no use at a moment?
        self.modeless = False  # was each chmod over there refused at a moment?
        self.opened = -1
        self.there = 0  # the far end's shell
        for name in ("source", "outside", "tmp"):
            (place / name).mkdir()
        self.gate = place / "gate"
        os.mkfifo(self.gate)
        self.hands = Hands(self.source, place / "outside")
        (self.source / "large").write_bytes(self.dice.randbytes(300_000))
        self.edit(60)
        once = [] if self.watches else ["--once"]
        options = ["--connect-timeout", "15", "--keepalive", "2", "--audit", "1"]
        self.words = [*once, *options, "--editor-files", str(self.source), far.parent]
        self.words += ["sh", "-c", GATE, str(self.gate), *far.command]
        self.env = environment(
            XDG_STATE_HOME=str(place / "state"), TMPDIR=str(place / "tmp")
        )

    def edit(self, count: int) -> None:
        self.hands.do_all([draw(self.dice, EDITS) for _ in range(count)])

    def go(self) -> None:
        """The whole of it; raises ``AssertionError`` with what is wrong."""
        program_words = ["file-replicator"]
        if "stat" in self.fault.calls or self.dice.random() < 0.7:
            program_words = [sys.executable, "-c", LOADED]
        with running(*program_words, *self.words, env=self.env) as program:
            try:
                self._strike(program)
                if self.watches and program.process.poll() is None:
                    self._converges(program)
                    self._rests(program)
                    program.signal(signal.SIGINT)
                self._ended(program)
            except AssertionError as error:
                said = bytes(program.errors[-3000:]).decode(errors="backslashreplace")
                raise AssertionError(
                    f"{self.fault}: {error}\nit said: {said}"
                ) from None
        self._nothing_stays()

    def _strike(self, program: Running) -> None:
        """Have the fault happen, while the source is edited, and be over."""
        at = Path(f"{self.gate}.at")
        wait_for(at.exists, process=program.process)
        self.there = int(at.read_text())  # whatever shell it becomes
        strace = self._attach(program) if self.fault.early else None
        self._open()
        with contextlib.suppress(AssertionError):  # it may have ended, or not succeed
            program.says("in sync", 3 if self.watches else 20)
        if not self.fault.early:
            strace = self._attach(program)
            if self.fault.whom == "file-replicator" and strace is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.there, signal.SIGKILL)  # it connects again
        if self.watches:
            self.edit(30)
            self._wait(program, 0.5, lambda: strace is None or strace.struck())
            self.edit(10)
            self._wait(program, self.dice.choice([0.0, 0.05, 0.3]))
        if strace is not None:
            self.struck = strace.struck()
            strace.end()
        if self.watches:
            self.edit(5)

    def _open(self) -> None:
        # For reading too: who should read may have ended.
        self.opened = os.open(self.gate, os.O_RDWR)
        os.write(self.opened, b"\n")
        self.gate.unlink()

    def _wait(
        self,
        program: Running,
        seconds: float,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        with contextlib.suppress(AssertionError):
            program.wait_for(until, seconds)

    def _attach(self, program: Running) -> Strace | None:
        with contextlib.suppress(AssertionError):  # it may have ended
            pid = self._pid(program)
            return Strace(pid, self.fault, self.place / "strace") if pid else None
        return None

    def _pid(self, program: Running) -> int:
        whom = self.fault.whom
        if whom == "far end":
            return self.there
        if whom in ("file-replicator", "fr-walk"):
            return program.process.pid  # by which fr-walk is started
        for pid in program.family():
            with contextlib.suppress(OSError):
                if name_of(pid) == whom:
                    return pid
        return 0

    def close(self) -> None:
        self.hands.close()
        if self.opened >= 0:
            os.close(self.opened)

    def _converges(self, program: Running) -> None:
        """--wait comes to say that all is there, and it is."""
        deadline = time.monotonic() + PATIENCE
        while True:
            words = ["timeout", "20", "file-replicator", "--wait", *self.words]
            done = run(words, env=self.env)
            self._hear(program)
            said = self._wrong()
            ended = program.process.poll() is not None
            if ended or done.returncode == 0 and not said:
                return
            assert time.monotonic() < deadline, (
                f"--wait ended with {done.returncode}, {done.stderr!r},"
                f" and source, not destination:\n{said}"
            )

    def _hear(self, program: Running) -> None:
        """What it has said that it cannot know, or do, until another start."""
        self.forgot = FORGOTTEN.encode() in program.errors
        self.modeless = b"keeps no permission bits" in program.errors

    def _wrong(self) -> str:
        """How the copy differs, but for that."""
        lines = wrong(self.source, self.destination, self.sub_second).splitlines()
        if self.forgot:
            lines = [one for one in lines if ": nothing, not" not in one]
        if self.modeless:
            lines = [one for one in lines if not _differs_in_mode_alone(one)]
        return "\n".join(lines)

    def _rests(self, program: Running) -> None:
        if program.process.poll() is None:
            before = ticks(program)
            self._wait(program, 0.3)
            assert ticks(program) - before < 0.1 * os.sysconf("SC_CLK_TCK"), "is busy"

    def _ended(self, program: Running) -> None:
        status = program.end(timeout=PATIENCE)
        said = program.errors.decode(errors="backslashreplace")
        self._hear(program)
        assert not [word for word in PLAIN_NOT if word in said], "not plain"
        if not self.watches or status != 130:
            assert status in STATUSES, f"ended with {status}"
            assert status == 0 or said, f"ended with {status}, without a word"
        if status == 0:
            assert not self._wrong(), "ended with 0"
        wait_for(lambda: not [pid for pid in program.family() if alive(pid)], 5)

    def _nothing_stays(self) -> None:
        """A last run, without faults, has all there and nothing else."""
        self.modeless = False
        once = ["--once", *[word for word in self.words if word != "--once"]]
        done = run(["file-replicator", *once], env=self.env)
        assert done.returncode == 0, f"{self.fault}, then {done.stderr!r}"
        # That it cannot know what was sent may be said by the start after the fault alone.
        self.forgot = self.forgot or FORGOTTEN.encode() in done.stderr
        said = self._wrong()
        assert not said, f"{self.fault}, then\n{said}\n{done.stderr!r}"
        left = [name for name in os.listdir(self.destination) if ".filerep-" in name]
        assert not left, f"{self.fault}: stays: {left}"
        left = os.listdir(self.place / "tmp")
        assert not left, f"{self.fault}: stays in TMPDIR: {left}"


def _differs_in_mode_alone(line: str) -> bool:
    here, _, there = re.sub(r"'0o\d+'", "", line).partition(", not ")
    return here.partition(": ")[2] == there


def ticks(program: Running) -> int:
    """Of a processor, by all of it so far."""
    used = 0
    for pid in [program.process.pid, *program.family()]:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used += int(fields[11]) + int(fields[12])
    return used


def try_seed(base: Path, seed: int) -> Run:
    shell = SHELLS[seed % len(SHELLS)]
    tar = "busybox" if shell == "busybox" else "gnu"
    far = local_shell(shell, tar, base).fresh()
    with farends.place("fr-faults-") as place:
        one = Run(far, place, seed)
        try:
            one.go()
        except AssertionError as error:
            keep(place, seed)
            raise AssertionError(f"seed {seed}, {shell}: {error}") from None
        finally:
            one.close()
    return one


def keep(place: Path, seed: int) -> None:
    """With FILEREP_TRACE=DIRECTORY: what strace saw."""
    if os.environ.get("FILEREP_TRACE") and (place / "strace").exists():
        where = Path(os.environ["FILEREP_TRACE"]) / f"{seed}"
        where.mkdir(parents=True, exist_ok=True)
        shutil.copy(place / "strace", where)


# Each strikes somebody else, or another call.
@pytest.mark.parametrize("seed", SEEDS)
def test_a_failing_call_does_no_lasting_harm(base: Path, seed: int) -> None:
    try_seed(base, seed)


# --- found in this way -------------------------------------------------------------------

SCRIPT = "filerep/farend/scripts/unpack_gnu.sh"
MODULE = "filerep/replica/conversation.py"
REFUSED = [
    ("openat", f"{ROOT}/{SCRIPT}", "the system refused '{}': Input/output error"),
    ("newfstatat", f"{ROOT}/{MODULE}", "cannot load 'filerep.replica.conversation', a"),
    # Without it, a copy into SRC_DIR would not be refused.
    ("openat", "/proc/sys/kernel/random/boot_id", "the system refused '{}': Input/"),
]


def once_failing(
    place: Path, calls: str, path: str | Path
) -> subprocess.CompletedProcess[bytes]:
    """A copy of ``src``, in which these calls with ``path`` end with EIO."""
    (strace,) = farends.need("strace")
    (place / "there").mkdir(exist_ok=True)
    faulty = [strace, "-f", "-o", str(place / "strace"), "-P", str(path)]
    faulty += ["-e", f"inject={calls}:error=EIO", "file-replicator", "--once"]
    env = environment(XDG_STATE_HOME=str(place / "state"))
    return run([*faulty, place / "src", place / "there", "bash"], env=env)


@pytest.mark.parametrize(("calls", "path", "words"), REFUSED)
def test_what_the_system_refuses_is_no_bug(
    calls: str, path: str, words: str, place: Path
) -> None:
    (place / "src").mkdir()
    (place / "src/f").write_text("1")
    done = once_failing(place, calls, path)
    assert done.returncode == 71, done.stderr
    assert words.format(path) in done.stderr.decode()
    assert b"internal error" not in done.stderr


def test_an_encoding_that_cannot_be_loaded_is_no_bug() -> None:
    with pytest.raises(LookupError) as caught:
        b"1".decode("as good as not there")
    assert "cannot load 'encodings.as good" in refused(caught.value)
    assert not refused(LookupError("another"))


def test_a_script_that_an_upgrade_has_taken_away_is_no_bug() -> None:
    with pytest.raises(ImportError) as caught:
        script_text("a part")
    assert "cannot load 'a part.sh', a part of the program" in refused(caught.value)


def test_a_state_file_that_cannot_be_used_is_done_without_and_goes(
    place: Path,
) -> None:
    """What it says is older than what happens from now on."""
    (place / "src").mkdir()
    for text in ("1", "2"):
        (place / "src/f").write_text(text)
        state = [*place.glob("state/*/*.state"), place / "none"][0]
        done = once_failing(place, "flock", state)
        assert done.returncode == 0, done.stderr
        assert (place / "there/src/f").read_text() == text
    assert b"cannot write the state file, Input/output error: what is removed" in (
        done.stderr
    )
    assert not state.exists()


def test_what_could_not_be_read_for_a_moment_arrives_by_itself(
    base: Path, place: Path
) -> None:
    far = local_shell("dash", "gnu", base).fresh()
    (place / "src").mkdir()
    words = [str(place / "src"), far.parent, *far.command]
    # So that no other module is loaded meanwhile.
    options = ["--audit", "0", "--whole-file", "--no-compress"]
    with running("file-replicator", *options, *words) as program:
        program.says("in sync")
        (pack,) = [pid for pid in program.family() if name_of(pid) == "fr-pack"]
        fault = Fault("fr-pack", False, "openat", "EIO", "1+")
        strace = Strace(pack, fault, place / "strace")
        (place / "src/f").write_text("1")
        program.says("cannot read 'f': Input/output error")
        assert run(["file-replicator", "--wait", *words]).returncode == 69
        strace.end()
        program.wait_for((far.here / "src/f").exists)
        assert run(["file-replicator", "--wait", *words]).returncode == 0


def test_a_list_that_the_mover_cannot_read_is_not_acknowledged(
    base: Path, place: Path
) -> None:
    far = local_shell("dash", "gnu", base).fresh()
    (place / "src").mkdir()
    (place / "src/f").write_text("1")
    words = [str(place / "src"), far.parent, *far.command]
    with running("file-replicator", *words) as program:
        program.says("in sync")
        (mover,) = [pid for pid in program.family() if name_of(pid) == "perl"]
        strace = Strace(
            mover, Fault("perl", False, "read", "EIO", "2"), place / "strace"
        )
        (place / "src/f").write_text("2")
        program.wait_for(strace.struck)
        strace.end()
        program.says("connected again")
        program.wait_for(lambda: (far.here / "src/f").read_text() == "2")


def test_a_directory_that_busybox_tar_could_not_make_is_not_acknowledged(
    base: Path, place: Path
) -> None:
    """It says so, and ends with 0; the file in it has made it, with another mode."""
    far = local_shell("busybox", "busybox", base).fresh()
    (place / "src").mkdir()
    shell = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', str(place / "pid"), *far.command]
    words = [str(place / "src"), far.parent, *shell]
    with running("file-replicator", *words) as program:
        program.says("in sync")
        fault = Fault("far end", False, "mkdir", "EIO", "2")
        strace = Strace(int((place / "pid").read_text()), fault, place / "strace")
        (place / "src/g").write_text("the next tar is one that strace sees start")
        program.says("sent 'g'")
        (place / "outside/d").mkdir(0o755, parents=True)
        (place / "outside/d/f").write_text("1")
        (place / "outside/d").rename(place / "src/d")
        program.says("cannot write 'd/f' at the far end: tar: can't make dir")
        strace.end()
        assert run(["file-replicator", "--wait", *words]).returncode == 0
        assert not wrong(place / "src", far.here / "src", far.sub_second)


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("1", "before the far end was ready: its shell could not make a pipe"),
        ("5", "the far end refused: its shell could not make a pipe"),
    ],
)
def test_bash_that_could_not_make_a_pipe_does_not_wait_for_itself(
    when: str, said: str, base: Path, place: Path
) -> None:
    """It closes its standard input then, and the next pipe takes that place."""
    far = local_shell("bash", "gnu", base).fresh()
    (place / "src").mkdir()
    (strace,) = farends.need("strace")
    calls = f"inject=pipe,pipe2:error=ENFILE:when={when}"
    faulty = [strace, "-f", "-o", str(place / "strace"), "-e", calls, *far.command]
    options = ["--once", "--connect-timeout", "5"]
    words = [*options, str(place / "src"), far.parent, "--", *faulty]
    with running("file-replicator", *words) as program:
        assert program.end() == 69
        assert said in program.errors.decode()
        wait_for(lambda: not [pid for pid in program.family() if alive(pid)], 5)


@pytest.mark.timeout(HUNT + 300)
def hunt(base: Path) -> None:
    deadline = time.monotonic() + HUNT
    seed = first = int(os.environ.get("FILEREP_SEED") or time.time())
    struck = 0
    failed: list[str] = []
    while time.monotonic() < deadline:
        try:
            one = try_seed(base, seed)
            struck += one.struck
        except Exception as error:
            failed.append(f"{error}")
            print(f"\n===== {seed} {error}", flush=True)
        seed += 1
    print(f"seeds {first} to {seed}: {struck} struck")
    assert not failed, f"{len(failed)} failed"


if HUNT:  # not skipped otherwise, but no test at all
    test_hunt = hunt
