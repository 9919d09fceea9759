"""Cold start: what loading a file and running it once costs in time and memory, in a process that did nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image

from conaclip_edge.benchmarks.measure.fresh_process import in_fresh_process, resident
from conaclip_edge.benchmarks.measure.models import Spec, open_model
from conaclip_edge.benchmarks.schema.row import Memory, Tower
from conaclip_edge.runtime.open_tower import open_tower

# what a runtime imports before it can load anything; not part of a file's own cost
LIBRARIES = {
    ".onnx": ("onnxruntime",),
    ".ort": ("onnxruntime",),
    ".pte": ("torch", "executorch.extension.pybindings._portable_lib"),
    "torch": ("torch", "transformers"),
}


@dataclass(frozen=True)
class ColdTower:
    """One file, loaded and run once.

    Attributes:
        load: milliseconds.
        first: milliseconds of the first call.
        peak: resident bytes of the process so far, at most.
    """

    load: float
    first: float
    peak: int


@dataclass(frozen=True)
class ColdStart:
    """Medians over fresh processes.

    Attributes:
        towers: of each exported file by itself; a model that is no exported file has none.
        memory: for the report.
    """

    towers: dict[Tower, ColdTower]
    memory: Memory


def measure_cold_start(spec: Spec, inputs: dict[Tower, np.ndarray], loads: int, threads: int = 1) -> ColdStart:
    """Load and run a candidate in fresh processes.

    Args:
        spec: the candidate.
        inputs: for exported files, one input of each tower that can be run.
        loads: how many processes for each exported file.
        threads: CPU threads.
    """
    if spec.kind != "files":
        # its memory alone is read, which hardly differs between processes
        peak, before = in_fresh_process(load_model, spec, threads, threads=threads)
        return ColdStart({}, Memory(image=None, text=None, both=peak, runtime=before))
    files = spec.files
    forward = [_files(files, inputs, tuple(files), threads) for _ in range(loads)]
    towers: dict[Tower, ColdTower] = {}
    for number, tower in enumerate(files):
        # the second file of a process finds the first one's memory in use, so it gets processes of its own
        runs = forward if number == 0 else [_files(files, inputs, (tower,), threads) for _ in range(loads)]
        towers[tower] = _median([run[0][0] for run in runs])
    both = _median([run[0][-1] for run in forward]).peak
    image, text = towers.get("image"), towers.get("text")
    runtime = int(np.median([run[1] for run in forward]))
    memory = Memory(image=image.peak if image else None, text=text.peak if text else None, both=both, runtime=runtime)
    return ColdStart(towers, memory)


def _files(
    files: dict[Tower, Path], inputs: dict[Tower, np.ndarray], order: tuple[Tower, ...], threads: int
) -> tuple[list[ColdTower], int]:
    paths, values = [files[tower] for tower in order], [inputs[tower] for tower in order]
    return in_fresh_process(load_files, paths, values, threads, threads=threads)


def _median(runs: list[ColdTower]) -> ColdTower:
    load, first, peak = np.median([(run.load, run.first, run.peak) for run in runs], axis=0).tolist()
    return ColdTower(load, first, int(peak))


def load_files(paths: list[Path], inputs: list[np.ndarray], threads: int) -> tuple[list[ColdTower], int]:
    """Load and run exported files one after the other, in this process.

    Args:
        paths: the files.
        inputs: one input of each.
        threads: CPU threads.

    Returns:
        What each cost, and the resident bytes before the first.
    """
    for path in paths:
        _import(path.suffix)
    runtime = resident()[0]
    costs = []
    towers = []
    for path, values in zip(paths, inputs, strict=True):
        started = time.perf_counter_ns()
        tower = open_tower(path, threads)
        loaded = time.perf_counter_ns()
        tower(values)
        done = time.perf_counter_ns()
        towers.append(tower)  # stays loaded, as in an app
        costs.append(ColdTower((loaded - started) / 1e6, (done - loaded) / 1e6, resident()[1]))
    return costs, runtime


def load_model(spec: Spec, threads: int) -> tuple[int, int]:
    """Load a model and run both towers once, in this process.

    Returns:
        The peak and the resident bytes before.
    """
    _import("torch")
    runtime = resident()[0]
    model = open_model(spec, threads)
    if model.image:
        model.embed_images([Image.new("RGB", (64, 64))])
    if model.text:
        model.embed_texts(["a"])
    return resident()[1], runtime


def _import(runtime: str) -> None:
    for name in LIBRARIES[runtime]:
        import_module(name)
