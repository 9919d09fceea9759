"""What happens to the towers before an int8 export, alike for all targets."""

from __future__ import annotations

from dataclasses import replace

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.quantize.calibration import Calibration, require_calibration
from conaclip_edge.export.quantize.float16_kernels import halve_kernels
from conaclip_edge.export.quantize.gptq_convolutions import reconstruct
from conaclip_edge.export.quantize.sensitivity import most_sensitive
from conaclip_edge.export.quantize.smoothquant import smooth
from conaclip_edge.export.targets import find_target
from conaclip_edge.export.towers.towers import Towers

STATIC = "int8, static activations"  # what the manifest says of a tower that computes on the grids it was trained on

_FLOAT16 = ("coreml", "coreai")  # what computes in float16 also with int8 weights


def on_grids(towers: Towers, config: ExportConfig) -> bool:
    """Say whether the image file computes on the grids that its tower was trained on.

    Those of Core ML's delegate compute in float16 with the tower's float weights, and so do Core ML's own unless int8
    activations are asked for: Apple advises against them where a model may run on the CPU or the GPU.
    """
    if towers.image_grids is None or config.precision != "int8":
        return False
    return config.activations == "int8" if config.target == "coreml" else config.backend != "coreml"


def prepare(towers: Towers, calibration: Calibration, config: ExportConfig) -> Towers:
    """Return the towers that an exporter writes.

    For fp16 kernels keep their sums; for int8 blocks are smoothed, convolutions rounded, and the layers named that
    stay float. An image tower that computes on its grids stays as it is.

    Args:
        towers: export-ready float towers.
        calibration: train pairs; only int8 looks at them.
        config: precision, `smoothing` and `float_layers`.
    """
    if config.precision == "fp16":
        return halve_kernels(towers)
    if config.precision == "fp32":
        return towers
    require_calibration(calibration)
    smoothed = smooth(towers, calibration, config.smoothing)
    kept = replace(smoothed, float_layers=most_sensitive(smoothed, calibration, config.float_layers))
    if on_grids(towers, config):
        return replace(kept, float_layers=frozenset(name for name in kept.float_layers if name.startswith("text.")))
    return reconstruct(kept, calibration, half=find_target(config).backend_of(config) in _FLOAT16)
