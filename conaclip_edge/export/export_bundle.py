"""From a checkpoint to a bundle: calibrate, export each target, run the files, keep what passes."""

from __future__ import annotations

import glob
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from conaclip_edge.bundle.golden import FOLDER, Golden, make_golden, read_golden, write_golden
from conaclip_edge.bundle.manifest import SCHEMA, Manifest
from conaclip_edge.bundle.model_card import model_card
from conaclip_edge.bundle.write import embedding_space, extendable, write_bundle
from conaclip_edge.config.data import DataConfig
from conaclip_edge.config.export import ExportConfig
from conaclip_edge.config.load import data_config
from conaclip_edge.data.load import read_pairs
from conaclip_edge.data.pairs import Pairs
from conaclip_edge.data.preprocess import describe
from conaclip_edge.errors import ConaclipError, GateFailed, UserError
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.export.export_target import Job, Outcome, begin_process, exporter, place, run_job, title
from conaclip_edge.export.gate.held_out import held_out
from conaclip_edge.export.quantize.calibration import Calibration, calibrate, make_calibration
from conaclip_edge.models.student.checkpoint import Student, load_student, parameter_counts
from conaclip_edge.system.files import atomic_folder, not_written, write_json
from conaclip_edge.system.locks import only_run
from conaclip_edge.system.processes import available_cores, processes
from conaclip_edge.system.progress import say
from conaclip_edge.system.version import __version__

# Measured peaks: libraries and their graphs take about so much, a tower's weights exist so many times at once.
_BASE_BYTES = 1_500_000_000
_COPIES = 12


