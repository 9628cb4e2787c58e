"""What gets another name here gets it there, and the copy is right."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from typing import Any

from lines import EVERY, MOST, OK, SOME, Line, save, text
from operations import exchange
from programs import run
from trees import plant, tree


@EVERY
def test_whatever_is_moved_is_right(name: str, line: Line) -> None:
    source = line.source
    for file in ("a", "b", "c", "d/a", "d/e/b", "f/a", "f/deep/er/c", "x/one", "y/two"):
        plant(source, {file: text(700, file)})
    plant(
        source, {"same": text(700, "a"), "link": ("->", "a"), "g/link": ("->", "../a")}
    )

    def go(*moves: tuple[str, str]) -> None:
        for old, new in moves:
            os.rename(source / old, source / new)

    def swap(one: str, other: str) -> None:
        exchange(os.fsencode(source / one), os.fsencode(source / other))

    def edit(path: str) -> None:
        with open(source / path, "ab") as file:
            file.write(b"edited as well\n")

    steps: dict[str, Callable[[], Any]] = {
        "a file": lambda: go(("a", "z")),
        "and back": lambda: go(("z", "a")),
        "there and back at once": lambda: go(("a", "z"), ("z", "a")),
        "two swapped": lambda: swap("a", "b"),
        "two swapped by a third name": lambda: go(("a", "t"), ("b", "a"), ("t", "b")),
        "round in a ring": lambda: go(("c", "t"), ("b", "c"), ("a", "b"), ("t", "a")),
        "a chain": lambda: go(("c", "free"), ("b", "c"), ("a", "b")),
        "the chain back": lambda: go(("b", "a"), ("c", "b"), ("free", "c")),
        "over another": lambda: go(("a", "b")),
        "a move and an edit": lambda: (go(("b", "a")), edit("a")),
        "an edit and a move": lambda: (edit("a"), go(("a", "b"))),
        "moved, and its name taken": lambda: (
            go(("b", "a")),
            save(source / "b", text(900, "new")),
        ),
        "over a symlink": lambda: go(("c", "link")),
        "a symlink over a file": lambda: go(("g/link", "b")),
        "a directory": lambda: go(("d", "D")),
        "into another, and one of its files out": lambda: go(
            ("D", "f/d"), ("f/d/a", "a2")
        ),
        "two directories swapped": lambda: swap("x", "y"),
        "a directory and a file swapped": lambda: swap("x", "a2"),
        "and again": lambda: swap("x", "a2"),
        "a directory, and an edit in it": lambda: (go(("f", "F")), edit("F/a")),
        "inside out": lambda: go(("F/deep", "t"), ("F", "t/F")),
        "moved, and another made of its name": lambda: (
            go(("t", "T")),
            plant(source, {"t/F/a": text(700, "f/a"), "t/new": text(70)}),
        ),
        "over an emptied one": lambda: (
            shutil.rmtree(source / "x"),
            (source / "x").mkdir(),
            go(("y", "x")),
        ),
        "with other bits": lambda: (go(("x", "y")), (source / "y").chmod(0o750)),
        "away, and back with other content": lambda: (
            go(("T", "../away")),
            edit("../away/er/c"),
            go(("../away", "T")),
        ),
        "of two of the same content one": lambda: (
            shutil.copy2(source / "same", source / "twin"),
            go(("same", "other")),
        ),
        "hard links": lambda: (
            os.link(source / "twin", source / "name"),
            go(("twin", "another")),
        ),
        "copied, and the first removed": lambda: (
            shutil.copytree(source / "T", source / "U"),
            shutil.rmtree(source / "T"),
        ),
    }
    with line.watching() as program:
        for what, step in steps.items():
            step()
            try:
                line.settle(program)
            except AssertionError as error:
                raise AssertionError(f"after {what}: {error}") from None
        for what, step in steps.items():  # the same in one go, as far as it can be done
            with contextlib.suppress(OSError):
                step()
        line.settle(program)


@SOME
def test_what_is_moved_and_back_is_the_same_file_over_there(
    name: str, line: Line
) -> None:
    """It was copied from what had been retained of it."""
    plant(line.source, {"d/a": text(900, "a"), "d/b": text(700, "b"), "c": text(800)})
    paths = [line.there / one for one in ("d/a", "d/b", "c")]
    with line.watching() as program:
        before = [path.stat().st_ino for path in paths]
        for old, new in (("d", "e"), ("c", "C"), ("e", "d"), ("C", "c")):
            (line.source / old).rename(line.source / new)
            line.settle(program)
        assert [path.stat().st_ino for path in paths] == before


@MOST
def test_what_moves_out_of_the_ignored_and_into_it(name: str, line: Line) -> None:
    source, there = line.source, line.there
    plant(source, {".gitignore": "build/\n*.tmp\n", "build/out": text(600, "out")})
    plant(source, {"a": text(600, "a"), "d/f": text(600, "f"), "c.tmp": text(600, "c")})
    with line.watching() as program:
        plant(there, {"build/made there": "theirs", "d/made there": "theirs"})

        def right(*kept: str) -> None:
            done = run(line.words("--wait"), env=line.environment())
            assert done.returncode == OK, done.stderr
            seen = {
                os.fsdecode(path)
                for path, what in tree(there).items()
                if what[0] == "file"
            }
            assert {path for path in seen if not path.startswith(".filerep-")} == {
                *kept
            }
            for path in kept:
                if not path.endswith("made there"):
                    assert (there / path).read_bytes() == (source / path).read_bytes()

        made = ["build/made there", "d/made there"]
        right(".gitignore", "a", "d/f", *made)
        os.rename(source / "build/out", source / "out")
        os.rename(source / "c.tmp", source / "c")
        right(".gitignore", "a", "out", "c", "d/f", *made)
        os.rename(source / "a", source / "build/a")
        os.rename(source / "c", source / "c.tmp")
        right(".gitignore", "out", "d/f", *made)
        os.rename(source / "build", source / "shown")
        right(".gitignore", "out", "d/f", "shown/a", *made)
        os.rename(source / "d", source / "build")
        right(".gitignore", "out", "shown/a", *made)
        os.rename(source / "build", source / "d")
        right(".gitignore", "out", "d/f", "shown/a", *made)


@MOST
def test_what_the_far_end_made_is_not_moved_over(name: str, line: Line) -> None:
    """A directory moves, and one that the far end made stands where it goes."""
    source, there = line.source, line.there
    for number in range(8):
        plant(source, {f"old/sub/f{number}": text(400, number)})
    with line.watching() as program:
        plant(there, {"new/made there": "theirs", "old/log": "also theirs"})
        (source / "old").rename(source / "new")
        program.wait_for(lambda: (there / "new/sub/f7").exists())
        done = run(line.words("--wait"), env=line.environment())
        assert done.returncode == OK, done.stderr
        assert not (there / "old/sub/f0").exists()
        for path in (source / "new").rglob("f*"):
            copy = there / path.relative_to(source)
            assert copy.read_bytes() == path.read_bytes()
        found = {
            p.name: p.read_text()
            for top in there.glob("[!.]*")  # what is staged comes and goes
            for p in top.rglob("*")
            if p.suffix == "" and p.is_file() and p.name in ("made there", "log")
        }
        assert found == {"made there": "theirs", "log": "also theirs"}
