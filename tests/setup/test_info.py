"""`info`: it knows everything that the commands read and write, and says so of anything else."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conaclip_edge.setup.info.models import tensor_shapes
from tests.cli.test_errors import error_line
from tests.helpers import tiny
from tests.helpers.command_line import Run
from tests.helpers.search.search_world import SearchWorld

ROOT = Path(__file__).parents[2]


def told(run: Run, path: Path | str) -> dict[str, Any]:
    """Describe a path; the text has to name the kind and the next command too."""
    code, out, err = run("info", path, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    code, text, _ = run("info", path)
    assert code == 0
    assert text.splitlines()[0] == f"{path}: {found['kind']}"
    assert text.splitlines()[-1] == f"Next: {found['next_command']}"
    return found


def test_a_recipe(run: Run, recipe: Callable[..., Path]) -> None:
    found = told(run, recipe())
    assert found["kind"] == "distillation recipe"
    assert found["facts"]["steps"] == 1
    assert found["facts"]["student"] == "vit-s16-text2l at 32 pixels"
    assert "format imagefolder" in found["facts"]["data"]
    assert found["next_command"].startswith("conaclip-edge distill ")


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("distill/recipes/demo-teacher.yaml", "teacher recipe"),
        ("distill/studies/demo.yaml", "study"),
        ("benchmarks/suites/demo.yaml", "benchmark suite"),
        ("benchmarks/suites/speed.yaml", "speed suite"),
        ("benchmarks/results/demo.json", "report"),
    ],
)
def test_files_of_the_project(run: Run, file: str, kind: str) -> None:
    assert told(run, ROOT / file)["kind"] == kind


def test_an_export_target(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("target: coreml\nprecision: fp16\n", "utf-8")
    assert told(run, "t.yaml")["facts"] == {"target": "coreml", "precision": "fp16"}


def test_a_data_folder(run: Run, world: Path) -> None:
    found = told(run, world / "data")
    assert found["kind"] == "data"
    facts = found["facts"]
    assert (facts["pictures"], facts["with captions"], facts["captions"]) == (48, 48, 96)
    assert facts["splits"] == {"train": 29, "val": 10, "test": 9}
    assert facts["letters of the captions, %"] == {"Latin": 100.0}
    assert found["next_command"] == f"conaclip-edge init {world / 'data'}"


def test_a_teacher_without_loading_it(run: Run, world: Path) -> None:
    found = told(run, world / "teacher")
    assert found["kind"] == "teacher"
    facts = found["facts"]
    assert (facts["type"], facts["embedding"], facts["context"], facts["vocabulary"]) == ("clip", 16, 24, 514)
    assert facts["parameters"] == sum(math.prod(shape) for shape in tensor_shapes(world / "teacher").values())


def test_a_student_and_what_it_was_trained_on(run: Run, recipe: Callable[..., Path]) -> None:
    code, _, err = run("distill", recipe(), "--out", "runs/mine")
    assert code == 0, err
    found = told(run, "runs/mine")
    assert found["kind"] == "student"
    assert found["facts"]["steps"] == 1
    assert found["facts"]["teacher"] == "teacher"
    assert (
        found["facts"]["parameters"]
        == json.loads(Path("runs/mine/training.json").read_text("utf-8"))["parameters"]["all"]
    )
    assert [one["kind"] for one in told(run, "runs")["inside"]] == ["student", "student"]  # the second is runs/latest


@pytest.mark.parametrize(("train", "steps"), [({"steps": 90}, 90), ({"steps": 90, "qat": {"steps": 20}}, 110)])
def test_an_interrupted_run(run: Run, tmp_path: Path, train: dict[str, Any], steps: int) -> None:
    folder = tmp_path / "mine.run"
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps({"name": "mine", "train": train}), "utf-8")
    (folder / "training.jsonl").write_text('{"step": 0}\n{"step": 41}\n{"st', "utf-8")
    (folder / "state.safetensors").touch()
    found = told(run, "mine.run")
    assert found["kind"] == "interrupted run"
    assert (found["facts"]["steps done"], found["facts"]["of"]) == (42, steps)
    assert found["next_command"] == "conaclip-edge distill RECIPE --out mine --resume"


def test_a_bundle_and_an_index(run: Run, searched: SearchWorld) -> None:
    bundle = told(run, searched.bundle)
    assert bundle["kind"] == "bundle"
    assert any(file.startswith("onnx/image.") for file in bundle["facts"]["files"])
    (image, form, _) = bundle["facts"]["nodes that accelerators take"]
    assert re.match(r"onnx/image\.\w+\.onnx: NNAPI \d+ of \d+", image)
    assert form.startswith("onnx/text.int8.accelerator.onnx: NNAPI ")
    index = told(run, searched.index)
    assert index["kind"] == "index"
    assert index["facts"]["pictures"] > 100
    assert json.loads(run("info", searched.bundle / "manifest.json", "--json")[1]) == bundle


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda at: at / "nowhere", "nothing at"),
        (lambda at: written(at / "notes.md", "hello"), "is nothing that `info` knows"),
        (lambda at: written(at / "a.yaml", "colour: red"), "none of the keys"),
        (lambda at: written(at / "a.yaml", "data: {format: imagefolder, path: .}\nteacher: x\ntrian: 1"), "'train'"),
        (lambda at: written(at / "a.json", "{}"), "did not write"),
        (lambda at: written(at / "image.int8.onnx", "x"), "is an exported tower"),
        (lambda at: written(at / "config.json", "[]"), "must hold keys and values"),
        (lambda at: empty(at / "d"), "no data set at"),
    ],
)
def test_anything_else_is_a_line(run: Run, tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    assert message in error_line(run("info", make(tmp_path)))


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def empty(path: Path) -> Path:
    path.mkdir()
    return path


def test_broken_pictures_are_counted_and_named(run: Run, tmp_path: Path) -> None:
    folder = tiny.image_folder(tmp_path / "d")
    (folder / "red-box-left.png").write_bytes(b"\x89PNG")
    (folder / "red-bar-left.png").unlink()
    facts = told(run, "d")["facts"]
    assert (facts["pictures"], facts["missing"], facts["broken"]) == (47, 1, 1)
    assert [line.partition(":")[0] for line in facts["first of these"]] == ["red-bar-left.png", "red-box-left.png"]
