"""SD: the distance between two similarity matrices (relational distillation on cosines)."""

from __future__ import annotations

from torch import Tensor


def similarity_distance(student: Tensor, target: Tensor) -> Tensor:
    """Mean over all entries of the squared difference of two cosine matrices [n, m].

    SD has the teachers' own similarities as `target`; Sym-SD has the mirrored edge's, with gradient through both.
    """
    return (student - target).square().mean()
