"""A convolutional image tower on fixed 8-bit grids, which onnxruntime fuses to integer kernels from end to end.

Each tensor is quantised to its grid and read from there (QuantizeLinear, DequantizeLinear): accelerators of phones take
this form, and onnxruntime turns it into QLinearConv, QLinearAdd, QLinearGlobalAveragePool and QLinearMatMul in one
layout. ReLU6 is the end of a grid. Activations are unsigned: with signed ones onnxruntime leaves convolutions in float
on x86, while arm64 takes both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto
from torch import Tensor

from conaclip_edge.export.onnx.graph_builder import Graph, conv_attributes
from conaclip_edge.export.towers.on_grids import ConvOnGrids, Site, TowerOnGrids, on_grids
from conaclip_edge.export.towers.towers import MobileTower
from conaclip_edge.models.quantization.int8_weights import int8_values
from conaclip_edge.models.quantization.record import ActivationGrid


def static_image(graph: Graph, pixels: str, tower: MobileTower, grids: Mapping[str, ActivationGrid]) -> str:
    """Add an image tower on its grids; returns its embedding float32 [batch, d], not yet of length 1.

    Args:
        graph: under construction.
        pixels: name of pixel_values float32 [batch, 3, H, W] in [0, 1].
        tower: its weights are int8 values times the scale of their channel.
        grids: activation site -> grid, see `conaclip_edge.models.quantization.sites`.
    """
    plan, writer = on_grids(tower, grids), _Writer(graph)
    x = writer.convolution(writer.pixels(pixels, plan), plan.stem)
    for block in plan.blocks:
        y = x
        for layer in block.layers:
            y = writer.convolution(y, layer)
        x = writer.rounded(graph.add("Add", x, y), block.sum) if block.sum else y
    if plan.head is not None:
        x = writer.convolution(x, plan.head)
    x = writer.rounded(graph.add("GlobalAveragePool", x), plan.pooled)
    # rounded again, which changes nothing: so the product below finds its input on a grid
    x = writer.rounded(graph.add("Flatten", x), plan.pooled)
    product = graph.add("MatMul", x, writer.weight(plan.weight, plan.projection.name, transposed=True))
    return writer.rounded(product, plan.projection)


class _Writer:
    """Writes layers whose inputs and outputs stand on grids."""

    def __init__(self, graph: Graph):
        self._graph = graph

    def pixels(self, pixels: str, plan: TowerOnGrids) -> str:
        """Quantise pixels less the mean; without a subtraction where the grid's values are the pixels' own."""
        graph, site = self._graph, plan.pixels
        if not plan.reads_pixels:
            return self.rounded(graph.add("Sub", pixels, graph.constant("mean", plan.mean)), site)
        values = graph.add("QuantizeLinear", pixels, self._scale(site), self._zero_point(0))
        return str(graph.add("DequantizeLinear", values, *self._grid(site)))

    def rounded(self, x: str, site: Site) -> str:
        """Quantise a tensor to the grid of a site, and read it from there."""
        grid = self._grid(site)
        return str(self._graph.add("DequantizeLinear", self._graph.add("QuantizeLinear", x, *grid), *grid))

    def convolution(self, x: str, layer: ConvOnGrids) -> str:
        """Add a convolution; its bias is stored in two bytes where that loses nothing."""
        graph, name, values = self._graph, layer.name, layer.bias.numpy()
        half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            b = graph.add("Cast", graph.stored(f"{name}.b", half), to=TensorProto.FLOAT)
        else:
            b = graph.constant(f"{name}.b", layer.bias)
        y = graph.add("Conv", x, self.weight(layer.weight, name), b, **conv_attributes(layer.layer))
        return self.rounded(y, layer.outputs)

    def weight(self, weight: Tensor, name: str, transposed: bool = False) -> str:
        """Add a weight [outputs, ...], or the transposed one, with a scale for each output."""
        whole, scale = int8_values(weight)
        stored = self._graph.constant(f"{name}.w", whole.T if transposed else whole)
        scales = self._graph.constant(f"{name}.s", scale.flatten())
        # zero points are optional, but onnxruntime's precise mode for AVX2 fails where they are missing
        zeros = self._graph.stored(f"{name}.z", np.zeros(len(weight), np.int8))
        return str(self._graph.add("DequantizeLinear", stored, scales, zeros, axis=int(transposed)))

    def _grid(self, site: Site) -> tuple[str, str]:
        return self._scale(site), self._zero_point(site.grid.zero_point)

    def _scale(self, site: Site) -> str:
        return self._graph.constant(f"{site.name}.a", site.grid.scale)

    def _zero_point(self, value: int) -> str:
        return self._graph.stored(f"z{value}", np.asarray(value, np.uint8))
