"""`export --qat`: a finished student becomes the int8 one that its recipe with `train.qat` gives, and is exported."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.distill.run_folder import RunFolder
from conaclip_edge.distill.trainer import distill
from conaclip_edge.models.quantization.record import QUANTIZATION
from tests.helpers import tiny
from tests.helpers.command_line import command

STUDENT = {
    "preset": "demo",
    "image": {"size": 32, "stages": [[1, 16, 1, 3, 1]]},
    "text": tiny.STUDENT["text"],
    "freeze_blocks": 1,
}
STEPS = 4
Export = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def finished(world: Path, settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a float student, and `at once`: what its recipe with int8 steps gives in one run."""
    home = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))
        distill(settings(steps=STEPS, ema=0.9, student=STUDENT), home / "float")
        distill(settings(steps=STEPS, ema=0.9, student=STUDENT, qat={}), home / "at once")
    return home


@pytest.fixture
def export(finished: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Export:
    """Export a copy of the float student, in the test's own folder."""
    shutil.copytree(finished / "float", "float")
    bars = [part for bar in ("min_cosine=0.5", "min_relative_recall=0") for part in ("--set", bar)]
    return lambda *more: command(monkeypatch, capfd, "export", "float", "--qat", "--target", "onnx", *bars, *more)


def test_the_student_is_that_of_one_run_and_its_files_are_int8(export: Export, finished: Path) -> None:
    code, _, errors = export()
    assert code == 0, errors
    for name in ("model.safetensors", QUANTIZATION, "tokenizer.json", "training.jsonl"):
        assert Path("float-int8", name).read_bytes() == (finished / "at once" / name).read_bytes(), name
    ours, theirs = (
        json.loads((at / "training.json").read_text("utf-8")) for at in (Path("float-int8"), finished / "at once")
    )
    assert ours | {"seconds": 0} == theirs | {"seconds": 0}
    assert {path.name: path.read_bytes() for path in Path("float").iterdir()} == {
        path.name: path.read_bytes() for path in (finished / "float").iterdir()
    }
    images = [file for file in read_manifest(Path("float-int8.bundle")).files if file.tower == "image"]
    assert images
    assert all(file.gate.on_grids is not None for file in images)


def test_a_killed_training_goes_on_and_a_finished_one_is_not_done_again(
    export: Export, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = RunFolder.save_state

    def dies_afterwards(self: RunFolder, *args: Any) -> None:
        save(self, *args)
        if args[-1] == STEPS + 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_state", dies_afterwards)
        assert export()[0] == 130
    code, _, errors = export()
    assert code == 0
    assert f"resuming after step {STEPS + 6}" in errors
    weights = Path("float-int8/model.safetensors").read_bytes()
    assert weights == (finished / "at once/model.safetensors").read_bytes()
    monkeypatch.setattr(RunFolder, "save_state", lambda *_: pytest.fail("trained once more"))
    code, _, errors = export("--precision", "fp32")
    assert code == 0
    assert "float-int8 is there already: its files are exported" in errors


def set_recipe(**changes: Any) -> None:
    file = Path("float/training.json")
    record = json.loads(file.read_text("utf-8"))
    record["recipe"] |= changes
    file.write_text(json.dumps(record), "utf-8")


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "no teacher": (
        lambda: set_recipe(teacher="./gone"),
        r"--qat trains float on, with the data and teacher of its record: no teacher at \./gone",
    ),
    "no data": (
        lambda: set_recipe(data={"format": "imagefolder", "path": "gone"}),
        r"with the data and teacher of its record: .*gone",
    ),
    "another teacher": (
        lambda: set_recipe(teacher=str(tiny.teacher_folder(Path("other"), seed=5))),
        r"--qat needs the teacher weights that float was distilled with, and what its record names has changed since",
    ),
    "a transformer": (
        lambda: set_recipe(student=tiny.STUDENT),
        r"--qat trains mobile image towers, and that of float is of the kind 'vit'\. Leave --qat out\.",
    ),
    "int8 already": (
        lambda: Path("float", QUANTIZATION).write_text("{}"),
        r"float was trained to be int8 already \(quantization\.json\)\. Export it without --qat\.",
    ),
    "no record": (
        lambda: Path("float/training.json").unlink(),
        r"float has no record of a distillation",
    ),
    "another student in its place": (
        lambda: shutil.copytree("float", "float-int8"),
        r"float-int8 is there and is not what --qat makes of float\. It is kept: move it away\.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_trained_is_one_line(export: Export, world: Path, case: str) -> None:
    change, message = CASES[case]
    change()
    code, _, errors = export("--data", str(world / "data"))
    assert code == 2, errors
    assert re.search(message, errors.splitlines()[-1]), errors
