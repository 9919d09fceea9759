"""One form for everything that embeds pictures and texts: teachers, checkpoints, exported files. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from PIL.Image import Image

from conaclip_edge.runtime.tower import Executed

PER_CALL = 32


@dataclass(frozen=True)
class Encoder:
    """A dual encoder, loaded, with its stages apart for those who time them.

    Attributes:
        name: for reports.
        executed: "native", "executor" or "reference" for exported files, "torch" for models.
        pixels: upright RGB pictures -> input of the image tower.
        tokens: texts, and whether to pad them to the full context -> input of the text tower.
        image: such an input -> unit vectors [n, d]; None if the tower cannot be run.
        text: likewise.
        pictures_per_call: at most, in `embed_images`.
        texts_per_call: at most, in `embed_texts`; 1 lets each text go in at its own length.
    """

    name: str
    executed: Executed | Literal["torch"]
    pixels: Callable[[list[Image]], Any]
    tokens: Callable[[list[str], bool], Any]
    image: Callable[[Any], np.ndarray] | None
    text: Callable[[Any], np.ndarray] | None
    pictures_per_call: int = PER_CALL
    texts_per_call: int = PER_CALL

    def embed_images(self, pictures: Iterable[Image]) -> np.ndarray:
        """Embed pictures, of which no more than one call's are held in memory.

        Args:
            pictures: upright, RGB.

        Returns:
            Unit vectors float32 [n, d]; [0, 0] of no picture.
        """
        assert self.image is not None, f"{self.name} has no image tower that runs here"
        source, parts = iter(pictures), []
        while batch := list(islice(source, self.pictures_per_call)):
            parts.append(self.image(self.pixels(batch)))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def embed_texts(self, texts: Iterable[str]) -> np.ndarray:
        """Embed texts.

        Args:
            texts: of any length; what does not fit the context is cut.

        Returns:
            Unit vectors float32 [n, d]; [0, 0] of no text.
        """
        assert self.text is not None, f"{self.name} has no text tower that runs here"
        source, parts = iter(texts), []
        while batch := list(islice(source, self.texts_per_call)):
            parts.append(self.text(self.tokens(batch, False)))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
