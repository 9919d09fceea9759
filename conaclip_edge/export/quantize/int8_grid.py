"""Int8 as every target has it: weights symmetric with a scale for each output channel, activations asymmetric."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def weight_scale(weight: Tensor) -> Tensor:
    """Return the scale of each output channel [outputs, 1, ...]: the largest |weight| becomes 127."""
    largest = weight.detach().abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True)
    return torch.where(largest > 0, largest, torch.ones_like(largest)) / 127


def pair_scale(weight: Tensor) -> Tensor:
    """Return the scale of each output [outputs, 1] with which no x86 kernel saturates, for weights [outputs, inputs].

    Without VNNI, x86 multiplies uint8 activations by int8 weights two neighbours at a time into 16 bits:
    255 * (a + b) only fits if |a + b| is at most 128. A whole bit less for all weights, the usual cure, costs far more.
    """
    pairs = F.pad(weight.detach(), (0, weight.shape[1] % 2)).view(len(weight), -1, 2).sum(dim=2)
    return torch.maximum(weight_scale(weight), pairs.abs().amax(dim=1, keepdim=True) / 127.5)


def int8_values(weight: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Split a weight [outputs, ...] into int8 values of its shape and scales [outputs, 1, ...]."""
    scale = weight_scale(weight) if scale is None else scale
    return torch.round(weight.detach() / scale).clamp(-127, 127).to(torch.int8), scale


def round_weight(weight: Tensor) -> Tensor:
    """Round a weight [outputs, ...] to the values that int8 can hold."""
    values, scale = int8_values(weight)
    return values * scale


def round_activation(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Round activations to 256 steps from `low` to `high`, which are stretched to hold 0."""
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = torch.where(high > low, high - low, torch.ones_like(low)) / 255
    zero = torch.round(-low / scale)
    return (torch.clamp(torch.round(x / scale) + zero, 0, 255) - zero) * scale


def round_input(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Round a layer's input over the range of each sample; a hook to be run before the layer."""
    x, axes = inputs[0], tuple(range(1, inputs[0].dim()))
    return (round_activation(x, x.amin(dim=axes, keepdim=True), x.amax(dim=axes, keepdim=True)), *inputs[1:])
