"""FD: the squared distance between feature vectors."""

from __future__ import annotations

from torch import Tensor


def feature_distance(student: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of ||student - target||^2; both [n, d]."""
    return (student - target).square().sum(dim=-1).mean()
