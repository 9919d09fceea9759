"""How much of this machine's int8 peak a tower reaches: its multiplications over what the largest product takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from conaclip_edge.benchmarks.measure.rounds import ratio
from conaclip_edge.benchmarks.schema.speed import Finding
from conaclip_edge.benchmarks.schema.spread import Spread
from conaclip_edge.benchmarks.speed.two_clocks import Timer, Times, rounds

SIZES = (512, 1024, 2048)


def peak(count: int, seed: int, sizes: Sequence[int] = SIZES, timer: Timer = rounds) -> Spread:
    """Return the int8 peak of onnxruntime on one thread, in 10^9 multiply-adds per second.

    Args:
        count: rounds.
        seed: of the products and of the order.
        sizes: of the square products, whose fastest is the peak.
        timer: times them.
    """
    random = np.random.default_rng(seed)
    calls = {str(size): _product(size, random) for size in sizes}
    times = timer(calls, count, seed)
    rates = {name: int(name) ** 3 / found.cpu / 1e9 for name, found in times.items()}
    best = max(rates.values(), key=np.median)
    return ratio(best, np.ones_like(best))


def _product(size: int, random: np.random.Generator) -> Callable[[int], object]:
    weight = numpy_helper.from_array(random.integers(-127, 128, (size, size)).astype(np.int8), "w")
    given = helper.make_tensor_value_info("x", TensorProto.UINT8, [size, size])
    result = helper.make_tensor_value_info("y", TensorProto.INT32, [size, size])
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "product", [given], [result], [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given_values = {"x": random.integers(0, 255, (size, size)).astype(np.uint8)}
    return lambda number: session.run(None, given_values)


def multiplications(path: Path, given: np.ndarray) -> int:
    """Count the multiply-adds of an ONNX tower's matrix products, attention and convolutions for an input."""
    model = onnx.load(path)
    name = model.graph.input[0].name
    for dimension, size in zip(model.graph.input[0].type.tensor_type.shape.dim, given.shape, strict=True):
        dimension.ClearField("dim_param")
        dimension.dim_value = size
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = given.shape[0]
    wanted = {
        output for node in model.graph.node if node.op_type in _COUNTED for output in (*node.input[:2], node.output[0])
    }
    inside = wanted - {constant.name for constant in model.graph.initializer} - {name}
    constants = {constant.name: tuple(constant.dims) for constant in model.graph.initializer}
    model.graph.output.extend(onnx.ValueInfoProto(name=one) for one in sorted(inside))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = sorted(inside)
    shapes = constants | {name: given.shape}
    shapes |= {one: value.shape for one, value in zip(names, session.run(names, {name: given}), strict=True)}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Attention":
            # two products: of queries [B, M, width] with keys [B, L, width], and of what comes out with values
            total += 2 * int(np.prod(shapes[node.input[0]])) * shapes[node.input[1]][1]
        elif node.op_type in _COUNTED:
            weight, outputs = shapes[node.input[1]], int(np.prod(shapes[node.output[0]]))
            # a product sums over the rows of its second factor, a convolution over a filter
            total += outputs * (int(np.prod(weight[1:])) if node.op_type == "Conv" else weight[-2])
    return total


_COUNTED = ("MatMul", "MatMulInteger", "Conv", "Attention")


def share(times: Times, count: int, top: Spread, what: str, bar: float | None) -> Finding:
    """Return the share of the peak that a tower reaches.

    Args:
        times: of the tower.
        count: its multiply-adds.
        top: from `peak`.
        what: names the tower.
        bar: least share.
    """
    rate = count / times.cpu / 1e9 / top.median
    return Finding(
        axis="limit",
        what=f"{what}: share of the int8 peak",
        value=ratio(rate, np.ones_like(rate)),
        n=len(rate),
        bar=bar,
        most=False,
        note=f"{count / 1e9:.2f} G multiply-adds; peak {top.median:.0f} G per second, the fastest square int8 product",
    )
