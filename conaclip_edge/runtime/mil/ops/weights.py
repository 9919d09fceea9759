"""Core ML ops of quantised programs: weights that are unpacked once, and (de)quantised activations.

Every function takes the op's inputs under their MIL names; integers of all widths come as int32 tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Kernel = Callable[..., Any]

_RANGE = {"int8": (-128, 127), "uint8": (0, 255)}


def _along(parameter: Tensor, data: Tensor, axis: Tensor | None) -> Tensor:
    """Shape a scale or zero point, which is a scalar or a vector along `axis`, so that it broadcasts over `data`."""
    if parameter.ndim == 0 or axis is None:
        return parameter
    shape = [1] * data.ndim
    shape[int(axis)] = -1
    return parameter.reshape(shape)


def _quantize(
    input: Tensor, scale: Tensor, output_dtype: str, zero_point: Tensor | None = None, axis: Tensor | None = None
) -> Tensor:
    level = torch.round(input / _along(scale, input, axis))
    if zero_point is not None:
        level = level + _along(zero_point, input, axis)
    return torch.clamp(level, *_RANGE[output_dtype])


def _dequantize(input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: Tensor | None = None) -> Tensor:
    level = input if zero_point is None else input - _along(zero_point, input, axis)
    return level.float() * _along(scale, input, axis)


def _affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor) -> Tensor:
    return _dequantize(quantized_data, scale, zero_point, axis)


def _blocks(parameter: Tensor, shape: torch.Size) -> Tensor:
    """Repeat each entry of a block-wise parameter over its block, so that it has the given shape."""
    for dim, size in enumerate(shape):
        parameter = parameter.repeat_interleave(size // parameter.shape[dim], dim)
    return parameter


def _blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    level = data.float() if offset is None else data.float() - _blocks(offset, data.shape)
    return level * _blocks(scale, data.shape)


def _constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    return source_val


def _bits(packed: Tensor, width: int, count: int) -> Tensor:
    """Read `count` unsigned numbers of `width` bits from bytes, the least significant bit first."""
    bits = (packed.reshape(-1, 1) >> torch.arange(8)) & 1
    numbers = bits.reshape(-1)[: width * count].reshape(count, width)
    return (numbers << torch.arange(width)).sum(1)


def _lut_to_dense(
    indices: Tensor, lut: Tensor, shape: Tensor | None = None, vector_axis: Tensor | None = None
) -> Tensor:
    if shape is not None:  # before iOS 18: one table, packed indices
        size = [int(dim) for dim in shape]
        width = lut.numel().bit_length() - 1
        return lut[_bits(indices, width, int(shape.prod()))].reshape(size)
    groups = torch.meshgrid(
        *(torch.arange(size) * lut.shape[dim] // size for dim, size in enumerate(indices.shape)), indexing="ij"
    )
    picked = lut[(*groups, indices.long())]
    if vector_axis is None:
        return picked.squeeze(-1)
    axis = int(vector_axis) % indices.ndim
    return picked.movedim(-1, axis + 1).flatten(axis, axis + 1)


def _sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: Tensor | None = None) -> Tensor:
    if shape is not None:  # before iOS 18: the mask is packed
        mask = _bits(mask, 1, int(shape.prod())).reshape([int(dim) for dim in shape])
    dense = torch.zeros(mask.shape, dtype=nonzero_data.dtype)
    dense[mask != 0] = nonzero_data
    return dense


WEIGHTS: dict[str, Kernel] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _constexpr_cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_sparse_to_dense": _sparse_to_dense,
    "dequantize": _dequantize,
    "quantize": _quantize,
}
