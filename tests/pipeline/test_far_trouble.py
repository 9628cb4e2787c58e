"""A far end that fails in the middle, hangs, or is moved about under the run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import termios
import time
from pathlib import Path

import farends
import pytest
from farends import FarEnd, local_shell, with_command
from pipelines import name_of, parent_of
from programs import Running, alive, run, running, wait_for

ONCE = "--no-replicate-on-change"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "src"
    source.mkdir()
    (source / "f").write_text("1")
    return source


def start(far: FarEnd, source: Path, *options: str) -> list[str]:
    return ["file-replicator", *options, str(source), far.parent, *far.command]


def waits(far: FarEnd, source: Path) -> int:
    return run(start(far, source, "--wait")).returncode


@pytest.mark.parametrize(
    "shell, gone", [("bash", False), ("dash", True), ("busybox", True)]
)
def test_where_temporary_files_cannot_be_a_dry_run_finds_another_place(
    shell: str, gone: bool, place: Path
) -> None:
    """Behind sudo TMPDIR may be another user's."""
    farends.need_root()
    (place / "src").mkdir()
    (place / "src/f").write_text("x")
    words = [*farends.without_rights(), "env", f"TMPDIR={place}/tmp"]
    words += ["busybox", "sh"] if shell == "busybox" else [shell]
    if not gone:
        (place / "tmp").mkdir()
        os.chown(place / "tmp", 65534, 65534)
        (place / "tmp").chmod(0o700)
    done = run(
        ["file-replicator", "--once", "-n", place / "src", place / "far", "--", *words]
    )
    assert done.returncode == 1 and b"1 file to send" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "shell", ["bash", "bash-dash", "dash", "busybox", "mksh", "zsh", "ksh93"]
)
def test_a_file_that_kills_tar_is_named_and_holds_up_nothing(
    shell: str, base: Path, source: Path
) -> None:
    far = local_shell(shell, "busybox" if shell == "busybox" else "gnu", base).fresh()
    limited = ["sh", "-c", 'ulimit -f 400; exec "$@"', "sh", *far.command]
    far = with_command(far, limited)
    for number in range(30):
        (source / f"f{number}").write_text(str(number))
    (source / "big").write_bytes(b"\nbatch 1 20\n" * 100_000)
    with running(*start(far, source)) as program:
        said = program.says("cannot write 'big'", timeout=60)
        (source / "f").write_text("2")
        program.wait_for(lambda: (far.here / "src/f").read_text() == "2")
        assert sorted(os.listdir(far.here / "src"))[1:] == sorted(
            set(os.listdir(source)) - {"big"}
        )
        assert "lost" not in said
        assert waits(far, source) == 69


def test_many_files_that_kill_tar_hold_up_nothing_and_are_what_is_said_last(
    base: Path, source: Path
) -> None:
    far = local_shell("dash", "gnu", base).fresh()
    far = with_command(far, ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *far.command])
    for number in range(30):
        (source / f"big{number}").write_bytes(bytes(9000))
    (source / "f").write_text("1")
    done = run(start(far, source, "--once"))
    assert done.returncode == 69
    assert sorted(os.listdir(far.here / "src")) == ["f"]
    last = done.stderr.splitlines()[-1]
    assert b"not in sync: 30 of the paths" in last
    assert b"killed by signal %d;" % signal.SIGXFSZ in done.stderr


def limited(limit: str, far: FarEnd) -> FarEnd:
    """``far`` under a limit of the shell's, such as ``-n 7``."""
    words = ["sh", "-c", f'ulimit {limit}; exec "$@"', "sh", *far.command]
    return with_command(far, words)


def left(far: FarEnd) -> list[str]:
    """What is there that no file of ours is."""
    return [name for name in os.listdir(far.here / "src") if ".filerep-" in name]


def test_of_a_large_file_that_kills_what_puts_it_together_it_is_said(
    base: Path, source: Path
) -> None:
    far = limited("-f 1000", local_shell("dash", "gnu", base).fresh())
    (source / "big").write_bytes(os.urandom(3 << 20))
    done = run(start(far, source, "--once"))
    assert done.returncode == 69
    assert b"cannot write 'big' at the far end: one of its programs" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "bash-dash", "dash", "busybox", "mksh"])
def test_where_no_file_may_have_a_byte_nothing_stays(
    shell: str, base: Path, source: Path
) -> None:
    tar = "busybox" if shell == "busybox" else "gnu"
    far = limited("-f 0", local_shell(shell, tar, base).fresh())
    done = run(start(far, source, "--once"), timeout=30)
    assert done.returncode == 69 and done.stderr.startswith(b"file-replicator: ")
    assert not left(far)


