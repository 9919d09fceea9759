"""A convolutional image tower on fixed 8-bit grids as a Core ML program: int8 from pixels to embedding.

Each layer is dequantize, conv, quantize: the form that Apple documents for the int8 products of its Neural Engine. How
that kernel adds and rounds is not documented, so the program is written to lose least in float16, as it is declared:
values between layers are whole steps, of scale 1, which float16 holds exactly up to 2048. What a step of the inputs is
in steps of the outputs stands in the scales of the weights. With the grids' own scales every value would be rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from conaclip_edge.export.towers.on_grids import BlockOnGrids, ConvOnGrids, Site, TowerOnGrids, on_grids
from conaclip_edge.export.towers.towers import MobileTower
from conaclip_edge.models.quantization.int8_weights import int8_values
from conaclip_edge.models.quantization.record import ActivationGrid
from conaclip_edge.runtime.mil.package import import_coremltools

_LOW = -128  # int8 as everywhere in Core ML; the grids of quantization.json are unsigned
_UNIT_STEP = 2.0**-8  # of the projection, whose scale its length takes away: a sum of squares stays below its width
_LEAST = 1e-6  # added to that sum; float16 has no 1e-12


def static_image(
    tower: MobileTower, grids: Mapping[str, ActivationGrid], size: int, names: tuple[str, str], deployment: str
) -> Any:
    """Return a MIL program of an image tower on its grids: pixels [1, 3, size, size] in [0, 1] to a unit vector [1, d].

    Args:
        tower: its weights are int8 values times the scale of their channel.
        grids: activation site -> grid, see `conaclip_edge.models.quantization.sites`.
        size: of the pictures.
        names: of input and output.
        deployment: minimum deployment target, e.g. "iOS17".
    """
    ct = import_coremltools()
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Program

    pixels, embedding = names
    program, target = Program(), getattr(ct.target, deployment)
    with Function({pixels: mb.TensorSpec((1, 3, size, size))}, opset_version=target) as function:
        given = mb.cast(x=function.inputs[pixels], dtype="fp16")
        unit = _Writer(mb).embedding(on_grids(tower, grids), given)
        function.set_outputs([mb.cast(x=unit, dtype="fp32", name=embedding)])
        program.add_function("main", function)
    return program


class _Writer:
    """Writes layers whose inputs and outputs are int8."""

    def __init__(self, mb: Any):
        self._mb = mb

    def embedding(self, plan: TowerOnGrids, pixels: Any) -> Any:
        """Write a tower that reads float16 pixels; returns its unit vector in float16."""
        mb = self._mb
        x = self._convolution(self._pixels(pixels, plan), plan.stem)
        for block in plan.blocks:
            y = x
            for layer in block.layers:
                y = self._convolution(y, layer)
            x = self._sum(x, y, block, block.sum) if block.sum else y
        if plan.head is not None:
            x = self._convolution(x, plan.head)
        mean = mb.reduce_mean(x=self._steps(x, plan.last), axes=[2, 3], keep_dims=False)
        x = self._rounded(mean, plan.pooled, plan.pooled.grid.scale / plan.last.grid.scale)
        weight = self._weight(plan.weight, plan.pooled, plan.projection)
        x = self._rounded(mb.linear(x=self._steps(x, plan.pooled), weight=weight), plan.projection)
        x = self._steps(x, plan.projection, _UNIT_STEP)
        squares = mb.reduce_sum(x=mb.mul(x=x, y=x), axes=[1], keep_dims=True)
        return mb.mul(x=x, y=mb.rsqrt(x=squares, epsilon=np.float16(_LEAST)))

    def _pixels(self, pixels: Any, plan: TowerOnGrids) -> Any:
        """Quantise pixels less the mean; without a subtraction where the grid's values are the pixels' own."""
        grid = plan.pixels.grid
        if plan.reads_pixels:
            return self._quantize(pixels, grid.scale, 0)
        centred = self._mb.sub(x=pixels, y=plan.mean.numpy().astype(np.float16))
        return self._quantize(centred, grid.scale, grid.zero_point)

    def _convolution(self, x: Any, source: ConvOnGrids) -> Any:
        conv, pad = source.layer.conv, source.layer.pad
        left, right, top, bottom = pad or (conv.padding[1], conv.padding[1], conv.padding[0], conv.padding[0])
        y = self._mb.conv(
            x=self._steps(x, source.inputs),
            weight=self._weight(source.weight, source.inputs, source.outputs),
            bias=(source.whole_bias / source.outputs.grid.scale).numpy().astype(np.float16),
            strides=list(conv.stride),
            pad_type="custom",
            pad=[top, bottom, left, right],
            groups=conv.groups,
        )
        return self._rounded(y, source.outputs)

    def _weight(self, weight: Tensor, inputs: Site, outputs: Site) -> Any:
        """Write a weight [outputs, ...] that maps steps of a grid to steps of another."""
        whole, scale = int8_values(weight)
        factor = scale.flatten() * (inputs.grid.scale / outputs.grid.scale)
        return self._mb.constexpr_affine_dequantize(
            quantized_data=whole.numpy(),
            zero_point=np.int8(0),
            scale=factor.numpy().astype(np.float16),
            axis=np.int32(0),
            name=f"{outputs.name.replace('.', '_')}_weight",
        )

    def _sum(self, x: Any, y: Any, block: BlockOnGrids, total: Site) -> Any:
        added = ((x, block.inputs), (y, block.layers[-1].outputs))
        parts = [self._steps(part, site, site.grid.scale / total.grid.scale) for part, site in added]
        return self._rounded(self._mb.add(x=parts[0], y=parts[1]), total)

    def _steps(self, x: Any, site: Site, scale: float = 1.0) -> Any:
        """Read int8 values of a site in float16, in steps of `scale` from the grid's zero."""
        zero_point = np.int8(site.grid.zero_point + _LOW)
        return self._mb.dequantize(input=x, scale=np.float16(scale), zero_point=zero_point)

    def _rounded(self, x: Any, site: Site, scale: float = 1.0) -> Any:
        """Quantise float16 values to the grid of a site, of which a step is `scale` of them."""
        return self._quantize(x, scale, site.grid.zero_point)

    def _quantize(self, x: Any, scale: float, zero_point: int) -> Any:
        return self._mb.quantize(
            input=x, scale=np.float16(scale), zero_point=np.int8(zero_point + _LOW), output_dtype="int8"
        )
