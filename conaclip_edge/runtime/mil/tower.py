"""The reference interpreter as a function of one array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from conaclip_edge.runtime.mil.program import MilProgram


def reference(path: Path, name: str, output: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Load a package with one input into the interpreter: an array of a declared shape to the output in float32.

    Args:
        path: the .mlpackage.
        name: of the input.
        output: name of the output.
        threads: torch's, for the whole process.
    """
    torch.set_num_threads(max(1, threads))
    program = MilProgram(path)
    return lambda values: program({name: values})[output].astype(np.float32, copy=False)