@pytest.mark.parametrize(
    "shell, most", [("bash", 4), ("dash", 7), ("dash", 11), ("dash", 12)]
)
def test_too_few_descriptors_over_there_are_an_end_and_not_a_wait(
    shell: str, most: int, base: Path, source: Path
) -> None:
    far = limited(f"-n {most}", local_shell(shell, "gnu", base).fresh())
    done = run(start(far, source, "--once"), timeout=30)
    (far.here / "src").mkdir(exist_ok=True)
    assert not left(far)
    assert done.returncode == 69
    assert b"exited with" in done.stderr or b"files may be open" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox", "mksh", "zsh"])
@pytest.mark.parametrize("most", [13, 16, 19])
def test_with_few_descriptors_over_there_nothing_is_begun(
    shell: str, most: int, base: Path, source: Path
) -> None:
    tar = "busybox" if shell == "busybox" else "gnu"
    far = limited(f"-n {most}", local_shell(shell, tar, base).fresh())
    done = run(start(far, source, "--once"), timeout=30)
    said = f"the far end refused: only {most} files may be open at once, and 20 are"
    assert done.returncode == 69 and said.encode() in done.stderr
    assert not (far.here / "src").exists()


def test_a_tar_that_has_failed_and_could_not_say_why_is_not_believed(
    base: Path, place: Path, source: Path
) -> None:
    """What is passed over of its words, as it cannot be helped, was all that came of them."""
    (place / "bin").mkdir()
    (place / "bin/tar").write_text(
        f"#!/bin/sh\n[ -e {place}/fails ] || exec {farends.need('tar')[0]} \"$@\"\n"
        f"rm {place}/fails\n{farends.need('tar')[0]} \"$@\"\n"
        "for f in */f; do : >$f; done\n"
        "echo 'tar: Exiting with failure status due to previous errors' >&2; exit 2\n"
    )
    (place / "bin/tar").chmod(0o755)
    far = local_shell("dash", "gnu", base).fresh()
    path = f"PATH={place}/bin:{farends.SYSTEM_PATH}"
    far = with_command(far, ["env", path, *far.command[2:]])
    with running(*start(far, source)) as program:
        program.says("in sync")
        (place / "fails").touch()
        (source / "next").write_text("for the tar that waits already")
        program.says("sent 'next'")
        (source / "f").write_text("2")
        assert waits(far, source) == 0
        assert not (place / "fails").exists()
        assert (far.here / "src/f").read_text() == "2"


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox", "mksh", "zsh", "ksh93"])
@pytest.mark.parametrize("how", ["removed", "replaced", "parent"])
def test_a_destination_that_is_another_directory_by_now_is_noticed(
    shell: str, how: str, base: Path, source: Path
) -> None:
    far = local_shell(shell, "busybox" if shell == "busybox" else "gnu", base).fresh()
    there = far.here / "src"
    with running(*start(far, source)) as program:
        program.says("in sync")
        if how == "parent":
            far.here.rename(f"{far.here}.old")
        elif how == "removed":
            shutil.rmtree(there)
        else:
            there.rename(far.here / "old")
            there.mkdir()
        (source / "g").write_text("2")
        why = "the destination was moved or removed there"
        if how == "replaced":
            why = "another directory is in the place of the destination"
        program.says(f"the connection was lost ({why}); connecting again")
        program.wait_for(lambda: waits(far, source) == 0)
        assert sorted(os.listdir(there))[-2:] == ["f", "g"]
    assert not list(far.here.glob("old/.filerep*"))


def test_nothing_that_a_reader_would_wait_in_is_in_the_destination(
    base: Path, source: Path
) -> None:
    far = local_shell("dash", "gnu", base).fresh()
    with running(*start(far, source)) as program:
        program.says("in sync")
        (source / "f").write_text("2")
        program.says("sent")
        for place, directories, names in os.walk(far.here):
            for name in directories + names:
                mode = os.lstat(os.path.join(place, name)).st_mode
                assert stat.S_ISREG(mode) or stat.S_ISDIR(mode), name


