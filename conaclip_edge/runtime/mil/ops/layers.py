"""Core ML ops that stand for whole layers: linear, convolution, attention, normalisation, pooling.

Every function takes the op's inputs under their MIL names, as float32 or int32 tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Kernel = Callable[..., Any]

_CONV: dict[int, Kernel] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_AVG_POOL: dict[int, Kernel] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAX_POOL: dict[int, Kernel] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x, weight, bias)


def _matmul(x: Tensor, y: Tensor, transpose_x: Tensor, transpose_y: Tensor) -> Tensor:
    # The flags have no effect on vectors.
    x = x.transpose(-1, -2) if transpose_x and x.ndim > 1 else x
    y = y.transpose(-1, -2) if transpose_y and y.ndim > 1 else y
    return torch.matmul(x, y)


def _einsum(values: Sequence[Tensor], equation: str) -> Tensor:
    return torch.einsum(equation, *values)


def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.matmul(torch.softmax(scores, -1), value)


def _paddings(
    pad_type: str, pad: list[int], sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Return what is added before and after each spatial dimension; `kernel` counts its dilation."""
    if pad_type == "custom":
        return list(zip(pad[::2], pad[1::2], strict=True))
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    totals = [
        max(0, (math.ceil(size / stride) - 1) * stride + width - size)
        for size, width, stride in zip(sizes, kernel, strides, strict=True)
    ]
    if pad_type == "same":
        return [(total // 2, total - total // 2) for total in totals]
    return [(total - total // 2, total // 2) for total in totals]  # same_lower


def _padded(x: Tensor, paddings: list[tuple[int, int]], value: float) -> Tensor:
    flat = [amount for pair in reversed(paddings) for amount in pair]
    return F.pad(x, flat, value=value) if any(flat) else x


def _conv(
    x: Tensor,
    weight: Tensor,
    strides: Tensor,
    pad_type: str,
    pad: Tensor,
    dilations: Tensor,
    groups: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    steps, gaps = strides.tolist(), dilations.tolist()
    kernel = [(size - 1) * gap + 1 for size, gap in zip(weight.shape[2:], gaps, strict=True)]
    x = _padded(x, _paddings(pad_type, pad.tolist(), x.shape[2:], kernel, steps), 0.0)
    out: Tensor = _CONV[x.ndim - 2](x, weight, bias, stride=steps, dilation=gaps, groups=int(groups))
    return out


def _pool_paddings(
    x: Tensor, kernel: list[int], steps: list[int], pad_type: str, pad: Tensor, ceil_mode: Tensor
) -> tuple[list[tuple[int, int]], list[int]]:
    """Return the declared paddings, and what `ceil_mode` adds behind them so that the last window fits."""
    paddings = _paddings(pad_type, pad.tolist(), x.shape[2:], kernel, steps)
    extra = [0] * len(kernel)
    if ceil_mode:
        for place, (size, (before, after)) in enumerate(zip(x.shape[2:], paddings, strict=True)):
            total = size + before + after
            windows = math.ceil((total - kernel[place]) / steps[place]) + 1
            if (windows - 1) * steps[place] >= size + before and before + after > 0:
                windows -= 1  # the last window may not start in the padding
            extra[place] = max(0, (windows - 1) * steps[place] + kernel[place] - total)
    return paddings, extra


def _avg_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor,
    pad_type: str,
    pad: Tensor,
    ceil_mode: Tensor,
    exclude_padding_from_average: Tensor,
) -> Tensor:
    kernel, steps = kernel_sizes.tolist(), strides.tolist()
    paddings, extra = _pool_paddings(x, kernel, steps, pad_type, pad, ceil_mode)
    behind = [(0, more) for more in extra]
    # Elements that ceil_mode adds never count; padding counts unless it is excluded.
    counted = _padded(torch.ones_like(x[:1, :1]), paddings, 0.0 if exclude_padding_from_average else 1.0)
    pool = _AVG_POOL[x.ndim - 2]
    total = pool(_padded(_padded(x, paddings, 0.0), behind, 0.0), kernel, steps)
    out: Tensor = total / pool(_padded(counted, behind, 0.0), kernel, steps)
    return out


def _max_pool(
    x: Tensor, kernel_sizes: Tensor, strides: Tensor, pad_type: str, pad: Tensor, ceil_mode: Tensor
) -> Tensor:
    kernel, steps = kernel_sizes.tolist(), strides.tolist()
    paddings, extra = _pool_paddings(x, kernel, steps, pad_type, pad, ceil_mode)
    around = [(before, after + more) for (before, after), more in zip(paddings, extra, strict=True)]
    out: Tensor = _MAX_POOL[x.ndim - 2](_padded(x, around, -math.inf), kernel, steps)
    return out


def _layer_norm(
    x: Tensor, axes: Tensor, epsilon: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None
) -> Tensor:
    dims = sorted(int(axis) % x.ndim for axis in axes)
    last = list(range(x.ndim - len(dims), x.ndim))
    moved = x.movedim(dims, last)
    return F.layer_norm(moved, moved.shape[-len(dims) :], gamma, beta, float(epsilon)).movedim(last, dims)


def _batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, training=False, eps=float(epsilon))


def _instance_norm(x: Tensor, epsilon: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
    return F.instance_norm(x, weight=gamma, bias=beta, eps=float(epsilon))


def _l2_norm(x: Tensor, epsilon: Tensor) -> Tensor:
    return x / torch.sqrt(torch.sum(torch.square(x), [-3, -2, -1], keepdim=True) + epsilon)


LAYERS: dict[str, Kernel] = {
    "avg_pool": _avg_pool,
    "batch_norm": _batch_norm,
    "conv": _conv,
    "einsum": _einsum,
    "instance_norm": _instance_norm,
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "matmul": _matmul,
    "max_pool": _max_pool,
    "scaled_dot_product_attention": _attention,
}
