"""ONNX files of an image tower on fixed grids compute what integers compute, in integer kernels alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.accelerators.onnx_nodes import onnx_accelerators
from conaclip_edge.export.onnx.export import export
from conaclip_edge.export.towers.towers import MobileTower, Towers, build_towers
from conaclip_edge.models.quantization.record import ActivationGrid
from conaclip_edge.runtime.emulated.run_tower import run_tower
from conaclip_edge.runtime.emulated.x86_64 import find_x86_64
from conaclip_edge.runtime.onnx_tower import OnnxTower
from tests.helpers.small_students import calibration, drawings, int8_student
from tests.oracles import int8_tower

PIXELS = (drawings(4, seed=9) / 255.0).numpy()


def int8_towers(**changes: object) -> Towers:
    return replace(build_towers(int8_student()[0], "q", int8_student()[1]), **changes)


def wanted(towers: Towers) -> np.ndarray:
    return int8_tower.embeddings(towers.image, dict(towers.image_grids or {}), PIXELS.astype(np.float64))


def assert_equal(found: np.ndarray, integers: np.ndarray) -> None:
    """Equal but for a value half-way between two steps, which float32 and float64 may round otherwise."""
    assert (found * integers).sum(axis=1).min() > 0.9999


def written(towers: Towers, folder: Path, precision: str = "int8", batch: str | int = 1) -> Path:
    export(towers, calibration(), ExportConfig(precision=precision, batch=batch), folder)
    return folder / f"image.{precision}.onnx"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(int8_towers(), tmp_path_factory.mktemp("static"))


@pytest.mark.parametrize("suffix", [".onnx", ".ort"])
def test_a_file_gives_what_integers_give(file: Path, suffix: str) -> None:
    assert_equal(OnnxTower(file.with_suffix(suffix))(PIXELS), wanted(int8_towers()))


def test_onnxruntime_computes_all_of_it_in_integers(file: Path, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 3
    ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    convolutions = sum(isinstance(layer, torch.nn.Conv2d) for layer in int8_towers().image.modules())
    assert operators.count("QLinearConv") == convolutions
    assert not {"Conv", "Add", "Clip", "GlobalAveragePool"} & set(operators)
    assert operators.count("Transpose") <= 2, "the layout is settled once"
    assert operators.count("MatMul") == 1, "the sum of squares; the projection is an integer product"


def test_pixels_whose_mean_is_one_of_their_levels_are_taken_as_the_bytes_they_are(tmp_path: Path) -> None:
    towers = int8_towers()
    assert isinstance(towers.image, MobileTower)
    towers.image.mean.fill_(127 / 255)
    grids = {**(towers.image_grids or {}), "pixels": ActivationGrid(scale=float(np.float32(1 / 255)), zero_point=127)}
    towers = replace(towers, image_grids=grids)
    path = written(towers, tmp_path)
    assert_equal(OnnxTower(path)(PIXELS), wanted(towers))
    assert "Sub" not in {node.op_type for node in onnx.load(path).graph.node}


def test_biases_that_two_bytes_hold_are_stored_in_two(file: Path, tmp_path: Path) -> None:
    towers = int8_towers()
    biases = [layer.bias for layer in towers.image.modules() if isinstance(layer, torch.nn.Conv2d)]
    for bias in biases:
        bias.copy_(bias.half())
    path = written(towers, tmp_path)
    assert_equal(OnnxTower(path)(PIXELS), wanted(towers))
    stored = [one for one in onnx.load(path).graph.initializer if one.data_type == onnx.TensorProto.FLOAT16]
    assert len(stored) == len(biases)


def test_accelerators_that_compute_in_int8_take_all_of_it(file: Path) -> None:
    found = {one.name: one for one in onnx_accelerators(file)}
    for name in ("NNAPI", "QNN"):
        assert found[name].taken == found[name].nodes, found[name].left


def test_any_number_of_pictures_can_be_asked_for(tmp_path: Path) -> None:
    tower = OnnxTower(written(int8_towers(), tmp_path, batch="dynamic"))
    assert tower.batch is None
    assert_equal(tower(PIXELS), wanted(int8_towers()))


def test_in_float_it_is_the_tower_without_grids(tmp_path: Path) -> None:
    towers = int8_towers()
    given = OnnxTower(written(towers, tmp_path, "fp32"))(PIXELS)
    np.testing.assert_allclose(given, towers.image(torch.from_numpy(PIXELS)).numpy(), atol=1e-5)


def test_a_processor_without_vnni_computes_the_same_in_onnxruntimes_precise_mode(file: Path) -> None:
    given = (PIXELS * 255).round().astype(np.uint8)
    found = run_tower(find_x86_64(), file, given).embeddings
    assert_equal(found, wanted(int8_towers()))
    assert find_x86_64().refusal(file) == ""
    assert "overflow on AVX2" in find_x86_64().refusal(file.with_suffix(".ort"))


def test_where_sums_of_products_overflow_files_that_cannot_be_loaded_precisely_are_refused_and_left_out(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = frozenset({"avx2", "fma"})
    monkeypatch.setattr("conaclip_edge.runtime.onnx_tower.instruction_sets", lambda: sets)
    with pytest.raises(UserError, match=r"AVX2 without VNNI.* Take the \.onnx file"):
        OnnxTower(file.with_suffix(".ort"))
    assert written(int8_towers(), tmp_path).exists()
    assert not list(tmp_path.glob("*.ort"))
