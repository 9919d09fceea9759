"""The image tower of a loaded student as it was trained: in float, or on the grids of quantization.json."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from conaclip_edge.models.quantization.mobile import Int8MobileTower
from conaclip_edge.models.student.checkpoint import Student


def image_encoder(student: Student) -> Callable[[Tensor], Tensor]:
    """Return what maps pixel_values float32 [B, 3, H, W] in [0, 1] to unit vectors [B, d]."""
    if student.quantization is None:
        encode: Callable[[Tensor], Tensor] = student.model.encode_image
        return encode
    tower = Int8MobileTower(student.model.image).eval()
    tower.grids = student.quantization.image
    return lambda pixels: F.normalize(tower(pixels), dim=-1)
