"""fr-watch as a program: what other programs do to a tree, and what can go wrong."""

from __future__ import annotations

import mmap
import os
import random
import select
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from operations import Hands, draw, exchange
from programs import Running, environment, run, running, wait_for
from watching import Watching, watching

# How many seconds a random test goes on when it is to hunt.
HUNT = float(os.environ.get("FILEREP_HUNT", "0"))


def need(program: str, package: str) -> str:
    found = shutil.which(program)
    if not found:
        pytest.skip(f"needs {program}: apt-get install {package}")
    return found


def need_unshare(*options: str) -> list[str]:
    argv = [need("unshare", "util-linux"), *options]
    if subprocess.run([*argv, "true"], capture_output=True).returncode:
        pytest.skip(f"needs to be allowed to run unshare {' '.join(options)}")
    return argv


@pytest.fixture
def source(place: Path) -> Path:
    made = place / "source"
    made.mkdir(mode=0o755)
    return made


def git(source: Path, *words: str) -> None:
    need("git", "git")
    names = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "init.defaultBranch=m"]
    subprocess.run(
        ["git", "-C", str(source), *names, *words], check=True, capture_output=True
    )


# How programs save.


def sed_in_place(source: Path) -> None:
    subprocess.run(["sed", "-i", "s/old/new/", str(source / "f")], check=True)


def vim(source: Path, *settings: str) -> None:
    # Outside /tmp's backupskip, which would have it write in place.
    argv = [need("vim", "vim"), "-Nu", "NONE", "-es", "-c", "set backupskip="]
    for setting in settings:
        argv += ["-c", f"set {setting}"]
    argv += ["-c", "%s/old/new/", "-c", "wq", str(source / "f")]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def emacs(source: Path, *settings: str) -> None:
    argv = [need("emacs", "emacs-nox"), "--batch", "-Q", str(source / "f")]
    for setting in settings:
        argv += ["--eval", setting]
    argv += ["--eval", '(progn (insert "new") (save-buffer))']
    argv += ["--eval", '(progn (insert "newer") (save-buffer))']
    subprocess.run(argv, check=True, capture_output=True)


def vs_code(source: Path) -> None:
    """Opens the file truncating it, writes, closes."""
    fd = os.open(source / "f", os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"new")
    os.close(fd)


def jetbrains(source: Path) -> None:
    """Its safe write: the old file steps aside for a new one, and is then deleted."""
    (source / "f___jb_tmp___").write_text("new")
    (source / "f").rename(source / "f___jb_old___")
    (source / "f___jb_tmp___").rename(source / "f")
    (source / "f___jb_old___").unlink()


def link_replaced(source: Path) -> None:
    subprocess.run(["ln", "-sfn", "elsewhere", str(source / "l")], check=True)


def tar_with_old_times(source: Path) -> None:
    packed = source.parent / "packed"
    (packed / "d/e").mkdir(parents=True)
    for name in ("f", "d/e/g"):
        (packed / name).write_text("from the archive")
        os.utime(packed / name, (86400, 86400))
    archive = source.parent / "archive.tar"
    subprocess.run(["tar", "-C", str(packed), "-cf", str(archive), "."], check=True)
    subprocess.run(["tar", "-C", str(source), "-xf", str(archive)], check=True)


def mapped_write(source: Path) -> None:
    with open(source / "f", "r+b") as file:
        with mmap.mmap(file.fileno(), 0) as memory:
            memory[:3] = b"new"


def truncated(source: Path) -> None:
    os.truncate(source / "f", 1)


def moved_out_edited_and_back(source: Path) -> None:
    (source / "d").rename(source.parent / "away")
    (source.parent / "away/g").write_text("edited elsewhere")
    (source.parent / "away/gone").unlink()
    (source.parent / "away").rename(source / "d")


def swapped(source: Path) -> None:
    (source / "d2").mkdir()
    (source / "d2/g").write_text("the other")
    exchange(bytes(source / "d"), bytes(source / "d2"))


def file_to_directory_and_back(source: Path) -> None:
    (source / "f").unlink()
    (source / "f").mkdir()
    (source / "f/in").write_text("1")
    shutil.rmtree(source / "f")
    (source / "f").write_text("a file again")


def times_only(source: Path) -> None:
    os.utime(source / "f", ns=(1, 10**18 + 1))


def burst(source: Path) -> None:
    for package in range(100):
        directory = source / f"node/package{package}/lib/deep"
        directory.mkdir(parents=True)
        for name in range(20):
            (directory / f"{name}.js").write_text("x")


