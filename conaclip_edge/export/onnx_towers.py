"""The towers as ONNX graphs, layer by layer as in `towers.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

from conaclip_edge.export.layers import MASKED, Block, InvertedResidual, QuickGelu
from conaclip_edge.export.onnx_graph import Graph, convolution, layer_norm, linear, token_rows
from conaclip_edge.export.towers import MobileTower, TextTower, Towers, VitTower


def image_model(towers: Towers, graph: Graph, about: str) -> onnx.ModelProto:
    """Write the image tower: pixel_values float32 [batch, 3, H, W] to embedding float32 [batch, d]."""
    size = towers.image_size
    given = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, size, size])
    pixels = graph.add("Cast", "pixel_values", to=TensorProto.FLOAT16) if graph.half else "pixel_values"
    tower = towers.image
    embedding = _vit(graph, pixels, tower) if isinstance(tower, VitTower) else _mobile(graph, pixels, tower)
    return graph.model(given, embedding, towers.embed_dim, about)


def text_model(towers: Towers, graph: Graph, about: str) -> onnx.ModelProto:
    """Write the text tower: input_ids int32 [batch, length] to embedding float32 [batch, d]."""
    given = helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", "length"])
    return graph.model(given, _text(graph, towers.text), towers.embed_dim, about)


def _vit(graph: Graph, pixels: str, tower: VitTower) -> str:
    patch = tower.patch
    width, side = patch.out_channels, patch.kernel_size[0]
    if "patch" in graph.int8:
        x = linear(graph, _patches(graph, pixels, tower), _as_linear(patch), "patch")
    else:
        weight, bias = graph.constant("patch.w", patch.weight), graph.constant("patch.b", patch.bias)  # type: ignore[arg-type]  # has a bias
        rows = graph.add("Conv", pixels, weight, bias, strides=[side, side])
        x = graph.add("Transpose", graph.add("Reshape", rows, graph.shape(0, width, -1)), perm=[0, 2, 1])
    x = graph.add("Add", x, graph.constant("position", tower.position))
    x = layer_norm(graph, x, tower.norm, "norm")
    batch = graph.add("Shape", pixels, start=0, end=1)
    rows = graph.add("Concat", batch, graph.shape(1), graph.shape(width), axis=0)
    first = graph.add("Expand", graph.constant("class_row", tower.class_row), rows)
    x = graph.add("Concat", first, x, axis=1)
    *blocks, last = tower.blocks
    for index, block in enumerate(blocks):
        x = _block(graph, x, block, f"blocks.{index}")
    x = _block(graph, x, last, f"blocks.{len(blocks)}", pool=_first_row)
    return _embedding(graph, x, tower.last_norm, tower.projection)
