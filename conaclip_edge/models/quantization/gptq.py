"""Rounding a layer to int8 weights without losing what it computes.

A layer is first fitted again, in closed form, to give the wanted outputs from the inputs that it will get, and then
rounded column by column, the error of each column moved onto those not yet rounded (GPTQ, Frantar et al., arXiv
2210.17323). The weights stay float tensors but lie on the int8 grid: the largest of each output channel is 127 steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from conaclip_edge.models.quantization.int8_weights import weight_scale

ROWS = 100  # places that a layer is fitted to, for each weight of an output channel ...
LEAST, MOST = 2_000, 65_536  # ... within limits: memory grows with their number
RIDGE = 1e-2  # pull towards the trained weights, as a share of the inputs' mean power
_SEED = 13


def to_half(x: Tensor) -> Tensor:
    """Round to the values that float16 has, in the type that `x` has."""
    return x.half().to(x.dtype)


def fit_convolution(
    weight: Tensor, x: Tensor, outputs: Tensor, stride: int, groups: int, half: bool = False
) -> tuple[Tensor, Tensor]:
    """Return a convolution's weight on the int8 grid and its bias, fitted to map `x` to `outputs`.

    Args:
        weight: that is pulled towards [outputs, inputs / groups, k, k].
        x: padded inputs [B, inputs, H, W].
        outputs: wanted outputs [B, outputs, H', W'], before any activation.
        stride: of the convolution.
        groups: of its channels.
        half: as of `fit_rows`.
    """
    rows, wanted = places(weight, x, outputs, stride)
    rows = rows.view(len(rows), groups, -1).transpose(0, 1)
    wanted = wanted.view(len(wanted), groups, -1).transpose(0, 1)
    fitted, bias = fit_rows(weight.reshape(groups, len(weight) // groups, -1), rows, wanted, half)
    return fitted.view_as(weight), bias.flatten()


def places(weight: Tensor, x: Tensor, outputs: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Draw places of all pictures: what a convolution sees there [N, inputs * k * k], and its outputs [N, outputs].

    Args:
        weight: of the convolution [outputs, inputs / groups, k, k].
        x: padded inputs [B, inputs, H, W].
        outputs: wanted outputs [B, outputs, H', W'].
        stride: of the convolution.
    """
    batch, _, height, width = outputs.shape
    kernel = weight.shape[2]
    count = min(batch * height * width, MOST, max(LEAST, ROWS * weight[0].numel()))
    drawn = torch.randperm(batch * height * width, generator=torch.Generator().manual_seed(_SEED))[:count]
    picture, row, column = drawn // (height * width), drawn // width % height, drawn % width
    window = torch.arange(kernel)
    rows, columns = (row * stride)[:, None] + window, (column * stride)[:, None] + window
    seen = x[picture[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return seen.permute(0, 3, 1, 2).flatten(1), outputs[picture, :, row, column]


def fit_rows(weight: Tensor, inputs: Tensor, outputs: Tensor, half: bool = False) -> tuple[Tensor, Tensor]:
    """Return weights [G, O, K] on the int8 grid and biases [G, O] that map inputs [G, N, K] to outputs [G, N, O].

    Args:
        weight: that is pulled towards [G, O, K].
        inputs: what each of G groups sees.
        outputs: what it is to give.
        half: the runtime turns weights into float16, so that is where they are rounded to.
    """
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
