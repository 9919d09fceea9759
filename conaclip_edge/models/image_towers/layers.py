"""The parts of convolutional towers: batch norm folds into them at export, and ReLU6 keeps their range for int8."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# share of a batch in the running statistics of batch norm. Some models come with the 0.01 that suits a million steps:
# after two hundred, the statistics are those of weights long gone
NORM_MOMENTUM = 0.1


class ConvNorm(nn.Module):
    """Convolution and batch norm, ReLU6 if `active`; stride 2 pads as TensorFlow's SAME does on even sizes."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True):
        super().__init__()
        self.pad = ((kernel - 2) // 2, (kernel - 1) // 2) * 2 if stride == 2 else ()
        padding = 0 if stride == 2 else kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=NORM_MOMENTUM)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y = self.before_activation(x)
        return F.relu6(y) if self.active else y

    def before_activation(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride], without ReLU6."""
        y: Tensor = self.norm(self.conv(F.pad(x, self.pad) if self.pad else x))
        return y

    @torch.no_grad()
    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the one convolution that this one and its batch norm are in eval mode."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        return self.conv.weight * gain.view(-1, 1, 1, 1), norm.bias - norm.running_mean * gain

    @torch.no_grad()
    def unfold(self, weight: Tensor, bias: Tensor) -> None:
        """Become a convolution with a bias: the batch norm's statistics are such that it only adds."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        self.conv.weight.copy_(weight)
        norm.weight.fill_(1)
        norm.bias.copy_(bias)
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)


class InvertedResidual(nn.Module):
    """Expand by a 1x1, filter each channel, project by a 1x1; a residual where the shape allows."""

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride: int):
        super().__init__()
        hidden = inputs * expand
        self.expand = ConvNorm(inputs, hidden, 1) if expand > 1 else None
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = ConvNorm(hidden, outputs, 1, active=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y
