"""The towers as ONNX graphs, layer by layer as in `towers.py`."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from conaclip_edge.export.onnx.graph_builder import (
    Graph,
    convolution,
    exact_linear,
    layer_norm,
    linear,
    token_rows,
    unit,
)
from conaclip_edge.export.onnx.static_block import Grid, Pool, static_block, static_linear
from conaclip_edge.export.onnx.static_image import static_image
from conaclip_edge.export.onnx.traced_image import traced_image_model
from conaclip_edge.export.quantize.static_blocks import Ranges
from conaclip_edge.export.towers.layers import MASKED, AttentionPool, Block, QuickGelu, TanhGelu
from conaclip_edge.export.towers.siglip import SiglipTextTower, SiglipTower
from conaclip_edge.export.towers.towers import MobileTower, OtherImageTower, TextTower, Towers, VitTower

CAUSAL = "causal"  # in the place of a mask: the Attention operator makes it itself


def image_model(towers: Towers, graph: Graph, about: str, ranges: Ranges | None = None) -> onnx.ModelProto:
    """Write the image tower: pixel_values float32 [batch, 3, H, W] to embedding float32 [batch, d].

    Args:
        towers: export-ready.
        graph: an empty one.
        about: what the file says of itself.
        ranges: of the activations of the blocks that are static, see `static_block`; None: no block is.
    """
    size, tower = towers.image_size, towers.image
    if isinstance(tower, OtherImageTower):
        return traced_image_model(tower, size, graph.half, graph.int8, graph.opset, about, graph.batch == 1)
    given = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [graph.batch, 3, size, size])
    pixels = graph.add("Cast", "pixel_values", to=TensorProto.FLOAT16) if graph.half else "pixel_values"
    if isinstance(tower, VitTower):
        embedding = _vit(graph, pixels, tower, size, ranges or {})
    elif isinstance(tower, SiglipTower):
        embedding = _siglip(graph, pixels, tower, size, ranges or {})
    else:
        assert isinstance(tower, MobileTower)
        static = graph.int8 and towers.image_grids
        x = static_image(graph, pixels, tower, static) if static else _mobile(graph, pixels, tower)
        embedding = unit(graph, x, tower.projection.out_features)
    return graph.model(given, embedding, towers.embed_dim, about)


def text_model(towers: Towers, graph: Graph, about: str) -> onnx.ModelProto:
    """Write the text tower: input_ids int32 [batch, length] to embedding float32 [batch, d]."""
    length = towers.context if towers.fixed_length else "length"
    given = helper.make_tensor_value_info("input_ids", TensorProto.INT32, [graph.batch, length])
    if isinstance(towers.text, SiglipTextTower):
        return graph.model(given, _siglip_text(graph, towers.text), towers.embed_dim, about)
    assert isinstance(towers.text, TextTower)
    return graph.model(given, _text(graph, towers.text), towers.embed_dim, about)


def _vit(graph: Graph, pixels: str, tower: VitTower, size: int, ranges: Ranges) -> str:
    width, count = tower.patch.out_channels, len(tower.blocks)
    x = _patches(graph, pixels, tower.patch, size)
    x = graph.add("Add", x, graph.constant("position", tower.position))
    x = layer_norm(graph, x, tower.norm, "norm")
    class_row = graph.constant("class_row", tower.class_row)
    if graph.batch != 1:
        batch = graph.add("Shape", pixels, start=0, end=1)
        rows = graph.add("Concat", batch, graph.shape(1), graph.shape(width), axis=0)
        class_row = graph.add("Expand", class_row, rows)
    x = graph.add("Concat", class_row, x, axis=1)
    length = tower.position.shape[1] + 1
    for index in range(count):
        pool = _first_row if index == count - 1 else None
        x = _image_block(graph, x, tower.blocks[index], f"blocks.{index}", ranges, length, pool)
    return _embedding(graph, x, tower.last_norm, tower.projection)


def _siglip(graph: Graph, pixels: str, tower: SiglipTower, size: int, ranges: Ranges) -> str:
    x = _patches(graph, pixels, tower.patch, size)
    x = graph.add("Add", x, graph.constant("position", tower.position))
    for index, block in enumerate(tower.blocks):
        x = _image_block(graph, x, block, f"blocks.{index}", ranges, tower.position.shape[1])
    return unit(graph, _pooled(graph, x, tower.head, "head"), tower.head.fc2.out_features)


def _pooled(graph: Graph, x: str, head: AttentionPool, name: str) -> str:
    """Pool rows [batch, L, width] by attention to a learned query [batch, width]."""
    width, heads = head.v.in_features, head.heads
    rows = layer_norm(graph, x, head.norm1, f"{name}.norm1")
    scores = graph.add("Transpose", linear(graph, rows, head.score, f"{name}.score"), perm=[0, 2, 1])
    shares = graph.add("Unsqueeze", graph.add("Softmax", scores, axis=-1), graph.shape(2))
    values = graph.add("Reshape", linear(graph, rows, head.v, f"{name}.v"), graph.shape(0, 0, heads, width // heads))
    mixed = graph.add("MatMul", shares, graph.add("Transpose", values, perm=[0, 2, 1, 3]))
    x = linear(graph, graph.add("Reshape", mixed, graph.shape(0, width)), head.o, f"{name}.o")
    return str(graph.add("Add", x, _mlp(graph, x, head, name)))


def _first_row(graph: Graph, x: str) -> str:
    return str(graph.add("Slice", x, graph.shape(0), graph.shape(1), graph.shape(1)))


def _patches(graph: Graph, pixels: str, patch: nn.Conv2d, size: int) -> str:
    """Cut pixels into embedded patches [batch, patches, width]; as a linear layer in int8, which Conv is slow in."""
    width, side = patch.out_channels, patch.kernel_size[0]
    assert patch.bias is not None
    if "patch" not in graph.int8:
        weight, bias = graph.constant("patch.w", patch.weight), graph.constant("patch.b", patch.bias)
        x = graph.add("Conv", pixels, weight, bias, strides=[side, side])
        return str(graph.add("Transpose", graph.add("Reshape", x, graph.shape(0, width, -1)), perm=[0, 2, 1]))
    if size % side:  # as 384 by patches of 14: the last pixels are in no patch
        whole = graph.shape(size - size % side, size - size % side)
        pixels = graph.add("Slice", pixels, graph.shape(0, 0), whole, graph.shape(2, 3))
    count, width_in = size // side, 3 * side * side
    flat = nn.Linear(width_in, width)
    flat.weight = nn.Parameter(patch.weight.flatten(1))
    flat.bias = nn.Parameter(patch.bias)
    grid = Grid(graph, "pixels", 0.0, 1.0)  # as pictures have them
    x = graph.add("Reshape", grid.quantised(pixels), graph.shape(-1, 3, count, side, count, side))
    x = graph.add("Transpose", x, perm=[0, 2, 4, 1, 3, 5])
    return static_linear(graph, graph.add("Reshape", x, graph.shape(-1, count * count, width_in)), grid, flat, "patch")


def _mobile(graph: Graph, pixels: str, tower: MobileTower) -> str:
    x = convolution(graph, graph.add("Sub", pixels, graph.constant("mean", tower.mean)), tower.stem, "stem")
    for index, block in enumerate(tower.blocks):
        y = x
        for part in ("expand", "depthwise", "project"):
            layer = getattr(block, part)
            if layer is not None:
                y = convolution(graph, y, layer, f"blocks.{index}.{part}")
        x = graph.add("Add", x, y) if block.residual else y
    if tower.head is not None:
        x = convolution(graph, x, tower.head, "head")
    x = graph.add("Squeeze", graph.add("GlobalAveragePool", x), graph.shape(2, 3))
    return exact_linear(graph, x, tower.projection, "projection")


def _siglip_text(graph: Graph, tower: SiglipTextTower) -> str:
    x = graph.add(
        "Add", token_rows(graph, "input_ids", tower.table, "table"), graph.constant("position", tower.position)
    )
    count = len(tower.blocks)
    for index in range(count - 1):
        x = _block(graph, x, tower.blocks[index], f"blocks.{index}")
    x = _block(graph, x, tower.blocks[-1], f"blocks.{count - 1}", pool=_last_row)
    return _embedding(graph, x, tower.last_norm, tower.projection)


def _last_row(graph: Graph, x: str) -> str:
    end = graph.constant("end", [np.iinfo(np.int64).max])
    return str(graph.add("Slice", x, graph.shape(-1), end, graph.shape(1)))


def _text(graph: Graph, tower: TextTower) -> str:
    length = graph.add("Shape", "input_ids", start=1, end=2)
    if tower.eos_id is None:
        end = graph.add("ReduceMax", "input_ids", graph.shape(1))
    else:
        end = graph.constant("eos", torch.tensor(tower.eos_id, dtype=torch.int32))
    kind = TensorProto.FLOAT16 if graph.half else TensorProto.FLOAT
    # counting is done in float32: CumSum has no float16 kernel on phones
    is_end = graph.add("Cast", graph.add("Equal", "input_ids", end), to=TensorProto.FLOAT)
    earlier = graph.add("CumSum", is_end, graph.constant("one", torch.tensor(1)), exclusive=1)
    first = graph.add("Relu", graph.add("Sub", is_end, earlier))
    hidden = graph.add("Cast", graph.add("Greater", earlier, first), to=kind)
    hidden = graph.add("Mul", hidden, graph.constant("masked", MASKED))
    hidden = graph.add("Unsqueeze", hidden, graph.shape(1, 2))
    first = graph.add("Unsqueeze", graph.add("Cast", first, to=kind) if graph.half else first, graph.shape(1))
    mask = CAUSAL if graph.has_attention else _causal_mask(graph, length, tower.mask[:-1, :-1])
    position = graph.add(
        "Slice", graph.constant("position", tower.position[:-1]), graph.shape(0), length, graph.shape(0)
    )
    x = graph.add("Add", token_rows(graph, "input_ids", tower.table, "table"), position)
    count = len(tower.blocks)
    for index in range(count - 1):
        x = _block(graph, x, tower.blocks[index], f"blocks.{index}", mask)
    name = f"blocks.{count - 1}"
    x = _block(graph, x, tower.blocks[-1], name, hidden, lambda graph, rows: graph.add("MatMul", first, rows))
    return _embedding(graph, x, tower.last_norm, tower.projection)


def _image_block(
    graph: Graph, x: str, block: nn.Module, name: str, ranges: Ranges, length: int, pool: Pool | None = None
) -> str:
    if f"{name}.norm1" in ranges:
        return static_block(graph, x, block, name, ranges, length, pool)
    return _block(graph, x, block, name, pool=pool)


def _block(graph: Graph, x: str, block: nn.Module, name: str, mask: str = "", pool: Pool | None = None) -> str:
    """Add a transformer block; `mask` is added to the scores, `pool` picks the row that a last block works for."""
    assert isinstance(block, Block)
    rows = queries = layer_norm(graph, x, block.norm1, f"{name}.norm1")
    if pool is not None:
        x, queries = pool(graph, x), pool(graph, rows)

    q, k, v = (
        linear(graph, values, layer, f"{name}.{part}")
        for part, layer, values in (("q", block.q, queries), ("k", block.k, rows), ("v", block.v, rows))
    )
    if graph.has_attention:
        mixed = _attention(graph, q, k, v, block.heads, mask)
    else:
        mixed = _attention_in_parts(graph, q, k, v, block.heads, block.q.in_features, mask)
    x = graph.add("Add", x, linear(graph, mixed, block.o, f"{name}.o"))
    return str(graph.add("Add", x, _mlp(graph, x, block, name)))


def _mlp(graph: Graph, x: str, block: Block | AttentionPool, name: str) -> str:
    y = linear(graph, layer_norm(graph, x, block.norm2, f"{name}.norm2"), block.fc1, f"{name}.fc1")
    if isinstance(block.act, QuickGelu):
        y = graph.add("Mul", y, graph.add("Sigmoid", graph.add("Mul", y, graph.constant("steepness", 1.702))))
    elif isinstance(block.act, TanhGelu):
        y = graph.add("Gelu", y, approximate="tanh")
    else:
        y = graph.add("Gelu", y)
    return linear(graph, y, block.fc2, f"{name}.fc2")


def _attention(graph: Graph, q: str, k: str, v: str, heads: int, mask: str) -> str:
    """Mix values [batch, L, width] by the operator of its own; the scale is part of q."""
    masks = [mask] if mask not in ("", CAUSAL) else []
    causal = {"is_causal": 1} if mask == CAUSAL else {}
    return str(graph.add("Attention", q, k, v, *masks, q_num_heads=heads, kv_num_heads=heads, scale=1.0, **causal))


def _attention_in_parts(graph: Graph, q: str, k: str, v: str, heads: int, width: int, mask: str) -> str:
    """Mix values [batch, L, width]; the heads are a dimension of their own, [batch, heads, L, width / heads]."""

    def split(rows: str, *order: int) -> str:
        parts = graph.add("Reshape", rows, graph.shape(0, 0, heads, width // heads))
        return str(graph.add("Transpose", parts, perm=[0, *order]))

    scores = graph.add("MatMul", split(q, 2, 1, 3), split(k, 2, 3, 1))
    if mask:
        scores = graph.add("Add", scores, mask)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), split(v, 2, 1, 3))
    return str(graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), graph.shape(0, 0, width)))


def _causal_mask(graph: Graph, length: str, mask: Tensor) -> str:
    both = graph.add("Concat", length, length, axis=0)
    return str(graph.add("Slice", graph.constant("mask", mask), graph.shape(0, 0), both, graph.shape(0, 1)))


def _embedding(graph: Graph, x: str, norm: nn.LayerNorm, projection: nn.Linear) -> str:
    x = graph.add("Squeeze", layer_norm(graph, x, norm, "last_norm"), graph.shape(1))
    return unit(graph, linear(graph, x, projection, "projection"), projection.out_features)