@pytest.mark.parametrize(
    "option",
    [
        "--keep-old-files",
        "--strip-components=1",
        "--one-top-level",
        "-z",
        "--exclude=*",
    ],
)
def test_the_far_ends_tar_options_change_nothing(
    option: str, base: Path, source: Path
) -> None:
    (source / "d").mkdir()
    (source / "d/g").write_text("2")
    far = local_shell("bash", "gnu", base).fresh()
    far = with_command(far, ["env", f"TAR_OPTIONS={option}", *far.command])
    for text in ("1", "23"):
        (source / "d/g").write_text(text)
        done = run(start(far, source, ONCE))
        assert done.returncode == 0, done.stderr
        assert (far.here / "src/d/g").read_text() == text
        assert (far.here / "src/f").exists()


HUNG = {
    # The connection, behind the first answer.
    "link": """
import os, subprocess, sys, time
p = subprocess.Popen(sys.argv[1:], stdin=0, stdout=subprocess.PIPE)
said = b""
while b" here " not in said or said[-1:] != b"\\n":
    said += os.read(p.stdout.fileno(), 1)
os.write(1, said)
time.sleep(60)
""",
    "tar": "#!/bin/sh\nexec sleep 60\n",  # before the first answer
    "perl": "#!/bin/sh\nexec sleep 60\n",
    "mkdir": "#!/bin/sh\nexec sleep 60\n",
    "touch": "#!/bin/sh\nexec sleep 60\n",
    "chmod": "#!/bin/sh\nexec sleep 60\n",
}


@pytest.mark.parametrize("what", HUNG)
def test_what_hangs_before_it_is_ready_is_not_waited_for(
    what: str, base: Path, place: Path, source: Path
) -> None:
    far = local_shell("dash", "gnu", base).fresh()
    (place / "bin").mkdir()
    program = place / "bin" / what
    program.write_text(HUNG[what])
    program.chmod(0o755)
    if what == "link":
        far = with_command(far, [sys.executable, str(program), *far.command])
    else:
        (place / "tmp").mkdir()
        words = [f"TMPDIR={place}/tmp", f"PATH={place}/bin:{farends.SYSTEM_PATH}"]
        far = with_command(far, ["env", *words, "dash"])
    with running(*start(far, source, ONCE, "--connect-timeout", "1")) as program:
        assert program.end(timeout=15) == 69
        assert b"fell silent, before it was ready" in program.errors
        # Whoever hangs would else be waited for by a shell that is to tidy up.
        wait_for(lambda: not program.family(), what=program.family)
    assert not list(place.rglob(".filerep-*")) + list(far.here.rglob(".filerep-*"))


def test_what_was_stopped_while_it_connected_goes_on(
    base: Path, place: Path, source: Path
) -> None:
    """Ctrl-Z, and fg when the answer should long have come."""
    far = local_shell("dash", "gnu", base).fresh()
    gate, stopped = place / "gate", place / "stopped"
    os.mkfifo(gate)
    wait = f'touch {stopped}; read -r _ <{gate}; exec "$@"'
    far = with_command(far, ["sh", "-c", wait, "sh", *far.command])
    with running(*start(far, source, "--connect-timeout", "1")) as program:
        program.wait_for(stopped.exists)
        since = time.monotonic()
        os.killpg(program.process.pid, signal.SIGSTOP)
        wait_for(lambda: time.monotonic() > since + 2)
        os.killpg(program.process.pid, signal.SIGCONT)
        gate.write_text("go\n")
        program.says("in sync")


@pytest.mark.parametrize("shell", ["dash", "bash", "mksh", "zsh", "ksh93"])
def test_a_tool_that_is_killed_before_it_is_ready_is_told(
    shell: str, base: Path, place: Path, source: Path
) -> None:
    far = local_shell(shell, "gnu", base).fresh()
    (place / "bin").mkdir()
    (place / "bin/mkdir").write_text("#!/bin/sh\nkill -KILL $$\n")
    (place / "bin/mkdir").chmod(0o755)
    env, path, *words = far.command
    path = path.replace("PATH=", f"PATH={place}/bin:")
    done = run(start(with_command(far, [env, path, *words]), source, ONCE))
    assert done.returncode == 69
    assert b"the far end refused: one of its programs was killed\n" in done.stderr


def test_a_shell_that_is_killed_before_it_is_ready_is_told(
    base: Path, place: Path, source: Path
) -> None:
    far = local_shell("dash", "gnu", base).fresh()
    (place / "bin").mkdir()
    (place / "bin/mkfifo").write_text("#!/bin/sh\nkill -KILL $PPID\n")
    (place / "bin/mkfifo").chmod(0o755)
    words = ["env", f"PATH={place}/bin:{farends.SYSTEM_PATH}", "dash"]
    done = run(start(with_command(far, words), source, ONCE))
    assert done.returncode == 69
    # As of one that had not answered, it was said that it read no standard input.
    assert b"before the far end was ready" in done.stderr, done.stderr


