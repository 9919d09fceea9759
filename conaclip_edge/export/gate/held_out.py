"""Held-out pairs, which decide whether an exported file passes, with the float32 student's embeddings of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import Preprocess, to_pixels
from conaclip_edge.data.usable import reasons, usable_pictures
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.recall import Ranks, ranks
from conaclip_edge.evaluation.torch_encoders import embed_ids, embed_pixels
from conaclip_edge.models.student.checkpoint import Student
from conaclip_edge.system.progress import track

SPLIT: Literal["val"] = "val"  # calibration sees train, reports are made on test: neither may decide what passes
_SEED = 12
_BATCH = 32


@dataclass(frozen=True)
class HeldOut:
    """Pairs that the student was not trained on, with the float32 student's embeddings.

    Attributes:
        dataset: name of the data set.
        fingerprint: of the data set.
        pixels: uint8 [P, 3, size, size].
        ids: int32 ids of each caption, unpadded.
        caption_to_image: picture position of each caption [C].
        pictures: float32 unit vectors [P, d].
        texts: float32 unit vectors [C, d].
        ranks: the float32 student's.
        examples: names and encoded bytes of some of the pictures, for the golden vectors.
        left_out: pictures that cannot be used, as "key: reason".
    """

    dataset: str
    fingerprint: str
    pixels: np.ndarray
    ids: tuple[np.ndarray, ...]
    caption_to_image: np.ndarray
    pictures: np.ndarray
    texts: np.ndarray
    ranks: Ranks
    examples: tuple[tuple[str, bytes], ...]
    left_out: tuple[str, ...] = ()


def held_out(
    student: Student, pairs: Pairs, count: int, data: DataConfig, examples: int = 3, split: str = SPLIT
) -> HeldOut:
    """Draw captioned pictures of a split, the same ones every time, and embed them in float32.

    Args:
        student: the checkpoint.
        pairs: the data that it was distilled on.
        count: pictures at most.
        data: gives max_pixels and max_bad.
        examples: pictures whose bytes are kept.
        split: that gates an export, or another one that was held out.

    Raises:
        UserError: the split has no captioned picture, or too many broken ones.
    """
    captioned = [int(row) for row in pairs.rows(split) if len(pairs.captions[row])]
    if not captioned:
        raise UserError(f"split '{split}' of data set '{pairs.name}' has no captions to gate an export with.")
    chosen = sorted(np.random.default_rng(_SEED).permutation(captioned)[:count].tolist())
    preprocess = Preprocess.of(student.model.config.image)
    pixels: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    caption_to_image: list[int] = []
    kept: list[tuple[str, bytes]] = []
    left_out: dict[str, str] = {}
    rows = track(chosen, "reading held-out pictures")
    for row, encoded, picture in usable_pictures(pairs, rows, data.max_pixels, left_out, data.max_bad):
        if len(kept) < examples:
            kept.append((f"held-out-{len(kept)}.{_suffix(encoded)}", encoded))
        caption_to_image += [len(pixels)] * len(pairs.captions[row])
        pixels.append(to_pixels(picture, preprocess))
        ids += [np.asarray(student.tokenizer.ids(text), dtype=np.int32) for text in pairs.captions[row]]
    stacked = np.stack(pixels)
    pictures, texts = _embed_pixels(student, stacked), _embed_unpadded(student, ids)
    return HeldOut(
        pairs.name,
        pairs.fingerprint,
        stacked,
        tuple(ids),
        np.asarray(caption_to_image),
        pictures,
        texts,
        ranks(pictures, texts, np.asarray(caption_to_image)),
        tuple(kept),
        tuple(reasons(left_out)),
    )


def _embed_pixels(student: Student, pixels: np.ndarray) -> np.ndarray:
    starts = track(range(0, len(pixels), _BATCH), "float32 student embeds pictures")
    return embed_pixels(student.model, (pixels[start : start + _BATCH] for start in starts))


def _embed_unpadded(student: Student, ids: list[np.ndarray]) -> np.ndarray:
    """Embed texts unpadded, those of one length together."""
    lengths = np.asarray([len(text) for text in ids])
    groups = [np.flatnonzero(lengths == length) for length in sorted(set(lengths.tolist()))]
    batches = (np.stack([ids[text] for text in group]) for group in track(groups, "float32 student embeds texts"))
    grouped = embed_ids(student.model, batches)
    embeddings = np.empty_like(grouped)
    embeddings[np.concatenate(groups)] = grouped
    return embeddings


def _suffix(encoded: bytes) -> str:
    """Name the format of encoded bytes that Pillow could read."""
    return str(Image.open(io.BytesIO(encoded)).format).lower().replace("jpeg", "jpg")
