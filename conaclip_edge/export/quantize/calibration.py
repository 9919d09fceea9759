"""Calibration: the real train pairs that activation ranges and smoothing scales are taken from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import Preprocess, to_pixels
from conaclip_edge.data.usable import usable_pictures
from conaclip_edge.errors import UserError
from conaclip_edge.models.tokenizer import TextTokenizer

_SEED = 11


@dataclass(frozen=True)
class Calibration:
    """Pictures and captions that a tower is run on before it is quantised.

    Attributes:
        pixels: uint8 [n, 3, H, W]; the towers take them divided by 255.
        ids: n rows of int32 ids, each of its own length and ending with EOS: padding would widen no range.
        sha256: of all of it, for the manifest.
    """

    pixels: np.ndarray
    ids: tuple[np.ndarray, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.ids)

    def images(self, batch: int = 16, count: int | None = None) -> Iterator[Tensor]:
        """Yield pixel_values float32 [B, 3, H, W] in [0, 1] of the first `count` pictures."""
        chosen = self.pixels[:count]
        for start in range(0, len(chosen), batch):
            yield torch.from_numpy(chosen[start : start + batch].astype(np.float32) / 255.0)

    def texts(self, count: int | None = None) -> Iterator[Tensor]:
        """Yield input_ids int32 [B, L] of the first `count` texts, those of one length together and unpadded."""
        rows = self.ids[:count]
        for length in sorted({len(row) for row in rows}):
            yield torch.from_numpy(np.stack([row for row in rows if len(row) == length]))

    def batches(self, tower: str, count: int | None = None) -> Iterator[Tensor]:
        """Yield the inputs of the tower named "image" or "text"."""
        return self.images(count=count) if tower == "image" else self.texts(count)


def make_calibration(pixels: np.ndarray, ids: list[np.ndarray]) -> Calibration:
    """Hash pictures (uint8 [n, 3, H, W]) and rows of int32 ids into a calibration set."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    for row in ids:
        digest.update(len(row).to_bytes(4, "little") + row.astype("<i4").tobytes())
    return Calibration(pixels, tuple(row.astype(np.int32) for row in ids), digest.hexdigest())


def calibrate(
    pairs: Pairs, tokenizer: TextTokenizer, preprocess: Preprocess, count: int, max_pixels: int
) -> Calibration:
    """Draw captioned pictures of the train split: the same ones every time; no other split is read.

    Args:
        pairs: the data that the student was distilled on.
        tokenizer: the student's.
        preprocess: what the student's image tower wants done to a picture.
        count: pairs to draw.
        max_pixels: larger pictures are passed over.

    Raises:
        UserError: the train split has fewer usable pairs.
    """
    rows = [int(row) for row in pairs.rows("train") if len(pairs.captions[row])]
    random = np.random.default_rng(_SEED)
    pixels: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    shuffled = (rows[position] for position in random.permutation(len(rows)))
    for row, _, picture in islice(usable_pictures(pairs, shuffled, max_pixels, left_out={}), count):
        captions = pairs.captions[row]
        pixels.append(to_pixels(picture, preprocess))
        ids.append(np.asarray(tokenizer.ids(captions[int(random.integers(len(captions)))]), dtype=np.int32))
    if len(ids) < count:
        raise UserError(
            f"calibration needs {count} captioned train pictures, '{pairs.name}' has {len(ids)}. "
            "Set calibration_pairs lower (300 at least), or export with --precision fp16 or fp32, which need none."
        )
    return make_calibration(np.stack(pixels), ids)


def require_calibration(calibration: Calibration) -> None:
    """Refuse an empty set: without statistics an int8 file's scales would be made up."""
    if len(calibration) == 0:
        raise UserError(
            "int8 needs calibration pictures and captions, got none. Give train pairs, or use fp16 or fp32."
        )
