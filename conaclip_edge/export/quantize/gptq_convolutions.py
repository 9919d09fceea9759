"""Rounding a convolutional tower to int8 weights without losing what it computes.

Rounding each weight to the nearest int8 value leaves errors that add up over tens of layers without a norm between
them. Here the layers are rounded one after the other; each is first fitted again, in closed form, to give the float
tower's outputs from the inputs that the layers rounded before it deliver, and then rounded column by column, the error
of each column moved onto those not yet rounded (GPTQ, Frantar et al., arXiv 2210.17323). The weights stay float
tensors but lie on the int8 grid: the largest of each output channel is 127 steps, so every exporter's own rounding
returns them as they are.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.export.quantize.calibration import Calibration, require_calibration
from conaclip_edge.export.quantize.float16_kernels import halve_kernel, to_half
from conaclip_edge.export.towers.layers import Conv, InvertedResidual
from conaclip_edge.export.towers.towers import MobileTower, Towers
from conaclip_edge.models.quantization.int8_weights import weight_scale

ROWS = 100  # places that a layer is fitted to, for each weight of an output channel ...
LEAST, MOST = 2_000, 65_536  # ... within limits: memory grows with their number
PIXELS = 128 * 224 * 224  # pictures are left out beyond so many pixels in all: memory grows with them
_SEED = 13
RIDGE = 1e-2  # pull towards the trained weights, as a share of the inputs' mean power


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
    weight, bias = _fit(layer.weight[None], inputs[None], outputs[None], half)
    layer.weight.copy_(weight[0])
    layer.bias = nn.Parameter(bias[0])


def _fit_conv(layer: Conv, x: Tensor, outputs: Tensor, half: bool) -> None:
    """Fit and round a convolution that maps x [B, inputs, H, W] to outputs [B, outputs, H', W']."""
    conv = layer.conv
    rows, wanted = _places(F.pad(x, layer.pad or [int(conv.padding[0])] * 4), outputs, conv)
    rows = rows.view(len(rows), conv.groups, -1).transpose(0, 1)
    wanted = wanted.view(len(wanted), conv.groups, -1).transpose(0, 1)
    weight = conv.weight.view(conv.groups, conv.out_channels // conv.groups, -1)
    weight, bias = _fit(weight, rows, wanted, half)
    conv.weight.copy_(weight.view_as(conv.weight))
    assert conv.bias is not None
    conv.bias.copy_(bias.flatten())


def _places(x: Tensor, outputs: Tensor, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Draw places of all pictures: what the convolution sees there [N, inputs * k * k], and its outputs [N, outputs].

    Args:
        x: padded inputs [B, inputs, H, W].
        outputs: wanted outputs [B, outputs, H', W'].
        conv: the convolution.
    """
    batch, _, height, width = outputs.shape
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    count = min(batch * height * width, MOST, max(LEAST, ROWS * conv.weight[0].numel()))
    drawn = torch.randperm(batch * height * width, generator=torch.Generator().manual_seed(_SEED))[:count]
    picture, row, column = drawn // (height * width), drawn // width % height, drawn % width
    window = torch.arange(kernel)
    rows, columns = (row * stride)[:, None] + window, (column * stride)[:, None] + window
    seen = x[picture[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return seen.permute(0, 3, 1, 2).flatten(1), outputs[picture, :, row, column]


def _fit(weight: Tensor, inputs: Tensor, outputs: Tensor, half: bool) -> tuple[Tensor, Tensor]:
    """Return weights [G, O, K] on the int8 grid and biases [G, O] that map inputs [G, N, K] to outputs [G, N, O]."""
    middle_in, middle_out = inputs.mean(dim=1, keepdim=True), outputs.mean(dim=1, keepdim=True)
    inputs, outputs = inputs - middle_in, outputs - middle_out
    power = (inputs.transpose(1, 2) @ inputs).double()
    mean_power = power.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-9)
    power = power + RIDGE * mean_power[:, None, None] * torch.eye(power.shape[1], dtype=power.dtype)
    missing = outputs - inputs @ weight.transpose(1, 2)
    cross = (inputs.transpose(1, 2) @ missing).double()
    fitted = weight.double() + torch.linalg.solve(power, cross).transpose(1, 2)
    rounded = round_columns(fitted, power, half)
    bias = middle_out[:, 0].double() - (rounded @ middle_in.double().transpose(1, 2))[..., 0]
    return rounded.float(), bias.float()


def round_columns(weight: Tensor, power: Tensor, half: bool = False) -> Tensor:
    """Round weights [G, O, K] to the int8 grid of each output channel, minding the inputs' power matrix [G, K, K].

    The squared error of the outputs is what is kept small, not that of the weights. With `half` the grid is what
    int8 values times a float16 scale are in float16.
    """
    order = power.diagonal(dim1=1, dim2=2).mean(dim=0).argsort(descending=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(power[:, order][:, :, order]))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left = weight[:, :, order].clone()
    scale = weight_scale(left.flatten(0, 1)).view(*left.shape[:2])
    if half:
        whole = scale
        for _ in range(2):  # until an exporter finds the same scale again, from the largest weight in float16
            whole = to_half(to_half(127 * to_half(whole)) / 127)
        scale = torch.where(scale > torch.finfo(torch.float16).tiny, whole, scale)  # else float16 has few digits, or 0
    largest = left.abs().argmax(dim=2)
    rounded = torch.zeros_like(left)
    for column in range(left.shape[2]):
        value = left[:, :, column]
        steps = torch.round(value / scale).clamp(-127, 127)
        # a channel's scale is found again by its largest weight, which therefore keeps its 127 steps
        steps = torch.where(largest == column, 127 * torch.sign(value), steps)
        rounded[:, :, column] = to_half(steps * scale) if half else steps * scale
        error = (value - rounded[:, :, column]) / factor[:, None, column, column]
        left[:, :, column + 1 :] -= error[..., None] * factor[:, None, column, column + 1 :]
    return rounded[:, :, order.argsort()]