@only_run
def export_bundle(
    checkpoint: Path,
    configs: Sequence[ExportConfig],
    out: Path,
    data: Path | None = None,
    replace: bool = False,
    list_sensitivity: bool = False,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Export a student to one or more targets and write, or extend, a bundle with the files that pass.

    Args:
        checkpoint: folder of the student.
        configs: one a target, no two of the same target, precision and backend; see `export_configs`.
        out: the bundle. One of the same student is extended.
        data: recipe or picture folder; None takes the data that the student was distilled on.
        replace: start the bundle anew even if one is there.
        list_sensitivity: list the damage of each layer for int8 targets.
        jobs: targets at a time; None as many as processors and free memory allow.

    Returns:
        {"bundle", "embedding_space", "digest", "dataset", "files": rows of this export, "targets": seconds, peak
        memory and sensitivity of each}.

    Raises:
        GateFailed: a target missed a bar; its files are in `<out>.rejected/<target>`, the others in the bundle.
        UserError: bad input, a missing toolchain, or data that are not there.
    """
    for config in configs:
        exporter(config.target)
    student = load_student(checkpoint)
    space = embedding_space(student)
    extended = extendable(out, space, replace)
    source = _data_config(checkpoint, data)
    pairs = _pairs(source, data)
    held = held_out(student, pairs, max(config.gate_pairs for config in configs), source)
    golden = read_golden(out / FOLDER) if extended else make_golden(student, held.examples, source.max_pixels)
    name = str(student.training.get("recipe", {}).get("name") or checkpoint.resolve().name)
    with _staging(out) as staging:
        todo = []
        workers = jobs or _workers(len(configs), student)
        threads = max(1, available_cores() // workers)
        for number, config in enumerate(configs):
            folder = staging / f"{number}-{place(config)}"
            folder.mkdir()
            calibration = _calibration(student, pairs, config, source)
            todo.append(Job(checkpoint, name, config, calibration, held, golden, folder, threads, list_sensitivity))
        outcomes = _run(todo, workers)
        passed = [outcome for outcome in outcomes if not outcome.failures]
        start, base = extended, out
        if start is None:
            start, base = _start(student, name, space, pairs), staging / "base"
            _write_base(base, student, golden)
        manifest = write_bundle(out, start, base, [one.export for one in passed], model_card) if passed else None
        for outcome in outcomes:
            _settle(outcome, out)
    failed = [outcome for outcome in outcomes if outcome.failures]
    if failed:
        raise GateFailed(_failure(failed, out, bool(passed)))
    assert manifest is not None
    return {
        "bundle": str(out),
        "embedding_space": space,
        "digest": manifest.digest,
        "dataset": {"name": held.dataset, "split": "val", "fingerprint": held.fingerprint, "left_out": held.left_out},
        "files": [file.model_dump(mode="json") for outcome in outcomes for file in outcome.export.files],
        "targets": {title(outcome.config): _costs(outcome) for outcome in outcomes},
    }


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


def export_table(report: dict[str, Any]) -> str:
    """Format a report of `export_bundle` for a terminal."""
    lines = [f"{'':36}{'MB':>8}{'of float':>10}{'cosine':>10}{'recall kept t2i / i2t':>24}  run"]
    for file in report["files"]:
        gate = file["gate"]
        kept = " / ".join(f"{100 * gate['alone']['relative_recall'][way]:.1f} %" for way in ("t2i", "i2t"))
        lines.append(
            f"{file['path']:36}{file['size'] / 1e6:>8.2f}{file['size'] / file['float_size']:>10.3f}"
            f"{gate['cosine']['mean']:>10.5f}{kept:>24}  {gate['executed']}"
        )
    for name, costs in report["targets"].items():
        took = f"exported in {costs['seconds']['export']} s, run in {costs['seconds']['gate']} s"
        lines.append(f"{name}: {took}, at most {costs['peak_rss_bytes'] / 1e9:.1f} GB of memory")
        lines += [f"  {layer:40}{damage:.2e}" for layer, damage in costs["sensitivity"].items()]
    lines.append(f"bundle in {report['bundle']}. Check it anywhere: conaclip-edge verify {report['bundle']}")
    return "\n".join(lines)


def rejected_folder(out: Path) -> Path:
    """Return where the files of a bundle go that do not pass."""
    return out.with_name(f"{out.name}.rejected")


def _run(jobs: list[Job], workers: int) -> list[Outcome]:
    """Run jobs in order, or side by side in fresh processes: the targets' libraries do not share one well."""
    if len(jobs) == 1:
        return [run_job(jobs[0])]
    say(f"exporting {len(jobs)} targets, {min(workers, len(jobs))} at a time")
    with processes(workers, begin_process, calls=1) as pool:
        futures = [pool.submit(run_job, job) for job in jobs]
        outcomes: list[Outcome] = []
        errors: list[ConaclipError] = []
        for future, job in zip(futures, jobs, strict=True):
            try:
                outcomes.append(future.result())
            except BrokenProcessPool:
                for other in futures:
                    other.cancel()
                raise UserError(
                    f"a process died while {title(job.config)} was exported, most likely for want of memory. "
                    "Export one target at a time."
                ) from None
            except ConaclipError as error:
                errors.append(error)
    if errors:
        raise errors[0]
    return outcomes


def _workers(count: int, student: Student) -> int:
    """Return how many targets fit beside each other: one a processor, and no more than memory holds."""
    need = _BASE_BYTES + _COPIES * 4 * parameter_counts(student.model)["all"]
    return max(1, min(count, available_cores(), free_memory() // need))


def free_memory() -> int:
    """Return the bytes of memory that are free or can be freed."""
    return int(psutil.virtual_memory().available)


def _data_config(checkpoint: Path, data: Path | None) -> DataConfig:
    return data_config(data) if data else recorded_data(checkpoint)


def _pairs(source: DataConfig, data: Path | None) -> Pairs:
    try:
        return read_pairs(source)
    except UserError as error:
        if data:
            raise
        raise UserError(
            f"the data that the student was distilled on cannot be read: {error} They calibrate and gate an export; "
            "pass --data RECIPE_OR_FOLDER if they are elsewhere."
        ) from error


def _calibration(student: Student, pairs: Pairs, config: ExportConfig, data: DataConfig) -> Calibration:
    size = student.model.config.image.size
    if config.precision != "int8":
        return make_calibration(np.zeros((0, 3, size, size), np.uint8), [])
    return calibrate(pairs, student.tokenizer, size, config.calibration_pairs, data.max_pixels)


def _start(student: Student, name: str, space: str, pairs: Pairs) -> Manifest:
    """Make the manifest of a bundle without files."""
    model = student.model.config
    return Manifest(
        schema=SCHEMA,
        name=name,
        embedding_space=space,
        embed_dim=model.embed_dim,
        image_size=model.image.size,
        context=model.text.context,
        vocab_size=model.text.vocab_size,
        eos_id=student.tokenizer.eos_id,
        pad_id=student.tokenizer.pad_id,
        licence=student.training.get("data", {}).get("licence") or pairs.licence,
        training=student.training,
        versions={package: version(package) for package in ("torch", "transformers", "numpy", "pillow", "tokenizers")}
        | {"conaclip-edge": __version__},
    )


def _write_base(folder: Path, student: Student, golden: Golden) -> None:
    """Write what a bundle holds beside the exported files."""
    folder.mkdir()
    shutil.copyfile(student.folder / "tokenizer.json", folder / "tokenizer.json")
    write_json(folder / "preprocess.json", describe(student.model.config.image.size))
    write_golden(golden, folder / FOLDER)


def _settle(outcome: Outcome, out: Path) -> None:
    """Put rejected files beside the bundle with their figures; forget older ones of a target that passed."""
    target = rejected_folder(out) / f"{place(outcome.config)}-{outcome.config.precision}"
    if not outcome.failures:
        shutil.rmtree(target, ignore_errors=True)
        return
    with atomic_folder(target) as folder:
        shutil.copytree(outcome.export.folder, folder, dirs_exist_ok=True)
        content = {
            "failures": outcome.failures,
            "files": [file.model_dump(mode="json") for file in outcome.export.files],
            **_costs(outcome),
        }
        write_json(folder / "rejected.json", content)


def _costs(outcome: Outcome) -> dict[str, Any]:
    return {
        "seconds": outcome.seconds,
        "peak_rss_bytes": outcome.peak_rss_bytes,
        "sensitivity": outcome.sensitivity,
    }


def _failure(failed: list[Outcome], out: Path, some_passed: bool) -> str:
    reasons = ". ".join(f"{title(outcome.config)}: {'; '.join(outcome.failures)}" for outcome in failed)
    rest = f" The targets that passed are in {out}." if some_passed else ""
    return f"{reasons}. The rejected files and their figures are in {rejected_folder(out)}.{rest}"
