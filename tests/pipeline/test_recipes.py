"""Every recipe in README.md, run as it stands there, in a world with the names it uses."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import farends
import pytest
import readme
from programs import Running, environment, run, running

BLOCKS = readme.blocks()
# What .ci/run does for the tests themselves; and there is no cluster.
ELSEWHERE = {"Contributing", "A pod (not tested)"}


def block(heading: str, number: int = 0) -> readme.Block:
    found = [one for one in BLOCKS if one.heading == heading]
    return found[number]


class World:
    """A directory with my_project in it, and `host`, `a`, `b` and containers to reach."""

    def __init__(self, base: Path, server: farends.Sshd) -> None:
        self.base = base
        self.work = base / "work"
        self.project = self.work / "my_project"
        self.tools = base / "tools"
        self.tools.mkdir()
        config = server.config
        config.write_text(config.read_text().replace("Host far", "Host far host a b"))
        self.tool("ssh", f"exec /usr/bin/ssh -F {config}")
        self.env = environment(HOME=str(base), XDG_STATE_HOME=str(base / "state"))
        self.env["PATH"] = f"{self.tools}:{self.env['PATH']}"
        # rsync asks for no shell of its own making.
        self.env["RSYNC_RSH"] = str(self.tools / "ssh")

    def tool(self, name: str, words: str) -> None:
        (self.tools / name).write_text(f'#!/bin/sh\n{words} "$@"\n')
        (self.tools / name).chmod(0o755)

    def begin(self) -> None:
        """The project as it was in the beginning, and nothing at the far end."""
        shutil.rmtree(self.work, ignore_errors=True)
        (self.project / "sub").mkdir(parents=True)
        (self.project / "main.py").write_text("print(1)\n")
        (self.project / "sub/text").write_text("text\n")
        (self.project / ".gitignore").write_text("*.log\n")
        (self.project / "old.log").write_text("ignored\n")
        (self.project / "Makefile").write_text(
            "test:\n\t@echo tested $$(cat main.py)\n"
        )
        git = [
            "git",
            "-c",
            "user.name=n",
            "-c",
            "user.email=e",
            "-C",
            str(self.project),
        ]
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "begin"]):
            subprocess.run([*git, *words], check=True)
        self.there("rm -rf /srv/*; mkdir /srv/app /srv/a /srv/b")

    def there(self, script: str) -> str:
        done = run(["ssh", "host", script], env=self.env)
        return done.stdout.decode()

    def shell(self, one: readme.Block) -> list[str]:
        return ["bash" if one.language == "bash" else "sh", "-c", one.text]

    def do(self, one: readme.Block, **how: Any) -> subprocess.CompletedProcess[bytes]:
        done = run(self.shell(one), env=self.env, cwd=self.work, **how)
        assert (done.returncode, done.stderr) == (0, b"")
        return done

    @contextlib.contextmanager
    def start(self, one: readme.Block) -> Iterator[Running]:
        with running(*self.shell(one), env=self.env, cwd=self.work) as program:
            yield program

    def arrives(self, program: Running, where: str, name: str = "main.py") -> None:
        """Saves, until a save that a watcher saw has come to ``where`` at the far end."""
        count = 0

        def saved() -> bool:
            nonlocal count
            count += 1
            (self.project / name).write_text(f"saved {count}\n")
            return "saved" in self.there(f"cat {where} 2>/dev/null")

        program.wait_for(saved, 30, f"for {where}")


@pytest.fixture(scope="session")
def whole_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    farends.need_root()
    unshare, mount = farends.need("unshare", "mount")
    with farends.place("fr-recipes-") as base:
        # A /srv of its own for the host's users; sshd is one more name for this machine.
        own = f'{mount} -t tmpfs srv /srv && exec "$0" "$@"'
        before = [unshare, "-m", "sh", "-c", own]
        with farends.sshd(base / "sshd", address="127.0.0.2", before=before) as server:
            yield World(base, server)


@pytest.fixture
def world(whole_world: World) -> World:
    whole_world.begin()
    return whole_world


# --- the two commands, and what follows them ------------------------------------------


def replicated(world: World, one: readme.Block, look: Callable[[], str]) -> None:
    """file-replicator brings the project and a save to where ``look`` finds main.py."""
    with world.start(one) as program:
        program.says("in sync")
        assert look() == "print(1)\n"
        (world.project / "main.py").write_text("print(2)\n")
        program.says("sent 'main.py'")
        assert look() == "print(2)\n"
        os.killpg(program.process.pid, signal.SIGINT)
        program.end()


def test_the_first_command(world: World) -> None:
    one = block("Install and run")
    command = one.text.rpartition("venv/bin/")[2]
    (world.work / "my_project_dir").symlink_to("my_project")
    place = Path("/tmp/my_project_dir")  # what was typed, though a link
    shutil.rmtree(place, ignore_errors=True)
    try:
        replicated(
            world, one._replace(text=command), lambda: (place / "main.py").read_text()
        )
    finally:
        shutil.rmtree(place, ignore_errors=True)


def over_there(world: World, path: str = "/srv/app/my_project") -> Callable[[], str]:
    return lambda: world.there(f"cat {path}/main.py")


def test_to_a_server(world: World) -> None:
    replicated(world, block("Install and run", 1), over_there(world))


def test_ssh_that_logs_in_once(world: World) -> None:
    one = block("ssh that logs in once")
    replicated(world, one, over_there(world))
    with world.start(one) as program:  # by the connection that is still there
        program.says("in sync: 4 files, nothing to send")
    stop = ["ssh", "-o", "ControlPath=/tmp/%C", "-O", "exit", "host"]
    assert run(stop, env=world.env).returncode == 0


@pytest.fixture(scope="session")
def my_container(whole_world: World, docker: farends.Docker) -> Iterator[Path]:
    with docker.container("my_container"):
        words = " ".join(docker.docker())
        whole_world.tool("docker", f"exec {words}")
        home = whole_world.base / "sshd/home"
        (home / ".bashrc").write_text(f"PATH={whole_world.tools}:$PATH\n")
        yield whole_world.tools


@pytest.mark.usefixtures("my_container")
@pytest.mark.parametrize(
    "heading, number",
    [("Install and run", 2), ("A container on another machine", 0)],
)
def test_to_a_container(world: World, heading: str, number: int) -> None:
    inside = ["docker", "exec", "my_container"]
    run([*inside, "rm", "-rf", "/home/code"], env=world.env)

    def look() -> str:
        words = [*inside, "cat", "/home/code/my_project/main.py"]
        return run(words, env=world.env).stdout.decode()

    replicated(world, block(heading, number), look)


def test_to_podman(world: World, podman: farends.FarEnd) -> None:
    at = podman.command.index("exec")
    words = " ".join(podman.command[:at])
    name = podman.command[-2]
    # There it goes by another name.
    world.tool(
        "podman",
        f'for w; do shift; [ "$w" != my_container ] || w={name};'
        f' set -- "$@" "$w"; done; exec {words}',
    )

    def look() -> str:
        inside = [
            "podman",
            "exec",
            "my_container",
            "cat",
            "/home/code/my_project/main.py",
        ]
        return run(inside, env=world.env).stdout.decode()

    replicated(world, block("Containers"), look)


def test_to_a_composed_service(world: World, docker: farends.Docker) -> None:
    with docker.composed("web") as far:
        at = far.command.index("exec")
        path = f"PATH={farends.SYSTEM_PATH}"  # not the docker above, which names its socket
        world.tool("docker-compose", f"{path} exec {' '.join(far.command[:at])}")

        def look() -> str:
            words = ["docker-compose", "exec", "-T", "web", "cat"]
            words += ["/home/code/my_project/main.py"]
            return run(words, env=world.env).stdout.decode()

        replicated(world, block("Containers", 1), look)


def test_as_another_user(world: World) -> None:
    farends.need("sudo")
    place = Path("/tmp/theirs")
    shutil.rmtree(place, ignore_errors=True)
    try:
        copy = place / "my_project/main.py"
        replicated(world, block("As another user"), copy.read_text)
        assert copy.owner() == "nobody"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_run_something_after_each_save(world: World) -> None:
    with world.start(block("Run something there after each save")) as program:
        program.says("tested print(1)")
        (world.project / "main.py").write_text("print(2)\n")
        program.says("tested print(2)")


def test_a_makefile_that_waits(world: World) -> None:
    one = block("Wait until it is there")
    (world.work / "Makefile").write_text(one.text)
    with world.start(block("Install and run", 1)) as program:
        program.says("in sync")
        done = run(["make", "-s", "remote-test"], env=world.env, cwd=world.work)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == b'print("made here")\n'


def test_the_service_is_one_that_systemd_takes(world: World) -> None:
    (program,) = farends.need("systemd-analyze")
    unit = world.work / "my_project.service"
    unit.write_text(block("As a service").text)
    done = run([program, "--user", "--man=no", "verify", str(unit)], env=world.env)
    said = done.stderr.decode()
    assert "my_project.service" not in said, said


# --- the filters by hand --------------------------------------------------------------


def test_every_save_by_hand(world: World) -> None:
    with world.start(block("Every save to a server, by hand")) as program:
        world.arrives(program, "/srv/app/main.py")


def test_two_destinations(world: World) -> None:
    with world.start(block("One watch, two destinations")) as program:
        world.arrives(program, "/srv/a/main.py")
        world.arrives(program, "/srv/b/main.py")


def test_a_filter_in_the_middle(world: World) -> None:
    with world.start(block("A filter in the middle")) as program:
        (world.project / "other").write_text("x")
        world.arrives(program, "/srv/app/main.py")
        assert world.there("ls /srv/app") == "main.py\n"


def test_what_differs_from_the_last_commit(world: World) -> None:
    (world.project / "main.py").write_text("print(2)\n")
    (world.project / "new\nname").write_text("")
    world.do(block("What differs from the last commit, once"))
    names = subprocess.check_output(["tar", "-tf", world.work / "changed.tar"])
    assert names == b"main.py\nnew\\nname\n"


def test_what_git_would_leave_out(world: World) -> None:
    assert world.do(block("Ask git what it would leave out")).stdout == b"old.log\n"


def test_a_tarball_of_what_git_would_commit(world: World) -> None:
    (world.project / "new").write_text("")
    world.do(block("A tarball of what git would commit"))
    assert in_tarball(world) == {".gitignore", "Makefile", "main.py", "new", "sub/text"}


def in_tarball(world: World) -> set[str]:
    words = ["tar", "-tzf", world.work / "my_project.tar.gz"]
    return set(subprocess.check_output(words, text=True).splitlines())


def test_a_session_is_recorded_and_replayed(world: World) -> None:
    heading = "Record a session, and replay it elsewhere"
    with world.start(block(heading)) as program:
        world.arrives(program, "/srv/a/main.py")
    assert world.there("ls /srv/b") == ""
    world.do(block(heading, 1))
    assert world.there("cat /srv/b/main.py") == (world.project / "main.py").read_text()


def test_rsync_and_tar_take_the_same_paths(world: World) -> None:
    farends.need("rsync")
    heading = "rsync and tar, fed by fr-walk"
    wanted = {".gitignore", "Makefile", "main.py", "sub/text"}
    world.do(block(heading))
    found = world.there("cd /srv/app && find . -type f").split()
    assert {name[2:] for name in found} == wanted
    world.do(block(heading, 1))
    assert in_tarball(world) == wanted


def test_entr_and_xargs_and_a_loop(world: World) -> None:
    farends.need("entr")
    heading = "Run the tests when a file is saved"
    for number, said in (
        (0, b"tested saved"),
        (1, b"changed: main.py"),
        (2, b"look at main.py"),
    ):
        with world.start(block(heading, number)) as program:
            began, saves = time.monotonic(), 0

            def saved() -> bool:
                nonlocal saves
                # Until it watches; entr waits for a pause before it acts.
                if time.monotonic() - began > saves:
                    saves += 1
                    (world.project / "main.py").write_text("saved\n")
                return said in program.output

            program.wait_for(saved, what=lambda: bytes(program.output))


# --- completion -----------------------------------------------------------------------


def test_bash_completes_options(world: World) -> None:
    script = block("Completion").text + "complete -p file-replicator fr-walk\n"
    done = run(["bash", "-c", script], env=world.env)
    assert done.returncode == 0 and not done.stderr
    for option in ("--no-gitignore", "--on-sync", "--version", "--why"):
        assert option in done.stdout.decode()
    assert "-- " not in done.stdout.decode().replace(" -- ", "")


def test_zsh_completes_options(world: World) -> None:
    farends.need("zsh")
    one = block("Completion", 1)
    script = f"autoload -U compinit && compinit -u -D\n{one.text}"
    script += "print $_comps[file-replicator]\n"
    done = run(["zsh", "-fc", script], env=world.env)
    assert done.stdout == b"_gnu_generic\n", done.stderr


# --- the README itself ----------------------------------------------------------------


@pytest.mark.parametrize(
    "program", ["file-replicator", "fr-pack", "fr-walk", "fr-watch"]
)
def test_the_help_in_the_readme_is_the_programs(program: str) -> None:
    text = readme.help_of(program)
    assert (
        f"<!-- help: {program} -->\n\n```text\n{text}```\n" in readme.README.read_text()
    )
    assert re.search(r"^Usage:$", text, re.MULTILINE)
    assert re.search(r"^Exit status:$", text, re.MULTILINE)
    assert re.search(r"^Example:$", text, re.MULTILINE)


def test_every_recipe_is_tried() -> None:
    """Each block has a call of ``block`` in this file, by its heading and number."""
    source = Path(__file__).read_text()
    for heading in {
        one.heading for one in BLOCKS if one.language != "text"
    } - ELSEWHERE:
        assert f'"{heading}"' in source, heading


def test_the_package_runs_as_a_module() -> None:
    done = run(["python3", "-m", "filerep", "--version"])
    assert done.stdout.startswith(b"file-replicator ")


def test_the_picture_is_there_and_shows_the_run() -> None:
    picture = (readme.ROOT / "tests/session.svg").read_text()
    assert "file-replicator: in sync: " in picture
