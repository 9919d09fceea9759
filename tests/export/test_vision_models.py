"""A student whose image tower is a vision model of transformers goes through the command line like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.export.towers.refused_layer import refusal
from conaclip_edge.export.towers.towers import OtherImageTower
from conaclip_edge.models.image_towers.backbone import Backbone
from conaclip_edge.models.student.checkpoint import load_student
from tests.helpers import tiny
from tests.helpers.command_line import Run
from tests.helpers.models.vision_models import vision_folder
from tests.helpers.small_students import student


def test_it_is_distilled_from_its_weights_and_exported(run: Run, world: Path, tmp_path: Path) -> None:
    backbone = vision_folder(tmp_path / "dinov2", "dinov2")
    values = tiny.recipe(world / "data", world / "teacher", world / "cache", steps=1, lr=1e-6)
    values["student"] = {"preset": "demo", "image": {"backbone": str(backbone)}, "text": tiny.STUDENT["text"]}
    code, out, err = run("distill", tiny.write_recipe(tmp_path / "recipe.yaml", values), "--out", "student", "--json")
    assert code == 0, err
    assert json.loads(out)["parameters"]["started_from_pretrained"] > 1000
    assert str(tmp_path) not in (tmp_path / "student" / "config.json").read_text("utf-8")
    given = load_student(tmp_path / "student").model.image.backbone.state_dict()
    assert given.keys() == {key for key in given if key.startswith("model.")}
    code, _, err = run("export", "student", "--target", "onnx", "--out", "bundle", "--set", "min_cosine=0.99")
    assert code == 0, err
    image = [file for file in read_manifest(tmp_path / "bundle").files if file.tower == "image"]
    assert {file.path for file in image} >= {"onnx/image.int8.onnx", "onnx/image.int8.ort"}
    assert min(file.gate.cosine.mean for file in image) > 0.999


class Turned(Backbone):
    """A layer with an operator that a converter may lack."""

    features = 3

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.odd = nn.Conv2d(3, 3, 1), nn.Upsample(scale_factor=2, mode="bicubic")

    def forward(self, pixels: Tensor) -> Tensor:
        return self.odd(self.plain(pixels)).mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ("PyTorch convert function for op 'upsample_bicubic2d' not implemented.", " at its layer backbone.odd"),
        ("something else broke", ""),
    ],
)
def test_a_converter_s_refusal_names_the_layer_where_it_is_known(message: str, where: str) -> None:
    model = student("mobile")
    model.image.mobile, model.image.projection = Turned().eval(), nn.Linear(3, 16)
    error = refusal(OtherImageTower(model).eval(), 16, "Core ML fp16", NotImplementedError(message))
    assert str(error).startswith(
        f"Core ML fp16 does not take this image tower{where} (NotImplementedError: {message.removesuffix('.')})"
    )
    assert torch.is_grad_enabled()
