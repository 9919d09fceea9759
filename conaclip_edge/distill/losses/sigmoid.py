"""Sigmoid: every entry is a question of its own, does this picture have this text? (SigLIP, arXiv 2303.15343)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sigmoid(logits: Tensor, positives: Tensor, columns: Tensor | None = None, answered: Tensor | None = None) -> Tensor:
    """Sum of the logistic losses of a row's entries, as a mean over the rows.

    An entry counts where its row and its column both have a positive: of an unpaired text nobody knows which pictures
    of the batch it describes.

    Args:
        logits: similarity / temperature + bias, [n, m].
        positives: bool [n, m], true where row and column belong together.
        columns: bool [m], those with a positive; None: as the rows at hand say.
        answered: number of rows to take the mean over; None: those that have a positive.

    Returns:
        A scalar; zero if no row has a positive.
    """
    rows = positives.any(dim=1)
    columns = positives.any(dim=0) if columns is None else columns
    each = -F.logsigmoid(torch.where(positives, logits, -logits))
    return (each * rows[:, None] * columns).sum() / (rows.sum() if answered is None else answered).clamp(min=1)
