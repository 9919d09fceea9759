"""Core ML ops that move, make or pick elements: reshapes, slices, gathers, concatenations, fills, sorts.

Every function takes the op's inputs under their MIL names, as float32, int32 or bool tensors; shapes, axes and masks
are tensors too. Dimensions are named by MIL: `axis` may be negative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Kernel = Callable[..., Any]


def _ints(tensor: Tensor) -> list[int]:
    return [int(value) for value in tensor.reshape(-1).tolist()]


def _band_part(x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    below = torch.arange(x.shape[-2])[:, None] - torch.arange(x.shape[-1])[None, :]
    keep = ((lower < 0) | (below <= lower)) & ((upper < 0) | (-below <= upper))
    return torch.where(keep, x, torch.zeros_like(x))


def _concat(values: Sequence[Tensor], axis: Tensor, interleave: Tensor | None = None) -> Tensor:
    if values[0].ndim == 0:
        return torch.stack(list(values))
    dim = int(axis) % values[0].ndim
    if interleave is not None and bool(interleave):
        return torch.stack(list(values), dim + 1).flatten(dim, dim + 1)
    return torch.cat(list(values), dim)


def _cumsum(x: Tensor, axis: Tensor, exclusive: Tensor, reverse: Tensor) -> Tensor:
    dim = int(axis)
    x = x.flip(dim) if reverse else x
    total = torch.cumsum(x, dim)
    if exclusive:
        total = torch.cat([torch.zeros_like(total.narrow(dim, 0, 1)), total.narrow(dim, 0, x.shape[dim] - 1)], dim)
    return total.flip(dim) if reverse else total


def _expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in _ints(axes)):
        x = x.unsqueeze(axis)
    return x


def _fill(shape: Tensor, value: Tensor) -> Tensor:
    return value.expand(_ints(shape))


def _fill_like(ref_tensor: Tensor, value: Tensor) -> Tensor:
    return value.expand(ref_tensor.shape)


def _flatten2d(x: Tensor, axis: Tensor) -> Tensor:
    rows = math.prod(x.shape[: int(axis)])
    return x.reshape(rows, math.prod(x.shape[int(axis) :]))


def _checked(indices: Tensor, size: int, validate_indices: Tensor | None) -> Tensor:
    """Return indices as int64 >= 0. Ops without `validate_indices` (before iOS 17) count negative ones from the end."""
    index = indices.long()
    if validate_indices is None:
        index = torch.where(index < 0, index + size, index)
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= size):
        raise IndexError(f"the indices reach from {int(index.min())} to {int(index.max())}, but the size is {size}")
    return index


def _gather(
    x: Tensor, indices: Tensor, axis: Tensor, batch_dims: Tensor | None = None, validate_indices: Tensor | None = None
) -> Tensor:
    dim = int(axis) % x.ndim
    batch = 0 if batch_dims is None else int(batch_dims)
    index = _checked(indices, x.shape[dim], validate_indices)
    shape = [*x.shape[:dim], *index.shape[batch:], *x.shape[dim + 1 :]]
    if batch == 0:
        return x.index_select(dim, index.reshape(-1)).reshape(shape)
    rows = zip(x.flatten(0, batch - 1), index.flatten(0, batch - 1), strict=True)
    return torch.stack([row.index_select(dim - batch, one.reshape(-1)) for row, one in rows]).reshape(shape)


def _gather_along_axis(x: Tensor, indices: Tensor, axis: Tensor, validate_indices: Tensor | None = None) -> Tensor:
    dim = int(axis)
    return torch.take_along_dim(x, _checked(indices, x.shape[dim], validate_indices), dim)


def _gather_nd(
    x: Tensor, indices: Tensor, batch_dims: Tensor | None = None, validate_indices: Tensor | None = None
) -> Tensor:
    batch = 0 if batch_dims is None else int(batch_dims)
    columns = [
        _checked(column, x.shape[batch + place], validate_indices) for place, column in enumerate(indices.unbind(-1))
    ]
    for place in range(batch):
        lead = torch.arange(x.shape[place]).reshape([-1 if dim == place else 1 for dim in range(indices.ndim - 1)])
        columns.insert(place, lead)
    return x[tuple(columns)]


def _non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x)


def _one_hot(indices: Tensor, one_hot_vector_size: Tensor, axis: Tensor, on_value: Tensor, off_value: Tensor) -> Tensor:
    hot = indices.unsqueeze(-1) == torch.arange(int(one_hot_vector_size))
    return torch.where(hot, on_value, off_value).movedim(-1, int(axis))


def _pad(x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Tensor | None = None) -> Tensor:
    amounts = _ints(pad)
    first = x.ndim - len(amounts) // 2
    for dim in range(first, x.ndim):
        before, after = amounts[2 * (dim - first) : 2 * (dim - first) + 2]
        size = x.shape[dim]
        if mode == "constant":
            edge = torch.zeros(()) if constant_val is None else constant_val
            parts = [edge.to(x.dtype).expand(*x.shape[:dim], n, *x.shape[dim + 1 :]) for n in (before, after)]
            x = torch.cat([parts[0], x, parts[1]], dim)
            continue
        place = torch.arange(-before, size + after)
        if mode == "reflect":
            place = size - 1 - (size - 1 - place.abs()).abs()
        x = x.index_select(dim, place.clamp(0, size - 1))
    return x


def _range_1d(end: Tensor, start: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


def _reshape(x: Tensor, shape: Tensor) -> Tensor:
    # Since iOS 17 a 0 copies the dimension that stands at the same place counted from the right; with equal ranks,
    # the only case before iOS 17, that is the same place counted from the left.
    target = _ints(shape)
    shift = x.ndim - len(target)
    kept = [x.shape[place + shift] if place + shift >= 0 else 1 for place in range(len(target))]
    return x.reshape([keep if size == 0 else size for size, keep in zip(target, kept, strict=True)])


def _reverse(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.flip(list(range(x.ndim)) if axes is None else _ints(axes))


def _shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


def _slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    def flags(mask: Tensor | None) -> list[bool]:
        return [False] * x.ndim if mask is None else [bool(value) for value in mask]

    first, last = _ints(begin), _ints(end)
    steps = [1] * x.ndim if stride is None else _ints(stride)
    from_start, to_end, squeezed = flags(begin_mask), flags(end_mask), flags(squeeze_mask)
    for dim in range(x.ndim - 1, -1, -1):
        size = x.shape[dim]
        start = None if from_start[dim] else first[dim]
        if squeezed[dim]:
            x = x.select(dim, 0 if start is None else start)
            continue
        picked = range(*slice(start, None if to_end[dim] else last[dim], steps[dim]).indices(size))
        if picked.step == 1:
            x = x.narrow(dim, picked.start if picked else 0, len(picked))
        else:
            x = x.index_select(dim, torch.tensor(list(picked), dtype=torch.int64))
    return x


def _slice_by_size(x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    for dim, (start, length) in enumerate(zip(_ints(begin), _ints(size), strict=True)):
        start = start + x.shape[dim] if start < 0 else start
        x = x.narrow(dim, start, x.shape[dim] - start if length == -1 else length)
    return x


def _split(
    x: Tensor, axis: Tensor, num_splits: Tensor | None = None, split_sizes: Tensor | None = None
) -> tuple[Tensor, ...]:
    dim = int(axis)
    if split_sizes is not None:
        return torch.split(x, _ints(split_sizes), dim)
    assert num_splits is not None, "MIL demands one of num_splits and split_sizes"
    return torch.split(x, x.shape[dim] // int(num_splits), dim)


def _squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(_ints(axes))


def _stack(values: Sequence[Tensor], axis: Tensor) -> Tensor:
    return torch.stack(list(values), int(axis))


def _tile(x: Tensor, reps: Tensor) -> Tensor:
    return x.repeat(_ints(reps))


def _argsort(x: Tensor, axis: Tensor, ascending: Tensor) -> Tensor:
    return torch.argsort(x, dim=int(axis), descending=not ascending, stable=True)


def _topk(
    x: Tensor,
    k: Tensor,
    axis: Tensor,
    ascending: Tensor,
    sort: Tensor | None = None,
    return_indices: Tensor | None = None,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    dim = int(axis)
    count = x.shape[dim] if int(k) == -1 else int(k)
    indices = _argsort(x, axis, ascending).narrow(dim, 0, count)
    values = torch.take_along_dim(x, indices, dim)
    return values if return_indices is not None and not return_indices else (values, indices)


def _transpose(x: Tensor, perm: Tensor) -> Tensor:
    return x.permute(_ints(perm))


SHAPE: dict[str, Kernel] = {
    "argsort": _argsort,
    "band_part": _band_part,
    "concat": _concat,
    "cumsum": _cumsum,
    "expand_dims": _expand_dims,
    "fill": _fill,
    "fill_like": _fill_like,
    "flatten2d": _flatten2d,
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "gather_nd": _gather_nd,
    "non_zero": _non_zero,
    "one_hot": _one_hot,
    "pad": _pad,
    "range_1d": _range_1d,
    "reshape": _reshape,
    "reverse": _reverse,
    "shape": _shape,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "topk": _topk,
    "transpose": _transpose,
}
