"""The layout of the code: who may import whom, and that nobody imports in a ring."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import ROOT

# Where each room stands: it may import from rooms below it, and from what all share.
FLOORS = [
    {"__main__", "api"},
    {"pack", "replicate", "walk", "watch"},
    {"replica", "watching", "wrapper"},
    {"farend", "rules"},
    {"archive"},
]
SHARED = {
    "command",
    "digest",
    "filesystem",
    "misnamed",
    "ownfiles",
    "pathstream",
    "source",
    "wrapping",
}
# The same within a room: its folders, and the modules beside them ("").
INNER = {
    "replica": [
        {""},
        {"planning"},
        {"transfer"},
        {"scheduling"},
        {"options"},
        {"known"},
    ],
    "wrapper": [{"running"}, {"each"}, {""}, {"terminal"}],
}
Imports = dict[str, set[str]]


def imports(root: Path) -> Imports:
    """Each module below ``root`` and those of the same package that it imports.

    Those too that are imported for their types only: they tie two files together for a
    reader just as well.
    """
    files = {
        ".".join(path.relative_to(root.parent).with_suffix("").parts): path
        for path in sorted(root.rglob("*.py"))
    }
    names = {name.removesuffix(".__init__"): path for name, path in files.items()}
    return {name: set(imported(path, names)) for name, path in names.items()}


def imported(path: Path, names: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        if isinstance(node, ast.ImportFrom) and node.module in names:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in names else node.module


def ring(uses: Imports) -> list[str]:
    """Modules each of which imports the next, the last the first; nothing if there are none."""
    done: set[str] = set()

    def follow(at: str, way: list[str]) -> list[str]:
        for to in sorted(uses.get(at, set()) - done):
            if to in way:
                return [*way[way.index(to) :], to]
            if found := follow(to, [*way, to]):
                return found
        done.add(at)
        return []

    for start in sorted(uses):
        if found := follow(start, [start]):
            return found
    return []


def room(module: str) -> str:
    """The folder of a module, or itself where it stands on top."""
    return module.split(".")[1] if "." in module else ""


def rooms(uses: Imports) -> Imports:
    """The same by room."""
    found: Imports = {}
    for module, others in uses.items():
        found.setdefault(room(module), set()).update(map(room, others))
    return {
        one: {other for other in some if other != one} for one, some in found.items()
    }


def floor(one: str, floors: list[set[str]] = FLOORS) -> int:
    for number, here in enumerate(floors):
        if one in here:
            return number
    return len(floors)


def test_no_modules_import_each_other_in_a_ring() -> None:
    assert not ring(imports(ROOT / "filerep"))


def test_no_rooms_import_each_other_in_a_ring() -> None:
    assert not ring(rooms(imports(ROOT / "filerep")))


def test_each_room_imports_from_those_below_it_only() -> None:
    wrong = [
        (one, other)
        for one, others in rooms(imports(ROOT / "filerep")).items()
        for other in others
        if one and other and floor(other) <= floor(one) and not shared(one, other)
    ]
    assert not wrong


@pytest.mark.parametrize("name", INNER)
def test_each_folder_of_a_room_imports_from_those_below_it_only(name: str) -> None:
    floors, prefix = INNER[name], f"filerep.{name}."
    folders = set().union(*floors)

    def folder(module: str) -> str:
        first = module.removeprefix(prefix).split(".")[0]
        return first if first in folders else ""

    assert folders - {""} == {
        folder(module)
        for module in imports(ROOT / "filerep")
        if module.startswith(prefix)
    } - {""}
    wrong = [
        (one, other)
        for one, others in imports(ROOT / "filerep").items()
        for other in others
        if one.startswith(prefix) and other.startswith(prefix)
        if floor(folder(other), floors) < floor(folder(one), floors)
    ]
    assert not wrong


def shared(one: str, other: str) -> bool:
    return one in SHARED and other in SHARED


def test_what_all_share_imports_no_room() -> None:
    uses = imports(ROOT / "filerep")
    for name in SHARED:
        assert {room(other) for other in uses[f"filerep.{name}"]} <= SHARED | {""}


def test_a_room_is_imported_without_anything_else_in_it() -> None:
    for path in (ROOT / "filerep").glob("*/**/__init__.py"):
        assert not path.read_text().strip()


@pytest.mark.parametrize("typed", [False, True], ids=["imported", "for its type only"])
def test_a_ring_is_seen(tmp_path: Path, typed: bool) -> None:
    house = tmp_path / "filerep"
    house.mkdir()
    (house / "batch.py").write_text("from filerep import link\n")
    (house / "listing.py").write_text("from filerep.batch import pieces\n")
    line = "from filerep import listing\n"
    text = f"TYPE_CHECKING = False\nif TYPE_CHECKING:\n    {line}" if typed else line
    (house / "link.py").write_text(text)
    (house / "__init__.py").write_text("")
    assert sorted(set(ring(imports(house)))) == [
        "filerep.batch",
        "filerep.link",
        "filerep.listing",
    ]
