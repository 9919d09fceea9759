"""Ops that move, make or pick elements against coremltools' inference or plain numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conaclip_edge.runtime.mil.ops.shape import SHAPE
from conaclip_edge.runtime.mil.ops.table import OPS
from tests.helpers.mil_op_checks import (
    Case,
    Draw,
    Inputs,
    assert_as_defined,
    assert_as_inferred,
    axis_of,
    bounded,
    distinct,
    flag,
    real,
    size,
    truth,
    whole,
)


def concat(draw: Draw) -> Inputs:
    shape = size(draw)
    axis = axis_of(draw, shape)
    values = []
    for _ in range(draw(st.integers(1, 3))):
        one = list(shape)
        one[axis] = draw(st.integers(1, 3))
        values.append(real(draw, tuple(one)))
    return {"values": tuple(values), "axis": axis, "interleave": False}


def cumsum(draw: Draw) -> Inputs:
    shape = size(draw)
    return {
        "x": whole(draw, shape) if flag(draw) else real(draw, shape),
        "axis": draw(st.integers(-1, len(shape) - 1)),
        "exclusive": False,
        "reverse": flag(draw),
    }


def expand_dims(draw: Draw) -> Inputs:
    shape = size(draw, 1, 3)
    count = draw(st.integers(1, 2))
    rank = len(shape) + count
    axes = draw(st.permutations(range(rank)))[:count]
    return {"x": real(draw, shape), "axes": np.array([a - rank if flag(draw) else a for a in axes], np.int32)}


def fill(draw: Draw) -> Inputs:
    value = draw(st.sampled_from([np.float32(1.5), np.int32(-3), np.bool_(True)]))
    return {"shape": np.array(size(draw), np.int32), "value": value}


def gather(draw: Draw) -> Inputs:
    shape = size(draw, 1, 3)
    batch = draw(st.integers(0, len(shape) - 1))
    axis = draw(st.integers(batch, len(shape) - 1))
    more = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    indices = whole(draw, shape[:batch] + more, 0, shape[axis])
    return {"x": real(draw, shape), "indices": indices, "axis": axis, "batch_dims": batch}


def gather_before_ios17(draw: Draw) -> Inputs:
    inputs = gather(draw)
    count = inputs["x"].shape[inputs["axis"]]
    negative = np.where(truth(draw, inputs["indices"].shape), inputs["indices"] - count, inputs["indices"])
    return {**inputs, "indices": negative.astype(np.int32), "target": "iOS16"}


def gather_along_axis(draw: Draw) -> Inputs:
    shape = size(draw)
    axis = axis_of(draw, shape)
    picked = list(shape)
    picked[axis] = draw(st.integers(1, 5))
    return {"x": real(draw, shape), "indices": whole(draw, tuple(picked), 0, shape[axis]), "axis": axis}


def pad(draw: Draw) -> Inputs:
    shape = tuple(dim + 2 for dim in size(draw, 1, 3))
    mode = draw(st.sampled_from(["constant", "reflect", "replicate"]))
    amounts = whole(draw, (2 * draw(st.integers(1, len(shape))),), 0, 3)
    inputs: Inputs = {"x": real(draw, shape), "pad": amounts, "mode": mode}
    return {**inputs, "constant_val": np.float32(0.5)} if mode == "constant" else inputs


def range_1d(draw: Draw) -> Inputs:
    kind = draw(st.sampled_from([np.int32, np.float32]))
    start, count, step = (draw(st.integers(low, 6)) for low in (-6, 1, 1))
    step = -step if flag(draw) else step
    return {"start": kind(start), "end": kind(start + count * step), "step": kind(step)}


def reshape(draw: Draw) -> Inputs:
    shape = size(draw, 2, 4)
    lead = math.prod(shape[:-1])
    target = draw(st.sampled_from([[lead, 0], [-1, 0], [-1], [0, 0], [1, 0, -1, 0], [*shape, 1], [1, -1, 0]]))
    target = [-1, 0] if target == [0, 0] and len(shape) != 2 else target
    return {"x": real(draw, shape), "shape": np.array(target, np.int32)}


def slice_by_index(draw: Draw) -> Inputs:
    shape = size(draw)
    begin, end, stride, squeeze = [], [], [], []
    masks = {name: truth(draw, (len(shape),)) for name in ("begin_mask", "end_mask")}
    for place, dim in enumerate(shape):
        squeezed = flag(draw) and sum(squeeze) < len(shape) - 1
        step = 1 if squeezed else draw(st.sampled_from([1, 2, -1]))
        first, last = draw(st.integers(0, dim - 1)), dim
        if step > 0:
            last = draw(st.integers(first + 1, dim))
        elif first == 0:
            masks["end_mask"][place] = True  # coremltools and numpy disagree on how else to say "down to the first"
        else:
            last = draw(st.integers(0, first - 1))
        begin.append(first - dim if flag(draw) else first)
        end.append(last - dim if flag(draw) and last < dim else last)
        stride.append(step)
        squeeze.append(squeezed)
    masks["begin_mask"] &= ~np.array(squeeze)
    return {
        "x": real(draw, shape),
        "begin": np.array(begin, np.int32),
        "end": np.array(end, np.int32),
        "stride": np.array(stride, np.int32),
        "squeeze_mask": np.array(squeeze),
        **masks,
    }


def slice_by_size(draw: Draw) -> Inputs:
    shape = size(draw)
    begin = [draw(st.integers(0, dim - 1)) for dim in shape]
    length = [draw(st.sampled_from([-1, *range(1, dim - first + 1)])) for dim, first in zip(shape, begin, strict=True)]
    begin = [first - dim if flag(draw) else first for first, dim in zip(begin, shape, strict=True)]
    return {"x": real(draw, shape), "begin": np.array(begin, np.int32), "size": np.array(length, np.int32)}


def split(draw: Draw) -> Inputs:
    shape = size(draw, 1, 3)
    axis = axis_of(draw, shape)
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    longer = list(shape)
    if flag(draw):
        longer[axis] = 2 * len(sizes)
        return {"x": real(draw, tuple(longer)), "axis": axis, "num_splits": len(sizes)}
    longer[axis] = sum(sizes)
    return {"x": real(draw, tuple(longer)), "axis": axis, "split_sizes": np.array(sizes, np.int32)}


def squeeze(draw: Draw) -> Inputs:
    shape = (1, *size(draw, 1, 2), 1, 2)
    return {"x": real(draw, shape), "axes": np.array(draw(st.sampled_from([[0], [-2], [0, -2]])), np.int32)}


def stack(draw: Draw) -> Inputs:
    shape = size(draw, 1, 3)
    values = tuple(real(draw, shape) for _ in range(draw(st.integers(1, 3))))
    return {"values": values, "axis": axis_of(draw, (*shape, len(values)))}


def sorting(draw: Draw) -> Inputs:
    shape = size(draw)
    return {"x": distinct(draw, shape), "axis": axis_of(draw, shape), "ascending": flag(draw)}


def topk(draw: Draw) -> Inputs:
    inputs = sorting(draw)
    return {**inputs, "k": draw(st.integers(1, inputs["x"].shape[inputs["axis"]]))}


def transpose(draw: Draw) -> Inputs:
    shape = size(draw)
    perm = draw(st.permutations(range(len(shape))))
    return {"x": real(draw, shape), "perm": np.array([p - len(shape) if flag(draw) else p for p in perm], np.int32)}


def gather_nd(draw: Draw) -> Inputs:
    shape = size(draw, 2, 4)
    batch = draw(st.integers(0, len(shape) - 1))
    depth = draw(st.integers(1, len(shape) - batch))
    lead = (*shape[:batch], *draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)))
    columns = [whole(draw, lead, 0, shape[batch + place]) for place in range(depth)]
    return {"x": real(draw, shape), "indices": np.stack(columns, -1), "batch_dims": batch}


def naive_gather_nd(x, indices, batch_dims):
    lead = indices.shape[:-1]
    picked = [x[(*where[:batch_dims], *indices[where])] for where in np.ndindex(*lead)]
    return np.stack(picked).reshape(*lead, *x.shape[batch_dims + indices.shape[-1] :])


def one_hot(draw: Draw) -> Inputs:
    shape = size(draw, 1, 3)
    return {
        "indices": whole(draw, shape, 0, 5),
        "one_hot_vector_size": np.int32(draw(st.integers(1, 5))),
        "axis": draw(st.integers(-len(shape) - 1, len(shape))),
        "on_value": np.float32(2),
        "off_value": np.float32(-1),
    }


def naive_one_hot(indices, one_hot_vector_size, axis, on_value, off_value):
    planes = [np.where(indices == place, on_value, off_value) for place in range(one_hot_vector_size)]
    return np.stack(planes, axis)


INFERRED: dict[str, Case] = {
    "argsort": sorting,
    "band_part": lambda draw: {
        "x": real(draw, size(draw, 2)),
        "lower": draw(st.integers(-1, 3)),
        "upper": draw(st.integers(-1, 3)),
    },
    "concat": concat,
    "cumsum": cumsum,
    "expand_dims": expand_dims,
    "fill": fill,
    "fill_like": lambda draw: {"ref_tensor": real(draw, size(draw)), "value": np.float32(2.5)},
    "flatten2d": lambda draw: {"x": real(draw, (shape := size(draw, 2))), "axis": draw(st.integers(1, len(shape) - 1))},
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "non_zero": lambda draw: {"x": truth(draw, size(draw)).astype(np.float32)},
    "pad": pad,
    "range_1d": range_1d,
    "reshape": reshape,
    "reverse": lambda draw: {
        "x": real(draw, size(draw, 2)),
        "axes": np.array(draw(st.sampled_from([[0], [-1], [0, 1]])), np.int32),
    },
    "shape": lambda draw: {"x": real(draw, size(draw))},
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "tile": lambda draw: {"x": real(draw, (shape := size(draw))), "reps": whole(draw, (len(shape),), 1, 4)},
    "topk": topk,
    "transpose": transpose,
}

DEFINED: dict[str, tuple[Case, Callable[..., Any]]] = {
    "gather_nd": (gather_nd, naive_gather_nd),
    "one_hot": (one_hot, naive_one_hot),
}


@pytest.mark.parametrize("op", sorted(INFERRED))
@bounded
@given(data=st.data())
def test_op_gives_what_coremltools_infers(op: str, data: st.DataObject) -> None:
    assert_as_inferred(op, INFERRED[op](data.draw))


@pytest.mark.parametrize("op", sorted(DEFINED))
@bounded
@given(data=st.data())
def test_op_gives_what_its_definition_says(op: str, data: st.DataObject) -> None:
    case, meaning = DEFINED[op]
    assert_as_defined(op, case(data.draw), meaning)


def test_no_op_is_without_an_independent_check() -> None:
    assert set(INFERRED) | set(DEFINED) == set(SHAPE)


@bounded
@given(data=st.data())
def test_negative_indices_count_from_the_end_before_ios17(data: st.DataObject) -> None:
    assert_as_inferred("gather", gather_before_ios17(data.draw))


@pytest.mark.parametrize("index", [-1, 3])
def test_index_outside_is_an_error_since_ios17(index: int) -> None:
    no = torch.tensor(False)
    with pytest.raises(IndexError, match=f"reach from {index} to {index}, but the size is 3"):
        OPS["gather"](torch.zeros(3), torch.tensor([index]), torch.tensor(0), validate_indices=no)


def test_exclusive_cumsum_starts_at_zero_and_runs_backwards_on_demand() -> None:
    x = torch.tensor([[1.0, 2, 4]])
    yes, no, last = torch.tensor(True), torch.tensor(False), torch.tensor(1)
    assert OPS["cumsum"](x, last, yes, no).tolist() == [[0, 1, 3]]
    assert OPS["cumsum"](x, last, yes, yes).tolist() == [[6, 4, 0]]


def test_concat_makes_a_vector_of_scalars_and_interleaves_on_demand() -> None:
    zero, yes = torch.tensor(0), torch.tensor(True)
    assert OPS["concat"]([torch.tensor(3), torch.tensor(4)], zero).tolist() == [3, 4]
    pair = [torch.tensor([[1], [2]]), torch.tensor([[7], [8]])]
    assert OPS["concat"](pair, zero, interleave=yes).tolist() == [[1], [7], [2], [8]]


def test_topk_minus_one_keeps_all_and_indices_are_left_out_on_demand() -> None:
    x, k, axis, no = torch.tensor([1.0, 3, 2]), torch.tensor(-1), torch.tensor(0), torch.tensor(False)
    assert OPS["topk"](x, k, axis, no)[1].tolist() == [1, 2, 0]
    assert OPS["topk"](x, k, axis, no, return_indices=no).tolist() == [3, 2, 1]
