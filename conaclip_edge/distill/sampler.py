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
    """Deals batches of labelled pairs and, where there are any, unpaired pictures and texts.

    Args:
        labelled: pictures whose captions may be paired.
        unlabelled: pictures that are seen without their captions; their captions are dealt as texts of nobody.
        first_text: [n + 1], from the teacher cache.
        batch_size: pictures a step.
        unpaired: share of the pictures (and texts) of a batch that is unpaired, if there is unpaired data.
        views: number of augmentations.
        seed: of the whole run.
        more_pictures: other rows that are dealt as unlabelled pictures.
        more_texts: other rows that are dealt as texts of nobody.
        unpaired_texts: texts of nobody a step, where that is not to be the number of unpaired pictures.
        processes: pairs and unpaired rows are dealt in multiples of it, so that processes get equal shares.
    """

    def __init__(
        self,
        labelled: np.ndarray,
        unlabelled: np.ndarray,
        first_text: np.ndarray,
        batch_size: int,
        unpaired: float,
        views: int,
        seed: int,
        processes: int = 1,
        more_pictures: np.ndarray = _NONE,
        more_texts: np.ndarray = _NONE,
        unpaired_texts: int | None = None,
    ):
        self.labelled, self.first_text = labelled, first_text
        self.unlabelled = np.concatenate([unlabelled, more_pictures])
        self.loose_texts = np.concatenate(
            [*(np.arange(first_text[row], first_text[row + 1]) for row in unlabelled), more_texts]
        ).astype(np.int64)
        pictures = round(batch_size * unpaired)
        texts = pictures if unpaired_texts is None else unpaired_texts
        self.loose = [
            min(wanted, len(items)) // processes * processes
            for wanted, items in ((pictures, self.unlabelled), (texts, self.loose_texts))
        ]
        self.pairs = min(batch_size - self.loose[0], len(labelled)) // processes * processes
        if not self.pairs:
            raise UserError(
                f"a batch of {batch_size} pictures for {processes} processes, {self.loose} of them unpaired, holds no "
                f"pair of the {len(labelled)} there are. Raise train.batch_size, or lower train.unpaired."
            )
        self.views, self.seed = views, seed
        self._orders: dict[int, tuple[int, np.ndarray]] = {}  # stream -> (epoch, its shuffle)

    def rows(self, step: int) -> BatchRows:
        """Return the rows of a step; no picture stands in a batch twice."""
        random = np.random.default_rng((self.seed, step, 0))
        pictures = self._deal(self.labelled, self.pairs, step, 1)
        counts = self.first_text[pictures + 1] - self.first_text[pictures]
        texts = self.first_text[pictures] + (random.random(len(pictures)) * counts).astype(np.int64)
        caption_to_image = pictures
        loose_pictures, loose_texts = self.loose
        if loose_pictures:
            pictures = np.concatenate([pictures, self._deal(self.unlabelled, loose_pictures, step, 2)])
        if loose_texts:
            texts = np.concatenate([texts, self._deal(self.loose_texts, loose_texts, step, 3)])
            caption_to_image = np.concatenate([caption_to_image, np.full(loose_texts, -1)])
        views = random.integers(self.views, size=len(pictures))
        return BatchRows(pictures, views, texts, caption_to_image, self.pairs)

    def _deal(self, items: np.ndarray, count: int, step: int, stream: int) -> np.ndarray:
        """Deal `count` items a step from a fresh shuffle every epoch; the epoch's odd rest is left out."""
        per_epoch = len(items) // count
        epoch, place = divmod(step, per_epoch)
        if self._orders.get(stream, (-1,))[0] != epoch:
            self._orders[stream] = (epoch, np.random.default_rng((self.seed, epoch, stream)).permutation(items))
        dealt: np.ndarray = self._orders[stream][1][place * count : (place + 1) * count]
        return dealt
