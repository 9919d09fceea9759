"""The student as plain ONNX: torch.onnx.export, and onnxruntime's two quantisers with their defaults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from conaclip_edge.benchmarks.measure.plain_exports import (
    PlainExport,
    PlainFile,
    first_that_runs,
    gathered,
    plain_towers,
    quiet_exporter,
)
from conaclip_edge.benchmarks.schema.row import Tower
from conaclip_edge.bundle.manifest import Manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.preprocess import Preprocess
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.export.quantize.calibration import Calibration, calibrate
from conaclip_edge.models.student.checkpoint import load_student

OnnxKind = Literal["float32", "static int8", "dynamic int8"]
_INPUTS: dict[Tower, str] = {"image": "pixel_values", "text": "input_ids"}


@dataclass(frozen=True)
class PlainCalibration:
    """What quantize_static takes its ranges from.

    Attributes:
        pixels: uint8 [n, 3, H, W].
        ids: int32 [n, context], padded as the exported text tower takes them.
        note: says which pairs these are.
    """

    pixels: np.ndarray
    ids: np.ndarray
    note: str

    def inputs(self, tower: Tower) -> Iterator[dict[str, np.ndarray]]:
        """Yield one input after another, by the name that the exported tower has for it."""
        for row in self.pixels if tower == "image" else self.ids:
            yield {_INPUTS[tower]: row[None].astype(np.float32) / 255 if tower == "image" else row[None]}


def plain_calibration(bundle: Path, manifest: Manifest, suite: BenchmarkConfig, student: Path) -> PlainCalibration:
    """Read the train pairs that the bundle's own int8 files were calibrated on.

    Args:
        bundle: the folder.
        manifest: its manifest; says how many pairs, and their hash.
        suite: its data are taken where the bundle does not say which it was made of.
        student: the checkpoint.

    Raises:
        UserError: no data, or no train picture that can be used.
    """
    int8 = [file for file in manifest.files if file.precision == "int8"]
    count = next((int(file.settings.get("calibration_pairs", 0)) for file in int8), 0)
    try:
        data = recorded_data(bundle)
    except UserError:
        if suite.data is None:
            raise
        data = suite.data
    found, pairs = load_student(student), read_pairs(data, captions_needed=False)
    preprocess = Preprocess.of(found.model.config.image)
    count = count or ExportConfig().calibration_pairs
    made = calibrate(pairs, found.tokenizer, preprocess, count, data.max_pixels)
    ids = np.full((len(made), manifest.context), found.tokenizer.pad_id, np.int32)
    for row, unpadded in zip(ids, made.ids, strict=True):
        row[: len(unpadded)] = unpadded
    own = {file.calibration.sha256 for file in int8 if file.calibration}
    return PlainCalibration(made.pixels, ids, _which(made, own))


def own_opset(manifest: Manifest) -> int:
    """Return the opset of the bundle's own ONNX files; of a bundle without them, the one that export takes."""
    opsets = [file.settings["opset"] for file in manifest.files if file.target == "onnx" and "opset" in file.settings]
    return int(opsets[0]) if opsets else ExportConfig().opset


def plain_onnx(
    checkpoint: Path, folder: Path, kinds: Sequence[OnnxKind], opset: int, calibration: PlainCalibration | None = None
) -> dict[OnnxKind, PlainExport]:
    """Export each tower once, for one picture or a padded text, and quantise what was exported.

    A file that cannot be made or run at the opset is made at the exporter's own.

    Args:
        checkpoint: folder of the student.
        folder: for the files.
        kinds: which are wanted.
        opset: of the bundle's own ONNX files.
        calibration: for "static int8".
    """
    towers = {
        tower: _Exporter(tower, module, example, folder)
        for tower, (module, example) in plain_towers(checkpoint).items()
    }
    return {
        kind: gathered({tower: exporter.file(kind, opset, calibration) for tower, exporter in towers.items()})
        for kind in kinds
    }


@dataclass
class _Exporter:
    """Exports a tower, each opset once."""

    tower: Tower
    module: nn.Module
    example: Tensor
    folder: Path
    exported: dict[int | None, Path] = field(default_factory=dict)

    def file(self, kind: OnnxKind, opset: int, calibration: PlainCalibration | None) -> PlainFile:
        how = {"float32": "torch.onnx.export", "static int8": "quantize_static", "dynamic int8": "quantize_dynamic"}
        attempts = {
            f"{how[kind]} at {name}": partial(self._write, kind, number, calibration)
            for name, number in ((f"opset {opset}", opset), ("the exporter's own opset", None))
        }
        return first_that_runs(self.tower, self.example, attempts)

    def _write(self, kind: OnnxKind, opset: int | None, calibration: PlainCalibration | None) -> Path:
        from onnxruntime.quantization import quantize_dynamic, quantize_static

        source = self._float32(opset)
        path = source.with_suffix(f".{kind.partition(' ')[0]}.onnx")
        with quiet_exporter():
            if kind == "dynamic int8":
                quantize_dynamic(source, path)
            elif kind == "static int8":
                assert calibration is not None
                quantize_static(source, path, _Inputs(calibration.inputs(self.tower)))
            else:
                return source
        return path

    def _float32(self, opset: int | None) -> Path:
        if opset not in self.exported:
            path = self.folder / f"{self.tower}.opset{opset or ''}.onnx"
            with quiet_exporter():
                torch.onnx.export(
                    self.module,
                    (self.example,),
                    str(path),
                    input_names=[_INPUTS[self.tower]],
                    output_names=["vector"],
                    opset_version=opset,
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
            self.exported[opset] = path
        return self.exported[opset]


class _Inputs:
    """What onnxruntime calls a calibration data reader."""

    def __init__(self, inputs: Iterator[dict[str, np.ndarray]]):
        self._inputs = inputs

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)


def _which(made: Calibration, own: set[str]) -> str:
    if made.sha256 in own:
        return f"calibrated on the {len(made)} train pairs that the bundle's files were calibrated on"
    return f"calibrated on {len(made)} train pairs, not those of the bundle's files"
