"""A stand-in for exporters and runtimes: a file of a few bytes that stands for a tower in memory."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.quantize.calibration import Calibration
from conaclip_edge.export.targets import TARGETS
from conaclip_edge.export.towers.layers import MASKED
from conaclip_edge.export.towers.towers import Towers
from conaclip_edge.runtime.open_tower import RUNTIMES, Runtime, suffixes_of

Fault = Callable[[nn.Module], nn.Module]
_INSTALLED: list[StandIn] = []


def export(towers: Towers, calibration: Calibration, config: ExportConfig, folder: Path) -> dict[str, Any]:
    """The exporter of every target while a stand-in is installed."""
    return _INSTALLED[-1].export(towers, calibration, config, folder)


def open_kept(path: Path, threads: int) -> StandInTower:
    """The runtime of every suffix while a stand-in is installed."""
    return _INSTALLED[-1].open(path)


class StandIn:
    """Exports by keeping the towers, and runs them. It works in its own process alone: export with `jobs=0`.

    Attributes:
        faults: tower -> what is done to it before it is kept.
        calibrations: what the exporter was given.
        batches: shapes of what the towers were called with.
        lengths: text lengths that the files claim to take.
    """

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}
        self.calibrations: list[Calibration] = []
        self.batches: list[tuple[int, ...]] = []
        self.lengths: tuple[int, ...] | None = None
        self.kept: dict[bytes, nn.Module] = {}

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of all exporters and runtimes in the two tables, until the patch ends."""
        for name, target in TARGETS.items():
            patch.setitem(TARGETS, name, replace(target, module=__name__))
        for suffix, runtime in RUNTIMES.items():
            patch.setitem(RUNTIMES, suffix, Runtime(runtime.target, __name__, "open_kept"))
        patch.setattr(sys.modules[__name__], "_INSTALLED", [*_INSTALLED, self])

    def export(self, towers: Towers, calibration: Calibration, config: ExportConfig, folder: Path) -> dict[str, Any]:
        """Keep both towers under the content of a file each."""
        self.calibrations.append(calibration)
        for name in ("image", "text"):
            tower = self.faults.get(name, lambda same: same)(copy.deepcopy(towers[name]))
            for suffix in suffixes_of(config.target):
                path = folder / f"{name}.{config.precision}{suffix}"
                if suffix == ".mlpackage":
                    path = path / "Data" / "weights.bin"
                    path.parent.mkdir(parents=True)
                content = f"{config.target} {name} {suffix.removeprefix('.')} {len(self.kept)}".encode()
                path.write_bytes(content)
                self.kept[content] = tower
        (folder / "notes.txt").write_text(config.target)
        return {
            "opset": 23,
            "seconds": 1.5,
            "image": {"seconds": 1.0, "nodes": 7},
            "text": {"seconds": 0.5, "nodes": 9},
        }

    def open(self, path: Path) -> StandInTower:
        """Load a file."""
        file = path / "Data" / "weights.bin" if path.is_dir() else path
        content = file.read_bytes()
        if content not in self.kept:
            raise UserError(f"{path} is no exported tower.")
        return StandInTower(self, self.kept[content], path)


class StandInTower:
    """Runs a kept tower; the Core ML one as if by the interpreter."""

    def __init__(self, stand_in: StandIn, module: nn.Module, path: Path) -> None:
        self.stand_in, self.module = stand_in, module
        self.executed = "reference" if path.suffix == ".mlpackage" else "native"
        self.lengths = stand_in.lengths if path.name.startswith("text") else None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Run the tower."""
        self.stand_in.batches.append(values.shape)
        if self.lengths is not None:
            assert values.shape[1] in self.lengths
        with torch.inference_mode():
            return self.module(torch.from_numpy(values)).numpy()


class _Scaled(nn.Module):
    """A tower whose output was left unnormalised: cosines do not see it."""

    def __init__(self, tower: nn.Module):
        super().__init__()
        self.tower = tower

    def forward(self, x: Tensor) -> Tensor:
        return self.tower(x) * 7.5


def not_normalised(tower: nn.Module) -> nn.Module:
    """Leave out the normalisation at the end."""
    return _Scaled(tower)


def begins_at(eos_id: int) -> Fault:
    """Pool at another id's first place."""

    def change(tower: nn.Module) -> nn.Module:
        tower.eos_id = eos_id
        return tower

    return change


def uncalibrated(tower: nn.Module) -> nn.Module:
    """Round the inputs of all layers to int8 with the scale 1 that an observer has before it saw anything."""

    def rounded(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].round().clamp(-128, 127), *inputs[1:])

    for layer in tower.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_pre_hook(rounded)
    return tower


class _HalfMask(nn.Module):
    """A text tower whose mask was made by multiplying with a value that overflows to -inf in float16."""

    def __init__(self, tower: nn.Module, value: float):
        super().__init__()
        self.tower = tower
        # what 0 * value + mask gives once value went through float16
        self.term = torch.zeros(1).half() * torch.tensor([value]).half()

    def forward(self, ids: Tensor) -> Tensor:
        return self.tower(ids) + self.term.float()


def masked_by(value: float = MASKED) -> Fault:
    """Build the text tower's mask from a value in float16."""
    return lambda tower: _HalfMask(tower, value)


class _Blurred(nn.Module):
    """A tower whose every embedding leans to one side by the same small angle."""

    def __init__(self, tower: nn.Module):
        super().__init__()
        self.tower = tower

    def forward(self, x: Tensor) -> Tensor:
        y = self.tower(x)
        aside = torch.roll(y, 1, dims=1)
        aside = nn.functional.normalize(aside - (aside * y).sum(dim=1, keepdim=True) * y)
        return 0.993 * y + (1 - 0.993**2) ** 0.5 * aside


def blurred(tower: nn.Module) -> nn.Module:
    """Bring every cosine to 0.993."""
    return _Blurred(tower)
