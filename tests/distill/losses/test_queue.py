"""Past teacher embeddings as further negatives: which count, and that other terms do not see them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conaclip_edge.config.graph import GraphConfig, Term
from conaclip_edge.distill.graph import compute, expand
from tests.helpers.graph.batches import as_arrays, batch, unit
from tests.helpers.graph.terms import SENSIBLE, TEMPERATURE, graph, queue, values
from tests.oracles import losses as oracle


@pytest.mark.parametrize("edge", ["SI-TI", "ST-TT", "SI-TT", "ST-TI"])
def test_queued_negatives_count_but_for_an_entry_s_own(edge: str) -> None:
    plain = batch(3, unpaired_pictures=1, unpaired_texts=1, seed=8)
    made = replace(plain, queue=queue())
    terms = graph((edge, "infonce"))
    found = values(terms, made)[f"{edge}/infonce"]
    assert found == pytest.approx(oracle.term(as_arrays(made), edge, "infonce", TEMPERATURE), rel=1e-9)
    assert found > values(terms, plain)[f"{edge}/infonce"]


@pytest.mark.parametrize("edge", ["SI-TI", "ST-TT", "SI-TT", "ST-TI"])
def test_a_queue_of_own_positives_changes_nothing(edge: str) -> None:
    plain = batch(2, seed=8)
    # texts 0 and 1 both belong to picture 100 or are equal to what does, so both pictures' entries are masked
    plain = replace(
        plain,
        picture_ids=torch.tensor([100, 100]),
        caption_to_image=torch.tensor([100, 100]),
        text_ids=torch.tensor([1, 1]),
    )
    vectors = unit(np.random.default_rng(1), 2)
    own = {
        "TI": (vectors, *[torch.tensor([100, 100])] * 2),
        "TT": (vectors, torch.tensor([1, 1]), torch.tensor([100, 100])),
    }
    terms = graph((edge, "infonce"))
    assert values(terms, replace(plain, queue=own)) == pytest.approx(values(terms, plain), rel=1e-12)


@pytest.mark.parametrize(
    ("edge", "loss"), [pair for pair in SENSIBLE if pair[1] != "infonce" or pair[0] in ("SI-ST", "inter-ss")]
)
def test_a_queue_leaves_all_other_terms_alone(edge: str, loss: str) -> None:
    plain = batch(3, seed=8)
    terms = graph((edge, loss))
    assert values(terms, replace(plain, queue=queue())) == values(terms, plain)


def test_masked_queue_entries_do_not_ruin_the_learnable_scale() -> None:
    terms = expand(GraphConfig(terms=(Term(edge="intra-ts", loss="infonce"), Term(edge="inter-ts", loss="infonce"))))
    scale = torch.tensor(10.0, dtype=torch.float64, requires_grad=True)
    loss = torch.stack(list(compute(terms, replace(batch(3), queue=queue()), scale).values())).sum()
    (gradient,) = torch.autograd.grad(loss, [scale])
    assert torch.isfinite(gradient)
