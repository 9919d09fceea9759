"""Writing a tower as an ONNX graph, node by node.

The graph is written from the layers rather than traced: so it is small, has the same bytes every time, holds no shape
arithmetic, and each layer can be quantised by its name. Ops are of the standard operator set, but for int8 blocks of
image transformers, see `static_block`; onnxruntime fuses the int8 pattern of a linear layer (DynamicQuantizeLinear,
MatMulInteger, scale, bias) to one kernel at load.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from conaclip_edge.export.quantize.int8_grid import pair_scale
from conaclip_edge.export.towers.layers import CentredNorm, Conv, TokenTable
from conaclip_edge.models.quantization.int8_weights import int8_values

CONTRIB = "com.microsoft"  # the domain of onnxruntime's own operators


class Graph:
    """A graph under construction.

    Args:
        half: weights and activations float16 instead of float32.
        int8: layers (by name) whose weights are int8.
        opset: version of the standard operator set.
        batch: pictures or texts per call; None takes any number.
        prefix: of the names of nodes and constants, where they come beside others.
    """

    def __init__(self, half: bool, int8: frozenset[str], opset: int, batch: int | None = None, prefix: str = ""):
        self.half = half
        self.int8 = int8
        self.opset = opset
        self.batch: int | str = batch or "batch"
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.quantised: dict[str, list[str]] = {}
        # accelerators of phones take MatMul and Softmax but no Attention; none of them takes this int8 either way
        self.has_attention = bool(int8) and opset >= 23

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Append a node; returns the name of its output, or the list of them if there are several."""
        # short names: a small tower's are a visible share of its file
        names = [f"{self.prefix}{len(self.nodes):x}" + "xyz"[i : i + 1] * (outputs > 1) for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, name: str, value: Tensor | np.ndarray | list[int] | float, single: bool = False) -> str:
        """Return the name of a stored constant; lists are stored as int64.

        Args:
            name: of its layer, "3.fc1.w" for `blocks.3.fc1`; what has the same name is stored once.
            value: floats are stored in the graph's float type.
            single: floats are stored as float32 also where the graph is float16.
        """
        array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float16 if self.half and not single else np.float32)
        return self.stored(name, array)

    def stored(self, name: str, array: np.ndarray) -> str:
        """Return the name of a constant that is stored in its own type; names are as in `constant`."""
        name = self.prefix + name.removeprefix("blocks.")
        if name not in self.constants:
            # not ascontiguousarray, which makes a scalar a row of one: onnxruntime then fuses no int8 sum
            self.constants[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def shape(self, *sizes: int) -> str:
        """Return a constant for the shape input of Reshape and its like."""
        return self.constant("s" + "_".join(map(str, sizes)), list(sizes))

    def model(self, given: onnx.ValueInfoProto, embedding: str, width: int, about: str) -> onnx.ModelProto:
        """Finish: name the result "embedding", float32 [batch, width]."""
        result = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [self.batch, width])
        self.nodes.append(helper.make_node("Identity", [embedding], ["embedding"]))
        domains = {"": self.opset} | dict.fromkeys((node.domain for node in self.nodes if node.domain), 1)
        graph = helper.make_graph(self.nodes, "tower", [given], [result], list(self.constants.values()))
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*each) for each in domains.items()],
            ir_version=10,
            producer_name="conaclip-edge",
            doc_string=about,
        )


def linear(graph: Graph, x: str, layer: nn.Linear, name: str) -> str:
    """Add a linear layer; in int8 its inputs are quantised as they come, once for all layers that share them."""
    if name in graph.int8:
        if x not in graph.quantised:
            graph.quantised[x] = graph.add("DynamicQuantizeLinear", x, outputs=3)
        values, scale, zero = graph.quantised[x]
        whole, steps = int8_values(layer.weight, pair_scale(layer.weight))
        y = graph.add("MatMulInteger", values, graph.constant(f"{name}.w", whole.T), zero)
        y = graph.add("Cast", y, to=TensorProto.FLOAT)
        y = graph.add("Mul", y, graph.add("Mul", scale, graph.constant(f"{name}.s", steps.flatten())))
    else:
        y = graph.add("MatMul", x, graph.constant(f"{name}.w", layer.weight.T))
    return _biased(graph, y, layer, name)


