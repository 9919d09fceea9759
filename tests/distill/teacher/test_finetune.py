"""A dual encoder fitted to a domain knows it better, and only its last layers have moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from conaclip_edge.config.distill import TeacherConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.distill.teacher.finetune import fit_teacher, unlock
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.evaluate import evaluate
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.models.teacher.record import TeacherFit
from tests.helpers import tiny


def recipe(world: Path, **keys: Any) -> TeacherConfig:
    data = {"format": "imagefolder", "path": str(world / "data")}
    fixed = {"data": data, "base": str(world / "teacher"), "steps": 30, "batch_size": 16, "lr": 3e-3}
    return parse(TeacherConfig, fixed | {"temperature": 0.1, "train_layers": 1, "dropout": 0.0} | keys, "the test")


@pytest.fixture(scope="module")
def fitted(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TeacherFit]:
    out = tmp_path_factory.mktemp("fitted") / "teacher"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))
        return out, fit_teacher(recipe(world), out)


def test_it_finds_more_on_held_out_pairs_than_before(fitted: tuple[Path, TeacherFit]) -> None:
    record = fitted[1]
    assert record.val is not None
    assert record.val.mean_recall > record.before["val"].mean_recall + 5


def test_its_folder_is_a_teacher_with_the_recorded_recall(fitted: tuple[Path, TeacherFit], world: Path) -> None:
    out, record = fitted
    assert record.val is not None
    assert load_teacher(str(out)).fingerprint != load_teacher(str(world / "teacher")).fingerprint
    assert json.loads((out / "training.json").read_text("utf-8")) == record.model_dump(mode="json")
    assert evaluate(out, None, "val", "onnx").mean_recall == pytest.approx(record.val.mean_recall)


def test_only_the_last_layers_and_what_follows_have_moved(fitted: tuple[Path, TeacherFit], world: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (world / "teacher", fitted[0]))
    moved = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert {"text_projection.weight", "visual_projection.weight"} <= moved
    assert not [name for name in moved if "embeddings" in name or ".layers.0." in name]
    last = 1 + max(int(name.split(".layers.")[1].split(".")[0]) for name in after if ".layers." in name)
    assert all(
        any(f"{tower}.encoder.layers.{last - 1}." in name for name in moved) for tower in ("text_model", "vision_model")
    )


def test_no_layer_learns_where_none_is_to(world: Path) -> None:
    model = load_teacher(str(world / "teacher")).model
    learning = {id(parameter) for parameter in unlock(model, 0)}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in learning]
    assert names
    assert not [name for name in names if ".layers." in name or "embeddings" in name]


def test_a_joined_teacher_is_refused(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conaclip_edge.distill.teacher.finetune.load_teacher", lambda source: object())
    with pytest.raises(UserError, match="is a teacher that was joined of packaged towers; train it again"):
        fit_teacher(recipe(world), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_too_many_broken_train_pictures_end_the_run(world: Path, tmp_path: Path) -> None:
    data = tiny.image_folder(tmp_path / "data")
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text("utf-8").splitlines()]
    broken, other = [row["file_name"] for row in rows if row["split"] == "train"][:2]
    for name in (broken, other):
        (data / name).write_bytes(b"no picture")
    config = recipe(world, data={"format": "imagefolder", "path": str(data)}, batch_size=1000)
    with pytest.raises(UserError, match=rf"2 of \d+ pictures cannot be used, more than max_bad = 1.0%: .*{broken}"):
        fit_teacher(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
