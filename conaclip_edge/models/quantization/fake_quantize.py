"""Rounding to int8 while training: the values are rounded, the gradients pass as if they were not.

Activations are counted in steps of their grids: whole numbers in float32, whose products and sums are exact below 2^24
whatever their order, as the int32 of a kernel. Straight-through estimator (Bengio et al., arXiv 1308.3432); beyond a
grid's range the gradient is zero. torch's own `fake_quantize_per_tensor_affine` takes twelve times as long on a CPU: it
rounds number by number.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from conaclip_edge.models.quantization.int8_weights import weight_scale
from conaclip_edge.models.quantization.record import ActivationGrid

STEPS = 255  # between the smallest and the largest value of a grid


class _Clamped(torch.autograd.Function):
    """round(sums * factor), kept within a grid."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, factor: Tensor, zero_point: int) -> Tensor:
        exact = sums * factor
        ctx.save_for_backward(exact, factor)
        ctx.range = -zero_point, STEPS - zero_point
        return exact.round().clamp_(*ctx.range)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        exact, factor = ctx.saved_tensors
        within: Tensor = torch.ops.aten.hardtanh_backward(gradients[0], exact, *ctx.range)
        return within.mul_(factor), None, None


class _Whole(torch.autograd.Function):
    """round(x / scale)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return torch.div(x, scale).round_()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (scale,) = ctx.saved_tensors
        return gradients[0] / scale, None


def whole(x: Tensor, scale: Tensor) -> Tensor:
    """Count `x` in whole steps of `scale`, halves to even; gradients pass as if nothing were rounded."""
    rounded: Tensor = _Whole.apply(x, scale)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return rounded


def whole_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a weight [outputs, ...] in whole steps from -127 to 127, and the step of each output channel [outputs]."""
    scale = weight_scale(weight)
    return whole(weight, scale), scale.flatten()


class FakeQuantize(nn.Module):
    """Rounds activations to the 256 values of a grid, which stands still while the weights learn."""

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

    def forward(self, sums: Tensor, factor: Tensor) -> Tensor:
        """Map sums of any shape to steps of the grid from its zero: round(sums * factor), kept within the grid.

        Args:
            sums: what the layer adds up.
            factor: steps of the grid that one of them is; a number, or one for each channel of `sums`.
        """
        steps: Tensor = _Clamped.apply(  # type: ignore[no-untyped-call]  # torch leaves apply untyped
            sums, factor, int(self.zero_point)
        )
        return steps

    def rounded(self, x: Tensor) -> Tensor:
        """Map activations to the nearest values of the grid."""
        steps: Tensor = self(x / self.scale, torch.ones_like(self.scale))
        return steps * self.scale
