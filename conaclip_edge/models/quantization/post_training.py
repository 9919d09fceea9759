"""An int8 tower of a trained float tower, without training: what quantisation-aware training starts from.

Layer after layer the weights are fitted to give the float tower's outputs from what the int8 layers before deliver
(see `gptq`), and the grid of what the layer then gives is chosen, so that no layer passes on an error that the next
one can make up for. On the demo's student that gives a cosine of 0.995 where weights rounded to the nearest give 0.79.
Channels that are left out (see `prune`) keep their place with weights of zero; an export has none of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from conaclip_edge.models.image_towers.image_tower import ImageTower
from conaclip_edge.models.image_towers.layers import ConvNorm, InvertedResidual
from conaclip_edge.models.image_towers.mobile import MobileBackbone
from conaclip_edge.models.quantization.fake_quantize import STEPS, FakeQuantize, whole_weight
from conaclip_edge.models.quantization.gptq import fit_convolution
from conaclip_edge.models.quantization.mobile import Int8Block, Int8Conv, Int8MobileTower
from conaclip_edge.models.quantization.prune import least_needed
from conaclip_edge.models.quantization.record import ActivationGrid

TRIES = 16  # ranges that are tried for a grid, from all values down to a quarter of them
VALUES = 100_000  # activations that they are tried on
_SEED = 17


@torch.no_grad()
def quantize_after_training(source: ImageTower, pixels: Tensor, prune: float = 0.0) -> Int8MobileTower:
    """Return a float tower's int8 form, its weights and grids fitted to pictures.

    Args:
        source: a mobile tower; left as it is.
        pixels: pictures of the train split float32 [n, 3, H, W] in [0, 1]; memory grows with them.
        prune: share of the weights inside of blocks that is left out, at most.

    Raises:
        UserError: a tower of another kind.
    """
    tower, backbone = Int8MobileTower(source), source.backbone
    assert isinstance(backbone, MobileBackbone)
    mode = source.training
    source.eval()
    tower.pixels.grid = pixel_grid(source.config.mean)
    # x runs through the float tower; y through the int8 one, in steps of the grid of `at`
    x, y, at = source.normalise(pixels), tower.first_steps(pixels), tower.pixels
    x, y = _fit(backbone.stem, tower.stem, x, y, at)
    at = tower.stem.output
    unneeded = least_needed(source, pixels, prune)
    for block, target, gone in zip(backbone.blocks, tower.blocks, unneeded, strict=True):
        assert isinstance(block, InvertedResidual)
        assert isinstance(target, Int8Block)
        x, y = _fit_block(block, target, x, y, at, gone)
        at = target.output
    if backbone.head is not None and tower.head is not None:
        x, y = _fit(backbone.head, tower.head, x, y, at)
        at = tower.head.output
    tower.pooled.grid = best_grid(y.mean(dim=(2, 3)) * at.scale)
    weight, scale = whole_weight(tower.projection)
    tower.output.grid = best_grid(F.linear(tower.pool(y, at), weight) * tower.pooled.scale * scale)
    tower.drop_dead_channels()
    source.train(mode)
    return tower


def pixel_grid(mean: tuple[float, float, float]) -> ActivationGrid:
    """Return the grid of pixels in [0, 1] less the mean; where it is k / 255 for all colours, it holds them exactly."""
    low, high = min(-value for value in mean), max(1 - value for value in mean)
    return grid_between(low, high)


def grid_between(low: float, high: float) -> ActivationGrid:
    """Return the grid whose values go from `low` to `high`, moved by less than a step so that 0 is one of them."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / STEPS or 1.0
    return ActivationGrid(scale=float(torch.tensor(scale)), zero_point=round(-low / scale))


def best_grid(values: Tensor) -> ActivationGrid:
    """Return the grid that rounds values with the least squared error; a few very large ones may be cut off."""
    flat = values.flatten()
    if len(flat) > VALUES:
        flat = flat[torch.randint(len(flat), (VALUES,), generator=torch.Generator().manual_seed(_SEED))]
    low, high = float(values.min()), float(values.max())
    tried = FakeQuantize()

    def error(grid: ActivationGrid) -> float:
        tried.grid = grid
        return float((tried.rounded(flat) - flat).square().mean())

    shares = [1 - 0.75 * number / TRIES for number in range(TRIES)]
    return min((grid_between(low * share, high * share) for share in shares), key=error)


def _fit_block(
    block: InvertedResidual, target: Int8Block, x: Tensor, y: Tensor, at: FakeQuantize, gone: Tensor
) -> tuple[Tensor, Tensor]:
    inputs, given = (x, y), at
    for name in ("expand", "depthwise", "project"):
        layer, fitted = getattr(block, name), getattr(target, name)
        if layer is None:
            continue
        # the projection also makes up for what the residual that it is added to has lost
        lost = inputs[0] - inputs[1] * given.scale if name == "project" and target.sum is not None else 0.0
        if name == "project":
            fitted.weight[:, gone] = 0  # which stay, as nothing comes from there
        x, y = _fit(layer, fitted, x, y, at, lost, None if name == "project" else gone)
        at = fitted.output
    if target.sum is None:
        return x, y
    target.sum.grid = best_grid(inputs[1] * given.scale + y * at.scale)
    return x + inputs[0], target.add(inputs[1], given, y)


def _fit(
    layer: ConvNorm,
    target: Int8Conv,
    x: Tensor,
    y: Tensor,
    given: FakeQuantize,
    lost: Tensor | float = 0.0,
    gone: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Fit an int8 convolution to give what the float one gives of `x`, and `lost`, from `y`; returns what both give.

    Channels that are `gone` get weights of zero in the int8 one.
    """
    wanted = layer.before_activation(x)
    padded = F.pad(target.padded(y * given.scale), (target.padding,) * 4)
    weight, bias = fit_convolution(target.weight, padded, wanted + lost, target.stride, target.groups)
    if gone is not None:
        weight[gone], bias[gone] = 0, 0
    target.weight.copy_(weight)
    target.bias.copy_(bias)
    sums, step = target.sums(y, given)
    found = sums * step.view(-1, 1, 1)
    target.output.grid = best_grid(F.relu6(found) if layer.active else found)
    return F.relu6(wanted) if layer.active else wanted, target(y, given)