HABITS: dict[str, Callable[[Path], None]] = {
    "sed -i": sed_in_place,
    "vim": vim,
    "vim with backupcopy=yes": lambda source: vim(source, "backupcopy=yes", "backup"),
    "vim with backupcopy=no": lambda source: vim(source, "backupcopy=no"),
    "emacs": emacs,
    "emacs being precious": lambda s: emacs(s, "(setq file-precious-flag t)"),
    "VS Code": vs_code,
    "JetBrains": jetbrains,
    "ln -sfn": link_replaced,
    "tar with old times": tar_with_old_times,
    "a mapped write": mapped_write,
    "truncate(2)": truncated,
    "a directory moved out, edited and moved back": moved_out_edited_and_back,
    "two directories swapped": swapped,
    "a file, then a directory, then a file": file_to_directory_and_back,
    "utime(2)": times_only,
    "a burst of small files": burst,
}


@pytest.mark.parametrize("options", [(), ("--poll", "100")], ids=["inotify", "poll"])
@pytest.mark.parametrize("habit", HABITS)
def test_what_programs_do_arrives(
    habit: str, options: tuple[str, ...], source: Path
) -> None:
    (source / "f").write_text("old and long enough")
    (source / "d").mkdir()
    (source / "d/g").write_text("old")
    (source / "d/gone").write_text("old")
    (source / "l").symlink_to("f")
    # Editors' own files too, which are left out by default.
    with watching(source, "--include", "*", *options) as it:
        HABITS[habit](source)
        it.assert_converged()


@pytest.mark.parametrize("options", [(), ("--poll", "100")], ids=["inotify", "poll"])
def test_git_checkout_and_stash_arrive(options: tuple[str, ...], source: Path) -> None:
    git(source, "init")
    for branch, names in (("m", ["a/f", "b/f"]), ("other", ["a/g", "c/d/f"])):
        git(source, "checkout", "--orphan", branch)
        for name in names:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(branch)
        git(source, "add", ".")
        git(source, "commit", "-m", branch)
        git(source, "rm", "-rq", "--cached", ".")
        for name in names:
            shutil.rmtree(source / name.split("/")[0], ignore_errors=True)
    git(source, "checkout", "-f", "m")
    with watching(source, *options) as it:
        for path in [p for p in it.sink.table if p.startswith(b".git")]:
            del it.sink.table[path]
        for branch in ("other", "m", "other", "m"):
            git(source, "checkout", branch)
        (source / "a/f").write_text("edited")
        git(source, "stash")
        it.sync()
        assert same_but_git(it)
        git(source, "stash", "pop")
        it.sync()
        assert same_but_git(it)
        assert (source / "a/f").read_text() == "edited"


def same_but_git(it: Watching) -> bool:
    lines = it.sink.differences().splitlines()
    return not [line for line in lines if not line.startswith("b'.git")]


def test_a_log_held_open_arrives_while_it_is_written(source: Path) -> None:
    with watching(source) as it, open(source / "log", "w") as log:
        for number in range(5):
            log.write(f"{number}\n")
            log.flush()
            it.until(b"log")
        it.assert_converged()


# Timing.


def test_a_save_is_named_at_once_when_idle(source: Path) -> None:
    with watching(source) as it:
        took = []
        for number in range(50):
            with open(source / f"f{number}", "w") as file:
                file.write("x")
                began = time.perf_counter()
            it.until(b"f%d" % number)
            took.append(time.perf_counter() - began)
        # Under a millisecond on an idle machine, which the one that tests need not be.
        assert sorted(took)[25] < 0.005


def test_idle_it_does_not_wake(source: Path) -> None:
    # What others mount does wake it, and what comes into a directory on the way to the users'
    # ignore file, as /tmp is in other tests. So it has mounts of its own, and no such file.
    alone = [*need_unshare("-m"), "env", "XDG_CONFIG_HOME=/nonexistent"]
    with watching(source, audit="auto", before=alone) as it:
        (source / "f").write_text("x")
        it.sync()
        # It may have something to do yet: one quiet second is enough.
        for _ in range(10):
            before = switches(it.program)
            select.select([it.out], [], [], 1.0)
            if switches(it.program) == before:
                return
        pytest.fail("it woke in each of ten seconds")


def switches(program: Running) -> int:
    with open(f"/proc/{program.process.pid}/status") as file:
        return next(int(x.split()[1]) for x in file if x.startswith("voluntary"))


