"""Transformer blocks made easier to round to int8, exactly and for free: the float tower stays the same function.

- SmoothQuant (Xiao et al., arXiv 2211.10438): a channel's scale s is divided out of what produces an activation (a
  layer norm's gain, or the value projection) and multiplied into the columns of what consumes it.
- The values of each head are rotated and the output projection turned back (as in QuaRot, Ashkboos et al., arXiv
  2404.00456). Large single weights, such as the diagonal of a layer that began as the identity, are spread over a row.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from conaclip_edge.export.quantize.calibration import Calibration, require_calibration
from conaclip_edge.export.towers.layers import AttentionPool, Block
from conaclip_edge.export.towers.towers import Towers


def smooth(towers: Towers, calibration: Calibration, alpha: float) -> Towers:
    """Return copies of the towers whose transformer blocks are smoothed; towers of convolutions stay as they are.

    Args:
        towers: export-ready float towers; left untouched.
        calibration: gives the largest activation of each channel.
        alpha: how much of the difficulty moves to the weights, 0 (nothing) to 1.
    """
    if alpha == 0:
        return towers
    require_calibration(calibration)
    return replace(
        towers, image=_smoothed("image", towers, calibration, alpha), text=_smoothed("text", towers, calibration, alpha)
    )


@torch.no_grad()
def _smoothed(name: str, towers: Towers, calibration: Calibration, alpha: float) -> nn.Module:
    tower = copy.deepcopy(towers[name])
    blocks = [module for module in tower.modules() if isinstance(module, Block | AttentionPool)]
    for block in blocks:
        _rotate_values(block)
    consumers = [layer for block in blocks for layer in (block.v, block.o, block.fc1)]
    largest = largest_inputs(tower, consumers, calibration, name) if blocks else {}
    for block in blocks:
        _shift(block.norm1, block.readers, largest[block.v], alpha)
        _shift(block.v, [block.o], largest[block.o], alpha)
        _shift(block.norm2, [block.fc1], largest[block.fc1], alpha)
    return tower


def _rotate_values(block: Block | AttentionPool) -> None:
    """Rotate the values of each head by one orthogonal matrix, and the output projection back."""
    size = block.v.out_features // block.heads
    rotation = torch.block_diag(*[cosine_transform(size)] * block.heads)
    block.v.weight.copy_(rotation @ block.v.weight)
    block.v.bias.copy_(rotation @ block.v.bias)
    block.o.weight.copy_(block.o.weight @ rotation.T)


def cosine_transform(size: int) -> Tensor:
    """Return the orthogonal matrix [size, size] of the discrete cosine transform: no entry is large."""
    angles = (torch.arange(size, dtype=torch.float64) + 0.5) * torch.pi / size
    matrix = torch.cos(torch.arange(size)[:, None] * angles) * (2 / size) ** 0.5
    matrix[0] /= 2**0.5
    made: Tensor = matrix.float()
    return made


def largest_inputs(
    tower: nn.Module, layers: list[nn.Linear], calibration: Calibration, name: str
) -> dict[nn.Linear, Tensor]:
    """Return the largest |value| [width] that each channel of the layers' inputs takes over the calibration set."""
    largest = {layer: torch.zeros(layer.in_features) for layer in layers}

    def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Linear)
        largest[layer] = torch.maximum(largest[layer], inputs[0].abs().flatten(0, -2).amax(dim=0))

    hooks = [layer.register_forward_pre_hook(record) for layer in layers]
    for batch in calibration.batches(name):
        tower(batch)
    for hook in hooks:
        hook.remove()
    return largest


def _shift(producer: nn.LayerNorm | nn.Linear, consumers: list[nn.Linear], activation: Tensor, alpha: float) -> None:
    """Divide a scale [width] out of the producer's channels and multiply it into the consumers' columns."""
    weight = torch.stack([layer.weight.abs().amax(dim=0) for layer in consumers]).amax(dim=0)
    scale = activation.clamp(min=1e-5) ** alpha / weight.clamp(min=1e-5) ** (1 - alpha)
    scale = (scale / scale.log().mean().exp()).clamp(1e-2, 1e2)
    producer.weight.div_(scale if producer.weight.dim() == 1 else scale[:, None])
    producer.bias.div_(scale)
    for layer in consumers:
        layer.weight.mul_(scale)
