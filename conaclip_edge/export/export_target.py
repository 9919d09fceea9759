"""One target of an export: write the files, run them, gate them. Runs in a process of its own beside other targets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from conaclip_edge.bundle.golden import Golden
from conaclip_edge.bundle.manifest import CalibrationSet, ExportedFile, Form, Gate, form_of
from conaclip_edge.bundle.write import TargetFiles
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.errors import ConaclipError
from conaclip_edge.export.gate.affordable import affordable
from conaclip_edge.export.gate.gate import (
    FileEmbeddings,
    compare_with_student,
    gate_failures,
    pair_failures,
    run_file,
    worst_layers,
)
from conaclip_edge.export.gate.held_out import HeldOut
from conaclip_edge.export.quantize.calibration import Calibration
from conaclip_edge.export.quantize.prepare import on_grids
from conaclip_edge.export.quantize.sensitivity import sensitivity
from conaclip_edge.export.quantize.smoothquant import smooth
from conaclip_edge.export.report import TargetCosts
from conaclip_edge.export.targets import Target
from conaclip_edge.export.towers.refused_layer import refusal
from conaclip_edge.export.towers.towers import OtherImageTower, build_towers
from conaclip_edge.models.student.checkpoint import load_student, parameter_counts
from conaclip_edge.runtime.open_tower import open_tower, suffixes_of
from conaclip_edge.system.peak_memory import forget_peak_memory, peak_memory
from conaclip_edge.system.processes import own_process
from conaclip_edge.system.progress import say

TowerName = Literal["image", "text"]
TOWERS: tuple[TowerName, ...] = ("image", "text")


@dataclass(frozen=True)
class TargetExport:
    """What the export of one target needs; it can be sent to another process.

    Attributes:
        checkpoint: folder of the student.
        name: of the student.
        target: row of the table of targets.
        config: target, precision and bars.
        calibration: train pairs; empty where the precision needs none.
        held: held-out pairs.
        golden: golden vectors.
        folder: an empty folder for the files.
        threads: CPU threads.
        list_sensitivity: list each layer's quantisation error even if the files pass.
    """

    checkpoint: Path
    name: str
    target: Target
    config: ExportConfig
    calibration: Calibration
    held: HeldOut
    golden: Golden
    folder: Path
    threads: int
    list_sensitivity: bool = False

    @property
    def title(self) -> str:
        """What the target is called in messages and reports."""
        return self.target.title_of(self.config)


@dataclass(frozen=True)
class TargetResult:
    """One exported target.

    Attributes:
        title: what it is called in messages and reports.
        files: what a bundle is extended by.
        failures: why the files do not pass the gate, one sentence for each file or tower; empty if they pass.
        costs: time, memory and sensitivity.
    """

    title: str
    files: TargetFiles
    failures: tuple[str, ...]
    costs: TargetCosts


def export_target(export: TargetExport) -> TargetResult:
    """Export both towers, run the files over held-out and golden inputs, and compare them with the student."""
    forget_peak_memory()  # of what ran in this process before
    torch.set_num_threads(export.threads)
    target, config, held = export.target, export.config, export.held
    student = load_student(export.checkpoint)
    parameters = parameter_counts(student.model)
    towers = build_towers(student.model, export.name, student.quantization)

    say(f"{export.title}: exporting")
    started = time.monotonic()
    try:
        notes = target.exporter()(towers, export.calibration, config, export.folder)
    except ConaclipError:
        raise
    except Exception as error:  # of a tower that no exporter was written for, converters make almost anything
        if not isinstance(towers.image, OtherImageTower):
            raise
        raise refusal(towers.image, towers.image_size, export.title, error) from error
    exported = time.monotonic()

    written = written_files(export)
    if open_tower(next(iter(written.values()))["image"], export.threads).executed == "executor":
        held = affordable(held, towers.image, towers.image_size)
    files: list[ExportedFile] = []
    failures: list[str] = []
    lost: dict[str, float] = {}  # tower -> 1 - mean cosine, of the towers that fail
    ran: dict[Path, FileEmbeddings] = {}
    for suffix, paths in written.items():
        say(f"{export.title}: running {suffix} files on {len(held.pictures)} pictures, {len(held.texts)} captions")
        new = {tower: path for tower, path in paths.items() if path not in ran}
        for tower, path in new.items():
            runtime, label = open_tower(path, export.threads), f"{export.title}: {path.name}"
            ran[path] = run_file(runtime, tower, held, export.golden, student.tokenizer.pad_id, label)
        outputs: dict[str, FileEmbeddings] = {tower: ran[path] for tower, path in paths.items()}
        gates = compare_with_student(outputs, held, export.golden, on_grids(towers, config))
        failed = False
        for tower, path in new.items():
            gate = gates[tower]
            files.append(_manifest_entry(export, path, tower, parameters[tower], notes, gate))
            if found := gate_failures(gate, tower, config, export.golden):
                failed = True
                failures.append(f"{path.name}: {', '.join(found)}")
                lost[tower] = max(lost.get(tower, 0.0), 1 - gate.cosine.mean)
        if not failed and (found := pair_failures(gates["image"], config)):
            failures.append(f"both {suffix} files together: {', '.join(found)}")
            lost |= {tower: 1 - gate.cosine.mean for tower, gate in gates.items()}

    errors: dict[str, float] = {}
    if config.precision == "int8" and (lost or export.list_sensitivity):
        errors = sensitivity(smooth(towers, export.calibration, config.smoothing), export.calibration)
        failures += [f"{tower} tower: {worst_layers(errors, tower, value)}" for tower, value in lost.items()]
    seconds = {"export": round(exported - started, 1), "gate": round(time.monotonic() - exported, 1)}
    return TargetResult(
        export.title,
        TargetFiles(export.folder, target.folder_of(config), tuple(files)),
        tuple(failures),
        TargetCosts(seconds=seconds, peak_rss_bytes=peak_memory(), own_process=own_process(), sensitivity=errors),
    )


def written_files(export: TargetExport) -> dict[str, dict[TowerName, Path]]:
    """Return suffix -> tower -> file of what an exporter wrote and a runtime opens.

    Suffixes of a form, such as ".accelerator.onnx", come behind those without; a tower that has no file in the form is
    represented by the one without.
    """
    found: dict[str, dict[TowerName, Path]] = {}
    formed: dict[str, dict[TowerName, Path]] = {}
    for suffix in suffixes_of(export.target.name):
        paths = {tower: export.folder / f"{tower}.{export.config.precision}{suffix}" for tower in TOWERS}
        if any(path.exists() for path in paths.values()):
            found[suffix] = paths
        for form in get_args(Form):
            of_form = {tower: path.with_suffix(f".{form}{suffix}") for tower, path in paths.items()}
            if there := {tower: path for tower, path in of_form.items() if path.exists()}:
                formed[f".{form}{suffix}"] = paths | there
    assert found, f"the exporter of {export.target.name} left no file that can be run in {export.folder}"
    return found | formed


def _manifest_entry(
    export: TargetExport, path: Path, tower: TowerName, parameters: int, notes: dict[str, Any], gate: Gate
) -> ExportedFile:
    target, config, calibration = export.target, export.config, export.calibration
    form = form_of(path.name)
    of_both = {key: value for key, value in notes.items() if key.partition(".")[0] not in TOWERS}
    of_tower = of_both | notes.get(f"{tower}.{form}" if form else tower, {})
    return ExportedFile(
        path=f"{target.folder_of(config)}/{path.name}",
        target=target.name,
        precision=config.precision,
        tower=tower,
        backend=target.backend_of(config),
        size=sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file()),
        float_size=4 * parameters,
        settings=config.model_dump(mode="json", exclude={"target", "precision", "backend"}),
        notes={key: value for key, value in of_tower.items() if key != "seconds"},  # which differ from run to run
        calibration=_calibration_set(calibration),
        gate=gate,
        form=form,
    )


def _calibration_set(calibration: Calibration) -> CalibrationSet | None:
    if not len(calibration):
        return None
    few = 0 < len(calibration.rows) < len(calibration) or calibration.texts_from == "phrases"
    return CalibrationSet(
        sha256=calibration.sha256,
        pairs=len(calibration),
        pictures=len(calibration.rows) if few else None,
        texts_from="phrases" if calibration.texts_from == "phrases" else None,
    )
