"""The benchmark on a device's kernels: embeddings, recall, instructions and memory of exported files; no times."""

from __future__ import annotations

import tempfile
from pathlib import Path

from conaclip_edge.benchmarks.emulated.held_out import HeldOut, read_held_out
from conaclip_edge.benchmarks.emulated.measure_tower import measure_tower
from conaclip_edge.benchmarks.measure.candidates import Candidate, comparisons, shipped
from conaclip_edge.benchmarks.measure.machine import environment
from conaclip_edge.benchmarks.measure.models import open_model
from conaclip_edge.benchmarks.measure.recall import dataset_of
from conaclip_edge.benchmarks.report.new_report import new_report
from conaclip_edge.benchmarks.report.write import write_report
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import OnDevice, ReportRow, Tower
from conaclip_edge.benchmarks.schema.row_ids import PLAIN, STUDENT
from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.data.load import read_pairs
from conaclip_edge.errors import UserError
from conaclip_edge.evaluation.evaluate import recorded_data
from conaclip_edge.runtime.emulated.device import PACKAGES, Device
from conaclip_edge.system.locks import only_run


@only_run
def benchmark_device(bundle: Path, suite: BenchmarkConfig, out: Path, device: Device) -> BenchmarkReport:
    """Run a bundle's files and the plain exports on a device and write report.json, report.md and report.html.

    Args:
        bundle: folder with manifest.json.
        suite: targets, precisions, data, split and plain exports; `emulated` says how long inputs are embedded.
        out: folder of the report.
        device: where the files are run.

    Raises:
        UserError: no bundle, none of its files runs there, or data or student that cannot be found.
    """
    here = environment()
    manifest = read_manifest(bundle)
    with tempfile.TemporaryDirectory(prefix="conaclip-edge-") as scratch:
        own = _own(bundle, manifest, suite, device)
        others = tuple(name for name in suite.comparison if name in ("student", *PLAIN))
        beside = comparisons(bundle, manifest, suite.model_copy(update={"comparison": others}), Path(scratch))
        candidates = [*own, *(one for one in beside if one.spec.row in PLAIN)]
        data = suite.data or recorded_data(bundle)
        pairs = read_pairs(data)
        opened = [*candidates, *(one for one in beside if one.spec.row == STUDENT)]
        encoders = {one.spec.row: open_model(one.spec, 1) for one in opened if one.runs}
        held_out = read_held_out(bundle, manifest, suite, pairs, data, encoders)
        rows = [_row(one, here.label, device, held_out, suite) for one in candidates]
    here = here.model_copy(update={"versions": here.versions | _versions(device)})
    dataset = dataset_of(pairs, suite.split, held_out.split, held_out.lengths) if held_out.ids else None
    report = new_report(bundle, manifest, suite, here, rows, dataset)
    write_report(report, out)
    return report


def _own(bundle: Path, manifest: Manifest, suite: BenchmarkConfig, device: Device) -> list[Candidate]:
    """Return the pairs of files of a bundle that run on a device.

    Raises:
        UserError: none does.
    """
    candidates = shipped(bundle, manifest, suite)
    refused = {path: device.refusal(path) for one in candidates for path in one.spec.files.values()}
    found = [one for one in candidates if not any(refused[path] for path in one.spec.files.values())]
    if not found:
        reasons = "; ".join(sorted(set(refused.values())))
        raise UserError(f"no file of {bundle} runs on {device.label}: {reasons}.")
    return found


def _row(candidate: Candidate, host: str, device: Device, held_out: HeldOut, suite: BenchmarkConfig) -> ReportRow:
    """Measure the towers of a pair of files; a plain export that does not run there is a note, one of ours an error."""
    towers: dict[Tower, OnDevice] = {}
    notes = list(candidate.notes)
    for tower, path in candidate.spec.files.items():
        if refusal := device.refusal(path):
            notes.append(f"{tower} tower: {refusal}")
            continue
        try:
            towers[tower] = measure_tower(device, candidate, tower, held_out, suite.emulated.seconds)
        except UserError as error:
            if candidate.spec.shipped:
                raise
            notes.append(f"{tower} tower: {error}")
    return ReportRow(
        id=f"{candidate.spec.row}-{device.name}",
        label=candidate.label,
        group="files" if candidate.spec.shipped else "comparison",
        host=host,
        device=device.label,
        model=candidate.model,
        target=candidate.target,
        precision=candidate.precision,
        format=candidate.format,
        weights=candidate.weights,
        executed="emulated" if device.emulated else "native",
        size_bytes=candidate.sizes,
        recall=None,
        on_device=towers,
        notes=tuple(notes),
    )


def _versions(device: Device) -> dict[str, str]:
    """Return the versions that decide what was measured: of the emulator, and of the runtimes on the device."""
    emulators = {name: version for name, version in device.versions.items() if name.startswith("qemu")}
    runtimes = {
        f"{name} on {device.name}": device.versions[name]
        for name in ("python", *PACKAGES.values())
        if name in device.versions
    }
    return emulators | runtimes
