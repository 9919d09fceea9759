"""Channels that are left out are those that the embedding needs least, in whole groups."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch.nn import functional as F

from conaclip_edge.models.image_towers.image_tower import ImageTower
from conaclip_edge.models.image_towers.layers import InvertedResidual
from conaclip_edge.models.quantization.prune import GROUP, channel_worth, least_needed
from tests.helpers.small_students import drawings, student

PIXELS = drawings(24, seed=4) / 255.0


@functools.cache
def tower() -> ImageTower:
    """A tower with 8, 32 and 48 inner channels, of which the first block does not expand; not to be changed."""
    return student("mobile").image


def blocks(of: ImageTower) -> list[InvertedResidual]:
    return [block for block in of.backbone.blocks if isinstance(block, InvertedResidual)]


def moved(channels: dict[int, list[int]]) -> float:
    """How far the embedding moves where channels of some blocks give their mean alone."""
    cut = copy.deepcopy(tower())
    for number, gone in channels.items():

        def to_mean(_module: object, _inputs: object, x: torch.Tensor, gone: list[int] = gone) -> torch.Tensor:
            x = x.clone()
            x[:, gone] = x[:, gone].mean(dim=(0, 2, 3), keepdim=True)
            return x

        blocks(cut)[number].depthwise.register_forward_hook(to_mean)
    with torch.no_grad():
        return float((F.normalize(cut(PIXELS)) - F.normalize(tower()(PIXELS))).square().sum())


def share_of(gone: list[torch.Tensor]) -> float:
    """The share of weights inside of blocks that goes with channels."""
    layers = [
        [layer.conv.weight.numel() for layer in (block.expand, block.depthwise, block.project) if layer is not None]
        for block in blocks(tower())
    ]
    per_channel = [
        sum(sizes) / block.depthwise.conv.out_channels for sizes, block in zip(layers, blocks(tower()), strict=True)
    ]
    return sum(len(out) * each for out, each in zip(gone, per_channel, strict=True)) / sum(map(sum, layers))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.99])
def test_no_more_than_the_share_goes_and_the_rest_are_whole_groups(share: float) -> None:
    gone = least_needed(tower(), PIXELS, share)
    assert share_of(gone) <= share
    for block, out in zip(blocks(tower()), gone, strict=True):
        count = block.depthwise.conv.out_channels
        assert len(out.unique()) == len(out) < count
        assert not len(out) or (count - len(out)) % GROUP == 0
        assert block.expand is not None or not len(out)
    assert (sum(map(len, gone)) > 0) == (share >= 0.2)


def test_worth_is_how_far_the_embedding_moves() -> None:
    worth = channel_worth(tower(), blocks(tower()), PIXELS)
    for number in (1, 2):
        truth = torch.tensor([moved({number: [channel]}) for channel in range(len(worth[number]))])
        ranks = torch.stack([values.argsort().argsort().double() for values in (worth[number], truth)])
        assert torch.corrcoef(ranks)[0, 1] > 0.8


def test_channels_that_do_nothing_go_first() -> None:
    source = copy.deepcopy(tower())
    block = blocks(source)[2]
    with torch.no_grad():
        block.project.conv.weight[:, :10] = 0
        block.depthwise.norm.bias[10:16] = 400  # ReLU6 makes 6 of all that
    gone = least_needed(source, PIXELS, 0.2)
    assert sorted(gone[2].tolist()) == list(range(16))


def test_what_goes_costs_less_than_the_same_number_drawn_at_random() -> None:
    gone = {number: out.tolist() for number, out in enumerate(least_needed(tower(), PIXELS, 0.5)) if len(out)}
    random = torch.Generator().manual_seed(0)
    for _ in range(5):
        drawn = {
            number: torch.randperm(blocks(tower())[number].depthwise.conv.out_channels, generator=random)[
                : len(out)
            ].tolist()
            for number, out in gone.items()
        }
        assert moved(gone) < moved(drawn)


def test_the_tower_stays_as_it_was() -> None:
    source = copy.deepcopy(tower())
    least_needed(source, PIXELS, 0.5)
    assert all(torch.equal(value, tower().state_dict()[name]) for name, value in source.state_dict().items())
    assert not any(parameter.grad is not None for parameter in source.parameters())
