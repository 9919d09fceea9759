"""Rounding weights to float16 so that what they add up to stays."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from conaclip_edge.export.towers.layers import Conv
from conaclip_edge.export.towers.towers import MobileTower, Towers
from conaclip_edge.models.quantization.gptq import to_half


@torch.no_grad()
def halve_kernels(towers: Towers) -> Towers:
    """Return the towers with the image tower's kernels in float16 values if it is convolutional, else as they are.

    A plain background is a constant that a kernel multiplies by its sum. Where bias and background nearly cancel, as
    in the first layers of EfficientNet-Lite0, a kernel whose sum is off by a float16 step moves the embedding by more
    than all that float16 does elsewhere; single weights matter little.
    """
    if not isinstance(towers.image, MobileTower):
        return towers
    image = copy.deepcopy(towers.image)
    for layer in image.modules():
        if isinstance(layer, Conv):
            halve_kernel(layer.conv)
    return replace(towers, image=image)


@torch.no_grad()
def halve_kernel(conv: nn.Conv2d) -> None:
    """Round a convolution's kernels in place; one of 1x1 sums over channels, which no background makes alike."""
    if conv.kernel_size[0] > 1:
        conv.weight.copy_(carry(conv.weight.flatten(1)).view_as(conv.weight))


def carry(weight: Tensor) -> Tensor:
    """Round rows [outputs, K] to float16 values, each weight taking over what the larger ones before it have lost.

    A row's sum is then off by the last step of its smallest weight.
    """
    order = weight.abs().argsort(dim=1, descending=True)
    left = weight.gather(1, order)
    lost = torch.zeros_like(left[:, 0])
    for column in range(left.shape[1]):
        value = left[:, column] + lost
        left[:, column] = to_half(value)
        lost = value - left[:, column]
    return torch.zeros_like(weight).scatter(1, order, left)