# Amid what it tells.
KILLED_FIND = """#!/bin/bash
case $* in *maxdepth*) if rm {lives}; then /usr/bin/find "$@" | head -c 60; kill -KILL $$; fi ;; esac
exec /usr/bin/find "$@"
"""


@pytest.mark.parametrize("shell", ["dash", "bash", "mksh", "zsh", "ksh93"])
def test_what_a_killed_find_did_not_tell_does_not_count_as_missing(
    shell: str, base: Path, place: Path, source: Path
) -> None:
    far = local_shell(shell, "gnu", base).fresh()
    for name in "abc":
        (source / name).mkdir()
        (source / name / "f").write_text(name)
    shutil.copytree(source, far.here / "src", symlinks=True)
    (place / "bin").mkdir()
    (place / "bin/find").write_text(KILLED_FIND.format(lives=place / "lives"))
    (place / "bin/find").chmod(0o755)
    env, path, *words = far.command
    path = path.replace("PATH=", f"PATH={place}/bin:")
    far = with_command(far, [env, path, *words])
    (far.here / "src/c/made there").touch()
    for options in (["--dry-run"], [ONCE, "--mirror"]):
        (place / "lives").touch()
        done = run(start(far, source, *options))
        assert done.returncode == 69 and not done.stdout, done.stdout
        assert b"its find was killed" in done.stderr
        assert not left(far) and not (place / "lives").exists()
    with running(*start(far, source, "--mirror")) as program:
        program.says("in sync")
        assert not (far.here / "src/c/made there").exists()


@pytest.mark.parametrize("says", [":", "echo >&2"])
def test_who_waits_or_what_is_said_does_not_hold_up_the_end_of_patience(
    says: str, place: Path, source: Path
) -> None:
    words = [str(source), str(place), "sh", "-c", f"while sleep .1; do {says}; done"]
    with running("file-replicator", "--connect-timeout", "2", *words) as program:
        program.says("has not answered yet")
        with running("file-replicator", "--wait", *words) as waiting:
            assert program.end(timeout=10) == 69
            assert waiting.end() == 69
            assert b"before everything had arrived" in waiting.errors


def test_a_long_clean_out_is_waited_for(base: Path, place: Path, source: Path) -> None:
    far = local_shell("dash", "gnu", base).fresh()
    (place / "bin").mkdir()
    (place / "bin/find").write_text(
        '#!/bin/sh\ncase $* in *rm*) sleep 5 ;; esac\nexec /usr/bin/find "$@"\n'
    )
    (place / "bin/find").chmod(0o755)
    path = f"PATH={place}/bin:{farends.SYSTEM_PATH}"
    far = with_command(far, ["env", path, "dash"])
    words = (ONCE, "--clean-out-first", "--connect-timeout", "1")
    assert run(start(far, source, *words)).returncode == 0


def test_a_stage_that_cannot_be_cleared_is_not_used_again(
    base: Path, place: Path, source: Path
) -> None:
    """What is left in it would go into place with the next batch's new directories."""
    far = local_shell("dash", "gnu", base).fresh()
    (place / "bin").mkdir()
    (place / "bin/rm").write_text(
        f'#!/bin/sh\n[ ! -e {place}/broken ] || exit 1\nexec /bin/rm "$@"\n'
    )
    (place / "bin/rm").chmod(0o755)
    path = f"PATH={place}/bin:{farends.SYSTEM_PATH}"
    far = with_command(far, ["env", path, "dash"])
    (source / "d").mkdir()
    (source / "d/f").write_text("1")
    with running(*start(far, source)) as program:
        program.says("in sync")
        (far.here / "src/d/made there").write_text("")
        (place / "broken").touch()
        shutil.rmtree(source / "d")
        program.says("the connection was lost")
        (place / "broken").unlink()
        program.wait_for(lambda: waits(far, source) == 0)


def test_a_root_without_devices_gets_none(place: Path, source: Path) -> None:
    farends.need_root()
    far = farends.chroot(place)
    shutil.rmtree(place / "root/dev")
    with running(*start(far, source)) as program:
        program.says("in sync")
        (source / "f").write_text("2")
        program.wait_for(lambda: (far.here / "src/f").read_text() == "2")
        (source / "f").unlink()
        program.wait_for(lambda: not (far.here / "src/f").exists())
        assert waits(far, source) == 0
    assert not (place / "root/dev").exists()


