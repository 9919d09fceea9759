"""An iPhone: what to run on a Mac that has one connected, and the import of what it measured."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from conaclip_edge.benchmarks.measure.candidates import shipped
from conaclip_edge.benchmarks.phones.report import device_report, latency
from conaclip_edge.benchmarks.schema.base import Part
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.row import Latency, Tower
from conaclip_edge.bundle.manifest import Manifest, read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import atomic_folder, read_json

SCRIPT = "ios_measure.py"


class _Device(Part):
    name: str
    os: str


class _File(Part):
    path: str
    load_ms: tuple[float, ...] = Field(min_length=1)
    first_ms: float
    predict_ms: tuple[float, ...] = Field(min_length=2)


class _Result(Part):
    schema_: Literal["conaclip-edge/ios/1"] = Field(alias="schema")
    embedding_space: str
    device: _Device
    coremltools: str
    compute_units: str
    warmup: int
    files: tuple[_File, ...]


def device_ios(bundle: Path, suite: BenchmarkConfig, out: Path, result: Path | None = None) -> dict[str, Any]:
    """Write what a Mac needs to time the bundle on an iPhone, or import what it measured there as a report.

    Args:
        bundle: folder with manifest.json and Core ML files.
        suite: precisions, and the bar for noise.
        out: folder for the recipe, or of the report.
        result: the file that the Mac wrote; None writes the recipe.

    Returns:
        {"recipe": folder, "command": what to run on the Mac}, or the content of report.json: rows with latency and
        size, no recall. Merge it with a host's report.

    Raises:
        UserError: no Core ML files in the bundle, or a result that is of another bundle or not what the script writes.
    """
    manifest = read_manifest(bundle)
    suite = suite.model_copy(update={"targets": ("coreml",)})
    candidates = shipped(bundle, manifest, suite)
    if result is None:
        return _write_recipe(bundle, out)
    found = _read(result, manifest)
    measured: dict[str, dict[Tower, Latency]] = {}
    for one in candidates:
        for tower, path in _paths(one.spec.image, one.spec.text).items():
            row = next((row for row in found.files if row.path == path.relative_to(bundle).as_posix()), None)
            if row is None:
                continue
            timed = latency(tower, 1, row.predict_ms, {}, suite.rounds.noise)
            cold = {"cold_load": float(np.median(row.load_ms)), "first_call": row.first_ms, "warmup": found.warmup}
            measured.setdefault(one.spec.row, {})[tower] = timed.model_copy(update=cold)
    if not measured:
        raise UserError(f"{result} holds no figures of the files in {bundle}.")
    environment = Environment(
        label=f"{found.device.name}, {found.device.os}",
        kind="host" if found.device.name == "Mac" else "phone",
        cpu=f"{found.device.name} (compute units: {found.compute_units})",
        os=found.device.os,
        versions={"coremltools": found.coremltools},
    )
    notes = {row: ["run by Core ML, which chooses between CPU, GPU and Neural Engine"] for row in measured}
    return device_report(bundle, manifest, suite, environment, candidates, measured, notes, out)


def _paths(image: Path | None, text: Path | None) -> dict[Tower, Path]:
    paths: dict[Tower, Path | None] = {"image": image, "text": text}
    return {tower: path for tower, path in paths.items() if path}


def _read(result: Path, manifest: Manifest) -> _Result:
    try:
        found = _Result.model_validate(read_json(result, "result of an iPhone"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise UserError(f"{result}: '{place}': {first['msg']}. A file that {SCRIPT} writes is needed.") from None
    if found.embedding_space != manifest.embedding_space:
        raise UserError(
            f"{result} was measured on another student (embedding space {found.embedding_space[:12]}.., the bundle's "
            f"is {manifest.embedding_space[:12]}..). Measure this bundle."
        )
    return found


def _write_recipe(bundle: Path, out: Path) -> dict[str, Any]:
    """Write the script and what to do with it."""
    command = f"python {SCRIPT} {shlex.quote(bundle.name)} ios.json --team TEAM_ID"
    script = files("conaclip_edge.benchmarks.phones").joinpath(SCRIPT).read_text("utf-8")
    with atomic_folder(out) as folder:
        (folder / SCRIPT).write_text(script, "utf-8")
        (folder / "README.md").write_text(_RECIPE.format(bundle=bundle, name=bundle.name, command=command), "utf-8")
    return {"recipe": str(out), "command": command}


_RECIPE = """\
# Timing {name} on an iPhone

Core ML runs on Apple's systems only, so this part happens on a Mac with Xcode (16 or later) and an iPhone (iOS 17 or
later) on a cable, its developer mode on (Settings > Privacy & Security > Developer Mode).

1. Copy the bundle `{bundle}` and `{script}` to the Mac.
2. `pip install coremltools==9.0`
3. `{command}` (the ID of your development team is in Xcode > Settings > Accounts). coremltools builds its model runner
   app, installs it on the phone by `xcrun devicectl`, and times each file there. `--mac` measures the Mac instead.
4. Bring `ios.json` back: `conaclip-edge benchmark {bundle} --device ios --result ios.json --out runs/ios`
5. `conaclip-edge report runs/demo/report/report.json runs/ios/report.json` puts both machines into one report.

To see which unit (CPU, GPU, Neural Engine) runs each operation: open a `.mlpackage` in Xcode, tab Performance, Create
Performance Report, choose the phone.
""".replace("{script}", SCRIPT)
