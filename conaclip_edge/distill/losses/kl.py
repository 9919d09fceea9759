"""KL-Div: how far the student's distribution over the batch is from its target (Hinton et al., arXiv 1503.02531)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Logits = Sequence[Tensor]
"""Of one distribution, or of several whose mean counts, as MobileCLIP's ensembles have it (arXiv 2311.17049)."""


def kl(logits: Logits, target_logits: Logits) -> Tensor:
    """Mean over rows of KL(target || student); all matrices [n, m].

    Rows and columns are two distributions of one matrix (find the text of a picture, the picture of a text): the
    transposed matrices give the other one.
    """
    return F.kl_div(_log_mean(logits), _log_mean(target_logits), reduction="batchmean", log_target=True)


def symmetric_kl(one: Tensor, other: Tensor) -> Tensor:
    """KL in both directions between two mirrored edges [n, m], gradient through both; zero where they are equal."""
    return kl([one], [other]) + kl([other], [one])


def _log_mean(logits: Logits) -> Tensor:
    """Return the log of the mean of the rows' softmax."""
    each = [F.log_softmax(one, dim=1) for one in logits]
    return each[0] if len(each) == 1 else torch.stack(each).logsumexp(dim=0) - math.log(len(each))
