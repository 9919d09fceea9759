"""AdamW: in four groups (decayed weights and the rest, fresh and pretrained ones), and in one for int8 steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.models.student.dual_encoder import DualEncoder

BETAS = (0.9, 0.98)
EPS = 1e-6


def make_optimizer(student: DualEncoder, config: DistillConfig) -> torch.optim.AdamW:
    """AdamW over two groups by two: decayed weights and the rest, fresh and pretrained ones with their own rate."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    backbone, init = f"image.{student.config.image.kind}.", config.student.init_image
    started = init != "none" and (init != "auto" or student.image.backbone.pretrained)
    for name, parameter in student.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = parameter.ndim > 1 and "embedding" not in name
        pretrained = started and name.startswith(backbone) and "visual_projection" not in name
        groups.setdefault((decay, pretrained), []).append(parameter)
    settings = config.train
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": settings.weight_decay if decay else 0.0,
                "peak_lr": settings.lr * (settings.lr_pretrained if pretrained else 1.0),
            }
            for (decay, pretrained), parameters in groups.items()
        ],
        lr=settings.lr,
        betas=BETAS,
        eps=EPS,
    )


def make_qat_optimizer(student: DualEncoder, lr: float) -> torch.optim.AdamW:
    """AdamW over all weights that learn, at one rate and without decay: the last few steps of a trained student."""
    learning = [parameter for parameter in student.parameters() if parameter.requires_grad]
    group = {"params": learning, "weight_decay": 0.0, "peak_lr": lr}
    return torch.optim.AdamW([group], lr=lr, betas=BETAS, eps=EPS)


def lr_factor(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then a cosine to zero; a share of the peak rate.

    Args:
        step: from 0.
        steps: of the whole run.
        warmup: share of the steps.
    """
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
