"""Recall of every model on the same pictures and captions, and relative to the student's and the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conaclip_edge.benchmarks.schema.row import DIRECTIONS, Direction
from conaclip_edge.benchmarks.schema.spread import Interval
from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.usable import reasons, usable_pictures
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.evaluation.recall import KS, Ranks, hits_by_picture, ranks
from conaclip_edge.system.progress import track

_SEED = 5


@dataclass(frozen=True)
class Split:
    """The pictures and captions that recall is measured on.

    Attributes:
        rows: position of each picture in the data set [P].
        captions: all captions, picture by picture [C].
        caption_to_image: position in `rows` of each caption's picture [C].
        left_out: broken pictures, as "key: reason".
    """

    rows: tuple[int, ...]
    captions: tuple[str, ...]
    caption_to_image: np.ndarray
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Embedded:
    """Unit vectors of the split's pictures [P, d] and captions [C, d]; None for a tower that cannot be run."""

    pictures: np.ndarray | None
    texts: np.ndarray | None


def embed_split(
    encoders: Mapping[str, Encoder], pairs: Pairs, split: str, count: int, data: DataConfig
) -> tuple[Split, dict[str, Embedded]]:
    """Embed a split by all encoders, one picture or text per call as an app does.

    Dynamic int8 takes its scales from the whole batch, so a batch would give other embeddings than the device.

    Args:
        encoders: row of the report -> encoder.
        pairs: the data set.
        split: "val" or "test".
        count: captioned pictures at most; the same ones every time.
        data: gives max_pixels and max_bad.

    Raises:
        UserError: the split has no usable captioned picture, or too many broken ones.
    """
    captioned = [int(row) for row in pairs.rows(split) if len(pairs.captions[row])]
    if len(captioned) > count:
        captioned = sorted(np.random.default_rng(_SEED).permutation(captioned)[:count].tolist())
    pictures: dict[str, list[np.ndarray]] = {name: [] for name, encoder in encoders.items() if encoder.image}
    kept: list[int] = []
    left_out: dict[str, str] = {}
    rows = track(captioned, f"embedding {split} pictures by {len(pictures)} rows")
    for row, _, picture in usable_pictures(pairs, rows, data.max_pixels, left_out, data.max_bad):
        kept.append(row)
        for name, vectors in pictures.items():
            vectors.append(encoders[name].embed_images([picture]))
    if not kept:
        raise UserError(f"split '{split}' of data set '{pairs.name}' has no captions to measure recall with.")
    captions = [text for row in kept for text in pairs.captions[row]]
    caption_to_image = np.repeat(np.arange(len(kept)), [len(pairs.captions[row]) for row in kept])
    texts: dict[str, list[np.ndarray]] = {name: [] for name, encoder in encoders.items() if encoder.text}
    for caption in track(captions, f"embedding {split} captions by {len(texts)} rows"):
        for name, vectors in texts.items():
            vectors.append(encoders[name].embed_texts([caption]))
    found = {
        name: Embedded(
            np.concatenate(pictures[name]) if name in pictures else None,
            np.concatenate(texts[name]) if name in texts else None,
        )
        for name in encoders
    }
    return Split(tuple(kept), tuple(captions), caption_to_image, tuple(reasons(left_out))), found


def rank(embedded: Embedded, caption_to_image: np.ndarray) -> Ranks | None:
    """Rank a model's embeddings; None if one of its towers cannot be run."""
    if embedded.pictures is None or embedded.texts is None:
        return None
    return ranks(embedded.pictures, embedded.texts, caption_to_image)


def relative_recall(found: Ranks, base: Ranks, samples: int, seed: int = 0) -> dict[Direction, Interval]:
    """Return a model's mean recall as a share of a base's, by direction, with 95 % bootstrap intervals.

    Both sides are resampled together (the same pictures with their captions), so what makes a picture hard for both
    does not widen the interval. A base that finds nothing has nothing to lose: its share is 1.

    Args:
        found: ranks of the model.
        base: ranks of the student or teacher on the same pictures and captions.
        samples: number of resamples.
        seed: of the resampling.
    """
    count = len(found.i2t)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=samples)
    shares = {}
    for direction in DIRECTIONS:
        left, whole = _hits(found, direction), _hits(base, direction)
        value = _share(left.sum(), whole.sum())
        # which queries are asked is the same on both sides, so their number cancels
        drawn = [_share(*pair) for pair in zip(weights @ left, weights @ whole, strict=True)]
        low, high = np.percentile(drawn, [2.5, 97.5])
        shares[direction] = Interval(value=value, low=float(low), high=float(high))
    return shares


def _hits(found: Ranks, direction: Direction) -> np.ndarray:
    """Sum each picture's hits at 1, 5 and 10 over its queries of a direction [P]."""
    hits, _ = hits_by_picture(found)
    return np.asarray(sum(hits[direction, k] for k in KS))


def _share(left: float, whole: float) -> float:
    return float(left / whole) if whole else 1.0


def quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """Return the quantiles of values at 0, 5, .. 100 %."""
    return tuple(float(value) for value in np.percentile(values, np.arange(0, 101, 5)))


def typical(captions: Sequence[str], lengths: Sequence[int], count: int) -> list[str]:
    """Choose captions at even quantiles of their lengths, so that they take as long as the whole corpus does."""
    order = np.lexsort((captions, lengths))
    chosen = ((np.arange(count) + 0.5) / count * len(order)).astype(int)
    return [captions[order[position]] for position in chosen]
