"""Rounding while training: the values that int8 has, and gradients as if nothing were rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from conaclip_edge.models.quantization.fake_quantize import FakeQuantize, whole_weight
from conaclip_edge.models.quantization.int8_weights import round_weight
from conaclip_edge.models.quantization.record import ActivationGrid
from tests.oracles.int8_tower import quantize

GRIDS = [
    ActivationGrid(scale=0.125, zero_point=128),
    ActivationGrid(scale=float(np.float32(6 / 255)), zero_point=0),
    ActivationGrid(scale=float(np.float32(1 / 255)), zero_point=127),
    ActivationGrid(scale=3.5, zero_point=255),
]


def site(grid: ActivationGrid) -> FakeQuantize:
    made = FakeQuantize()
    made.grid = grid
    return made


def values(grid: ActivationGrid) -> Tensor:
    """Numbers within the grid's range and beyond it, none half-way between two steps."""
    steps = torch.arange(-300, 560, dtype=torch.float64) + 0.3
    return (grid.scale * (steps - grid.zero_point)).float().view(2, 43, 2, 5)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_activations_become_the_values_of_their_integers(grid: ActivationGrid) -> None:
    x = values(grid)
    wanted = grid.scale * (quantize(x.double().numpy(), grid) - grid.zero_point)
    np.testing.assert_allclose(site(grid).rounded(x).numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_gradients_pass_within_the_range_and_stop_beyond_it(grid: ActivationGrid) -> None:
    x = values(grid).requires_grad_()
    weights = torch.arange(x.numel(), dtype=torch.float32).view(x.shape) + 1
    (site(grid).rounded(x) * weights).sum().backward()
    low, high = -grid.zero_point * grid.scale, (255 - grid.zero_point) * grid.scale
    within = (x.detach() > low) & (x.detach() < high)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, weights * within)


def test_activations_keep_their_memory_format() -> None:
    x = values(GRIDS[0]).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = site(GRIDS[0]).rounded(x)
    y.sum().backward()
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_a_grid_is_kept_to_the_last_bit_and_saved_with_the_weights() -> None:
    other = FakeQuantize()
    other.load_state_dict(site(GRIDS[1]).state_dict())
    assert other.grid == GRIDS[1]


def test_sums_are_counted_in_steps_of_the_grid_channel_by_channel() -> None:
    sums = torch.tensor([[[[10.0]], [[10.0]], [[-900.0]]]]).requires_grad_()
    factor = torch.tensor([0.26, 0.5, 0.5]).view(-1, 1, 1)
    steps = site(GRIDS[0])(sums, factor)
    steps.sum().backward()
    assert steps.flatten().tolist() == [3.0, 5.0, -128.0]
    assert sums.grad is not None
    torch.testing.assert_close(sums.grad.flatten(), torch.tensor([0.26, 0.5, 0.0]))


def test_weights_are_int8_values_and_their_gradients_pass() -> None:
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    wanted = torch.arange(48.0).view(4, 3, 2, 2)
    steps, scale = whole_weight(weight)
    made = steps * scale.view(4, 1, 1, 1)
    (made * wanted).sum().backward()
    assert weight.grad is not None
    assert torch.equal(made, round_weight(weight))
    torch.testing.assert_close(weight.grad, wanted)
