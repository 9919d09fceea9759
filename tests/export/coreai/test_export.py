"""Core AI assets, run by Apple's executor, against the float towers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import coreai_torch
import numpy as np
import pytest
import torch

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.coreai.export import export
from conaclip_edge.export.quantize.sensitivity import quantised_layers
from conaclip_edge.export.towers.layers import Unit
from conaclip_edge.export.towers.towers import Towers, build_towers
from conaclip_edge.runtime.open_tower import open_tower
from tests.helpers.small_students import (
    CONTEXT,
    EOS,
    calibration,
    drawings,
    int8_student,
    pictures,
    student,
    text,
)
from tests.oracles import int8_tower

KINDS = {"fp16": "vit", "int8": "mobile"}
SHAPES = {"fp16": "range", "int8": "enumerated"}
Exports = dict[str, tuple[Path, dict[str, Any]]]


def config(precision: str, **changes: Any) -> ExportConfig:
    lengths = {"text_lengths": (4, 8, 100), "text_shape": SHAPES[precision]}  # the last one is over the context
    return ExportConfig(target="coreai", precision=precision, **lengths | changes)  # type: ignore[arg-type]


def towers(precision: str) -> Towers:
    return build_towers(student(KINDS[precision]), "tiny")


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Precision -> folder of assets, and the exporter's notes."""
    torch.set_num_threads(1)
    made = {}
    for precision in KINDS:
        folder = tmp_path_factory.mktemp(precision)
        made[precision] = folder, export(towers(precision), calibration(), config(precision), folder)
    return made


def cosine(found: np.ndarray, wanted: torch.Tensor) -> float:
    return float((found * wanted.numpy()).sum(axis=1).min())


@pytest.mark.parametrize(("precision", "bar"), [("fp16", 0.99999), ("int8", 0.9995)])
def test_assets_compute_what_the_float_towers_do(exports: Exports, precision: str, bar: float) -> None:
    inputs = {"image": pictures(3).numpy(), "text": np.asarray([text(8), text(8, seed=1)], np.int32)}
    for name, values in inputs.items():
        found = open_tower(exports[precision][0] / f"{name}.{precision}.aimodel")(values)
        assert found.dtype == np.float32
        assert cosine(found, towers(precision)[name](torch.from_numpy(values))) > bar
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_one_function_takes_any_length_up_to_the_context(exports: Exports) -> None:
    tower = open_tower(exports["fp16"][0] / "text.fp16.aimodel")
    assert tower.lengths is None
    for length in (2, 5, CONTEXT):
        ids = np.asarray([text(length)], np.int32)
        assert cosine(tower(ids), towers("fp16").text(torch.from_numpy(ids))) > 0.9999


def test_lengths_are_functions_of_one_asset_and_others_are_refused(exports: Exports) -> None:
    tower = open_tower(exports["int8"][0] / "text.int8.aimodel")
    assert tower.lengths == (4, 8, CONTEXT)
    assert exports["int8"][1]["text"]["lengths"] == [4, 8, CONTEXT]
    for length in tower.lengths:
        ids = np.asarray([text(length)], np.int32)
        assert cosine(tower(ids), towers("int8").text(torch.from_numpy(ids))) > 0.999
    with pytest.raises(UserError, match=r"takes texts of \(4, 8, 12\) ids, got 1 x 5"):
        tower(np.asarray([text(5)], np.int32))


@pytest.mark.parametrize("name", ["image", "text"])
def test_int8_stores_a_byte_per_weight_and_little_else(exports: Exports, name: str) -> None:
    layers = quantised_layers(towers("int8")[name]).values()
    weights = sum(layer.weight.numel() for layer in layers)
    stored = (exports["int8"][0] / f"{name}.int8.aimodel/main.mlirb").stat().st_size
    # the rest is the graph, which does not grow with the weights
    assert weights < stored < weights + 80_000


