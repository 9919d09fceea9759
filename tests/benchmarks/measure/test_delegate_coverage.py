from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from conaclip_edge.benchmarks.measure.delegate_coverage import coverages, onnx_coverage


def graph(path: Path, *operations: str) -> Path:
    """Write a graph of nodes in a chain; it is counted, never run."""
    nodes = [helper.make_node(kind, [f"x{number}"], [f"x{number + 1}"]) for number, kind in enumerate(operations)]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x0", f"x{len(nodes)}")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "graph", value[:1], value[1:])), str(path))
    return path


def test_nodes_that_compute_in_int8_are_counted_apart_from_those_that_fall_back(tmp_path):
    found = onnx_coverage(graph(tmp_path / "a.onnx", "ConvInteger", "Cast", "Mul", "MatMulInteger", "Mul"))
    assert (found.accelerated, found.inside) == ("int8 kernels", 2)
    assert found.outside == {"Mul": 2, "Cast": 1}


def test_constants_and_copies_are_no_work(tmp_path):
    assert onnx_coverage(graph(tmp_path / "a.onnx", "Identity", "Constant", "Relu")).outside == {"Relu": 1}


def test_files_whose_operations_only_the_device_places_are_left_out(tmp_path):
    path = graph(tmp_path / "a.onnx", "Relu")
    assert set(coverages([path, tmp_path / "b.mlpackage", tmp_path / "c.ort"])) == {path}
