"""Nodes around a tower: any number of pictures per call gives each the embedding that it gets alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.onnx import export as onnx_export
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.layouts.graphs import image_graph, save
from conaclip_edge.layouts.onnx_file import OnnxFile
from tests.helpers.small_students import calibration, pictures, student


@pytest.mark.parametrize("kind", ["vit", "mobile"])
def test_pictures_of_one_call_do_not_change_each_other(tmp_path: Path, kind: str) -> None:
    onnx_export.export(build_towers(student(kind), kind), calibration(), ExportConfig(target="onnx"), tmp_path)
    tower = OnnxFile(tmp_path / "image.int8.onnx")
    save(image_graph(tmp_path / "image.int8.onnx", "images", ["embeddings"], "batch"), tmp_path / "any.onnx")
    pixels = pictures(5).numpy()
    alone = np.concatenate([tower({"pixel_values": one[None]}) for one in pixels])
    for count in (1, 2, 5):
        found = OnnxFile(tmp_path / "any.onnx")({"images": pixels[:count]})
        np.testing.assert_allclose(found, alone[:count], atol=1e-5)


def test_a_normalised_picture_gets_the_embedding_of_its_pixels(tmp_path: Path) -> None:
    onnx_export.export(build_towers(student("vit"), "vit"), calibration(), ExportConfig(target="onnx"), tmp_path)
    mean, deviation = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    made = image_graph(tmp_path / "image.int8.onnx", "given", ["embeds"], 1, (mean, deviation), width=24)
    save(made, tmp_path / "made.onnx")
    pixels = pictures(1).numpy()
    given = (pixels - np.float32(mean).reshape(1, 3, 1, 1)) / np.float32(deviation).reshape(1, 3, 1, 1)
    found = OnnxFile(tmp_path / "made.onnx")({"given": given})
    right = OnnxFile(tmp_path / "image.int8.onnx")({"pixel_values": pixels})
    assert (found[:, :16] * right).sum() > 0.9999
    assert not found[:, 16:].any()
