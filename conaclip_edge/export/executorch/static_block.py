"""A block of an image transformer as XNNPACK runs it in int8 throughout, over ranges that were calibrated.

Rows between blocks, norms and softmax are float. GELU is a table of 256 entries, which XNNPACK makes itself.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.export.executorch.grids import Grid
from conaclip_edge.export.executorch.xnnpack_modules import Int8Weight, ProductNorm
from conaclip_edge.export.quantize.static_blocks import SIGNED, XNNPACK, Ranges, gelu_range
from conaclip_edge.export.towers.layers import Block, Pool
from conaclip_edge.models.quantization.record import ActivationGrid


class StaticBlock(nn.Module):
    """A block whose products are all of 8 bits.

    Args:
        block: centred, see `centred`.
        name: of the block, "blocks.3".
        ranges: activation site -> smallest and largest value.
    """

    def __init__(self, block: Block, name: str, ranges: Ranges):
        super().__init__()
        self.heads = block.heads
        limits = {part: ranges[f"{name}.{part}"] for part in XNNPACK.sites}
        limits["fc1"] = gelu_range(limits["fc1"])
        self.grids = {part: _grid(*limits[part], signed=part in SIGNED) for part in limits}
        self.norm1, self.norm2 = ProductNorm(block.norm1), ProductNorm(block.norm2)
        self.softmax, self.act = block.softmax, block.act

        def linear(part: str, inputs: str) -> _StaticLinear:
            layer = block.get_submodule(part)
            assert isinstance(layer, nn.Linear)
            return _StaticLinear(layer, self.grids[inputs], self.grids[part])

        self.q, self.k, self.v = (linear(part, "norm1") for part in "qkv")
        self.o = linear("o", "mixed")
        self.fc1, self.fc2 = linear("fc1", "norm2"), linear("fc2", "act")

    def forward(self, x: Tensor, pool: Pool | None = None) -> Tensor:
        """Map rows [B, L, width] to rows of the same shape, or only to the pooled one [B, 1, width]."""
        grids = self.grids
        rows = queries = grids["norm1"].whole(self.norm1(x))
        if pool is not None:
            x, queries = pool(x), grids["norm1"].moved(rows, pool)
        x = x + grids["o"].real(self.o(self._attend(queries, rows)))
        hidden = grids["act"].whole(self.act(grids["fc1"].real(self.fc1(grids["norm2"].whole(self.norm2(x))))))
        return x + grids["fc2"].real(self.fc2(hidden))

    def _attend(self, queries: Tensor, rows: Tensor) -> Tensor:
        q, k, v = self._split("q", queries, 2, 1, 3), self._split("k", rows, 2, 3, 1), self._split("v", rows, 2, 1, 3)
        scores = self._product("q", q, "k", k, "scores")
        shares = self.grids["softmax"].whole(self.softmax(self.grids["scores"].real(scores)))
        mixed, grid = self._product("softmax", shares, "v", v, "mixed"), self.grids["mixed"]
        batch, each = len(rows), mixed.shape[-1]
        mixed = grid.moved(mixed, lambda x: x.view(batch, self.heads, -1, each))
        mixed = grid.moved(mixed, lambda x: x.transpose(1, 2).contiguous())
        return grid.moved(mixed, lambda x: x.view(batch, -1, self.heads * each))

    def _split(self, part: str, rows: Tensor, *order: int) -> Tensor:
        """Compute queries, keys or values and lay each head's side by side, [B * heads, ...]."""
        grid, batch = self.grids[part], len(rows)
        x = self.get_submodule(part)(rows)
        x = grid.moved(x, lambda x: x.view(batch, -1, self.heads, x.shape[-1] // self.heads))
        x = grid.moved(x, lambda x: x.permute(0, *order).contiguous())
        return grid.moved(x, lambda x: x.view(batch * self.heads, *x.shape[2:]))

    def _product(self, a: str, x: Tensor, b: str, y: Tensor, result: str) -> Tensor:
        return self.grids[result].whole(torch.bmm(self.grids[a].real(x), self.grids[b].real(y)))


class _StaticLinear(nn.Module):
    """A linear layer between two grids."""

    def __init__(self, layer: nn.Linear, inputs: Grid, outputs: Grid):
        super().__init__()
        self.weight = Int8Weight(layer.weight)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        self.inputs, self.outputs = inputs, outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map int8 rows [..., inputs] to int8 rows [..., outputs]."""
        return self.outputs.whole(F.linear(self.inputs.real(x), self.weight(), self.bias))


def _grid(low: float, high: float, signed: bool) -> Grid:
    """Return 256 values from `low` to `high`, which are stretched to hold 0; or as many around 0 if `signed`."""
    low, high = min(low, 0.0), max(high, 1e-6)
    scale = float(np.float32(max(high, -low) / XNNPACK.most if signed else (high - low) / 255))
    return Grid(ActivationGrid(scale=scale, zero_point=128 if signed else round(-low / scale)))
