"""Calibration: the real train pairs that activation ranges and smoothing scales are taken from.

Where the train split has fewer captioned pictures than asked for, all of its pictures are taken, with augmented views.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import Preprocess, augment, to_pixels
from conaclip_edge.data.usable import usable_pictures
from conaclip_edge.errors import UserError
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.models.vocabulary_words import vocabulary_phrases
from conaclip_edge.system.progress import say

VIEWS = 8  # of each picture at most where they are few: more show the ranges of activations nothing new
_SEED = 11
MOST_IDS = 16_384  # of a batch of texts: those of one padded length are many


@dataclass(frozen=True)
class Calibration:
    """Pictures and captions that a tower is run on before it is quantised.

    Attributes:
        pixels: uint8 [n, 3, H, W]; the towers take them divided by 255.
        ids: n rows of int32 ids, each of its own length and ending with EOS: padding would widen no range.
        sha256: of all of it, for the manifest.
        rows: positions in the data set of the pictures that were read.
        texts_from: what the texts are.
    """

    pixels: np.ndarray
    ids: tuple[np.ndarray, ...]
    sha256: str
    rows: frozenset[int] = frozenset()
    texts_from: Literal["captions", "phrases"] = "captions"

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
            alike = [row for row in rows if len(row) == length]
            some = max(1, MOST_IDS // length)
            for start in range(0, len(alike), some):
                yield torch.from_numpy(np.stack(alike[start : start + some]))

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
    """Draw captioned pictures of the train split: the same ones every time; no picture of another split is read.

    Of fewer than `count`, all train pictures are taken with at most `VIEWS` views each, the first as it is. Of data
    without any caption, the texts are phrases of the tokenizer's words.

    Args:
        pairs: the data that the student was distilled on.
        tokenizer: the student's.
        preprocess: what the student's image tower wants done to a picture.
        count: pairs to draw.
        max_pixels: larger pictures are passed over.

    Raises:
        UserError: no train picture can be used.
    """
    rows = [int(row) for row in pairs.rows("train") if len(pairs.captions[row])]
    random = np.random.default_rng(_SEED)
    pixels: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    drawn: list[int] = []
    shuffled = (rows[position] for position in random.permutation(len(rows)))
    for row, _, picture in islice(usable_pictures(pairs, shuffled, max_pixels, left_out={}), count):
        captions = pairs.captions[row]
        drawn.append(row)
        pixels.append(to_pixels(picture, preprocess))
        ids.append(np.asarray(tokenizer.ids(captions[int(random.integers(len(captions)))]), dtype=np.int32))
    if len(ids) < count:
        return _all_there_is(pairs, tokenizer, preprocess, count, max_pixels)
    return replace(make_calibration(np.stack(pixels), ids), rows=frozenset(drawn))


def _all_there_is(
    pairs: Pairs, tokenizer: TextTokenizer, preprocess: Preprocess, count: int, max_pixels: int
) -> Calibration:
    """Take every train picture, captioned or not, with augmented views, and every caption of them; see `calibrate`."""
    rows = [int(row) for row in pairs.rows("train")]
    share = min(VIEWS, math.ceil(count / len(rows)))
    views: list[list[np.ndarray]] = [[] for _ in range(share)]
    taken: list[int] = []
    for row, _, picture in usable_pictures(pairs, rows[:count], max_pixels, left_out={}):
        taken.append(row)
        for number, view in enumerate(views):
            seen = picture if number == 0 else augment(picture, (_SEED, row, number))
            view.append(to_pixels(seen, preprocess))
    if not taken:
        raise UserError(
            f"no train picture of '{pairs.name}' can be used to calibrate int8. Mend the data, or export with "
            "--precision fp16 or fp32, which need none."
        )
    pixels = np.stack([one for view in views for one in view][:count])
    # a text says nothing of the picture beside it here: of data with few captions, any of them do
    captions = [text for row in taken for text in pairs.captions[row]] or [t for some in pairs.captions for t in some]
    texts = captions or vocabulary_phrases(tokenizer, len(pixels))
    ids = [np.asarray(tokenizer.ids(texts[place % len(texts)]), dtype=np.int32) for place in range(len(pixels))]
    source: Literal["captions", "phrases"] = "captions" if captions else "phrases"
    made = replace(make_calibration(pixels, ids), rows=frozenset(taken), texts_from=source)
    say(f"calibration: {calibration_text(len(made), len(taken), source)}; {count} were asked for.")
    return made


def calibration_text(pairs: int, pictures: int, texts_from: str) -> str:
    """Say what int8 scales were taken from where the data were few.

    Args:
        pairs: inputs of each tower.
        pictures: that they are views of.
        texts_from: what the texts are.
    """
    texts = "" if texts_from == "captions" else " and as many phrases of the tokenizer's words, for lack of captions"
    views = f"{pairs} views of " if pairs > pictures else ""
    return f"{views}all {pictures} train pictures{texts}"


def require_calibration(calibration: Calibration) -> None:
    """Refuse an empty set: without statistics an int8 file's scales would be made up."""
    if len(calibration) == 0:
        raise UserError(
            "int8 needs calibration pictures and captions, got none. Give train pairs, or use fp16 or fp32."
        )
