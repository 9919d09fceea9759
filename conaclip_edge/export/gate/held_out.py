"""Held-out pairs, which decide whether an exported file passes, with the float32 student's embeddings of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image

from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.bad_pictures import check_bad
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import BadPicture, decode, to_pixels
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.recall import Ranks, ranks
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
    size = student.model.config.image.size
    pixels: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    caption_to_image: list[int] = []
    kept: list[tuple[str, bytes]] = []
    bad: list[str] = []
    for row in track(chosen, "reading held-out pictures"):
        encoded = pairs.read(row)
        try:
            picture = decode(encoded, data.max_pixels)
        except BadPicture as error:
            bad.append(f"{pairs.keys[row]}: {error}")
            continue
        if len(kept) < examples:
            kept.append((f"held-out-{len(kept)}.{_suffix(encoded)}", encoded))
        caption_to_image += [len(pixels)] * len(pairs.captions[row])
        pixels.append(to_pixels(picture, size))
        ids += [np.asarray(student.tokenizer.ids(text), dtype=np.int32) for text in pairs.captions[row]]
    check_bad(bad, len(chosen), data.max_bad, pairs.name)
    stacked = np.stack(pixels)
    pictures, texts = _student_pictures(student, stacked), _student_texts(student, ids)
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
        tuple(bad),
    )


def _student_pictures(student: Student, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        parts = [
            student.model.encode_image(torch.from_numpy(pixels[start : start + _BATCH]).float() / 255).numpy()
            for start in track(range(0, len(pixels), _BATCH), "float32 student embeds pictures")
        ]
    return np.concatenate(parts)


def _student_texts(student: Student, rows: list[np.ndarray]) -> np.ndarray:
    """Embed texts unpadded, those of one length together."""
    embeddings = np.zeros((len(rows), student.model.config.embed_dim), dtype=np.float32)
    lengths = np.asarray([len(row) for row in rows])
    with torch.inference_mode():
        for length in track(sorted(set(lengths.tolist())), "float32 student embeds texts"):
            places = np.flatnonzero(lengths == length)
            ids = torch.from_numpy(np.stack([rows[place] for place in places]))
            embeddings[places] = student.model.encode_text(ids).numpy()
    return embeddings


def _suffix(encoded: bytes) -> str:
    """Name the format of encoded bytes that Pillow could read."""
    return str(Image.open(io.BytesIO(encoded)).format).lower().replace("jpeg", "jpg")
