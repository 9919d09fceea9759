"""The inputs that a device is given: golden ones, those that are counted, and held-out pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conaclip_edge.benchmarks.measure.recall import Embedded, Split, embed_split
from conaclip_edge.bundle.golden import FOLDER, Golden, read_golden
from conaclip_edge.bundle.manifest import Manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.config.data import DataConfig
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import Preprocess, decode, read_preprocess, to_pixels
from conaclip_edge.evaluation.encoder import Encoder
from conaclip_edge.models.tokenizer import TextTokenizer


@dataclass(frozen=True)
class HeldOut:
    """Inputs as the towers take them.

    Attributes:
        golden: of the bundle.
        picture: uint8 [3, H, W], whose call is counted.
        caption: ids of the split's caption of median length, whose call is counted.
        pixels: uint8 [P, 3, H, W] of the split; P is 0 where only counts are made.
        ids: of each caption of these pictures.
        split: the pictures and captions.
        lengths: ids of every caption of the split.
        embedded: row of the report -> its embeddings on the host, and the float32 student's.
        pad_id: fills a text up.
        context: ids of a text at most.
    """

    golden: Golden
    picture: np.ndarray
    caption: np.ndarray
    pixels: np.ndarray
    ids: tuple[np.ndarray, ...]
    split: Split
    lengths: tuple[int, ...]
    embedded: Mapping[str, Embedded]
    pad_id: int
    context: int

    def full(self, ids: np.ndarray) -> np.ndarray:
        """Fill ids up to the context, as files without variable length need it."""
        return np.pad(ids, (0, self.context - len(ids)), constant_values=self.pad_id)


def read_held_out(
    bundle: Path,
    manifest: Manifest,
    suite: BenchmarkConfig,
    pairs: Pairs,
    data: DataConfig,
    encoders: Mapping[str, Encoder],
) -> HeldOut:
    """Read a split, and embed it on this machine where recall is wanted.

    Args:
        bundle: folder of it.
        manifest: its manifest.
        suite: says which split, and whether only counts are made.
        pairs: the data set.
        data: gives max_pixels and max_bad.
        encoders: row of the report -> its files, and the float32 student, on this machine.

    Raises:
        UserError: the split has no usable captioned picture.
    """
    tokenizer = TextTokenizer(bundle / "tokenizer.json", manifest.context)
    preprocess = read_preprocess(bundle / "preprocess.json", manifest.image_size)
    counts_only = not suite.emulated.seconds
    split, embedded = embed_split(
        {} if counts_only else encoders, pairs, suite.split, 1 if counts_only else suite.pictures, data
    )
    texts = [text for row in pairs.rows(suite.split) for text in pairs.captions[row]]
    rows = sorted((tokenizer.ids(text) for text in texts), key=len)
    pictures = [_pixels(pairs, row, preprocess, data) for row in split.rows]
    return HeldOut(
        golden=read_golden(bundle / FOLDER),
        picture=pictures[0],
        caption=np.asarray(rows[len(rows) // 2], np.int32),
        pixels=np.stack(pictures)[: 0 if counts_only else None],
        ids=tuple(np.asarray(tokenizer.ids(text), np.int32) for text in split.captions if not counts_only),
        split=split,
        lengths=tuple(map(len, rows)),
        embedded=embedded,
        pad_id=tokenizer.pad_id,
        context=manifest.context,
    )


def _pixels(pairs: Pairs, row: int, preprocess: Preprocess, data: DataConfig) -> np.ndarray:
    return to_pixels(decode(pairs.read(row), data.max_pixels), preprocess)
