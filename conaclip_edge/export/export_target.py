"""One target of an export: write the files, run them, gate them. Runs in a process of its own beside other targets."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from conaclip_edge.bundle.golden import Golden
from conaclip_edge.bundle.manifest import CalibrationSet, ExportedFile
from conaclip_edge.bundle.write import Export
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import UserError
from conaclip_edge.export.gate.gate import Outputs, blame, measure, pair_shortfalls, run_file, shortfalls
from conaclip_edge.export.gate.held_out import HeldOut
from conaclip_edge.export.quantize.calibration import Calibration
from conaclip_edge.export.quantize.sensitivity import sensitivity
from conaclip_edge.export.quantize.smoothquant import smooth
from conaclip_edge.export.towers.towers import Towers, build_towers
from conaclip_edge.models.student.checkpoint import load_student, parameter_counts
from conaclip_edge.runtime.open_tower import open_tower
from conaclip_edge.system.progress import quiet_libraries, say

Exporter = Callable[[Towers, Calibration, ExportConfig, Path], dict[str, Any]]

# target -> the module that exports it, and the packages that it needs
EXPORTERS = {
    "onnx": ("conaclip_edge.export.onnx.export", "onnx onnxscript onnxruntime"),
    "executorch": ("conaclip_edge.export.executorch.export", "executorch torchao"),
    "coreml": ("conaclip_edge.export.coreml.export", "coremltools"),
}
TOWERS = ("image", "text")
_RUNNABLE = (".onnx", ".ort", ".pte", ".mlpackage")


@dataclass(frozen=True)
class Job:
    """What one target needs.

    Attributes:
        checkpoint: folder of the student.
        name: of the student.
        config: target, precision and bars.
        calibration: train pairs; empty where the precision needs none.
        held: held-out pairs.
        golden: golden vectors.
        folder: an empty folder for the files.
        threads: CPU threads.
        list_sensitivity: list each layer's damage even if the files pass.
    """

    checkpoint: Path
    name: str
    config: ExportConfig
    calibration: Calibration
    held: HeldOut
    golden: Golden
    folder: Path
    threads: int
    list_sensitivity: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one target.

    Attributes:
        config: of the job.
        export: the files with their rows.
        failures: why they do not pass, one sentence a file; empty if they do.
        sensitivity: layer -> damage, where it was asked for or helps to explain a failure.
        seconds: of exporting and of running the files.
        peak_rss_bytes: of the process so far.
    """

    config: ExportConfig
    export: Export
    failures: tuple[str, ...]
    sensitivity: dict[str, float]
    seconds: dict[str, float]
    peak_rss_bytes: int


def title(config: ExportConfig) -> str:
    """Name a target in messages."""
    return f"{place(config)} {config.precision}"


def place(config: ExportConfig) -> str:
    """Return the folder of a target in a bundle; ExecuTorch's second delegate has one of its own."""
    other = config.target == "executorch" and config.backend == "coreml"
    return "executorch-coreml" if other else config.target


def exporter(target: str) -> Exporter:
    """Return the function that exports a target.

    Raises:
        UserError: a package that it needs is not installed.
    """
    module, packages = EXPORTERS[target]
    try:
        found: Exporter = import_module(module).export
    except ImportError as error:
        raise UserError(
            f"target '{target}' cannot be exported on this host: {error}. Install it: pip install {packages}"
        ) from error
    return found


def run_job(job: Job) -> Outcome:
    """Export both towers, run the files over held-out and golden inputs, and compare them with the bars."""
    torch.set_num_threads(job.threads)
    config, label = job.config, title(job.config)
    student = load_student(job.checkpoint)
    towers = build_towers(student.model, job.name)
    pad_id, counts = student.tokenizer.pad_id, parameter_counts(student.model)
    say(f"{label}: exporting")
    started = time.monotonic()
    notes = exporter(config.target)(towers, job.calibration, config, job.folder)
    exported = time.monotonic()
    files: list[ExportedFile] = []
    failures: list[str] = []
    lost: dict[str, float] = {}
    for suffix, pair in written(job.folder, config).items():
        say(f"{label}: running {suffix} files on {len(job.held.pictures)} pictures, {len(job.held.texts)} captions")
        outputs = {tower: _outputs(path, tower, job, pad_id) for tower, path in pair.items()}
        gates = measure(outputs, job.held, job.golden)
        failed = False
        for tower, gate in gates.items():
            files.append(_row(job, pair[tower], tower, counts[tower], notes, gate))
            missed = shortfalls(gate, config, job.golden)
            if missed:
                failed = True
                failures.append(f"{pair[tower].name}: {', '.join(missed)}")
                lost[tower] = max(lost.get(tower, 0.0), 1 - gate.cosine.mean)
        if not failed and (missed := pair_shortfalls(gates["image"], config)):
            failures.append(f"both {suffix} files together: {', '.join(missed)}")
            lost |= {tower: 1 - gate.cosine.mean for tower, gate in gates.items()}
    damage: dict[str, float] = {}
    if config.precision == "int8" and (lost or job.list_sensitivity):
        damage = sensitivity(smooth(towers, job.calibration, config.smoothing), job.calibration)
        failures += [f"{tower} tower: {blame(damage, tower, value)}" for tower, value in lost.items()]
    return Outcome(
        config,
        Export(job.folder, place(config), tuple(files)),
        tuple(failures),
        damage,
        {"export": round(exported - started, 1), "gate": round(time.monotonic() - exported, 1)},
        peak_rss(),
    )


def written(folder: Path, config: ExportConfig) -> dict[str, dict[str, Path]]:
    """Return suffix -> tower -> file of what an exporter left in a folder and can be run."""
    found: dict[str, dict[str, Path]] = {}
    for suffix in _RUNNABLE:
        paths = {tower: folder / f"{tower}.{config.precision}{suffix}" for tower in TOWERS}
        if any(path.exists() for path in paths.values()):
            found[suffix] = paths
    assert found, f"the exporter of {config.target} left no file that can be run in {folder}"
    return found


def peak_rss() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def _outputs(path: Path, tower: str, job: Job, pad_id: int) -> Outputs:
    loaded = open_tower(path, job.threads)
    return run_file(loaded, tower, job.held, job.golden, pad_id, f"{title(job.config)}: {path.name}")


def _row(job: Job, path: Path, tower: Any, parameters: int, notes: dict[str, Any], gate: Any) -> ExportedFile:
    config, calibration = job.config, job.calibration
    return ExportedFile(
        path=f"{place(config)}/{path.name}",
        target=config.target,
        precision=config.precision,
        tower=tower,
        backend={"onnx": "onnxruntime", "coreml": "coreml", "executorch": config.backend}[config.target],
        size=size_of(path),
        float_size=4 * parameters,
        settings=config.model_dump(mode="json", exclude={"target", "precision", "backend"}),
        notes=_for_tower(notes, tower),
        calibration=CalibrationSet(sha256=calibration.sha256, pairs=len(calibration)) if len(calibration) else None,
        gate=gate,
    )


def _for_tower(notes: dict[str, Any], tower: str) -> dict[str, Any]:
    """Keep what an exporter says of one tower and of both, but for its timings, which differ from run to run."""
    both = {key: value for key, value in notes.items() if key not in TOWERS}
    merged = both | notes.get(tower, {})
    return {key: value for key, value in merged.items() if key != "seconds"}


def begin_process() -> None:
    """Keep libraries quiet in a process that runs beside others, and turn bars off: they would overwrite each other."""
    quiet_libraries()
    os.environ["TERM"] = "dumb"
