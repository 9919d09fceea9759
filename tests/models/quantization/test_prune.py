"""Channels that are left out are those whose loss changes a block's output least, in whole groups."""

from __future__ import annotations

import pytest
import torch

from conaclip_edge.models.image_towers.layers import InvertedResidual
from conaclip_edge.models.quantization.prune import GROUP, least_needed

PIXELS = torch.randn(6, 16, 8, 8, generator=torch.Generator().manual_seed(0))


def block() -> InvertedResidual:
    """A block of 64 inner channels."""
    torch.manual_seed(1)
    return InvertedResidual(16, 16, 4, 3, 1).eval()


@pytest.mark.parametrize(
    ("share", "gone"), [(0.0, 0), (0.1, 0), (0.24, 0), (0.25, 16), (0.4, 16), (0.5, 32), (0.99, 48)]
)
def test_the_rest_are_whole_groups_and_no_more_than_the_share_is_gone(share: float, gone: int) -> None:
    found = least_needed(block(), PIXELS, share)
    assert len(found.unique()) == len(found) == gone
    assert (64 - gone) % GROUP == 0


def test_fewer_channels_than_a_group_all_stay() -> None:
    torch.manual_seed(2)
    assert len(least_needed(InvertedResidual(4, 4, 3, 3, 1).eval(), PIXELS[:, :4], 0.9)) == 0


def test_channels_that_nothing_reads_or_that_are_constant_go_first() -> None:
    source = block()
    with torch.no_grad():
        source.project.conv.weight[:, :10] = 0
        source.depthwise.norm.bias[10:16] = 40  # ReLU6 makes 6 of all that
    assert sorted(least_needed(source, PIXELS, 0.25).tolist()) == list(range(16))


def test_what_is_left_out_costs_less_than_any_other_choice_of_single_channels() -> None:
    source = block()
    whole = source(PIXELS)

    def loss(channel: int) -> float:
        """Squared error of the output where a channel gives its mean alone."""
        inner = source.depthwise(source.expand(PIXELS))  # type: ignore[misc]  # it expands
        inner[:, channel] = inner[:, channel].mean()
        return float((PIXELS + source.project(inner) - whole).square().sum())

    with torch.no_grad():
        order = sorted(range(64), key=loss)
    assert set(least_needed(source, PIXELS, 0.25).tolist()) == set(order[:16])
