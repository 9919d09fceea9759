"""What a run learns from: data, the teacher's answers, the student's inputs, and rows that are made up beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.pixel_cache import Reader, pixel_reader
from conaclip_edge.data.synthetic import synthetic_pictures, synthetic_texts
from conaclip_edge.distill import graph as interaction
from conaclip_edge.distill.build_student import build_student, tokenizer_of, whole_words
from conaclip_edge.distill.frozen_features import Pictures, picture_input
from conaclip_edge.errors import UserError
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.presets import student_shape
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.models.teacher.load import load_teacher
from conaclip_edge.models.tokenizer import TextTokenizer
from conaclip_edge.teacher_cache.store import TeacherCache, teacher_cache, text_embeddings

MOST_CORPUS_TEXTS = 10_000  # enough to tell what a data set is about


@dataclass(frozen=True)
class Composed:
    """Synthetic pictures: what the teacher says of them, and their pixels for the student."""

    cache: TeacherCache
    pixels: Reader


@dataclass(frozen=True)
class Phrases:
    """Synthetic texts, and what the teacher says of them [texts, d]."""

    texts: list[str]
    embeddings: np.ndarray


@dataclass(frozen=True)
class Ready:
    """What a run starts from; all of it but the student comes from caches that runs of one recipe share."""

    teacher: Teacher
    pairs: Pairs
    cache: TeacherCache
    student: DualEncoder
    tokenizer_json: dict[str, Any]
    pretrained: int
    pixels: Reader
    composed: Composed | None
    phrases: Phrases | None


@dataclass(frozen=True)
class Inputs:
    """What student and teacher get by row number; behind the last row of the data set come the synthetic ones.

    Attributes:
        pictures: (rows, views) -> the student's picture input.
        teacher_pictures: (rows, views) -> the teacher's unit vectors.
        ids: token ids of every text.
        numbers: [texts]; equal numbers are equal texts.
        teacher_texts: rows -> the teacher's unit vectors.
        loose_pictures: rows of the synthetic pictures.
        loose_texts: rows of the synthetic texts.
    """

    pictures: Pictures
    teacher_pictures: Pictures
    ids: list[list[int]]
    numbers: np.ndarray
    teacher_texts: Callable[[np.ndarray], Tensor]
    loose_pictures: np.ndarray
    loose_texts: np.ndarray


def prepare(config: DistillConfig) -> Ready:
    """Read the data, let the teacher and the resizing run where their caches lack something, and build the student."""
    student_shape(config.student)  # a wrong name is told before the teacher has worked for long
    teacher = load_teacher(config.teacher)
    pairs = read_pairs(config.data)
    views, max_pixels = config.train.teacher_views, config.data.max_pixels
    # a graph without the teacher reads no embedding, but which pictures decode is known from the same pass
    cache = teacher_cache(pairs, teacher, config.cache, views, config.data.max_bad, max_pixels)
    for split in ("train", "val"):
        captioned_rows(pairs, cache, split)
    corpus = [text for row in pairs.rows("train") for text in pairs.captions[row]]
    said = corpus_vectors(pairs, cache) if config.student.vocab.near else None
    # building a teacher or filling a cache draws random numbers too: a first run must begin like the second
    torch.manual_seed(config.seed)
    student, tokenizer_json, pretrained = build_student(config.student, teacher, corpus, config.cache, said)
    used = np.flatnonzero(cache.usable)
    pixels = pixel_reader(pairs, used, student.config.image.size, views, config.cache, max_pixels)
    composed, phrases, asked = None, None, interaction.uses_teacher(interaction.expand(config.graph))
    if asked and config.synthetic.pictures:
        composed = compose_pictures(config, teacher, pairs, cache, student.config.image.size)
    if asked and config.synthetic.texts:
        words = whole_words(tokenizer_of(tokenizer_json, student.config.text.context))
        texts = synthetic_texts(corpus, words, config.synthetic.texts)
        phrases = Phrases(texts, text_embeddings(teacher, texts, config.cache, "synthetic texts"))
    return Ready(teacher, pairs, cache, student, tokenizer_json, pretrained, pixels, composed, phrases)


def corpus_vectors(pairs: Pairs, cache: TeacherCache) -> np.ndarray:
    """Return what the teacher says of the train captions, at even distances if they are very many."""
    rows = pairs.rows("train")
    texts = np.concatenate([np.arange(cache.first_text[row], cache.first_text[row + 1]) for row in rows])
    return cache.texts(texts[:: max(1, len(texts) // MOST_CORPUS_TEXTS)])


def compose_pictures(config: DistillConfig, teacher: Teacher, pairs: Pairs, cache: TeacherCache, size: int) -> Composed:
    """Compose pictures of the usable train pictures and ask the teacher about them."""
    rows = pairs.rows("train")
    pictures = synthetic_pictures(pairs, rows[cache.usable[rows]], config.synthetic.pictures, config.data.max_pixels)
    known = teacher_cache(pictures, teacher, config.cache, 1, config.data.max_bad)
    return Composed(known, pixel_reader(pictures, np.flatnonzero(known.usable), size, 1, config.cache))


def training_inputs(ready: Ready, tokenizer: TextTokenizer, views: int, folder: Path) -> Inputs:
    """Number the rows of the data set and the synthetic ones through, and say what both models get for each.

    Args:
        ready: from `prepare`.
        tokenizer: the student's.
        views: augmentations a picture of the data set; an synthetic one has none.
        folder: of the run; keeps what the student's frozen blocks give.
    """
    count, image = len(ready.pairs), ready.student.image
    texts = [text for texts in ready.pairs.captions for text in texts]
    usable = np.flatnonzero(ready.cache.usable)
    pictures = picture_input(image, ready.pixels, usable, count, views, folder / "frozen.npy")
    teacher_pictures, teacher_texts = _tensors(ready.cache.pictures), _tensors(lambda rows, _: ready.cache.texts(rows))
    loose_pictures = loose_texts = np.zeros(0, np.int64)
    if (composed := ready.composed) is not None:
        usable = np.flatnonzero(composed.cache.usable)
        loose_pictures, size = count + usable, len(composed.cache.usable)
        more = picture_input(image, composed.pixels, usable, size, 1, folder / "frozen-composed.npy")
        pictures = chained(pictures, count, more)
        teacher_pictures = chained(teacher_pictures, count, _tensors(composed.cache.pictures))
    if (phrases := ready.phrases) is not None:
        loose_texts = len(texts) + np.arange(len(phrases.texts))
        teacher_texts = chained(teacher_texts, len(texts), _tensors(lambda rows, _: phrases.embeddings[rows]))
        texts += phrases.texts
    ids = [tokenizer.ids(text) for text in texts]
    return Inputs(
        pictures,
        teacher_pictures,
        ids,
        numbered(ids),
        lambda rows: teacher_texts(rows, np.zeros_like(rows)),
        loose_pictures,
        loose_texts,
    )


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


def _tensors(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Pictures:
    return lambda rows, views: torch.from_numpy(function(rows, views))


def numbered(texts: list[list[int]]) -> np.ndarray:
    """Number texts so that equal ones have equal numbers."""
    numbers: dict[tuple[int, ...], int] = {}
    return np.array([numbers.setdefault(tuple(text), len(numbers)) for text in texts], dtype=np.int64)


def captioned_rows(pairs: Pairs, cache: TeacherCache, split: str) -> np.ndarray:
    """Return the usable pictures of a split, with or without captions; an error if no caption is among them."""
    rows = pairs.rows(split)
    rows = np.asarray(rows[cache.usable[rows]])
    if not np.diff(cache.first_text)[rows].any():
        raise UserError(f"split '{split}' of data set '{pairs.name}' has no usable picture with a caption.")
    return rows


def labelled_rows(config: DistillConfig, pairs: Pairs, cache: TeacherCache) -> tuple[np.ndarray, np.ndarray]:
    """Divide the usable train pictures into those whose captions may be paired and the rest."""
    train = captioned_rows(pairs, cache, "train")
    captioned = np.diff(cache.first_text)[train] > 0
    # the same pictures stay labelled whatever the run's seed, so that runs with other seeds compare
    order = np.random.default_rng(29).permutation(train[captioned])
    count = max(2, round(len(order) * config.data.labelled))
    if len(order) < 2:
        raise UserError(f"data set '{pairs.name}' has {len(order)} usable train pictures with captions; 2 are needed.")
    return np.sort(order[:count]), np.sort(np.concatenate([order[count:], train[~captioned]]))
