"""The towers in the form that accelerators of phones take: one input of one shape, and operators that they know.

Weights are stored in int8 where the graph says so and computed with as float: onnxruntime makes floats of them when it
loads the file, so an accelerator sees constants. Rows are [L, width], and only attention has 4 dimensions: of other
products NNAPI and the older form of Core ML take those of 2 dimensions alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from conaclip_edge.export.onnx.accelerator_ops import activation, layer_norm
from conaclip_edge.export.onnx.graph_builder import Graph, exact_linear, float_weight, token_rows, unit
from conaclip_edge.export.towers.layers import AttentionPool, Block
from conaclip_edge.export.towers.siglip import SiglipTextTower, SiglipTower
from conaclip_edge.export.towers.towers import TextTower, Towers, VitTower

Pool = Callable[[str], str]


def accelerator_image_model(towers: Towers, graph: Graph, about: str) -> onnx.ModelProto:
    """Write a transformer image tower: pixel_values float32 [1, 3, H, W] to embedding float32 [1, d]."""
    size, tower = towers.image_size, towers.image
    given = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1, 3, size, size])
    pixels = graph.add("Cast", "pixel_values", to=TensorProto.FLOAT16) if graph.half else "pixel_values"
    assert isinstance(tower, VitTower | SiglipTower)
    embedding = _vit(graph, pixels, tower) if isinstance(tower, VitTower) else _siglip(graph, pixels, tower)
    return graph.model(given, embedding, towers.embed_dim, about)


def accelerator_text_model(towers: Towers, graph: Graph, about: str) -> onnx.ModelProto:
    """Write the text tower: input_ids int32 [1, context], padded behind their EOS, to embedding float32 [1, d]."""
    given = helper.make_tensor_value_info("input_ids", TensorProto.INT32, [1, towers.context])
    if isinstance(towers.text, SiglipTextTower):
        return graph.model(given, _siglip_text(graph, towers.text, towers.context), towers.embed_dim, about)
    assert isinstance(towers.text, TextTower)
    return graph.model(given, _text(graph, towers.text, towers.context), towers.embed_dim, about)


def _vit(graph: Graph, pixels: str, tower: VitTower) -> str:
    x = graph.add("Add", _patches(graph, pixels, tower.patch), graph.constant("position", tower.position[0]))
    x = graph.add(
        "Concat", graph.constant("class_row", tower.class_row[0]), _norm(graph, x, tower.norm, "norm"), axis=0
    )
    return _pooled_rows(graph, x, tower, tower.position.shape[1] + 1, lambda rows: _row(graph, rows, 0))


def _siglip(graph: Graph, pixels: str, tower: SiglipTower) -> str:
    x = graph.add("Add", _patches(graph, pixels, tower.patch), graph.constant("position", tower.position[0]))
    length = tower.position.shape[1]
    for index, block in enumerate(tower.blocks):
        x = _block(graph, x, block, f"blocks.{index}", length)
    return unit(graph, _attention_pool(graph, x, tower.head, length), tower.head.fc2.out_features)


def _siglip_text(graph: Graph, tower: SiglipTextTower, length: int) -> str:
    x = _tokens(graph, tower, length)
    return _pooled_rows(graph, x, tower, length, lambda rows: _row(graph, rows, length - 1))


def _text(graph: Graph, tower: TextTower, length: int) -> str:
    if tower.eos_id is None:
        end = graph.add("ReduceMax", "input_ids", graph.shape(1))
    else:
        end = graph.constant("eos", torch.tensor(tower.eos_id, dtype=torch.int32))
    kind = TensorProto.FLOAT16 if graph.half else TensorProto.FLOAT
    # ids are compared on the CPU, for float16 holds no id above 2,048; what follows are whole numbers up to the context
    is_end = graph.add("Cast", graph.add("Equal", "input_ids", end), to=kind)
    less_earlier = np.eye(length) - np.triu(np.ones((length, length)), 1)
    first = graph.add("Relu", graph.add("MatMul", is_end, graph.constant("first", less_earlier)))
    mask = graph.constant("mask", tower.mask[:length, :length])
    hidden = graph.add("MatMul", first, mask)  # the row of the mask that belongs to the first EOS
    chosen = graph.add("Reshape", first, graph.shape(1, 1, length))

    def first_end(rows: str) -> str:
        # 3 dimensions, for NNAPI knows no product of 2 whose second factor is not constant
        rows = graph.add("Reshape", rows, graph.shape(1, length, tower.table.weight.shape[1]))
        return str(graph.add("Reshape", graph.add("MatMul", chosen, rows), graph.shape(1, -1)))

    return _pooled_rows(graph, _tokens(graph, tower, length), tower, length, first_end, mask, hidden)


def _tokens(graph: Graph, tower: TextTower | SiglipTextTower, length: int) -> str:
    """Look up tokens and add their positions; returns rows [length, width]."""
    rows = graph.add("Reshape", token_rows(graph, "input_ids", tower.table, "table"), graph.shape(length, -1))
    return str(graph.add("Add", rows, graph.constant("position", tower.position[:length])))


def _patches(graph: Graph, pixels: str, patch: nn.Conv2d) -> str:
    """Cut pixels into embedded patches [patches, width]."""
    assert patch.bias is not None
    weight, bias = float_weight(graph, patch.weight, "patch"), graph.constant("patch.b", patch.bias)
    x = graph.add("Conv", pixels, weight, bias, strides=list(patch.stride))
    return str(graph.add("Transpose", graph.add("Reshape", x, graph.shape(patch.out_channels, -1)), perm=[1, 0]))


def _row(graph: Graph, x: str, index: int) -> str:
    return str(graph.add("Slice", x, graph.shape(index), graph.shape(index + 1), graph.shape(0)))


def _pooled_rows(
    graph: Graph,
    x: str,
    tower: VitTower | TextTower | SiglipTextTower,
    length: int,
    pool: Pool,
    mask: str = "",
    hidden: str = "",
) -> str:
    """Add the blocks to rows [length, width]; of the last one only the pooled row is computed. Returns [1, d].

    Args:
        graph: under construction.
        x: rows.
        tower: whose blocks, last norm and projection are added.
        length: number of rows.
        pool: picks the row [1, width].
        mask: added to the scores [1, heads, length, length].
        hidden: added to the scores of the pooled row [1, heads, 1, length].
    """
    *blocks, last = tower.blocks
    for index, block in enumerate(blocks):
        x = _block(graph, x, block, f"blocks.{index}", length, mask)
    x = _block(graph, x, last, f"blocks.{len(blocks)}", length, hidden, pool)
    x = _norm(graph, x, tower.last_norm, "last_norm")
    return unit(graph, exact_linear(graph, x, tower.projection, "projection"), tower.projection.out_features)


def _block(
    graph: Graph, x: str, block: nn.Module, name: str, length: int, mask: str = "", pool: Pool | None = None
) -> str:
    """Add a transformer block; `mask` is added to the scores, `pool` picks the row that a last block works for."""
    assert isinstance(block, Block)
    rows = queries = _norm(graph, x, block.norm1, f"{name}.norm1")
    if pool is not None:
        x, queries = pool(x), pool(rows)
    q = _split(graph, exact_linear(graph, queries, block.q, f"{name}.q"), block.heads, 1 if pool else length)
    k = _split(graph, exact_linear(graph, rows, block.k, f"{name}.k"), block.heads, length, keys=True)
    v = _split(graph, exact_linear(graph, rows, block.v, f"{name}.v"), block.heads, length)
    scores = graph.add("MatMul", q, k)
    if mask:
        scores = graph.add("Add", scores, mask)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), v)
    mixed = graph.add("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", mixed, graph.shape(-1, block.q.in_features))
    x = graph.add("Add", x, exact_linear(graph, mixed, block.o, f"{name}.o"))
    return str(graph.add("Add", x, _mlp(graph, x, block, name)))


def _attention_pool(graph: Graph, x: str, head: AttentionPool, length: int) -> str:
    """Pool rows [length, width] by attention to a learned query [1, width]."""
    rows = _norm(graph, x, head.norm1, "head.norm1")
    scores = graph.add("Transpose", exact_linear(graph, rows, head.score, "head.score"), perm=[1, 0])
    shares = graph.add("Reshape", graph.add("Softmax", scores, axis=-1), graph.shape(1, head.heads, 1, length))
    mixed = graph.add("MatMul", shares, _split(graph, exact_linear(graph, rows, head.v, "head.v"), head.heads, length))
    x = exact_linear(graph, graph.add("Reshape", mixed, graph.shape(1, -1)), head.o, "head.o")
    return str(graph.add("Add", x, _mlp(graph, x, head, "head")))


def _split(graph: Graph, x: str, heads: int, length: int, keys: bool = False) -> str:
    """Turn rows [length, width] into those of each head [1, heads, length, width / heads]; keys are columns instead."""
    parts = graph.add("Reshape", x, graph.shape(1, length, heads, -1))
    return str(graph.add("Transpose", parts, perm=[0, 2, 3, 1] if keys else [0, 2, 1, 3]))


def _mlp(graph: Graph, x: str, block: Block | AttentionPool, name: str) -> str:
    y = exact_linear(graph, _norm(graph, x, block.norm2, f"{name}.norm2"), block.fc1, f"{name}.fc1")
    return exact_linear(graph, activation(graph, y, block.act), block.fc2, f"{name}.fc2")


def _norm(graph: Graph, x: str, layer: nn.LayerNorm, name: str) -> str:
    weight, bias = graph.constant(f"{name}.w", layer.weight), graph.constant(f"{name}.b", layer.bias)
    return layer_norm(graph, x, weight, bias, layer.eps, layer.normalized_shape[0])
