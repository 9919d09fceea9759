"""The parts of convolutional towers: batch norm folds into them at export, and ReLU6 keeps their range for int8."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ConvNorm(nn.Module):
    """Convolution and batch norm, ReLU6 if `active`; stride 2 pads as TensorFlow's SAME does on even sizes."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True):
        super().__init__()
        self.pad = ((kernel - 2) // 2, (kernel - 1) // 2) * 2 if stride == 2 else ()
        padding = 0 if stride == 2 else kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        if self.pad:
            x = F.pad(x, self.pad)
        y: Tensor = self.norm(self.conv(x))
        return F.relu6(y) if self.active else y


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
