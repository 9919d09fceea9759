"""Int8 weights as every target has them: symmetric, with a scale for each output channel."""

from __future__ import annotations

import torch
from torch import Tensor


def weight_scale(weight: Tensor) -> Tensor:
    """Return the scale of each output channel [outputs, 1, ...]: the largest |weight| becomes 127."""
    largest = weight.detach().abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True)
    return torch.where(largest > 0, largest, torch.ones_like(largest)) / 127


def int8_values(weight: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Split a weight [outputs, ...] into int8 values of its shape and scales [outputs, 1, ...]."""
    scale = weight_scale(weight) if scale is None else scale
    return torch.round(weight.detach() / scale).clamp(-127, 127).to(torch.int8), scale


def round_weight(weight: Tensor) -> Tensor:
    """Round a weight [outputs, ...] to the values that int8 can hold."""
    values, scale = int8_values(weight)
    return values * scale
