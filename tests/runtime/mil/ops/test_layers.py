"""Linear layers, convolutions, attention, norms and pools against coremltools' inference or naive loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conaclip_edge.runtime.mil.ops.layers import LAYERS
from conaclip_edge.runtime.mil.ops.table import OPS
from tests.helpers.mil_op_checks import (
    Case,
    Draw,
    Inputs,
    assert_as_defined,
    assert_as_inferred,
    bounded,
    flag,
    real,
    size,
    truth,
    whole,
)


def linear(draw: Draw) -> Inputs:
    width, out = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    x = real(draw, (*size(draw, 1, 2), width))
    return {"x": x, "weight": real(draw, (out, width)), "bias": real(draw, (out,))}


def matmul(draw: Draw) -> Inputs:
    batch, (n, k, m) = size(draw, 1, 2), (draw(st.integers(1, 4)) for _ in range(3))
    turn_x, turn_y = flag(draw), flag(draw)
    x, y = real(draw, (*batch, *((k, n) if turn_x else (n, k)))), real(draw, (m, k) if turn_y else (k, m))
    return {"x": x, "y": y, "transpose_x": turn_x, "transpose_y": turn_y}


def einsum(draw: Draw) -> Inputs:
    n, c, h, w, u = (draw(st.integers(1, 3)) for _ in range(5))
    high = 1 if flag(draw) else h
    return {"values": (real(draw, (n, c, h, w)), real(draw, (n, w, high, u))), "equation": "nchw,nwhu->nchu"}


def layer_norm(draw: Draw) -> Inputs:
    shape = tuple(dim + 1 for dim in size(draw, 2, 4))
    axes = sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1, max_size=2)))
    own = tuple(shape[axis] for axis in axes)
    return {
        "x": real(draw, shape),
        "axes": np.array([axis - len(shape) if flag(draw) else axis for axis in axes], np.int32),
        "gamma": real(draw, own),
        "beta": real(draw, own),
        "epsilon": np.float32(1e-3),
    }


def attention(draw: Draw) -> Inputs:
    b, h, n, s, e, v = (draw(st.integers(1, 4)) for _ in range(6))
    inputs: Inputs = {
        "query": real(draw, (b, h, n, e)),
        "key": real(draw, (b, h, s, e)),
        "value": real(draw, (b, h, s, v)),
    }
    if flag(draw):
        inputs["attn_mask"] = real(draw, (n, s))
    elif flag(draw):
        inputs["attn_mask"] = truth(draw, (n, s)) | (np.arange(s) == 0)
    return {**inputs, "target": "iOS18"}


def naive_paddings(pad_type: str, pad: np.ndarray, sizes: Any, widths: Any, strides: Any) -> list[tuple[int, int]]:
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        return [tuple(pair) for pair in pad.reshape(-1, 2).tolist()]
    pairs = []
    for n, width, stride in zip(sizes, widths, strides, strict=True):
        total = next(p for p in itertools.count() if (n + p - width) // stride + 1 >= -(-n // stride))
        less, more = total // 2, total - total // 2
        pairs.append((less, more) if pad_type == "same" else (more, less))
    return pairs


def naive_conv(x, weight, bias, strides, pad_type, pad, dilations, groups):
    widths = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    pairs = naive_paddings(pad_type, pad, x.shape[2:], widths, strides)
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pairs])
    counts = [(n - w) // s + 1 for n, w, s in zip(x.shape[2:], widths, strides, strict=True)]
    out = np.zeros((x.shape[0], weight.shape[0], *counts))
    per_group, out_per_group = weight.shape[1], weight.shape[0] // groups
    for channel in range(weight.shape[0]):
        first = (channel // out_per_group) * per_group
        for place in np.ndindex(*counts):
            window = tuple(
                slice(p * s, p * s + w, d) for p, s, w, d in zip(place, strides, widths, dilations, strict=True)
            )
            part = x[(slice(None), slice(first, first + per_group), *window)]
            out[(slice(None), channel, *place)] = (part * weight[channel]).reshape(len(x), -1).sum(1) + bias[channel]
    return out


def conv(draw: Draw) -> Inputs:
    rank = draw(st.integers(1, 2))
    groups, per_group = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    channels, out = groups * per_group, groups * draw(st.integers(1, 2))
    return {
        "x": real(draw, (2, channels, *(draw(st.integers(6, 8)) for _ in range(rank)))),
        "weight": real(draw, (out, per_group, *kernel)),
        "bias": real(draw, (out,)),
        "strides": whole(draw, (rank,), 1, 4),
        "pad_type": draw(st.sampled_from(["valid", "custom", "same", "same_lower"])),
        "pad": whole(draw, (2 * rank,), 0, 3),
        "dilations": whole(draw, (rank,), 1, 3),
        "groups": groups,
    }


def pooling(draw: Draw) -> Inputs:
    rank = draw(st.integers(1, 2))
    ceil = flag(draw)
    pad_type = draw(st.sampled_from(["valid", "custom"] if ceil else ["valid", "custom", "same", "same_lower"]))
    pad = whole(draw, (rank,), 0, 2).repeat(2) if ceil else whole(draw, (2 * rank,), 0, 2)
    kernel, strides = whole(draw, (rank,), 2, 4), whole(draw, (rank,), 1, 4)
    strides = np.minimum(strides, kernel) if ceil else strides  # else a last window may hold nothing at all
    return {
        "x": real(draw, (2, 2, *(draw(st.integers(5, 8)) for _ in range(rank)))),
        "kernel_sizes": kernel,
        "strides": strides,
        "pad_type": pad_type,
        "pad": pad if pad_type == "custom" else np.zeros(2 * rank, np.int32),
        "ceil_mode": ceil,
    }


def naive_pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode, window_value):
    """Visit every window; `window_value` gets its elements and how many places of it lie in the padding."""
    pairs = naive_paddings(pad_type, pad, x.shape[2:], kernel_sizes, strides)
    counts = []
    for n, (before, after), k, s in zip(x.shape[2:], pairs, kernel_sizes, strides, strict=True):
        count = (n + before + after - k + (s - 1 if ceil_mode else 0)) // s + 1
        counts.append(count - 1 if ceil_mode and (count - 1) * s >= n + before and before + after > 0 else count)
    out = np.zeros((*x.shape[:2], *counts))
    for where in np.ndindex(*out.shape):
        elements, padding = [], 0
        for offset in np.ndindex(*kernel_sizes):
            place = [p * s + o - b for p, s, o, (b, _) in zip(where[2:], strides, offset, pairs, strict=True)]
            if all(0 <= p < n for p, n in zip(place, x.shape[2:], strict=True)):
                elements.append(x[(*where[:2], *place)])
            elif all(-b <= p < n + a for p, n, (b, a) in zip(place, x.shape[2:], pairs, strict=True)):
                padding += 1
        out[where] = window_value(elements, padding)
    return out


def naive_avg_pool(exclude_padding_from_average, **inputs):
    def mean(elements: list[float], padding: int) -> float:
        return sum(elements) / (len(elements) + (0 if exclude_padding_from_average else padding))

    return naive_pool(**inputs, window_value=mean)


def naive_max_pool(**inputs):
    return naive_pool(**inputs, window_value=lambda elements, padding: max(elements))


def batch_norm(draw: Draw) -> Inputs:
    channels = draw(st.integers(1, 4))
    parameters = {name: real(draw, (channels,)) for name in ("mean", "gamma", "beta")}
    variance = real(draw, (channels,), 0.1, 2)
    return {"x": real(draw, (2, channels, 3, 2)), "variance": variance, "epsilon": np.float32(0.01), **parameters}


def naive_batch_norm(x, mean, variance, gamma, beta, epsilon):
    mean, variance, gamma, beta = (one[:, None, None] for one in (mean, variance, gamma, beta))
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def instance_norm(draw: Draw) -> Inputs:
    inputs = batch_norm(draw)
    return {name: inputs[name] for name in ("x", "gamma", "beta", "epsilon")}


def naive_instance_norm(x, gamma, beta, epsilon):
    mean, variance = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma[:, None, None] + beta[:, None, None]


INFERRED: dict[str, Case] = {
    "einsum": einsum,
    "l2_norm": lambda draw: {"x": real(draw, size(draw, 3)), "epsilon": np.float32(0.01)},
    "layer_norm": layer_norm,
    "linear": linear,
    "matmul": matmul,
    "scaled_dot_product_attention": attention,
}

DEFINED: dict[str, tuple[Case, Callable[..., Any]]] = {
    "avg_pool": (lambda draw: pooling(draw) | {"exclude_padding_from_average": flag(draw)}, naive_avg_pool),
    "batch_norm": (batch_norm, naive_batch_norm),
    "conv": (conv, naive_conv),
    "instance_norm": (instance_norm, naive_instance_norm),
    "max_pool": (pooling, naive_max_pool),
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
    assert set(INFERRED) | set(DEFINED) == set(LAYERS)


def test_fused_attention_with_a_fully_hidden_row_is_not_a_number() -> None:
    one = torch.ones(1, 1, 2, 2)
    hidden = OPS["scaled_dot_product_attention"](one, one, one, torch.tensor([[True, True], [False, False]]))
    assert torch.isnan(hidden[0, 0, 1]).all()
    assert torch.equal(hidden[0, 0, 0], torch.ones(2))
