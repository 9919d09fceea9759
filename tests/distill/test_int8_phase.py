"""Training with int8 steps: what it leaves, and that a killed run goes on to the very same student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.distill import training_data
from conaclip_edge.distill.run_folder import RunFolder
from conaclip_edge.distill.trainer import Trainer, distill
from conaclip_edge.errors import UserError
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.models.quantization.int8_weights import round_weight
from conaclip_edge.models.quantization.record import QUANTIZATION
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.models.student.int8_student import int8_student
from tests.helpers import tiny
from tests.helpers.small_students import drawings

FLOAT_STEPS, INT8_STEPS = 6, 6
STUDENT = {
    "preset": "demo",
    "image": {"size": 32, "stages": [[1, 16, 1, 3, 1], [6, 24, 2, 3, 2]]},
    "freeze_blocks": 1,
}
# a queue and a moving average are states that the first phase hands on
SECTIONS: dict[str, Any] = {"student": STUDENT, "graph": {"queue": 20}}
TRAIN: dict[str, Any] = {"steps": FLOAT_STEPS, "eval_every": 4, "ema": 0.9}


@pytest.fixture(scope="module")
def config(world: Path, settings: Any) -> DistillConfig:
    made: DistillConfig = settings(**TRAIN, qat={"steps": INT8_STEPS, "lr": 1e-3}, **SECTIONS)
    return made


@pytest.fixture(scope="module")
def whole(config: DistillConfig, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of an uninterrupted run."""
    out = tmp_path_factory.mktemp("int8") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(world / "datasets"))
        distill(config, out)
    return out


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text("utf-8").splitlines()]


def test_int8_steps_follow_the_float_ones_with_a_rate_of_their_own(whole: Path) -> None:
    lines = [line for line in log(whole) if "loss" in line]
    assert [line["step"] for line in lines] == list(range(FLOAT_STEPS + INT8_STEPS))
    assert max(line["lr"] for line in lines[:FLOAT_STEPS]) == pytest.approx(3e-3)
    assert max(line["lr"] for line in lines[FLOAT_STEPS:]) == pytest.approx(1e-3)


def test_recall_on_val_is_measured_in_both_parts_and_at_the_end_of_each(whole: Path) -> None:
    steps = [line["step"] for line in log(whole) if "val_mean_recall" in line]
    assert steps == [3, FLOAT_STEPS - 1, 7, FLOAT_STEPS + INT8_STEPS - 1]


def test_the_student_loads_with_weights_that_are_int8_values(whole: Path) -> None:
    student = load_student(whole)
    for name, layer in student.model.image.named_modules():
        if hasattr(layer, "folded"):
            weight = layer.folded()[0]
            if name.endswith("stem"):
                weight = weight / student.model.image.std
            torch.testing.assert_close(round_weight(weight), weight, rtol=1e-5, atol=0, msg=name)


def test_channels_that_are_left_out_stay_out(settings: Any) -> None:
    distill(settings(**TRAIN, qat={"steps": 2, "lr": 1e-3, "prune": 0.2}, **SECTIONS), Path("pruned"))
    student = load_student(Path("pruned"))
    tower = build_towers(student.model, "pruned", student.quantization).image
    widths = [block.depthwise.conv.in_channels for block in tower.blocks]
    assert widths[0] == 32
    assert sum(widths) <= 32 + 96 + 144 - 32
    assert all(width % 16 == 0 for width in widths)


def test_the_record_has_the_recall_of_both_forms(whole: Path, config: DistillConfig) -> None:
    student = load_student(whole)
    assert student.quantization is not None
    int8 = int8_student(student.model, student.quantization.image)
    trainer = Trainer.prepare(config, Path("again"))
    for key, model in (("val", student.model), ("val_int8", int8)):
        assert student.training[key]["recall"] == trainer.evaluate("val", model).recall(), key


def test_int8_steps_change_all_but_frozen_weights(whole: Path, config: DistillConfig, settings: Any) -> None:
    distill(settings(**TRAIN, qat={"steps": 1, "lr": 1e-3}, **SECTIONS), Path("short"))
    short, long = (dict(load_student(folder).model.named_parameters()) for folder in (Path("short"), whole))
    same = {name for name, value in short.items() if torch.equal(value, long[name])}
    frozen = {name for name in short if name.startswith(("image.mobile.stem.", "image.mobile.blocks.0."))}
    gains = {name for name in short if name.startswith("image.mobile.") and name.endswith("norm.weight")}
    assert frozen <= same
    assert not {name for name in same - frozen - gains if name.startswith("image.")}
    assert "text.clip.text_projection.weight" not in same


@pytest.mark.parametrize("saved", [4, FLOAT_STEPS, 8])
def test_a_killed_run_resumes_to_the_very_same_student(
    whole: Path, config: DistillConfig, monkeypatch: pytest.MonkeyPatch, saved: int
) -> None:
    """Killed when `saved` steps were saved: before the int8 steps, at their start, among them."""
    save = RunFolder.save_state

    def dies_afterwards(self: RunFolder, *args: Any) -> None:
        save(self, *args)
        if args[-1] == saved:
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_state", dies_afterwards)
        with pytest.raises(MemoryError):
            distill(config, Path("out"))
    distill(config, Path("out"), resume=True)
    for name in ("model.safetensors", QUANTIZATION, "training.jsonl"):
        assert Path("out", name).read_bytes() == (whole / name).read_bytes(), name
    ours, theirs = (json.loads((folder / "training.json").read_text("utf-8")) for folder in (Path("out"), whole))
    assert ours | {"seconds": 0} == theirs | {"seconds": 0}


def test_a_killed_run_may_be_started_over(config: DistillConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(self: RunFolder, *args: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_state", dies)
        with pytest.raises(MemoryError):
            distill(config, Path("out"))
    Trainer.prepare(config, Path("out"))


def test_a_transformer_is_refused_before_any_work(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_data, "load_teachers", lambda *_: pytest.fail("work was done"))
    with pytest.raises(UserError, match=r"train\.qat trains a mobile image tower, and the student's is 'vit'\. Leave"):
        distill(settings(qat={}, student=tiny.STUDENT), Path("out"))


def test_a_finished_student_is_trained_to_be_int8_without_any_float_step(settings: Any) -> None:
    distill(settings(steps=4, student=STUDENT), Path("finished"))
    earlier = {"init_image": "finished", "init_text": "finished"}
    distill(settings(steps=0, qat={"steps": 1, "lr": 1e-9}, student=STUDENT | earlier), Path("out"))
    before, after = (load_student(Path(name)) for name in ("finished", "out"))
    assert after.quantization is not None
    pixels = drawings(8, seed=0) / 255.0
    cosines = torch.sum(before.model.encode_image(pixels) * after.model.encode_image(pixels), dim=1)
    assert cosines.min() > 0.9
    assert [line["step"] for line in log(Path("out")) if "loss" in line] == [0]


def test_a_recipe_of_no_steps_is_refused(settings: Any) -> None:
    with pytest.raises(UserError, match=r"train\.steps is 0 and there is no train\.qat, so nothing would be trained"):
        distill(settings(steps=0), Path("out"))


def test_a_recipe_without_int8_steps_is_written_as_before(settings: Any) -> None:
    assert "qat" not in settings().model_dump(mode="json")["train"]
