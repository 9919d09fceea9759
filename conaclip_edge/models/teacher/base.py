"""What every teacher is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from PIL.Image import Image
from torch import Tensor, nn


class Teacher(nn.Module, ABC):
    """A dual encoder that never trains: eval mode and no gradients, whatever the caller does.

    Attributes:
        name: what to call it in reports.
        embed_dim: width of the space.
        tokenizer_file: its `tokenizer.json`, from which students inherit theirs.
        fingerprint: hash of weights, preprocessing and tokenizer.
    """

    name: str
    embed_dim: int
    tokenizer_file: Path
    fingerprint: str

    def freeze(self) -> None:
        """Turn gradients off; called once the modules are in place."""
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> Teacher:
        """Stay in eval mode."""
        return self

    @abstractmethod
    def embed_pictures(self, pictures: list[Image]) -> Tensor:
        """Map upright RGB pictures to unit vectors [n, embed_dim], by the teacher's own preprocessing."""

    @abstractmethod
    def embed_texts(self, texts: list[str]) -> Tensor:
        """Map texts to unit vectors [n, embed_dim], by the teacher's own tokenizer."""

    @abstractmethod
    def token_table(self) -> Tensor:
        """Return the token embedding table [vocabulary, width] that students may start from."""

    def text_layers(self) -> dict[str, Tensor]:
        """Return the text tower's weights by CLIP's names if a CLIP student can take them, else nothing."""
        return {}

    def mobile_blocks(self) -> nn.Module | None:
        """Return the image tower if it is a mobile one whose first blocks a student can take, else None."""
        return None
