"""A traced image tower, with the operators that accelerators of phones know in place of some that they do not.

Two tables: what costs the CPU nothing, which every traced file of one picture per call gets, and what does, for a file
of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from conaclip_edge.export.onnx import accelerator_ops as ops
from conaclip_edge.export.onnx.graph_builder import Graph


class _Traced:
    """What a rewrite reads of a traced model: shapes and constants by the names of values."""

    def __init__(self, model: onnx.ModelProto):
        graph = onnx.shape_inference.infer_shapes(model).graph
        values = (*graph.input, *graph.output, *graph.value_info)
        self._shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
        self._constants = {stored.name: stored for stored in graph.initializer}

    def shape(self, name: str) -> list[int]:
        """Return the shape of a value that is computed; [] where it is not known."""
        return self._shapes.get(name, [])

    def constant(self, name: str) -> Any:
        """Return a constant as numbers, nested as its shape is; None for what is computed, or absent."""
        return numpy_helper.to_array(self._constants[name]).tolist() if name in self._constants else None


# adds nodes to a graph and returns True, or returns False and leaves a node as it is
Rewrite = Callable[[Graph, onnx.NodeProto, Mapping[str, Any], _Traced], bool]


def with_free_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a traced model of fixed shapes with other operators where they cost the CPU nothing."""
    return _rewritten(model, _FREE)[0]


def with_known_operators(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Return a traced model of fixed shapes with other operators at any cost; None where there is nothing to change."""
    changed, count = _rewritten(model, _COSTLY)
    return changed if count else None


def _rewritten(model: onnx.ModelProto, table: dict[str, Rewrite]) -> tuple[onnx.ModelProto, int]:
    traced, count = _Traced(model), 0
    half = any(stored.data_type == onnx.TensorProto.FLOAT16 for stored in model.graph.initializer)
    (opset,) = (one.version for one in model.opset_import if one.domain == "")
    graph = Graph(half, frozenset(), opset, batch=1, prefix=f"{len(model.graph.node)}.")
    for node in model.graph.node:
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type in table and table[node.op_type](graph, node, attributes, traced):
            graph.nodes[-1].output[0] = node.output[0]
            count += 1
        else:
            graph.nodes.append(node)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[:]
    changed.graph.node.extend(graph.nodes)
    used = {name for node in graph.nodes for name in node.input}
    kept = [stored for stored in (*model.graph.initializer, *graph.constants.values()) if stored.name in used]
    del changed.graph.initializer[:]
    changed.graph.initializer.extend(kept)
    return changed, count


def _mean(graph: Graph, node: onnx.NodeProto, attributes: Mapping[str, Any], traced: _Traced) -> bool:
    """Turn the mean over a picture's places into a pool."""
    x, axes = node.input[0], traced.constant(node.input[1]) if len(node.input) > 1 else None
    if len(traced.shape(x)) != 4 or axes is None or {axis % 4 for axis in axes} != {2, 3}:
        return False
    pooled = graph.add("GlobalAveragePool", x)
    if not attributes.get("keepdims", 1):
        graph.add("Squeeze", pooled, graph.shape(2, 3))
    return True


def _sum(graph: Graph, node: onnx.NodeProto, attributes: Mapping[str, Any], traced: _Traced) -> bool:
    """Turn the sum of rows into a product with a column of ones."""
    shape, axes = traced.shape(node.input[0]), traced.constant(node.input[1]) if len(node.input) > 1 else None
    if len(shape) != 2 or axes not in ([1], [-1]) or not attributes.get("keepdims", 1):
        return False
    graph.add("MatMul", node.input[0], graph.constant("ones", np.ones((shape[1], 1)), single=True))
    return True


def _reciprocal(graph: Graph, node: onnx.NodeProto, attributes: Mapping[str, Any], traced: _Traced) -> bool:
    graph.add("Div", graph.constant("one", np.ones(1), single=True), node.input[0])
    return True


def _unsqueeze(graph: Graph, node: onnx.NodeProto, attributes: Mapping[str, Any], traced: _Traced) -> bool:
    shape = traced.shape(node.output[0])
    if not shape or not all(shape):
        return False
    graph.add("Reshape", node.input[0], graph.shape(*shape))
    return True


def _select(graph: Graph, node: onnx.NodeProto, attributes: Mapping[str, Any], traced: _Traced) -> bool:
    """Turn the look-up of one constant place into a slice."""
    index, shape = traced.constant(node.input[1]), traced.shape(node.input[0])
    if not isinstance(index, int) or not shape:
        return False
    axis = attributes.get("axis", 0) % len(shape)
    index %= shape[axis]
    cut = graph.add("Slice", node.input[0], graph.shape(index), graph.shape(index + 1), graph.shape(axis))
    graph.add("Squeeze", cut, graph.shape(axis))
    return True


def _layer_norm(graph: Graph, node: onnx.NodeProto, attributes: Mapping[str, Any], traced: _Traced) -> bool:
    shape = traced.shape(node.input[0])
    if not shape or attributes.get("axis", -1) not in (-1, len(shape) - 1) or len(node.input) < 3:
        return False
    x, weight, bias = node.input
    ops.layer_norm(graph, x, weight, bias, attributes.get("epsilon", 1e-5), shape[-1])
    return True


def _gelu(graph: Graph, node: onnx.NodeProto, attributes: Mapping[str, Any], traced: _Traced) -> bool:
    add = ops.tanh_gelu if attributes.get("approximate", b"none") == b"tanh" else ops.gelu
    add(graph, node.input[0])
    return True


def _hard_swish(graph: Graph, node: onnx.NodeProto, attributes: Mapping[str, Any], traced: _Traced) -> bool:
    ops.hard_swish(graph, node.input[0])
    return True


def _hard_sigmoid(graph: Graph, node: onnx.NodeProto, attributes: Mapping[str, Any], traced: _Traced) -> bool:
    if not np.allclose([attributes.get("alpha", 0.2), attributes.get("beta", 0.5)], [1 / 6, 0.5]):
        return False
    ops.hard_sigmoid(graph, node.input[0])
    return True


def _attention(graph: Graph, node: onnx.NodeProto, attributes: Mapping[str, Any], traced: _Traced) -> bool:
    """Write attention of 4 dimensions in parts, where it has no mask and as many heads of keys as of queries."""
    shapes = [traced.shape(name) for name in node.input]
    plain = len(node.input) == 3 and len(node.output) == 1 and not attributes.get("is_causal", 0)
    if (
        not plain
        or any(len(shape) != 4 for shape in shapes)
        or shapes[0][1] != shapes[1][1]
        or attributes.get("softcap")
    ):
        return False
    scale = attributes.get("scale", shapes[0][3] ** -0.5)
    q = graph.add("Mul", node.input[0], graph.constant(f"{scale:.6g}", np.asarray([scale])))
    scores = graph.add("MatMul", q, graph.add("Transpose", node.input[1], perm=[0, 1, 3, 2]))
    graph.add("MatMul", graph.add("Softmax", scores, axis=-1), node.input[2])
    return True


_FREE: dict[str, Rewrite] = {
    "Gather": _select,
    "ReduceMean": _mean,
    "ReduceSum": _sum,
    "Reciprocal": _reciprocal,
    "Unsqueeze": _unsqueeze,
}
_COSTLY: dict[str, Rewrite] = {
    "Attention": _attention,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LayerNormalization": _layer_norm,
}
