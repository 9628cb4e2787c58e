"""Fixtures: the far ends, started once and stopped at the end, and what all tests share."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import farends
import pytest
from farends import SHELLS_AND_TARS, FarEnd
from lines import Line

OWN = pytest.StashKey[str]()

# Set by .ci/run, where every tool is installed and every test has to run.
NO_SKIP = bool(os.environ.get("FILEREP_NO_SKIP"))

# Where some processes share the files, a long one that comes last keeps one of them waiting.
LONG_FIRST = (
    *("test_converges", "test_packaging", "test_atomic", "test_restart", "test_wire"),
    *("test_slow_links", "test_wire_moves", "test_wire_trouble"),
    *("test_reconnect", "test_bench", "test_farends", "test_display", "test_recipes"),
    *("test_run", "test_far_trouble", "test_ending", "test_watch", "test_waiting"),
)


def pytest_configure(config: pytest.Config) -> None:
    # git asks nobody and reads nobody's settings; messages come in one language; what the
    # programs remember between runs is not put beside what their user's runs do.
    os.environ["GIT_CONFIG_NOSYSTEM"] = "1"
    os.environ["GIT_CONFIG_GLOBAL"] = os.devnull
    os.environ.pop("LC_ALL", None)
    os.environ["LC_MESSAGES"] = "C"
    # pytest-xdist would begin with the files of the most tests, which are the short ones.
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False
    own = config.stash[OWN] = tempfile.mkdtemp(prefix="fr-xdg-")
    for what in ("CACHE", "CONFIG", "DATA", "STATE"):
        os.environ[f"XDG_{what}_HOME"] = f"{own}/{what.lower()}"


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[OWN], ignore_errors=True)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    # Those that go on for as long as one likes are asked for, never skipped.
    if not os.environ.get("FILEREP_HUNT"):
        hunts = [item for item in items if item.name.startswith("test_hunt")]
        config.hook.pytest_deselected(items=hunts)
        items[:] = [item for item in items if item not in hunts]
    places = {name: place for place, name in enumerate(LONG_FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which FILEREP_NO_SKIP forbids: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if NO_SKIP and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which FILEREP_NO_SKIP forbids: {report.longrepr}"
    return report


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for one test that other users may enter too."""
    with farends.place() as path:
        yield path


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """A directory for what the session's far ends need."""
    with farends.place("fr-ends-") as path:
        yield path


@pytest.fixture(scope="session")
def user() -> Iterator[pwd.struct_passwd]:
    """An ordinary user who may log in."""
    with farends.ordinary_user() as entry:
        yield entry


@pytest.fixture(scope="session")
def sshd(base: Path) -> Iterator[farends.Sshd]:
    """sshd for whoever runs the tests, with nothing to say."""
    with farends.sshd(base / "sshd") as server:
        yield server


@pytest.fixture(scope="session")
def chatty_sshd(base: Path, user: pwd.struct_passwd) -> Iterator[farends.Sshd]:
    """sshd for an ordinary user, with a banner and a start-up file that prints."""
    with farends.sshd(base / "chatty", user, chatty=True) as server:
        yield server


@pytest.fixture(scope="session")
def docker() -> Iterator[farends.Docker]:
    with farends.dockerd() as engine:
        yield engine


@pytest.fixture(scope="session")
def container(docker: farends.Docker) -> Iterator[FarEnd]:
    with docker.container("box") as far:
        yield far


@pytest.fixture(scope="session")
def composed(docker: farends.Docker) -> Iterator[FarEnd]:
    with docker.composed("service") as far:
        yield far


@pytest.fixture(scope="session")
def podman() -> Iterator[FarEnd]:
    with farends.podman() as far:
        yield far


@pytest.fixture(scope="session")
def network() -> Iterator[farends.Network]:
    with farends.network() as net:
        yield net


LOCAL = [f"{shell}+{tar}" for shell, tar in SHELLS_AND_TARS]
REMOTE = [
    "chroot",
    "sudo",
    "ssh",
    "ssh-chatty-user",
    "ssh-slow",
    "netns",
    "docker",
    "docker-compose",
    "podman",
]
FAR_ENDS = LOCAL + REMOTE


@pytest.fixture
def far_end(request: pytest.FixtureRequest) -> Callable[[str], FarEnd]:
    """A function that gives the far end of a name in FAR_ENDS, with a fresh directory."""

    def build(name: str) -> FarEnd:
        base: Path = request.getfixturevalue("base")
        if name == "chroot":
            return farends.chroot(base).fresh()
        if name == "sudo":
            return farends.sudo(base, request.getfixturevalue("user")).fresh()
        if name == "docker":
            return request.getfixturevalue("container").fresh()  # type: ignore[no-any-return]
        if name == "docker-compose":
            return request.getfixturevalue("composed").fresh()  # type: ignore[no-any-return]
        if name == "podman":
            return request.getfixturevalue("podman").fresh()  # type: ignore[no-any-return]
        if name == "ssh":
            server = request.getfixturevalue("sshd")
            return farends.over_ssh(name, server, base).fresh()
        if name == "ssh-slow":
            server = request.getfixturevalue("sshd")
            far = farends.over_ssh(name, server, base).fresh()
            return farends.with_command(far, [*server.slow_ssh(20, 5_000_000), "bash"])
        if name == "ssh-chatty-user":
            server = request.getfixturevalue("chatty_sshd")
            user = request.getfixturevalue("user")
            return farends.over_ssh(name, server, base, user).fresh()
        if name == "netns":
            net = request.getfixturevalue("network")
            stack = contextlib.ExitStack()
            request.addfinalizer(stack.close)
            where = base / f"netns-{len(list(base.iterdir()))}"
            return stack.enter_context(farends.ssh_across(net, where)).fresh()
        shell, _, tar = name.partition("+")
        return farends.local_shell(shell, tar, base).fresh()

    return build


@pytest.fixture(params=FAR_ENDS)
def any_far_end(
    request: pytest.FixtureRequest, far_end: Callable[[str], FarEnd]
) -> FarEnd:
    """Each far end in turn."""
    return far_end(request.param)


@pytest.fixture
def line(
    request: pytest.FixtureRequest, far_end: Callable[[str], FarEnd], place: Path
) -> Line:
    """Over the far end ``name`` of the test."""
    name = request.node.callspec.params.get("name", "bash+gnu")
    return Line(far_end(name), place)
