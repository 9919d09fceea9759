"""A batch that two processes share: the mean of their losses is that of the whole batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from conaclip_edge.distill.embeddings import Embeddings
from conaclip_edge.distill.graph import compute
from tests.helpers.graph.batches import batch
from tests.helpers.graph.terms import SENSIBLE, graph, queue

SHARED = {
    "pairs": batch(4, seed=6),
    "pairs and unpaired": batch(4, unpaired_pictures=2, unpaired_texts=6, seed=7),
    "twice the same picture": batch(
        4, seed=8, picture_ids=torch.tensor([7, 8, 7, 9]), caption_to_image=torch.tensor([7, 8, 7, 9])
    ),
    "equal texts": batch(4, unpaired_texts=2, seed=9, text_ids=torch.tensor([1, 2, 2, 3, 1, 5])),
    "no pair": batch(0, unpaired_pictures=4, unpaired_texts=2, seed=10),
}


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize(("edge", "loss"), SENSIBLE)
def test_the_mean_of_two_processes_rows_is_the_whole_batch_s(edge: str, loss: str, kind: str) -> None:
    """Value and gradients; each computes its rows against all columns."""
    whole = replace(SHARED[kind], queue=queue())
    terms = graph((edge, loss))

    def computed(made: Embeddings) -> list[torch.Tensor]:
        scale = torch.tensor(10.0, dtype=torch.float64, requires_grad=True)
        values = torch.stack(list(compute(terms, made, scale).values()))
        if not values.requires_grad:
            return [values]
        inputs = [made.si, made.st]
        gradients = torch.autograd.grad(torch.nan_to_num(values).sum(), inputs, allow_unused=True)
        return [values, *(torch.zeros(1) if one is None else one for one in gradients)]

    parts = [computed(replace(whole, process=process, processes=2)) for process in range(2)]
    for wanted, one, other in zip(computed(whole), *parts, strict=True):
        assert torch.allclose((one + other) / 2, wanted, rtol=1e-9, atol=1e-12, equal_nan=True)