def test_bytes_are_the_same_every_time(exports: Exports, tmp_path: Path) -> None:
    export(towers("int8"), calibration(), config("int8"), tmp_path)
    files = sorted(file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file())
    assert len(files) == 6
    for file in files:
        assert (tmp_path / file).read_bytes() == (exports["int8"][0] / file).read_bytes(), file


def test_metadata_say_what_the_asset_is(exports: Exports) -> None:
    for precision, (folder, _) in exports.items():
        about = json.loads((folder / f"text.{precision}.aimodel/metadata.json").read_text("utf-8"))
        assert about["author"].startswith("conaclip-edge")
        assert "manifest.json" in about["license"]
        assert "'tiny'" in about["description"]
        assert set(about["creatorDefinedMetadata"]) == {"input_ids", "embedding"}
        assert "creationDate" not in about


def test_a_tower_trained_on_grids_gives_what_integers_give(tmp_path: Path) -> None:
    made = build_towers(int8_student()[0], "q", int8_student()[1])
    notes = export(made, calibration(), config("int8"), tmp_path)
    assert notes["image"]["arithmetic"] == "int8, static activations"
    pixels = (drawings(6, seed=9) / 255.0).numpy()
    found = open_tower(tmp_path / "image.int8.aimodel")(pixels)
    wanted = int8_tower.embeddings(made.image, dict(made.image_grids or {}), pixels.astype(np.float64))
    assert (found * wanted).sum(axis=1).min() > 0.9999


def test_a_changed_program_is_refused_by_its_hash(exports: Exports, tmp_path: Path) -> None:
    asset = shutil.copytree(exports["int8"][0] / "image.int8.aimodel", tmp_path / "image.int8.aimodel")
    program = bytearray((asset / "main.mlirb").read_bytes())
    program[len(program) // 2] ^= 1
    (asset / "main.mlirb").write_bytes(program)
    with pytest.raises(UserError, match=r"main\.mlirb is damaged"):
        open_tower(asset)


def test_inputs_of_another_size_are_refused(exports: Exports) -> None:
    with pytest.raises(UserError, match=r"image\.int8\.aimodel does not take 1 x 3 x 16 x 16: .*expected"):
        open_tower(exports["int8"][0] / "image.int8.aimodel")(np.zeros((1, 3, 16, 16), np.float32))


def test_an_operation_that_the_converter_lacks_is_named(tmp_path: Path) -> None:
    class Inverse(Unit):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ torch.linalg.inv(x.T @ x)

    wrong = towers("fp16")
    wrong.text.unit = Inverse()
    with pytest.raises(UserError, match=r"coreai-torch .* does not write the text tower: .*inv"):
        export(wrong, calibration(), config("fp16"), tmp_path)


def test_a_changed_interface_of_the_beta_package_is_one_line_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(coreai_torch.TorchConverter, "to_coreai")
    with pytest.raises(UserError, match=r"to_coreai.*pip install 'conaclip-edge\[coreai\]'") as found:
        export(towers("fp16"), calibration(), config("fp16"), tmp_path)
    assert "\n" not in str(found.value)


class AnyLength(Unit):
    """A unit that is no unit: vectors keep their length."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_the_executor_shows_an_output_that_is_not_normalised(tmp_path: Path) -> None:
    wrong = towers("fp16")
    wrong.text.unit = AnyLength()
    export(wrong, calibration(), config("fp16"), tmp_path)
    found = open_tower(tmp_path / "text.fp16.aimodel")(np.asarray([text(4)], np.int32))
    assert abs(float(np.linalg.norm(found)) - 1) > 0.01


def test_a_text_that_ends_early_is_pooled_there(exports: Exports) -> None:
    tower = open_tower(exports["int8"][0] / "text.int8.aimodel")
    short = text(4, seed=2)
    one, other = (tower(np.asarray([short + [filler] * 4], np.int32)) for filler in (1, EOS))
    np.testing.assert_allclose(one, other, atol=2e-3)
