"""Small random Core ML programs for the tests, and the ways to get them: conversion, compression, damage."""

from __future__ import annotations

import atexit
import functools
import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from conaclip_edge.export.coreml.torch_patches import apply_patches
from conaclip_edge.runtime.mil.package import import_coremltools
from conaclip_edge.runtime.mil.program import MilProgram, package_activation_stats

ct = import_coremltools()
logging.getLogger("coremltools").setLevel(logging.ERROR)
apply_patches()
torch.set_num_threads(1)

from coremltools.converters.mil import Builder as mb  # noqa: E402 - after the quiet import above

EOS = 40
RANGE = (ct.RangeDim(1, 4, default=1), ct.RangeDim(2, 20, default=12))
LENGTHS = [8, 12, 20]


class Block(nn.Module):
    """A pre-norm transformer block with plain linear layers; `mask` is added to the scores."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, length, width = x.shape
        y = self.norm1(x)
        q, k, v = (
            layer(y).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads)
        if mask is not None:
            scores = scores + mask
        attended = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.o(attended)
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


def normalised(x: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


class ImageTower(nn.Module):
    """A tiny ViT: [B, 3, 32, 32] -> [B, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 8, 8)
        self.place = nn.Parameter(0.1 * torch.randn(1, 16, 32))
        self.blocks = nn.ModuleList(Block(32, 2) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 16)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.patch(pixel_values).flatten(2).transpose(1, 2) + self.place
        for block in self.blocks:
            x = block(x)
        return normalised(self.head(self.norm(x).mean(1)))


class TextTower(nn.Module):
    """A tiny causal transformer of one layer that pools at the first EOS: [B, L] with 2 <= L <= 20 -> [B, 16]."""

    def __init__(self, mask_value: float = -1e4) -> None:
        super().__init__()
        self.table = nn.Embedding(EOS + 1, 32)
        self.place = nn.Parameter(0.1 * torch.randn(21, 32))
        self.block = Block(32, 2)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 16)
        self.register_buffer("mask", torch.full((21, 21), mask_value).triu(1))

    def forward(self, input_ids: Tensor) -> Tensor:
        length = input_ids.shape[1]
        x = self.table(input_ids) + self.place[:length]
        x = self.block(x, self.mask[:length, :length])
        is_eos = (input_ids == EOS).int()
        first = is_eos * (is_eos.cumsum(1) == 1).int()
        return normalised(self.head(self.norm((x * first.unsqueeze(-1)).sum(1))))


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Make a random model that does not depend on what ran before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval()


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, 32, 32), dtype=np.float32)


