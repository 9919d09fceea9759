"""InfoNCE: find your own partner among all others (van den Oord et al., arXiv 1807.03748; CLIP, arXiv 2103.00020)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from conaclip_edge.distill.losses.one_way import Rows, ways


def infonce(logits: Tensor, positives: Tensor, negatives: Tensor | None = None, rows: Rows = "both") -> Tensor:
    """Mean cross entropy of rows, of columns, or of both (half each), against their positives.

    An entry with several positives (the same picture or the same text twice in the batch) has all of them as equal
    targets, so that a duplicate is never a negative. An entry without a positive is left out.

    Args:
        logits: similarity / temperature, [n, m].
        positives: bool [n, m], true where row and column belong together.
        negatives: more logits [n, q] that are negatives of the rows alone, e.g. of a queue of teacher embeddings;
            minus infinity masks one.
        rows: which of the two counts.

    Returns:
        A scalar; zero if no entry has a positive.
    """
    return ways(
        rows, lambda: partners_found(logits, positives, negatives), lambda: partners_found(logits.T, positives.T)
    )


def partners_found(
    logits: Tensor, positives: Tensor, negatives: Tensor | None = None, answered: Tensor | None = None
) -> Tensor:
    """Mean cross entropy of rows alone; see `infonce`.

    Args:
        logits: [n, m].
        positives: bool [n, m].
        negatives: [n, q].
        answered: number of rows to take the mean over; None: those that have a positive.
    """
    targets = positives.to(logits.dtype)
    if negatives is not None:
        logits, targets = torch.cat([logits, negatives], dim=1), F.pad(targets, (0, negatives.shape[1]))
    count = targets.sum(dim=1)
    # where() keeps 0 * -inf of masked negatives from becoming NaN
    log_p = torch.where(targets > 0, F.log_softmax(logits, dim=1), 0.0)
    each = -(log_p * targets).sum(dim=1) / count.clamp(min=1)
    return each.sum() / ((count > 0).sum() if answered is None else answered).clamp(min=1)
