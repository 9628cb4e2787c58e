"""The package is built, installed elsewhere and used from there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import farends
import pytest
import readme
import share
from programs import ROOT, run, running
from trees import plant

from filerep import __version__, command

COMMANDS = ["file-replicator", "fr-pack", "fr-walk", "fr-watch"]
# What a build or a test run leaves in a checkout.
LITTER = shutil.ignore_patterns(
    ".git", "venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache"
)


def pythons() -> list[str]:
    """The one that runs this and each other minor version from 3.9 on this machine."""
    found = {sys.version_info.minor: sys.executable}
    places = [*os.environ.get("PATH", "").split(os.pathsep)]
    places += map(str, Path.home().glob(".pyenv/versions/*/bin"))
    for minor in range(9, 20):
        for place in places:
            path = os.path.join(place, f"python3.{minor}")
            # One of pyenv's own stands in for versions that are not chosen, and fails.
            if minor not in found and os.path.exists(path) and runs(path):
                found[minor] = path
    return list(found.values())


def runs(python: str) -> bool:
    words = [python, "-c", "import venv, ensurepip, ssl"]
    return subprocess.run(words, capture_output=True).returncode == 0


def environment_of(python: str, where: Path) -> Path:
    """A new virtual environment; its bin directory."""
    subprocess.run([python, "-m", "venv", str(where)], check=True)
    return where / "bin"


def clean_environment() -> dict[str, str]:
    """Without the checkout on any path."""
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1")
    environment.pop("PYTHONPATH", None)
    return environment


@pytest.mark.parametrize("program", COMMANDS)
def test_where_nothing_is_installed_it_says_what_to_install(program: str) -> None:
    """It asked whether a part of it had been replaced meanwhile.

    In a clone its own part is found, which ended in Python's traceback.
    """
    # More words than most take: what is typed right is understood without.
    without = [sys.executable, "-S", str(ROOT / "bin" / program), "x", "y", "z"]
    done = run(without, env=clean_environment(), cwd="/")
    assert done.returncode == 71
    said = f"{program}: docopt is not installed for {sys.executable}; `pipx install ."
    assert done.stderr.decode().startswith(said)


@pytest.mark.parametrize("program", COMMANDS)
def test_a_program_that_stands_alone_says_what_to_install(
    program: str, tmp_path: Path
) -> None:
    """As one does that was installed for a Python that an upgrade has replaced."""
    copied = shutil.copy(ROOT / "bin" / program, tmp_path)
    done = run([sys.executable, "-S", copied, "."], env=clean_environment(), cwd="/")
    assert done.returncode == 71
    said = f"{program}: filerep is not installed for {sys.executable}; `pipx install ."
    assert done.stderr.decode().startswith(said)


@pytest.mark.parametrize("program", COMMANDS)
def test_python_m_runs_the_program_of_a_module(program: str) -> None:
    """It did nothing, and ended with 0."""
    module = {"file-replicator": "filerep"}.get(
        program, program.replace("fr-", "filerep.")
    )
    done = run([sys.executable, "-m", module, "--version"])
    assert (done.returncode, done.stdout) == (0, f"{program} {__version__}\n".encode())


def test_what_is_not_installed_is_known_by_the_names_it_is_loaded_by() -> None:
    settings = (ROOT / "setup.cfg").read_text()
    listed = settings.split("install_requires =\n")[1].split("\nscripts")[0]
    names = re.findall(r"^ +(\w+)", listed, re.MULTILINE)
    assert tuple(names) == command._NEEDED


def pip_install(bin_directory: Path, what: str | Path) -> None:
    words = [str(bin_directory / "pip"), "install", "-q", str(what)]
    done = run(words, env=clean_environment(), timeout=110, cwd="/")
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: a build writes into the tree it builds."""
    copy = tmp_path_factory.mktemp("checkout") / "file-replicator"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=LITTER)
    return copy


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an sdist and the wheel that was built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "build", "--outdir", str(out), str(checkout)]
    done = run(words, env=clean_environment(), timeout=110)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment in which the wheel, and nothing else, is."""
    where = environment_of(sys.executable, tmp_path_factory.mktemp("env") / "venv")
    pip_install(where, wheel(built))
    return where


def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_its_commands(built: Path) -> None:
    names = set(zipfile.ZipFile(wheel(built)).namelist())
    in_package = {name for name in names if name.startswith("filerep/")}
    kept = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "filerep").rglob("*")
        if path.suffix and "__pycache__" not in path.parts
    }
    assert in_package == kept
    scripts = {os.path.basename(name) for name in names if ".data/scripts/" in name}
    assert scripts == set(COMMANDS)
    assert "LICENSE" in {os.path.basename(name) for name in names}
    shared = {name.split(".data/data/")[1] for name in names if ".data/data/" in name}
    assert shared == set(share.files())


def test_the_sdist_holds_what_builds_it(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert checked_in() <= names


def checked_in() -> set[str]:
    """What git has; where there is no git, what an sdist that was unpacked has."""
    listed = run(["git", "-C", ROOT, "ls-files", "-z"])
    if listed.returncode == 0:
        return set(listed.stdout.decode().split("\0")) - {"", ".gitignore"}
    found = {path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()}
    return {str(path) for path in found if "__pycache__" not in path.parts}


@pytest.mark.timeout(300)
def test_the_sdist_passes_its_own_tests(built: Path, tmp_path: Path) -> None:
    """Some of them: of each folder, and such as need most of what lies around."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path)
    (top,) = tmp_path.iterdir()
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    words += [
        "tests/archive",
        "tests/replica/known/test_table.py",
        "tests/project/test_house.py",
    ]
    words += ["tests/project/test_trees.py", "tests/commands/test_walk.py"]
    words += ["tests/pipeline/test_recipes.py::test_every_recipe_is_tried"]
    environment = {**clean_environment(), "PYTHONPATH": str(top)}
    done = run(words, cwd=top, env=environment, timeout=250)
    assert done.returncode == 0, done.stdout.decode()[-3000:]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_installed_command_tells_its_version(installed: Path, command: str) -> None:
    done = run([installed / command, "--version"], env=clean_environment(), cwd="/")
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.fullmatch(rf"{command} \d+\.\d+\.\d+\n", done.stdout.decode())