@pytest.mark.parametrize("name", ["dash+gnu", "busybox+busybox"])
def test_a_stage_that_is_replaced_by_a_link_leads_nobody_out(
    name: str, base: Path, place: Path, source: Path
) -> None:
    """Nothing is unpacked, run or cleared where it leads."""
    shell, tar = name.split("+")
    far = local_shell(shell, tar, base).fresh()
    outside = place / "outside"
    (outside / "0").mkdir(parents=True)
    (outside / "0/precious").write_text("precious")
    (outside / "commit").write_text(f"touch {place}/ran\nwhole=1\n")
    with running(*start(far, source)) as program:
        program.says("in sync")
        (stage,) = far.here.glob("src/.filerep-*")
        before = sorted(outside.rglob("*"))
        stage.rename(place / "moved away")
        stage.symlink_to(outside)
        for text in ("2", "3"):
            (source / "g").write_text(text)
            program.wait_for(lambda: there_is(far.here / "src/g", text))
        assert waits(far, source) == 0
    assert sorted(outside.rglob("*")) == before and not (place / "ran").exists()
    assert not os.path.lexists(stage)


# The moment is the last one before what is staged is cleared.
SWAPS = """#!/bin/sh
swap() {
  rm %(here)s/plan
  stage=$(echo %(there)s/.filerep-*)
  /bin/mv "$stage" %(here)s/aside
  ln -s %(here)s/outside "$stage"
}
case $(cat %(here)s/plan 2>&1) in
done) /bin/mv "$@"; swap; exit 0 ;;
refused) echo again >%(here)s/plan; exit 1 ;;
again) swap; echo no >&2; exit 1 ;;
esac
exec /bin/mv "$@"
"""


@pytest.mark.parametrize("plan", ["done", "refused"])
def test_a_stage_that_is_replaced_amid_a_batch_leads_nobody_out(
    plan: str, base: Path, place: Path, source: Path
) -> None:
    """What the link leads to was emptied, or a file of it."""
    far = local_shell("bash", "gnu", base).fresh()
    env, path, *words = far.command
    path = path.replace("PATH=", f"PATH={place}/bin:")
    far = with_command(far, [env, path, *words])
    for name in ("outside", "bin"):
        (place / name).mkdir()
    (place / "outside/f").write_text("precious")
    (place / "outside/commit").symlink_to("f")
    (place / "bin/mv").write_text(SWAPS % {"here": place, "there": far.here / "src"})
    (place / "bin/mv").chmod(0o755)
    with running(*start(far, source)) as program:
        program.says("in sync")
        (place / "plan").write_text(plan)
        (source / "g").write_text("2")
        program.wait_for((place / "aside").exists)
        assert waits(far, source) == 0
    assert sorted(os.listdir(place / "outside")) == ["commit", "f"]
    assert (place / "outside/f").read_text() == "precious"


def test_a_stage_that_is_replaced_before_the_mover_reads_runs_nothing(
    base: Path, place: Path, source: Path
) -> None:
    """The list that the link leads to was taken for ours, and a word of it was run."""
    far = local_shell("dash", "gnu", base).fresh()
    outside = place / "outside"
    outside.mkdir()
    (outside / "moves").write_bytes(
        b"put\0$(touch %s)\0\x000/\x001\0absent\0" % bytes(place / "ran")
    )
    with running(*start(far, source)) as program:
        program.says("in sync")
        (perl,) = (pid for pid in program.family() if name_of(pid) == "perl")
        os.kill(perl, signal.SIGSTOP)
        (source / "g").write_text("2")
        program.wait_for(lambda: is_asked(perl))
        (stage,) = far.here.glob("src/.filerep-*")
        stage.rename(place / "aside")
        stage.symlink_to(outside)
        os.kill(perl, signal.SIGCONT)
        assert waits(far, source) == 0
    assert (far.here / "src/g").read_text() == "2"
    assert os.listdir(outside) == ["moves"] and not (place / "ran").exists()


