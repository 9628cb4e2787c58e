"""Where the copy goes: a name of the user's own, and places that the far end knows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from farends import need_root
from programs import ROOT, environment, run, running

REPLICATOR = str(ROOT / "bin/file-replicator")
SHELLS = ["bash", "dash", "busybox sh", "mksh", "zsh"]


class There:
    """A far end whose shell starts in one directory and has its home in another."""

    def __init__(self, place: Path, shell: str) -> None:
        if not shutil.which(shell.split()[0]):
            pytest.skip(f"needs {shell.split()[0]}")
        self.home, self.start = place / "the home\\", place / "start here"
        self.home.mkdir()
        self.start.mkdir()
        script = place / "login"
        script.write_text(f"cd '{self.start}'; HOME='{self.home}' exec {shell}\n")
        self.command = ["--", "sh", str(script)]


@pytest.fixture(params=SHELLS)
def there(request: pytest.FixtureRequest, place: Path) -> There:
    return There(place, request.param)


@pytest.fixture
def source(place: Path) -> Path:
    (place / "my-service").mkdir()
    (place / "my-service/f").write_text("x")
    return place / "my-service"


def copied(*words: object) -> str:
    done = run([REPLICATOR, "--once", *map(str, words)])
    assert done.returncode == 0, done.stderr
    return done.stderr.decode()


@pytest.mark.parametrize("parent", ["~", "~/", "~/code", "~/a b/$(touch x)"])
def test_the_home_over_there(parent: str, there: There, source: Path) -> None:
    copied(source, parent, *there.command)
    assert (there.home / parent[2:] / "my-service/f").read_text() == "x"
    assert not os.listdir(there.start)


@pytest.mark.parametrize("parent", [".", "code", "./code/", "../start here/a b"])
def test_where_the_shell_starts_over_there(
    parent: str, there: There, source: Path
) -> None:
    said = copied(source, parent, *there.command)
    assert (there.start / parent / "my-service/f").read_text() == "x"
    assert not os.listdir(there.home)
    assert " -> " in said and "/./" not in said


def test_the_home_of_a_user_over_there(there: There, source: Path) -> None:
    done = run([REPLICATOR, "--once", source, "~no-such-user/x", *there.command])
    assert done.returncode == 69
    said = b"the far end refused: ~no-such-user/x: no such home directory"
    assert said in done.stderr
    done = run([REPLICATOR, "--once", "-n", source, "~root", *there.command])
    assert done.returncode in (0, 1) and b"'f'" in done.stdout, done.stderr


def test_where_the_shell_starts_in_a_directory_that_is_gone(
    there: There, source: Path
) -> None:
    script = Path(there.command[-1])
    script.write_text(script.read_text().replace(";", f"; rmdir '{there.start}';", 1))
    done = run([REPLICATOR, "--once", "-n", source, "code", *there.command])
    assert done.returncode == 69, done.stdout
    assert b"the far end refused: the shell's directory is gone" in done.stderr


def test_a_volume_there_is_known_though_its_place_is_found_over_there(
    place: Path, source: Path
) -> None:
    need_root()
    there = There(place, "bash")
    (there.start / "my-service").mkdir()
    (source / "sub").mkdir()
    bind = f"mount --bind '{source}/sub' '{there.start}/my-service'"
    within = ["--", "unshare", "-m", "sh", "-c", f'{bind} && exec "$@"', "sh"]
    words = [REPLICATOR, "--once", source, "."]
    done = run([*words, *within, *there.command[1:]])
    assert done.returncode == 64 and b"inside SRC_DIR" in done.stderr, done.stderr
    assert not os.listdir(source / "sub")


def test_a_copy_into_the_source_is_refused_there_too(place: Path) -> None:
    there = There(place, "bash")
    done = run([REPLICATOR, "--once", there.start, "sub", *there.command])
    assert done.returncode == 64
    assert b"the destination is inside SRC_DIR" in done.stderr


def test_a_name_of_its_own(place: Path, source: Path) -> None:
    there = There(place, "bash")
    copied("--as", "app", source, place / "far", *there.command)
    assert os.listdir(place / "far") == ["app"]
    with running(
        REPLICATOR, "--as", "app", source, place / "far", *there.command
    ) as program:
        program.says("nothing to send")
        (source / "f").unlink()
        program.says("removed 'f'")
        wait = ["--wait", "--as", "app", source, place / "far", *there.command]
        assert run([REPLICATOR, *wait]).returncode == 0
    assert not (place / "far/app/f").exists()


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_what_only_looks_like_another_run_is_not_waited_for(
    shell: str, place: Path, source: Path
) -> None:
    there = place / "far/my-service"
    for number in range(2):
        (there / f".filerep-0-{number}").mkdir(parents=True)
    os.mkfifo(there / ".filerep-0-0/.pid")
    os.symlink("/dev/zero", there / ".filerep-0-1/.pid")
    words = ["--connect-timeout", "2", source, place / "far", shell]
    done = run([REPLICATOR, "--once", *words], timeout=20)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("typed", ["link", "link/", "link//"])
def test_a_link_keeps_its_name_whatever_tab_puts_behind_it(
    typed: str, place: Path, source: Path
) -> None:
    (place / "link").symlink_to(source)
    copied(f"{place}/{typed}", place / "far", "bash")
    assert os.listdir(place / "far") == ["link"]


def test_a_dot_means_the_real_name(place: Path, source: Path) -> None:
    (place / "link").symlink_to(source)
    done = run([REPLICATOR, "--once", ".", place / "far", "bash"], cwd=place / "link")
    assert done.returncode == 0
    copied(f"{place}/link/.", place / "far2", "bash")
    assert os.listdir(place / "far") == os.listdir(place / "far2") == ["my-service"]


def test_our_home_put_in_by_our_shell_is_told_so(place: Path, source: Path) -> None:
    (place / "f").write_text("")
    home = place / "f"
    env = environment(HOME=str(home), XDG_STATE_HOME=str(place / "state"))
    done = run([REPLICATOR, "--once", source, home / "code", "bash"], env=env)
    assert done.returncode == 69
    said = done.stderr.decode()
    assert "its own home directory is '~/code', in quotes" in said, said


@pytest.mark.parametrize("options", [[], ["--clean-out-first"]], ids=["", "clean"])
def test_a_second_source_of_one_name_is_refused(
    options: list[str], there: There, place: Path
) -> None:
    for one in ("one", "other"):
        (place / one / "app").mkdir(parents=True)
        (place / one / "app" / one).write_text("x")
    words = [place / "far", *there.command]
    with running(REPLICATOR, place / "one/app", *words) as program:
        program.says("watching")
        done = run([REPLICATOR, "--once", *options, place / "other/app", *words])
        assert done.returncode == 69
        assert (place / "far/app/one").exists()
        said = (
            b"another run, of another source or by another command, replicates to this"
        )
        assert said in done.stderr
        copied("--as", "app2", place / "other/app", *words)
        (place / "one/app/later").write_text("x")
        program.says("sent 'later'")
    assert {"one", "later"} <= set(os.listdir(place / "far/app"))
    # It was killed: nothing of it is at work any more.
    copied(place / "other/app", *words)


@pytest.mark.parametrize("amid", [False, True], ids=["at rest", "amid a save"])
def test_a_run_from_another_machine_takes_the_destination_over(
    amid: bool, there: There, place: Path, source: Path
) -> None:
    """Each took the other's end for a lost connection, and they took turns for ever."""
    words = [REPLICATOR, source, place / "far", *there.command]
    elsewhere = environment(XDG_STATE_HOME=str(place / "another machine's"))
    with running(*words) as first:
        first.says("in sync")
        if amid:
            (source / "large").write_bytes(bytes(20_000_000))
        with running(*words, env=elsewhere) as second:
            second.says("in sync")
            (source / "f").write_text("y")
            first.says("has taken over the destination")
            assert first.end() == 69
            assert b"connecting again" not in first.errors
            second.wait_for(lambda: (place / "far/my-service/f").read_text() == "y")
            (source / "f").write_text("z")
            second.wait_for(lambda: (place / "far/my-service/f").read_text() == "z")
            assert b"lost" not in second.errors
            assert (
                run([*words[:1], "--wait", *words[1:]], env=elsewhere).returncode == 0
            )


@pytest.mark.parametrize("given", ["--as", ""])
def test_a_name_of_what_is_on_its_way_is_none_for_a_copy(
    given: str, place: Path, source: Path
) -> None:
    name = ".filerep-0-1"
    if not given:
        source = source.rename(place / name)
    words = [given, name] if given else []
    done = run([REPLICATOR, "--once", *words, source, place / "far", "bash"])
    assert done.returncode == 64
    assert b"a copy cannot be called '.filerep-0-1'" in done.stderr, done.stderr
    assert not (place / "far").exists()
    if not given:
        copied("--as", "app", source, place / "far", "bash")


@pytest.mark.parametrize("more", [[], ["--poll", "1"]])
def test_the_current_directory_may_be_gone(
    more: list[str], place: Path, source: Path
) -> None:
    (place / "gone").mkdir()
    words = [REPLICATOR, *more, str(source), str(place / "far"), "bash"]
    away = f'cd {place}/gone && rmdir ../gone && exec "$@"'
    with running("sh", "-c", away, "sh", *words) as program:
        program.says("in sync")
        (source / "f").write_text("y")
        program.wait_for(lambda: (place / "far/my-service/f").read_text() == "y")