def exact_linear(graph: Graph, x: str, layer: nn.Linear, name: str) -> str:
    """Add a linear layer that computes with float also where its weights are int8."""
    return _biased(graph, graph.add("MatMul", x, float_weight(graph, layer.weight.T, name, channel=1)), layer, name)


def _biased(graph: Graph, y: str, layer: nn.Linear, name: str) -> str:
    return str(y if layer.bias is None else graph.add("Add", y, graph.constant(f"{name}.b", layer.bias)))


def float_weight(graph: Graph, weight: Tensor, name: str, channel: int = 0) -> str:
    """Add a weight that is computed with as float; if int8, its scales are along the dimension `channel`.

    Cast and Mul are folded when the file is loaded, which DequantizeLinear is not: that took three times as long.
    """
    if name not in graph.int8:
        return graph.constant(f"{name}.w", weight)
    whole, scale = int8_values(weight.transpose(0, channel))
    stored = graph.constant(f"{name}.w", whole.transpose(0, channel))
    y = graph.add("Cast", stored, to=TensorProto.FLOAT)
    return str(graph.add("Mul", y, graph.constant(f"{name}.s", scale.transpose(0, channel))))


def conv_attributes(layer: Conv) -> dict[str, Any]:
    """Return the attributes of the operator Conv: groups, strides and pads, where they are not the default."""
    conv = layer.conv
    attributes: dict[str, Any] = {"group": conv.groups} if conv.groups > 1 else {}
    if conv.stride[0] > 1:
        attributes["strides"] = list(conv.stride)
    # torch's order is left, right, top, bottom; ONNX wants all beginnings first
    pads = [layer.pad[i] for i in (2, 0, 3, 1)] if layer.pad else [conv.padding[0]] * 4
    if any(pads):
        attributes["pads"] = pads
    return attributes


def convolution(graph: Graph, x: str, layer: Conv, name: str) -> str:
    """Add a convolution with ReLU6 where it has one; in int8 its weights are stored so and computed with as float."""
    assert layer.conv.bias is not None
    weight = float_weight(graph, layer.conv.weight, name)
    y = graph.add("Conv", x, weight, graph.constant(f"{name}.b", layer.conv.bias), **conv_attributes(layer))
    return str(graph.add("Clip", y, graph.constant("zero", 0.0), graph.constant("six", 6.0)) if layer.active else y)


def layer_norm(graph: Graph, x: str, layer: nn.LayerNorm | nn.RMSNorm, name: str) -> str:
    """Add a norm over the last axis."""
    weight = graph.constant(f"{name}.w", layer.weight)
    if isinstance(layer, nn.RMSNorm):
        return str(graph.add("RMSNormalization", x, weight, epsilon=layer.eps))
    y = graph.add("LayerNormalization", x, weight, graph.constant(f"{name}.b", layer.bias), epsilon=layer.eps)
    if isinstance(layer, CentredNorm):
        y = graph.add("Sub", y, graph.add("ReduceMean", y, graph.shape(-1)))
    return str(y)


def token_rows(graph: Graph, ids: str, table: TokenTable, name: str) -> str:
    """Add the look-up of token rows; an int8 table has a scale for each row."""
    if name not in graph.int8:
        return str(graph.add("Gather", graph.constant(f"{name}.w", table.weight), ids))
    whole, scale = int8_values(table.weight)
    rows = graph.add("Cast", graph.add("Gather", graph.constant(f"{name}.w", whole), ids), to=TensorProto.FLOAT)
    return str(graph.add("Mul", rows, graph.add("Gather", graph.constant(f"{name}.s", scale), ids)))


def unit(graph: Graph, x: str, width: int) -> str:
    """Scale rows to length 1, in float32 also where the graph is float16: squares would overflow there.

    Squares are added up by a product with a column of ones: accelerators know no other sum that all of them take.
    """
    ones = graph.constant("ones", np.ones((width, 1)), single=True)
    if graph.half:
        x = graph.add("Cast", x, to=TensorProto.FLOAT)
    squares = graph.add("MatMul", graph.add("Mul", x, x), ones)
    return str(graph.add("Div", x, graph.add("Sqrt", squares)))
