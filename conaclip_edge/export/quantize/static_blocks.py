"""Which blocks of an image transformer may compute in int8 throughout, and over which ranges.

`static_block` of each exporter writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from conaclip_edge.bundle.golden_pictures import made_pictures
from conaclip_edge.data.preprocess import Preprocess, decode, to_pixels
from conaclip_edge.export.quantize.calibration import Calibration
from conaclip_edge.export.quantize.int8_grid import round_activation
from conaclip_edge.export.towers.layers import Block
from conaclip_edge.export.towers.towers import Towers

Ranges = dict[str, tuple[float, float]]
BUDGET = 5e-4  # mean of 1 - cosine that static blocks may cost train pictures; half of what the gate allows
WORST = 0.01  # 1 - cosine that they may cost a picture unlike those of the data; half of what golden pictures may lose
STEEPNESS = 1.702  # of the sigmoid in GELU's approximation
_SAMPLES = 32  # pictures that the quantisation error is measured on
_LEAST = -4.0  # GELU of what is below is 0 but for 0.0001
SIGNED = ("k", "v")  # sites whose grids lie around 0: the second factors of attention's products
_INPUTS = {"mixed": "o", "scores": "softmax"}  # sites that are no part's output -> the part that reads them


@dataclass(frozen=True)
class Kernels:
    """What a runtime's kernels round in a static block.

    Attributes:
        sites: the activations.
        most: the largest whole number of those that are signed.
        by_sigmoid: GELU is x * sigmoid(1.702 x) there.
    """

    sites: tuple[str, ...]
    most: int
    by_sigmoid: bool


_COMMON = ("norm1", "q", "k", "v", "softmax", "mixed", "norm2", "fc1", "act")
ONNXRUNTIME = Kernels(_COMMON, most=63, by_sigmoid=True)
XNNPACK = Kernels((*_COMMON, "scores", "o", "fc2"), most=127, by_sigmoid=False)


def gelu_range(limits: tuple[float, float]) -> tuple[float, float]:
    """Return the part of the hidden values' range that GELU sees."""
    return max(limits[0], _LEAST), limits[1]


@torch.no_grad()
def static_ranges(towers: Towers, calibration: Calibration, kernels: Kernels) -> Ranges:
    """Return activation site -> smallest and largest value, of the image tower's blocks that may be static.

    A site is a part of a block whose output it is, e.g. "blocks.3.fc1", or "blocks.3.mixed", the input of `o`, or
    "blocks.3.scores", that of softmax. Blocks are taken from the least harmful as long as train pictures stay within
    `BUDGET` and strange ones, which ranges of train pictures may cut off, within `WORST`; one with a layer that is to
    stay float is left out.

    Args:
        towers: centred and, where int8 is smoothed, smoothed.
        calibration: train pictures.
        kernels: of the runtime that runs the blocks.
    """
    tower = towers.image
    floats = {layer.removeprefix("image.").rpartition(".")[0] for layer in towers.float_layers}
    modules = tower.named_modules()
    blocks = {name: block for name, block in modules if isinstance(block, Block) and name not in floats}
    if not blocks:
        return {}
    seen = _ranges(tower, blocks, calibration.images(), kernels)
    batches = [*calibration.images(count=_SAMPLES), _strange_pictures(calibration.pixels.shape[-1])]
    exact = [tower(batch) for batch in batches]

    def spent(names: Iterable[str]) -> float:
        hooks = [hook for name in names for hook in _rounding(blocks[name], name, seen, kernels)]
        errors = [_errors(before, tower(batch)) for before, batch in zip(exact, batches, strict=True)]
        for hook in hooks:
            hook.remove()
        return max(float(torch.cat(errors[:-1]).mean()) / BUDGET, float(errors[-1].max()) / WORST)

    chosen = list(blocks)
    if spent(chosen) > 1:
        shares = {name: spent([name]) for name in blocks}
        order = sorted(blocks, key=lambda name: shares[name])
        totals = accumulate(shares[name] for name in order)
        chosen = [name for name, total in zip(order, totals, strict=True) if total <= 1]
    return {site: limits for site, limits in seen.items() if site.rpartition(".")[0] in chosen}


def _strange_pictures(size: int) -> Tensor:
    """Return pixel_values of pictures that are no photographs."""
    pixels = [to_pixels(decode(data), Preprocess(size)) for _, data in made_pictures()]
    return torch.from_numpy(np.stack(pixels).astype(np.float32) / 255.0)


def _errors(exact: Tensor, changed: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(exact.double(), changed.double())


def _ranges(tower: nn.Module, blocks: dict[str, Block], batches: Iterable[Tensor], kernels: Kernels) -> Ranges:
    seen: Ranges = {}

    def record(site: str, x: Tensor) -> None:
        low, high = seen.get(site, (0.0, 0.0))
        seen[site] = min(low, float(x.min())), max(high, float(x.max()))

    hooks = [hook for name, block in blocks.items() for hook in _watched(block, name, kernels, record)]
    for batch in batches:
        tower(batch)
    for hook in hooks:
        hook.remove()
    return seen


def _watched(
    block: Block, name: str, kernels: Kernels, see: Callable[[str, Tensor], Tensor | None]
) -> list[RemovableHandle]:
    """Call `see` with each site of a block and its activation, which it may replace."""
    hooks = []
    for part in kernels.sites:
        seen = partial(see, f"{name}.{part}")
        if reader := _INPUTS.get(part):
            hooks.append(block.get_submodule(reader).register_forward_pre_hook(partial(_input, see=seen)))
        else:
            hooks.append(block.get_submodule(part).register_forward_hook(partial(_output, see=seen)))
    return hooks


def _output(_: nn.Module, __: tuple[Tensor, ...], y: Tensor, see: Callable[[Tensor], Tensor | None]) -> Tensor | None:
    return see(y)


def _input(_: nn.Module, inputs: tuple[Tensor, ...], see: Callable[[Tensor], Tensor | None]) -> Tensor | None:
    return see(inputs[0])


def _rounding(block: Block, name: str, ranges: Ranges, kernels: Kernels) -> list[RemovableHandle]:
    """Round the activations of a block, and approximate its GELU, until the hooks are removed."""

    def rounded(site: str, x: Tensor) -> Tensor:
        low, high = ranges[site]
        part = site.rpartition(".")[2]
        if part in SIGNED:
            step = max(high, -low, 1e-6) / kernels.most
            return (x / step).round().clamp(-kernels.most - 1, kernels.most) * step
        if part == "fc1":
            low, high = gelu_range((low, high))
        return round_activation(x, torch.tensor(low), torch.tensor(high))

    hooks = []
    if kernels.by_sigmoid:
        hooks.append(
            block.act.register_forward_hook(lambda _, given, __: given[0] * torch.sigmoid(STEEPNESS * given[0]))
        )
    return [*hooks, *_watched(block, name, kernels, rounded)]


def blocks_of(ranges: Ranges) -> list[str]:
    """Return the names of the blocks that ranges are of."""
    return list(dict.fromkeys(site.rpartition(".")[0] for site in ranges))
