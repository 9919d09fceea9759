"""Batch norms of any module folded into the convolutions before them: which those are is seen as a picture passes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@torch.no_grad()
def fold_batch_norms(module: nn.Module, example: Tensor) -> None:
    """Fold every batch norm whose input is what one convolution gave, in place.

    Args:
        module: in eval mode.
        example: its input.
    """
    pairs = _pairs(module, example)
    names = {id(part): name for name, part in module.named_modules()}
    for norm, conv in pairs:
        for part, made in ((conv, fuse_conv_bn_eval(conv, norm)), (norm, nn.Identity())):
            parent, _, own = names[id(part)].rpartition(".")
            setattr(module.get_submodule(parent), own, made)


def _pairs(module: nn.Module, example: Tensor) -> list[tuple[nn.BatchNorm2d, nn.Conv2d]]:
    """Return the batch norms and the convolutions whose output each of them takes as it is, both called once."""
    given: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensors are kept, so that no id is used twice
    found: list[tuple[nn.BatchNorm2d, nn.Conv2d]] = []

    def watch(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(part, nn.Conv2d):
            given[id(output)] = part, output
        elif isinstance(part, nn.BatchNorm2d) and id(inputs[0]) in given:
            found.append((part, given[id(inputs[0])][0]))

    watched = [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d)]
    handles = [part.register_forward_hook(watch) for part in watched]
    try:
        module(example)
    finally:
        for handle in handles:
            handle.remove()
    calls = [id(part) for pair in found for part in pair]
    return [(norm, conv) for norm, conv in found if calls.count(id(norm)) == calls.count(id(conv)) == 1]
