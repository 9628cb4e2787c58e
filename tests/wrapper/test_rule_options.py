"""Files of rules given to file-replicator: each stage takes them, and a bad one is said first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from programs import run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    for name in ("a", "a~", ".a.swp", "b.o", "c.md", "d/4913", "d/x"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    return place


def arrived(tmp_path: Path) -> set[str]:
    top = tmp_path / "there" / "source"
    return {os.fspath(p.relative_to(top)) for p in top.rglob("*") if p.is_file()}


def replicate(tmp_path: Path, *words: str) -> tuple[int, str]:
    (tmp_path / "there").mkdir(exist_ok=True)
    argv = ["file-replicator", "--once", *words, "source", str(tmp_path / "there")]
    done = run([*argv, "sh"], cwd=tmp_path, timeout=60)
    return done.returncode, done.stderr.decode()


def test_files_of_rules_hold_for_a_copy_and_for_mirror(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "rules").write_text("*.o\n")
    (source / ".dockerignore").write_text(".dockerignore\n*.md\n")
    words = ["--exclude-from", "rules", "--exclude-from=source/.dockerignore"]
    assert replicate(tmp_path, *words)[0] == 0
    assert arrived(tmp_path) == {"a", "d/x"}
    for name in ("theirs.o", "theirs.md", "theirs~", "theirs.c"):
        (tmp_path / "there/source" / name).write_text("")
    assert replicate(tmp_path, *words, "--mirror", "--mirror")[0] == 0
    kept = {"theirs.o", "theirs.md", "theirs~"}
    assert arrived(tmp_path) == {"a", "d/x"} | kept


def test_editors_files_come_when_asked_for(source: Path, tmp_path: Path) -> None:
    assert replicate(tmp_path, "--editor-files")[0] == 0
    expected = {"a", "a~", ".a.swp", "b.o", "c.md", "d/4913", "d/x"}
    assert arrived(tmp_path) == expected


def test_a_file_of_rules_that_is_not_there_is_said_before_anything_begins(
    source: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, why in {"nothing": "No such file", "fifo": "it is no file"}.items():
        status, said = replicate(tmp_path, "--include-from", name)
        assert status == 66 and said.count("\n") == 1
        assert said.startswith(f"file-replicator: cannot read '{name}': {why}")
    assert not (tmp_path / "there/source").exists()