@pytest.mark.parametrize("command", COMMANDS)
def test_an_installed_command_has_its_manual(installed: Path, command: str) -> None:
    assert (installed.parent / f"share/man/man1/{command}.1").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_an_installed_command_tells_its_usage(installed: Path, command: str) -> None:
    done = run([installed / command, "--help"], env=clean_environment(), cwd="/")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith(f"{command}") or b"sage:" in done.stdout


@pytest.mark.parametrize("python", pythons())
def test_it_runs_on_every_python_here(python: str, built: Path, tmp_path: Path) -> None:
    where = environment_of(python, tmp_path / "venv")
    pip_install(where, wheel(built))
    plant(tmp_path, {"tree/a/b": "b", "tree/link": ("->", "a/b"), "tree/c": "c"})
    (tmp_path / "copy").mkdir()
    pipeline = f"{where}/fr-walk tree | {where}/fr-pack tree | tar -x -C copy"
    done = run(
        ["bash", "-o", "pipefail", "-c", pipeline],
        env=clean_environment(),
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "copy/a/b").read_text() == "b"
    assert os.readlink(tmp_path / "copy/link") == "a/b"
    for command in COMMANDS:
        done = run([where / command, "--help"], env=clean_environment(), cwd="/")
        assert (done.returncode, done.stderr) == (0, b""), command


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four programs and what they need, as release/pyz.py makes it."""
    made = tmp_path_factory.mktemp("pyz") / "file-replicator.pyz"
    done = run([sys.executable, ROOT / "release/pyz.py", made], env=clean_environment())
    assert done.returncode == 0, done.stderr.decode()
    return made


@pytest.mark.parametrize("python", pythons())
def test_one_file_runs_on_every_python_here(
    python: str, one_file: Path, tmp_path: Path
) -> None:
    plant(tmp_path, {"tree/a/b": "b", "tree/c": "c"})
    words = [python, "-I", one_file, "tree", tmp_path / "there", "bash"]
    with running(*words, cwd=tmp_path, env=clean_environment()) as program:
        program.says("in sync")
        (tmp_path / "tree/c").write_text("saved\n")
        program.wait_for(lambda: holds(tmp_path / "there/tree/c", "saved\n"))
    (tmp_path / "fr-walk").symlink_to(one_file)
    done = run([python, "-I", tmp_path / "fr-walk", "tree"], cwd=tmp_path)
    assert set(done.stdout.split(b"\0")) == {b"a/b", b"c", b""}


def test_one_file_tells_a_python_that_is_too_old_what_it_needs(one_file: Path) -> None:
    script = (
        "import runpy, sys; sys.version_info = (3, 6, 15, 'final', 0);"
        " runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    done = run([sys.executable, "-I", "-c", script, one_file], env=clean_environment())
    needs = f"needs Python 3.9 or newer; {sys.executable} is 3.6"
    assert done.stderr.decode() == f"file-replicator: {needs}\n"
    assert done.returncode == 71 and not done.stdout


def test_it_imports_where_there_is_no_inotify(tmp_path: Path) -> None:
    """As on macOS, where inotify_simple is not installed at all."""
    plant(tmp_path, {"inotify_simple.py": "raise ImportError('no inotify here')\n"})
    modules = sorted(path.stem for path in (ROOT / "filerep").glob("*.py"))
    script = "".join(
        f"import filerep.{name}\n" for name in modules if name != "__init__"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = {**clean_environment(), "PYTHONPATH": path}
    done = run([sys.executable, "-c", script], env=environment)
    assert (done.returncode, done.stderr) == (0, b"")


def test_another_package_of_docopts_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "docopt.py").write_text("def docopt(doc, argv=None): pass\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    words = [str(ROOT / "bin/file-replicator"), "--once", ".", "/nowhere", "bash"]
    done = run([sys.executable, *words], env=dict(os.environ, PYTHONPATH=path))
    assert done.returncode == 71 and done.stderr.endswith(b" brings it\n")
    finds = f"what {sys.executable} finds as docopt is not docopt-ng, which is needed"
    assert finds in done.stderr.decode()


def test_ci_installs_every_package_that_a_test_names() -> None:
    listed = (ROOT / ".ci/run").read_text().split("packages=(")[1].split("\n)")[0]
    installed = set(re.sub(r"#.*", "", listed).split())
    needed = set(farends.PACKAGES.values())
    for path in (ROOT / "tests").rglob("*.py"):
        needed.update(re.findall(r"apt-get install ([a-z0-9.+-]+)", path.read_text()))
    # Marked essential or required by Debian, or there before Python can be.
    needed -= {"bash", "mount", "tar", "util-linux", "passwd"}
    assert needed <= installed


def test_a_busybox_that_needs_libraries_skips_what_needs_a_static_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's package busybox, which initramfs-tools brings, is such a one."""
    farends.need_root()

    def install(directory: Path) -> None:
        directory.mkdir()
        shutil.copy("/bin/true", directory / "busybox")

    monkeypatch.setattr(farends, "install_busybox", install)
    with pytest.raises(pytest.skip.Exception, match="busybox-static"):
        farends.busybox_root(tmp_path)


