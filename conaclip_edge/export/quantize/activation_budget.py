"""Which layers may compute with int8 activations: those that change the embedding least, within a budget.

The first layers of a convolutional tower see few channels and no norm mends what their rounding loses; the late ones,
which hold most weights and most work, hardly notice it. So each layer's activations are rounded alone, and layers are
taken from the least harmful up to a total quantisation error. Weights are int8 either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from conaclip_edge.export.quantize.calibration import Calibration
from conaclip_edge.export.quantize.int8_grid import round_activation, round_input
from conaclip_edge.export.quantize.sensitivity import int8_layers
from conaclip_edge.export.towers.layers import TokenTable
from conaclip_edge.export.towers.towers import OtherImageTower, Towers

# total of 1 - cosine that rounding activations may cost a tower; Core ML's float16 has cost something already
XNNPACK_BUDGET = 3e-4
COREML_BUDGET = 1e-4
# how far a fixed range goes beyond what calibration saw: people type what no caption says
ROOM = {"image": 1.0, "text": 1.25}
SAMPLES = 32  # pictures or texts that the quantisation error is measured on


@dataclass(frozen=True)
class Activation:
    """How a layer with int8 weights computes with its input.

    Attributes:
        kind: "float"; "dynamic": int8 over the range that the input has; "static": int8 over calibrated ranges.
        inputs: static: smallest and largest input.
        outputs: static: smallest and largest output, after ReLU6; None where they stay float.
    """

    kind: Literal["float", "dynamic", "static"]
    inputs: tuple[float, float] = (0.0, 0.0)
    outputs: tuple[float, float] | None = None


@torch.no_grad()
def choose_activations(
    towers: Towers, name: str, calibration: Calibration, budget: float = XNNPACK_BUDGET
) -> dict[str, Activation]:
    """Return layer -> activation for the layers of a tower that are int8 in XNNPACK.

    Linear layers and 1x1 convolutions are dynamic, or float beyond the budget. Depthwise convolutions are static, or
    left out (float weights too, of which they have few): XNNPACK has no int8 weights on float pixels for them. The stem
    is left out.

    Args:
        towers: rounded towers.
        name: "image" or "text".
        calibration: train pairs.
        budget: total of 1 - cosine that the rounding may cost.
    """
    tower = towers[name]
    layers = {layer_name: tower.get_submodule(layer_name) for layer_name in int8_layers(towers, name)}
    options = {layer_name: option for layer_name, layer in layers.items() if (option := _option(layer)) is not None}
    if isinstance(tower, OtherImageTower):
        # XNNPACK of ExecuTorch 1.4 does not run such a convolution behind what normalises the pixels there
        options = {key: option for key, option in options.items() if not _is_patches(layers[key])}
    depthwise = [layer_name for layer_name, option in options.items() if option.kind == "static"]
    options |= _calibrated(tower, depthwise, calibration.batches(name))
    harmless = _harmless(tower, options, list(calibration.batches(name, SAMPLES)), budget)
    floats = {layer_name: Activation("float") for layer_name, layer in layers.items() if _has_float_form(layer)}
    return floats | {layer_name: options[layer_name] for layer_name in harmless}


@torch.no_grad()
def harmless_inputs(
    towers: Towers, name: str, calibration: Calibration, budget: float = COREML_BUDGET
) -> frozenset[str]:
    """Return the layers of a tower whose inputs may be int8 at calibrated ranges, as Core ML has them.

    Args:
        towers: rounded towers.
        name: "image" or "text".
        calibration: train pairs.
        budget: total of 1 - cosine that the rounding may cost.
    """
    tower = towers[name]
    names = [layer for layer in int8_layers(towers, name) if not isinstance(tower.get_submodule(layer), TokenTable)]
    ranges = _calibrated(tower, names, calibration.batches(name))
    options = {layer: Activation("static", _wider(ranges[layer].inputs, ROOM[name])) for layer in names}
    return frozenset(_harmless(tower, options, list(calibration.batches(name, SAMPLES)), budget))


def _wider(limits: tuple[float, float], room: float) -> tuple[float, float]:
    low, high = limits
    return room * low, room * high


def _harmless(tower: nn.Module, options: dict[str, Activation], batches: list[Tensor], budget: float) -> list[str]:
    """Return the layers whose activations may be rounded: all, or from the least harmful up to the budget."""
    exact = torch.cat([tower(batch) for batch in batches])
    if _quantisation_error(tower, options, batches, exact) <= budget:
        return list(options)  # most transformers: one pass instead of one per layer
    errors = {
        layer_name: _quantisation_error(tower, {layer_name: option}, batches, exact)
        for layer_name, option in options.items()
    }
    order = sorted(options, key=lambda layer_name: (errors[layer_name], layer_name))
    totals = accumulate(errors[layer_name] for layer_name in order)
    return [layer_name for layer_name, total in zip(order, totals, strict=True) if total <= budget]


def _has_float_form(layer: nn.Module) -> bool:
    """Say whether XNNPACK takes int8 weights of a layer beside float activations."""
    return isinstance(layer, TokenTable) or _is_linear(layer)


def _option(layer: nn.Module) -> Activation | None:
    """Return the int8 activation that XNNPACK has for a layer."""
    if _is_linear(layer):
        return Activation("dynamic")
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        return Activation("static")
    # a stem, whose windows overlap, has too few weights to matter
    return Activation("dynamic") if _is_patches(layer) else None


def _is_patches(layer: nn.Module) -> bool:
    """Say whether a layer embeds patches that lie side by side."""
    return isinstance(layer, nn.Conv2d) and layer.kernel_size == layer.stride and layer.kernel_size != (1, 1)


def _is_linear(layer: nn.Module) -> bool:
    """Say whether a layer is a product of each row, or of the channels of each pixel, with a matrix."""
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == layer.stride == (1, 1) and layer.groups == 1 and layer.padding == (0, 0)
    return isinstance(layer, nn.Linear)


def _calibrated(tower: nn.Module, names: list[str], batches: Iterable[Tensor]) -> dict[str, Activation]:
    """Return the ranges of depthwise convolutions over the calibration set, ReLU6 included."""
    seen: dict[str, list[float]] = {}

    def recorder(layer_name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0]
            now = [float(x.min()), float(x.max()), float(output.min()), float(output.max())]
            before = seen.get(layer_name, now)
            seen[layer_name] = [
                min(before[0], now[0]),
                max(before[1], now[1]),
                min(before[2], now[2]),
                max(before[3], now[3]),
            ]

        return record

    hooks = [_whole(tower, layer_name).register_forward_hook(recorder(layer_name)) for layer_name in names]
    if hooks:
        for batch in batches:
            tower(batch)
    for hook in hooks:
        hook.remove()
    return {layer_name: Activation("static", (a, b), (c, d)) for layer_name, (a, b, c, d) in seen.items()}


def _whole(tower: nn.Module, layer_name: str) -> nn.Module:
    """Return a convolution with its padding and ReLU6."""
    return tower.get_submodule(layer_name.removesuffix(".conv"))


def _quantisation_error(
    tower: nn.Module, options: dict[str, Activation], batches: list[Tensor], exact: Tensor
) -> float:
    """Return the mean of 1 - cosine when only the activations of some layers are rounded."""
    hooks = [hook for layer_name, option in options.items() for hook in _rounding(tower, layer_name, option)]
    changed = torch.cat([tower(batch) for batch in batches])
    for hook in hooks:
        hook.remove()
    return float(1 - F.cosine_similarity(exact.double(), changed.double()).mean())


def _rounding(tower: nn.Module, layer_name: str, option: Activation) -> list[RemovableHandle]:
    """Round the activations of one layer until the hooks are removed."""
    if option.kind != "static":
        return [tower.get_submodule(layer_name).register_forward_pre_hook(round_input)]
    layer = _whole(tower, layer_name)
    hooks = [layer.register_forward_pre_hook(_round_inputs(*map(torch.tensor, option.inputs)))]
    if option.outputs:
        low, high = map(torch.tensor, option.outputs)
        hooks.append(layer.register_forward_hook(lambda _, __, y: round_activation(y, low, high)))
    return hooks


def _round_inputs(low: Tensor, high: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    return lambda _, inputs: (round_activation(inputs[0], low, high), *inputs[1:])
