"""What every teacher is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from conaclip_edge.errors import UserError


class Teacher(nn.Module, ABC):
    """A dual encoder that never trains: eval mode and no gradients, whatever the caller does.

    Attributes:
        name: what to call it in reports.
        kind: of model, for reports, such as "clip".
        embed_dim: width of the space.
        context: largest number of ids of a text.
        tokenizer_file: its `tokenizer.json`, from which students inherit theirs.
        fingerprint: hash of weights, preprocessing and tokenizer.
    """

    name: str
    kind: str
    embed_dim: int
    context: int
    tokenizer_file: Path
    fingerprint: str

    def freeze(self) -> None:
        """Turn gradients off; called once the modules are in place."""
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> Teacher:
        """Stay in eval mode."""
        return self

    @property
    def temperature(self) -> float:
        """What its own softmax divides cosines by: e to the minus logit_scale; CLIP's last, 0.01, where it has none."""
        scale = next((value for name, value in self.named_parameters() if name.endswith("logit_scale")), None)
        return 0.01 if scale is None else math.exp(-float(scale))

    @abstractmethod
    def pixels(self, pictures: list[Image]) -> Any:
        """Turn upright RGB pictures into the image tower's input, by the teacher's own preprocessing."""

    @abstractmethod
    def tokens(self, texts: list[str], full: bool = False) -> Any:
        """Turn texts into the text tower's input, by the teacher's own tokenizer; `full`: padded to the context."""

    @abstractmethod
    def encode_pixels(self, pixels: Any) -> Tensor:
        """Map what `pixels` gives to unit vectors [n, embed_dim]."""

    @abstractmethod
    def encode_tokens(self, tokens: Any) -> Tensor:
        """Map what `tokens` gives to unit vectors [n, embed_dim]."""

    @torch.no_grad()
    def embed_pictures(self, pictures: list[Image]) -> Tensor:
        """Map upright RGB pictures to unit vectors [n, embed_dim]."""
        return self.encode_pixels(self.pixels(pictures))

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> Tensor:
        """Map texts to unit vectors [n, embed_dim]; longer ones are cut to the context."""
        return self.encode_tokens(self.tokens(texts))

    @abstractmethod
    def token_table(self) -> Tensor:
        """Return the token embedding table [vocabulary, width] that students may start from."""

    def text_layers(self) -> dict[str, Tensor]:
        """Return the text tower's weights by CLIP's names if a CLIP student can take them, else nothing."""
        return {}

    def mobile_blocks(self) -> nn.Module | None:
        """Return the image tower if it is a mobile one whose first blocks a student can take, else None."""
        return None


def check_finite(text: Tensor, picture: Tensor, source: str) -> None:
    """Refuse a teacher by what its towers gave for one text and one picture: weights of NaN or zeros train nothing.

    Args:
        text: embedding [1, embed_dim].
        picture: embedding [1, embed_dim].
        source: of the teacher, for the error.
    """
    for tower, embedding in (("texts", text), ("pictures", picture)):
        if not (embedding.isfinite().all() and embedding.norm() > 0.5):
            raise UserError(
                f"teacher {source}: its embeddings of {tower} are no unit vectors: its weights hold values that are no "
                "finite numbers, or zeros alone. Fetch its config.json and safetensors again."
            )
