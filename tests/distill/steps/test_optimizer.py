"""Which weights decay, and which learn at the rate of pretrained ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.model import StudentConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.distill.steps.optimizer import make_optimizer
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.presets import student_shape
from tests.helpers import tiny

SMALL = {"width": 32, "layers": 1, "heads": 2, "mlp": 32}
MOBILE = {"preset": "demo", "image": {"size": 32, "stages": [[1, 16, 1, 3, 1]]}, "text": SMALL}


def recipe(student: dict[str, Any], **sections: Any) -> DistillConfig:
    values = {"data": {"format": "openmoji"}, "teacher": "none", "student": student}
    return parse(DistillConfig, values | sections, "test")


def by_name(student: dict[str, Any]) -> tuple[DualEncoder, dict[str, dict[str, float]]]:
    """Build a student and its optimiser; returns the settings of each parameter by name."""
    config = recipe(student, train={"lr": 0.01, "lr_pretrained": 0.1, "weight_decay": 0.05})
    model = DualEncoder(student_shape(config.student))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = make_optimizer(model, config).param_groups
    return model, {names[id(parameter)]: group for group in groups for parameter in group["params"]}


def test_matrices_decay_and_scales_biases_and_tables_do_not() -> None:
    _, groups = by_name(tiny.STUDENT)
    decayed = {name for name, group in groups.items() if group["weight_decay"]}
    assert groups["logit_scale"]["weight_decay"] == 0
    assert not any(name.endswith(".bias") or "norm" in name or "embedding" in name for name in decayed)
    assert {"image.vit.visual_projection.weight", "text.clip.text_projection.weight"} <= decayed
    assert {groups[name]["weight_decay"] for name in decayed} == {0.05}


@pytest.mark.parametrize("student", [tiny.STUDENT, MOBILE])
def test_every_trainable_weight_is_in_one_group(student: dict[str, Any]) -> None:
    model, groups = by_name(student)
    assert set(groups) == {name for name, _ in model.named_parameters()}


def test_frozen_weights_are_in_none() -> None:
    config = recipe(MOBILE)
    model = DualEncoder(student_shape(config.student))
    model.image.mobile.freeze(1)
    chosen = {id(parameter) for group in make_optimizer(model, config).param_groups for parameter in group["params"]}
    frozen = [*model.image.mobile.stem.parameters(), *model.image.mobile.blocks[0].parameters()]
    assert not chosen & {id(parameter) for parameter in frozen}


@pytest.mark.parametrize(
    ("student", "source", "slow"),
    [
        (MOBILE, "auto", "image.mobile."),
        (MOBILE, "folder/of/weights", "image.mobile."),
        (MOBILE, "none", None),
        (tiny.STUDENT, "auto", None),
        (tiny.STUDENT, "folder/of/weights", "image.vit.vision_model."),
    ],
)
def test_pretrained_weights_learn_at_their_own_rate(student: dict[str, Any], source: str, slow: str | None) -> None:
    _, groups = by_name(student | {"init_image": source})
    for name, group in groups.items():
        pretrained = slow is not None and name.startswith(slow)
        assert group["peak_lr"] == pytest.approx(0.001 if pretrained else 0.01)


def test_the_scale_of_a_fresh_student_is_clips_and_its_limit_a_hundred() -> None:
    model = DualEncoder(student_shape(parse(StudentConfig, tiny.STUDENT, "test")))
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        model.logit_scale.fill_(9)
    model.clamp_logit_scale()
    assert model.logit_scale.exp().item() == pytest.approx(100)