def test_nothing_is_lost_while_the_reader_is_blocked(source: Path) -> None:
    for number in range(100):
        (source / f"d{number}").mkdir()
    with watching(source) as it:
        began = time.monotonic()
        for number in range(50_000):
            path = source / f"d{number % 100}/f{number}"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        # As long as the writes took, at least, nobody read.
        assert time.monotonic() - began > 0
        records = it.sync()
        # Some were told before the pipe was full, and once more when they were closed.
        assert len(set(records)) == 50_000 and len(records) < 51_000
        assert not it.program.errors


# Overflow.


@pytest.mark.parametrize("changes", [200_000 if HUNT else 20_000])
def test_an_overflowing_queue_is_healed(changes: int, source: Path) -> None:
    for number in range(50):
        (source / f"d{number}").mkdir()
        (source / f"d{number}/old").write_text("old")
        (source / f"d{number}/gone").write_text("old")
    with watching(source) as it:
        it.program.signal(signal.SIGSTOP)
        for number in range(changes):
            path = source / f"d{number % 50}/f{number % 500}"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        for number in range(50):
            (source / f"d{number}/gone").unlink()
        (source / "d0").rename(source / "moved")
        it.program.signal(signal.SIGCONT)
        it.assert_converged()
        it.program.says("fr-watch: the kernel lost events")
        assert b"d1/old" not in it.sink.sent
        assert b"d1/gone" not in it.sink.table
        (source / "moved/old").write_text("new")
        it.assert_converged()


# Limits.


def test_out_of_watches_it_says_which_limit_and_polls(source: Path) -> None:
    for number in range(30):
        (source / f"d{number}").mkdir()
    script = 'echo 20 >/proc/sys/user/max_inotify_watches && exec "$@"'
    before = [*need_unshare("-Ur"), "sh", "-c", script, "sh"]
    with watching(source, "--poll", "0", before=before) as it:
        said = it.program.says("polling instead")
        assert "cannot watch 31 directories" in said
        assert "user.max_inotify_watches is 20" in said
        assert "sudo sysctl user.max_inotify_watches=" in said
        (source / "d7/f").write_text("x")
        assert b"d7/f" in it.sync()


def test_out_of_watches_later_it_goes_on_by_polling(source: Path) -> None:
    (source / "old").write_text("x")
    script = 'echo 20 >/proc/sys/user/max_inotify_watches && exec "$@"'
    before = [*need_unshare("-Ur"), "sh", "-c", script, "sh"]
    with watching(source, before=before) as it:
        for number in range(30):
            (source / f"d{number}").mkdir()
            (source / f"d{number}/f").write_text("x")
        it.program.says("polling instead")
        it.assert_converged()
        (source / "d29/f").unlink()
        it.assert_converged()


def test_out_of_instances_it_says_which_limit_and_polls(source: Path) -> None:
    script = 'echo 0 >/proc/sys/user/max_inotify_instances && exec "$@"'
    before = [*need_unshare("-Ur"), "sh", "-c", script, "sh"]
    with watching(source, before=before) as it:
        assert "user.max_inotify_instances is 0" in it.program.says("polling instead")
        (source / "f").write_text("x")
        it.assert_converged()


def test_without_inotify_it_polls(source: Path, place: Path) -> None:
    (place / "hidden").mkdir()
    (place / "hidden/inotify_simple.py").write_text("raise ImportError('hidden')\n")
    path = f"{place / 'hidden'}{os.pathsep}{environment()['PYTHONPATH']}"
    with watching(source, env=environment(PYTHONPATH=path)) as it:
        it.program.says("polling instead")
        (source / "f").write_text("x")
        it.until(b"f")


# What inotify cannot see.


def test_the_audit_heals_a_write_through_a_link_outside(source: Path) -> None:
    (source / "f").write_text("old")
    os.link(source / "f", source.parent / "outside")
    with watching(source, audit="0.1") as it:
        (source.parent / "outside").write_text("new")
        it.until(b"f")
        it.assert_converged()


