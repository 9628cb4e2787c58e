"""Every recipe in README.md and docs/recipes.md, run as it stands there, in a world with the
names it uses."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import farends
import pytest
import readme
from programs import Running, environment, run, running

BLOCKS = readme.blocks(readme.README) + readme.blocks(readme.RECIPES)
ELSEWHERE = {"Contributing"}  # what .ci/run does for the tests themselves
INSTALL = "Install and run"  # pipx, and a copy on this machine: see test_packaging.py
HERE, TO_SERVER, TO_CONTAINER = 1, 2, 3


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

    def run(self, one: readme.Block) -> None:
        """What ``one`` says is not looked at, only whether it could be done."""
        done = run(self.shell(one), env=self.env, cwd=self.work)
        assert done.returncode == 0, done.stderr

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
    (world.work / "filerep").symlink_to("my_project")
    place = Path("/tmp/filerep")  # what was typed, though a link
    shutil.rmtree(place, ignore_errors=True)
    try:
        replicated(world, block(INSTALL, HERE), lambda: (place / "main.py").read_text())
    finally:
        shutil.rmtree(place, ignore_errors=True)


def over_there(world: World, path: str = "/srv/app/my_project") -> Callable[[], str]:
    return lambda: world.there(f"cat {path}/main.py")


def test_to_a_server(world: World) -> None:
    replicated(world, block(INSTALL, TO_SERVER), over_there(world))


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
    [(INSTALL, TO_CONTAINER), ("A container on another machine", 0)],
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

    replicated(world, block("Podman, docker compose"), look)


def test_to_a_composed_service(world: World, docker: farends.Docker) -> None:
    with docker.composed("web") as far:
        at = far.command.index("exec")
        # Here it is a program of its own, which names the engine's socket itself.
        compose = f"PATH={farends.SYSTEM_PATH} exec {' '.join(far.command[:at])}"
        world.tool(
            "docker",
            f"""[ "$1" = compose ] || exec {' '.join(docker.docker())} "$@"
shift
{compose}""",
        )

        def look() -> str:
            words = ["docker", "compose", "exec", "-T", "web", "cat"]
            words += ["/home/code/my_project/main.py"]
            return run(words, env=world.env).stdout.decode()

        replicated(world, block("Podman, docker compose", 1), look)


def test_to_many_machines(world: World) -> None:
    with world.start(block("Many machines")) as program:
        for text in ("print(1)\n", "print(2)\n"):
            (world.project / "main.py").write_text(text)
            for name in ("a", "b"):
                program.says(f"{name}: in sync")
                there = f"cat /srv/{name}/my_project/main.py"
                program.wait_for(lambda: world.there(there) == text)
        os.killpg(program.process.pid, signal.SIGINT)
        program.end()


def test_another_users_files(world: World) -> None:
    farends.need("sudo")
    world.there("chown www-data: /srv/app")
    replicated(world, block("Files of another user there"), over_there(world))
    assert world.there("stat -c %U /srv/app/my_project/main.py") == "www-data\n"


class Cluster:
    """Two containers, and a kubectl that knows one of them: the pod of today."""

    def __init__(self, world: World, docker: farends.Docker) -> None:
        self.world = world
        self.docker = docker
        self.pod = ""
        self.containers = contextlib.ExitStack()
        words = " ".join(docker.docker())
        current = world.base / "pod"
        self._current = current
        world.tool(
            "kubectl",
            f"""case "$1 $2" in
'get pod') echo pod/$(cat {current}); exit ;;
'exec -i') shift 2; set -- "$@" ;;
*) exit 1 ;;
esac
pod=$1; [ "$2" = -- ] || exit 1; shift 2
[ "$pod" = deploy/my_app ] || [ "$pod" = "pod/$(cat {current})" ] || exit 1
exec {words} exec -i "$(cat {current})\"""",
        )

    def start(self, name: str) -> None:
        self.containers.enter_context(self.docker.container(name))
        self._current.write_text(name)
        self.pod = name

    def replace(self, name: str) -> None:
        old = self.pod
        self.start(name)
        self.docker.call("rm", "-f", old)

    def look(self) -> str:
        words = [*self.docker.docker(), "exec", self.pod, "cat"]
        return run([*words, "/home/code/my_project/main.py"]).stdout.decode()


@pytest.mark.parametrize("number", [0, 1], ids=["by deployment", "by label"])
def test_to_a_pod_that_is_replaced(
    world: World, docker: farends.Docker, number: int
) -> None:
    cluster = Cluster(world, docker)
    one = block("A pod that is replaced now and then", number)
    cluster.start(f"pod-{number}-a")
    with cluster.containers, world.start(one) as program:
        program.says("in sync")
        assert cluster.look() == "print(1)\n"
        cluster.replace(f"pod-{number}-b")
        program.says("connected again")
        program.wait_for(lambda: cluster.look() == "print(1)\n")
        (world.project / "main.py").write_text("print(2)\n")
        program.wait_for(lambda: cluster.look() == "print(2)\n")


