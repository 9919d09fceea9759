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
    wide = logits if negatives is None else torch.cat([logits, negatives], dim=1)
    targets = positives.to(logits.dtype)
    padded = targets if negatives is None else F.pad(targets, (0, negatives.shape[1]))
    return ways(rows, lambda: _cross_entropy(wide, padded), lambda: _cross_entropy(logits.T, targets.T))


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    count = targets.sum(dim=1)
    # where() keeps 0 * -inf of masked negatives from becoming NaN
    log_p = torch.where(targets > 0, F.log_softmax(logits, dim=1), 0.0)
    each = -(log_p * targets).sum(dim=1) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)
