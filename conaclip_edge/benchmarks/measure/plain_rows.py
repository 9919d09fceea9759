"""The plain exports that a bundle has to beat: what each is, and its files, each toolchain in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process
from conaclip_edge.benchmarks.measure.plain_exports import PlainExport, plain_executorch
from conaclip_edge.benchmarks.measure.plain_onnx import OnnxKind, own_opset, plain_calibration, plain_onnx
from conaclip_edge.benchmarks.schema.row_ids import PLAIN_EXECUTORCH, PLAIN_ONNX, PLAIN_ONNX_FLOAT, PLAIN_ONNX_STATIC
from conaclip_edge.bundle.manifest import Manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from conaclip_edge.system.progress import say


@dataclass(frozen=True)
class PlainRow:
    """What a plain export is: label, target, precision and format as in the report's `Row`, and how it is made."""

    label: str
    target: Literal["onnx", "executorch"]
    precision: Literal["int8", "fp32"]
    format: str
    how: str


_ONNX = "torch.onnx.export"
PLAIN_ROWS = {
    PLAIN_ONNX_FLOAT: PlainRow("Plain ONNX float32", "onnx", "fp32", "onnx", f"{_ONNX}, float32"),
    PLAIN_ONNX_STATIC: PlainRow(
        *("Plain ONNX int8 (static)", "onnx", "int8", "onnx"),
        f"{_ONNX}, then onnxruntime's quantize_static (QDQ) with its defaults",
    ),
    PLAIN_ONNX: PlainRow(
        *("Plain ONNX int8 (dynamic)", "onnx", "int8", "onnx"),
        f"{_ONNX}, then onnxruntime's quantize_dynamic with its defaults",
    ),
    PLAIN_EXECUTORCH: PlainRow(
        *("Plain ExecuTorch float32", "executorch", "fp32", "pte"),
        "torch.export and ExecuTorch's XNNPACK partitioner, float32",
    ),
}
_KINDS: dict[str, OnnxKind] = {
    PLAIN_ONNX_FLOAT: "float32",
    PLAIN_ONNX_STATIC: "static int8",
    PLAIN_ONNX: "dynamic int8",
}


def plain_exports(
    names: Sequence[str], bundle: Path, manifest: Manifest, suite: BenchmarkConfig, student: Path, scratch: Path
) -> dict[str, PlainExport]:
    """Export a student without conaclip-edge's own steps; one that cannot be made has no files, and says why.

    Args:
        names: keys of `PLAIN_ROWS`.
        bundle: what is compared with it.
        manifest: its manifest.
        suite: of the benchmark.
        student: the checkpoint that the bundle was exported from.
        scratch: folder for the files.
    """
    made: dict[str, PlainExport] = {}
    onnx = [name for name in names if name in _KINDS]
    if onnx:
        made |= _onnx(onnx, bundle, manifest, suite, student, scratch)
    if PLAIN_EXECUTORCH in names:
        say("exporting the student the plain way: executorch")
        (scratch / "executorch").mkdir()
        try:
            made[PLAIN_EXECUTORCH] = in_fresh_process(plain_executorch, student, scratch / "executorch")
        except UserError as error:
            made[PLAIN_EXECUTORCH] = _not_made(error)
    return made


def _onnx(
    names: Sequence[str], bundle: Path, manifest: Manifest, suite: BenchmarkConfig, student: Path, scratch: Path
) -> dict[str, PlainExport]:
    """Make all plain ONNX files in one process: the int8 ones are made of the float32 one."""
    say("exporting the student the plain way: onnx")
    (scratch / "onnx").mkdir()
    made: dict[str, PlainExport] = {}
    calibration = None
    if PLAIN_ONNX_STATIC in names:
        try:
            calibration = plain_calibration(bundle, manifest, suite, student)
        except UserError as error:
            made[PLAIN_ONNX_STATIC] = _not_made(error)
    kinds = {name: _KINDS[name] for name in names if name not in made}
    try:
        found = in_fresh_process(
            plain_onnx, student, scratch / "onnx", tuple(kinds.values()), own_opset(manifest), calibration
        )
    except UserError as error:
        return made | dict.fromkeys(kinds, _not_made(error))
    made |= {name: found[kind] for name, kind in kinds.items()}
    if calibration:
        static = made[PLAIN_ONNX_STATIC]
        made[PLAIN_ONNX_STATIC] = PlainExport(
            static.image, static.text, static.sizes, (calibration.note, *static.notes)
        )
    return made


def _not_made(error: UserError) -> PlainExport:
    return PlainExport(None, None, {}, (f"not made: {error}",))
