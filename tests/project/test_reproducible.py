"""The same recipe gives the same bytes, in another process, folder and order of hashes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conaclip_edge.system.files import sha256_file
from tests.helpers import tiny
from tests.helpers.fixtures.export_fixtures import ship

pytestmark = pytest.mark.long


def run(place: Path, seed: str, *arguments: str | Path) -> None:
    """Run the command line in a process of its own."""
    place.mkdir()
    command = [sys.executable, "-m", "conaclip_edge.cli.main", *map(str, arguments)]
    more = {"PYTHONHASHSEED": seed, "HF_DATASETS_CACHE": str(place.with_name("datasets"))}
    done = subprocess.run(command, cwd=place, env=os.environ | more, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def hashes(folder: Path) -> dict[str, str]:
    """Return a hash of every file below a folder."""
    return {str(path.relative_to(folder)): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def different(one: dict[str, str], two: dict[str, str]) -> set[str]:
    return {name for name in {**one, **two} if one.get(name) != two.get(name)}


def test_a_recipe_gives_one_student_and_one_cache(world: Path, tmp_path: Path) -> None:
    recipe = tiny.write_recipe(
        tmp_path / "recipe.yaml",
        tiny.recipe(world / "data", world / "teacher", Path("cache"), steps=5, teacher_views=2, ema=0.9),
    )
    for seed in ("1", "2"):
        run(tmp_path / seed, seed, "distill", recipe, "--out", "out")
    one, two = (hashes(tmp_path / seed) for seed in ("1", "2"))
    assert "out/model.safetensors" in one
    assert different(one, two) <= {"out/training.json"}  # how long it took


def test_a_student_gives_one_bundle_for_all_targets(bars: Path, shipped: Path, tmp_path: Path) -> None:
    ship(bars / "student", tmp_path / "bundle", hashes=2)
    one, two = hashes(shipped), hashes(tmp_path / "bundle")
    assert {Path(name).suffix for name in one} >= {".onnx", ".ort", ".pte", ".mlmodel", ".mlirb"}
    assert different(one, two) == set()
