"""The whole pipeline, over every far end there is."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import farends
import pytest
from farends import FarEnd, local_shell, mounted, need_root
from pipelines import name_of
from programs import Running, Word, alive, environment, run, running, wait_for
from trees import (
    HOSTILE_NAMES,
    assert_same,
    differences,
    hostile_tree,
    plant,
    tree,
    without_empty,
)

OK, USAGE, NO_INPUT, UNAVAILABLE, INTERRUPTED = 0, 64, 66, 69, 130
ONCE = "--no-replicate-on-change"
# A time with all its digits, one before 1970's end of nothing, one of a far day.
TIMES = [1_600_000_000_123_456_789, 1, 4_000_000_000_987_654_321]


def replicate(
    far: FarEnd, source: Path, *options: str, **changes: str
) -> subprocess.CompletedProcess[bytes]:
    """A first copy, run to its end."""
    argv: list[Word] = [
        "file-replicator",
        *options,
        ONCE,
        source,
        far.parent,
        *far.command,
    ]
    return run(argv, env=environment(**changes), timeout=100)


@contextlib.contextmanager
def replicating(far: FarEnd, source: Path, *options: str) -> Iterator[Running]:
    """file-replicator, in sync and watching."""
    words: list[Word] = ["file-replicator", "--hold", "0", *options]
    argv = [*words, source, far.parent, *far.command]
    with running(*argv) as program:
        program.says("in sync")
        yield program


def what_differs(far: FarEnd, source: Path) -> str:
    seconds = not far.sub_second
    one = tree(source, whole_seconds=seconds)
    other = tree(far.here / source.name, whole_seconds=seconds)
    visible = {
        path: what for path, what in other.items() if not path.startswith(b".filerep-")
    }
    return differences(without_empty(one, visible), visible)


def converges(program: Running, far: FarEnd, source: Path) -> None:
    """Wait until the destination is as the source, and say how it differs if it never is."""
    program.wait_for(
        lambda: not what_differs(far, source),
        timeout=30,
        what=lambda: "source, not destination:\n" + what_differs(far, source),
    )


def ends_cleanly(program: Running, far: FarEnd, source: Path) -> None:
    """Ctrl-C: quickly, no process or staging left, and the copy is whole."""
    family = program.family()
    assert family
    assert program.end(signal.SIGINT, timeout=5) == INTERRUPTED
    assert b"Traceback" not in program.errors
    # What the far end's shell has started ends by itself, a moment later, as its input has
    # ended; so does what cleans up behind a ssh or docker exec.
    wait_for(lambda: not [pid for pid in family if alive(pid)])
    wait_for(lambda: not staging(far, source))
    assert not what_differs(far, source)


def staging(far: FarEnd, source: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return [
            name
            for name in os.listdir(far.here / source.name)
            if name.startswith(".filerep-")
        ]
    return []


def complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one plain line of the wrapper's own that ended a run."""
    lines = done.stderr.decode(errors="backslashreplace").splitlines()
    own = [line for line in lines if line.startswith("file-replicator: ")]
    own = [line for line in own if not line.endswith("has not answered yet")]
    assert len(own) == 1, lines
    assert "Traceback" not in done.stderr.decode(errors="replace")
    return own[0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    return root


def small_tree(root: Path) -> None:
    plant(
        root,
        {
            "README": "read me\n",
            "empty": b"",
            "src/main.py": "print('hello')\n",
            "src/deep/er/module.py": "x = 1\n" * 1000,
            "src/link": ("->", "../README"),
            "src/dangling": ("->", "/nonexistent/target"),
            "big": bytes(range(256)) * 4000,
        },
    )
    (root / "src/main.py").chmod(0o755)
    (root / "README").chmod(0o604)
    (root / "src/deep").chmod(0o751)


# --- every far end --------------------------------------------------------------------


def test_a_hostile_tree_arrives_whole(any_far_end: FarEnd, source: Path) -> None:
    far = any_far_end
    hostile_tree(source)
    small_tree(source)
    for number, path in enumerate(sorted((source / "files").iterdir())):
        path.chmod(0o400 | number * 37 % 0o400)
        os.utime(path, ns=(0, TIMES[number % 3] + number))
    done = replicate(far, source)
    assert done.returncode == OK, done.stderr
    assert_same(source, far.here / "project", whole_seconds=not far.sub_second)
    assert os.listdir(far.here) == ["project"]


def test_every_change_follows(any_far_end: FarEnd, source: Path) -> None:
    far = any_far_end
    small_tree(source)
    outside = far.here / "outside"
    outside.mkdir()
    (outside / "f").write_text("not yours")
    plant(source, {b"hostile/" + name: name for name in HOSTILE_NAMES})
    plant(source, {b"doomed/" + name + b"/f": name for name in HOSTILE_NAMES[:40]})
    with replicating(far, source) as program:
        converges(program, far, source)
        dest = far.here / "project"

        (source / "README").write_text("saved in place\n")
        plant(source, {"src/new/dir/file": "new\n", ".tmp": "renamed over\n"})
        os.replace(source / ".tmp", source / "big")
        os.rename(source / "src/deep", source / "moved")
        (source / "empty").chmod(0o711)
        (source / "src/link").unlink()
        (source / "src/link").symlink_to("main.py")
        converges(program, far, source)

        # One kind becomes another.
        (source / "README").unlink()
        plant(source, {"README/file": "in what was a file\n"})
        shutil.rmtree(source / "moved")
        (source / "moved").write_text("a file, once a directory\n")
        (source / "src/link").unlink()
        plant(source, {"src/link/f": "in what was a symlink\n"})
        (source / "src/main.py").unlink()
        (source / "src/main.py").symlink_to("link/f")
        converges(program, far, source)

        # Deletions, one by one and whole directories, also with names that bite.
        for name in sorted(os.listdir(os.fsencode(source / "hostile")))[::2]:
            os.unlink(os.path.join(os.fsencode(source / "hostile"), name))
        shutil.rmtree(source / "doomed")
        (source / "src/dangling").unlink()
        converges(program, far, source)

        # A trap: what was a directory over there is a symlink out of the destination.
        shutil.rmtree(dest / "src/new")
        (dest / "src/new").symlink_to("../../outside")
        (dest / "big").unlink()
        (dest / "big").symlink_to("../outside/f")
        plant(source, {"src/new/dir/file": "saved again\n", "src/new/f": "mine"})
        (source / "big").write_text("over a symlink")
        converges(program, far, source)
        assert os.listdir(outside) == ["f"]
        assert (outside / "f").read_text() == "not yours"
        ends_cleanly(program, far, source)
    assert sorted(os.listdir(far.here)) == ["outside", "project"]


# --- what stands there already --------------------------------------------------------

# One of each tar, and the root with nothing but busybox.
FEW = pytest.mark.parametrize(
    "name",
    ["bash+gnu", "dash+bsdtar", "dash+toybox", "busybox+busybox", "zsh+gnu", "chroot"],
)


@FEW
def test_the_first_copy_follows_no_symlink(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    outside = far.here / "outside"
    plant(outside, {"main.py": "not yours", "deep/er/module.py": "nor this"})
    (far.here / "project").mkdir()
    (far.here / "project/src").symlink_to("../outside")
    (far.here / "project/big").symlink_to("../outside/main.py")
    small_tree(source)
    before = tree(outside)
    done = replicate(far, source)
    assert done.returncode == OK, done.stderr
    assert tree(outside) == before
    assert_same(source, far.here / "project", whole_seconds=not far.sub_second)


@FEW
def test_what_stands_in_the_way_gives_way(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    small_tree(source)
    plant(far.here / "project", {"src": "a file where a directory must go\n"})
    (far.here / "project/README").mkdir()
    done = replicate(far, source)
    assert done.returncode == OK, done.stderr
    assert_same(source, far.here / "project", whole_seconds=not far.sub_second)


@FEW
def test_what_the_far_end_made_is_kept(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    small_tree(source)
    with replicating(far, source) as program:
        converges(program, far, source)
        dest = far.here / "project"
        plant(dest, {"src/__pycache__/main.pyc": "compiled", "data.db": "a database"})
        shutil.rmtree(source / "src")
        (source / "last").write_text("saved last")
        program.wait_for((dest / "last").exists)
        program.wait_for(lambda: os.listdir(dest / "src") == ["__pycache__"])
        assert (dest / "data.db").read_text() == "a database"
        assert (dest / "src/__pycache__/main.pyc").read_text() == "compiled"


@FEW
def test_thousands_of_deletions_at_once(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    for number in range(3000):
        plant(source, {f"{number % 7}/a file's name; {number}*": ""})
    plant(source, {"kept": "kept"})
    with replicating(far, source) as program:
        for number in range(7):
            shutil.rmtree(source / str(number))
        converges(program, far, source)
        ends_cleanly(program, far, source)
    assert os.listdir(far.here / "project") == ["kept"]


@FEW
def test_clean_out_first_empties_the_directory_and_nothing_else(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    small_tree(source)
    plant(far.here, {"outside/f": "not yours"})
    plant(far.here / "project", {".hidden": "", "..also": "", "-rf": "", "d/\n/f": ""})
    (far.here / "project/out").symlink_to("../outside")
    inode = (far.here / "project").stat().st_ino
    done = replicate(far, source, "--clean-out-first")
    assert done.returncode == OK, done.stderr
    assert_same(source, far.here / "project", whole_seconds=not far.sub_second)
    assert (far.here / "outside/f").read_text() == "not yours"
    assert (far.here / "project").stat().st_ino == inode


@pytest.mark.parametrize("shell", ["bash", "busybox", "dash", "ksh93", "mksh", "zsh"])
def test_a_destination_of_a_hostile_name_is_seen_for_what_it_is(
    shell: str, base: Path, source: Path
) -> None:
    """It was taken for one that holds the source, and what is mounted in it was not seen."""
    tar = "busybox" if shell == "busybox" else "gnu"
    far = local_shell(shell, tar, base).fresh(shell + "\nb \\012\t\n")
    plant(source, {"f": "1"})
    for _ in range(2):
        done = replicate(far, source)
        assert done.returncode == OK, done.stderr
    volume = far.here / "project/volume"
    volume.mkdir()
    with mounted(volume):
        plant(volume, {"made": "there"})
        done = replicate(far, source, "--clean-out-first")
        assert done.returncode == 69 and b"'volume' in the destination" in done.stderr
        assert (volume / "made").exists() and (far.here / "project/f").exists()
    inside = replicate(far, far.here)
    assert b"the destination is inside SRC_DIR" in inside.stderr


@FEW
def test_what_a_cut_run_left_is_cleared_at_the_next_start(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    small_tree(source)
    with replicating(far, source) as program:
        program.wait_for(lambda: staging(far, source))
        # Stopped before any is killed, or the receiver sees its input end and tidies up.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in [*program.family(), program.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        program.process.wait()
    assert staging(far, source)
    done = replicate(far, source)
    assert done.returncode == OK, done.stderr
    assert_same(source, far.here / "project", whole_seconds=not far.sub_second)


@pytest.mark.parametrize("name", ["bash+gnu", "busybox+busybox", "dash+bsdtar"])
@pytest.mark.parametrize("parent", ["a b", "-rf", "it's $(x)", "new\nline", "*"])
def test_the_directories_may_have_hostile_names_too(
    name: str, parent: str, far_end: Callable[[str], FarEnd], tmp_path: Path
) -> None:
    far = far_end(name).fresh(parent)
    root = tmp_path / f"src {parent}"
    small_tree(root)
    done = replicate(far, root)
    assert done.returncode == OK, done.stderr
    assert_same(root, far.here / root.name, whole_seconds=not far.sub_second)
    assert os.listdir(far.here) == [root.name]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
@pytest.mark.parametrize("name", ["bash+gnu", "dash+bsdtar", "zsh+gnu", "mksh+toybox"])
def test_the_locale_makes_no_difference(
    name: str, locale: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    hostile_tree(source)
    done = replicate(far, source, LC_ALL=locale)
    assert done.returncode == OK, done.stderr
    assert_same(source, far.here / "project", whole_seconds=not far.sub_second)


@pytest.mark.parametrize("name", ["bash+gnu", "dash+bsdtar", "busybox+busybox"])
def test_the_umask_makes_no_difference_to_files(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    small_tree(source)
    for mask in ("077", "0777"):  # the second closes what is made to its maker, too
        command = ["sh", "-c", f'umask {mask}; exec "$@"', "sh", *far.command]
        command = [*farends.without_rights(), *command]
        done = replicate(farends.with_command(far, command), source)
        assert done.returncode == OK, done.stderr
        assert_same(source, far.here / "project", whole_seconds=not far.sub_second)
        shutil.rmtree(far.here / "project")


# --- refusals -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bash+gnu", "dash+bsdtar", "busybox+busybox"])
def test_a_read_only_destination_is_refused(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    small_tree(source)
    with mounted(far.here, "ro"):
        done = replicate(far, source)
        assert done.returncode == UNAVAILABLE
        assert "Read-only file system" in complaint(done)


def test_another_users_directory_is_refused(
    far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end("sudo")
    os.chown(far.here, 0, 0)
    small_tree(source)
    done = replicate(far, source)
    assert done.returncode == UNAVAILABLE
    assert "ermission denied" in complaint(done)


@pytest.mark.parametrize("name", ["sudo", "ssh-chatty-user"])
def test_a_directory_that_cannot_be_written_holds_up_nothing_else(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    need_root()
    far = far_end(name)
    plant(source, {"closed/f": "one", "open/f": "two"})
    with replicating(far, source) as program:
        closed = far.here / "project/closed"
        os.chown(closed, 0, 0)
        (source / "closed/f").write_text("cannot arrive")
        said = program.says("closed")
        assert "root" in said.splitlines()[-1]
        for number in range(20):
            (source / "open/f").write_text(f"save {number}")
            program.wait_for(
                lambda: (far.here / "project/open/f").read_text() == f"save {number}"
            )
        assert (closed / "f").read_text() == "one"
        assert program.errors.decode().count("cannot write") <= 1
        assert far.owner
        os.chown(closed, *far.owner)
        converges(program, far, source)
        ends_cleanly(program, far, source)


def test_a_mode_that_cannot_be_set_is_said_once_and_holds_up_nothing(
    far_end: Callable[[str], FarEnd], source: Path
) -> None:
    need_root()
    far = far_end("sudo")
    plant(source, {"d/f": "one", "e/f": "two"})
    with replicating(far, source) as program:
        os.chown(far.here / "project/d", 0, 0)
        (source / "d").chmod(0o750)
        program.says("cannot change the mode of directory 'd'")
        (source / "d").chmod(0o700)
        (source / "e/f").write_text("three")
        program.wait_for(lambda: (far.here / "project/e/f").read_text() == "three")
        assert program.errors.count(b"cannot") == 1
        assert far.owner
        os.chown(far.here / "project/d", *far.owner)
        (source / "d").chmod(0o755)
        converges(program, far, source)
        ends_cleanly(program, far, source)


@pytest.mark.parametrize("name", ["bash+gnu", "dash+bsdtar", "busybox+busybox"])
def test_a_full_disk_is_said_and_overcome(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    with mounted(far.here, "size=2m"):
        ballast = far.here / "ballast"
        ballast.write_bytes(b"x" * 1_000_000)
        plant(source, {"small": "one", "other": "other"})
        with replicating(far, source) as program:
            plant(source, {"large": b"y" * 1_500_000})
            program.says("disk is full")
            (source / "small").write_text("two")
            dest = far.here / "project"
            program.wait_for(lambda: (dest / "small").read_text() == "two")
            assert not (dest / "large").exists()
            ballast.unlink()
            converges(program, far, source)
            assert program.errors.count(b"disk is full") == 1
            ends_cleanly(program, far, source)


@pytest.mark.parametrize("name", ["bash+gnu", "busybox+busybox"])
def test_a_first_copy_onto_a_full_disk_fails(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    with mounted(far.here, "size=1m"):
        plant(source, {"large": b"y" * 1_500_000, "small": "fits"})
        done = replicate(far, source)
        assert done.returncode == UNAVAILABLE
        assert "disk is full" in done.stderr.decode()
        assert (far.here / "project/small").read_text() == "fits"
        assert os.listdir(far.here / "project") == ["small"]


@pytest.mark.parametrize("name", ["bash+gnu", "dash+bsdtar", "busybox+busybox"])
def test_a_noexec_destination_is_as_good_as_any(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    small_tree(source)
    with mounted(far.here, "noexec,nodev,nosuid"):
        done = replicate(far, source)
        assert done.returncode == OK, done.stderr
        assert_same(source, far.here / "project", whole_seconds=not far.sub_second)


def test_a_file_with_no_permissions_at_all_arrives(
    far_end: Callable[[str], FarEnd], source: Path
) -> None:
    """An ordinary user over there may not even read it again."""
    far = far_end("sudo")
    plant(source, {"secret": "one", "d/f": "two"})
    (source / "secret").chmod(0)
    (source / "d/f").chmod(0o200)
    with replicating(far, source) as program:
        converges(program, far, source)
        (source / "secret").write_text("saved")
        (source / "d").chmod(0o700)
        converges(program, far, source)


@pytest.mark.parametrize(
    "typed, name",
    [("link", "link"), ("link/", "link"), (".", "project"), ("src/..", "project")],
)
def test_the_copy_is_called_what_the_source_was_called(
    typed: str, name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    """Also by a link's own name, with or without a `/`; `.` means the real one."""
    far = far_end("bash+gnu")
    small_tree(source)
    link = source.parent / "link"
    link.symlink_to(source)
    directory = source.parent if "link" in typed else source
    done = run(["file-replicator", ONCE, typed, far.parent, "bash"], cwd=directory)
    assert done.returncode == OK, done.stderr
    assert os.listdir(far.here) == [name]
    assert_same(source, far.here / name)


@pytest.mark.parametrize("options", [(), ("--clean-out-first",)], ids=["", "clean"])
@pytest.mark.parametrize("parent", ["..", ".", "src", "new/and/deep", "link"])
@pytest.mark.parametrize("shell", ["bash", "dash", "busybox sh", "mksh", "zsh"])
def test_a_destination_inside_the_source_is_refused_untouched(
    shell: str, parent: str, options: tuple[str, ...], source: Path
) -> None:
    """Before anything is made or cleaned out: with ``..`` it is the source itself."""
    small_tree(source)
    (source.parent / "link").symlink_to(source)
    if parent == "link":
        where = source.parent / "link"
    else:
        where = Path(os.path.normpath(source / parent))
    before = tree(source)
    inside = FarEnd("inside", shell.split(), str(where), source)
    done = replicate(inside, source, *options)
    assert done.returncode == USAGE
    assert ("itself" if parent == ".." else "inside") in complaint(done)
    assert tree(source) == before


def test_a_source_inside_the_destination_is_refused_untouched(source: Path) -> None:
    root = source.parent / "a" / "project" / "b" / "project"
    small_tree(root)
    before = tree(source.parent)
    around = FarEnd("around", ["bash"], str(source.parent / "a"), source)
    done = replicate(around, root, "--clean-out-first")
    assert done.returncode == USAGE
    assert "inside" in complaint(done)
    assert tree(source.parent) == before


# --- connection commands that are none ------------------------------------------------


def refused(source: Path, *command: str, timeout: float = 10) -> tuple[int, str]:
    dest = source.parent / "dest"
    argv: list[Word] = ["file-replicator", ONCE, "--connect-timeout=2", source, dest]
    argv += command
    with running(*argv) as program:
        program.process.wait(timeout)
        family = program.family()
        status = program.end()
        assert family == []
        done = subprocess.CompletedProcess(argv, status, b"", bytes(program.errors))
    return done.returncode, complaint(done)


def test_a_connection_command_that_does_not_exist(source: Path) -> None:
    status, line = refused(source, "no-such-command-here")
    assert status == UNAVAILABLE
    assert "'no-such-command-here'" in line and "No such file or directory" in line


@pytest.mark.parametrize(
    "command",
    [["true"], ["false"], ["sh", "-c", "exit 7"], ["sh", "-c", "echo bye; exit 3"]],
    ids=" ".join,
)
def test_a_connection_command_that_ends_at_once(
    source: Path, command: list[str]
) -> None:
    status, line = refused(source, *command)
    assert status == UNAVAILABLE
    number = {"false": "1", "exit 7": "7", "echo bye; exit 3": "3"}.get(command[-1], "")
    assert number in line


def test_the_last_words_of_a_connection_command_are_told(source: Path) -> None:
    words = "echo 'ssh: connect to host x port 22: Connection refused' >&2; exit 255"
    done = replicate(FarEnd("none", ["sh", "-c", words], "/dest", source), source)
    assert done.returncode == UNAVAILABLE
    assert "255" in complaint(done)
    assert "Connection refused" in done.stderr.decode()


@pytest.mark.parametrize(
    "command", [["cat"], ["tee"], ["sort"], ["sed", ""]], ids=" ".join
)
@pytest.mark.timeout(90)
def test_a_connection_command_that_is_no_shell(
    source: Path, command: list[str]
) -> None:
    small_tree(source)
    status, line = refused(source, *command)
    assert status == UNAVAILABLE
    assert command[0] in line or "shell" in line


@pytest.mark.timeout(90)
def test_a_connection_command_that_hangs(source: Path) -> None:
    status, line = refused(
        source, sys.executable, "-c", "import signal; signal.pause()"
    )
    assert status == UNAVAILABLE
    assert "answer" in line or "shell" in line


def test_a_banner_before_the_shell_does_no_harm(
    far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end("bash+gnu")
    small_tree(source)
    noise = (
        "echo Welcome; seq 1 20000; head -c 5000 /dev/zero; printf 'no end'; exec sh"
    )
    done = replicate(farends.with_command(far, ["sh", "-c", noise]), source)
    assert done.returncode == OK, done.stderr
    assert_same(source, far.here / "project")


def test_a_far_end_without_tar_is_told_so(
    far_end: Callable[[str], FarEnd], source: Path, place: Path
) -> None:
    far = far_end("bash+gnu")
    small_tree(source)
    for tool in ("cat", "chmod", "dd", "find", "ls", "mkdir", "mv", "rm", "stat"):
        (place / tool).symlink_to(f"/bin/{tool}")
    command = ["/usr/bin/env", f"PATH={place}", "/bin/sh"]
    done = replicate(farends.with_command(far, command), source)
    assert done.returncode == UNAVAILABLE
    assert "tar" in complaint(done)


@pytest.mark.parametrize("perl", ["exit 1", "echo new; cat >/dev/null"])
def test_a_perl_that_is_no_good_is_not_needed(
    perl: str, far_end: Callable[[str], FarEnd], source: Path, place: Path
) -> None:
    """It ends at once, or is none (see rename_by_perl.sh)."""
    (place / "perl").write_text(f"#!/bin/sh\nPATH={farends.SYSTEM_PATH}\n{perl}\n")
    (place / "perl").chmod(0o755)
    far = far_end("dash+gnu")
    command = ["/usr/bin/env", f"PATH={place}:{farends.SYSTEM_PATH}", "dash"]
    small_tree(source)
    with replicating(farends.with_command(far, command), source) as program:
        (source / "new").write_text("1")
        (source / "new").write_text("2")
        converges(program, far, source)
        ends_cleanly(program, far, source)


@pytest.mark.parametrize(
    "setting",
    [
        "PERL_UNICODE=",
        "PERL_UNICODE=SDA",
        "PERL5OPT=-Mopen=:std,:utf8 -CSDA",
        "PERLIO=:utf8",
        "PERLIO=:crlf",
    ],
)
def test_perl_renames_just_what_mv_would(
    setting: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    """Onto files and symlinks; where directories stand in the way mv finds out more."""
    far = far_end("dash+gnu")
    far = farends.with_command(far, ["/usr/bin/env", setting, *far.command])
    names = ["a b", "new\nline", "-rf *", "$HOME", "'", "\\", "ä"]
    plant(source, {f"d/{name}": name for name in names})
    with replicating(far, source) as program:
        there = far.here / "project/d"
        assert [pid for pid in program.family() if name_of(pid) == "perl"]
        (there / "a b").unlink()
        (there / "a b").symlink_to("/etc/passwd")
        for name in ("'", "ä"):
            (there / name).unlink()
            (there / name).mkdir()
            (there / name / "made there").write_text("stays")
        for name in names:
            (source / "d" / name).write_text(name + " again")
        program.says("'.kept-1")
        program.says("ä.kept-1")
        for name in names:
            program.wait_for(lambda: (there / name).read_text() == name + " again")
        assert (there / "'.kept-1/made there").read_text() == "stays"
        assert (there / "ä.kept-1/made there").read_text() == "stays"


def test_a_file_system_mounted_within_the_destination(
    far_end: Callable[[str], FarEnd], source: Path
) -> None:
    """What cannot be renamed into it is copied, by one mv for many."""
    far = far_end("dash+gnu")
    names = [f"o'dd\n{number}" for number in range(3000)]
    (far.here / "project").mkdir()
    with mounted(far.here / "project/d", "size=64m"):
        plant(source, {f"d/{name}": name for name in names})
        with replicating(far, source) as program:
            converges(program, far, source)
            for name in names:
                (source / "d" / name).write_text(name + " again")
            converges(program, far, source)
            ends_cleanly(program, far, source)


@pytest.mark.parametrize(
    "name", ["dash+gnu", "dash+bsdtar", "bash+gnu", "busybox+busybox"]
)
def test_what_stands_in_the_way_of_some_of_many(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    """Renamed by perl, linked by cp, moved by mv: a batch is one go, until it is not."""
    far = far_end(name)
    paths = [
        f"{top}/o'dd {count}/f{file}"
        for top in "ab"
        for count in range(12)
        for file in range(4)
    ]
    plant(source, {path: "1" for path in paths})
    with replicating(far, source) as program:
        there = far.here / "project"
        outside = far.here / "outside"
        plant(outside, {path: "1" for path in paths})
        shutil.rmtree(there / "a/o'dd 3")
        (there / "a/o'dd 3").symlink_to(outside / "a/o'dd 3")
        shutil.rmtree(there / "a/o'dd 5")
        (there / "b/o'dd 7/f1").unlink()
        (there / "b/o'dd 7/f1").mkdir()
        (there / "b/o'dd 7/f1/made there").write_text("stays")
        (there / "b/o'dd 8/f0").unlink()
        (there / "b/o'dd 8/f0").symlink_to(outside / "b/o'dd 8/f0")
        for path in paths:
            (source / path).write_text("22")
        program.says(".kept-1")
        arrived = lambda path: path.is_file() and path.stat().st_size == 2
        program.wait_for(lambda: all(arrived(there / path) for path in paths))
        assert not (there / "a/o'dd 3").is_symlink()
        assert not (there / "b/o'dd 8/f0").is_symlink()
        assert (there / "b/o'dd 7/f1.kept-1/made there").read_text() == "stays"
        assert {path.read_text() for path in outside.rglob("f*")} == {"1"}


@pytest.mark.parametrize("name", ["dash+gnu", "bash+gnu"])
def test_one_directory_in_the_way_of_many_is_no_trouble_for_the_others(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    """cp has put some into place before it fails, and mv will not have one file twice."""
    far = far_end(name)
    paths = [f"d{count}/f{file}" for count in range(12) for file in range(4)]
    plant(source, {path: "1" for path in paths})
    assert replicate(far, source).returncode == OK
    there = far.here / "project"
    (there / "d6/f1").unlink()
    plant(there, {"d6/f1/made there": "stays"})
    for path in paths:
        (source / path).write_text("22")
    done = replicate(far, source)
    assert done.returncode == OK, done.stderr
    assert b"cannot write" not in done.stderr
    assert {(there / path).read_text() for path in paths} == {"22"}
    assert (there / "d6/f1.kept-1/made there").read_text() == "stays"


@pytest.mark.parametrize("fails", ["kill -KILL $$", "exit 127"])
def test_a_tar_that_cannot_tell_its_version_is_asked_again(
    fails: str, far_end: Callable[[str], FarEnd], source: Path, place: Path
) -> None:
    """Found by a hunt: it was taken for one that cannot set fractions of a second."""
    kill = place / "kill"
    (place / "tar").write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --version ] && rm {kill} 2>/dev/null; then {fails}; fi\n'
        f'PATH={farends.SYSTEM_PATH} exec tar "$@"\n'
    )
    (place / "tar").chmod(0o755)
    far = far_end("dash+gnu")
    command = ["/usr/bin/env", f"PATH={place}:{farends.SYSTEM_PATH}", "dash"]
    plant(source, {"f": "1"})
    with replicating(farends.with_command(far, command), source) as program:
        kill.touch()
        (perl,) = (pid for pid in program.family() if name_of(pid) == "perl")
        os.kill(perl, signal.SIGKILL)
        (source / "f").write_text("2")
        converges(program, far, source)
        assert not kill.exists()
        ends_cleanly(program, far, source)


@pytest.mark.parametrize("name", ["dash+gnu", "bash+gnu"])
def test_a_file_that_goes_between_unpacking_and_moving_is_sent_again(
    name: str, far_end: Callable[[str], FarEnd], source: Path, place: Path
) -> None:
    """As when somebody clears the hidden directory away: the old one is no proof."""
    far = far_end(name)
    lose = place / "lose"
    (place / "tar").write_text(
        f'#!/bin/sh\n{shutil.which("tar")} "$@" || exit\n'
        f"! rm {lose} 2>/dev/null || rm ./.filerep-*/0/f1\n"
    )
    (place / "tar").chmod(0o755)
    plant(source, {f"f{number}": "1" for number in range(3)})
    command = [word.replace("PATH=", f"PATH={place}:") for word in far.command]
    with replicating(farends.with_command(far, command), source) as program:
        (source / "f0").write_text("not lost")
        converges(program, far, source)
        lose.touch()
        for number in range(3):
            (source / f"f{number}").write_text("saved again")
        converges(program, far, source)
        assert not lose.exists()


@pytest.mark.parametrize("name", ["bash+gnu", "dash+gnu", "busybox+busybox"])
def test_a_reason_is_told_once_for_many_whatever_they_are_called(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end(name)
    with mounted(far.here, "size=3m"):
        ballast = far.here / "ballast"
        ballast.write_bytes(b"x" * 2_000_000)
        with replicating(far, source) as program:
            odd = {f"a\n'{number}: b\n": b"y" * 20_000 for number in range(100)}
            plant(source, odd)
            program.says("cannot write")
            ballast.unlink()
            converges(program, far, source)
            assert program.errors.count(b"cannot write") == 1
            assert program.errors.count(b"disk is full") == 1


def test_files_of_somebody_else_are_told_of_together(
    far_end: Callable[[str], FarEnd], source: Path
) -> None:
    """In a directory that all may write, as /tmp, only their owner may replace them."""
    far = far_end("sudo")
    plant(source, {f"d/f{number}": "1" for number in range(50)})
    with replicating(far, source) as program:
        converges(program, far, source)
        there = far.here / "project/d"
        for path in [there, *there.iterdir()]:
            os.chown(path, 0, 0)
        there.chmod(0o1777)
        for number in range(50):
            (source / f"d/f{number}").write_text("2")
        program.says("Operation not permitted")
        (source / "e").write_text("e")
        program.says("sent 'e'")
        assert program.errors.count(b"Operation not permitted") == 1


@pytest.mark.parametrize("name", ["dash+gnu", "mksh+gnu"])
def test_a_killed_perl_costs_a_connection(
    name: str, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    """At once: with mksh nothing was heard until the far end was given up."""
    far = far_end(name)
    plant(source, {"f": "1"})
    with replicating(far, source) as program:
        (perl,) = (pid for pid in program.family() if name_of(pid) == "perl")
        os.kill(perl, signal.SIGKILL)
        (source / "f").write_text("2")
        converges(program, far, source)
        assert b"no sign of life" not in program.errors
        ends_cleanly(program, far, source)


def test_a_parent_that_cannot_be_made_is_told_so(source: Path, place: Path) -> None:
    small_tree(source)
    (place / "file").write_text("in the way")
    far = FarEnd("none", ["bash"], str(place / "file/parent"), place)
    done = replicate(far, source)
    assert done.returncode == UNAVAILABLE
    assert "Not a directory" in complaint(done)


def test_the_words_before_the_connection_command(
    far_end: Callable[[str], FarEnd], source: Path
) -> None:
    """`--` may stand there, and what follows is the command's own, options too."""
    far = far_end("bash+gnu")
    small_tree(source)
    argv: list[Word] = [
        "file-replicator",
        ONCE,
        source,
        far.parent,
        "--",
        "bash",
        "--norc",
    ]
    done = run(argv)
    assert done.returncode == OK, done.stderr
    assert_same(source, far.here / "project")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_within_a_second(
    number: int, far_end: Callable[[str], FarEnd], source: Path
) -> None:
    far = far_end("dash+gnu")
    small_tree(source)
    with replicating(far, source) as program:
        family = program.family()
        program.end(number, timeout=1.5)
        assert program.process.returncode in (INTERRUPTED, 128 + number, -number)
        wait_for(lambda: not [pid for pid in family if alive(pid)], timeout=1)
        assert staging(far, source) == []
    assert_same(source, far.here / "project")