def test_a_limit_of_bandwidth(world: World) -> None:
    farends.need("pv")
    with open(world.project / "large", "wb") as large:
        large.write(os.urandom(3_000_000))
    began = time.monotonic()
    replicated(world, block("A limit of bandwidth"), over_there(world))
    assert time.monotonic() - began > 1.5  # a pipe and a buffer are ahead of it


@pytest.mark.usefixtures("my_container")
@pytest.mark.parametrize("number", [0, 1], ids=["once", "each change"])
def test_a_container_without_a_shell(world: World, number: int) -> None:
    inside = ["docker", "exec", "my_container"]
    run([*inside, "sh", "-c", "rm -rf /home/code; mkdir -p /home/code"], env=world.env)

    def look(name: str) -> str:
        words = [*inside, "cat", f"/home/code/{name}"]
        return run(words, env=world.env).stdout.decode()

    one = block("A container without a shell", number)
    if number == 0:
        world.do(one)
        assert (look("main.py"), look("sub/text")) == ("print(1)\n", "text\n")
        return
    with world.start(one) as program:
        count = 0

        def saved() -> bool:
            nonlocal count
            count += 1
            (world.project / "main.py").write_text(f"saved {count}\n")
            return "saved" in look("main.py")

        program.wait_for(saved, 30)


# --- working there --------------------------------------------------------------------


def test_a_frozen_copy(world: World) -> None:
    with world.start(block(INSTALL, TO_SERVER)) as program:
        program.says("in sync")
        done = world.do(block("A frozen copy for each test run"))
        assert done.stdout == b"tested print(1)\n"
        (world.project / "main.py").write_text("print(2)\n")
        program.says("sent 'main.py'")
        assert over_there(world, "/srv/app/frozen")() == "print(1)\n"
        assert over_there(world)() == "print(2)\n"
        done = world.do(block("A frozen copy for each test run"))
        assert done.stdout == b"tested print(2)\n"


def test_outputs_come_back_and_are_not_sent_again(world: World) -> None:
    (world.project / ".gitignore").write_text("build/\n")
    with world.start(block(INSTALL, TO_SERVER)) as program:
        program.says("in sync")
        world.there("cd /srv/app/my_project && mkdir build && echo made >build/out")
        world.do(block("Outputs back"))
        assert (world.project / "build/out").read_text() == "made\n"
        (world.project / "main.py").write_text("print(2)\n")
        said = program.says("sent 'main.py'")
        assert "build" not in said
        assert over_there(world)() == "print(2)\n"


def test_proof_that_the_copy_is_right(world: World) -> None:
    with world.start(block(INSTALL, TO_SERVER)) as program:
        program.says("in sync")
    one, other = (block("Prove that the copy is right", number) for number in (0, 1))
    assert world.do(one).stdout == b""
    world.run(other)
    world.there("echo other >/srv/app/my_project/sub/text")
    done = run(world.shell(one), env=world.env, cwd=world.work)
    assert done.returncode == 1
    assert b"sub/text: FAILED" in done.stdout
    done = run(world.shell(other), env=world.env, cwd=world.work)
    assert done.returncode == 1
    assert b"would send 'sub/text'" in done.stdout


