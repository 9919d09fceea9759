"""KL-Div: how far the student's distribution over the batch is from its target (Hinton et al., arXiv 1503.02531)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from conaclip_edge.distill.losses.one_way import Rows, ways


def kl(logits: Tensor, target_logits: Tensor, rows: Rows = "both") -> Tensor:
    """KL(target || student) over rows, over columns, or half of each; both [n, m].

    Rows and columns are two distributions of one matrix (find the text of a picture, the picture of a text).
    """
    return ways(rows, lambda: _rows(logits, target_logits), lambda: _rows(logits.T, target_logits.T))


def symmetric_kl(one: Tensor, other: Tensor) -> Tensor:
    """KL in both directions between two mirrored edges [n, m], gradient through both; zero where they are equal."""
    return kl(one, other) + kl(other, one)


def _rows(logits: Tensor, target_logits: Tensor) -> Tensor:
    return F.kl_div(
        F.log_softmax(logits, dim=1), F.log_softmax(target_logits, dim=1), reduction="batchmean", log_target=True
    )