def test_the_audit_heals_a_live_mapping(source: Path) -> None:
    (source / "f").write_bytes(b"old" * 2000)
    with open(source / "f", "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    with watching(source, audit="0.1") as it, memory:
        memory[:3] = b"new"
        memory.flush()
        it.until(b"f")
        it.assert_converged()


def test_the_audit_names_only_what_has_changed(source: Path) -> None:
    (source / "old").write_text("old")
    os.utime(source / "old", (1, 1))
    quiet = time.time_ns() + 2_200_000_000
    wait_for(lambda: time.time_ns() > quiet)
    with watching(source, audit="0.1") as it:
        (source / "new").write_text("new")
        it.until(b"./")
        it.until(b"./")
        assert it.sink.sent == [b"new"]
        records = it.sync()
        assert b"old" not in records and b"new" not in records  # which was named before


# Directories that make difficulties.


@pytest.mark.parametrize("options", [(), ("--poll", "60")], ids=["inotify", "poll"])
def test_by_sigusr2_all_that_is_there_is_named(
    source: Path, options: tuple[str, ...]
) -> None:
    (source / "d").mkdir()
    (source / "d/f").write_text("1")
    with watching(source, *options) as it:
        it.sync()  # what is younger than the first look may be named
        it.program.signal(signal.SIGUSR2)
        it.until(b"d/f")


def test_an_unreadable_directory_is_named_once_and_taken_in_later(source: Path) -> None:
    before = []
    if os.geteuid() == 0:
        without = "-dac_override,-dac_read_search"
        before = [need("setpriv", "util-linux"), "--inh-caps", without]
        before += ["--bounding-set", without]
    for name in ("closed/in", "open"):
        (source / name).mkdir(parents=True)
    (source / "closed/in/f").write_text("1")
    (source / "closed").chmod(0)
    with watching(source, before=before) as it:
        (source / "open/f").write_text("1")
        assert b"open/f" in it.sync()
        (source / "closed").chmod(0o755)
        assert b"closed/in/f" in it.sync()
        (source / "closed/in/f").write_text("2")
        assert b"closed/in/f" in it.sync()
        said = bytes(it.program.errors).decode()
        assert said == "fr-watch: cannot read 'closed': Permission denied\n"
        it.leave()
        assert it.program.end() == 1


def test_a_mount_inside_is_watched_and_its_end_noticed(source: Path) -> None:
    before = need_unshare("-m")
    (source / "m").mkdir()
    (source / "m/below").write_text("1")
    with watching(source, before=before) as it:
        enter = ["nsenter", "-m", "-t", str(it.program.process.pid)]
        mounted = [*enter, "mount", "-t", "tmpfs", "none", str(source / "m")]
        subprocess.run(mounted, check=True)
        assert b"m/" in it.sync()
        inside = [*enter, "touch", str(source / "m/inside")]
        subprocess.run(inside, check=True)
        assert b"m/inside" in it.sync()
        subprocess.run([*enter, "umount", str(source / "m")], check=True)
        assert {b"m/", b"m/below"} <= set(it.sync())
        (source / "m/below").write_text("2")
        assert b"m/below" in it.sync()


# Another program in inotify's place.

TELLERS = {
    "fswatch": "fswatch -0 -r .",
    "fswatch by lines": "fswatch -r .",
    "inotifywait": "inotifywait -q -m -r --format %w%f .",
    "silence": "exec sleep 1000",
    "its end": "exit 3",
    "rubbish": "head -c 300000 /dev/urandom; exec sleep 1000",
    "paths outside": "printf '/etc/passwd\\0../x\\0/\\0'; exec sleep 1000",
    "nothing to run": "nonexistent-program",
}


@pytest.mark.parametrize("teller", TELLERS)
def test_what_another_program_tells_or_misses_is_named(
    teller: str, source: Path
) -> None:
    command = TELLERS[teller]
    if command.split()[0] in ("fswatch", "inotifywait"):
        need(command.split()[0], command.split()[0].replace("wait", "-tools"))
    (source / "d").mkdir()
    (source / "d/f").write_text("old")
    (source / "gone").write_text("old")
    (source / ".gitignore").write_text("*.log\n")
    with watching(source, "--watch-with", command) as it:
        (source / "d/f").write_text("new")
        (source / "gone").unlink()
        (source / "n/m").mkdir(parents=True)
        (source / "n/m/f").write_text("new")
        (source / "a.log").write_text("ignored")
        it.sync()
        it.sink.table.pop(b"a.log", None)
        assert not [x for x in it.sink.differences().splitlines() if "a.log" not in x]
        assert b"a.log" not in it.sink.sent
        (source / ".gitignore").write_text("")
        it.assert_converged()
        said = bytes(it.program.errors).decode()
        if teller != "rubbish":  # in which there may be a path outside, or none
            assert ("which is not in" in said) == (teller == "paths outside")
        assert ("polling instead" in said) == (teller in ("its end", "nothing to run"))


def test_a_program_that_tells_is_believed_at_once_and_ended_with_us(
    source: Path, place: Path
) -> None:
    (source / "f").write_text("old")
    os.mkfifo(place / "told")
    command = f"echo $$ >{place}/pid; exec cat {place}/told"
    with watching(source, "--watch-with", command) as it:
        with open(place / "told", "wb", buffering=0) as tell:
            for number in range(3):
                (source / "f").write_text(f"new {number}")
                tell.write(os.fsencode(source) + b"/f\0")
                began = time.monotonic()
                it.until(b"f")
                assert time.monotonic() - began < 0.7  # before any look at everything
            pid = int((place / "pid").read_text())
            it.program.signal(signal.SIGKILL)
            wait_for(lambda: not os.path.exists(f"/proc/{pid}"))


def test_what_is_in_a_directory_that_was_away_is_named(
    source: Path, place: Path
) -> None:
    """Who looked while it was, as something in it had been named, took all for gone."""
    (source / "d/e").mkdir(parents=True)
    (source / "d/e/older").write_text("old")
    os.mkfifo(place / "told")
    with watching(source, "--watch-with", f"exec cat {place}/told") as it:
        while b"d/e/older" in it.sync():
            pass  # it was made a moment ago
        with open(place / "told", "wb", buffering=0) as tell:
            (source / "d").rename(source / "away")
            (source / "away").rename(source / "d")
            tell.write(b"d\0")
            it.until(b"d/e/older")


def test_a_program_that_is_stopped_ends_with_us(source: Path, place: Path) -> None:
    command = f"echo $$ >{place}/new; mv {place}/new {place}/pid; kill -STOP $$; exit"
    with watching(source, "--watch-with", command) as it:
        wait_for((place / "pid").exists)
        stat = Path(f"/proc/{int((place / 'pid').read_text())}/stat")
        wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        it.program.end(signal.SIGINT)
        wait_for(lambda: not stat.exists(), 5)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_program_that_takes_no_sigterm_ends_with_us(
    how: signal.Signals, source: Path, place: Path
) -> None:
    deaf = f"trap '' TERM HUP; echo $$ >{place}/new; mv {place}/new {place}/pid; "
    command = f"(sh -c {shlex.quote(deaf + 'while :; do sleep 60; done')}); exit"
    with watching(source, "--watch-with", command) as it:
        wait_for((place / "pid").exists)
        status = Path(f"/proc/{int((place / 'pid').read_text())}/status")
        it.program.end(how)
        wait_for(lambda: not status.exists() or "zombie" in status.read_text(), 5)


def test_a_program_that_does_not_end_is_not_waited_for(source: Path) -> None:
    command = "trap '' TERM; exec >&-; while :; do sleep 60; done"
    with watching(source, "--watch-with", command) as it:
        it.program.says("polling instead")
        (source / "f").write_text("new")
        it.until(b"f")


# The end.


GONE = "was moved, deleted, unmounted or mounted over"


def moved(source: Path, _: Watching) -> None:
    source.rename(source.parent / "elsewhere")


def deleted(source: Path, _: Watching) -> None:
    shutil.rmtree(source)


def mounted_over(source: Path, it: Watching) -> None:
    enter = ["nsenter", "-m", "-t", str(it.program.process.pid)]
    subprocess.run([*enter, "mount", "-t", "tmpfs", "none", str(source)], check=True)


@pytest.mark.parametrize("options", [(), ("--poll", "0.1")], ids=["inotify", "poll"])
@pytest.mark.parametrize("how", [moved, deleted, mounted_over])
def test_the_root_gone_is_an_error_and_no_deletion(
    how: Callable[[Path, Watching], None], options: tuple[str, ...], source: Path
) -> None:
    before = need_unshare("-m") if how is mounted_over else []
    (source / "d").mkdir()
    (source / "d/f").write_text("x")
    with watching(source, *options, before=before) as it:
        how(source, it)
        assert it.program.end() == 66
        assert os.read(it.out, 4096) == b""
        said = bytes(it.program.errors).decode()
        assert said == f"fr-watch: '{source}' {GONE}\n"


@pytest.mark.parametrize("options", [(), ("--poll", "0.1")], ids=["inotify", "poll"])
@pytest.mark.parametrize("deep", [False, True], ids=["itself", "above it"])
def test_a_link_to_the_root_that_is_switched_is_an_error(
    deep: bool, options: tuple[str, ...], place: Path
) -> None:
    for name in ("one", "two"):
        (place / name / "in").mkdir(parents=True)
    (place / "current").symlink_to("one")
    source = place / "current/in" if deep else place / "current"
    with watching(source, *options) as it:
        (place / "next").symlink_to("two")
        (place / "next").rename(place / "current")
        assert it.program.end() == 66
        assert os.read(it.out, 4096) == b""


def test_an_unmounted_root_is_an_error(source: Path) -> None:
    script = 'mount -t tmpfs none "$0" && touch "$0/f" && exec "$@"'
    before = [*need_unshare("-m"), "sh", "-c", script, str(source)]
    with watching(source, before=before) as it:
        enter = ["nsenter", "-m", "-t", str(it.program.process.pid)]
        subprocess.run([*enter, "umount", str(source)], check=True)
        assert it.program.end() == 66
        assert os.read(it.out, 4096) == b""


def test_its_reader_going_ends_it_though_nothing_changes(source: Path) -> None:
    with watching(source) as it:
        it.leave()
        assert it.program.end() == 0
        assert not it.program.errors


def test_a_closed_stdout_is_an_error(source: Path) -> None:
    ended = run(["sh", "-c", 'exec fr-watch "$0" >&-', str(source)])
    assert ended.returncode == 74
    assert ended.stderr == b"fr-watch: cannot write output: Bad file descriptor\n"


def test_interrupted_it_ends_quietly(source: Path) -> None:
    with watching(source) as it:
        assert it.program.end(signal.SIGINT) == 130
        assert not it.program.errors


def test_a_full_disk_is_no_success(source: Path) -> None:
    with open("/dev/full", "wb") as full, running(
        "fr-watch", "--verbose", str(source), stdout=full
    ) as program:
        program.says("watching 1 directory by inotify")
        (source / "f").write_text("x")
        assert program.end() == 74


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["nowhere"], 66),
        (["/dev/null"], 66),
        (["--ready-fd", "x", "."], 64),
        (["--ready-fd", "99", "."], 64),
        (["--ready-fd", "-1", "."], 64),
        (["--poll", "often", "."], 64),
        (["--audit", "-1", "."], 64),
        ([], 64),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words: list[str], status: int) -> None:
    ended = run(["fr-watch", *words])
    assert ended.returncode == status
    assert ended.stdout == b""
    assert ended.stderr.startswith(b"fr-watch: ") and ended.stderr.count(b"\n") == 1