# --- README ---------------------------------------------------------------------------


def commands(heading: str) -> list[str]:
    """The commands that README has under a heading."""
    blocks = readme.blocks(readme.README)
    return [one.text.strip() for one in blocks if one.heading == heading]


@pytest.fixture
def private_tmp() -> Iterator[list[str]]:
    """What to put before a command to give it a /tmp of its own."""
    farends.need_root()
    (unshare,) = farends.need("unshare")
    mount = 'mount -t tmpfs tmpfs /tmp && exec "$@"'
    yield [unshare, "-m", "--propagation", "private", "sh", "-c", mount, "sh"]


@pytest.mark.timeout(300)
def test_what_readme_says_first_works_as_printed(
    checkout: Path, place: Path, private_tmp: list[str], tmp_path: Path
) -> None:
    """pipx install, and a copy to /tmp, by somebody who has nothing else."""
    install, replicate = commands("Install and run")[:2]
    tools = environment_of(sys.executable, tmp_path / "tools")
    pip_install(tools, "pipx")
    # Outside /tmp, which the command is given anew.
    work = Path("/var/tmp") / place.name
    shutil.copytree(checkout, work, symlinks=True)
    home = {"HOME": str(work / "home"), "PIPX_DEFAULT_PYTHON": sys.executable}
    path = f"{work}/home/.local/bin:{tools}:{os.environ['PATH']}"
    environment = {**clean_environment(), **home, "PATH": path}
    for name in [one for one in environment if one.startswith("XDG_")]:
        del environment[name]
    try:
        done = run(["sh", "-c", install], cwd=work, env=environment, timeout=200)
        assert done.returncode == 0, done.stderr.decode()
        for command in COMMANDS:
            assert (work / "home/.local/bin" / command).exists()
            page = work / f"home/.local/share/man/man1/{command}.1"
            assert page.exists()
        with running(
            *private_tmp, "sh", "-c", replicate, cwd=work, env=environment
        ) as program:
            copy = Path(f"/proc/{program.process.pid}/root/tmp/filerep")
            program.wait_for((copy / "pack.py").exists)
            plant(work, {"filerep/later": "saved\n"})
            program.wait_for(lambda: holds(copy / "later", "saved\n"))
    finally:
        shutil.rmtree(work)


def holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text
