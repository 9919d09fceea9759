"""onnxruntime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.instruction_sets import instruction_sets
from conaclip_edge.runtime.tower import Executed

# Products are then of uint8 and uint8, which are added in 32 bits. Only where the others overflow (see `overflows`):
# with VNNI it takes twice the time.
PRECISE = ("session.x64quantprecision", "1")
_TYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32}


class OnnxTower:
    """A tower in a .onnx or .ort file.

    Attributes:
        executed: "native".
        lengths: None for texts of any length up to the context; the length of a file that takes one.
        batch: pictures or texts of one call, None for any number; more than a file takes run one after the other.
    """

    executed: Executed = "native"
    lengths: tuple[int, ...] | None

    def __init__(self, path: Path, threads: int = 1):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if overflows():
            if cannot_be_precise(path):
                raise UserError(
                    f"{path} would be computed wrongly on this processor, which has AVX2 without VNNI: sums of 8-bit "
                    "products overflow there. Take the .onnx file beside it, which onnxruntime loads in a precise mode."
                )
            options.add_session_config_entry(*PRECISE)
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has an exception type for each of its status codes
            raise UserError(f"onnxruntime {ort.__version__} cannot load {path}: {_first_line(error)}") from error
        self._path = path
        self._input = self._session.get_inputs()[0]
        first, *rest = [size if isinstance(size, int) else None for size in self._input.shape] or [None]
        self.batch = first
        self.lengths = (rest[0],) if len(rest) == 1 and rest[0] is not None else None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map pixel_values float32 [B, 3, H, W] or input_ids int32 [B, L] to unit vectors float32 [B, d].

        Raises:
            UserError: a shape that the tower does not take.
        """
        given = np.ascontiguousarray(values, dtype=_TYPES[self._input.type])
        singly = self.batch == 1 and len(given) > 1
        try:
            if singly:
                return np.concatenate([self._run(given[row : row + 1]) for row in range(len(given))])
            return self._run(given)
        except Exception as error:  # the same
            wanted = " x ".join(map(str, self._input.shape))
            raise UserError(
                f"{self._path.name} takes {self._input.name} of {wanted}, got {' x '.join(map(str, given.shape))}: "
                f"{_first_line(error)}"
            ) from error

    def _run(self, given: np.ndarray) -> np.ndarray:
        result: np.ndarray = self._session.run(None, {self._input.name: given})[0]
        return result


def overflows() -> bool:
    """Say whether this processor adds products of uint8 and int8 in 16 bits: x86 with AVX2 and without VNNI."""
    flags = instruction_sets()
    return "avx2" in flags and not flags & {"avx_vnni", "avx512_vnni"}


def cannot_be_precise(path: Path) -> bool:
    """Say whether a file has sums of 8-bit products that `PRECISE` does not reach: an .ort file is loaded as it is."""
    return path.suffix == ".ort" and b"QLinearConv" in path.read_bytes()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300]
