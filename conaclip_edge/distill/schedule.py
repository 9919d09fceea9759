"""The learning rate over a run."""

from __future__ import annotations

import math


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
