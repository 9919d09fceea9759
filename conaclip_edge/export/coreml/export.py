"""Core ML: both towers as ML Programs in fp16, or in int8 on fp16 arithmetic."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.export.apple_description import AUTHOR, INPUTS, LICENCE, OUTPUT, describe, text_lengths
from conaclip_edge.export.coreml.int8 import int8_activations, int8_weights
from conaclip_edge.export.coreml.package import write_package
from conaclip_edge.export.coreml.static_image import static_image
from conaclip_edge.export.coreml.torch_patches import apply_patches
from conaclip_edge.export.quantize.activation_budget import ROOM, harmless_inputs
from conaclip_edge.export.quantize.calibration import Calibration
from conaclip_edge.export.quantize.prepare import STATIC, on_grids, prepare
from conaclip_edge.export.quantize.sensitivity import int8_layers
from conaclip_edge.export.targets import find_target
from conaclip_edge.export.towers.towers import MobileTower, Towers
from conaclip_edge.runtime.mil.package import import_coremltools
from conaclip_edge.system.progress import quiet
from conaclip_edge.system.version import __version__


def export(towers: Towers, calibration: Calibration, config: ExportConfig, folder: Path) -> dict[str, Any]:
    """Write `image.<precision>.mlpackage` and `text.<precision>.mlpackage`; equal towers give equal bytes.

    int8 means weights and token table with a scale for each output channel, computed with in fp16. With
    `activations: int8` the layers' inputs are int8 as well: on the grids that the image tower was trained on; without
    such, and in the text tower, at scales of the calibration set, as far as that does no harm.

    Args:
        towers: export-ready float towers.
        calibration: train pairs; only int8 looks at them.
        config: precision, deployment target and shapes.
        folder: an existing folder.

    Returns:
        {"versions", "deployment", "seconds", tower: {"operations", "shapes", "float_layers", "seconds"}}.

    Raises:
        UserError: a precision that Core ML files are not made in, no calibration pairs, no coremltools.
    """
    find_target(config)
    ct = import_coremltools()
    apply_patches()
    started = time.monotonic()
    towers = prepare(towers, calibration, config)
    notes: dict[str, Any] = {"versions": {"coremltools": ct.__version__}, "deployment": config.deployment}
    for tower in INPUTS:
        begun = time.monotonic()
        left = frozenset(
            layer.removeprefix(f"{tower}.") for layer in towers.float_layers if layer.startswith(f"{tower}.")
        )
        with quiet():
            if tower == "image" and on_grids(towers, config):
                model, about = _convert_on_grids(towers, config), {"arithmetic": STATIC}
            else:
                model, about = _convert(tower, towers, config), {}
                if config.precision == "int8":
                    model, about = _in_int8(model, tower, towers, calibration, config, left)
            _describe(model, tower, towers, config)
            operations = write_package(model, folder / f"{tower}.{config.precision}.mlpackage")
        notes[tower] = {
            "operations": operations,
            "shapes": config.text_shape if tower == "text" else config.image_input,
            "float_layers": sorted(left),
            "seconds": round(time.monotonic() - begun, 1),
            **about,
        }
    if config.text_shape == "enumerated" or towers.fixed_length:
        notes["text"]["lengths"] = text_lengths(config, towers)
    return notes | {"seconds": round(time.monotonic() - started, 1)}


def _in_int8(
    model: Any, tower: str, towers: Towers, calibration: Calibration, config: ExportConfig, left: frozenset[str]
) -> tuple[Any, dict[str, Any]]:
    """Return a fp16 model with int8 weights, and int8 inputs where they are asked for; and what to note of it."""
    about: dict[str, Any] = {}
    if config.activations == "int8":
        harmless = harmless_inputs(towers, tower, calibration)
        exact = left | (frozenset(int8_layers(towers, tower)) - harmless)
        model = int8_activations(model, INPUTS[tower], calibration.batches(tower), exact, ROOM[tower])
        about = {"int8_inputs": sorted(harmless)}
    return int8_weights(model, left), about


def _convert(tower: str, towers: Towers, config: ExportConfig) -> Any:
    """Convert the tower named "image" or "text" to a fp16 `MLModel` that takes one picture or text a call."""
    ct = import_coremltools()
    example = _example(tower, towers)
    # traced, not exported: only then do weights keep the names of their layers
    return ct.convert(
        torch.jit.trace(towers[tower], (example,)),
        inputs=[_input(ct, tower, towers, config)],
        outputs=[ct.TensorType(name=OUTPUT, dtype=np.float32)],
        minimum_deployment_target=getattr(ct.target, config.deployment),
        compute_precision=ct.precision.FLOAT16,
        skip_model_load=True,
    )


def _convert_on_grids(towers: Towers, config: ExportConfig) -> Any:
    """Convert an image tower to an int8 `MLModel` on the grids that it was trained on."""
    assert isinstance(towers.image, MobileTower)
    assert towers.image_grids is not None
    ct = import_coremltools()
    names = INPUTS["image"], OUTPUT
    return ct.convert(
        static_image(towers.image, towers.image_grids, towers.image_size, names, config.deployment),
        inputs=[_input(ct, "image", towers, config)],
        minimum_deployment_target=getattr(ct.target, config.deployment),
        compute_precision=ct.precision.FLOAT32,  # leaves types as they are: the program is written in float16
        skip_model_load=True,
    )


def _example(tower: str, towers: Towers) -> Tensor:
    if tower == "image":
        return torch.zeros(1, 3, towers.image_size, towers.image_size)
    return torch.full((1, towers.context), towers.eos_id, dtype=torch.int32)


def _input(ct: Any, tower: str, towers: Towers, config: ExportConfig) -> Any:
    name = INPUTS[tower]
    if tower == "image":
        shape = (1, 3, towers.image_size, towers.image_size)
        if config.image_input == "image":
            return ct.ImageType(name=name, shape=shape, scale=1 / 255, color_layout=ct.colorlayout.RGB)
        return ct.TensorType(name=name, shape=shape, dtype=np.float32)
    if towers.fixed_length:
        return ct.TensorType(name=name, shape=(1, towers.context), dtype=np.int32)
    if config.text_shape == "range":
        return ct.TensorType(
            name=name, shape=(1, ct.RangeDim(2, towers.context, default=towers.context)), dtype=np.int32
        )
    lengths = text_lengths(config, towers)
    shapes = ct.EnumeratedShapes([[1, length] for length in lengths], default=[1, towers.context])
    return ct.TensorType(name=name, shape=shapes, dtype=np.int32)


def _describe(model: Any, tower: str, towers: Towers, config: ExportConfig) -> None:
    """Fill in what Xcode shows of a model."""
    description = describe(tower, towers, config, picture=config.image_input == "image")
    model.author, model.license, model.version = AUTHOR, LICENCE, __version__
    model.short_description = description.tower
    model.input_description[INPUTS[tower]] = description.input
    model.output_description[OUTPUT] = description.output
