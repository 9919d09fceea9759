"""Core ML export: the packages, run by the reference interpreter, against the float towers."""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.coreml.export import INPUTS, export
from conaclip_edge.export.coreml.int8 import int8_weights
from conaclip_edge.export.quantize.activation_budget import harmless_inputs
from conaclip_edge.export.quantize.calibration import make_calibration
from conaclip_edge.export.quantize.prepare import prepare
from conaclip_edge.export.quantize.sensitivity import quantised_layers
from conaclip_edge.export.towers.towers import Towers, build_towers
from conaclip_edge.models.quantization.int8_weights import round_weight
from conaclip_edge.runtime.coreml_tower import CoremlTower, open_coreml
from conaclip_edge.runtime.mil.package import operations, read_package
from conaclip_edge.runtime.mil.program import MilProgram
from tests.helpers.coreml_programs import convert
from tests.helpers.small_students import CONTEXT, EOS, SIZE, MeanOfRows, calibration, pictures, student, text

HOME = tempfile.TemporaryDirectory(prefix="coreml-export-")
LENGTHS = (4, 8, 100)  # the last one is over the context
SETTINGS: dict[str, dict[str, Any]] = {
    "fp16": {"precision": "fp16"},
    "int8": {"precision": "int8", "deployment": "iOS18", "text_shape": "range"},
    "w8a8": {"precision": "int8", "activations": "int8", "image_input": "image"},
}
KINDS = {"fp16": "vit", "int8": "mobile", "w8a8": "mobile"}


@pytest.fixture(scope="module", autouse=True)
def _home() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    exported.cache_clear()
    HOME.cleanup()


def config(name: str, **changes: Any) -> ExportConfig:
    return ExportConfig(target="coreml", text_lengths=LENGTHS, **SETTINGS[name] | changes)


@functools.cache
def towers(kind: str) -> Towers:
    return build_towers(student(kind), "tiny")


@functools.cache
def exported(name: str) -> tuple[Path, dict[str, Any]]:
    folder = Path(HOME.name) / name
    folder.mkdir()
    return folder, export(towers(KINDS[name]), calibration(16), config(name), folder)


def package(name: str, tower: str) -> Path:
    return exported(name)[0] / f"{tower}.{SETTINGS[name]['precision']}.mlpackage"


def loaded(name: str, tower: str) -> CoremlTower:
    opened = open_coreml(package(name, tower), 1)
    assert isinstance(opened, CoremlTower)
    return opened


