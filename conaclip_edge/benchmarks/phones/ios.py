"""An iPhone: what to run on a Mac that has one connected, and the import of what it measured."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from conaclip_edge.benchmarks.measure.candidates import Candidate, shipped
from conaclip_edge.benchmarks.phones.report import latency_of_calls, phone_report
from conaclip_edge.benchmarks.report_folder import default_report
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.parse import parse_json
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Latency, Tower
from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import atomic_folder, read_json
from conaclip_edge.system.products import PHONE_RECIPE
from conaclip_edge.system.result import Result

SCRIPT = "ios_measure.py"


class IosRecipe(Result):
    """What a Mac needs to time a bundle on an iPhone.

    Attributes:
        recipe: folder with the script and a README.md that says what to do.
        command: what to run on the Mac.
    """

    recipe: str
    command: str


class _Device(Result):
    name: str
    os: str


class _File(Result):
    path: str
    load_ms: tuple[float, ...] = Field(min_length=1)
    first_ms: float
    predict_ms: tuple[float, ...] = Field(min_length=2)


class _Measured(Result):
    schema_: Literal["conaclip-edge/ios/1"] = Field(alias="schema")
    embedding_space: str
    device: _Device
    coremltools: str
    compute_units: str
    warmup: int
    files: tuple[_File, ...]


def write_ios_recipe(bundle: Path, suite: BenchmarkConfig, out: Path) -> IosRecipe:
    """Write what a Mac needs to time a bundle on an iPhone.

    Args:
        bundle: folder with manifest.json and Core ML files.
        suite: precisions.
        out: folder for the recipe; an older one is replaced.

    Raises:
        UserError: no Core ML files in the bundle.
    """
    _coreml_candidates(bundle, read_manifest(bundle), suite)
    command = f"python {SCRIPT} {shlex.quote(bundle.name)} ios.json --team TEAM_ID"
    script = files("conaclip_edge.benchmarks.phones").joinpath(SCRIPT).read_text("utf-8")
    with atomic_folder(out, PHONE_RECIPE) as folder:
        (folder / SCRIPT).write_text(script, "utf-8")
        report = default_report(bundle) / "report.json"
        text = _RECIPE.format(bundle=bundle, name=bundle.name, command=command, report=report)
        (folder / "README.md").write_text(text, "utf-8")
    return IosRecipe(recipe=str(out), command=command)


def import_ios_result(bundle: Path, suite: BenchmarkConfig, out: Path, result: Path) -> BenchmarkReport:
    """Write a report of what a Mac measured on an iPhone.

    Args:
        bundle: folder with manifest.json and Core ML files.
        suite: precisions, and the limit of noise.
        out: folder of the report.
        result: the file that the Mac wrote.

    Returns:
        The report: rows with latency and size, no recall. Merge it with a host's report.

    Raises:
        UserError: no Core ML files in the bundle, or a result that is of another bundle or not what the script writes.
    """
    manifest = read_manifest(bundle)
    candidates = _coreml_candidates(bundle, manifest, suite)
    measured = _read(result, manifest)
    by_path = {file.path: file for file in measured.files}
    latencies: dict[str, dict[Tower, Latency]] = {}
    for candidate in candidates:
        for tower, path in candidate.spec.files.items():
            file = by_path.get(path.relative_to(bundle).as_posix())
            if file is None:
                continue
            latency = latency_of_calls(tower, 1, file.predict_ms, suite.rounds.noise)
            cold = {"cold_load": float(np.median(file.load_ms)), "first_call": file.first_ms, "warmup": measured.warmup}
            latencies.setdefault(candidate.spec.row, {})[tower] = latency.model_copy(update=cold)
    if not latencies:
        raise UserError(f"{result} has no times of the files in {bundle}.")
    environment = Environment(
        label=f"{measured.device.name}, {measured.device.os}",
        kind="host" if measured.device.name == "Mac" else "phone",
        cpu=f"{measured.device.name} (compute units: {measured.compute_units})",
        os=measured.device.os,
        versions={"coremltools": measured.coremltools},
    )
    notes = {row: ["run by Core ML, which chooses between CPU, GPU and Neural Engine"] for row in latencies}
    return phone_report(bundle, manifest, suite, environment, candidates, latencies, notes, out)


def _coreml_candidates(bundle: Path, manifest: Manifest, suite: BenchmarkConfig) -> list[Candidate]:
    return shipped(bundle, manifest, suite.model_copy(update={"targets": ("coreml",)}))


def _read(result: Path, manifest: Manifest) -> _Measured:
    values = read_json(result, "result of an iPhone")
    measured = parse_json(_Measured, values, str(result), f"A file that {SCRIPT} writes is needed.")
    if measured.embedding_space != manifest.embedding_space:
        raise UserError(
            f"{result} was measured on another student (embedding space {measured.embedding_space[:12]}.., the "
            f"bundle's is {manifest.embedding_space[:12]}..). Measure this bundle."
        )
    return measured


_RECIPE = """\
# Timing {name} on an iPhone

Core ML runs on Apple's systems only, so this part happens on a Mac with Xcode (16 or later) and an iPhone (iOS 17 or
later) on a cable, its developer mode on (Settings > Privacy & Security > Developer Mode).

1. Copy the bundle `{bundle}` and `{script}` to the Mac.
2. `pip install coremltools==9.0`
3. `{command}` (the ID of your development team is in Xcode > Settings > Accounts). coremltools builds its model runner
   app, installs it on the phone by `xcrun devicectl`, and times each file there. `--mac` measures the Mac instead.
4. Bring `ios.json` back: `conaclip-edge benchmark {bundle} --device ios --result ios.json --into {report}`
   puts its rows into the report of this machine, which then says what is the fastest on the iPhone.

To see which unit (CPU, GPU, Neural Engine) runs each operation: open a `.mlpackage` in Xcode, tab Performance, Create
Performance Report, choose the phone.
""".replace("{script}", SCRIPT)
