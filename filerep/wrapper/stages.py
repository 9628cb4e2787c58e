"""Which stages a job needs, with which options, joined how."""

from __future__ import annotations

import os
import signal

from filerep.wrapper.ownoutput import own_files
from filerep.wrapper.processes import PIPE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Optional

    from filerep.wrapper.job import Job
    from filerep.wrapper.processes import Processes

    # Runs the stage of a name, such as `pack`, with these words; its exit status.
    RunStage = Callable[[str, list[str]], int]


class Stages:
    """Starts fr-pack, fr-watch and fr-walk, each as soon as what it needs is there."""

    def __init__(
        self, job: Job, processes: Processes, run: RunStage, again: bool = False
    ) -> None:
        """``again``: it is after a loss, so nobody has seen what changed meanwhile."""
        self._job = job
        self._again = again
        self._walks = job.walks or again
        self._processes = processes
        self._run = run
        self._nothing = processes.nothing()
        self.errors, self._errors = processes.pipe()
        self._paths, self._urgent = self._inputs()
        self._far, self._far_told = processes.pipe()
        self.reports, self._report = processes.pipe()
        self.watch_ready = -1
        self.watching = False  # is fr-watch?
        # Is there nothing to wait for before fr-pack is told to begin?
        self.begins_at_once = self._walks or not job.watches

    def _inputs(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """What fr-pack reads, each with where to write it: first all paths, then changes."""
        return self._processes.pipe(PIPE_BYTES), self._processes.pipe()

    def start_pack(
        self, to_far: int, answers: int, mirrors: bool, bar: bool, state: Optional[str]
    ) -> None:
        """Start fr-pack, which waits for ``begin``, and what it needs no far end for."""
        options = ["--wire", str(self._far), "--answers-fd", str(answers)]
        options += ["--report-fd", str(self._report)]
        passed = [self._far, answers, self._report]
        if self._job.watches:
            options += ["--urgent-fd", str(self._urgent[0])]
            passed.append(self._urgent[0])
        if state:
            options += ["--state", state, "--about", self._job.about()]
        options += ["--progress"] if bar else []
        options += pack_options(self._job, mirrors, self._again)
        self._start("pack", options, self._paths[0], to_far, passed)
        self._processes.close(self._paths[0], self._urgent[0], self._far, self._report)

    def start_sources(self) -> None:
        """Start what names paths. fr-walk comes after fr-watch, where there is one."""
        if self._job.watches:
            self.watch_ready, told = self._processes.pipe()
            options = [*watch_options(self._job), "--ready-fd", str(told)]
            self._start("watch", options, self._nothing, self._urgent[1], [told])
            self._processes.close(told)
        elif self._walks:
            self._start_walk()
        self._processes.close(self._urgent[1])
        if not self._walks:
            self._processes.close(self._paths[1])
        if not (self._walks and self._job.watches):
            self._processes.close(self._errors)

    def ask_sync_point(self) -> None:
        self._processes.signal("fr-watch", signal.SIGUSR1)

    def name_last(self) -> None:
        """The end is asked for: have fr-watch name at once what it still holds."""
        if self.watching:
            self.ask_sync_point()

    def name_all(self) -> None:
        """Have fr-watch name all that there is."""
        self._processes.signal("fr-watch", signal.SIGUSR2)

    def hear_watch(self, far: str) -> None:
        """fr-watch has told that it watches, or has ended before it did."""
        self.watching = os.read(self.watch_ready, 1) == b"\n"
        self._processes.close(self.watch_ready)
        if self.watching and self._walks:
            self._start_walk()
            self._processes.close(self._errors)
        elif self.watching:
            self.begin(far)

    def begin(self, far: str) -> None:
        """Tell fr-pack what the far end is, whereupon it begins.

        Without a first copy it has nothing to wait for before it says "watching": so this
        waits until fr-watch does.
        """
        try:
            os.write(self._far_told, os.fsencode(far) + b"\n")
        except OSError:
            pass  # fr-pack has ended, which is told of
        self._processes.close(self._far_told)

    def _start_walk(self) -> None:
        options = self._job.rules() + verbosity(self._job)
        self._start("walk", options, self._nothing, self._paths[1])
        self._processes.close(self._paths[1])

    def _start(
        self,
        module: str,
        options: list[str],
        stdin: int,
        stdout: int,
        keep: Sequence[int] = (),
    ) -> None:
        words = [*options, os.fsdecode(self._job.way)]
        files = (stdin, stdout, self._errors)
        self._processes.start_stage(
            f"fr-{module}", lambda: self._run(module, words), files, keep
        )


# What the kernel's time stamps are behind the clock at most.
_STEP_NS = 20_000_000


def watch_options(job: Job) -> list[str]:
    options = ["--mark-gone", *job.rules()]
    for name in ("--poll", "--audit", "--watch-with"):
        if job.args[name] is not None:
            options += [name, job.args[name]]
    return options + verbosity(job)


def verbosity(job: Job) -> list[str]:
    return ["--verbose"] if job.args["--verbose"] else []


_PASSED_ON = (
    "--no-delete",
    "--dry-run",
    "--checksum",
    *("--compress", "--no-compress", "--whole-file", "--no-whole-file"),
)


def pack_options(job: Job, mirrors: bool, again: bool = False) -> list[str]:
    """What the job asks of fr-pack; ``mirrors`` unless it has been in sync before.

    ``again`` after a loss.
    """
    args = job.args
    options = ["--keepalive", f"{job.keepalive:g}", "--hold", f"{job.hold:g}"]
    options += ["--names"] if args["--events"] is not None else []
    for name in _PASSED_ON:
        options += [name] if args[name] else []
    if not job.walks:
        since_ns = job.began_ns - _STEP_NS
        options += ["--since", str(since_ns)] if again else ["--no-initial"]
    options += job.rules()
    if args["--mirror"] and mirrors:
        options += ["--mirror"] * args["--mirror"]
    if args["--on-sync"]:
        options += ["--on-sync", args["--on-sync"]]
    own = own_files(1, 2, *job.events_fds())
    options += ["--own", ",".join(f"{dev}:{ino}" for dev, ino in own)] if own else []
    return options
