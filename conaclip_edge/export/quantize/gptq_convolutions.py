"""Rounding a convolutional tower to int8 weights without losing what it computes.

Rounding each weight to the nearest int8 value leaves errors that add up over tens of layers without a norm between
them. Here the layers are rounded one after the other; each is fitted to give the float tower's outputs from the inputs
that the layers rounded before it deliver (`models/quantization/gptq.py`). The weights stay float tensors but lie on the
int8 grid, so every exporter's own rounding returns them as they are.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.export.quantize.calibration import Calibration, require_calibration
from conaclip_edge.export.quantize.float16_kernels import halve_kernel
from conaclip_edge.export.towers.layers import Conv, InvertedResidual
from conaclip_edge.export.towers.towers import MobileTower, Towers
from conaclip_edge.models.quantization import gptq

PIXELS = 128 * 224 * 224  # pictures are left out beyond so many pixels in all: memory grows with them


@torch.no_grad()
def reconstruct(towers: Towers, calibration: Calibration, half: bool = False) -> Towers:
    """Return the towers with the image tower's weights on the int8 grid if it is convolutional, else as they are.

    Args:
        towers: export-ready float towers; layers in their `float_layers` stay float.
        calibration: train pairs that the layers are fitted to.
        half: the runtime turns weights into float16, so that is where int8 and float ones are rounded to.
    """
    if not isinstance(towers.image, MobileTower):
        return towers
    require_calibration(calibration)
    exact, rounded = towers.image, copy.deepcopy(towers.image)
    count = max(1, PIXELS // towers.image_size**2)
    pixels = torch.cat(list(calibration.images(count=count)))
    names = {layer: f"image.{name}" for name, layer in rounded.named_modules()}

    def pass_through(
        layer: Conv, target: Conv, x: Tensor, y: Tensor, shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        wanted = _before_activation(layer, x)
        if names[target.conv] not in towers.float_layers:
            _fit_conv(target, y, wanted if shift is None else wanted + shift, half)
        elif half:
            halve_kernel(target.conv)
        return (F.relu6(wanted) if layer.active else wanted), target(y)

    # x runs through the float tower, y through the rounded one
    x = y = pixels - exact.mean
    x, y = pass_through(exact.stem, rounded.stem, x, y)
    for block, target in zip(exact.blocks, rounded.blocks, strict=True):
        assert isinstance(block, InvertedResidual)
        assert isinstance(target, InvertedResidual)
        inputs = x, y
        for name in ("expand", "depthwise"):
            if getattr(block, name) is not None:
                x, y = pass_through(getattr(block, name), getattr(target, name), x, y)
        # the projection also makes up for what the residual it is added to has lost
        lost = inputs[0] - inputs[1] if block.residual else None
        x, y = pass_through(block.project, target.project, x, y, lost)
        if block.residual:
            x, y = x + inputs[0], y + inputs[1]
    if exact.head is not None and rounded.head is not None:
        x, y = pass_through(exact.head, rounded.head, x, y)
    if "image.projection" not in towers.float_layers:
        _fit_projection(rounded.projection, y.mean(dim=(2, 3)), exact.projection(x.mean(dim=(2, 3))), half)
    return replace(towers, image=rounded.requires_grad_(False))


def _before_activation(layer: Conv, x: Tensor) -> Tensor:
    y: Tensor = layer.conv(F.pad(x, layer.pad) if layer.pad else x)
    return y


def _fit_projection(layer: nn.Linear, inputs: Tensor, outputs: Tensor, half: bool) -> None:
    weight, bias = gptq.fit_rows(layer.weight[None], inputs[None], outputs[None], half)
    layer.weight.copy_(weight[0])
    layer.bias = nn.Parameter(bias[0])


def _fit_conv(layer: Conv, x: Tensor, outputs: Tensor, half: bool) -> None:
    """Fit and round a convolution that maps x [B, inputs, H, W] to outputs [B, outputs, H', W']."""
    conv = layer.conv
    padded = F.pad(x, layer.pad or [int(conv.padding[0])] * 4)
    weight, bias = gptq.fit_convolution(conv.weight, padded, outputs, conv.stride[0], conv.groups, half)
    conv.weight.copy_(weight)
    assert conv.bias is not None
    conv.bias.copy_(bias)
