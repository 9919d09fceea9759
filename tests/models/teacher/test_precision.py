"""A teacher computes in half precision and answers in float32, under a name of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.load import load_teacher
from tests.helpers.tiny import drawing

PICTURES = [drawing("red", "disc", "left"), drawing("blue", "bar", "right"), Image.new("RGB", (40, 40), "green")]
TEXTS = ["red disc left", "a bar in blue", "green"]


@pytest.fixture
def teacher(world: Path) -> Teacher:
    return load_teacher(str(world / "teacher"))


def test_float32_on_its_own_device_is_what_it_was(teacher: Teacher) -> None:
    before = teacher.embed_pictures(PICTURES), teacher.embed_texts(TEXTS), teacher.answers
    placed = teacher.compute_on(torch.device("cpu"), "fp32")
    assert torch.equal(placed.embed_pictures(PICTURES), before[0])
    assert torch.equal(placed.embed_texts(TEXTS), before[1])
    assert placed.answers == before[2] == teacher.fingerprint


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_has_another_name(teacher: Teacher, precision: str) -> None:
    whole = [teacher.embed_pictures(PICTURES), teacher.embed_texts(TEXTS)]
    teacher.compute_on(torch.device("cpu"), precision)  # type: ignore[arg-type]  # one of the literal's
    for wanted, found in zip(whole, [teacher.embed_pictures(PICTURES), teacher.embed_texts(TEXTS)], strict=True):
        assert found.dtype == torch.float32
        assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-6)
        cosines = (wanted * found).sum(dim=1)
        assert cosines.min() > 0.999
        assert not torch.equal(wanted, found)
    assert teacher.answers == f"{teacher.fingerprint} {precision}"
    assert all(parameter.dtype == torch.float32 for parameter in teacher.parameters())


def test_what_students_start_from_is_never_rounded(teacher: Teacher) -> None:
    table = teacher.token_table().clone()
    teacher.compute_on(torch.device("cpu"), "bf16")
    teacher.embed_texts(TEXTS)
    assert np.array_equal(teacher.token_table().numpy(), table.numpy())
