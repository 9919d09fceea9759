"""One exported tower run on a device: embeddings of inputs, instructions of a call, memory."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conaclip_edge.errors import UserError
from conaclip_edge.runtime.emulated import worker
from conaclip_edge.runtime.emulated.device import Device
from conaclip_edge.runtime.emulated.qemu import counted_into
from conaclip_edge.runtime.open_tower import runtime_of

BLOCKS, CALLS = 5, (1, 3)  # how often a call is counted, and the two lengths whose difference is taken
_WARMUP = 2
_LEAST_BLOCKS, _ENOUGH = 3, 60.0  # of a large tower, after so many seconds
_LEAST_MARKS = 3 + 3 * _LEAST_BLOCKS  # before and after loading, after the first call; three per block
_SPACE = "Free some space, or let TMPDIR name a folder on another disk."
_LIMIT = 1800.0  # seconds; a runtime that waits for ever is ended
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Instructions:
    """Instructions of one call, by runs of two lengths: what starting and ending takes is in neither.

    Attributes:
        per_call: one count per block of the two runs.
        load: of loading the file.
        first: of the first call.
    """

    per_call: tuple[float, ...]
    load: int
    first: int

    @property
    def median(self) -> float:
        """The median of the blocks."""
        return statistics.median(self.per_call)


@dataclass(frozen=True)
class TowerRun:
    """What a tower gave.

    Attributes:
        embeddings: float32 [m, d] of the first m inputs.
        runtime_bytes: peak of the process before the file was loaded: interpreter, numpy, runtime (and emulator).
        peak_bytes: peak after it ran.
        instructions: None where they cannot be counted.
    """

    embeddings: np.ndarray
    runtime_bytes: int
    peak_bytes: int
    instructions: Instructions | None


def run_tower(
    device: Device,
    file: Path,
    inputs: np.ndarray | Sequence[np.ndarray],
    counted: int | None = None,
    seconds: float = float("inf"),
    least: int = 1,
) -> TowerRun:
    """Run a tower on one thread over inputs, one per call.

    Args:
        device: where.
        file: .onnx, .ort or .pte.
        inputs: pixels uint8 [n, 3, H, W], or rows of int32 ids.
        counted: which input the instructions are counted with; None counts none.
        seconds: after which no further input is embedded.
        least: inputs that are embedded whatever time it takes.

    Raises:
        UserError: the runtime refuses the file or an input, or dies of it.
    """
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as name:
        folder = Path(name)
        pixels = isinstance(inputs, np.ndarray)
        request = {
            "file": str(folder / f"tower{file.suffix}"),  # of one length whatever the bundle's path is
            "sites": device.sites[runtime_of(file).target],
            "ends": [] if pixels else np.cumsum([len(ids) for ids in inputs]).tolist(),
            "seconds": min(seconds, 1e9),
            "least": least,
            "count": counted is not None and device.counts,
            "counted": counted,
            "precise": device.name == "x86-64",  # it has AVX2 without VNNI
            "warmup": _WARMUP,
            "blocks": BLOCKS,
            "least_blocks": _LEAST_BLOCKS,
            "enough": _ENOUGH,
            "calls": CALLS,
        }
        try:
            (folder / f"tower{file.suffix}").symlink_to(file.resolve())
            np.save(folder / "inputs.npy", inputs if pixels else np.concatenate(inputs), allow_pickle=False)
            (folder / "request.json").write_text(json.dumps(request), "utf-8")
        except OSError as error:
            raise UserError(
                f"cannot write the inputs of {file.name} into {folder}: {error.strerror}. {_SPACE}"
            ) from error
        counts = folder / "counts"
        _call([*counted_into(device.command, counts), worker.__file__, str(folder)], file, device)
        try:
            with np.load(folder / "reply.npz", allow_pickle=False) as reply:
                embeddings, (before, highest) = reply["embeddings"], reply["memory"]
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{file.name} gave nothing on {device.label}: {error}.") from error
        marks = [int(line) for line in counts.read_text().split()] if request["count"] else None
    if marks is not None and (len(marks) < _LEAST_MARKS or len(marks) % 3):
        raise UserError(f"{file.name} was not counted on {device.label}: {len(marks)} marks were written. {_SPACE}")
    return TowerRun(embeddings, int(before), int(highest), None if marks is None else _instructions(marks))


def _instructions(marks: Sequence[int]) -> Instructions:
    loading, loaded, ran, *rest = marks
    blocks = [rest[at : at + 3] for at in range(0, len(rest), 3)]
    short, long = CALLS
    per_call = tuple(((after - middle) - (middle - begin)) / (long - short) for begin, middle, after in blocks)
    return Instructions(per_call, loaded - loading, ran - loaded)


def _call(command: list[str], file: Path, device: Device) -> None:
    # the system's own settings (PYTHONPATH and the like) are not for a Python of another machine
    # and what moves its memory or its tables about would move the counts
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", **_THREADS}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment, timeout=_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{file.name} did not end within {_LIMIT:.0f} s on {device.label}.") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        ended = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
        raise UserError(
            f"{file.name} does not run on {device.label} ({ended}): {(lines or ['no reason given'])[-1][:300]}"
        )
