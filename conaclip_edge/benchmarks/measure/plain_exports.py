"""The same student exported the way the toolchains' own guides do it: what a user would have without conaclip-edge."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from conaclip_edge.benchmarks.schema.row import Tower
from conaclip_edge.models.student.checkpoint import load_student
from conaclip_edge.runtime.open_tower import open_tower


@dataclass(frozen=True)
class PlainFile:
    """One tower of a plain export.

    Attributes:
        path: the file; None if none could be made that runs.
        size: its bytes; also those of a file that does not run. None if none could be made.
        note: what went wrong on the way, in a line; "" if nothing did.
    """

    path: Path | None
    size: int | None = None
    note: str = ""


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


def plain_executorch(checkpoint: Path, folder: Path) -> PlainExport:
    """Export with torch.export and ExecuTorch's XNNPACK partitioner in float32; one picture, padded texts."""
    files: dict[Tower, PlainFile] = {}
    for tower, (module, example) in plain_towers(checkpoint).items():
        path = folder / f"{tower}.fp32.pte"
        attempt = {"ExecuTorch": lambda module=module, example=example, path=path: _write_pte(module, example, path)}
        files[tower] = first_that_runs(tower, example, attempt)
    return gathered(files)


def _write_pte(module: nn.Module, example: Tensor, path: Path) -> Path:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with quiet_exporter():
        program = torch.export.export(module, (example,), strict=False)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)
    return path


def plain_towers(checkpoint: Path) -> dict[Tower, tuple[nn.Module, Tensor]]:
    """Return each tower of a student with an example of its input."""
    student = load_student(checkpoint)
    size, context = student.model.config.image.size, student.model.config.text.context
    ids = torch.full((1, context), student.tokenizer.pad_id, dtype=torch.int32)
    ids[0, :2] = student.tokenizer.eos_id
    return {
        "image": (_Pictures(student.model).eval(), torch.zeros(1, 3, size, size)),
        "text": (_Texts(student.model).eval(), ids),
    }


def first_that_runs(tower: Tower, example: Tensor, attempts: Mapping[str, Callable[[], Path]]) -> PlainFile:
    """Take the first attempt whose file runs here; a tower that none gives is a note, never an error.

    Args:
        tower: which one.
        example: of its input.
        attempts: how it is exported -> writes the file.
    """
    reasons: list[str] = []
    size = None
    for name, attempt in attempts.items():
        try:
            path = attempt()
        except Exception as error:  # the toolchains have their own errors for what they do not implement
            reasons.append(f"{name} cannot export it ({_short(error)})")
            continue
        size = path.stat().st_size
        reason = _refusal(path, example)
        if not reason:
            note = f"{tower} tower by {name}: {'; '.join(reasons)}" if reasons else ""
            return PlainFile(path, size, note)
        reasons.append(f"the runtime does not run what {name} made of it ({reason})")
    return PlainFile(None, size, f"{tower} tower: {'; '.join(reasons)}")


def gathered(files: Mapping[Tower, PlainFile]) -> PlainExport:
    """Put the towers of an export together."""
    sizes: dict[str, int] = {tower: file.size for tower, file in files.items() if file.size is not None}
    notes = tuple(file.note for file in files.values() if file.note)
    return PlainExport(files["image"].path, files["text"].path, sizes, notes)


def _refusal(path: Path, example: Tensor) -> str:
    """Say why a file cannot be run; "" if it can."""
    try:
        output = open_tower(path)(example.numpy())
    except Exception as error:  # the runtimes have their own errors for what they do not implement
        return _short(error).replace(f"{path.parent}{os.sep}", "")
    return "" if np.isfinite(output).all() else "it gives NaN or infinity"


def _short(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


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
