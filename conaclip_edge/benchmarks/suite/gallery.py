"""The gallery: real queries with what the teacher and the exported student find for them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from conaclip_edge.benchmarks.measure.recall import Embedded, Split
from conaclip_edge.benchmarks.schema.gallery import FoundPicture, GalleryQuery
from conaclip_edge.config.benchmark import GalleryConfig
from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import decode, resize_crop
from conaclip_edge.evaluation.encoder import Encoder

TOP = 5
Side = Literal["teacher", "student"]


def make_gallery(
    pairs: Pairs,
    split: Split,
    embedded: Mapping[Side, Embedded],
    encoders: Mapping[Side, Encoder],
    config: GalleryConfig,
    data: DataConfig,
) -> tuple[tuple[GalleryQuery, ...], dict[str, str]]:
    """Choose queries and show what teacher and student find.

    Examples are the first captions of pictures at even distances, whatever is found for them. Failures are captions
    whose right picture falls furthest from its rank for the teacher to its rank for the student, one per picture.

    Args:
        pairs: the data set.
        split: its pictures and captions that were embedded.
        embedded: "teacher" and "student" -> their embeddings.
        encoders: the same, for texts of the suite's own.
        config: which queries, and the size of thumbnails.
        data: gives max_pixels.

    Returns:
        The queries, and key -> data URI of the pictures in them.
    """
    scores = {side: _scores(vectors) for side, vectors in embedded.items()}
    ranks = {side: _ranks(values, split.caption_to_image) for side, values in scores.items()}
    queries = [
        _query(
            pairs,
            split,
            text,
            "typed",
            None,
            {side: _typed_scores(encoders[side], embedded[side], text) for side in scores},
        )
        for text in config.queries
    ]
    examples = _examples(split, config.examples)
    failures = _failures(split, ranks, config.failures, examples)
    chosen: list[tuple[Literal["example", "failure"], int]] = [
        *(("example", caption) for caption in examples),
        *(("failure", caption) for caption in failures),
    ]
    for kind, caption in chosen:
        caption_scores = {side: values[caption] for side, values in scores.items()}
        right = int(split.caption_to_image[caption])
        queries.append(_query(pairs, split, split.captions[caption], kind, right, caption_scores))
    shown = dict.fromkeys(picture.key for query in queries for top in query.top.values() for picture in top)
    shown |= dict.fromkeys(query.key for query in queries if query.key)
    return tuple(queries), _thumbnails(pairs, split, shown, config.thumbnail, data)


def _scores(embedded: Embedded) -> np.ndarray:
    assert embedded.pictures is not None
    assert embedded.texts is not None
    return np.asarray(embedded.texts @ embedded.pictures.T)


def _ranks(scores: np.ndarray, caption_to_image: np.ndarray) -> np.ndarray:
    """Return the rank of each caption's picture [C], from 1; a tie counts against it."""
    right = scores[np.arange(len(caption_to_image)), caption_to_image]
    return np.asarray((scores >= right[:, None]).sum(axis=1))


def _typed_scores(encoder: Encoder, embedded: Embedded, text: str) -> np.ndarray:
    return np.asarray(embedded.pictures @ encoder.embed_texts([text])[0])


def _examples(split: Split, count: int) -> list[int]:
    pictures = np.unique(((np.arange(count) + 0.5) / max(count, 1) * len(split.rows)).astype(int))
    return [int(np.flatnonzero(split.caption_to_image == picture)[0]) for picture in pictures]


def _failures(split: Split, ranks: Mapping[Side, np.ndarray], count: int, examples: list[int]) -> list[int]:
    fall = np.log(ranks["student"]) - np.log(ranks["teacher"])  # from 1 to 10 is worse than from 40 to 60
    failures: list[int] = []
    seen = {int(split.caption_to_image[caption]) for caption in examples}
    for caption in np.argsort(-fall, kind="stable").tolist():
        if len(failures) == count or fall[caption] <= 0:
            break
        if int(split.caption_to_image[caption]) not in seen:
            seen.add(int(split.caption_to_image[caption]))
            failures.append(caption)
    return failures


def _query(
    pairs: Pairs,
    split: Split,
    text: str,
    kind: Literal["example", "failure", "typed"],
    right: int | None,
    scores: Mapping[Side, np.ndarray],
) -> GalleryQuery:
    """Make a query from the scores [P] that each side gives the pictures."""
    top: dict[Side, tuple[FoundPicture, ...]] = {}
    rank: dict[Side, int] = {}
    for side, values in scores.items():
        top[side] = tuple(
            FoundPicture(
                key=pairs.keys[split.rows[picture]],
                caption=pairs.captions[split.rows[picture]][0],
                score=round(float(values[picture]), 4),
                right=picture == right,
            )
            for picture in np.argsort(-values, kind="stable")[:TOP].tolist()
        )
        if right is not None:
            rank[side] = int((values >= values[right]).sum())
    key = None if right is None else pairs.keys[split.rows[right]]
    return GalleryQuery(text=text, kind=kind, key=key, rank=rank, top=top)


def _thumbnails(pairs: Pairs, split: Split, keys: Iterable[str], size: int, data: DataConfig) -> dict[str, str]:
    rows = {pairs.keys[row]: row for row in split.rows}
    return {key: thumbnail(pairs.read(rows[key]), size, data.max_pixels) for key in keys}


def thumbnail(encoded: bytes, size: int, max_pixels: int) -> str:
    """Turn encoded bytes into a small square WebP picture, as a data URI."""
    buffer = io.BytesIO()
    resize_crop(decode(encoded, max_pixels), size).save(buffer, "WEBP", quality=80, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
