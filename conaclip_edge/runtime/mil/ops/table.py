"""The op table of the reference interpreter for Core ML programs, and how values are kept between ops."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.runtime.mil.ops.arithmetic import MATH
from conaclip_edge.runtime.mil.ops.layers import LAYERS
from conaclip_edge.runtime.mil.ops.shape import SHAPE
from conaclip_edge.runtime.mil.ops.weights import WEIGHTS

OPS: dict[str, Callable[..., Any]] = {**MATH, **SHAPE, **LAYERS, **WEIGHTS}


def unknown_inputs(op: str, names: Iterable[str]) -> list[str]:
    """Return the inputs of an op that its function does not take, so that none is ignored in silence."""
    return sorted(set(names) - set(inspect.signature(OPS[op]).parameters))


def constant(value: Any) -> Tensor | str:
    """Turn a constant of a loaded program into what the ops take: a string, or a float32, int32 or bool tensor."""
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float32))
    if array.dtype.kind == "b":
        return torch.from_numpy(array.astype(np.bool_))
    return torch.from_numpy(array.astype(np.int64)).to(torch.int32)


def stored(value: Tensor, dtype: str, *, half: bool = True) -> Tensor:
    """Round a result to what its declared type can hold, and keep it as float32, int32 or bool.

    Args:
        value: what an op returned.
        dtype: the type the program declares, such as "fp16", "int8" or "bool".
        half: whether "fp16" is rounded; False keeps float32, to tell rounding from meaning.
    """
    if dtype == "fp16" and half:
        return value.half().float()
    if dtype in ("fp16", "fp32"):
        return value.float()
    if dtype == "bool":
        return value.bool()
    signed, width = not dtype.startswith("u"), int(dtype.lstrip("uint"))
    if width == 32:
        return value.to(torch.int32)
    wrapped = torch.remainder(value.to(torch.int64), 2**width)
    if signed:
        wrapped = torch.where(wrapped < 2 ** (width - 1), wrapped, wrapped - 2**width)
    return wrapped.to(torch.int32)
