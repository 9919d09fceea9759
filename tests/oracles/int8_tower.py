"""A mobile tower in integers alone, site after site, as ONNX's QLinearConv, QLinearAdd and QGemm are defined.

It reads what an exporter reads: the export-ready float tower of a checkpoint, and the grids of quantization.json.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Grid = Any  # has scale and zero_point


def quantize(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Real values to integers from 0 to 255, halves to even."""
    return np.clip(np.rint(values / np.float64(grid.scale)) + grid.zero_point, 0, 255).astype(np.int64)


def int8_rows(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers from -127 to 127 of weights [outputs, ...], and the scale of each output."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(largest > 0, largest, 1) / 127
    return np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int64), scale


def sums(x: np.ndarray, weight: np.ndarray, stride: int, pads: tuple[int, int, int, int], groups: int) -> np.ndarray:
    """Integer sums of products of a convolution; x [B, C, H, W] is centred, so padding is 0."""
    left, right, top, bottom = pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    outputs, inputs, kernel, _ = weight.shape
    height, width = (x.shape[2] - kernel) // stride + 1, (x.shape[3] - kernel) // stride + 1
    found = np.zeros((len(x), outputs, height, width), np.int64)
    for output in range(outputs):
        first = output // (outputs // groups) * inputs
        for one in range(inputs):
            for row in range(kernel):
                for column in range(kernel):
                    seen = x[
                        :, first + one, row : row + stride * height : stride, column : column + stride * width : stride
                    ]
                    found[:, output] += weight[output, one, row, column] * seen
    return found


def convolution(x: np.ndarray, given: Grid, layer: Any, grid: Grid) -> np.ndarray:
    """QLinearConv of integers; ReLU6 is the end of the grid."""
    conv = layer.conv
    weight, scale = int8_rows(conv.weight.detach().numpy().astype(np.float64))
    bias = np.rint(conv.bias.detach().numpy() / (given.scale * scale)).astype(np.int64)
    assert np.abs(bias).max() < 2**31
    pads = tuple(layer.pad) or (int(conv.padding[0]),) * 4
    found = sums(x - given.zero_point, weight, conv.stride[0], pads, conv.groups) + bias[:, None, None]
    assert np.abs(found).max() < 2**31
    factor = given.scale * scale / grid.scale
    return np.clip(np.rint(found * factor[:, None, None]) + grid.zero_point, 0, 255).astype(np.int64)


def run(
    tower: Any, grids: dict[str, Grid], pixels: np.ndarray, given: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Return site -> integers of a MobileTower.

    Args:
        tower: the MobileTower.
        grids: of its sites.
        pixels: in [0, 1], float64 [B, 3, H, W].
        given: site -> integers that the sites after it are computed from; None takes its own.
    """
    sites: dict[str, np.ndarray] = {"pixels": quantize(pixels - tower.mean.numpy(), grids["pixels"])}
    given = sites if given is None else given
    at = "pixels"

    def through(name: str, layer: Any) -> None:
        nonlocal at
        sites[name] = convolution(given[at], grids[at], layer, grids[name])
        at = name

    def real(name: str) -> np.ndarray:
        return np.asarray((given[name] - grids[name].zero_point) * grids[name].scale)

    through("stem", tower.stem)
    for number, block in enumerate(tower.blocks):
        entry, name = at, f"blocks.{number}"
        if block.expand is not None:
            through(f"{name}.expand", block.expand)
        through(f"{name}.depthwise", block.depthwise)
        through(f"{name}.project", block.project)
        if block.residual:
            sites[f"{name}.sum"] = quantize(real(entry) + real(at), grids[f"{name}.sum"])
            at = f"{name}.sum"
    if tower.head is not None:
        through("head", tower.head)
    sites["pooled"] = quantize(real(at).mean(axis=(2, 3)), grids["pooled"])
    weight, scale = int8_rows(tower.projection.weight.detach().numpy().astype(np.float64))
    found = (given["pooled"] - grids["pooled"].zero_point) @ weight.T
    sites["projection"] = quantize(found * (grids["pooled"].scale * scale), grids["projection"])
    return sites


def embeddings(tower: Any, grids: dict[str, Grid], pixels: np.ndarray) -> np.ndarray:
    """Unit vectors [B, d] of a MobileTower that computes in integers up to its projection."""
    grid = grids["projection"]
    vectors = (run(tower, grids, pixels)["projection"] - grid.zero_point) * grid.scale
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
