"""Core ML ops that work element by element or reduce: arithmetic, comparisons, activations, reductions.

Every function takes the op's inputs under their MIL names, as float32, int32 or bool tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Kernel = Callable[..., Any]

_CAST = {"fp16": torch.float32, "fp32": torch.float32, "bool": torch.bool}


def _unary(function: Callable[[Tensor], Tensor]) -> Kernel:
    def kernel(x: Tensor) -> Tensor:
        return function(x)

    return kernel


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)

    return kernel


def _cast(x: Tensor, dtype: str) -> Tensor:
    # Integers stay wide here; the declared type of the output narrows them.
    return x.to(_CAST.get(dtype, torch.int64))


def _clip(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, alpha), beta)


def _gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return torch.nn.functional.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def _inverse(x: Tensor, epsilon: Tensor) -> Tensor:
    return 1 / (x + epsilon)


def _log(x: Tensor, epsilon: Tensor) -> Tensor:
    return torch.log(x + epsilon)


def _rsqrt(x: Tensor, epsilon: Tensor) -> Tensor:
    return torch.rsqrt(x + epsilon)


def _select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond, a, b)


def _threshold(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.maximum(x, alpha)


def _softmax(x: Tensor, axis: Tensor) -> Tensor:
    return torch.softmax(x, int(axis))


def _clamped_relu(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return torch.minimum(torch.where(x >= 0, x, alpha * x), beta)


def _elu(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(x > 0, x, alpha * torch.expm1(x))


def _leaky_relu(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(x >= 0, x, alpha * x)


def _linear_activation(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return alpha * x + beta


def _prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return _leaky_relu(x, alpha.reshape(-1, *[1] * (x.ndim - 2)))


def _scaled_tanh(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return alpha * torch.tanh(beta * x)


def _sigmoid_hard(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return torch.clamp(alpha * x + beta, 0, 1)


def _thresholded_relu(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(x >= alpha, x, torch.zeros_like(x))


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Kernel:
    def kernel(x: Tensor, keep_dims: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = list(range(x.ndim)) if axes is None else [int(axis) for axis in axes]
        return function(x, dims, bool(keep_dims))

    return kernel


def _mean(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return torch.mean(x if x.is_floating_point() else x.double(), dims, keep)


def _product(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    for dim in sorted((dim % x.ndim for dim in dims), reverse=True):
        x = torch.prod(x, dim, keep)
    return x


def _argument(function: Callable[..., Tensor]) -> Kernel:
    def kernel(x: Tensor, axis: Tensor, keep_dims: Tensor, output_dtype: str = "int32") -> Tensor:
        return function(x, dim=int(axis), keepdim=bool(keep_dims))

    return kernel


MATH: dict[str, Kernel] = {
    "abs": _unary(torch.abs),
    "add": _binary(torch.add),
    "atan": _unary(torch.atan),
    "cast": _cast,
    "ceil": _unary(torch.ceil),
    "clamped_relu": _clamped_relu,
    "clip": _clip,
    "cos": _unary(torch.cos),
    "elu": _elu,
    "equal": _binary(torch.eq),
    "erf": _unary(torch.erf),
    "exp": _unary(torch.exp),
    "exp2": _unary(torch.exp2),
    "floor": _unary(torch.floor),
    "floor_div": _binary(lambda x, y: torch.div(x, y, rounding_mode="floor")),
    "gelu": _gelu,
    "greater": _binary(torch.gt),
    "greater_equal": _binary(torch.ge),
    "identity": _unary(lambda x: x),
    "inverse": _inverse,
    "leaky_relu": _leaky_relu,
    "less": _binary(torch.lt),
    "less_equal": _binary(torch.le),
    "linear_activation": _linear_activation,
    "log": _log,
    "logical_and": _binary(torch.logical_and),
    "logical_not": _unary(torch.logical_not),
    "logical_or": _binary(torch.logical_or),
    "logical_xor": _binary(torch.logical_xor),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "mod": _binary(torch.remainder),
    "mul": _binary(torch.mul),
    "not_equal": _binary(torch.ne),
    "pow": _binary(torch.pow),
    "prelu": _prelu,
    "real_div": _binary(torch.div),
    "reduce_argmax": _argument(torch.argmax),
    "reduce_argmin": _argument(torch.argmin),
    "reduce_l1_norm": _reduction(lambda x, dims, keep: torch.sum(torch.abs(x), dims, keep)),
    "reduce_l2_norm": _reduction(lambda x, dims, keep: torch.sqrt(torch.sum(torch.square(x), dims, keep))),
    "reduce_log_sum": _reduction(lambda x, dims, keep: torch.log(torch.sum(x, dims, keep))),
    "reduce_log_sum_exp": _reduction(lambda x, dims, keep: torch.logsumexp(x, dims, keep)),
    "reduce_max": _reduction(lambda x, dims, keep: torch.amax(x, dims, keep)),
    "reduce_mean": _reduction(_mean),
    "reduce_min": _reduction(lambda x, dims, keep: torch.amin(x, dims, keep)),
    "reduce_prod": _reduction(_product),
    "reduce_sum": _reduction(lambda x, dims, keep: torch.sum(x, dims, keep)),
    "reduce_sum_square": _reduction(lambda x, dims, keep: torch.sum(torch.square(x), dims, keep)),
    "relu": _unary(torch.relu),
    "relu6": _unary(lambda x: torch.clamp(x, 0, 6)),
    "round": _unary(torch.round),
    "rsqrt": _rsqrt,
    "scaled_tanh": _scaled_tanh,
    "select": _select,
    "sigmoid": _unary(torch.sigmoid),
    "sigmoid_hard": _sigmoid_hard,
    "sign": _unary(torch.sign),
    "silu": _unary(lambda x: x * torch.sigmoid(x)),
    "sin": _unary(torch.sin),
    "softmax": _softmax,
    "softplus": _unary(lambda x: torch.logaddexp(x, torch.zeros_like(x))),
    "softsign": _unary(lambda x: x / (1 + torch.abs(x))),
    "sqrt": _unary(torch.sqrt),
    "square": _unary(torch.square),
    "sub": _binary(torch.sub),
    "tan": _unary(torch.tan),
    "tanh": _unary(torch.tanh),
    "threshold": _threshold,
    "thresholded_relu": _thresholded_relu,
}
