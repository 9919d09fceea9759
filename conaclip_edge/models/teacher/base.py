"""What every teacher is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.config.distill import TeacherPrecision
from conaclip_edge.errors import UserError

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Teacher(nn.Module, ABC):
    """A dual encoder that never trains: eval mode and no gradients, whatever the caller does.

    Attributes:
        name: what to call it in reports.
        kind: of model, for reports, such as "clip".
        embed_dim: width of the space.
        context: largest number of ids of a text.
        tokenizer_file: its `tokenizer.json`, from which students inherit theirs.
        fingerprint: hash of weights, preprocessing and tokenizer.
        precision: that the towers compute in; the weights are float32 whatever it is.
    """

    name: str
    kind: str
    embed_dim: int
    context: int
    tokenizer_file: Path
    fingerprint: str
    precision: TeacherPrecision = "fp32"

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the embeddings it gives."""
        return next(self.parameters()).device

    @property
    def answers(self) -> str:
        """Hash of all that its embeddings depend on: the fingerprint, with the precision where that is not float32."""
        return self.fingerprint if self.precision == "fp32" else f"{self.fingerprint} {self.precision}"

    def compute_on(self, device: torch.device, precision: TeacherPrecision = "fp32") -> Self:
        """Move the weights to a device and compute there in a precision.

        Args:
            device: of any kind that torch knows.
            precision: of the towers, by autocast; layers that need float32 (norms, softmax) keep it.
        """
        for part in self.modules():  # an ensemble's members, too
            if isinstance(part, Teacher):
                part.precision = precision
        return self.to(device)

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

    def embed_pictures(self, pictures: list[Image]) -> Tensor:
        """Map upright RGB pictures to float32 unit vectors [n, embed_dim] on its device."""
        return self.embed_pixels(self.pixels(pictures))

    @torch.no_grad()
    def embed_pixels(self, pixels: Any) -> Tensor:
        """Map what `pixels` gives, on any device, to float32 unit vectors [n, embed_dim] on its own."""
        with self._computing():
            return self._float32(self.encode_pixels(moved(pixels, self.device)))

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> Tensor:
        """Map texts to float32 unit vectors [n, embed_dim] on its device; longer ones are cut to the context."""
        with self._computing():
            return self._float32(self.encode_tokens(moved(self.tokens(texts), self.device)))

    def _computing(self) -> AbstractContextManager[None]:
        return nullcontext() if self.precision == "fp32" else torch.autocast(self.device.type, _DTYPES[self.precision])

    def _float32(self, embedding: Tensor) -> Tensor:
        return embedding if self.precision == "fp32" else F.normalize(embedding.float(), dim=-1)

    @abstractmethod
    def token_table(self) -> Tensor:
        """Return the token embedding table [vocabulary, width] that students may start from."""

    def text_layers(self) -> dict[str, Tensor]:
        """Return the text tower's weights by CLIP's names if a CLIP student can take them, else nothing."""
        return {}

    def mobile_blocks(self) -> nn.Module | None:
        """Return the image tower if it is a mobile one whose first blocks a student can take, else None."""
        return None


def moved(inputs: Any, device: torch.device) -> Any:
    """Move a tower's input to a device: a tensor, or a tuple or mapping of them."""
    if isinstance(inputs, Tensor):
        return inputs.to(device, non_blocking=True)
    if isinstance(inputs, Mapping):
        return {name: moved(part, device) for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(moved(part, device) for part in inputs)
    return inputs


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
