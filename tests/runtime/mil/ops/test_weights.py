"""Weights that are unpacked and activations that are quantised, as coremltools does it or as defined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from coremltools.converters.mil.mil import types
from hypothesis import given
from hypothesis import strategies as st

from conaclip_edge.runtime.mil.ops.weights import WEIGHTS
from tests.helpers.mil_op_checks import (
    Case,
    Draw,
    Inputs,
    assert_as_defined,
    assert_as_inferred,
    assert_same,
    axis_of,
    bounded,
    evaluate,
    flag,
    real,
    size,
    truth,
    whole,
)


def quantize(draw: Draw) -> Inputs:
    shape, dtype = size(draw, 2, 3), draw(st.sampled_from([np.int8, np.uint8]))
    inputs: Inputs = {"input": real(draw, shape, -40, 40), "output_dtype": np.dtype(dtype).name}
    if flag(draw):
        return {**inputs, "scale": np.float32(0.25), "zero_point": dtype(3)}
    axis = axis_of(draw, shape)
    points = whole(draw, (shape[axis],), 0, 9).astype(dtype)
    return {**inputs, "scale": real(draw, (shape[axis],), 0.1, 1), "zero_point": points, "axis": axis}


def dequantize(draw: Draw) -> Inputs:
    shape, dtype = size(draw, 2, 3), draw(st.sampled_from([np.int8, np.uint8]))
    info = np.iinfo(dtype)
    axis = axis_of(draw, shape)
    data = whole(draw, shape, info.min, info.max + 1).astype(dtype)
    points = whole(draw, (shape[axis],), info.min, info.max + 1).astype(dtype)
    return {"input": data, "scale": real(draw, (shape[axis],), 0.1, 1), "zero_point": points, "axis": axis}


def naive_dequantize(input, scale, zero_point, axis):
    along = [1] * input.ndim
    along[axis] = -1
    return (input.astype(float) - zero_point.astype(float).reshape(along)) * scale.reshape(along)


def affine_dequantize(draw: Draw) -> Inputs:
    inputs = dequantize(draw)
    inputs["quantized_data"] = inputs.pop("input")
    return {**inputs, "target": "iOS16"}


def blockwise_shift_scale(draw: Draw) -> Inputs:
    counts = size(draw, 2, 3)
    block = tuple(draw(st.integers(1, 3)) for _ in counts)
    data = whole(draw, tuple(np.multiply(counts, block)), -128, 128).astype(np.int8)
    inputs: Inputs = {"data": data, "scale": real(draw, counts, 0.1, 1), "target": "iOS18"}
    return inputs | {"offset": whole(draw, counts, -9, 9).astype(np.int8)} if flag(draw) else inputs


def lut_to_dense(draw: Draw) -> Inputs:
    if flag(draw):
        shape, width = size(draw), draw(st.sampled_from([1, 2, 4, 6, 8]))
        count = math.prod(shape)
        numbers = whole(draw, (count,), 0, 2**width)
        bits = (numbers[:, None] >> np.arange(width) & 1).astype(np.uint8)
        packed = np.packbits(bits.reshape(-1), bitorder="little")
        return {
            "indices": packed,
            "lut": real(draw, (2**width,)),
            "shape": np.array(shape, np.uint32),
            "target": "iOS16",
        }
    groups = size(draw, 2, 3)
    shape = tuple(np.multiply(groups, [draw(st.integers(1, 2)) for _ in groups]))
    vector = draw(st.integers(1, 3))
    indices = whole(draw, shape, 0, 16).astype(types.np_uint4_dtype)
    lut = real(draw, (*(1 if flag(draw) else dim for dim in groups), 16, vector))
    return {"indices": indices, "lut": lut, "vector_axis": axis_of(draw, shape), "target": "iOS18"}


def sparse_to_dense(draw: Draw) -> Inputs:
    shape = size(draw)
    mask = truth(draw, shape)
    mask.reshape(-1)[0] = True
    values = real(draw, (int(mask.sum()),))
    if flag(draw):
        packed = np.packbits(mask.reshape(-1), bitorder="little")
        return {"nonzero_data": values, "mask": packed, "shape": np.array(shape, np.uint32), "target": "iOS16"}
    return {"nonzero_data": values, "mask": mask.astype(types.np_uint1_dtype), "target": "iOS18"}


UNPACKED: dict[str, Case] = {
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_cast": lambda draw: {
        "source_val": real(draw, size(draw)).astype(np.float16),
        "output_dtype": "fp32",
        "target": "iOS16",
    },
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_sparse_to_dense": sparse_to_dense,
}


@pytest.mark.parametrize("op", sorted(UNPACKED))
@bounded
@given(data=st.data())
def test_weights_are_unpacked_as_coremltools_unpacks_them(op: str, data: st.DataObject) -> None:
    inputs = UNPACKED[op](data.draw)
    (ours,), (made,) = evaluate(op, inputs.pop("target"), inputs)
    assert_same([ours], [made.op.materialized_val_inference()])


@bounded
@given(data=st.data())
def test_activations_are_quantised_as_coremltools_infers(data: st.DataObject) -> None:
    assert_as_inferred("quantize", quantize(data.draw))


@bounded
@given(data=st.data())
def test_activations_are_dequantised_as_defined(data: st.DataObject) -> None:
    assert_as_defined("dequantize", dequantize(data.draw), naive_dequantize)


def test_no_op_is_without_an_independent_check() -> None:
    assert {*UNPACKED, "quantize", "dequantize"} == set(WEIGHTS)