# Rules.


def test_rules_outside_the_tree_take_effect_at_once(source: Path) -> None:
    git(source.parent, "init")
    (source / "f.log").write_text("x")
    (source.parent / ".gitignore").write_text("*.log\n")
    with watching(source) as it:
        (source / "f.log").write_text("y")
        assert it.sync() == []
        (source.parent / ".gitignore").write_text("")
        assert b"f.log" in it.sync()
        (source.parent / ".git/info/exclude").write_text("*.log\n")
        it.sync()
        (source / "f.log").write_text("z")
        assert it.sync() == []


@pytest.mark.parametrize("options", [(), ("--poll", "100")], ids=["inotify", "poll"])
def test_an_ignored_file_counts_from_when_it_is_tracked(
    options: tuple[str, ...], source: Path
) -> None:
    git(source, "init")
    (source / ".gitignore").write_text("*.log\n")
    (source / "f.log").write_text("x")
    git(source, "add", ".")
    with watching(source, *options) as it:
        (source / "f.log").write_text("y")
        assert b"f.log" not in it.sync()
        git(source, "add", "-f", "f.log")
        assert b"f.log" in it.sync()
        (source / "f.log").write_text("z")
        assert b"f.log" in it.sync()


# Convergence with everything at its own speed.


@pytest.mark.parametrize("seed", range(4))
def test_chaos_at_full_speed_converges(seed: int, place: Path, source: Path) -> None:
    deadline = time.monotonic() + (HUNT or 2.0)
    outside = place / "outside"
    outside.mkdir()
    number = seed if not HUNT else random.randrange(1 << 32)
    print(f"seed {number}")
    dice = random.Random(number)
    hands = Hands(source, outside)
    try:
        with watching(source) as it:
            while time.monotonic() < deadline:
                burst = [draw(dice) for _ in range(dice.choice([10, 100, 2000]))]
                writer = threading.Thread(target=hands.do_all, args=[burst])
                writer.start()
                while writer.is_alive():
                    it.pump(0.01)
                writer.join()
                it.sync()
                said = it.sink.differences()
                assert not said, f"seed {number}:\n{said}"
                it.sink.sent.clear()
            assert not it.program.errors, bytes(it.program.errors)
    finally:
        hands.close()
