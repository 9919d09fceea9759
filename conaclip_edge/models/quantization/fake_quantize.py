"""Rounding to int8 while training: the values are rounded, the gradients pass as if they were not.

Straight-through estimator (Bengio et al., arXiv 1308.3432); outside a grid's range the gradient is zero. torch's own
`fake_quantize_per_tensor_affine` takes twelve times as long on a CPU: it rounds number by number.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from conaclip_edge.models.quantization.int8_weights import round_weight
from conaclip_edge.models.quantization.record import ActivationGrid

STEPS = 255  # between the smallest and the largest value of a grid


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, zero_point: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.range = -zero_point * scale, (STEPS - zero_point) * scale
        return torch.div(x, scale).round_().clamp_(-zero_point, STEPS - zero_point).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradients[0], x, *ctx.range), None, None


class _Weight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return round_weight(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def fake_quantized_weight(weight: Tensor) -> Tensor:
    """Round a weight [outputs, ...] to its int8 values; gradients pass unchanged."""
    rounded: Tensor = _Weight.apply(weight)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return rounded


class FakeQuantize(nn.Module):
    """Rounds activations of any shape to the 256 values of a grid, which stands still while the weights learn."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero_point", torch.zeros((), dtype=torch.int64))

    @property
    def grid(self) -> ActivationGrid:
        """The grid as quantization.json holds it."""
        return ActivationGrid(scale=float(self.scale), zero_point=int(self.zero_point))

    @grid.setter
    def grid(self, grid: ActivationGrid) -> None:
        self.scale.fill_(grid.scale)
        self.zero_point.fill_(grid.zero_point)

    def forward(self, x: Tensor) -> Tensor:
        """Map activations to the nearest values of the grid."""
        rounded: Tensor = _Activation.apply(  # type: ignore[no-untyped-call]  # torch leaves apply untyped
            x, float(self.scale), int(self.zero_point)
        )
        return rounded
