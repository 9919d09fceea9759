"""Compressed Core ML programs against towers whose weights and activations are rounded in torch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conaclip_edge.runtime.mil.program import MilProgram
from tests.helpers.coreml_programs import (
    converted,
    image_tower,
    int8_weights,
    package,
    pictures,
    run_torch,
    save,
    text_tower,
    texts,
    w8a8,
    worst_cosine,
)


def rounded_weights(tower: nn.Module, dtype: type[np.floating[Any]] = np.float32) -> nn.Module:
    """Round every matrix, kernel and table of a tower to int8 with a scale for each row, in the given arithmetic."""
    tower = copy.deepcopy(tower)
    for module in tower.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding)):
            rows = module.weight.data.flatten(1).numpy().astype(dtype)
            scale = (np.abs(rows).max(1, keepdims=True) / dtype(127)).astype(dtype)
            level = np.rint(rows / scale).clip(-127, 127)
            rounded = (level.astype(np.float32) * scale.astype(np.float32)).astype(dtype)
            module.weight.data = torch.from_numpy(rounded.astype(np.float32)).reshape(module.weight.shape)
    return tower


def test_int8_weights_of_an_ios18_program_are_unpacked_by_row(tmp_path: Path) -> None:
    program = MilProgram(save(int8_weights(converted("image fp32")), tmp_path / "image.mlpackage"))
    x = pictures(1)
    got = program({"pixel_values": x})["embedding"]
    np.testing.assert_allclose(got, run_torch(rounded_weights(image_tower()), x), atol=2e-6)
    assert np.abs(got - run_torch(image_tower(), x)).max() > 1e-3, "the weights are not rounded at all"


def test_int8_weights_of_an_ios17_program_are_unpacked_by_row(tmp_path: Path) -> None:
    program = MilProgram(save(int8_weights(converted("text fp16")), tmp_path / "text.mlpackage"))
    ids = texts(4, 12)
    got, float_result = program({"input_ids": ids})["embedding"], run_torch(text_tower(), ids)
    from_int8 = run_torch(rounded_weights(text_tower(), np.float16), ids)
    assert np.abs(got - from_int8).mean() < 0.25 * np.abs(got - float_result).mean()
    assert worst_cosine(got, float_result) > 0.9999


@pytest.mark.parametrize("kind", ["int4 blocks", "4-bit palette"])
def test_other_compressed_weights_are_unpacked(kind: str, tmp_path: Path) -> None:
    from coremltools.optimize import coreml as cto

    model = converted("image fp32")
    if kind == "int4 blocks":
        settings = cto.OpLinearQuantizerConfig(
            mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=16, weight_threshold=0
        )
        small = cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=settings))
    else:
        settings = cto.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=0)
        small = cto.palettize_weights(model, cto.OptimizationConfig(global_config=settings))
    x = pictures(1)
    got = MilProgram(save(small, tmp_path / "small.mlpackage"))({"pixel_values": x})["embedding"]
    error = np.abs(got - run_torch(image_tower(), x)).max()
    unpacked = cto.decompress_weights(small)
    plain = MilProgram(save(unpacked, tmp_path / "plain.mlpackage"))({"pixel_values": x})["embedding"]
    np.testing.assert_allclose(got, plain, atol=1e-5)
    assert error > 1e-3, "the weights are not compressed at all"


def rounded_activations(tower: nn.Module, batches: list[np.ndarray]) -> nn.Module:
    """Round weights and, to 256 levels over the range seen in `batches`, the inputs of linear and conv layers."""
    ranges: dict[nn.Module, tuple[float, float]] = {}

    def watch(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        low, high = ranges.get(module, (0.0, 0.0))
        ranges[module] = (min(low, float(inputs[0].min())), max(high, float(inputs[0].max())))

    layers = [module for module in tower.modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    hooks = [layer.register_forward_pre_hook(watch) for layer in layers]
    for batch in batches:
        run_torch(tower, batch)
    for hook in hooks:
        hook.remove()

    def round_input(layer: nn.Module, low: float, high: float) -> None:
        least, most = np.float16(low), np.float16(high)  # coremltools keeps ranges in half precision
        scale = float((most - least) / np.float16(255))
        zero = round(-128 - float(least) * 255 / (float(most) - float(least)))

        def quantised(module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            return ((torch.clamp(torch.round(inputs[0] / scale) + zero, -128, 127) - zero) * scale,)

        layer.register_forward_pre_hook(quantised)

    coarse = rounded_weights(tower)
    twins = dict(zip(tower.modules(), coarse.modules(), strict=True))
    for layer in layers:
        round_input(twins[layer], *ranges[layer])
    return coarse


def test_w8a8_program_rounds_activations_as_declared(tmp_path: Path) -> None:
    batches = [pictures(1, seed) for seed in range(3)]
    small = w8a8(package("image fp32"), [{"pixel_values": one} for one in batches])
    program = MilProgram(save(small, tmp_path / "w8a8.mlpackage"))
    got = program({"pixel_values": batches[0]})["embedding"]
    expected = run_torch(rounded_activations(image_tower(), batches), batches[0])
    only_weights = run_torch(rounded_weights(image_tower()), batches[0])
    assert np.abs(got - expected).mean() < 0.05 * np.abs(got - only_weights).mean()
    assert worst_cosine(got, run_torch(image_tower(), batches[0])) > 0.999


def test_half_precision_w8a8_program_stays_near_its_tower(tmp_path: Path) -> None:
    batches = [texts(4, 12, seed) for seed in range(3)]
    small = w8a8(package("text fp16"), [{"input_ids": one} for one in batches])
    program = MilProgram(save(small, tmp_path / "w8a8.mlpackage"))
    got, exact = program({"input_ids": batches[0]})["embedding"], run_torch(text_tower(), batches[0])
    assert 0.999 < worst_cosine(got, exact) < 0.99999
    assert worst_cosine(got, run_torch(rounded_activations(text_tower(), batches), batches[0])) > 0.999
