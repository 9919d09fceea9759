"""Where the gradients of a term go: to the student alone, and never away from a right answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conaclip_edge.distill.embeddings import LEARNING_TYPES, Embeddings
from conaclip_edge.distill.graph import compute
from conaclip_edge.distill.supervisions import SUPERVISIONS
from tests.helpers.graph.batches import batch, unit
from tests.helpers.graph.terms import SENSIBLE, graph, queue, values


@pytest.mark.parametrize(("edge", "loss"), SENSIBLE)
def test_what_the_table_says_of_pairs_holds(edge: str, loss: str) -> None:
    """Without a single pair a loss that needs them gives nothing to learn, and every other one does."""
    made = batch(0, unpaired_pictures=4, unpaired_texts=4, seed=5)
    found = torch.stack(list(compute(graph((edge, loss)), made, torch.tensor(10.0)).values())).sum()
    gradients = torch.autograd.grad(found, [made.si, made.st], allow_unused=True) if found.requires_grad else ()
    learns = any(one is not None and bool(torch.nan_to_num(one).abs().sum() > 0) for one in gradients)
    assert learns != SUPERVISIONS[loss].learns_from_pairs_alone(edge)


@pytest.mark.parametrize(("edge", "loss"), SENSIBLE)
def test_the_teacher_gets_no_gradient(edge: str, loss: str) -> None:
    made = replace(batch(4), queue=queue())
    loss_value = torch.stack(list(compute(graph((edge, loss)), made, torch.tensor(10.0)).values())).sum()
    assert torch.autograd.grad(loss_value, [made.ti, made.tt], allow_unused=True) == (None, None)


@pytest.mark.parametrize(
    ("edge", "loss"), [pair for pair in SENSIBLE if pair[0] not in LEARNING_TYPES or "sym" in pair[1]]
)
def test_every_student_end_of_a_term_gets_a_gradient(edge: str, loss: str) -> None:
    made = batch(4, seed=5)
    (value,) = compute(graph((edge, loss)), made, torch.tensor(10.0)).values()
    ends = {"SI", "ST"} if edge in LEARNING_TYPES else set(edge.split("-"))
    for name in ("SI", "ST"):
        (gradient,) = torch.autograd.grad(value, [made.role(name)], retain_graph=True, allow_unused=True)
        if name in ends:
            assert gradient is not None
            assert gradient.abs().sum() > 1e-6
        else:
            assert gradient is None


@pytest.mark.parametrize(("edge", "loss"), [pair for pair in SENSIBLE if "sym" in pair[1]])
def test_both_mirrored_edges_of_a_symmetric_term_get_a_gradient(edge: str, loss: str) -> None:
    made = batch(3, seed=6)
    (value,) = compute(graph((edge, loss)), made, torch.tensor(10.0)).values()
    step = 1e-6
    for name in ("si", "st"):
        (gradient,) = torch.autograd.grad(value, [getattr(made, name)], retain_graph=True)
        moved = getattr(made, name).detach().clone()
        moved[0, 0] += step
        (after,) = values(graph((edge, loss)), replace(made, **{name: moved})).values()
        assert (after - value.item()) / step == pytest.approx(gradient[0, 0].item(), rel=1e-3, abs=1e-6)


def twins() -> Embeddings:
    """Pairs 0 and 1 are one picture with one text, 2 is another; every encoder tells exactly that."""
    vectors = torch.eye(3, dtype=torch.float64)[[0, 0, 1]]
    parts = {name: vectors.clone().requires_grad_() for name in ("si", "ti", "st", "tt")}
    ids = torch.tensor([5, 5, 6])
    return batch(3, **parts, picture_ids=ids, text_ids=ids, caption_to_image=ids)


@pytest.mark.parametrize("edge", ["SI-TI", "ST-TT", "SI-TT", "ST-TI", "SI-ST"])
def test_a_duplicate_is_never_pushed_away(edge: str) -> None:
    made = twins()
    (value,) = compute(graph((edge, "infonce")), made, torch.tensor(10.0)).values()
    student = made.role(edge[:2])
    (gradient,) = torch.autograd.grad(value, [student])
    # the only pull left is away from pair 2, whose direction is the second axis; none along the twins' own axis splits
    assert torch.allclose(gradient[0], gradient[1])
    assert gradient[0, 0] < 0  # towards the twins
    assert gradient[0, 1] > 0  # away from the other


@pytest.mark.parametrize("edge", ["ST-TT", "SI-TT", "ST-TI", "SI-ST"])
def test_equal_texts_of_two_pictures_are_never_negatives(edge: str) -> None:
    """With all scores equal, an entry is pulled towards its right answers and pushed from wrong ones alone."""
    random = np.random.default_rng(0)
    made = batch(3, text_ids=torch.tensor([1, 1, 2]), si=unit(random, 3).requires_grad_(), seed=7)
    same = torch.zeros(3, 6, dtype=torch.float64, requires_grad=True)
    made = replace(made, st=same) if edge.startswith("ST") else replace(made, si=same)
    (value,) = compute(graph((edge, "infonce")), made, torch.tensor(10.0)).values()
    (gradient,) = torch.autograd.grad(value, [same])
    target = made.role(edge[3:])
    # at equal scores the gradient of row i is a weighted sum of targets: its weight for a twin must be that for its own
    weights = torch.linalg.lstsq(target.T, gradient.T).solution.T
    assert weights[0, 0].item() == pytest.approx(weights[0, 1].item(), abs=1e-9)
    assert weights[0, 0] < 0 < weights[0, 2]
