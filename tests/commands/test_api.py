"""filerep.api, as another program uses it."""

from __future__ import annotations

import doctest
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import farends
import pytest
from programs import ROOT, alive
from trees import assert_same, plant

from filerep import api

PROJECT = {
    "my_project/.gitignore": "*.log\n",
    "my_project/main.py": "print(1)\n",
    "my_project/sub/text": "text\n",
    "my_project/old.log": "ignored\n",
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plant(tmp_path, PROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.mark.usefixtures("work")
def test_the_examples_are_right() -> None:
    farends.need("ssh")
    found = doctest.testfile(str(ROOT / "docs/python.md"), module_relative=False)
    assert found.attempted > 10
    assert not found.failed


def test_each_name_is_described() -> None:
    page = (ROOT / "docs/python.md").read_text()
    for name in api.__all__:
        assert name in page
        assert getattr(api, name).__doc__


def test_a_source_may_be_called_like_an_option(work: Path) -> None:
    (work / "my_project").rename(work / "-n")
    assert sorted(api.walk("-n")) == [b".gitignore", b"main.py", b"sub/text"]
    assert api.replicate("-n", str(work / "there"), ["bash"]).files == 3
    assert (work / "there/-n/main.py").exists()


# --- walk -----------------------------------------------------------------------------


def test_a_walk_that_is_left_early_leaves_no_process(work: Path) -> None:
    for number in range(20_000):
        (work / f"my_project/file{number}").touch()
    walking = api.walk(work / "my_project")
    next(walking)
    child = walking.gi_frame.f_locals["program"].process.pid  # type: ignore[attr-defined]
    assert alive(child)
    walking.close()  # type: ignore[attr-defined]
    assert not alive(child)


def test_walk_passes_over_what_it_cannot_read(work: Path) -> None:
    """And says so to whom it was told to."""
    script = (
        "import os, sys; from filerep import api; heard = []\n"
        "print(sorted(api.walk('my_project', on_message=heard.append)))\n"
        "print(heard)\n"
    )
    (work / "my_project/sub").chmod(0)
    words = [*farends.without_rights(), sys.executable, "-c", script]
    done = subprocess.run(
        words,
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    (work / "my_project/sub").chmod(0o755)
    assert done.stdout.decode().splitlines() == [
        "[b'.gitignore', b'main.py']",
        "[\"fr-walk: cannot open 'sub': Permission denied\"]",
    ]


def test_a_source_that_is_not_there_is_said(work: Path) -> None:
    heard: list[str] = []
    with pytest.raises(api.Failed, match="No such file") as failed:
        list(api.walk(work / "none", on_message=heard.append))
    assert failed.value.status == 66
    assert len(heard) == 1
    with pytest.raises(api.Failed):
        api.watch(work / "none", on_message=heard.append)


# --- watch ----------------------------------------------------------------------------


def test_watch_gives_each_path_once_and_one_by_one(work: Path) -> None:
    seen: list[bytes] = []
    with api.watch(work / "my_project") as changes:
        for name in ("a", "b", "c", "a"):
            (work / "my_project" / name).write_text("x")
        for path in changes:
            seen.append(path)
            if len(set(seen)) == 3:
                break
    assert set(seen) == {b"a", b"b", b"c"}


def test_watch_ends_with_an_error_when_its_source_goes(work: Path) -> None:
    with api.watch(work / "my_project", on_message=lambda _: None) as changes:
        (work / "my_project").rename(work / "elsewhere")
        with pytest.raises(api.Failed, match="was moved") as failed:
            while changes.read():
                pass
    assert failed.value.status == 66


def test_watch_follows_the_options(work: Path) -> None:
    with api.watch(work / "my_project", exclude=["*.tmp"], poll=0.05) as changes:
        (work / "my_project/a.tmp").write_text("x")
        (work / "my_project/b").write_text("x")
        seen: set[bytes] = set()
        while b"b" not in seen:
            seen.update(changes.read())
        assert b"a.tmp" not in seen  # others may be named again


# --- pack -----------------------------------------------------------------------------


def test_pack_says_whether_all_was_written(work: Path) -> None:
    heard: list[str] = []
    with open(work / "out.tar", "wb") as archive:
        archive.write(b"")
        paths = [b"main.py", b"gone", b"../outside"]
        whole = api.pack(work / "my_project", paths, archive, on_message=heard.append)
    assert not whole
    assert "outside" in heard[0]
    names = subprocess.check_output(["tar", "-tf", work / "out.tar"])
    assert set(names.split()) == {b"main.py"}


# --- replicate ------------------------------------------------------------------------


def test_replicate_from_a_thread_leaves_the_callers_signals_alone(work: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    outcomes: list[api.Outcome] = []

    def job() -> None:
        there = str(work / "there")
        outcomes.append(api.replicate(work / "my_project", there, ["bash"]))

    thread = threading.Thread(target=job)
    thread.start()
    thread.join(20)
    assert outcomes[0].complete
    assert before == [
        signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    ]
    (work / "my_project/old.log").unlink()
    assert_same(work / "my_project", work / "there/my_project")


def test_replicate_tells_what_a_dry_run_would_do(work: Path) -> None:
    there = str(work / "there")
    outcome = api.replicate(work / "my_project", there, ["bash"], dry_run=True)
    assert sorted(outcome.sent) == [b".gitignore", b"main.py", b"sub/text"]
    assert not (outcome.complete or outcome.removed)
    assert not (work / "there").exists()


def test_replicate_says_what_failed(work: Path) -> None:
    with pytest.raises(api.Failed, match="exited with 3") as failed:
        api.replicate(work / "my_project", str(work), ["sh", "-c", "exit 3"])
    assert failed.value.status == 69


def test_replicate_tells_what_could_not_be_written(work: Path) -> None:
    """Into a directory of somebody else's, by one without root's rights."""
    farends.need_root()
    there = work / "there"
    plant(there, {"my_project/sub/text": "old\n"})
    os.chown(there / "my_project/sub", 65534, 65534)
    script = (
        "import sys; from filerep import api\n"
        "o = api.replicate('my_project', sys.argv[1], ['bash'])\n"
        "print(o.complete, list(o.failing), sorted(o.sent))\n"
    )
    words = [*farends.without_rights(), sys.executable, "-c", script, str(there)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=work, env=env, capture_output=True)
    said = "False [b'sub/text'] [b'.gitignore', b'main.py']\n"
    assert done.stdout.decode() == said, done.stderr.decode()


def test_one_word_in_the_place_of_several_is_refused(work: Path) -> None:
    """Each of its letters was taken for a word: of `*.log` the first leaves out everything."""
    source, there = work / "my_project", str(work / "there")
    with pytest.raises(TypeError, match="exclude takes a list of words, not '.*log'"):
        api.replicate(source, there, ["bash"], exclude="*.log")
    with pytest.raises(TypeError, match="connection takes a list of words, not 'bash'"):
        api.replicate(source, there, "bash")
    with pytest.raises(TypeError, match="include takes a list"):
        api.watch(source, include="sub/")
    with pytest.raises(TypeError, match="exclude takes a list"):
        list(api.walk(source, exclude="sub/"))
    assert not os.path.exists(there)


def test_a_pattern_may_be_bytes_as_paths_are(work: Path) -> None:
    """It matched nothing, and what it was to leave out was sent."""
    source = work / "my_project"
    patterns: list[Any] = [b"sub/", b"*.log"]
    assert b"sub/text" not in set(api.walk(source, exclude=patterns))
    assert b"old.log" in set(api.walk(source, include=patterns))


def test_replicate_mirrors_and_excludes(work: Path) -> None:
    there = work / "there"
    plant(there, {"my_project/extra": "x", "my_project/kept.log": "x"})
    outcome = api.replicate(
        work / "my_project", str(there), ["bash"], exclude=["sub/"], mirror=1
    )
    assert outcome.complete and outcome.removed == [b"extra"]
    found = sorted(path.name for path in (there / "my_project").iterdir())
    assert found == [".gitignore", "kept.log", "main.py"]
