"""The teacher's own ranks on the held-out splits, from its cached embeddings: they stand beside a student's recall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from conaclip_edge.data.pairs import Pairs
from conaclip_edge.evaluation.mean_interval import split_recall
from conaclip_edge.evaluation.recall import Ranks, ranks
from conaclip_edge.models.student.record import TeacherRecord
from conaclip_edge.models.teacher.base import Teacher
from conaclip_edge.teacher_cache.store import TeacherCache


def split_ranks(pairs: Pairs, cache: TeacherCache, pictures: np.ndarray, texts: np.ndarray, split: str) -> Ranks:
    """Rank the usable pictures and captions of a split, given embeddings of the whole data set."""
    rows = pairs.rows(split)
    rows = rows[cache.usable[rows]]
    columns = np.concatenate([np.arange(cache.first_text[row], cache.first_text[row + 1]) for row in rows])
    caption_to_image = np.repeat(np.arange(len(rows)), np.diff(cache.first_text)[rows])
    return ranks(pictures[rows], texts[columns], caption_to_image)


def teacher_ranks(pairs: Pairs, cache: TeacherCache) -> dict[str, Ranks]:
    """Rank the usable pictures and captions of val and test by the teacher's cached embeddings.

    Returns:
        Split -> ranks, of the splits that have a caption.
    """
    found = {}
    for split in ("val", "test"):
        rows = np.flatnonzero((np.asarray(pairs.splits) == split) & cache.usable)
        counts = np.diff(cache.first_text)[rows]
        if counts.any():
            columns = np.concatenate([np.arange(cache.first_text[row], cache.first_text[row + 1]) for row in rows])
            pictures = cache.pictures(rows, np.zeros_like(rows))
            found[split] = ranks(pictures, cache.texts(columns), np.repeat(np.arange(len(rows)), counts))
    return found


def teacher_record(teacher: Teacher, found: Mapping[str, Ranks]) -> TeacherRecord:
    """Say who a student learned from, and what the teacher's recall is.

    Args:
        teacher: of the training.
        found: split -> its ranks.
    """
    everything = sum(parameter.numel() for parameter in teacher.parameters())
    return TeacherRecord(
        name=teacher.name,
        fingerprint=teacher.fingerprint,
        parameters={"all": everything, "token_table": teacher.token_table().numel()},
        recall={split: split_recall(one) for split, one in found.items()},
    )
