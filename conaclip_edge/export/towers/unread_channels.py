"""Inner channels of mobile blocks that nothing reads: an exported tower has none of them, and computes the same."""

from __future__ import annotations

import torch
from torch import Tensor

from conaclip_edge.export.towers.layers import Conv, InvertedResidual
from conaclip_edge.export.towers.trained_layers import convolution
from conaclip_edge.models.quantization.prune import GROUP


@torch.no_grad()
def without_unread_channels(block: InvertedResidual) -> InvertedResidual:
    """Narrow a block that expands, in place, to the channels whose weights in its projection are not all zero.

    Some of zeros stay to fill a group: onnxruntime needs half as many instructions again for 475 channels as for 480.
    """
    if block.expand is None:
        return block
    read = block.project.conv.weight.flatten(1).any(dim=0)
    read[(~read).nonzero().flatten()[: -int(read.sum()) % GROUP]] = True
    if read.any() and not read.all():
        _keep(block.expand, outputs=read)
        _keep(block.depthwise, outputs=read)
        _keep(block.project, inputs=read)
    return block


def _keep(layer: Conv, outputs: Tensor | None = None, inputs: Tensor | None = None) -> None:
    """Replace a convolution by one with some of its channels; a depthwise one has as many groups as outputs."""
    conv = layer.conv
    weight, bias = conv.weight, conv.bias
    assert bias is not None  # of the batch norm that was folded in
    if outputs is not None:
        weight, bias = weight[outputs], bias[outputs]
    if inputs is not None:
        weight = weight[:, inputs]
    groups = len(weight) if conv.groups > 1 else 1
    layer.conv = convolution(weight, bias, conv.stride[0], int(conv.padding[0]), groups)
