"""What happens at the far end, or to the rules, without the source knowing."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import farends
import pipelines
import programs
import pytest
import trees

REPLICATE = str(programs.ROOT / "bin" / "file-replicator")
ONCE = [REPLICATE, "--no-replicate-on-change"]


@pytest.mark.parametrize(
    "shell", [["bash"], ["busybox", "sh"]], ids=["GNU cp", "one mv a directory"]
)
@pytest.mark.parametrize("count", [5, 100])
def test_directories_removed_over_there_come_back_whole(
    shell: list[str], count: int, place: Path
) -> None:
    """Not only with the file that was saved, and with their own permission bits."""
    farends.need(shell[0])
    names = [f"d{number}/{name}" for number in range(count) for name in ("x", "keep")]
    trees.plant(place / "src", {name: b"1" for name in names})
    far = place / "far/src"
    with programs.running(REPLICATE, place / "src", place / "far", *shell) as run:
        run.says("watching")
        for number in range(count):
            shutil.rmtree(far / f"d{number}")
        for number in range(count):
            (place / f"src/d{number}/x").write_bytes(b"2")

        def differences() -> str:
            hidden = [name for name in os.listdir(far) if name.startswith(".filerep-")]
            other = trees.tree(far, whole_seconds=True)
            for path in list(other):
                if path.split(b"/")[0] in map(os.fsencode, hidden):
                    del other[path]
            return trees.differences(
                trees.tree(place / "src", whole_seconds=True), other
            )

        run.wait_for(lambda: not differences(), 30, differences)


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_ours_is_not_moved_aside_when_it_could_not_be_removed_before(
    shell: str, place: Path
) -> None:
    """What was to be removed beside it was in a directory that is none any more over there."""
    trees.plant(place / "src", {"d/x": b"1", "e/y": b"1", "f": b""})
    far = place / "far/src"
    with programs.running(REPLICATE, place / "src", place / "far", shell) as run:
        run.says("watching")
        stages = {pipelines.name_of(pid): pid for pid in run.family()}
        os.kill(stages["fr-pack"], signal.SIGSTOP)
        shutil.rmtree(far / "e")
        (far / "e").symlink_to("/nonexistent")
        shutil.rmtree(place / "src/d")
        shutil.rmtree(place / "src/e")
        (place / "src/d").write_bytes(b"a file")
        (place / "src/f").write_bytes(b"2")
        os.kill(stages["fr-watch"], signal.SIGUSR1)  # name it all together
        os.kill(stages["fr-pack"], signal.SIGCONT)
        run.wait_for(lambda: (far / "d").is_file() and (far / "f").read_bytes())
        assert sorted(n for n in os.listdir(far) if n[0] != ".") == ["d", "e", "f"]


def test_what_is_ignored_by_now_is_not_sent_because_it_once_was(place: Path) -> None:
    trees.plant(place / "src", {"secret": b"old", "f": b""})
    here = [place / "src", place / "far", "bash"]
    assert programs.run([*ONCE, *here]).returncode == 0
    (place / "src/secret").write_bytes(b"new")
    assert programs.run([*ONCE, "--exclude", "secret", *here]).returncode == 0
    assert (place / "far/src/secret").read_bytes() == b"old"
    (place / "src/secret").unlink()
    assert programs.run([*ONCE, "--exclude", "secret", *here]).returncode == 0
    assert not (place / "far/src/secret").exists()


def test_a_file_from_before_1970_is_removed_at_the_next_start(place: Path) -> None:
    trees.plant(place / "src", {"old": b"x", "f": b""})
    os.utime(place / "src/old", ns=(-1_500_000_000, -1_500_000_000))
    here = [place / "src", place / "far", "bash"]
    assert programs.run([*ONCE, *here]).returncode == 0
    trees.assert_same(place / "src", place / "far/src")
    inode = os.stat(place / "far/src/old").st_ino
    assert programs.run([*ONCE, *here]).returncode == 0
    assert os.stat(place / "far/src/old").st_ino == inode
    (place / "src/old").unlink()
    assert programs.run([*ONCE, *here]).returncode == 0
    assert not (place / "far/src/old").exists()


def test_a_refused_mirror_ends_the_run_and_is_not_tried_again(place: Path) -> None:
    trees.plant(place / "src", {"f": b""})
    trees.plant(place / "far/src", {f"other{number}": b"" for number in range(150)})
    result = programs.run(
        [REPLICATE, "--mirror", place / "src", place / "far", "bash"], timeout=30
    )
    assert result.returncode == 69
    assert b"would remove 150 of 151 files" in result.stderr
    assert b"connecting again" not in result.stderr
    assert len(os.listdir(place / "far/src")) == 151


@pytest.mark.parametrize("shell", ["bash", "busybox sh", "zsh"])
def test_a_mirror_leaves_nothing_of_a_directory_in_a_files_way(
    shell: str, place: Path
) -> None:
    """All that is there, in one run, but for what is ignored."""
    farends.need(shell.split()[0])
    trees.plant(place / "src", {"x": b"1", ".gitignore": b"*.log"})
    trees.plant(place / "far/src", {"x/deep/y": b"2", "x/z": b"3"})
    here = [place / "src", place / "far", *shell.split()]
    result = programs.run([*ONCE, "--mirror", "--mirror", *here])
    assert result.returncode == 0, result.stderr
    trees.assert_same(place / "src", place / "far/src", whole_seconds=True)
    (place / "src/w").write_bytes(b"4")
    trees.plant(place / "far/src", {"w/kept.log": b"5", "w/z": b"6"})
    assert programs.run([*ONCE, "--mirror", *here]).returncode == 0
    assert os.listdir(place / "far/src/w.kept-1") == ["kept.log"]


def test_one_name_the_far_tar_refuses_costs_the_others_nothing(place: Path) -> None:
    names = [f"good{number}" for number in range(20)] + ["bad"]
    trees.plant(place / "src", {name: b"x" for name in names})
    tools = place / "tools"
    tools.mkdir()
    (tools / "tar").write_text(
        "#!/bin/sh\n"
        'case "$*" in *-x*) t=$(mktemp); cat >"$t"\n'
        '  if /bin/tar -tf "$t" | grep -q /bad; then echo "tar: bad: refused" >&2\n'
        '    rm "$t"; exit 2; fi\n'
        '  /bin/tar "$@" <"$t"; s=$?; rm "$t"; exit $s ;; esac\n'
        'exec /usr/bin/bsdtar "$@"\n'
    )
    (tools / "tar").chmod(0o755)
    far = ["env", f"PATH={tools}:{os.environ['PATH']}", "bash"]
    result = programs.run([*ONCE, place / "src", place / "far", *far], timeout=60)
    assert result.returncode == 69
    assert sorted(os.listdir(place / "far/src")) == sorted(names[:-1])


@pytest.mark.parametrize("shell", ["bash", "busybox sh", "ksh93", "mksh", "zsh"])
def test_fifos_that_cannot_be_opened_over_there_are_done_without(
    shell: str, place: Path
) -> None:
    # The shell ended at that, and a perl that waited in the other one stayed for good.
    farends.need(shell.split()[0], "perl")
    trees.plant(place / "src", {"f": b"x"})
    tools, real = place / "tools", shutil.which("mkfifo")
    tools.mkdir()
    (tools / "mkfifo").write_text(
        f'#!/bin/sh\n{real} "$1" "$2" "$3" && ln -s /nowhere/at/all "$4"\n'
    )
    (tools / "mkfifo").chmod(0o755)
    far = ["env", f"PATH={tools}:{os.environ['PATH']}", *shell.split()]
    with programs.running(*ONCE, place / "src", place / "far", *far) as run:
        assert run.end(timeout=10) == 0
        # But for a sleep of a second, which may be left.
        programs.wait_for(lambda: not any(map(programs.alive, run.family())), 5)
    assert os.listdir(place / "far/src") == ["f"]


def test_a_state_file_that_cannot_be_opened_is_said_and_done_without(
    place: Path,
) -> None:
    trees.plant(place / "src", {"f": b"x"})
    home = place / "state"
    run = [*ONCE, place / "src", place / "far", "bash"]
    env = programs.environment(XDG_STATE_HOME=str(home))
    assert programs.run(run, env=env).returncode == 0
    (state,) = (home / "file-replicator").glob("*.state")
    state.unlink()
    state.mkdir()
    (place / "src/g").write_bytes(b"y")
    result = programs.run(run, env=env)
    assert result.returncode == 0
    said = f"file-replicator: cannot keep state in '{state}', Is a directory: "
    assert said in result.stderr.decode()
    trees.assert_same(place / "src", place / "far/src")


def test_what_fr_pack_could_not_write_is_not_remembered(place: Path) -> None:
    trees.plant(place / "src", {f"f{number}": b"x" * 5000 for number in range(200)})
    walk, pack = programs.ROOT / "bin/fr-walk", programs.ROOT / "bin/fr-pack"
    line = f"'{walk}' src | '{pack}' --state state src"
    programs.run(["sh", "-c", f"{line} | false"], cwd=place)
    result = programs.run(["sh", "-c", f"{line} | tar -t"], cwd=place)
    assert len(result.stdout.split()) > 100
