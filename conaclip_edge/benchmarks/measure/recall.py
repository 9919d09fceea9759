"""Recall of every model on the same pictures and captions, and relative to the student's and the teacher's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from PIL.Image import Image

from conaclip_edge.benchmarks.schema.report import Dataset
from conaclip_edge.benchmarks.schema.row import DIRECTIONS, Direction
from conaclip_edge.benchmarks.schema.spread import Interval
from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.usable import reasons, usable_pictures
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.evaluation.recall import Ranks, ranks
from conaclip_edge.evaluation.relative_recall import relative_recall as shares_of
from conaclip_edge.runtime.side_by_side import SideBySide
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
    kept: list[int] = []
    left_out: dict[str, str] = {}
    drawing = [name for name, encoder in encoders.items() if encoder.image]
    rows = track(captioned, f"embedding {split} pictures by {len(drawing)} rows")

    def decoded() -> Iterator[Image]:
        for row, _, picture in usable_pictures(pairs, rows, data.max_pixels, left_out, data.max_bad):
            kept.append(row)
            yield picture

    pictures = _each({name: encoders[name] for name in drawing}, "embed_images", decoded())
    if not kept:
        raise UserError(f"split '{split}' of data set '{pairs.name}' has no captions to measure recall with.")
    captions = [text for row in kept for text in pairs.captions[row]]
    caption_to_image = np.repeat(np.arange(len(kept)), [len(pairs.captions[row]) for row in kept])
    reading = {name: encoder for name, encoder in encoders.items() if encoder.text}
    texts = _each(reading, "embed_texts", track(captions, f"embedding {split} captions by {len(reading)} rows"))
    found = {name: Embedded(pictures.get(name), texts.get(name)) for name in encoders}
    return Split(tuple(kept), tuple(captions), caption_to_image, tuple(reasons(left_out))), found


def _each(
    encoders: Mapping[str, Encoder], method: Literal["embed_images", "embed_texts"], inputs: Iterable[Any]
) -> dict[str, np.ndarray]:
    """Embed each input by itself by each encoder; Apple's executor, which takes long, does so beside the others."""
    found: dict[str, list[np.ndarray | Future[np.ndarray]]] = {name: [] for name in encoders}
    with SideBySide() as aside:
        for one in inputs:
            for name, encoder in encoders.items():
                call = partial(getattr(encoder, method), [one])
                found[name].append(aside.add(call) if encoder.executed == "executor" else call())
    return {
        name: np.concatenate([part.result() if isinstance(part, Future) else part for part in parts])
        for name, parts in found.items()
        if parts
    }


def dataset_of(
    pairs: Pairs, name: str, split: Split, lengths: Sequence[int], by_chance: float | None = None
) -> Dataset:
    """Describe the pairs that recall was measured on.

    Args:
        pairs: the data set.
        name: of the split.
        split: what of it was used.
        lengths: ids of each caption.
        by_chance: mean recall of a random ranking; None where none was measured.
    """
    return Dataset(
        name=pairs.name,
        split=name,
        pictures=len(split.rows),
        captions=len(split.captions),
        fingerprint=pairs.fingerprint,
        licence=pairs.licence,
        lengths=quantiles(lengths),
        left_out=split.left_out,
        chance=by_chance,
    )


def rank(embedded: Embedded, caption_to_image: np.ndarray) -> Ranks | None:
    """Rank a model's embeddings; None if one of its towers cannot be run."""
    if embedded.pictures is None or embedded.texts is None:
        return None
    return ranks(embedded.pictures, embedded.texts, caption_to_image)


def relative_recall(found: Ranks, base: Ranks, samples: int, seed: int = 0) -> dict[Direction, Interval]:
    """Return `conaclip_edge.evaluation.relative_recall.relative_recall` as a report has it."""
    shares = shares_of(found, base, samples, seed)
    return {way: Interval(value=shares[way].value, low=shares[way].low, high=shares[way].high) for way in DIRECTIONS}


def quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """Return the quantiles of values at 0, 5, .. 100 %."""
    return tuple(float(value) for value in np.percentile(values, np.arange(0, 101, 5)))


def typical(captions: Sequence[str], lengths: Sequence[int], count: int) -> list[str]:
    """Choose captions at even quantiles of their lengths, so that they take as long as the whole corpus does."""
    order = np.lexsort((captions, lengths))
    chosen = ((np.arange(count) + 0.5) / count * len(order)).astype(int)
    return [captions[order[position]] for position in chosen]
