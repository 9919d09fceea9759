"""quantization.json: the 8-bit grids that a student's activations were trained on.

It lies beside model.safetensors, whose convolutions then hold int8 values times the scale of their output channel.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.config.parse import parse
from conaclip_edge.errors import UserError
from conaclip_edge.models.quantization.sites import image_sites
from conaclip_edge.system.files import read_json, write_json
from conaclip_edge.system.result import Result

QUANTIZATION = "quantization.json"
MOST_RELU6_SCALE = 6 / 255 * (1 + 1e-6)  # the largest value of a ReLU6 is 6, up to float32


class ActivationGrid(Result):
    """The 256 values that an activation can have: scale * (q - zero_point), q from 0 to 255.

    Attributes:
        scale: a float32.
        zero_point: the q of 0.
    """

    scale: float = Field(gt=0)
    zero_point: int = Field(ge=0, le=255)


class TowerQuantization(Result):
    """The grids of a tower: activation site -> grid, in the order of execution; see `sites`."""

    activations: dict[str, ActivationGrid]


class Quantization(Result):
    """The content of quantization.json.

    Attributes:
        version: of this form.
        image: the image tower's grids.
    """

    version: Literal[1] = 1
    image: TowerQuantization


def read_quantization(folder: Path, image: ImageTowerConfig) -> Quantization | None:
    """Read quantization.json of a student's folder; None where there is none.

    Args:
        folder: of the student.
        image: shape of its image tower, which says what sites there have to be.

    Raises:
        UserError: a damaged file, or one of another tower.
    """
    file = folder / QUANTIZATION
    if not os.path.lexists(file):
        return None
    found = parse(Quantization, read_json(file, "quantization record"), str(file))
    sites, grids = image_sites(image), found.image.activations
    mend = "Take it and model.safetensors from the same student."
    if missing := [name for name in sites if name not in grids]:
        raise UserError(f"{file} has no grid of '{missing[0]}'. {mend}")
    if foreign := [name for name in grids if name not in sites]:
        raise UserError(f"{file} has a grid of '{foreign[0]}', which the image tower does not have. {mend}")
    for name, kind in sites.items():
        if kind == "relu6" and (grids[name].zero_point or grids[name].scale > MOST_RELU6_SCALE):
            raise UserError(f"{file}: '{name}' is a ReLU6, from 0 to 6, and its grid goes beyond. {mend}")
    return found


def write_quantization(quantization: Quantization, folder: Path) -> None:
    """Write quantization.json into a student's folder."""
    write_json(folder / QUANTIZATION, quantization.model_dump(mode="json"))
