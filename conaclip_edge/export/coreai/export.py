"""Core AI: both towers as assets for OS 27, in float16, or with int8 weights on float16 arithmetic."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.apple_description import AUTHOR, INPUTS, LICENCE, OUTPUT, describe, text_lengths
from conaclip_edge.export.coreai.asset import convert, enumerate_lengths, write_asset
from conaclip_edge.export.coreai.float16 import Float16Tower
from conaclip_edge.export.coreai.static_image import StaticImageTower
from conaclip_edge.export.quantize.calibration import Calibration
from conaclip_edge.export.quantize.prepare import STATIC, on_grids, prepare
from conaclip_edge.export.quantize.sensitivity import int8_layers
from conaclip_edge.export.targets import find_target
from conaclip_edge.export.towers.towers import MobileTower, Towers
from conaclip_edge.system.progress import quiet

PACKAGES = ("coreai-core", "coreai-torch")


def export(towers: Towers, calibration: Calibration, config: ExportConfig, folder: Path) -> dict[str, Any]:
    """Write `image.<precision>.aimodel` and `text.<precision>.aimodel`; equal towers give equal bytes.

    int8 means weights and token table with a scale for each output channel, computed with in float16. An image tower
    that was trained on grids computes on them, in float32 between its grids.

    Args:
        towers: export-ready float towers.
        calibration: train pairs; only int8 looks at them.
        config: precision and the form of texts.
        folder: an existing folder.

    Returns:
        {"versions", "seconds", tower: {"shapes", "float_layers", "seconds"}}.

    Raises:
        UserError: a precision that Core AI files are not made in, no calibration pairs, or a tower that the converter
            does not take.
    """
    find_target(config)
    started = time.monotonic()
    towers = prepare(towers, calibration, config)
    notes: dict[str, Any] = {"versions": {package: version(package) for package in PACKAGES}}
    for tower in INPUTS:
        begun = time.monotonic()
        module, about = _module(tower, towers, config)
        with quiet():
            _write(module, tower, towers, config, folder / f"{tower}.{config.precision}.aimodel")
        notes[tower] = about | {"seconds": round(time.monotonic() - begun, 1)}
    if _enumerated(towers, config) or towers.fixed_length:
        notes["text"]["lengths"] = text_lengths(config, towers)
    return notes | {"seconds": round(time.monotonic() - started, 1)}


def _module(tower: str, towers: Towers, config: ExportConfig) -> tuple[nn.Module, dict[str, Any]]:
    """Return the form of a tower that is written, and notes for the manifest."""
    if tower == "image" and on_grids(towers, config):
        assert isinstance(towers.image, MobileTower)
        assert towers.image_grids is not None
        return StaticImageTower(towers.image, towers.image_grids), {"arithmetic": STATIC}
    int8 = int8_layers(towers, tower) if config.precision == "int8" else []
    left = sorted(name.removeprefix(f"{tower}.") for name in towers.float_layers if name.startswith(f"{tower}."))
    return Float16Tower(towers[tower], int8), {"float_layers": left}


def _write(module: nn.Module, tower: str, towers: Towers, config: ExportConfig, path: Path) -> None:
    name, limits = INPUTS[tower], None
    if tower == "text" and not towers.fixed_length:
        limits = (2, towers.context)
    try:
        program = convert(module, _example(tower, towers), name, OUTPUT, limits)
        if tower == "text" and _enumerated(towers, config):
            enumerate_lengths(program, name, text_lengths(config, towers))
        about = describe(tower, towers, config)
        write_asset(program, path, AUTHOR, LICENCE, about.tower, {name: about.input, OUTPUT: about.output})
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        reason = (str(error) or repr(error)).splitlines()[0][:300]
        raise UserError(
            f"coreai-torch {version('coreai-torch')} does not write the {tower} tower: {reason}. It is beta software; "
            "pip install 'conaclip-edge[coreai]' brings the versions that were tried."
        ) from error


def _enumerated(towers: Towers, config: ExportConfig) -> bool:
    return config.text_shape == "enumerated" and not towers.fixed_length


def _example(tower: str, towers: Towers) -> Tensor:
    if tower == "image":
        return torch.zeros(1, 3, towers.image_size, towers.image_size)
    length = towers.context if towers.fixed_length else min(4, towers.context)
    return torch.full((1, length), towers.eos_id, dtype=torch.int32)
