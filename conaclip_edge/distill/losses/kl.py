"""KL-Div: how far the student's distribution over the batch is from its target (Hinton et al., arXiv 1503.02531)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from conaclip_edge.distill.losses.one_way import Rows, ways

Logits = Sequence[Tensor]
"""Of one distribution, or of several whose mean counts, as MobileCLIP's ensembles have it (arXiv 2311.17049)."""


def kl(logits: Logits, target_logits: Logits, rows: Rows = "both") -> Tensor:
    """KL(target || student) over rows, over columns, or half of each; all matrices [n, m].

    Rows and columns are two distributions of one matrix (find the text of a picture, the picture of a text).
    """
    return ways(
        rows,
        lambda: _rows(logits, target_logits),
        lambda: _rows([one.T for one in logits], [one.T for one in target_logits]),
    )


def symmetric_kl(one: Tensor, other: Tensor) -> Tensor:
    """KL in both directions between two mirrored edges [n, m], gradient through both; zero where they are equal."""
    return kl([one], [other]) + kl([other], [one])


def _rows(logits: Logits, target_logits: Logits) -> Tensor:
    return F.kl_div(_log_mean(logits), _log_mean(target_logits), reduction="batchmean", log_target=True)


def _log_mean(logits: Logits) -> Tensor:
    """Return the log of the mean of the rows' softmax."""
    each = [F.log_softmax(one, dim=1) for one in logits]
    return each[0] if len(each) == 1 else torch.stack(each).logsumexp(dim=0) - math.log(len(each))
