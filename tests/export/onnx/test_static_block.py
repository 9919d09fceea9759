"""Blocks of an image transformer compute in int8 throughout, unless that costs the embedding too much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.onnx.export import export
from conaclip_edge.export.quantize import static_blocks
from conaclip_edge.export.quantize.static_blocks import ONNXRUNTIME, XNNPACK, static_ranges
from conaclip_edge.export.towers.centred import centred
from conaclip_edge.export.towers.towers import build_towers
from conaclip_edge.runtime.onnx_tower import OnnxTower
from tests.helpers.small_students import calibration, pictures, student

KERNELS = pytest.mark.parametrize("kernels", [ONNXRUNTIME, XNNPACK], ids=["onnxruntime", "xnnpack"])


@pytest.fixture(scope="module")
def towers():
    return build_towers(student("vit", "gelu"), "vit")


@pytest.fixture(scope="module")
def file(towers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    export(towers, calibration(), ExportConfig(batch="dynamic"), folder)
    return folder / "image.int8.onnx"


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def test_no_product_of_a_block_is_float(file):
    found = operators(file)
    assert "Gelu" not in found
    assert "Attention" not in found
    assert "Gemm" not in found
    assert found.count("MatMul") == 1  # of the sum of squares at the end


def test_keys_and_values_have_7_bits_so_that_no_sum_of_two_products_overflows(file):
    graph = onnx.load(file).graph
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in graph.initializer}
    signed = [n for n in graph.node if n.op_type == "QuantizeLinear" and constants[n.input[2]].dtype == np.int8]
    assert signed
    model = onnx.load(file)
    model.graph.output.extend(onnx.ValueInfoProto(name=node.output[0]) for node in signed)
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = session.run([node.output[0] for node in signed], {"pixel_values": next(calibration().images(4)).numpy()})
    assert 60 <= max(int(abs(each.astype(int)).max()) for each in values) <= 64


def test_a_static_file_takes_any_number_of_pictures(file, towers):
    tower, x = OnnxTower(file), pictures(3).numpy()
    singles = np.concatenate([tower(x[i : i + 1]) for i in range(3)])
    assert (singles * tower(x)).sum(axis=1).min() > 0.9999


@KERNELS
def test_a_block_that_costs_more_than_the_budget_is_not_static(towers, kernels, monkeypatch):
    monkeypatch.setattr(static_blocks, "BUDGET", 1e-9)
    assert static_ranges(replace(towers, image=centred(towers.image)), calibration(), kernels) == {}


@KERNELS
def test_a_block_that_spoils_pictures_unlike_the_data_is_not_static(towers, kernels, monkeypatch):
    monkeypatch.setattr(static_blocks, "WORST", 1e-9)
    assert static_ranges(replace(towers, image=centred(towers.image)), calibration(), kernels) == {}


@KERNELS
def test_a_block_with_a_float_layer_is_not_static(towers, kernels):
    marked = replace(towers, image=centred(towers.image), float_layers=frozenset({"image.blocks.0.fc1"}))
    kept = static_ranges(marked, calibration(), kernels)
    assert kept
    assert not any(site.startswith("blocks.0.") for site in kept)
