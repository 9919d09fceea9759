"""The house keeps its plan: `docs/architecture.md` says who may import whom, and the code does no other."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.helpers.imports import circles, entries, import_graph, imported, modules

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "conaclip_edge"
PAGE = ROOT / "docs" / "architecture.md"
MOST_MODULES, MOST_LINES, MEDIAN_LINES = 14, 300, 130
# folders of tests/ that test the whole, or help; every other one bears the name of a folder of the package
OWN = {"crash", "helpers", "oracles", "project", "security", "tools"}

KNOWN = modules(PACKAGE)
GRAPH = import_graph(KNOWN)
FOLDERS = sorted({path.parent for path in KNOWN.values()})


def rooms_of_the_page() -> dict[str, list[str]]:
    """Room -> rooms that it may import, in the page's order."""
    (table,) = re.findall(r"^\| Room \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text("utf-8"), re.M)
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
    return {re.findall(r"`(\w+)`", first)[0]: re.findall(r"`(\w+)`", last) for first, _, last in rows}


ROOMS = rooms_of_the_page()


def test_the_page_has_every_room_once() -> None:
    found = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(ROOMS) == found - {"__init__"}


def test_a_room_may_only_import_rooms_below_it() -> None:
    floors = list(ROOMS)
    up = [(room, other) for room, may in ROOMS.items() for other in may if floors.index(other) <= floors.index(room)]
    assert not up, "the page lists a room beside one that stands below it"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_the_page_says(room: str) -> None:
    found = entries(GRAPH, "conaclip_edge").get(room, set())
    for other in found - set(ROOMS[room]):
        inside = f"conaclip_edge.{other}"
        lines = [
            f"{module} -> {target}"
            for module, targets in GRAPH.items()
            for target in targets
            if f"{module}.".startswith(f"conaclip_edge.{room}.") and f"{target}.".startswith(f"{inside}.")
        ]
        pytest.fail(f"docs/architecture.md does not let {room} import {other}: {', '.join(lines)}")
    assert set(ROOMS[room]) == found, "the page lets a room import one that it does not need"


def test_no_circle_between_modules() -> None:
    assert circles(GRAPH) == []


def test_no_circle_between_what_lies_in_a_folder() -> None:
    found = {folder: circles(entries(GRAPH, ".".join(folder.relative_to(ROOT).parts))) for folder in FOLDERS}
    assert {folder: groups for folder, groups in found.items() if groups} == {}


@pytest.mark.parametrize("top", [PACKAGE, ROOT / "tests"], ids=["package", "tests"])
def test_no_folder_has_too_many_modules(top: Path) -> None:
    counts = {folder: len(list(folder.glob("*.py"))) for folder in top.rglob("*") if (folder / "__init__.py").is_file()}
    assert {folder: count for folder, count in counts.items() if count - 1 > MOST_MODULES} == {}


def test_no_module_is_long() -> None:
    lines = {module: len(path.read_text("utf-8").splitlines()) for module, path in KNOWN.items()}
    assert {module: count for module, count in lines.items() if count > MOST_LINES} == {}
    assert statistics.median(count for count in lines.values() if count) < MEDIAN_LINES


def test_no_module_hides_a_library_from_its_neighbours() -> None:
    """Python puts the folder of a file that is run by its path first among those that it searches."""
    hidden = {}
    for folder in FOLDERS:
        files = list(folder.glob("*.py"))
        libraries = {target.partition(".")[0] for file in files for target in imported(file)}
        hidden[folder] = libraries & {file.stem for file in files}
    assert {folder: names for folder, names in hidden.items() if names} == {}


def named_modules() -> Iterator[tuple[str, str]]:
    """Yield (module, dotted name in its text) for each text that is the name of something in the package.

    A name put together of a constant of the module and a text, as the tables have it, counts too.
    """
    for module, path in KNOWN.items():
        tree = ast.parse(path.read_text("utf-8"))
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            text = ""
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            elif isinstance(node, ast.JoinedStr):
                text = "".join(_part(part, constants) for part in node.values)
            if re.fullmatch(r"conaclip_edge(\.\w+)+", text):
                yield module, text


def _part(part: ast.expr, constants: dict[str, object]) -> str:
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name):
        return str(constants.get(part.value.id, "{}"))
    return str(part.value) if isinstance(part, ast.Constant) else "{}"


def test_every_module_that_is_named_in_text_exists() -> None:
    named = set(named_modules())
    assert ("conaclip_edge.config.data_formats", "conaclip_edge.data.formats.coco") in named, "the tables are not read"
    assert {(module, text) for module, text in named if find_spec(text) is None} == set()


def test_every_table_that_the_page_names_exists() -> None:
    named = re.findall(r"`([A-Z_]+)` in `([\w/]+)\.py`", PAGE.read_text("utf-8"))
    assert len(named) > 3
    for table, path in named:
        assert getattr(import_module(f"conaclip_edge.{path.replace('/', '.')}"), table), f"{table} in {path}"


def test_every_module_that_a_page_names_exists() -> None:
    extend = "".join(page.read_text("utf-8") for page in ROOT.glob("docs/extend/*.md"))
    steps = set(re.findall(r"^New file `([\w./]+)`", extend, re.M))
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]
    assert len(pages) > 5
    missing = {}
    for page in pages:
        named = set(re.findall(r"`([\w/-]+\.py)`", page.read_text("utf-8"))) - steps
        missing[page] = {
            name for name in named if not any((top / name).is_file() for top in (ROOT, PACKAGE, ROOT / "tests"))
        }
    assert {page: names for page, names in missing.items() if names} == {}


def test_tests_mirror_the_package() -> None:
    folders = {
        folder.relative_to(ROOT / "tests")
        for folder in (ROOT / "tests").rglob("*")
        if (folder / "__init__.py").is_file() and folder.relative_to(ROOT / "tests").parts[0] not in OWN
    }
    package = {folder.relative_to(PACKAGE) for folder in FOLDERS}
    assert folders - package == set()


def test_no_test_changes_the_search_path() -> None:
    files = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    assert [path for path in files if re.search(r"sys\.path\b|syspath_prepend", path.read_text("utf-8"))] == []
