"""How the tests draw inputs for a Core ML op, run it both here and in coremltools, and compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from coremltools.converters.mil.mil import Function, types
from hypothesis import settings
from hypothesis import strategies as st

from conaclip_edge.runtime.mil.ops.table import OPS, constant, stored, unknown_inputs
from tests.helpers.coreml_programs import ct, mb

Draw = Callable[[Any], Any]
Inputs = dict[str, Any]
Case = Callable[[Draw], Inputs]

torch.set_num_threads(1)
bounded = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def real(draw: Draw, shape: tuple[int, ...], low: float = -4, high: float = 4) -> np.ndarray:
    return np.random.default_rng(draw(st.integers(0, 10**6))).uniform(low, high, shape).astype(np.float32)


def whole(draw: Draw, shape: tuple[int, ...], low: int = -5, high: int = 5) -> np.ndarray:
    return np.random.default_rng(draw(st.integers(0, 10**6))).integers(low, high, shape, dtype=np.int32)


def truth(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    return whole(draw, shape, 0, 2).astype(bool)


def size(draw: Draw, least: int = 1, most: int = 4) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(1, 4), min_size=least, max_size=most)))


def axis_of(draw: Draw, shape: tuple[int, ...]) -> int:
    return draw(st.integers(-len(shape), len(shape) - 1))


def flag(draw: Draw) -> bool:
    return draw(st.booleans())


def distinct(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Draw values of which no two are equal, for ops that leave the order of equal ones open."""
    count = int(np.prod(shape))
    return np.random.default_rng(draw(st.integers(0, 999))).permutation(count).reshape(shape).astype(np.float32)


def evaluate(op: str, target: str, inputs: Inputs) -> tuple[list[np.ndarray], list[Any]]:
    """Return what the interpreter's op gives, and the op that coremltools builds of the same inputs."""
    kept = {name: np.copy(value) if isinstance(value, np.ndarray) else value for name, value in inputs.items()}
    with Function({}, opset_version=getattr(ct.target, target)):
        made = getattr(mb, op)(**inputs)
    made = list(made) if isinstance(made, (list, tuple)) else [made]
    filled = {name: var for name, var in made[0].op.inputs.items() if var is not None and name not in kept}
    given_values = {name: list(map(constant, v)) if isinstance(v, tuple) else constant(v) for name, v in kept.items()}
    given_values |= {name: constant(var.val) for name, var in filled.items() if not isinstance(var, (list, tuple))}
    assert unknown_inputs(op, given_values) == []
    result = OPS[op](**given_values)
    results = list(result) if isinstance(result, tuple) else [result]
    dtypes = [types.builtin_to_string(var.dtype) for var in made]
    return [stored(one, dtype).numpy() for one, dtype in zip(results, dtypes, strict=True)], made


def assert_same(ours: list[np.ndarray], theirs: list[Any]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == np.shape(other)
        np.testing.assert_allclose(one, np.asarray(other).astype(one.dtype), rtol=2e-5, atol=2e-6)


def assert_as_inferred(op: str, inputs: Inputs) -> None:
    """Compare an op with coremltools' own inference; an input named `target` is the opset."""
    ours, made = evaluate(op, inputs.pop("target", "iOS17"), inputs)
    assert all(var.val is not None for var in made), "coremltools inferred nothing: the comparison would be empty"
    assert_same(ours, [var.val for var in made])


def assert_as_defined(op: str, inputs: Inputs, meaning: Callable[..., Any]) -> None:
    """Compare an op with a plain definition, for ops of which coremltools infers the shape only."""
    expected = meaning(**inputs)
    (ours,), (made,) = evaluate(op, "iOS17", inputs)
    assert tuple(made.shape) == ours.shape, "the declared shape differs"
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
