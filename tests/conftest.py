"""What all tests share: one core a process, no network, one tiny data set with its teacher."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.command_line import Run, command
from tests.helpers.fixtures.made_once import MadeOnce, of_this_run

if TYPE_CHECKING:
    from conaclip_edge.config.distill import DistillConfig
    from tests.helpers.search.search_world import SearchWorld

pytest_plugins = ["tests.helpers.fixtures.export_fixtures"]

# libraries read these when they are imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with long tests: of several processes none is left with one at the end, and none is given half a module."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session", autouse=True)
def _derived_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what readers derive from data in a folder of the process, where a test names no other: not in this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("derived")))
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/, teacher/, cache/ and datasets/; tests may add to the last two, nothing else."""
    import torch

    from tests.helpers import tiny

    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("world")
    tiny.image_folder(home / "data")
    tiny.teacher_folder(home / "teacher")
    return home


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """A function that gives a folder which all processes of this run read, made by the first that asks for it."""
    return of_this_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def searched(made_once: MadeOnce) -> SearchWorld:
    """A bundle with real ONNX files, pictures and their index; tests change none."""
    from tests.helpers.search.search_world import SearchWorld, make_search_world

    return SearchWorld(made_once("searched", make_search_world))


@pytest.fixture(scope="session")
def settings(world: Path) -> Callable[..., DistillConfig]:
    """A function that makes a tiny recipe: sections as dicts by name, keys of `train` by their own."""
    from conaclip_edge.config.distill import DistillConfig
    from conaclip_edge.config.parse import parse
    from tests.helpers import tiny

    def make(**changes: Any) -> DistillConfig:
        sections = {name: changes.pop(name) for name in ("data", "student", "graph", "seed") if name in changes}
        values = tiny.recipe(world / "data", world / "teacher", world / "cache", **changes)
        for name, section in sections.items():
            values[name] = values.get(name, {}) | section if isinstance(section, dict) else section
        return parse(DistillConfig, values, "the test")

    return make


@pytest.fixture
def run(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command line in the test's own folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))

    return lambda *arguments: command(monkeypatch, capfd, *arguments)


@pytest.fixture
def recipe(world: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a tiny recipe with some sections changed."""

    from tests.helpers import tiny

    def write(**changes: Any) -> Path:
        values = tiny.recipe(world / "data", world / "teacher", world / "cache", steps=1)
        for name, value in changes.items():
            values[name] = values.get(name, {}) | value if isinstance(value, dict) else value
        return tiny.write_recipe(tmp_path / "recipe.yaml", values)

    return write
