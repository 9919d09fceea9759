"""Export to ONNX and ONNX Mobile: .onnx and .ort files of each tower, and the list of operators they need."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnxruntime.tools.ort_format_model import create_config_from_models

from conaclip_edge.bundle.card.accelerators import NOTE
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.accelerators.onnx_nodes import onnx_accelerators
from conaclip_edge.export.onnx.accelerator_towers import accelerator_image_model, accelerator_text_model
from conaclip_edge.export.onnx.accelerator_traced import with_known_operators
from conaclip_edge.export.onnx.graph_builder import Graph
from conaclip_edge.export.onnx.ort_format import save_ort
from conaclip_edge.export.onnx.towers import image_model, text_model
from conaclip_edge.export.quantize.calibration import Calibration
from conaclip_edge.export.quantize.prepare import STATIC, on_grids, prepare
from conaclip_edge.export.quantize.sensitivity import int8_layers
from conaclip_edge.export.quantize.static_blocks import ONNXRUNTIME, Ranges, static_ranges
from conaclip_edge.export.targets import find_target
from conaclip_edge.export.towers.centred import centred
from conaclip_edge.export.towers.towers import TRANSFORMERS, OtherImageTower, Towers
from conaclip_edge.runtime.onnx_tower import overflows
from conaclip_edge.system.progress import quiet, say

OPSETS = range(20, 24)  # the first with Gelu, up to the last that was tested
OPERATORS = "required_operators_and_types.config"


def export(towers: Towers, calibration: Calibration, config: ExportConfig, folder: Path) -> dict[str, Any]:
    """Write `{image,text}.<precision>.onnx` and `.ort`, and the operators a reduced build of the runtime needs.

    Of a tower whose file accelerators of phones take little of, `<tower>.<precision>.accelerator.onnx` is written too:
    one input of one shape, and operators that they know.

    Args:
        towers: export-ready float towers.
        calibration: train pairs; only int8 looks at them.
        config: precision, opset, smoothing and float layers.
        folder: existing folder that the files are written into.

    Returns:
        Notes for the manifest: opset, versions, seconds, layers kept in float; for each tower, and each "accelerator"
        form, its batch, lengths where they are fixed, and what accelerators would take of it.

    Raises:
        UserError: the precision or the opset is not possible, or int8 was asked for without calibration pairs.
    """
    find_target(config)
    if config.opset not in OPSETS:
        raise UserError(f"opset {config.opset} cannot be written. Known: {OPSETS.start} to {OPSETS.stop - 1}.")
    towers = prepare(towers, calibration, config)
    notes: dict[str, Any] = {
        "opset": config.opset,
        "versions": {"onnx": onnx.__version__, "onnxruntime": ort.__version__},
        "float_layers": sorted(towers.float_layers),
    }
    levels: dict[Path, str] = {}
    written, ranges = _in_rms_form(towers, calibration, config)
    for name in ("image", "text"):
        started = time.monotonic()
        int8 = int8_layers(towers, name) if config.precision == "int8" else ()
        batch = 1 if name == "image" and config.batch == 1 else None
        # a convolution is written with its ReLU6, under the name of both
        layers = frozenset(layer.removesuffix(".conv") for layer in int8)
        graph, single = (Graph(config.precision == "fp16", layers, config.opset, count) for count in (batch, 1))
        about = f"{towers.name}: {name} tower, {config.precision}"
        model = image_model(written, graph, about, ranges) if name == "image" else text_model(written, graph, about)
        path = folder / f"{name}.{config.precision}.onnx"
        _save(model, path)
        static = name == "image" and on_grids(towers, config)
        levels[path] = _ort_level(towers, name, config, static)
        notes[name] = _notes(path, started) | {"batch": batch or "dynamic"}
        if static:
            notes[name]["arithmetic"] = STATIC
        started = time.monotonic()
        form = _accelerator_form(towers, name, model, single, about)
        if form is not None:
            path = folder / f"{name}.{config.precision}.accelerator.onnx"
            _save(form, path)
            lengths = {"lengths": [towers.context]} if name == "text" else {}
            notes[f"{name}.accelerator"] = _notes(path, started) | {"batch": 1} | lengths
    made = save_ort(levels)
    _write_operators(made, folder / OPERATORS)
    if on_grids(towers, config) and overflows():
        say("onnx: .ort files are left out: this processor (AVX2 without VNNI) cannot check them. Export on another.")
        for path in made:
            path.unlink()
    return notes


def _in_rms_form(towers: Towers, calibration: Calibration, config: ExportConfig) -> tuple[Towers, Ranges]:
    """Return the towers with RMS norms, and the ranges of the blocks that are static; neither before opset 23."""
    if config.precision != "int8" or config.opset < 23:
        return towers, {}
    written = replace(towers, image=centred(towers.image), text=centred(towers.text))
    return written, static_ranges(written, calibration, ONNXRUNTIME)


def _ort_level(towers: Towers, name: str, config: ExportConfig, static: bool) -> str:
    """Return the highest level of optimisation whose result runs on every processor and keeps weights in int8."""
    if static:
        return "ORT_ENABLE_LAYOUT"  # a reduced runtime on a phone changes no layout itself
    # folding would turn a convolution's int8 weights into float ones before they are saved
    folds = config.precision == "int8" and not isinstance(towers[name], TRANSFORMERS)
    return "ORT_DISABLE_ALL" if folds else "ORT_ENABLE_EXTENDED"


def _accelerator_form(
    towers: Towers, name: str, model: onnx.ModelProto, graph: Graph, about: str
) -> onnx.ModelProto | None:
    """Write a tower as accelerators take it; None where the model that is written already is taken so.

    Args:
        towers: both.
        name: "image" or "text".
        model: of the tower, as it was written.
        graph: an empty one, of one picture or text.
        about: what the file says of itself.
    """
    if name == "text":
        return accelerator_text_model(towers, graph, about)
    if isinstance(towers.image, TRANSFORMERS):
        return accelerator_image_model(towers, graph, about)
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    single = model if fixed else image_model(towers, graph, about)
    known = with_known_operators(single) if isinstance(towers.image, OtherImageTower) else None
    return known if known is not None or fixed else single


def _save(model: onnx.ModelProto, path: Path) -> None:
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _notes(path: Path, started: float) -> dict[str, Any]:
    covered = [found.model_dump(mode="json") for found in onnx_accelerators(path)]
    return {NOTE: covered, "seconds": round(time.monotonic() - started, 1)}


def _write_operators(models: list[Path], target: Path) -> None:
    """Write which operators and types the models use; the file names its models without their folder."""
    with quiet():
        create_config_from_models(models, target, enable_type_reduction=True)
    text = target.read_text("utf-8")
    target.write_text(text.replace(f"# - {target.parent}/", "# - "), "utf-8")
