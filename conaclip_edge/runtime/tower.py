"""What every runtime gives: one exported tower as a function of numpy arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from conaclip_edge.errors import UserError

Executed = Literal["native", "reference"]


class Tower(Protocol):
    """One exported tower, loaded.

    Attributes:
        executed: "native" if the platform's own runtime runs the file, "reference" if our interpreter does.
        lengths: text lengths that the file accepts, in rising order, or None for any (2..context).
    """

    executed: Executed
    lengths: tuple[int, ...] | None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map pixel_values float32 [B, 3, H, W] or input_ids int32 [B, L] to unit vectors float32 [B, d]."""
        ...


def open_tower(path: Path, threads: int = 1) -> Tower:
    """Load an exported tower with the runtime that fits its suffix.

    Args:
        path: .onnx, .ort, .mlpackage or .pte.
        threads: CPU threads of the runtime.
    """
    if not path.exists():
        raise UserError(f"no exported tower at {path}.")
    if path.suffix in (".onnx", ".ort"):
        from conaclip_edge.runtime.onnx import OnnxTower

        return OnnxTower(path, threads)
    if path.suffix == ".mlpackage":
        from conaclip_edge.runtime.coreml import open_coreml

        return open_coreml(path, threads)
    if path.suffix == ".pte":
        from conaclip_edge.runtime.executorch import ExecutorchTower

        return ExecutorchTower(path, threads)
    raise UserError(f"no runtime for {path.name}. Known: .onnx, .ort, .mlpackage, .pte.")
