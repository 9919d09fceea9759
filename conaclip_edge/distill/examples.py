"""What student and teacher see of every row: the data set's pictures and texts, and the others behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.distill.frozen_features import Pictures, Tower, picture_input
from conaclip_edge.distill.training_data import TrainingData
from conaclip_edge.models.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Examples:
    """What both models get by row number; behind the last row of the data set come synthetic pictures and other texts.

    Attributes:
        pictures: (rows, views) -> the student's picture input; pixels as uint8.
        teacher_pictures: (rows, views) -> the teacher's unit vectors.
        ids: token ids of every text.
        text_numbers: [texts]; equal numbers are equal texts.
        teacher_texts: rows -> the teacher's unit vectors.
        synthetic_pictures: rows of the synthetic pictures.
        other_texts: rows of the texts of no picture.
    """

    pictures: Pictures
    teacher_pictures: Pictures
    ids: list[list[int]]
    text_numbers: np.ndarray
    teacher_texts: Callable[[np.ndarray], Tensor]
    synthetic_pictures: np.ndarray
    other_texts: np.ndarray


def examples_of(data: TrainingData, tokenizer: TextTokenizer, views: int, folder: Path) -> Examples:
    """Number the rows of the data set and those behind them, and say what both models get for each.

    Args:
        data: of the recipe.
        tokenizer: the student's.
        views: augmentations per picture of the data set; a synthetic one has none.
        folder: of the run; keeps what the student's frozen blocks give.
    """
    count = len(data.pairs)
    texts = [text for texts in data.pairs.captions for text in texts]
    teacher_pictures, teacher_texts = _tensors(data.cache.pictures), _tensors(lambda rows, _: data.cache.texts(rows))
    picture_rows = text_rows = np.zeros(0, np.int64)
    if (composed := data.synthetic_pictures) is not None:
        picture_rows = count + np.flatnonzero(composed.cache.usable)
        teacher_pictures = chained(teacher_pictures, count, _tensors(composed.cache.pictures))
    if (phrases := data.other_texts) is not None:
        text_rows = len(texts) + np.arange(len(phrases.texts))
        teacher_texts = chained(teacher_texts, len(texts), _tensors(lambda rows, _: phrases.embeddings[rows]))
        texts += phrases.texts
    ids = [tokenizer.ids(text) for text in texts]
    return Examples(
        student_pictures(data, data.student.image, views, folder),
        teacher_pictures,
        ids,
        numbered(ids),
        lambda rows: teacher_texts(rows, np.zeros_like(rows)),
        picture_rows,
        text_rows,
    )


def student_pictures(data: TrainingData, tower: Tower, views: int, folder: Path) -> Pictures:
    """Return (rows, views) -> a tower's picture input, synthetic pictures behind those of the data set.

    Args:
        data: of the recipe.
        tower: the student's.
        views: augmentations per picture of the data set.
        folder: of the run.
    """
    count, usable = len(data.pairs), np.flatnonzero(data.cache.usable)
    pictures = picture_input(tower, data.pixels, usable, count, views, folder / "frozen.npy")
    if (composed := data.synthetic_pictures) is None:
        return pictures
    usable, size = np.flatnonzero(composed.cache.usable), len(composed.cache.usable)
    more = picture_input(tower, composed.pixels, usable, size, 1, folder / "frozen-composed.npy")
    return chained(pictures, count, more)


def chained(own: Pictures, count: int, more: Pictures) -> Pictures:
    """Return a function of rows and views that asks `more` about row - count, view 0, from `count` on."""

    def both(rows: np.ndarray, views: np.ndarray) -> Tensor:
        within = rows < count
        if within.all():
            return own(rows, views)
        beyond = more(rows[~within] - count, np.zeros_like(rows[~within]))
        found = beyond.new_empty((len(rows), *beyond.shape[1:]))
        found[torch.from_numpy(~within)] = beyond
        if within.any():
            found[torch.from_numpy(within)] = own(rows[within], views[within])
        return found

    return both


def numbered(texts: list[list[int]]) -> np.ndarray:
    """Number texts so that equal ones have equal numbers."""
    numbers: dict[tuple[int, ...], int] = {}
    return np.array([numbers.setdefault(tuple(text), len(numbers)) for text in texts], dtype=np.int64)


def _tensors(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Pictures:
    return lambda rows, views: torch.from_numpy(function(rows, views))
