"""Export to ONNX and ONNX Mobile: one .onnx and one .ort file a tower, and the list of operators they need."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from onnxruntime.tools.ort_format_model import create_config_from_models

from conaclip_edge.bundle.card.accelerators import NOTE
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.accelerators.onnx_nodes import onnx_accelerators
from conaclip_edge.export.onnx.graph_builder import Graph
from conaclip_edge.export.onnx.ort_format import save_ort
from conaclip_edge.export.onnx.towers import image_model, text_model
from conaclip_edge.export.quantize.calibration import Calibration
from conaclip_edge.export.quantize.prepare import STATIC, on_grids, prepare
from conaclip_edge.export.quantize.sensitivity import int8_layers
from conaclip_edge.export.targets import find_target
from conaclip_edge.export.towers.towers import TRANSFORMERS, Towers
from conaclip_edge.system.progress import quiet

OPSETS = range(20, 24)  # the first with Gelu, up to the last that was tested
OPERATORS = "required_operators_and_types.config"


def export(towers: Towers, calibration: Calibration, config: ExportConfig, folder: Path) -> dict[str, Any]:
    """Write `{image,text}.<precision>.onnx` and `.ort`, and the operators a reduced build of the runtime needs.

    Args:
        towers: export-ready float towers.
        calibration: train pairs; only int8 looks at them.
        config: precision, opset, smoothing and float layers.
        folder: existing folder that the files are written into.

    Returns:
        Notes for the manifest: opset, versions, seconds, layers kept in float; for each tower its batch
        and what accelerators would take of it.

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
    made: list[Path] = []
    for name, write in (("image", image_model), ("text", text_model)):
        started = time.monotonic()
        int8 = int8_layers(towers, name) if config.precision == "int8" else ()
        batch = 1 if name == "image" and config.batch == 1 else None
        # a convolution is written with its ReLU6, under the name of both
        layers = frozenset(layer.removesuffix(".conv") for layer in int8)
        graph = Graph(config.precision == "fp16", layers, config.opset, batch)
        model = write(towers, graph, f"{towers.name}: {name} tower, {config.precision}")
        onnx.checker.check_model(model, full_check=True)
        path = folder / f"{name}.{config.precision}.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        static = name == "image" and on_grids(towers, config)
        made.append(save_ort(path, _ort_level(towers, name, config, static)))
        covered = [found.model_dump(mode="json") for found in onnx_accelerators(path)]
        notes[name] = {NOTE: covered, "batch": batch or "dynamic", "seconds": round(time.monotonic() - started, 1)}
        if static:
            notes[name]["arithmetic"] = STATIC
    _write_operators(made, folder / OPERATORS)
    return notes


def _ort_level(towers: Towers, name: str, config: ExportConfig, static: bool) -> str:
    """Return the highest level of optimisation whose result runs on every processor and keeps weights in int8."""
    if static:
        return "ORT_ENABLE_LAYOUT"  # a reduced runtime on a phone changes no layout itself
    # folding would turn a convolution's int8 weights into float ones before they are saved
    folds = config.precision == "int8" and not isinstance(towers[name], TRANSFORMERS)
    return "ORT_DISABLE_ALL" if folds else "ORT_ENABLE_EXTENDED"


def _write_operators(models: list[Path], target: Path) -> None:
    """Write which operators and types the models use; the file names its models without their folder."""
    with quiet():
        create_config_from_models(models, target, enable_type_reduction=True)
    text = target.read_text("utf-8")
    target.write_text(text.replace(f"# - {target.parent}/", "# - "), "utf-8")
