"""The gallery: real queries with what the teacher and the exported student find for them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np

from conaclip_edge.benchmarks.measure.recall import Embedded, Split
from conaclip_edge.benchmarks.schema.gallery import FoundPicture, GalleryQuery
from conaclip_edge.config.benchmark import GalleryConfig
from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import decode, resize_crop
from conaclip_edge.evaluation.encoder import Encoder

TOP = 5


def make_gallery(
    pairs: Pairs,
    split: Split,
    embedded: dict[str, Embedded],
    subjects: dict[str, Encoder],
    config: GalleryConfig,
    data: DataConfig,
) -> tuple[tuple[GalleryQuery, ...], dict[str, str]]:
    """Choose queries and show what teacher and student find.

    Examples are the first captions of pictures at even distances, whatever is found for them. Failures are captions
    whose right picture falls the most places from the teacher's list to the student's, one a picture.

    Args:
        pairs: the data set.
        split: its pictures and captions that were embedded.
        embedded: "teacher" and "student" -> their embeddings.
        subjects: the same, for texts of the suite's own.
        config: which queries, and the size of thumbnails.
        data: gives max_pixels.

    Returns:
        The queries, and key -> data URI of the pictures in them.
    """
    scores = {name: _scores(one) for name, one in embedded.items()}
    places = {name: _places(values, split.caption_to_image) for name, values in scores.items()}
    queries = [
        _query(
            pairs, split, text, "typed", None, {name: _typed(subjects[name], embedded[name], text) for name in scores}
        )
        for text in config.queries
    ]
    chosen = [("example", caption) for caption in _examples(split, config.examples)]
    taken = [caption for _, caption in chosen]
    chosen += [("failure", caption) for caption in _failures(split, places, config.failures, taken)]
    for kind, caption in chosen:
        found = {name: values[caption] for name, values in scores.items()}
        queries.append(_query(pairs, split, split.captions[caption], kind, int(split.caption_to_image[caption]), found))
    shown = dict.fromkeys(found.key for query in queries for top in query.top.values() for found in top)
    shown |= dict.fromkeys(query.key for query in queries if query.key)
    return tuple(queries), _thumbnails(pairs, split, shown, config.thumbnail, data)


def _scores(embedded: Embedded) -> np.ndarray:
    assert embedded.pictures is not None
    assert embedded.texts is not None
    return np.asarray(embedded.texts @ embedded.pictures.T)


def _places(scores: np.ndarray, caption_to_image: np.ndarray) -> np.ndarray:
    """Return the place of each caption's picture [C], from 1; a tie counts against it."""
    right = scores[np.arange(len(caption_to_image)), caption_to_image]
    return np.asarray((scores >= right[:, None]).sum(axis=1))


def _typed(subject: Encoder, embedded: Embedded, text: str) -> np.ndarray:
    return np.asarray(embedded.pictures @ subject.embed_texts([text])[0])


def _examples(split: Split, count: int) -> list[int]:
    pictures = np.unique(((np.arange(count) + 0.5) / max(count, 1) * len(split.rows)).astype(int))
    return [int(np.flatnonzero(split.caption_to_image == picture)[0]) for picture in pictures]


def _failures(split: Split, places: dict[str, np.ndarray], count: int, taken: list[int]) -> list[int]:
    fall = np.log(places["student"]) - np.log(places["teacher"])  # from 1 to 10 is worse than from 40 to 60
    found: list[int] = []
    seen = {int(split.caption_to_image[caption]) for caption in taken}
    for caption in np.argsort(-fall, kind="stable").tolist():
        if len(found) == count or fall[caption] <= 0:
            break
        if int(split.caption_to_image[caption]) not in seen:
            seen.add(int(split.caption_to_image[caption]))
            found.append(caption)
    return found


def _query(
    pairs: Pairs, split: Split, text: str, kind: str, right: int | None, scores: dict[str, np.ndarray]
) -> GalleryQuery:
    """Make a query from the scores [P] that each side gives the pictures."""
    top = {}
    rank = {}
    for name, values in scores.items():
        best = np.argsort(-values, kind="stable")[:TOP].tolist()
        top[name] = tuple(
            FoundPicture(
                key=pairs.keys[split.rows[place]],
                caption=pairs.captions[split.rows[place]][0],
                score=round(float(values[place]), 4),
                right=place == right,
            )
            for place in best
        )
        if right is not None:
            rank[name] = int((values >= values[right]).sum())
    key = None if right is None else pairs.keys[split.rows[right]]
    return GalleryQuery.model_validate({"text": text, "kind": kind, "key": key, "rank": rank, "top": top})


def _thumbnails(pairs: Pairs, split: Split, keys: Iterable[str], size: int, data: DataConfig) -> dict[str, str]:
    rows = {pairs.keys[row]: row for row in split.rows}
    return {key: thumbnail(pairs.read(rows[key]), size, data.max_pixels) for key in keys}


def thumbnail(encoded: bytes, size: int, max_pixels: int) -> str:
    """Turn encoded bytes into a small square WebP picture, as a data URI."""
    buffer = io.BytesIO()
    resize_crop(decode(encoded, max_pixels), size).save(buffer, "WEBP", quality=80, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