def texts(count: int, length: int, seed: int = 0) -> np.ndarray:
    """Random ids with an EOS somewhere and, behind it, padding that holds more of them."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, EOS, (count, length), dtype=np.int32)
    for row in ids:
        row[rng.integers(1, length) :] = EOS
    return ids


def convert(
    model: nn.Module,
    example: np.ndarray,
    shape: Any,
    *,
    target: str = "iOS17",
    precision: str = "FLOAT16",
    how: str = "trace",
    image: bool = False,
) -> Any:
    """Convert a tower with one input; `shape` is that of the Core ML input."""
    name = "input_ids" if example.dtype == np.int32 else "pixel_values"
    inputs = torch.from_numpy(example)
    if how == "trace":
        source = torch.jit.trace(model, (inputs,))
    else:
        lengths = {1: torch.export.Dim("length", min=2, max=20)} if name == "input_ids" else {}
        source = torch.export.export(model, (inputs,), dynamic_shapes=(lengths,)).run_decompositions({})
    if image:
        declared = ct.ImageType(name=name, shape=shape, scale=1 / 127.5, bias=[-1, -1, -1])
    else:
        declared = ct.TensorType(name=name, shape=shape, dtype=example.dtype.type)
    return ct.convert(
        source,
        inputs=[declared],
        outputs=[ct.TensorType(name="embedding", dtype=np.float32)],
        minimum_deployment_target=getattr(ct.target, target),
        compute_precision=getattr(ct.precision, precision),
        skip_model_load=True,
    )


def save(model: Any, path: Path) -> Path:
    model.save(str(path))
    return path


@functools.cache
def image_tower() -> nn.Module:
    return seeded(ImageTower)


@functools.cache
def text_tower() -> nn.Module:
    return seeded(TextTower)


@functools.cache
def converted(name: str) -> Any:
    """Convert a tower, once for all tests: "image fp16", "image fp32", "text fp16" or "text fp32".

    The half-precision programs are for iOS 17 and take ranges of sizes; the others are for iOS 18 and take fixed or
    enumerated shapes.
    """
    tower, precision = name.split()
    if precision == "fp16":
        if tower == "image":
            return convert(image_tower(), pictures(1), (ct.RangeDim(1, 8, default=1), 3, 32, 32))
        return convert(text_tower(), texts(2, 12), RANGE)
    exact = {"precision": "FLOAT32", "how": "export", "target": "iOS18"}
    if tower == "image":
        return convert(image_tower(), pictures(1), (1, 3, 32, 32), **exact)
    listed = ct.EnumeratedShapes([[1, length] for length in LENGTHS], default=[1, 12])
    return convert(text_tower(), texts(1, 12), listed, **exact)


@functools.cache
def package(name: str) -> Path:
    """Save a converted tower, once for all tests, into a folder that goes when they end."""
    folder = tempfile.TemporaryDirectory(prefix="coreml-programs-")
    atexit.register(folder.cleanup)
    return save(converted(name), Path(folder.name) / f"{name.split()[0]}.mlpackage")


def run_torch(tower: nn.Module, array: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return tower(torch.from_numpy(array)).numpy()


def worst_cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def built(path: Path, specs: list[Any], body: Callable[..., Any], target: str = "iOS17") -> Path:
    """Save a program that is written in MIL, as it is written: no pass removes or merges ops."""
    program = mb.program(input_specs=specs, opset_version=getattr(ct.target, target))(body)
    model = ct.convert(
        program,
        minimum_deployment_target=getattr(ct.target, target),
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    return save(model, path)


def int8_weights(model: Any) -> Any:
    """Quantise the matrices, kernels and tables of a converted model, one scale a row."""
    from coremltools.optimize import coreml as cto

    how = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    return cto.linear_quantize_weights(
        model, cto.OptimizationConfig(op_type_configs={"linear": how, "conv": how, "gather": how})
    )


def w8a8(path: Path, batches: Iterable[dict[str, np.ndarray]]) -> Any:
    """Quantise weights and the inputs of linear and convolution ops, with ranges seen by the interpreter."""
    from coremltools.converters.mil.mil.passes.graph_pass import PassOption
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
    from coremltools.models import utils
    from coremltools.optimize import coreml as cto

    op_config = cto.OpLinearQuantizerConfig(mode="linear")
    config = cto.OptimizationConfig(op_type_configs={"linear": op_config, "conv": op_config})
    insert = PASS_REGISTRY["compression::insert_prefix_quantize_dequantize_pair"]
    stats = package_activation_stats(MilProgram(path), batches)
    insert.set_options([PassOption("config", config), PassOption("activation_stats", stats)])
    passes = [insert, PASS_REGISTRY["common::dequantize_quantize_pair_elimination"]]
    model = ct.models.MLModel(str(path), skip_model_load=True)
    return int8_weights(utils._apply_graph_pass(model, passes, spec_version=8, skip_model_load=True))


def edited(source: Path, path: Path, edit: Callable[[Any], None]) -> Path:
    """Copy a package and change its protobuf model."""
    from coremltools.proto import Model_pb2

    shutil.copytree(source, path)
    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = Model_pb2.Model()
    spec.ParseFromString(file.read_bytes())
    edit(spec)
    file.write_bytes(spec.SerializeToString())
    return path
