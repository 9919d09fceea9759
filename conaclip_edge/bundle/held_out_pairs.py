"""Embeddings of held-out pairs in a bundle: how near a right picture is to its text, for a search's cut-off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from conaclip_edge.errors import UserError

FILE = "held_out_pairs.safetensors"
MOST_PAIRS = 256
_SEED = 5


@dataclass(frozen=True)
class HeldOutPairs:
    """Pictures and texts that belong together and that the student was not trained on.

    Attributes:
        texts: unit vectors [n, d].
        pictures: the same of the picture of each text.
    """

    texts: np.ndarray
    pictures: np.ndarray


def draw_pairs(texts: np.ndarray, pictures: np.ndarray, caption_to_image: np.ndarray) -> HeldOutPairs:
    """Choose some held-out pairs, the same ones for the same data.

    Args:
        texts: unit vectors float32 [captions, d].
        pictures: unit vectors float32 [pictures, d].
        caption_to_image: row of the picture of each caption.
    """
    chosen = np.sort(np.random.default_rng(_SEED).permutation(len(texts))[:MOST_PAIRS])
    return HeldOutPairs(texts[chosen], pictures[caption_to_image[chosen]])


def write_pairs(pairs: HeldOutPairs, folder: Path) -> None:
    """Write the pairs as float16 tensors `text` and `picture` [n, d] into a bundle's folder."""
    tensors = {"text": pairs.texts.astype(np.float16), "picture": pairs.pictures.astype(np.float16)}
    save_file(tensors, folder / FILE)


def read_pairs_of(bundle: Path, dim: int) -> HeldOutPairs | None:
    """Read the pairs of a bundle as float32; None for a bundle that has none.

    Args:
        bundle: its folder.
        dim: length of its embeddings.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    file = bundle / FILE
    if not file.exists():
        return None
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {file}: {error}. Export the bundle again.") from error
    texts, pictures = (tensors.get(name, np.zeros(0)) for name in ("text", "picture"))
    if texts.shape != pictures.shape or texts.shape[1:] != (dim,) or not all(map(_finite, (texts, pictures))):
        raise UserError(f"{file} must hold 'text' and 'picture' of one shape [n, {dim}]. Export the bundle again.")
    return HeldOutPairs(texts.astype(np.float32), pictures.astype(np.float32))


def _finite(tensor: np.ndarray) -> bool:
    return tensor.dtype.kind == "f" and bool(np.isfinite(tensor).all())
