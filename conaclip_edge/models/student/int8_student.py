"""A student whose pictures go through an int8 tower: what quantisation-aware training trains."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from conaclip_edge.models.quantization.mobile import Int8MobileTower
from conaclip_edge.models.quantization.record import Quantization, TowerQuantization
from conaclip_edge.models.student.dual_encoder import DualEncoder


class Int8Student(DualEncoder):
    """A student that sees pictures by an int8 tower; its text tower and logit scale are the float student's own.

    The float image tower stays as it is, and stands still, until `write_back`.

    Args:
        student: the float student.
        int8_image: the int8 form of its image tower.
    """

    def __init__(self, student: DualEncoder, int8_image: Int8MobileTower):
        with torch.device("meta"):  # the float student's parts take the place of these
            super().__init__(student.config)
        self.image, self.text, self.logit_scale = student.image, student.text, student.logit_scale
        self.image.requires_grad_(False)
        self.int8_image = int8_image

    @property
    def quantization(self) -> Quantization:
        """What quantization.json holds."""
        return Quantization(image=self.int8_image.grids)

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """Map float32 pixels [B, 3, H, W] in [0, 1] to unit vectors [B, d]."""
        return F.normalize(self.int8_image(pixel_values), dim=-1)

    def forward(self, pictures: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode both sides for training; as of `DualEncoder`."""
        with torch.autocast(pictures.device.type, enabled=False):  # bfloat16 has fewer steps than a grid
            image = self.int8_image.rest(pictures) if self.int8_image.frozen else self.int8_image(pictures)
        return F.normalize(image, dim=-1), self.encode_text(input_ids), self.logit_scale.exp()

    def write_back(self) -> None:
        """Give the float student's image tower the int8 values of the weights."""
        self.int8_image.write_to(self.image)


def int8_student(student: DualEncoder, grids: TowerQuantization) -> Int8Student:
    """Return a trained student with its image tower on its int8 grids, in eval mode; the parts are its own.

    Args:
        student: a float student whose weights are int8 values.
        grids: of its image tower.
    """
    tower = Int8MobileTower(student.image)
    tower.grids = grids
    return Int8Student(student, tower).eval()
