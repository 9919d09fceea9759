"""An ONNX file with the inputs that a client gives it, run by onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as status

from conaclip_edge.runtime.onnx_tower import PRECISE, overflows

# onnxruntime has an exception type for each of its status codes; these are of a model that does not take its inputs
_REFUSED = (status.Fail, status.InvalidArgument, status.InvalidGraph, status.NotImplemented, status.RuntimeException)


class OnnxFile:
    """A loaded file. Its arithmetic is that of processors whose 8-bit sums do not overflow, as `OnnxTower`'s is.

    Args:
        model: a file, or the bytes of one.
        library: of operators that are not onnxruntime's own.
    """

    def __init__(self, model: Path | bytes, library: str | None = None):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        if overflows():
            options.add_session_config_entry(*PRECISE)
        if library:
            options.register_custom_ops_library(library)
        given = model if isinstance(model, bytes) else str(model)
        self._session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])

    def __call__(self, inputs: Mapping[str, np.ndarray], output: str | None = None) -> np.ndarray:
        """Return one output for named inputs.

        Args:
            inputs: one array for each input of the file.
            output: name of it; None takes the first.
        """
        found: np.ndarray = self._session.run([output] if output else None, dict(inputs))[0]
        return found

    @classmethod
    def attempt(cls, model: bytes, inputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Run a model that may not take such inputs; None where it does not."""
        try:
            return cls(model)(inputs)
        except _REFUSED:
            return None
