"""Rounding a convolutional tower: int8 weights fitted layer by layer, float16 kernels that keep their sums."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.quantize.calibration import Calibration, make_calibration
from conaclip_edge.export.quantize.float16_kernels import carry, halve_kernels
from conaclip_edge.export.quantize.gptq_convolutions import reconstruct
from conaclip_edge.export.quantize.prepare import prepare
from conaclip_edge.export.towers.towers import Towers, build_towers
from conaclip_edge.models.quantization import gptq
from conaclip_edge.models.quantization.gptq import round_columns, to_half
from conaclip_edge.models.quantization.int8_weights import int8_values, round_weight
from tests.helpers.small_students import SIZE, STAGES, drawings, student

COUNT = 48


@functools.cache
def towers() -> Towers:
    return build_towers(student("mobile"), "tiny")


@functools.cache
def calibration() -> Calibration:
    return make_calibration(drawings(COUNT, seed=1).numpy(), [np.asarray([1, 40], np.int32)] * COUNT)


@functools.cache
def rounded(half: bool) -> Towers:
    return reconstruct(towers(), calibration(), half=half)


def layers(made: Towers) -> dict[str, nn.Conv2d | nn.Linear]:
    return {name: layer for name, layer in made.image.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def rounded_alone(change: Callable[[Tensor], Tensor]) -> nn.Module:
    """Return the image tower with each layer's weight changed by itself."""
    image = copy.deepcopy(towers().image)
    for layer in image.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.data = change(layer.weight.data)
    return image


def lost(image: nn.Module) -> float:
    """Return the mean of 1 - cosine to the float tower, over pictures that calibration has not seen."""
    pixels = drawings(32, seed=2) / 255.0
    with torch.no_grad():
        exact, found = towers().image(pixels).double(), image(pixels).double()
    return float(1 - F.cosine_similarity(exact, found).mean())


@pytest.mark.parametrize("half", [False, True])
def test_fitted_layers_lose_less_than_layers_rounded_to_the_nearest(half: bool) -> None:
    assert lost(rounded(half).image) < 0.5 * lost(rounded_alone(round_weight))


@pytest.mark.parametrize("half", [False, True])
def test_an_exporter_that_rounds_again_changes_no_weight(half: bool) -> None:
    for name, layer in layers(rounded(half)).items():
        again, bar = round_weight(layer.weight), 1e-3 if half else 1e-6
        torch.testing.assert_close(again, layer.weight, rtol=bar, atol=0, msg=name)


def test_with_half_weights_are_what_float16_makes_of_int8_values_and_their_scale() -> None:
    for name, layer in layers(rounded(True)).items():
        values, scale = int8_values(layer.weight)
        assert torch.equal(to_half(values * to_half(scale)), layer.weight.detach()), name


def test_a_channel_too_small_for_float16_scales_is_rounded_all_the_same() -> None:
    weight = torch.tensor([[[1e-9, -3e-10, 0.0], [0.5, -0.25, 0.1]]])
    made = round_columns(weight, torch.eye(3)[None], half=True)
    assert torch.isfinite(made).all()
    torch.testing.assert_close(made[0, 1], weight[0, 1], rtol=0, atol=0.5 / 127)


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Reconstruct, and return weight, inputs and outputs of each layer as it was fitted."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    fit = gptq.fit_rows

    def spy(weight: Tensor, inputs: Tensor, outputs: Tensor, half: bool) -> tuple[Tensor, Tensor]:
        seen.append((weight.clone(), inputs, outputs))
        return fit(weight, inputs, outputs, half)

    monkeypatch.setattr(gptq, "fit_rows", spy)
    reconstruct(towers(), calibration())
    return seen


