"""Several teachers as one: their unit vectors side by side, so that a cosine is the mean of theirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from conaclip_edge.config.distill import TeacherPrecision
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.system.files import sha256_text


class EnsembleTeacher(Teacher):
    """Teachers that see the same pictures and texts; the first gives the student its tokenizer and text layers.

    Args:
        members: two or more.

    Attributes:
        members: as given.
    """

    kind = "ensemble"

    def __init__(self, members: Sequence[Teacher]):
        super().__init__()
        self.members = list(members)
        self.towers = nn.ModuleList(members)
        first = self.members[0]
        self.name = " + ".join(one.name for one in members)
        self.embed_dim = sum(one.embed_dim for one in members)
        self.context, self.tokenizer_file = first.context, first.tokenizer_file
        self.fingerprint = sha256_text("ensemble/1", *(one.fingerprint for one in members))
        self.freeze()

    def compute_on(self, device: torch.device, precision: TeacherPrecision = "fp32") -> EnsembleTeacher:
        """Move all members to a device and compute there in a precision, which their caches are named by too."""
        for one in self.members:
            one.compute_on(device, precision)
        return super().compute_on(device, precision)

    @property
    def temperature(self) -> float:
        """The first member's."""
        return self.members[0].temperature

    def pixels(self, pictures: list[Image]) -> tuple[Any, ...]:
        """Turn upright RGB pictures into each member's own input."""
        return tuple(one.pixels(pictures) for one in self.members)

    def tokens(self, texts: list[str], full: bool = False) -> tuple[Any, ...]:
        """Turn texts into each member's own input."""
        return tuple(one.tokens(texts, full) for one in self.members)

    def encode_pixels(self, pixels: tuple[Any, ...]) -> Tensor:
        """Map what `pixels` gives to unit vectors [n, embed_dim]."""
        return self._side_by_side(pixels, lambda one, given: one.encode_pixels(given))

    def encode_tokens(self, tokens: tuple[Any, ...]) -> Tensor:
        """Map what `tokens` gives to unit vectors [n, embed_dim]."""
        return self._side_by_side(tokens, lambda one, given: one.encode_tokens(given))

    def token_table(self) -> Tensor:
        """Return the first member's token table."""
        return self.members[0].token_table()

    def text_layers(self) -> dict[str, Tensor]:
        """Return the first member's text layers, if a CLIP student can take them, but for their projection."""
        return {name: value for name, value in self.members[0].text_layers().items() if "projection" not in name}

    def _side_by_side(self, inputs: tuple[Any, ...], encode: Callable[[Teacher, Any], Tensor]) -> Tensor:
        found = [encode(one, given) for one, given in zip(self.members, inputs, strict=True)]
        return torch.cat(found, dim=-1) / math.sqrt(len(found))
