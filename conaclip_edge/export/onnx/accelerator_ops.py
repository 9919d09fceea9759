"""Layers written with the operators that NNAPI and both forms of Core ML know.

Their tables in onnxruntime 1.32 have in common: Add, AveragePool, Cast, Clip, Concat, Conv, DepthToSpace, Div, Gemm,
GlobalAveragePool, GlobalMaxPool, LeakyRelu, MatMul, MaxPool, Mul, Pow, PRelu, Relu, Reshape, Resize, Sigmoid, Slice,
Softmax, Split, Sqrt, Squeeze, Sub, Tanh, Transpose. Of these NNAPI takes Clip from 0 to 6 alone, Softmax of 2 or 4
dimensions, and MatMul of 2 dimensions by a constant, or of more dimensions all of which both factors have.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto
from torch import nn

from conaclip_edge.export.onnx.graph_builder import Graph
from conaclip_edge.export.towers.layers import QuickGelu, TanhGelu

# GELU is x * sigmoid(x * (c0 + c1 * t + c2 * t * t)) with t = x * x up to 25, to 2.6e-5: fitted to the largest
# difference over all x. The usual form with tanh is twenty times further away.
_GELU = (1.595015767, 0.07401129206, -0.0007030335776)
_LARGEST_SQUARE = 25.0
_CLIP = 6.0  # of ReLU6, which is all that NNAPI takes of Clip


def layer_norm(graph: Graph, x: str, weight: str, bias: str, epsilon: float, width: int) -> str:
    """Add a layer norm over the last axis, which has `width` values; means are products with a column.

    In a float16 graph, mean and variance are float32: squares would overflow.
    """
    column = graph.constant(f"mean{width}", np.full((width, 1), 1 / width), single=True)
    if graph.half:
        x = graph.add("Cast", x, to=TensorProto.FLOAT)
    centred = graph.add("Sub", x, graph.add("MatMul", x, column))
    variance = graph.add("MatMul", graph.add("Mul", centred, centred), column)
    deviation = graph.add(
        "Sqrt", graph.add("Add", variance, graph.constant(f"eps{epsilon}", np.asarray([epsilon]), single=True))
    )
    y = graph.add("Div", centred, deviation)
    if graph.half:
        y = graph.add("Cast", y, to=TensorProto.FLOAT16)
    return str(graph.add("Add", graph.add("Mul", y, weight), bias))


def gelu(graph: Graph, x: str) -> str:
    """Add GELU, by a form that differs from it by 2.6e-5 at most."""
    scaled = graph.add("Mul", x, _number(graph, (_CLIP / _LARGEST_SQUARE) ** 0.5))
    square = relu6(graph, graph.add("Mul", scaled, scaled))
    c0, c1, c2 = (c * (_LARGEST_SQUARE / _CLIP) ** power for power, c in enumerate(_GELU))
    steepness = graph.add("Add", graph.add("Mul", square, _number(graph, c2)), _number(graph, c1))
    steepness = graph.add("Add", graph.add("Mul", square, steepness), _number(graph, c0))
    return _sigmoid_times(graph, x, graph.add("Mul", x, steepness))


def tanh_gelu(graph: Graph, x: str) -> str:
    """Add the approximation of GELU with tanh, exactly: (1 + tanh(u)) / 2 is sigmoid(2 * u)."""
    scale = 2 * (2 / np.pi) ** 0.5
    cubic = graph.add("Mul", graph.add("Mul", x, x), _number(graph, scale * 0.044715))
    return _sigmoid_times(graph, x, graph.add("Mul", x, graph.add("Add", cubic, _number(graph, scale))))


def quick_gelu(graph: Graph, x: str) -> str:
    """Add CLIP's approximation of GELU."""
    return _sigmoid_times(graph, x, graph.add("Mul", x, _number(graph, 1.702)))


def hard_swish(graph: Graph, x: str) -> str:
    """Add x * relu6(x + 3) / 6."""
    return str(graph.add("Mul", x, hard_sigmoid(graph, x)))


def hard_sigmoid(graph: Graph, x: str) -> str:
    """Add relu6(x + 3) / 6."""
    return str(graph.add("Mul", relu6(graph, graph.add("Add", x, _number(graph, 3.0))), _number(graph, 1 / 6)))


def relu6(graph: Graph, x: str) -> str:
    """Add a clip from 0 to 6."""
    return str(graph.add("Clip", x, graph.constant("zero", 0.0), graph.constant("six", _CLIP)))


def activation(graph: Graph, x: str, layer: nn.Module) -> str:
    """Add the activation of a transformer block."""
    return next((add for kind, add in _ACTIVATIONS.items() if isinstance(layer, kind)), gelu)(graph, x)


_ACTIVATIONS: dict[type[nn.Module], Callable[[Graph, str], str]] = {QuickGelu: quick_gelu, TanhGelu: tanh_gelu}


def _sigmoid_times(graph: Graph, x: str, steep: str) -> str:
    return str(graph.add("Mul", x, graph.add("Sigmoid", steep)))


def _number(graph: Graph, value: float) -> str:
    """Store a number as a tensor of one dimension: NNAPI has none of no dimension."""
    return graph.constant(f"{value:.6g}", np.asarray([value]))