def test_places_are_of_all_pictures_and_what_the_convolution_sees_there(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, inputs, outputs = spied(monkeypatch)[0]  # of the stem, whose inputs are the pictures themselves
    bias = towers().image.stem.conv.bias
    torch.testing.assert_close(inputs @ weight.transpose(1, 2) + bias, outputs, rtol=1e-4, atol=1e-4)
    assert inputs.shape[1] == max(gptq.LEAST, gptq.ROWS * 27)
    with_colour = (inputs[0] - inputs[0].amax(dim=0)).abs().amax(dim=1) > 1e-3
    assert 0.05 < with_colour.float().mean() < 0.95, "rectangles and background are both to be seen"


def test_places_stay_within_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gptq, "MOST", 60)
    counts = {inputs.shape[1] for _, inputs, _ in spied(monkeypatch)}
    assert counts == {60, COUNT}, "the projection is fitted to pictures, the convolutions to 60 places"


def test_layers_named_to_stay_float_keep_their_weights() -> None:
    kept = frozenset({"image.stem.conv", "image.projection"})
    made = layers(reconstruct(replace(towers(), float_layers=kept), calibration()))
    for name, layer in layers(towers()).items():
        assert torch.equal(made[name].weight, layer.weight) == (f"image.{name}" in kept), name


def test_with_half_a_layer_that_stays_float_keeps_its_kernels_sums() -> None:
    kept = frozenset({"image.stem.conv"})
    made = layers(reconstruct(replace(towers(), float_layers=kept), calibration(), half=True))
    assert torch.equal(made["stem.conv"].weight, layers(halve_kernels(towers()))["stem.conv"].weight)


def test_reconstruction_is_the_same_every_time() -> None:
    again = layers(reconstruct(towers(), calibration()))
    for name, layer in layers(rounded(False)).items():
        assert torch.equal(again[name].weight, layer.weight), name


def test_carried_rows_are_float16_and_keep_their_sums() -> None:
    weight = torch.randn(40, 25, generator=torch.Generator().manual_seed(0))
    made = carry(weight)
    assert torch.equal(to_half(made), made)
    torch.testing.assert_close(made, weight, rtol=0, atol=2**-10 * float(weight.abs().max()))
    off, off_rounded = (made.sum(1) - weight.sum(1)).abs(), (to_half(weight).sum(1) - weight.sum(1)).abs()
    assert off.mean() < 0.1 * off_rounded.mean()


def test_halved_kernels_answer_a_plain_background_as_float_ones() -> None:
    kernels = {name: layer for name, layer in layers(halve_kernels(towers())).items() if layer.weight[0, 0].numel() > 1}
    exact = layers(towers())
    assert len(kernels) == 1 + sum(count for _, _, count, _, _ in STAGES)
    for name, layer in kernels.items():
        plain, nearest = exact[name].weight.sum((1, 2, 3)), to_half(exact[name].weight).sum((1, 2, 3))
        assert (layer.weight.sum((1, 2, 3)) - plain).abs().mean() < 0.5 * (nearest - plain).abs().mean(), name


def test_a_tower_of_transformer_blocks_is_left_as_it_is() -> None:
    vit = build_towers(student("vit"), "tiny")
    assert halve_kernels(vit) is vit
    assert reconstruct(vit, calibration()) is vit


def are_float16(made: Towers) -> bool:
    return all(torch.equal(to_half(layer.weight), layer.weight) for layer in layers(made).values())


@pytest.mark.parametrize(
    ("target", "backend", "computes_in_float16"),
    [
        ("coreml", "xnnpack", True),
        ("executorch", "coreml", True),
        ("executorch", "xnnpack", False),
        ("onnx", "xnnpack", False),
    ],
)
def test_int8_weights_are_rounded_to_float16_only_for_core_ml(
    target: str, backend: str, computes_in_float16: bool
) -> None:
    config = ExportConfig(target=target, backend=backend)  # type: ignore[arg-type]
    assert are_float16(prepare(towers(), calibration(), config)) == computes_in_float16


@pytest.mark.parametrize("target", ["coreml", "onnx"])
def test_fp16_exports_need_no_pairs_and_keep_kernel_sums(target: str) -> None:
    nothing = make_calibration(np.zeros((0, 3, SIZE, SIZE), np.uint8), [])
    config = ExportConfig(target=target, precision="fp16")  # type: ignore[arg-type]
    made, expected = layers(prepare(towers(), nothing, config)), layers(halve_kernels(towers()))
    for name, layer in made.items():
        assert torch.equal(layer.weight, expected[name].weight), name
