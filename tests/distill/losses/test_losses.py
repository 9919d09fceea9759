"""The supervisions as functions, against loops and at points where their value is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from conaclip_edge.distill.losses.feature_distance import feature_distance
from conaclip_edge.distill.losses.infonce import infonce
from conaclip_edge.distill.losses.kl import kl, symmetric_kl
from conaclip_edge.distill.losses.sigmoid import sigmoid
from conaclip_edge.distill.losses.similarity_distance import similarity_distance
from tests.oracles import losses as oracle


def matrix(rows: int, columns: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (rows, columns)))


def both_ways(loss: Callable[[Tensor, Tensor], Tensor], one: Tensor, other: Tensor) -> float:
    """Half of the loss over rows and half over columns."""
    return float(loss(one, other) + loss(one.T, other.T)) / 2


@pytest.mark.parametrize("shape", [(2, 2), (5, 5), (4, 7)])
@pytest.mark.parametrize("queue", [0, 3])
def test_infonce_equals_the_loops(shape: tuple[int, int], queue: int) -> None:
    random = np.random.default_rng(1)
    cosines, extra = matrix(*shape, seed=2), matrix(shape[0], queue, seed=3)
    positives = random.random(shape) < 0.3  # several positives in some rows and columns, none in others
    found = infonce(cosines / 0.1, torch.from_numpy(positives), extra / 0.1 if queue else None)
    wanted = oracle.infonce(cosines.tolist(), positives.tolist(), 0.1, extra.tolist() if queue else None)
    assert float(found) == pytest.approx(wanted, rel=1e-12)


def test_infonce_knows_its_value_for_orthogonal_pairs() -> None:
    n, temperature = 8, 0.1
    found = infonce(torch.eye(n, dtype=torch.float64) / temperature, torch.eye(n, dtype=torch.bool))
    assert float(found) == pytest.approx(math.log(1 + (n - 1) * math.exp(-1 / temperature)), rel=1e-12)


def test_infonce_of_equal_scores_is_the_log_of_the_choices() -> None:
    positives = torch.eye(6, dtype=torch.bool)
    assert float(infonce(torch.zeros(6, 6), positives)) == pytest.approx(math.log(6))
    with_queue = infonce(torch.zeros(6, 6), positives, torch.zeros(6, 10))
    assert float(with_queue) == pytest.approx((math.log(16) + math.log(6)) / 2)


def test_infonce_without_any_positive_is_zero_and_pulls_nowhere() -> None:
    logits = matrix(4, 4, seed=0).requires_grad_()
    loss = infonce(logits, torch.zeros(4, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.count_nonzero(logits.grad) == 0


def test_masked_negatives_change_neither_loss_nor_gradient() -> None:
    logits = matrix(3, 3, seed=0).requires_grad_()
    positives = torch.eye(3, dtype=torch.bool)
    plain = infonce(logits, positives)
    masked = infonce(logits, positives, torch.full((3, 4), -math.inf, dtype=torch.float64))
    assert masked.item() == pytest.approx(plain.item(), rel=1e-12)
    ours, theirs = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (plain, masked))
    assert torch.allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 2), (5, 5), (4, 7)])
def test_sigmoid_equals_the_loops(shape: tuple[int, int]) -> None:
    cosines, positives = matrix(*shape, seed=2), np.random.default_rng(1).random(shape) < 0.3
    found = sigmoid(cosines / 0.1 - 10, torch.from_numpy(positives))
    assert float(found) == pytest.approx(oracle.sigmoid(cosines.tolist(), positives.tolist(), 0.1, -10), rel=1e-12)


def test_sigmoid_knows_its_value_for_orthogonal_pairs() -> None:
    n, scale, bias = 8, 10.0, -10.0
    found = sigmoid(torch.eye(n, dtype=torch.float64) * scale + bias, torch.eye(n, dtype=torch.bool))
    assert float(found) == pytest.approx(math.log(2) + (n - 1) * math.log1p(math.exp(bias)), rel=1e-12)


def test_sigmoid_asks_nothing_about_an_entry_without_a_partner() -> None:
    logits = matrix(3, 4, seed=0).requires_grad_()
    positives = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    sigmoid(logits, positives).backward()
    assert logits.grad is not None
    assert torch.nonzero(logits.grad).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("shape", [(1, 3), (6, 2)])
def test_feature_distance_equals_the_loops(shape: tuple[int, int]) -> None:
    student, target = matrix(*shape, seed=0), matrix(*shape, seed=1)
    assert float(feature_distance(student, target)) == pytest.approx(oracle.fd(student.numpy(), target.numpy()))


@pytest.mark.parametrize("shape", [(2, 2), (5, 5), (4, 7)])
def test_similarity_distance_and_divergences_equal_the_loops(shape: tuple[int, int]) -> None:
    one, other = matrix(*shape, seed=0), matrix(*shape, seed=1)
    a, b = one.tolist(), other.tolist()
    assert float(similarity_distance(one, other)) == pytest.approx(oracle.sd(a, b), rel=1e-12)
    assert both_ways(lambda a, b: kl([a], [b]), one / 0.2, other / 0.2) == pytest.approx(
        oracle.kl(a, b, 0.2), rel=1e-12
    )
    assert both_ways(symmetric_kl, one / 0.2, other / 0.2) == pytest.approx(oracle.sym_kl(a, b, 0.2), rel=1e-12)


def test_kl_is_the_textbook_value_on_two_choices() -> None:
    # both directions see the distributions (1/4, 3/4) for the student and (1/2, 1/2) for the target
    student = torch.tensor([[1.0, 3.0], [3.0, 1.0]], dtype=torch.float64).log()
    wanted = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert float(kl([student], [torch.zeros(2, 2, dtype=torch.float64)])) == pytest.approx(wanted, rel=1e-12)


def test_kl_goes_from_target_to_student() -> None:
    one, other = matrix(3, 3, seed=0) * 4, matrix(3, 3, seed=1) * 4
    assert float(kl([one], [other])) != pytest.approx(float(kl([other], [one])), rel=1e-2)


@pytest.mark.parametrize("loss", [lambda a, b: kl([a], [b]), symmetric_kl, similarity_distance, feature_distance])
def test_equal_inputs_cost_nothing(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    same = matrix(4, 4, seed=0)
    assert float(loss(same, same.clone())) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("loss", [lambda a, b: kl([a], [b]), symmetric_kl, similarity_distance, feature_distance])
def test_gradients_reach_both_inputs_and_are_right(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    one, other = matrix(3, 4, seed=0).requires_grad_(), matrix(3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (one, other))


def test_infonce_gradients_are_right_with_several_positives_and_negatives() -> None:
    logits, extra = matrix(4, 3, seed=0).requires_grad_(), matrix(4, 2, seed=1).requires_grad_()
    positives = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda a, b: infonce(a, positives, b), (logits, extra))
