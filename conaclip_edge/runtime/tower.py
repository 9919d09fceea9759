"""What every runtime gives: one exported tower as a function of numpy arrays."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

# native: the platform's own runtime. executor: the platform's own code on another platform, for figures but no times.
# reference: this project's interpreter.
Executed = Literal["native", "executor", "reference"]


class Tower(Protocol):
    """One exported tower, loaded.

    Attributes:
        executed: what runs the file.
        lengths: text lengths that the file accepts, in rising order, or None for any (2..context).
    """

    executed: Executed
    lengths: tuple[int, ...] | None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map pixel_values float32 [B, 3, H, W] or input_ids int32 [B, L] to unit vectors float32 [B, d]."""
        ...
