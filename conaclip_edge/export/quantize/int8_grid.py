"""Int8 of the exporters: weights that x86 does not saturate, and activations, which are asymmetric."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.models.quantization.int8_weights import weight_scale


def pair_scale(weight: Tensor) -> Tensor:
    """Return the scale of each output [outputs, 1] with which no x86 kernel saturates, for weights [outputs, inputs].

    Without VNNI, x86 multiplies uint8 activations by int8 weights two neighbours at a time into 16 bits:
    255 * (a + b) only fits if |a + b| is at most 128. A whole bit less for all weights, the usual cure, costs far more.
    """
    pairs = F.pad(weight.detach(), (0, weight.shape[1] % 2)).view(len(weight), -1, 2).sum(dim=2)
    return torch.maximum(weight_scale(weight), pairs.abs().amax(dim=1, keepdim=True) / 127.5)


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
