"""Features of all processes in one batch, with gradients back to each."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local.contiguous())
        # rank r holds rows r, r + n, r + 2n, ...: stacking on axis 1 restores the order of the joint batch
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # the mean of the ranks' losses is the whole one, so the sum is n times its gradient, which DDP's mean undoes
        whole = gradients[0].clone(memory_format=torch.contiguous_format)  # the incoming one belongs to autograd
        dist.all_reduce(whole)
        return whole[dist.get_rank() :: dist.get_world_size()]


def gather(local: Tensor, processes: int) -> Tensor:
    """Return the rows of all processes [n * processes, d], interleaved as they were dealt; gradients flow to each."""
    if processes == 1:
        return local
    whole: Tensor = _Gather.apply(local)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return whole


def mean_over(values: Tensor, processes: int) -> Tensor:
    """Return the mean of a tensor over all processes, without a gradient."""
    if processes == 1:
        return values.detach()
    mean = values.detach().clone()
    dist.all_reduce(mean)
    return mean / processes
