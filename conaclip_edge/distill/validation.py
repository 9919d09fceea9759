"""How well a student finds the pictures and captions of a split."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from conaclip_edge.distill.training_data import TrainingData, usable_rows
from conaclip_edge.evaluation.mean_interval import certainty_of
from conaclip_edge.evaluation.recall import Ranks, ranks
from conaclip_edge.evaluation.torch_encoders import embed_ids, embed_pixels
from conaclip_edge.models.student.dual_encoder import DualEncoder
from conaclip_edge.models.student.record import ValRecall


def student_ranks(data: TrainingData, ids: list[list[int]], pad_id: int, split: str, student: DualEncoder) -> Ranks:
    """Rank all usable pictures and captions of a split by a student's embeddings.

    Of data without captions, the teacher's embeddings of the same pictures stand for them.

    Args:
        data: of the recipe.
        ids: token ids of every text of the data set.
        pad_id: that stands behind short texts.
        split: of the data set.
        student: the student in any state.
    """
    first_text = data.cache.first_text
    rows = usable_rows(data.pairs, data.cache, split)
    batches = np.array_split(rows, math.ceil(len(rows) / 64))
    pictures = embed_pixels(student, (data.pixels(some, np.zeros_like(some)) for some in batches))
    if not data.has_captions:
        return ranks(pictures, data.cache.pictures(rows, np.zeros_like(rows)), np.arange(len(rows)))
    texts = np.concatenate([np.arange(first_text[row], first_text[row + 1]) for row in rows])
    caption_to_image = np.repeat(np.arange(len(rows)), np.diff(first_text)[rows])
    batches = np.array_split(texts, math.ceil(len(texts) / 256))
    padded = (pad([ids[text] for text in some], pad_id).numpy() for some in batches)
    return ranks(pictures, embed_ids(student, padded), caption_to_image)


def val_recall(found: Ranks, of_teacher: Ranks | None, has_captions: bool) -> ValRecall:
    """Write ranks on val as training.json has them."""
    return ValRecall(
        of="captions" if has_captions else "teacher pictures",
        recall=found.recall(),
        median_rank=found.median_rank(),
        mean_recall=found.mean_recall(),
        certainty=certainty_of(found, of_teacher),
    )


def pad(rows: Sequence[list[int]], pad_id: int) -> Tensor:
    """Stack id lists to [n, longest]; what stands after EOS cannot change a causal tower's embedding."""
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows], dtype=torch.int32)
