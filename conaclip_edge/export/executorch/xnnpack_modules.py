"""The parts of towers as XNNPACK runs them.

The quantised ops are written into the modules, so a tower is exported once and has exactly the scales chosen here.
XNNPACK has no layer norm and no sum over a row; both are written as products with a constant.
"""

from __future__ import annotations

import executorch.exir  # noqa: F401  # registers the ops of torch.ops.quantized_decomposed
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conaclip_edge.export.quantize.activation_budget import Activation
from conaclip_edge.export.towers.layers import CentredNorm
from conaclip_edge.models.quantization.int8_weights import int8_values


class ProductNorm(nn.Module):
    """Layer norm, or RMS norm, whose means over a row are products with a constant column."""

    column: Tensor
    eps: Tensor

    def __init__(self, norm: nn.LayerNorm | nn.RMSNorm):
        super().__init__()
        width = norm.normalized_shape[0]
        self.register_buffer("column", torch.full((1, width), 1 / width))
        self.register_buffer("eps", torch.tensor([norm.eps]))
        self.weight, self.bias = norm.weight, getattr(norm, "bias", None)
        self.centred = isinstance(norm, CentredNorm)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows [..., width] to themselves."""
        if self.bias is None:
            return x * torch.rsqrt(F.linear(x * x, self.column, self.eps)) * self.weight
        x = x - F.linear(x, self.column)
        x = x * torch.rsqrt(F.linear(x * x, self.column, self.eps)) * self.weight + self.bias
        return x - F.linear(x, self.column) if self.centred else x


class ProductNormOverMaps(ProductNorm):
    """The same over the channels of maps, as the ConvNeXts have it."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, width, H, W] to itself."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ProductUnit(nn.Module):
    """Scales rows to length 1; the sum of squares is a product with a column of ones."""

    column: Tensor
    eps: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("column", torch.ones(1, width))
        self.register_buffer("eps", torch.full((1,), 1e-12))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, d] to itself."""
        return x * torch.rsqrt(F.linear(x * x, self.column, self.eps))


class Int8Weight(nn.Module):
    """An int8 weight [outputs, ...] with a scale for each output; called, it gives the floats."""

    def __init__(self, weight: Tensor):
        super().__init__()
        values, scale = int8_values(weight)
        # parameters, not buffers: the toolchain drops unused ones from the program once the delegate holds them
        self.values = nn.Parameter(values, requires_grad=False)
        self.scale = nn.Parameter(scale.flatten(), requires_grad=False)
        self.zero = nn.Parameter(torch.zeros(len(values), dtype=torch.int64), requires_grad=False)

    @property
    def dtype(self) -> torch.dtype:
        """Of the floats that it gives, which some towers turn their input to."""
        return self.scale.dtype

    def forward(self) -> Tensor:
        """Return the weight as floats."""
        made: Tensor = torch.ops.quantized_decomposed.dequantize_per_channel(
            self.values, self.scale, self.zero, 0, -127, 127, torch.int8
        )
        return made


class Int8Linear(nn.Module):
    """A linear layer with int8 weights, on int8 or on float rows."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Activation):
        super().__init__()
        self.weight = Int8Weight(weight)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map rows [..., inputs] to [..., outputs]."""
        if self.activation.kind == "dynamic":
            return F.linear(_dynamic(x), self.weight(), self.bias)
        # beside float rows XNNPACK takes int8 weights only without a bias
        y = F.linear(x, self.weight())
        return y if self.bias is None else y + self.bias


class Int8Pointwise(nn.Module):
    """A 1x1 convolution with int8 weights on float pixels: a linear layer over the channels."""

    same: Tensor

    def __init__(self, conv: nn.Conv2d, active: bool):
        super().__init__()
        self.register_buffer("same", torch.ones(conv.out_channels, 1, 1, 1))
        self.linear = Int8Linear(conv.weight.flatten(1), conv.bias, Activation("float"))
        self.kernel_size, self.stride, self.dilation = conv.kernel_size, conv.stride, conv.dilation
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H, W]."""
        y: Tensor = self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if self.active:
            return F.relu6(y)
        # a convolution that changes nothing but the layout: without it ExecuTorch 1.4 mistakes the input of an int8 one
        return F.conv2d(y, self.same, groups=len(self.same))


class Int8Patches(nn.Module):
    """A convolution over patches that lie side by side, as a linear layer of them.

    XNNPACK's int8 convolution takes a place of the kernel at a time, and pads its three channels to four or eight.
    """

    def __init__(self, conv: nn.Conv2d, activation: Activation):
        super().__init__()
        self.linear = Int8Linear(conv.weight.flatten(1), conv.bias, activation)
        self.stride = conv.stride

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        batch, channels, height, width = x.shape
        tall, wide = self.stride
        rows, columns = height // tall, width // wide
        if (rows * tall, columns * wide) != (height, width):  # what fills no patch is left out, as by a convolution
            x = x[:, :, : rows * tall, : columns * wide]
        x = x.view(batch, channels, rows, tall, columns, wide).permute(0, 2, 4, 1, 3, 5).contiguous()
        y: Tensor = self.linear(x.view(batch, rows * columns, channels * tall * wide))
        return y.transpose(1, 2).contiguous().view(batch, -1, rows, columns)


class Int8Conv(nn.Module):
    """A convolution with int8 weights on int8 pixels."""

    def __init__(self, conv: nn.Conv2d, pad: tuple[int, ...], active: bool, activation: Activation):
        super().__init__()
        self.weight = Int8Weight(conv.weight)
        bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
        self.bias = nn.Parameter(bias.detach().clone())
        self.stride, self.padding, self.groups = conv.stride, conv.padding, conv.groups
        self.kernel_size, self.dilation = conv.kernel_size, conv.dilation  # which some towers pad by
        self.pad, self.active, self.activation = pad, active, activation

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        outputs = self.activation.outputs
        x = F.pad(x, self.pad) if self.pad else x
        x = _static(x, self.activation.inputs) if outputs else _dynamic(x)
        y = F.conv2d(x, self.weight(), self.bias, self.stride, self.padding, groups=self.groups)
        y = F.relu6(y) if self.active else y
        return _static(y, outputs) if outputs else y


class Int8Table(nn.Module):
    """Token embeddings as int8 rows with a scale each, in plain ops: no custom kernel is needed."""

    values: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor):
        super().__init__()
        values, scale = int8_values(weight)
        self.register_buffer("values", values)
        self.register_buffer("scale", scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Look up the rows of int32 ids [B, L]."""
        return F.embedding(ids, self.values).float() * F.embedding(ids, self.scale)


def _dynamic(x: Tensor) -> Tensor:
    """Quantise to int8 over the range that the values have, and back."""
    ops = torch.ops.quantized_decomposed
    scale, zero = ops.choose_qparams.tensor(x, -128, 127, torch.finfo(torch.float32).eps, torch.int8)
    whole = ops.quantize_per_tensor.tensor(x, scale, zero, -128, 127, torch.int8)
    made: Tensor = ops.dequantize_per_tensor.tensor(whole, scale, zero, -128, 127, torch.int8)
    return made


def _static(x: Tensor, limits: tuple[float, float]) -> Tensor:
    """Quantise to int8 over a fixed range, and back."""
    ops = torch.ops.quantized_decomposed
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = (high - low) / 255
    zero = round(-128 - low / scale)
    whole = ops.quantize_per_tensor(x, scale, zero, -128, 127, torch.int8)
    made: Tensor = ops.dequantize_per_tensor(whole, scale, zero, -128, 127, torch.int8)
    return made
