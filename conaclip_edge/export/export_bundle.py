"""From a checkpoint to a bundle: calibrate, export each target, run the files, keep what passes."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace as replace_fields
from pathlib import Path

import numpy as np

from conaclip_edge.bundle.golden import FOLDER, make_golden, read_golden
from conaclip_edge.bundle.held_out_pairs import draw_pairs
from conaclip_edge.bundle.write import embedding_space, extendable, start_bundle, write_bundle
from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.config.load import data_config
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import Preprocess
from conaclip_edge.errors import GateFailed, UserError
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.export.export_target import TargetExport, TargetResult
from conaclip_edge.export.gate.held_out import held_out
from conaclip_edge.export.quantize.calibration import calibrate, make_calibration
from conaclip_edge.export.report import ExportReport, GateData, RejectedTarget
from conaclip_edge.export.run_targets import run_targets, targets_at_a_time
from conaclip_edge.export.targets import find_target
from conaclip_edge.models.student.checkpoint import Student, load_student, parameter_counts
from conaclip_edge.system.files import atomic_folder, not_written, write_json
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.processes import available_cores
from conaclip_edge.system.products import REJECTED
from conaclip_edge.system.progress import say


@only_run
def export_bundle(
    checkpoint: Path,
    configs: Sequence[ExportConfig],
    out: Path,
    data: Path | DataConfig | None = None,
    replace: bool = False,
    list_sensitivity: bool = False,
    jobs: int | None = None,
    skipped: Sequence[str] = (),
) -> ExportReport:
    """Export a student to one or more targets and write, or extend, a bundle with the files that pass.

    Args:
        checkpoint: folder of the student.
        configs: one per target, no two of the same target, precision and backend; see `export_configs`.
        out: the bundle. One of the same student is extended.
        data: recipe or picture folder; None takes the data that the student was distilled on.
        replace: start a new bundle even if one is there.
        list_sensitivity: list the quantisation error of each layer for int8 targets.
        jobs: targets at a time; None as many as processors and free memory allow; 0 exports one after another in this
            process, where a debugger can follow.
        skipped: what was asked for and is not in `configs`, a sentence each; goes into the report.

    Raises:
        GateFailed: a target missed a bar; its files are in `<out>.rejected/<target>`, the others in the bundle.
        UserError: bad input, a missing toolchain, or data that are not there.
    """
    for each in skipped:
        say(each)
    targets = [find_target(config) for config in configs]
    for target in targets:
        target.exporter()  # a missing package is reported before any work

    student = _with_place(load_student(checkpoint), out)
    name = str(student.training.get("recipe", {}).get("name") or checkpoint.resolve().name)
    if "adopted" in student.training:
        say(f"exporting {name} as it is (no distillation record)")
    space = embedding_space(student)
    extended = extendable(out, space, replace)

    source, pairs = _read_data(checkpoint, data)
    preprocess = Preprocess.of(student.model.config.image)
    nothing = make_calibration(np.zeros((0, 3, preprocess.size, preprocess.size), np.uint8), [])
    counts = {config.calibration_pairs for config in configs if config.precision == "int8"}
    calibrations = {
        count: calibrate(pairs, student.tokenizer, preprocess, count, source.max_pixels) for count in counts
    }
    calibrated = {row for calibration in calibrations.values() for row in calibration.rows}
    most = max(config.gate_pairs for config in configs)
    held = held_out(student, pairs, most, source, calibrated=calibrated)
    golden = read_golden(out / FOLDER) if extended else make_golden(student, held.examples, source.max_pixels)

    workers = targets_at_a_time(len(configs), parameter_counts(student.model)["all"]) if jobs is None else jobs
    threads = max(1, available_cores() // max(1, workers))
    with _staging(out) as staging:
        exports = []
        for number, (target, config) in enumerate(zip(targets, configs, strict=True)):
            folder = staging / f"{number}-{target.folder_of(config)}"
            folder.mkdir()
            calibration = calibrations[config.calibration_pairs] if config.precision == "int8" else nothing
            exports.append(
                TargetExport(
                    checkpoint, name, target, config, calibration, held, golden, folder, threads, list_sensitivity
                )
            )
        results = run_targets(exports, workers)
        passed = [result.files for result in results if not result.failures]
        manifest, base = extended, out
        if manifest is None:
            base = staging / "base"
            fit = held.targets is None and "train" not in held.split  # pairs that the student was not trained on
            drawn = draw_pairs(held.texts, held.pictures, held.caption_to_image) if fit else None
            manifest = start_bundle(base, student, name, space, pairs.licence, golden, drawn)
        if passed:
            manifest = write_bundle(out, manifest, base, passed)
        for export, result in zip(exports, results, strict=True):
            _keep_rejected(export, result, out)
    failed = [result for result in results if result.failures]
    if failed:
        raise GateFailed(_gate_message(failed, out, bool(passed)))
    return ExportReport(
        bundle=out,
        embedding_space=space,
        digest=manifest.digest,
        dataset=GateData(name=held.dataset, split=held.split, fingerprint=held.fingerprint, left_out=held.left_out),
        files=tuple(file for files in passed for file in files.files),
        targets={result.title: result.costs for result in results},
        checkpoint=checkpoint,
        skipped=tuple(skipped),
    )


def rejected_folder(out: Path) -> Path:
    """Return where the files of a bundle go that do not pass."""
    return out.with_name(f"{out.name}.rejected")


def _with_place(student: Student, out: Path) -> Student:
    """Let the record of a model that was not distilled here say where it lies, as seen from the bundle."""
    adopted = student.training.get("adopted")
    if not adopted:
        return student
    place = os.path.relpath(student.folder.resolve(), out.resolve().parent)
    return replace_fields(student, training=student.training | {"adopted": adopted | {"checkpoint": place}})


def _read_data(checkpoint: Path, data: Path | DataConfig | None) -> tuple[DataConfig, Pairs]:
    """Read the data that calibrate and gate an export: those given, or those that the student was distilled on."""
    if data:
        source = data if isinstance(data, DataConfig) else data_config(data)
        return source, read_pairs(source, captions_needed=False)
    source = recorded_data(checkpoint)
    try:
        return source, read_pairs(source, captions_needed=False)
    except UserError as error:
        raise UserError(
            f"the data that the student was distilled on cannot be read: {error} They calibrate and gate an export; "
            "pass --data RECIPE_OR_FOLDER if they are elsewhere."
        ) from error


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """Yield a folder beside a bundle for files that are being made; what a killed export left there is removed."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.export"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".export", dir=out.parent) as folder:
            yield Path(folder)
    except OSError as error:  # from any of the exporters
        raise not_written(out, error) from error


def _keep_rejected(export: TargetExport, result: TargetResult, out: Path) -> None:
    """Put rejected files beside the bundle with their figures; remove older ones of a target that passed."""
    folder = rejected_folder(out) / f"{result.files.folder}-{export.config.precision}"
    if not result.failures:
        if (folder / "rejected.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
        return
    rejected = RejectedTarget(failures=result.failures, files=result.files.files, **dict(result.costs))
    with atomic_folder(folder, REJECTED) as staging:
        shutil.copytree(export.folder, staging, dirs_exist_ok=True)
        write_json(staging / "rejected.json", rejected.model_dump(mode="json"))


def _gate_message(failed: list[TargetResult], out: Path, some_passed: bool) -> str:
    reasons = ". ".join(f"{result.title}: {'; '.join(result.failures)}" for result in failed)
    rest = f" The targets that passed are in {out}." if some_passed else ""
    return (
        f"{reasons}. The rejected files and their figures are in {rejected_folder(out)}.{rest} What loses too much in "
        "int8 may pass with --precision fp16 or fp32; a bar is lowered by --set, such as min_cosine=0.99."
    )
