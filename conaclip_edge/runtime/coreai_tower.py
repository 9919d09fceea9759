"""Core AI assets: run by Apple's own runtime; off a Mac by the executor of its package, which computes on the CPU."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.tower import Executed
from conaclip_edge.system.progress import quiet

_PROGRAM, _HASH = "main.mlirb", "main.hash"
_ONE_LENGTH = re.compile(r"main_length_(\d+)")


class CoreaiTower:
    """A tower in an .aimodel, which takes one sample per call: a batch runs one after the other.

    Attributes:
        executed: "native" on macOS 27, by the system's framework; elsewhere "executor": that of Apple's package, on the
            CPU. It takes many times as long as a device, so its time says nothing.
        lengths: of texts whose functions take one length each, in rising order; None for any and for pictures.
        batch: 1: samples of one call.
    """

    executed: Executed
    lengths: tuple[int, ...] | None
    batch = 1

    def __init__(self, path: Path, threads: int = 1):
        """Load an asset.

        Args:
            path: the .aimodel folder.
            threads: are the runtime's choice.

        Raises:
            UserError: no such asset, one that is damaged, or of another form than a tower's.
        """
        _check(path)
        self._path = path
        # outside of quiet, which would hide what is missing
        from coreai.authoring import AIModelAsset
        from coreai.runtime import _use_os_coreai

        self.executed = "native" if _use_os_coreai else "executor"
        try:
            with quiet():
                self._functions: dict[int | None, Any] = asyncio.run(_load(AIModelAsset.load(path)))
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"Core AI's runtime cannot load {path}: {_first_line(error)}") from error
        if not self._functions:
            raise UserError(f"{path} has no function main; a tower has one.")
        lengths = [length for length in self._functions if length is not None]
        self.lengths = tuple(sorted(lengths)) if lengths else None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map pixel_values float32 [B, 3, H, W] or input_ids int32 [B, L] to unit vectors float32 [B, d].

        Raises:
            UserError: a shape that the asset does not take.
        """
        given = np.ascontiguousarray(values, dtype=np.int32 if values.ndim == 2 else np.float32)
        function = self._functions.get(given.shape[-1] if self.lengths else None)
        shape = " x ".join(map(str, given.shape))
        if function is None:
            raise UserError(f"{self._path.name} takes texts of {self.lengths} ids, got {shape}.")
        try:
            return np.concatenate(asyncio.run(_run(function, given)))
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self._path.name} does not take {shape}: {_first_line(error)}") from error


def _check(path: Path) -> None:
    """Compare the program with its hash: the runtime does not, and other bytes can end the process."""
    try:
        program, stored = (path / _PROGRAM).read_bytes(), (path / _HASH).read_bytes()
    except OSError as error:
        raise UserError(f"{path} is no Core AI asset: {error.strerror} ({error.filename}).") from error
    if hashlib.sha256(program).digest() != stored:
        raise UserError(f"{path / _PROGRAM} is damaged: its SHA-256 is not that of {_HASH}.")


async def _load(asset: Any) -> dict[int | None, Any]:
    """Return the functions of a tower by the length that they take, None for any; they outlive the model."""
    async with asset.executable() as model:
        found: dict[int | None, Any] = {}
        for name in model.function_names:
            one = _ONE_LENGTH.fullmatch(name)
            if name == "main" or one:
                found[int(one[1]) if one else None] = model.load_function(name)
        return found


async def _run(function: Any, values: np.ndarray) -> list[np.ndarray]:
    from coreai.runtime import NDArray

    ((name,), (output,)) = function.desc.input_names, function.desc.output_names
    embeddings = []
    for row in range(len(values)):
        given = NDArray(values[row : row + 1])
        # the runtime's memory is its own
        embeddings.append(np.array((await function({name: given}))[output].numpy(), dtype=np.float32, copy=True))
    return embeddings


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0][:300]
