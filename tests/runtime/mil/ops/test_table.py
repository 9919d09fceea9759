"""How values are kept between the ops of a Core ML program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conaclip_edge.runtime.mil.ops.arithmetic import MATH
from conaclip_edge.runtime.mil.ops.layers import LAYERS
from conaclip_edge.runtime.mil.ops.shape import SHAPE
from conaclip_edge.runtime.mil.ops.table import OPS, constant, stored, unknown_inputs
from conaclip_edge.runtime.mil.ops.weights import WEIGHTS
from tests.helpers.mil_op_checks import bounded


def test_no_op_is_defined_twice() -> None:
    assert len(OPS) == len(MATH) + len(SHAPE) + len(LAYERS) + len(WEIGHTS)


def test_inputs_that_an_op_does_not_take_are_named() -> None:
    assert unknown_inputs("softmax", ["x", "novel", "axis", "extra"]) == ["extra", "novel"]
    assert unknown_inputs("softmax", ["x", "axis"]) == []


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.float16(1.5), torch.float32),
        (np.ones(2, np.float64), torch.float32),
        (np.uint8([200]), torch.int32),
        (np.bool_(True), torch.bool),
    ],
)
def test_constants_become_float_int_or_bool_tensors(value: np.ndarray, dtype: torch.dtype) -> None:
    tensor = constant(value)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == dtype
    assert tensor.tolist() == value.tolist()


def test_constant_text_stays_text() -> None:
    assert constant("EXACT") == "EXACT"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
@bounded
@given(values=st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=20))
def test_narrow_integers_wrap_as_in_numpy(dtype: str, values: list[int]) -> None:
    expected = np.array(values).astype(dtype)
    assert stored(torch.tensor(values), dtype).tolist() == expected.tolist()


@bounded
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_half_precision_values_are_rounded_as_in_numpy(values: list[float]) -> None:
    single = np.array(values, np.float32)
    with np.errstate(over="ignore"):
        expected = single.astype(np.float16).astype(np.float32)
    assert stored(torch.from_numpy(single), "fp16").tolist() == expected.tolist()
    assert stored(torch.from_numpy(single), "fp16", half=False).tolist() == single.tolist()
