"""The same recipe gives the same bytes, in another process, folder and order of hashes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conaclip_edge.system.files import sha256_file
from tests.helpers import tiny

BARS = ("--set", "min_cosine=0.9", "--set", "min_relative_recall=0.5")


def run(place: Path, seed: str, *arguments: str | Path) -> dict[str, str]:
    """Run the command line in a process of its own; returns a hash of every file below its folder."""
    place.mkdir()
    command = [sys.executable, "-m", "conaclip_edge.cli.main", *map(str, arguments)]
    more = {"PYTHONHASHSEED": seed, "HF_DATASETS_CACHE": str(place.with_name("datasets"))}
    done = subprocess.run(command, cwd=place, env=os.environ | more, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = sorted(path for path in place.rglob("*") if path.is_file())
    assert files
    return {str(path.relative_to(place)): sha256_file(path) for path in files}


def different(one: dict[str, str], two: dict[str, str]) -> set[str]:
    return {name for name in {**one, **two} if one.get(name) != two.get(name)}


def test_a_recipe_gives_one_student_and_one_cache(world: Path, tmp_path: Path) -> None:
    recipe = tiny.write_recipe(
        tmp_path / "recipe.yaml",
        tiny.recipe(world / "data", world / "teacher", Path("cache"), steps=5, teacher_views=2, ema=0.9),
    )
    one, two = (run(tmp_path / seed, seed, "distill", recipe, "--out", "out") for seed in ("1", "2"))
    assert "out/model.safetensors" in one
    assert different(one, two) <= {"out/training.json"}  # how long it took


def test_a_student_gives_one_bundle_for_all_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    from tests.helpers.bar_pictures import write_checkpoint, write_pictures

    student = write_checkpoint(tmp_path / "student", write_pictures(tmp_path / "data"))
    arguments = ("export", student, "--target", "all", *BARS, "--out", "bundle")
    one, two = (run(tmp_path / seed, seed, *arguments) for seed in ("1", "2"))
    assert {Path(name).suffix for name in one} >= {".onnx", ".ort", ".pte", ".mlmodel"}
    assert different(one, two) == set()
