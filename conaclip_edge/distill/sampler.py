"""The rows of every batch: a pure function of (seed, step), so that a resumed run goes on alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from conaclip_edge.errors import UserError

_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class BatchRows:
    """One step's rows; the first `pairs` pictures and texts belong together.

    Attributes:
        pictures: positions in the data set [P].
        views: augmentation of each picture [P].
        texts: positions among all captions [C].
        caption_to_image: picture position of each text [C]; -1 for an unpaired one.
        pairs: number of leading pairs.
    """

    pictures: np.ndarray
    views: np.ndarray
    texts: np.ndarray
    caption_to_image: np.ndarray
    pairs: int


class Sampler:
    """Draws batches of captioned pairs and, where there are any, unpaired pictures and texts.

    Args:
        captioned: pictures whose captions may be paired.
        unpaired_pictures: pictures that are seen without their captions; their captions are drawn as unpaired texts.
        first_text: [n + 1], from the teacher cache.
        batch_size: pictures per step.
        unpaired: share of the pictures (and texts) of a batch that is unpaired, if there is unpaired data; all of it
            is where no picture is captioned.
        views: number of augmentations.
        seed: of the whole run.
        processes: pairs and unpaired rows are drawn in multiples of it, so that processes get equal shares.
        synthetic_pictures: other rows that are drawn as unpaired pictures.
        other_texts: other rows that are drawn as unpaired texts.
        unpaired_texts: unpaired texts per step, where that is not to be the number of unpaired pictures.
    """

    def __init__(
        self,
        captioned: np.ndarray,
        unpaired_pictures: np.ndarray,
        first_text: np.ndarray,
        batch_size: int,
        unpaired: float,
        views: int,
        seed: int,
        processes: int = 1,
        synthetic_pictures: np.ndarray = _NONE,
        other_texts: np.ndarray = _NONE,
        unpaired_texts: int | None = None,
    ):
        self.captioned, self.first_text = captioned, first_text
        self.unpaired_pictures = np.concatenate([unpaired_pictures, synthetic_pictures])
        self.unpaired_texts = np.concatenate(
            [*(np.arange(first_text[row], first_text[row + 1]) for row in unpaired_pictures), other_texts]
        ).astype(np.int64)
        pictures = round(batch_size * unpaired) if len(captioned) else batch_size
        texts = pictures if unpaired_texts is None else unpaired_texts
        self.unpaired_counts = [
            min(wanted, len(items)) // processes * processes
            for wanted, items in ((pictures, self.unpaired_pictures), (texts, self.unpaired_texts))
        ]
        self.pairs = min(batch_size - self.unpaired_counts[0], len(captioned)) // processes * processes
        if not self.pairs and (len(captioned) or not self.unpaired_counts[0]):
            raise UserError(
                f"a batch of {batch_size} pictures for {processes} processes, {self.unpaired_counts} of them unpaired, "
                f"holds no pair of the {len(captioned)} there are. Raise train.batch_size, or lower train.unpaired."
            )
        self.views, self.seed = views, seed
        self._orders: dict[int, tuple[int, np.ndarray]] = {}  # stream -> (epoch, its shuffle)

    def rows(self, step: int) -> BatchRows:
        """Return the rows of a step; no picture stands in a batch twice."""
        random = np.random.default_rng((self.seed, step, 0))
        pictures = self._draw(self.captioned, self.pairs, step, 1)
        counts = self.first_text[pictures + 1] - self.first_text[pictures]
        texts = self.first_text[pictures] + (random.random(len(pictures)) * counts).astype(np.int64)
        caption_to_image = pictures
        picture_count, text_count = self.unpaired_counts
        if picture_count:
            pictures = np.concatenate([pictures, self._draw(self.unpaired_pictures, picture_count, step, 2)])
        if text_count:
            texts = np.concatenate([texts, self._draw(self.unpaired_texts, text_count, step, 3)])
            caption_to_image = np.concatenate([caption_to_image, np.full(text_count, -1)])
        views = random.integers(self.views, size=len(pictures))
        return BatchRows(pictures, views, texts, caption_to_image, self.pairs)

    def _draw(self, items: np.ndarray, count: int, step: int, stream: int) -> np.ndarray:
        """Draw `count` items per step from a fresh shuffle every epoch; the epoch's odd rest is left out."""
        if not count:
            return items[:0]
        per_epoch = len(items) // count
        epoch, number = divmod(step, per_epoch)
        if self._orders.get(stream, (-1,))[0] != epoch:
            self._orders[stream] = (epoch, np.random.default_rng((self.seed, epoch, stream)).permutation(items))
        drawn: np.ndarray = self._orders[stream][1][number * count : (number + 1) * count]
        return drawn
