"""A block of an image transformer whose products are all of 8 bits, over ranges that were calibrated.

Rows between blocks, norms and softmax are float. GELU is x * sigmoid(1.702 x), whose sigmoid is a table of 256 entries.
The operators are onnxruntime's own, which its builds for phones have too. It would make them of standard ones, but not
where a range is signed, and with one more pass over the rows for each bias.

On x86 without VNNI a kernel adds two products of uint8 and int8 in 16 bits. Weights are scaled so that no such sum
overflows (`pair_scale`); keys and values, whose sums nothing bounds, have 7 bits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from conaclip_edge.export.onnx.graph_builder import CONTRIB, Graph, layer_norm
from conaclip_edge.export.quantize.int8_grid import pair_scale
from conaclip_edge.export.quantize.static_blocks import STEEPNESS, Ranges, gelu_range
from conaclip_edge.export.towers.layers import Block
from conaclip_edge.models.quantization.int8_weights import int8_values

Pool = Callable[[Graph, str], str]


class Grid:
    """256 values from `low` to `high`, which are stretched to hold 0; or 127 around 0 if `signed`."""

    def __init__(self, graph: Graph, site: str, low: float, high: float, signed: bool = False):
        low, high = min(low, 0.0), max(high, 1e-6)
        self._graph = graph
        self.step = float(np.float32(max(high, -low) / 63 if signed else (high - low) / 255))
        zero = np.int8(0) if signed else np.uint8(round(-low / self.step))
        self.scale = graph.constant(f"{site}.a", self.step)
        self.zero = graph.stored(f"{'i' if signed else 'u'}{zero}", np.asarray(zero))

    def quantised(self, x: str) -> str:
        """Add the quantisation of a float tensor."""
        return str(self._graph.add("QuantizeLinear", x, self.scale, self.zero))


def static_linear(graph: Graph, values: str, grid: Grid, layer: nn.Linear, name: str) -> str:
    """Add a linear layer to rows [..., inputs] on a grid; its result is float."""
    whole, steps = int8_values(layer.weight, pair_scale(layer.weight))
    weight, scales = graph.constant(f"{name}.w", whole.T), graph.constant(f"{name}.s", steps.flatten())
    bias = [] if layer.bias is None else ["", graph.constant(f"{name}.b", layer.bias)]
    inputs = values, weight, grid.scale, scales, grid.zero, *bias
    return str(graph.add("MatMulIntegerToFloat", *inputs, domain=CONTRIB))


def static_block(
    graph: Graph, x: str, block: nn.Module, name: str, ranges: Ranges, length: int, pool: Pool | None = None
) -> str:
    """Add a block to rows [batch, length, width]; with `pool` only the row that it picks is computed on.

    Args:
        graph: under construction.
        x: rows.
        block: centred, see `centred`.
        name: of the block, "blocks.3".
        ranges: activation site -> smallest and largest value.
        length: rows of a picture.
        pool: picks the row that a last block works for.
    """
    assert isinstance(block, Block)
    heads, width = block.heads, block.q.in_features
    count = 1 if pool else length

    def grid(part: str, signed: bool = False) -> Grid:
        return Grid(graph, f"{name}.{part}.y", *ranges[f"{name}.{part}"], signed)

    norm, q, k, v = grid("norm1"), grid("q"), grid("k", signed=True), grid("v", signed=True)
    softmax, mixed = grid("softmax"), grid("mixed")

    def split(part: str, own: Grid, rows: str, many: int, *order: int) -> str:
        layer = block.get_submodule(part)
        assert isinstance(layer, nn.Linear)
        values = own.quantised(static_linear(graph, rows, norm, layer, f"{name}.{part}"))
        parts = graph.add("Reshape", values, graph.shape(-1, many, heads, width // heads))
        return str(graph.add("Transpose", parts, perm=[0, *order]))

    rows = queries = norm.quantised(layer_norm(graph, x, block.norm1, f"{name}.norm1"))
    if pool is not None:
        x, queries = pool(graph, x), pool(graph, rows)
    factors = split("q", q, queries, count, 2, 1, 3), split("k", k, rows, length, 2, 3, 1)
    scores = graph.add("MatMulIntegerToFloat", *factors, q.scale, k.scale, q.zero, k.zero, domain=CONTRIB)
    shares = softmax.quantised(graph.add("Softmax", scores, axis=-1))
    values = split("v", v, rows, length, 2, 1, 3)
    y = _rounded_product(graph, shares, softmax, values, v, mixed)
    y = graph.add("Reshape", graph.add("Transpose", y, perm=[0, 2, 1, 3]), graph.shape(-1, count, width))
    x = graph.add("Add", x, static_linear(graph, y, mixed, block.o, f"{name}.o"))
    return str(graph.add("Add", x, _mlp(graph, x, block, name, ranges, count)))


def _rounded_product(graph: Graph, a: str, a_grid: Grid, b: str, b_grid: Grid, result: Grid) -> str:
    factors = a, a_grid.scale, a_grid.zero, b, b_grid.scale, b_grid.zero
    return str(graph.add("QLinearMatMul", *factors, result.scale, result.zero))


def _mlp(graph: Graph, x: str, block: Block, name: str, ranges: Ranges, count: int) -> str:
    norm = Grid(graph, f"{name}.norm2.y", *ranges[f"{name}.norm2"])
    hidden = Grid(graph, f"{name}.fc1.y", *gelu_range(ranges[f"{name}.fc1"]))
    share, act = Grid(graph, "share", 0.0, 1.0), Grid(graph, f"{name}.act.y", *ranges[f"{name}.act"])
    width, inner = block.fc2.out_features, block.fc1.out_features

    rows = norm.quantised(layer_norm(graph, x, block.norm2, f"{name}.norm2"))
    rows = graph.add("Reshape", rows, graph.shape(-1, width))
    whole, steps = int8_values(block.fc1.weight, pair_scale(block.fc1.weight))
    both = steps.flatten() * norm.step
    bias = (block.fc1.bias.double() / both).round().clamp(-(2**31), 2**31 - 1).to(torch.int32)
    y = graph.add(
        "QGemm",
        *(rows, norm.scale, norm.zero),
        graph.constant(f"{name}.fc1.w", whole.T),
        graph.constant(f"{name}.fc1.s", steps.flatten()),
        graph.stored(f"z{inner}", np.zeros(inner, np.int8)),
        graph.constant(f"{name}.fc1.b", bias),
        *(hidden.scale, hidden.zero),
        domain=CONTRIB,
    )
    steep = graph.constant(f"{name}.fc1.g", hidden.step * STEEPNESS)
    sigmoid = graph.add("QLinearSigmoid", y, steep, hidden.zero, share.scale, share.zero, domain=CONTRIB)
    factors = y, hidden.scale, hidden.zero, sigmoid, share.scale, share.zero
    y = graph.add("QLinearMul", *factors, act.scale, act.zero, domain=CONTRIB)
    return static_linear(graph, graph.add("Reshape", y, graph.shape(-1, count, inner)), act, block.fc2, f"{name}.fc2")