@pytest.mark.usefixtures("my_container")
def test_a_build_context(world: World) -> None:
    (world.project / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    image = world.do(block("A build context")).stdout.decode().strip()
    assert image.startswith("sha256:")
    create = ["docker", "create", "my_image", "none"]
    name = run(create, env=world.env).stdout.decode().strip()
    try:
        got = run(["docker", "cp", f"{name}:/", "-"], env=world.env)
        (world.base / "image.tar").write_bytes(got.stdout)
        names = run(["tar", "-tf", world.base / "image.tar"]).stdout.decode().split()
        assert {"main.py", "sub/text"} <= {one.lstrip("./") for one in names}
        assert "old.log" not in names
    finally:
        run(["docker", "rm", name], env=world.env)
        run(["docker", "rmi", "my_image"], env=world.env)


def test_edit_here_run_there(world: World) -> None:
    one = block("Edit here, run there")
    world.run(block("The same words each morning"))
    done = run(world.shell(one), env=world.env, cwd=world.work)
    assert (done.returncode, done.stdout) == (0, b"tested print(1)\n")
    with world.start(block("The same words each morning", 1)) as program:
        program.says("in sync")
        (world.project / "main.py").write_text("print(2)\n")
        done = run(world.shell(one), env=world.env, cwd=world.work)
        assert (done.returncode, done.stdout) == (0, b"tested print(2)\n")


def test_run_something_after_each_save(world: World) -> None:
    with world.start(block("Run something there after each save")) as program:
        program.says("tested print(1)")
        (world.project / "main.py").write_text("print(2)\n")
        program.says("tested print(2)")


def test_the_same_words_each_morning(world: World) -> None:
    world.run(block("The same words each morning"))
    replicated(world, block("The same words each morning", 1), over_there(world))


def test_a_makefile_that_waits(world: World) -> None:
    one = block("Wait until it is there")
    (world.work / "Makefile").write_text(one.text)
    world.run(block("The same words each morning"))
    with world.start(block("The same words each morning", 1)) as program:
        program.says("in sync")
        done = run(["make", "-s", "remote-test"], env=world.env, cwd=world.work)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == b'print("made here")\n'


def unit(world: World) -> dict[str, str]:
    lines = block("As a service").text.splitlines()
    return dict(line.partition("=")[::2] for line in lines if "=" in line)


def test_the_service_is_one_that_systemd_takes(world: World) -> None:
    (program,) = farends.need("systemd-analyze")
    unit = world.work / "my_project.service"
    unit.write_text(block("As a service").text)
    done = run([program, "--user", "--man=no", "verify", str(unit)], env=world.env)
    said = [line for line in done.stderr.decode().splitlines() if unit.name in line]
    # It looks for the program in the home of whoever runs the tests.
    assert [line for line in said if "not executable" not in line] == [], said


def test_the_service_starts_where_pipx_has_put_the_program(world: World) -> None:
    """With what a user's manager gives it: no venv, no PATH of a shell."""
    home = world.work
    (home / ".local/bin").mkdir(parents=True)
    starter = home / ".local/bin/file-replicator"
    starter.write_text(
        f"#!/bin/sh\nPYTHONPATH={readme.ROOT} exec {sys.executable}"
        f' {readme.ROOT}/bin/file-replicator "$@"\n'
    )
    starter.chmod(0o755)
    words = unit(world)["ExecStart"].replace("%h", str(home)).split()
    words = ["env", "-i", f"HOME={home}", f"PATH={world.tools}:/usr/bin:/bin", *words]
    with running(*words, env=world.env) as program:
        program.wait_for(lambda: over_there(world)() == "print(1)\n")


def test_the_service_survives_a_boot_without_network(world: World) -> None:
    """It ends with a status after which it is started again, however often."""
    config = world.base / "no-network"
    words = unit(world)["ExecStart"].replace("%h", str(world.work)).split()[1:]
    words[words.index("host")] = "host.invalid"
    config.write_text("Host *\n    BatchMode yes\n")
    done = run(
        ["file-replicator", *words], env={**world.env, "PATH": environment()["PATH"]}
    )
    assert done.returncode == 69, done.stderr
    assert str(done.returncode) not in unit(world)["RestartPreventExitStatus"].split()
    assert unit(world)["Restart"] == "on-failure"
    assert unit(world)["StartLimitIntervalSec"] == "0"
    assert int(unit(world)["RestartSec"]) >= 5


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
    # One may be in it twice: see fr-pack.
    assert list(dict.fromkeys(names.split())) == [b"main.py", b"new\\nname"]


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


def test_the_list_of_another_program_with_gits_answer(world: World) -> None:
    (world.project / "sub/more.py").write_text("")
    (world.project / "old.log.py").write_text("")
    (world.project / ".gitignore").write_text("*.log*\n")
    world.do(block("git's answer for the list of another program"))
    found = world.there("cd /srv/app && find . -type f").split()
    assert sorted(found) == ["./main.py", "./sub/more.py"]


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


# --- the README itself ----------------------------------------------------------------


def test_the_help_in_the_readme_is_the_programs() -> None:
    """Brought up to date by tests/support/readme.py."""
    text = readme.README.read_text()
    assert text == readme.refreshed(text)


def test_no_two_recipes_have_one_name() -> None:
    headings = re.findall(
        r"^#+ (.*)", readme.README.read_text() + readme.RECIPES.read_text(), re.M
    )
    assert len(headings) == len(set(headings))


def test_each_page_that_is_linked_is_there() -> None:
    for page in [
        readme.README,
        *readme.ROOT.glob("*.md"),
        *readme.ROOT.glob("docs/*.md"),
    ]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in link or (page.parent / link).exists(), (page, link)


def test_every_recipe_is_tried() -> None:
    """Each block has a call of ``block`` in this file, by its heading and number."""
    source = Path(__file__).read_text().replace("(INSTALL,", f'("{INSTALL}",')
    for heading in {
        one.heading for one in BLOCKS if one.language != "text"
    } - ELSEWHERE:
        assert f'"{heading}"' in source, heading


def test_the_package_runs_as_a_module() -> None:
    done = run(["python3", "-m", "filerep", "--version"])
    assert done.stdout.startswith(b"file-replicator ")


def test_the_picture_is_there_and_shows_the_run() -> None:
    picture = (readme.ROOT / "docs/session.svg").read_text()
    assert "in sync" in picture and "sent &#x27;README.md&#x27;" in picture
