"""The nodes that accelerators take of an .onnx file: by their types, the rank of their inputs, and fixed shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conaclip_edge.bundle.card.accelerators import Accelerator
from conaclip_edge.export.accelerators.onnx_nodes import onnx_accelerators
from tests.helpers.full_disk import full_disk

TABLES = ("NNAPI", "Core ML NeuralNetwork", "Core ML MLProgram", "QNN")


def covered(folder: Path, batch: int | str, *nodes: onnx.NodeProto, shape: tuple[int, ...] = (4,)) -> dict:
    """Write a graph from "x" [batch, *shape] to "y" and return name of the accelerator -> what it takes."""
    given, result = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, *shape]) for n in ("x", "y"))
    square = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    graph = helper.make_graph(list(nodes), "g", [given], [result], [square])
    path = folder / "file.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return {one.name: one for one in onnx_accelerators(path)}


def taken(found: dict[str, Accelerator]) -> dict[str, int | None]:
    return {name: one.taken for name, one in found.items()}


CHAIN = (
    helper.make_node("MatMul", ["x", "w"], ["a"]),
    helper.make_node("Acosh", ["a"], ["b"]),
    helper.make_node("Sigmoid", ["b"], ["y"]),
)


def test_what_no_table_knows_splits_the_nodes_in_pieces(tmp_path: Path) -> None:
    found = covered(tmp_path, 1, *CHAIN)
    assert taken(found) == dict.fromkeys(TABLES, 2) | {"XNNPACK": 1}
    for name in TABLES:
        assert (found[name].pieces, found[name].left, found[name].symbolic) == (2, ("Acosh",), 0)
    assert found["XNNPACK"].left == ("Acosh", "Sigmoid")
    assert all(one.nodes == 3 and one.source for one in found.values())


def test_a_symbolic_batch_keeps_all_but_xnnpack_away(tmp_path: Path) -> None:
    found = covered(tmp_path, "batch", *CHAIN)
    assert taken(found) == dict.fromkeys(TABLES, 0) | {"XNNPACK": 1}
    assert {found[name].symbolic for name in TABLES} == {3}


@pytest.mark.parametrize("room", [0, 100, 5000])  # for nothing, for a part of the graph, for a part of the weights
def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path, room: int) -> None:
    weights = numpy_helper.from_array(np.ones((4, 4000), np.float32), "w")
    given, result = (helper.make_tensor_value_info(*one) for one in (("x", 1, [1, 4]), ("y", 1, [1, 4000])))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [given], [result], [weights])
    file = tmp_path / "file.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    with full_disk(room), pytest.raises(OSError, match=r"onnxruntime cannot write .*file\.onnx"):
        onnx_accelerators(file)


@pytest.mark.parametrize(("shape", "count"), [((4,), 1), ((5, 4), 0)])
def test_xnnpack_takes_products_of_two_dimensions_only(tmp_path: Path, shape: tuple[int, ...], count: int) -> None:
    found = covered(tmp_path, 1, helper.make_node("MatMul", ["x", "w"], ["y"]), shape=shape)
    assert taken(found) == dict.fromkeys(TABLES, 1) | {"XNNPACK": count}
