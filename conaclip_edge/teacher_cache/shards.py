"""The rows of a cache, shard by shard: pictures prepared ahead of the teacher, embeddings fetched from it at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.prefetch import prefetched
from conaclip_edge.data.preprocess import augment
from conaclip_edge.data.usable import usable_pictures
from conaclip_edge.models.teacher.base import Teacher

BATCH_ROWS = 32
DEVICE_BATCH_ROWS = 256  # of a GPU, which a small batch leaves idle
ROWS_PER_WORKER = 256  # fewer pictures take less time than a worker's start

Shard = tuple[dict[str, np.ndarray], dict[str, str]]  # columns, and what the header says about them


class _Prepared(NamedTuple):
    """Some pictures as the teacher takes them (None if none can be used), their rows, and why others are left out."""

    pixels: Any
    rows: list[int]
    left_out: dict[str, str]


def picture_shards(
    pairs: Pairs, teacher: Teacher, view: int, max_pixels: int, workers: int, shards: Sequence[range]
) -> Iterator[Shard]:
    """Embed one view of pictures; the header keeps why some are not usable, so that a killed run still knows.

    Args:
        pairs: the data set.
        teacher: frozen, on its device.
        view: augmentation; 0 is the plain picture.
        max_pixels: a larger picture counts as undecodable.
        workers: processes that decode, augment and preprocess ahead of the teacher, at most.
        shards: the rows of each.
    """

    def prepare(batch: range) -> _Prepared:
        left_out: dict[str, str] = {}
        pictures = {
            row: augment(picture, (view, row)) if view else picture
            for row, _, picture in usable_pictures(pairs, batch, max_pixels, left_out)
        }
        return _Prepared(teacher.pixels(list(pictures.values())) if pictures else None, list(pictures), left_out)

    batches = [batch for rows in shards for batch in _batches(rows, teacher.device)]
    workers = min(workers, sum(map(len, shards)) // ROWS_PER_WORKER)
    made = prefetched(prepare, batches, workers, pin=teacher.device.type == "cuda")
    for rows in shards:
        parts: list[Tensor] = []
        of: list[int] = []
        left_out: dict[str, str] = {}
        for given in (next(made) for _ in _batches(rows, teacher.device)):
            left_out |= given.left_out
            if given.rows:
                parts.append(teacher.embed_pixels(given.pixels))
                of += [row - rows.start for row in given.rows]
        embedding = np.zeros((len(rows), teacher.embed_dim), dtype=np.float32)
        usable = np.zeros(len(rows), dtype=np.uint8)
        if parts:
            embedding[of], usable[of] = _fetched(parts), 1
        yield {"embedding": embedding, "usable": usable}, {"bad": json.dumps(left_out)}


def text_shards(teacher: Teacher, texts: Sequence[str], shards: Sequence[range]) -> Iterator[Shard]:
    """Embed texts."""
    for rows in shards:
        batches = _batches(rows, teacher.device)
        yield {"embedding": _fetched([teacher.embed_texts([texts[row] for row in batch]) for batch in batches])}, {}


def _fetched(parts: list[Tensor]) -> np.ndarray:
    """Bring a shard's embeddings from the teacher's device, in one copy."""
    return torch.cat(parts).cpu().numpy().astype(np.float32)


def _batches(rows: range, device: torch.device) -> list[range]:
    size = BATCH_ROWS if device.type == "cpu" else DEVICE_BATCH_ROWS
    return [range(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size)]
