"""ExecuTorch programs: run by its own runtime; those of the Core ML delegate by the reference interpreter."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.tower import Executed
from conaclip_edge.system.extras import extras_needed, not_installed
from conaclip_edge.system.progress import quiet

_loaded: weakref.WeakSet[Any] = weakref.WeakSet()  # native programs of this process


class ExecutorchTower:
    """A tower in a .pte file, which takes one sample a call: a batch runs one after the other.

    Attributes:
        executed: "native", or "reference" for a program of the Core ML delegate, which runs on Apple devices alone.
        lengths: None: texts of any length up to the context.
        batch: 1: samples of one call of the program.
    """

    executed: Executed
    lengths: tuple[int, ...] | None = None
    batch = 1

    def __init__(self, path: Path, threads: int = 1):
        self._path = path
        if b"CoreMLBackend" in path.read_bytes():
            self.executed, self._run = "reference", _coreml(path, threads)
        else:
            self.executed, self._run = "native", load_program(path, threads)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map pixel_values float32 [B, 3, H, W] or input_ids int32 [B, L] to unit vectors float32 [B, d].

        Raises:
            UserError: a shape that the program does not take.
        """
        given = np.ascontiguousarray(values, dtype=np.int32 if values.ndim == 2 else np.float32)
        try:
            return np.concatenate([self._run(given[row : row + 1]) for row in range(len(given))])
        # its own, and what numpy says of results that are no embeddings
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            shape = " x ".join(map(str, given.shape))
            raise UserError(f"{self._path.name} does not take {shape}: {_first_line(error)}") from error


def load_program(path: Path, threads: int = 1) -> Callable[..., np.ndarray]:
    """Load a program that this machine runs.

    Args:
        path: the .pte file.
        threads: of the process's pool.

    Returns:
        A function of one array per input, contiguous and of the types that the program takes, to its first output.

    Raises:
        UserError: executorch refuses the file, or other programs are loaded with another number of threads.
    """
    if find_spec("executorch") is None:  # asked first: where PyTorch is missing too, its extra would not be enough
        raise not_installed("executorch")
    with quiet(), extras_needed():
        import torch  # whose libraries the next one needs

        # its public face, portable_lib, imports the whole exporter to warn of itself: 8 s
        from executorch.extension.pybindings import _portable_lib

    try:
        with quiet():
            _use_threads(threads)
            program = _portable_lib._load_for_executorch(str(path))
            program.method_meta("forward")
    except RuntimeError as error:
        raise UserError(f"executorch cannot load {path}: {_first_line(error)}") from error

    _loaded.add(program)

    def run(*inputs: np.ndarray) -> np.ndarray:
        # the runtime reuses its output memory in the next call
        embedding: np.ndarray = program.forward(tuple(torch.from_numpy(one) for one in inputs))[0].numpy().copy()
        return embedding

    return run


def _use_threads(threads: int) -> None:
    """Set the thread pool of the process, which loaded programs point at: changing it under them would crash."""
    from executorch.extension.pybindings._portable_lib import _threadpool_get_thread_count, _unsafe_reset_threadpool

    if _threadpool_get_thread_count() == threads:
        return
    if len(_loaded):
        raise UserError(
            f"executorch has one thread pool a process, now of {_threadpool_get_thread_count()} threads; programs are "
            f"loaded that use it, so it cannot get {threads}. Load them in another process."
        )
    _unsafe_reset_threadpool(threads)


def _coreml(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    from conaclip_edge.runtime.coreml_tower import open_coreml
    from conaclip_edge.runtime.mil.executorch_delegates import unpack_delegates

    with tempfile.TemporaryDirectory() as folder:
        packages = unpack_delegates(path, Path(folder))
        if len(packages) > 1:
            raise UserError(
                f"{path} has {len(packages)} Core ML delegates; the interpreter runs programs of one alone."
            )
        return open_coreml(packages[0], threads)


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0][:300]