def is_asked(process: int) -> bool:
    """Is there something on its standard input, a pipe, that it has not read?"""
    fd = os.open(f"/proc/{process}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return fcntl.ioctl(fd, termios.FIONREAD, bytes(4)) != bytes(4)
    finally:
        os.close(fd)


def test_an_end_with_a_link_in_the_stages_place_takes_nothing_from_outside(
    base: Path, place: Path, source: Path
) -> None:
    """What is called as the pieces of a large file are was moved into the destination."""
    far = local_shell("dash", "gnu", base).fresh()
    (place / "outside/.parts").mkdir(parents=True)
    (place / "outside/.parts/precious").write_text("precious")
    with running(*start(far, source)) as program:
        program.says("in sync")
        (stage,) = far.here.glob("src/.filerep-*")
        stage.rename(place / "aside")
        stage.symlink_to(place / "outside")
        program.end(signal.SIGINT)
        assert (place / "outside/.parts/precious").exists()
        program.wait_for(lambda: os.listdir(far.here / "src") == ["f"])


def there_is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def bind(what: Path, where: Path) -> None:
    where.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", str(what), str(where)], check=True)


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox", "mksh", "zsh", "ksh93"])
def test_a_copy_into_itself_by_a_second_mount_is_refused(
    shell: str, base: Path, place: Path
) -> None:
    """The directory is mounted for the far end alone, as a volume of a container is."""
    farends.need_root()
    far = local_shell(shell, "busybox" if shell == "busybox" else "gnu", base)
    source = place / "proj"
    (source / "sub").mkdir(parents=True)
    (source / "sub/f").write_text("precious")
    (place / "app/proj").mkdir(parents=True)
    mounted = f'mount --bind {source}/sub {place}/app/proj && exec "$@"'
    within = ["unshare", "-m", "sh", "-c", mounted, "sh", *far.command]
    words = ["file-replicator", "--clean-out-first", str(source), f"{place}/app"]
    done = run([*words, *within], timeout=20)
    assert done.returncode == 64 and b"inside SRC_DIR" in done.stderr, done.stderr
    assert (source / "sub/f").read_text() == "precious"
    assert os.listdir(source / "sub") == ["f"]


@pytest.fixture
def elsewhere(place: Path) -> list[str]:
    """What has a far end pass for another machine, which shares this one's files."""
    farends.need_root()
    (place / "boot").write_text("another-kernel")
    path = "/proc/sys/kernel/random/boot_id"
    script = f'mount --bind {place}/boot {path} && exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, "sh"]


def test_a_source_that_another_machine_shares_is_not_cleaned_out(
    elsewhere: list[str], base: Path, place: Path
) -> None:
    """A home on NFS: there the same name is the same directory."""
    far = local_shell("dash", "gnu", base)
    source = place / "w/proj"
    (source / "sub/proj").mkdir(parents=True)
    (source / "sub/proj/f").write_text("precious")
    wheres = [(place / "w", "is SRC_DIR itself"), (source / "sub", "inside SRC_DIR")]
    wheres += [(place, "SRC_DIR is inside the destination")]
    for where, why in wheres:
        for options in [["--clean-out-first", "--once"], ["--keepalive", "2"]]:
            name = ["--as", "w"] if where == place else []
            words = ["file-replicator", *options, *name, str(source), str(where)]
            done = run([*words, *elsewhere, *far.command], timeout=20)
            assert done.returncode in (64, 69), done.stderr
            assert why in done.stderr.decode(), done.stderr
            assert (source / "sub/proj/f").read_text() == "precious"
            assert not list(source.rglob(".filerep-*"))


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_a_source_that_is_a_share_of_the_destination_is_not_cleaned_out(
    shell: str, base: Path, place: Path
) -> None:
    """As by sshfs, from the machine where the rest of the project lies."""
    farends.need_root()
    bindfs, umount = farends.need("bindfs", "umount")
    far = local_shell(shell, "busybox" if shell == "busybox" else "gnu", base)
    inner, share, other = place / "app/sub", place / "share", place / "other"
    for directory in (inner, share, other / "app"):
        directory.mkdir(parents=True)
    (inner / "f").write_text("precious")
    (other / "app/old").touch()
    subprocess.run([bindfs, str(inner), str(share)], check=True)
    try:
        words = ["file-replicator", "--clean-out-first", "--once", "--as", "app", share]
        done = run([*words, str(place), *far.command], timeout=20)
        assert done.returncode == 64, done.stderr
        assert b"SRC_DIR is inside the destination" in done.stderr
        assert os.listdir(inner) == ["f"] and os.listdir(inner.parent) == ["sub"]
        done = run([*words, str(other), *far.command], timeout=20)
        assert done.returncode == 0, done.stderr
        assert os.listdir(other / "app") == ["f"] == os.listdir(share)
    finally:
        subprocess.run([umount, str(share)], check=True)


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_clean_out_first_stops_at_a_volume(
    kind: str, base: Path, place: Path, source: Path
) -> None:
    farends.need_root()
    far = local_shell("dash", "gnu", base).fresh()
    volume = far.here / "src/volume"
    volume.mkdir(parents=True)
    if kind == "bind":
        bind(place, volume)
    else:
        subprocess.run(["mount", "-t", "tmpfs", "none", str(volume)], check=True)
    try:
        (volume / "made").write_text("there")
        (far.here / "src/old").write_text("old")
        done = run(start(far, source, ONCE, "--clean-out-first"))
        assert done.returncode == 69 and b"'volume' in the destination" in done.stderr
        assert (volume / "made").exists() and (far.here / "src/old").exists()
    finally:
        farends.unmount(volume)


@pytest.mark.parametrize(
    "name", ["dash+gnu", "bash+gnu", "busybox+busybox", "mksh+bsdtar"]
)
@pytest.mark.parametrize("what", ["link", "file"])
def test_with_no_delete_nothing_of_the_far_ends_is_dropped_for_a_directory(
    name: str, what: str, base: Path, source: Path
) -> None:
    shell, tar = name.split("+")
    far = local_shell(shell, tar, base).fresh()
    (source / "data/sub").mkdir(parents=True)
    (source / "data/sub/f").write_text("mine")
    theirs = far.here / "src/data/sub"
    theirs.parent.mkdir(parents=True)
    if what == "link":
        theirs.symlink_to("/nowhere")
    else:
        theirs.write_text("made there")
    done = run(start(far, source, ONCE, "--no-delete"))
    assert done.returncode == 0 and b"in the way of 'data/sub'" in done.stderr
    assert (theirs / "f").read_text() == "mine"
    kept = theirs.with_name("sub.kept-1")
    assert kept.is_symlink() if what == "link" else kept.read_text() == "made there"


def test_a_disk_that_turns_read_only_keeps_modes_all_the_same(
    base: Path, place: Path, source: Path
) -> None:
    far = local_shell("dash", "gnu", base)
    with farends.mounted(place / "small", "size=1m") as small:
        far = FarEnd(far.name, far.command, str(small), small)
        with running(*start(far, source)) as program:
            program.says("in sync")
            remount = ["mount", str(small), "-o"]
            subprocess.run([*remount, "remount,ro"], check=True)
            (source / "f").write_text("2")
            program.says("': Read-only file system; trying again")
            subprocess.run([*remount, "remount,rw"], check=True)
            program.wait_for(lambda: (small / "src/f").read_text() == "2")
            assert b"permission bits" not in program.errors


def tars_of(program: Running) -> list[int]:
    found = []
    for pid in program.family():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if name_of(pid) == "tar":
                found.append(pid)
    return found


@pytest.mark.parametrize("shell", ["bash", "bash-dash", "dash", "mksh", "zsh", "ksh93"])
def test_a_tar_that_is_killed_while_it_waits_costs_nothing(
    shell: str, base: Path, source: Path
) -> None:
    far = local_shell(shell, "gnu", base).fresh()
    # Where the connection seems slow, no tar waits, but what unzips for it.
    with running(*start(far, source, "--no-compress")) as program:
        program.says("in sync")
        for text in ("2", "3"):
            program.wait_for(lambda: tars_of(program))  # the next one starts by itself
            for pid in tars_of(program):
                os.kill(pid, signal.SIGKILL)
            (source / "f").write_text(text)
            program.wait_for(lambda: (far.here / "src/f").read_text() == text)
        assert waits(far, source) == 0
        assert b"lost" not in program.errors


def test_a_killed_shell_is_missed_at_once_though_a_child_lives_on(
    base: Path, place: Path, source: Path
) -> None:
    """An --on-sync command holds the pipes open, and would for a minute."""
    far = local_shell("dash", "gnu", base).fresh()
    hook = f"[ -e {place}/ran ] || {{ touch {place}/ran; exec sleep 60; }}"
    with running(*start(far, source, "--on-sync", hook)) as program:
        program.wait_for((place / "ran").exists)
        (shell,) = (
            pid
            for pid in program.family()
            if name_of(pid) == "dash" and parent_of(pid) == program.process.pid
        )
        os.kill(shell, signal.SIGKILL)
        program.says("was killed by signal 9", timeout=10)
        program.says("connected again", timeout=10)
        (source / "f").write_text("2")
        program.wait_for(lambda: (far.here / "src/f").read_text() == "2")


@pytest.mark.parametrize("shell", ["dash", "mksh", "zsh", "ksh93"])
def test_a_shell_that_is_killed_while_it_cleans_out_is_missed(
    shell: str, base: Path, place: Path, source: Path
) -> None:
    # What told each second that it was at work went on with that for ever.
    far = local_shell(shell, "gnu", base).fresh()
    (place / "bin").mkdir()
    (place / "bin/find").write_text(
        f"#!/bin/sh\ncase $* in *rm*) touch {place}/began; exec sleep 3 ;; esac\n"
        'exec /usr/bin/find "$@"\n'
    )
    (place / "bin/find").chmod(0o755)
    path = f"PATH={place}/bin:{farends.SYSTEM_PATH}"
    far = with_command(far, ["env", path, *far.command[2:]])
    with running(*start(far, source, ONCE, "--clean-out-first")) as program:
        program.wait_for((place / "began").exists)
        there = connection_of(program)
        os.kill(there, signal.SIGKILL)
        assert program.end(timeout=10) == 69
        assert b"was killed by signal 9" in program.errors
        wait_for(lambda: not [pid for pid in program.family() if alive(pid)])


def connection_of(program: Running) -> int:
    """The process of the connection command; others come and go beside it."""
    found = []
    for pid in program.family():
        with contextlib.suppress(OSError):
            if parent_of(pid) == program.process.pid and name_of(pid)[:3] != "fr-":
                found.append(pid)
    (pid,) = found
    return pid


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_a_full_disk_leaves_no_directories_behind(
    shell: str, base: Path, place: Path, source: Path
) -> None:
    far = local_shell(shell, "busybox" if shell == "busybox" else "gnu", base)
    with farends.mounted(place / "small", "size=1m") as small:
        far = FarEnd(far.name, far.command, str(small), small)
        for number in range(80):
            path = source / f"d{number // 10}/f{number}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(os.urandom(20_000))
        with running(*start(far, source)) as program:
            program.says("its disk is full")
            assert waits(far, source) == 69
            for number in range(6):
                shutil.rmtree(source / f"d{number}")
            program.wait_for(lambda: waits(far, source) == 0, timeout=40)
            there = [name for name in os.listdir(small / "src") if name[0] != "."]
            assert sorted(there) == ["d6", "d7", "f"]


@pytest.mark.parametrize("name", ["dash+gnu", "busybox+busybox"])
def test_no_piece_of_a_file_stays_in_a_volume_that_is_full(
    name: str, base: Path, place: Path, source: Path
) -> None:
    """It is copied into that, and dozens of empty files had the names of others."""
    shell, tar = name.split("+")
    far = local_shell(shell, tar, base).fresh()
    volume = far.here / "src/volume"
    volume.mkdir(parents=True)
    (source / "volume/d").mkdir(parents=True)
    for number in range(20):
        for path in (f"volume/{number}", f"volume/d/{number}"):
            (source / path).write_bytes(bytes([number]) * 100_000)
    with farends.mounted(volume):
        with running(*start(far, source)) as program:
            program.says("not in sync")
            assert waits(far, source) == 69
            there = [path for path in volume.rglob("*") if path.is_file()]
            assert there and all(path.stat().st_size == 100_000 for path in there)
            farends.remount(volume, "size=10m")
            assert waits(far, source) == 0
            assert len(list(volume.rglob("*"))) == 41


def test_what_found_no_room_and_is_ignored_since_is_not_tried_again(
    base: Path, place: Path, source: Path
) -> None:
    far = local_shell("dash", "gnu", base)
    with farends.mounted(place / "small", "size=512k") as small:
        far = FarEnd(far.name, far.command, str(small), small)
        with running(*start(far, source)) as program:
            program.says("in sync")
            for name in ("secret", "large"):
                (source / name).write_bytes(os.urandom(900_000))
            program.says("its disk is full")
            assert waits(far, source) == 69
            (source / ".gitignore").write_text("secret\n")
            subprocess.run(["mount", "-o", "remount,size=8m", small], check=True)
            program.wait_for(lambda: waits(far, source) == 0, timeout=40)
            there = [name for name in os.listdir(small / "src") if name[:2] != ".f"]
            assert sorted(there) == [".gitignore", "f", "large"]
