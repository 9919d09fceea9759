"""Arithmetic, activations and reductions against coremltools' inference or plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conaclip_edge.runtime.mil.ops.arithmetic import MATH
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
)


def unary(low: float = -4, high: float = 4, **constants: Any) -> Callable[[Draw], Inputs]:
    return lambda draw: {"x": real(draw, size(draw), low, high), **constants}


def binary(draw: Draw) -> Inputs:
    shape = size(draw)
    other = tuple(1 if flag(draw) else dim for dim in shape)[draw(st.integers(0, len(shape) - 1)) :]
    return {"x": real(draw, shape), "y": real(draw, other)}


def binary_any(draw: Draw) -> Inputs:
    inputs = binary(draw)
    return inputs if flag(draw) else {name: np.rint(value).astype(np.int32) for name, value in inputs.items()}


def division(draw: Draw) -> Inputs:
    inputs = binary_any(draw)
    inputs["y"] = np.where(np.abs(inputs["y"]) < 0.5, np.ones_like(inputs["y"]), inputs["y"])
    return inputs


def real_division(draw: Draw) -> Inputs:
    inputs = binary(draw)
    return {"x": inputs["x"], "y": inputs["y"] + np.float32(5)}


def power(draw: Draw) -> Inputs:
    shape = size(draw)
    return {"x": real(draw, shape, 0.1, 3), "y": real(draw, shape, -2, 2)}


def logical(draw: Draw) -> Inputs:
    shape = size(draw)
    return {"x": truth(draw, shape), "y": truth(draw, shape)}


def reduction(low: float = -2, high: float = 2) -> Callable[[Draw], Inputs]:
    def case(draw: Draw) -> Inputs:
        shape = size(draw)
        inputs: Inputs = {"x": real(draw, shape, low, high), "keep_dims": flag(draw)}
        if flag(draw):
            dims = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
            inputs["axes"] = np.array([dim - len(shape) if flag(draw) else dim for dim in dims], np.int32)
        return inputs

    return case


def argument(draw: Draw) -> Inputs:
    shape = size(draw)
    return {"x": distinct(draw, shape), "axis": axis_of(draw, shape), "keep_dims": flag(draw)}


def channelled(draw: Draw) -> Inputs:
    channels = draw(st.integers(1, 4))
    return {"x": real(draw, (2, channels, 3, 2)), "alpha": real(draw, (channels,), 0, 1)}


def cast(draw: Draw) -> Inputs:
    dtype = draw(st.sampled_from(["int32", "fp16", "fp32", "bool", "uint8", "int16", "uint16"]))
    x = real(draw, size(draw), 0 if dtype.startswith("u") else -90, 90)
    return {"x": x if flag(draw) else x.astype(np.int32), "dtype": dtype}


def select(draw: Draw) -> Inputs:
    shape = size(draw)
    return {"cond": truth(draw, shape), "a": real(draw, shape), "b": real(draw, shape)}


def norm(draw: Draw) -> Inputs:
    shape = size(draw, 1, 3)
    return {"x": real(draw, shape), "axes": np.array([axis_of(draw, shape)], np.int32), "keep_dims": flag(draw)}


INFERRED: dict[str, Case] = {
    "abs": unary(),
    "add": binary_any,
    "atan": unary(),
    "cast": cast,
    "ceil": unary(),
    "clamped_relu": unary(alpha=np.float32(0.3), beta=np.float32(1.5)),
    "clip": unary(alpha=np.float32(-1), beta=np.float32(1.5)),
    "cos": unary(),
    "elu": unary(alpha=np.float32(0.7)),
    "equal": binary_any,
    "erf": unary(),
    "exp": unary(),
    "exp2": unary(),
    "floor": unary(),
    "floor_div": division,
    "gelu": lambda draw: (
        unary()(draw) | {"mode": draw(st.sampled_from(["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"]))}
    ),
    "greater": binary_any,
    "greater_equal": binary_any,
    "identity": unary(),
    "inverse": unary(0.5, 4, epsilon=np.float32(0.1)),
    "leaky_relu": unary(alpha=np.float32(0.1)),
    "less": binary_any,
    "less_equal": binary_any,
    "linear_activation": unary(alpha=np.float32(1.5), beta=np.float32(-0.5)),
    "log": unary(0.1, 4, epsilon=np.float32(0.1)),
    "logical_and": logical,
    "logical_not": lambda draw: {"x": truth(draw, size(draw))},
    "logical_or": logical,
    "logical_xor": logical,
    "maximum": binary_any,
    "minimum": binary_any,
    "mod": division,
    "mul": binary_any,
    "not_equal": binary_any,
    "pow": power,
    "prelu": channelled,
    "real_div": real_division,
    "reduce_argmax": argument,
    "reduce_argmin": argument,
    "reduce_l1_norm": reduction(),
    "reduce_log_sum": reduction(0.1, 2),
    "reduce_log_sum_exp": reduction(),
    "reduce_max": reduction(),
    "reduce_mean": reduction(),
    "reduce_min": reduction(),
    "reduce_prod": reduction(),
    "reduce_sum": reduction(),
    "reduce_sum_square": reduction(),
    "relu": unary(),
    "relu6": unary(-4, 9),
    "round": unary(),
    "rsqrt": unary(0.1, 4, epsilon=np.float32(0.1)),
    "scaled_tanh": unary(alpha=np.float32(1.5), beta=np.float32(0.5)),
    "select": select,
    "sigmoid": unary(),
    "sigmoid_hard": unary(alpha=np.float32(0.2), beta=np.float32(0.5)),
    "sign": unary(),
    "sin": unary(),
    "softmax": lambda draw: {"x": real(draw, (shape := size(draw)), -50, 50), "axis": axis_of(draw, shape)},
    "softplus": unary(-30, 30),
    "softsign": unary(),
    "sqrt": unary(0, 4),
    "square": unary(),
    "sub": binary_any,
    "tan": unary(-1, 1),
    "tanh": unary(),
    "threshold": unary(alpha=np.float32(0.5)),
    "thresholded_relu": unary(alpha=np.float32(0.5)),
}

DEFINED: dict[str, tuple[Case, Callable[..., Any]]] = {
    "reduce_l2_norm": (
        norm,
        lambda x, axes, keep_dims: np.linalg.norm(x, axis=int(axes[0]), keepdims=keep_dims),
    ),
    "silu": (unary(), lambda x: x / (1 + np.exp(-x))),
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
    assert set(INFERRED) | set(DEFINED) == set(MATH)
