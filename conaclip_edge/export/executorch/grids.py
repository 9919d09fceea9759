"""Fixed 8-bit grids as XNNPACK takes them: what is computed with real numbers between two of them runs in int8.

Values between layers are int8 tensors: each reader turns them into floats for itself. Where two readers share that, the
partitioner cannot cut them out and reports a cycle.
"""

from __future__ import annotations

from collections.abc import Callable

import executorch.exir  # noqa: F401  # registers the ops of torch.ops.quantized_decomposed
import torch
from torch import Tensor

from conaclip_edge.models.quantization.record import ActivationGrid

_LOW, _HIGH = -128, 127  # XNNPACK computes with signed activations; the grids of quantization.json are unsigned


class Grid:
    """A grid in both directions: numbers to int8, and back.

    The numbers are real ones, or count steps of the grid.

    Attributes:
        unit: the real number that 1 stands for.
    """

    def __init__(self, grid: ActivationGrid, in_steps: bool = False):
        self._scale, self._zero_point = 1.0 if in_steps else grid.scale, grid.zero_point + _LOW
        self.unit = grid.scale if in_steps else 1.0

    def whole(self, x: Tensor) -> Tensor:
        """Round numbers to int8."""
        made: Tensor = torch.ops.quantized_decomposed.quantize_per_tensor(
            x, self._scale, self._zero_point, _LOW, _HIGH, torch.int8
        )
        return made

    def real(self, x: Tensor) -> Tensor:
        """Return the numbers that int8 values stand for."""
        made: Tensor = torch.ops.quantized_decomposed.dequantize_per_tensor(
            x, self._scale, self._zero_point, _LOW, _HIGH, torch.int8
        )
        return made

    def moved(self, x: Tensor, move: Callable[[Tensor], Tensor]) -> Tensor:
        """Reorder int8 values, which stay int8."""
        return self.whole(move(self.real(x)))
