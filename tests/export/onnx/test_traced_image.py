"""An image tower that no graph is written for gives in ONNX what it gives in torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.onnx.export import export
from conaclip_edge.export.onnx.traced_image import traced_image_model
from conaclip_edge.export.towers.towers import OtherImageTower, Towers, build_towers
from conaclip_edge.models.image_towers.backbone import Backbone
from conaclip_edge.models.image_towers.layers import ConvNorm
from conaclip_edge.runtime.onnx_tower import OnnxTower
from tests.helpers.small_students import calibration, pictures, student


class Odd(Backbone):
    """A batch norm that only torch folds, and a square linear layer, whose shape does not tell its two sides apart."""

    def __init__(self, features: int):
        super().__init__()
        self.features = features
        self.stem = ConvNorm(3, 8, 3, stride=2)
        self.conv = nn.Conv2d(8, features, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(features)
        self.mix = nn.Linear(features, features)
        self.norm.running_mean.normal_(0, 0.2)
        self.norm.running_var.uniform_(0.1, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.norm(self.conv(self.stem(pixels)))
        return self.mix(nn.functional.hardswish(x).mean(dim=(2, 3)))


@pytest.fixture(scope="module", name="towers")
def _towers() -> Towers:
    torch.manual_seed(1)
    model = student("mobile")
    model.image.mobile = Odd(model.image.backbone.features).eval()
    return replace(build_towers(student("mobile"), "odd"), image=OtherImageTower(model).eval().requires_grad_(False))


@pytest.fixture(scope="module", name="folder")
def _folder(towers: Towers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The towers exported in int8, and the image tower alone in the other precisions."""
    folder = tmp_path_factory.mktemp("odd")
    export(towers, calibration(), ExportConfig(precision="int8"), folder)
    for precision in ("fp32", "fp16"):
        model = traced_image_model(towers.image, towers.image_size, precision == "fp16", frozenset(), 23, "")
        (folder / f"image.{precision}.onnx").write_bytes(model.SerializeToString())
    return folder


@pytest.mark.parametrize(
    ("name", "least"),
    [("fp32.onnx", 0.999999), ("fp16.onnx", 0.99999), ("int8.onnx", 0.9999), ("int8.ort", 0.9999)],
)
def test_the_file_gives_what_the_tower_gives_in_any_batch(towers, folder, name, least):
    file = OnnxTower(folder / f"image.{name}")
    for batch in (1, 3):
        x = pictures(batch, seed=7)
        given, wanted = file(x.numpy()), towers.image(x).numpy()
        assert given.dtype == np.float32
        assert (given * wanted).sum(axis=1).min() > least


@pytest.mark.parametrize("layers", [("stem.conv", "conv", "mix"), ("mix",)])
def test_int8_is_what_is_asked_for_and_a_byte_each(towers, layers):
    asked = {f"backbone.{layer}" for layer in layers}
    names = frozenset(layer.removesuffix(".conv") for layer in asked)  # as the exporter names a convolution with ReLU6
    model = traced_image_model(towers.image, towers.image_size, False, names, 23, "")
    stored = {one.name: one for one in model.graph.initializer}
    eight = {name for name, one in stored.items() if one.data_type == onnx.TensorProto.INT8}
    assert eight == {f"{layer}.int8" for layer in asked}


def test_equal_towers_give_equal_bytes_without_paths_of_this_machine(towers, folder, tmp_path):
    export(towers, calibration(), ExportConfig(precision="int8"), tmp_path)
    again, first = ((made / "image.int8.onnx").read_bytes() for made in (tmp_path, folder))
    assert again == first
    assert b".py" not in first
