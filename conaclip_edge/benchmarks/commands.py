"""What the commands `benchmark` and `report` do, between the command line and the measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conaclip_edge.benchmarks.report.markdown import summary_table
from conaclip_edge.benchmarks.report.regression import check_regression, merge_reports
from conaclip_edge.benchmarks.report.speed_table import table
from conaclip_edge.benchmarks.report.write import write_report
from conaclip_edge.benchmarks.schema.report import parse_report, plain, read_report
from conaclip_edge.benchmarks.schema.speed import SCHEMA as SPEED_SCHEMA
from conaclip_edge.benchmarks.schema.speed import SpeedReport
from conaclip_edge.bundle.integrity import check_members
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig, SpeedConfig
from conaclip_edge.errors import GateFailed, UserError, unknown

DEVICES = ("android", "ios")


def benchmark(
    bundle: Path,
    suite: BenchmarkConfig | SpeedConfig,
    out: Path | None = None,
    device: str | None = None,
    serial: str | None = None,
    result: Path | None = None,
) -> tuple[dict[str, Any], Path]:
    """Benchmark a bundle on this machine or on a phone.

    Args:
        bundle: folder with manifest.json; `comparison.json` beside it gives the rows of the equal-budget comparison.
        suite: what is measured.
        out: folder of the report; None takes `default_report`.
        device: "android", "ios" or None for this machine.
        serial: Android only: which phone, where several are attached.
        result: iOS only: what the Mac measured; None writes what the Mac needs.

    Returns:
        The content of report.json (for iOS without a result: where the recipe is and its command; for a speed suite:
        of speed.json), and the folder.

    Raises:
        UserError: no bundle, an unknown device, or what the measurements themselves refuse.
    """
    folder = out or default_report(bundle, device)
    if device not in (None, *DEVICES):
        raise unknown("device", device, DEVICES, where="--device")
    if serial and device != "android":
        raise UserError("--serial names an Android phone. Add --device android, or leave it out.")
    if result and device != "ios":
        raise UserError("--result is what an iPhone's Mac measured. Add --device ios, or leave it out.")
    if not (bundle / "manifest.json").is_file():
        raise UserError(f"no bundle at {bundle}. Make one: conaclip-edge export --target all")
    for one in (bundle, suite.mobile) if isinstance(suite, SpeedConfig) else (bundle,):
        manifest = read_manifest(one)
        check_members(one, manifest.model_dump(), [one / file.path for file in manifest.files])
    if isinstance(suite, SpeedConfig):
        if device:
            raise UserError("a speed suite compares runs on this machine. Leave --device out, or take another suite.")
        from conaclip_edge.benchmarks.speed.run import run_speed

        folder = out or bundle.with_name("speed")
        return run_speed(bundle, suite, folder), folder
    if device == "android":
        from conaclip_edge.benchmarks.phones.android import device_android

        return device_android(bundle, suite, folder, serial), folder
    if device == "ios":
        from conaclip_edge.benchmarks.phones.ios import device_ios

        return device_ios(bundle, suite, folder, result), folder
    if suite.ann:
        from conaclip_edge.benchmarks.measure.hnsw_recall import run_ann

        return run_ann(bundle, suite, folder), folder
    from conaclip_edge.benchmarks.suite.run import run_benchmark

    comparison = bundle.parent / "comparison.json"
    return run_benchmark(bundle, suite, folder, comparison if comparison.is_file() else None), folder


def default_report(bundle: Path, device: str | None = None) -> Path:
    """Return where the report of a bundle goes without --out: `report` beside `bundle`, else `<name>.report`."""
    name = "report" if bundle.name == "bundle" else f"{bundle.name.removesuffix('.bundle')}.report"
    return bundle.with_name(f"{name}-{device}" if device else name)


def report(paths: Sequence[Path], out: Path | None, baseline: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Merge reports, and hold them against an earlier one.

    Args:
        paths: files report.json of the same student; the first gives the answer.
        out: folder for the merged report; None writes none.
        baseline: an earlier report.json.

    Returns:
        The content of the merged report.json, and what is worse than in the baseline.
    """
    merged = merge_reports(paths)
    worse = check_regression(merged, plain(read_report(baseline))) if baseline else []
    if out:
        write_report(parse_report(merged, "the merged report"), out)
    return merged, worse


def require_no_regression(worse: Sequence[str], baseline: Path | None) -> None:
    """End with exit code 1 if something got worse."""
    if worse:
        raise GateFailed(f"worse than {baseline}: {'; '.join(worse)}.")


def benchmark_text(values: dict[str, Any], folder: Path | None) -> str:
    """Say for a terminal where a report is and show its first table, or what to do with the recipe for an iPhone."""
    if "recipe" in values:
        return f"{folder}/README.md says what to run on a Mac with the iPhone: {values['command']}"
    if values.get("schema") == SPEED_SCHEMA:
        return f"report: {folder}/speed.md\n{table(SpeedReport.model_validate(values).findings)}"
    lines = [f"report: {folder / 'report.html'}"] if folder else []
    return "\n".join([*lines, summary_table(parse_report(values, "the report"))])