def inputs(tower: str, length: int = 8) -> np.ndarray:
    if tower == "image":
        return pictures(6, seed=3).numpy()
    rows = [text(length, seed=seed) for seed in range(5)]
    early = text(4, seed=9)
    return np.asarray([*rows, early + [EOS, 3] * ((length - 4) // 2)], np.int32)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def expected(name: str, tower: str, values: np.ndarray) -> np.ndarray:
    return towers(KINDS[name])[tower](torch.from_numpy(values)).numpy()


@pytest.mark.parametrize("tower", ["image", "text"])
@pytest.mark.parametrize(("name", "bar"), [("fp16", 0.99999), ("int8", 0.9995), ("w8a8", 0.999)])
def test_package_computes_what_the_float_tower_does(name: str, bar: float, tower: str) -> None:
    values = inputs(tower)
    found = loaded(name, tower)(values)
    assert found.dtype == np.float32
    assert cosine(found, expected(name, tower, values)).min() > bar
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=2e-3)


def test_int8_rounds_every_weight_and_nothing_else() -> None:
    rounded = copy.deepcopy(prepare(towers("mobile"), calibration(16), config("int8")).text)
    for layer in rounded.modules():
        if isinstance(getattr(layer, "weight", None), torch.Tensor) and not isinstance(layer, nn.LayerNorm):
            layer.weight.data = round_weight(layer.weight.data.half()).float()
    values = inputs("text")
    # without the rounding of activations to fp16, which is about as large as that of weights to int8
    program = MilProgram(package("int8", "text"), precision="fp32")
    found = np.concatenate([program({INPUTS["text"]: row[None]})["embedding"] for row in values])
    as_rounded = np.abs(found - rounded(torch.from_numpy(values)).numpy()).mean()
    as_float = np.abs(found - expected("int8", "text", values)).mean()
    assert as_rounded < 0.35 * as_float


def operation_types(path: Path) -> list[str]:
    return [operation.type for operation in operations(read_package(path)[0])]


def test_int8_activations_are_where_the_notes_say() -> None:
    layers = {"image": 14, "text": 13}
    for tower, count in layers.items():
        types = operation_types(package("w8a8", tower))
        assert types.count("linear") + types.count("conv") == count
        assert types.count("constexpr_affine_dequantize") == count + (tower == "text"), "a weight is not int8"
        assert types.count("dequantize") == types.count("quantize")
        chosen = exported("w8a8")[1][tower]["int8_inputs"]
        # layers that share an input share its rounding
        assert 0 < types.count("quantize") <= len(chosen)


def test_int8_inputs_grow_with_the_quantisation_error_that_is_allowed() -> None:
    pairs, made = calibration(16), prepare(towers("mobile"), calibration(16), config("int8"))
    counts = [len(harmless_inputs(made, "image", pairs, budget)) for budget in (0.0, 1e-4, 1.0)]
    assert counts[0] == 0
    assert counts[0] <= counts[1] <= counts[2] == 14


def test_float_layers_keep_weights_and_inputs(tmp_path: Path) -> None:
    image_alone = replace(towers("mobile"), text=MeanOfRows())
    notes = export(image_alone, calibration(4), config("w8a8", float_layers=3), tmp_path)
    kept, all_int8 = operation_types(tmp_path / "image.int8.mlpackage"), operation_types(package("w8a8", "image"))
    assert len(notes["image"]["float_layers"]) == 3
    assert kept.count("constexpr_affine_dequantize") == all_int8.count("constexpr_affine_dequantize") - 3
    assert not set(notes["image"]["float_layers"]) & set(notes["image"]["int8_inputs"])


@pytest.mark.parametrize("tower", ["image", "text"])
def test_int8_stores_a_byte_a_weight_and_little_else(tower: str) -> None:
    layers = quantised_layers(towers("mobile")[tower]).values()
    weights, channels = sum(one.weight.numel() for one in layers), sum(len(one.weight) for one in layers)
    stored = (package("int8", tower) / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    # a scale and a bias for each channel in two bytes, each constant with a header and filled up to 64 bytes
    assert weights < stored < weights + 8 * channels + 64 * 4 * len(layers) + 4000


def test_int8_activations_without_pairs_are_refused(tmp_path: Path) -> None:
    empty = make_calibration(np.zeros((0, 3, SIZE, SIZE), np.uint8), [])
    with pytest.raises(UserError, match="int8 needs calibration"):
        export(towers("mobile"), empty, config("w8a8"), tmp_path)


@pytest.mark.parametrize("name", ["fp16", "w8a8"])
def test_enumerated_lengths_are_enforced(name: str) -> None:
    tower = loaded(name, "text")
    assert tower.lengths == (4, 8, CONTEXT)
    assert exported(name)[1]["text"]["lengths"] == [4, 8, CONTEXT]
    for length in tower.lengths:
        values = np.asarray([text(length)], np.int32)
        assert cosine(tower(values), expected(name, "text", values)).min() > 0.997
    with pytest.raises(UserError, match=r"takes the shape \[1, 12\] or \[1, 4\] or \[1, 8\], but got \[1, 5\]"):
        tower(np.asarray([text(5)], np.int32))


def test_a_range_takes_any_length_up_to_the_context() -> None:
    tower = loaded("int8", "text")
    assert tower.lengths is None
    for length in (2, 5, CONTEXT):
        values = np.asarray([text(length)], np.int32)
        assert cosine(tower(values), expected("int8", "text", values)).min() > 0.9995
    for length in (1, CONTEXT + 1):
        with pytest.raises(UserError, match="takes the shape"):
            tower(np.full((1, length), EOS, np.int32))


def test_padding_behind_the_end_changes_nothing() -> None:
    tower, row = loaded("fp16", "text"), text(4, seed=2)
    short, long = (tower(np.asarray([row + [1] * extra], np.int32)) for extra in (0, CONTEXT - 4))
    np.testing.assert_allclose(short, long, atol=2e-3)


def test_batches_run_one_after_the_other() -> None:
    tower, values = loaded("fp16", "image"), inputs("image")
    np.testing.assert_array_equal(tower(values), np.concatenate([tower(one[None]) for one in values]))


def test_wrong_picture_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"takes the shape \[1, 3, 32, 32\], but got \[1, 3, 16, 16\]"):
        loaded("fp16", "image")(np.zeros((2, 3, 16, 16), np.float32))


def test_image_type_gives_what_a_tensor_does(tmp_path: Path) -> None:
    image_alone = replace(towers("vit"), text=MeanOfRows())
    export(image_alone, calibration(1), config("fp16", image_input="image"), tmp_path)
    picture, tensor = open_coreml(tmp_path / "image.fp16.mlpackage", 1), loaded("fp16", "image")
    assert isinstance(picture, CoremlTower)
    assert picture.input.image == "RGB"
    values = inputs("image")
    np.testing.assert_allclose(picture(values), tensor(values), atol=2e-3)
    swapped = np.ascontiguousarray(values[:, ::-1])
    assert np.abs(picture(swapped) - tensor(values)).max() > 1e-2, "the order of the channels does not matter"


def test_metadata_say_what_the_model_is() -> None:
    for name in SETTINGS:
        for tower, given in {"image": "pixel_values", "text": "input_ids"}.items():
            description = read_package(package(name, tower))[0].description
            about = description.metadata
            assert about.author.startswith("conaclip-edge")
            assert "manifest.json" in about.license
            assert about.versionString
            assert "tiny" in about.shortDescription
            assert "Unit vector [1, 16]" in description.output[0].shortDescription
            assert [feature.name for feature in (*description.input, *description.output)] == [given, "embedding"]
    said = [read_package(package(name, "text"))[0].description.input[0].shortDescription for name in ("fp16", "int8")]
    assert "one of 4, 8, 12" in said[0]
    assert "from 2 to 12" in said[1]
    assert "RGB picture" in read_package(package("w8a8", "image"))[0].description.input[0].shortDescription


def test_deployment_target_is_declared() -> None:
    assert {name: read_package(package(name, "image"))[0].specificationVersion for name in SETTINGS} == {
        "fp16": 8,
        "int8": 9,
        "w8a8": 8,
    }


def test_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    again = export(towers("mobile"), calibration(16), config("w8a8"), tmp_path)
    first, notes = exported("w8a8")
    for tower in ("image", "text"):
        one, two = (folder / f"{tower}.int8.mlpackage" for folder in (first, tmp_path))
        files = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
        assert files == sorted(file.relative_to(two) for file in two.rglob("*") if file.is_file())
        for file in files:
            assert (one / file).read_bytes() == (two / file).read_bytes(), file
        assert notes[tower] | {"seconds": 0} == again[tower] | {"seconds": 0}


def test_unsupported_precision_names_the_possible_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'coreml' has no precision 'fp32'\. Known: fp16, int8\."):
        export(towers("vit"), calibration(1), config("fp16", precision="fp32"), tmp_path)
    assert not list(tmp_path.iterdir())


class ZerosOfTwo(nn.Module):
    """A norm and a linear layer whose biases are zeros, which coremltools merges to one constant."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(128), nn.Linear(128, 128)
        nn.init.zeros_(self.linear.bias)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.norm(values) + self.linear(self.norm(values))


def test_a_constant_that_a_norm_shares_with_a_linear_layer_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model = convert(ZerosOfTwo().eval(), np.ones((1, 4, 128), np.float32), (1, 4, 128))
    found = [operation.type for operation in operations(int8_weights(model, frozenset()).get_spec())]
    assert found.count("constexpr_affine_dequantize") == 1
