"""An int8 tower without training: close to the float one, and the same every time."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from conaclip_edge.models.quantization.fake_quantize import FakeQuantize
from conaclip_edge.models.quantization.mobile import Int8MobileTower
from conaclip_edge.models.quantization.post_training import (
    best_grid,
    grid_between,
    pixel_grid,
    quantize_after_training,
)
from conaclip_edge.models.student.dual_encoder import DualEncoder
from tests.helpers.small_students import drawings, student

SEEN, OTHERS = drawings(48, seed=1) / 255.0, drawings(32, seed=2) / 255.0


@functools.cache
def model() -> DualEncoder:
    return student("mobile")


@functools.cache
def fitted() -> Int8MobileTower:
    return quantize_after_training(model().image, SEEN)


def lost(tower: Int8MobileTower) -> float:
    """Return the mean of 1 - cosine to the float tower, over pictures that were not fitted to."""
    with torch.no_grad():
        return float(1 - F.cosine_similarity(model().image(OTHERS).double(), tower(OTHERS).double()).mean())


def rounded(grid: object, values: Tensor) -> Tensor:
    site = FakeQuantize()
    site.grid = grid  # type: ignore[assignment]
    return site.rounded(values)


def test_a_fitted_tower_is_close_to_the_float_one() -> None:
    assert lost(fitted()) < 1e-4


def test_fitted_weights_lose_less_than_weights_rounded_to_the_nearest() -> None:
    nearest = Int8MobileTower(model().image)
    nearest.grids = fitted().grids
    assert lost(fitted()) < 0.9 * lost(nearest)


def test_the_float_tower_stays_as_it_was() -> None:
    source = copy.deepcopy(model().image).train()
    quantize_after_training(source, SEEN)
    assert source.training
    before = model().image.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


def test_it_is_the_same_every_time() -> None:
    again = quantize_after_training(model().image, SEEN)
    assert again.grids == fitted().grids
    assert torch.equal(again(OTHERS), fitted()(OTHERS))


def test_channels_that_are_left_out_are_zero_and_the_others_make_up_for_them() -> None:
    pruned = quantize_after_training(model().image, SEEN, prune=0.4)
    cut = copy.deepcopy(fitted())
    count = 0
    for block, whole in zip(pruned.blocks, cut.blocks, strict=True):
        gone = ~block.project.weight.flatten(1).any(dim=0)
        for layer in block.layers[:-1]:
            assert not layer.weight[gone].any()
            assert not layer.bias[gone].any()
        whole.project.weight.data[:, gone] = 0
        count += int(gone.sum())
    assert count >= 32
    assert lost(pruned) < 0.5 * lost(cut)


@pytest.mark.parametrize("middle", [0, 127, 255])
def test_pixels_stand_on_their_grid_where_the_mean_is_a_level(middle: int) -> None:
    levels = torch.arange(256) / 255
    grid = pixel_grid((middle / 255,) * 3)
    assert grid.zero_point == middle
    torch.testing.assert_close(rounded(grid, levels - middle / 255), levels - middle / 255, rtol=0, atol=1e-6)


def test_pixels_with_a_mean_per_colour_are_within_the_grid() -> None:
    ends = torch.tensor([-0.6, 0.7])  # black of the first colour, white of the second
    torch.testing.assert_close(rounded(pixel_grid((0.6, 0.3, 0.5)), ends), ends, rtol=0, atol=0.5 * 1.3 / 255)


def test_a_grid_always_holds_zero() -> None:
    for low, high in ((-0.7, 3.1), (0.5, 2.0), (-4.0, -1.0), (0.0, 0.0)):
        assert not rounded(grid_between(low, high), torch.zeros(1)).any()


def test_the_best_grid_cuts_off_a_few_very_large_values() -> None:
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    values[0] = 40.0
    whole = grid_between(float(values.min()), float(values.max()))
    best = best_grid(values)
    assert best.scale < whole.scale
    assert (rounded(best, values) - values).square().mean() < (rounded(whole, values) - values).square().mean()
