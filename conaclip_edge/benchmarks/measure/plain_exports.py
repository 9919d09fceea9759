"""The same student exported the way the toolchains' own guides do it: what a user would have without conaclip-edge."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.runtime.open_tower import open_tower


@dataclass(frozen=True)
class PlainExport:
    """Files of a plain export; None for a tower whose file cannot be run, with the reason in the notes."""

    image: Path | None
    text: Path | None
    sizes: dict[str, int]
    notes: tuple[str, ...]


class _Pictures(nn.Module):
    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        embedding: Tensor = self.model.encode_image(pixel_values)
        return embedding


class _Texts(nn.Module):
    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        embedding: Tensor = self.model.encode_text(input_ids)
        return embedding


def plain_onnx(checkpoint: Path, folder: Path) -> PlainExport:
    """Export with torch.onnx.export, then quantize_dynamic with its defaults; one picture, padded texts."""
    from onnxruntime.quantization import quantize_dynamic

    files: dict[str, Path | None] = {}
    sizes: dict[str, int] = {}
    notes: list[str] = []
    for tower, (module, example) in plain_towers(checkpoint).items():
        name = {"image": "pixel_values", "text": "input_ids"}[tower]
        plain, path = folder / f"{tower}.fp32.onnx", folder / f"{tower}.int8.onnx"
        with quiet_exporter():
            torch.onnx.export(
                module,
                (example,),
                str(plain),
                input_names=[name],
                output_names=["vector"],
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            quantize_dynamic(plain, path)
        sizes[tower], files[tower] = path.stat().st_size, path
        reason = _refusal(path, example)
        if reason:
            files[tower] = None
            notes.append(f"{tower} tower: onnxruntime does not run what quantize_dynamic made of it ({reason})")
    return PlainExport(files["image"], files["text"], sizes, tuple(notes))


def plain_executorch(checkpoint: Path, folder: Path) -> PlainExport:
    """Export with torch.export and ExecuTorch's XNNPACK partitioner in float32; one picture, padded texts."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    files: dict[str, Path | None] = {}
    sizes: dict[str, int] = {}
    notes: list[str] = []
    for tower, (module, example) in plain_towers(checkpoint).items():
        path = folder / f"{tower}.fp32.pte"
        with quiet_exporter():
            program = torch.export.export(module, (example,), strict=False)
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            path.write_bytes(lowered.to_executorch().buffer)
        sizes[tower], files[tower] = path.stat().st_size, path
        reason = _refusal(path, example)
        if reason:
            files[tower] = None
            notes.append(f"{tower} tower: ExecuTorch does not run it ({reason})")
    return PlainExport(files["image"], files["text"], sizes, tuple(notes))


def plain_towers(checkpoint: Path) -> dict[str, tuple[nn.Module, Tensor]]:
    """Return each tower of a student with an example of its input."""
    student = load_student(checkpoint)
    size, context = student.model.config.image.size, student.model.config.text.context
    ids = torch.full((1, context), student.tokenizer.pad_id, dtype=torch.int32)
    ids[0, :2] = student.tokenizer.eos_id
    return {
        "image": (_Pictures(student.model).eval(), torch.zeros(1, 3, size, size)),
        "text": (_Texts(student.model).eval(), ids),
    }


def _refusal(path: Path, example: Tensor) -> str:
    """Say why a file cannot be run; "" if it can."""
    try:
        output = open_tower(path)(example.numpy())
    except Exception as error:  # the runtimes have their own errors for what they do not implement
        return " ".join(str(error).split())[:200]
    return "" if np.isfinite(output).all() else "it gives NaN or infinity"


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep the exporters' own progress and advice off the terminal; they log to loggers that they set up themselves."""
    logging.disable(logging.WARNING)
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
