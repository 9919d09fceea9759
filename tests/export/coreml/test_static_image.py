"""A Core ML program of an image tower on fixed grids: int8 between all layers, and what integers compute."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.coreml.export import export
from conaclip_edge.export.quantize.prepare import STATIC, on_grids
from conaclip_edge.export.towers.towers import Towers, build_towers
from conaclip_edge.runtime.mil.package import operations, read_package
from conaclip_edge.runtime.open_tower import open_tower
from tests.helpers.small_students import MeanOfRows, calibration, drawings, int8_student
from tests.oracles import int8_tower

PIXELS = (drawings(6, seed=9) / 255.0).numpy()


@pytest.fixture(scope="module")
def towers() -> Towers:
    return replace(build_towers(int8_student()[0], "q", int8_student()[1]), text=MeanOfRows())


@pytest.fixture(scope="module")
def package(towers: Towers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coreml")
    notes = export(towers, calibration(), ExportConfig(target="coreml", activations="int8"), folder)
    assert notes["image"]["arithmetic"] == STATIC
    return folder / "image.int8.mlpackage"


def test_a_program_on_grids_gives_what_integers_give(towers: Towers, package: Path) -> None:
    found = open_tower(package)(PIXELS)
    wanted = int8_tower.embeddings(towers.image, dict(towers.image_grids or {}), PIXELS.astype(np.float64))
    # float16 sums lie on the wrong side of a half now and then
    assert (found * wanted).sum(axis=1).min() > 0.999


def test_every_layer_reads_int8_and_gives_int8(package: Path) -> None:
    steps = operations(read_package(package)[0])
    made_by = {step.outputs[0].name: step.type for step in steps}
    readers = {
        argument.name: step.type for step in steps for bound in step.inputs.values() for argument in bound.arguments
    }
    layers = [step for step in steps if step.type in ("conv", "linear", "add")]
    assert len(layers) == 16
    for layer in layers:
        ways = ("x", "y") if layer.type == "add" else ("x",)
        assert {made_by[layer.inputs[way].arguments[0].name] for way in ways} == {"dequantize"}
        assert readers[layer.outputs[0].name] == "quantize"


def test_only_int8_activations_put_a_file_of_core_ml_on_grids(towers: Towers) -> None:
    assert on_grids(towers, ExportConfig(target="coreml", activations="int8"))
    assert not on_grids(towers, ExportConfig(target="coreml"))
    assert not on_grids(towers, ExportConfig(target="executorch", backend="coreml"))
