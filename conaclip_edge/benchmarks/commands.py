"""The commands `benchmark` and `report`: the options choose one of the benchmarks, each of which has its own result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conaclip_edge.benchmarks.answer.merge import check_same_bundle, merge_reports, with_device
from conaclip_edge.benchmarks.report.markdown import summary
from conaclip_edge.benchmarks.report.regression import check_regression
from conaclip_edge.benchmarks.report.tables.speed_table import findings_table
from conaclip_edge.benchmarks.report.write import write_report
from conaclip_edge.benchmarks.report_folder import default_report
from conaclip_edge.benchmarks.schema.report import BenchmarkReport, read_report
from conaclip_edge.bundle.integrity import check_members
from conaclip_edge.bundle.manifest import read_manifest
from conaclip_edge.config.benchmark import BenchmarkConfig, SpeedConfig
from conaclip_edge.errors import GateFailed, UserError, unknown
from conaclip_edge.runtime.emulated.devices import DEVICES as EMULATED
from conaclip_edge.runtime.emulated.devices import find_device
from conaclip_edge.system.products import PHONE_RECIPE, REPORT, check_out
from conaclip_edge.system.result import Result

DEVICES = ("android", "ios", *EMULATED)


def benchmark_command(
    bundle: Path,
    suite: BenchmarkConfig | SpeedConfig,
    out: Path | None = None,
    device: str | None = None,
    serial: str | None = None,
    result: Path | None = None,
    into: Path | None = None,
) -> tuple[Result, str]:
    """Choose a benchmark by the options of the command `benchmark` and run it.

    Args:
        bundle: folder with manifest.json.
        suite: what is measured.
        out: folder of the report; None takes one beside the bundle.
        device: "android", "arm64", "ios", "x86-64" or None for this machine.
        serial: Android only: which phone, where several are attached.
        result: iOS only: what the Mac measured; None writes what the Mac needs.
        into: of a device: report.json of the same bundle that gets its rows, too.

    Returns:
        The result, and its text for a terminal.

    Raises:
        UserError: options that do not go together, no bundle, or what the benchmark itself refuses.
    """
    if device is not None and device not in DEVICES:
        raise unknown("device", device, DEVICES, where="--device")
    if serial and device != "android":
        raise UserError("--serial names an Android phone. Add --device android, or leave it out.")
    if result and device != "ios":
        raise UserError("--result is what an iPhone's Mac measured. Add --device ios, or leave it out.")
    if into and (device is None or (device == "ios" and result is None)):
        raise UserError("--into is the report that gets a device's rows. Name the device, and --result with ios.")
    check_bundle(bundle)
    if into:
        check_same_bundle(read_report(into), str(into), read_manifest(bundle).digest)
    if isinstance(suite, SpeedConfig):
        if device:
            raise UserError("a speed suite compares runs on this machine. Leave --device out, or take another suite.")
        check_bundle(suite.mobile)
        from conaclip_edge.benchmarks.speed.run import run_speed

        folder = out or bundle.with_name("speed")
        check_out(folder, REPORT)
        speed = run_speed(bundle, suite, folder)
        return speed, f"report: {folder}/speed.md\n{findings_table(speed.findings)}"
    folder = out or default_report(bundle, device)
    check_out(folder, PHONE_RECIPE if device == "ios" and result is None else REPORT)
    if device == "ios" and result is None:
        from conaclip_edge.benchmarks.phones.ios import write_ios_recipe

        recipe = write_ios_recipe(bundle, suite, folder)
        return recipe, f"{folder}/README.md says what to run on a Mac with the iPhone: {recipe.command}"
    report = _report(bundle, suite, folder, device, serial, result)
    if into:
        report, folder = with_device(read_report(into), str(into), report), into.parent
        write_report(report, folder)
    return report, benchmark_text(report, folder)


def _report(
    bundle: Path, suite: BenchmarkConfig, out: Path, device: str | None, serial: str | None, result: Path | None
) -> BenchmarkReport:
    if device == "android":
        from conaclip_edge.benchmarks.phones.android import benchmark_android

        return benchmark_android(bundle, suite, out, serial)
    if device and device in EMULATED:
        from conaclip_edge.benchmarks.emulated.run import benchmark_device

        return benchmark_device(bundle, suite, out, find_device(device))
    if result:
        from conaclip_edge.benchmarks.phones.ios import import_ios_result

        return import_ios_result(bundle, suite, out, result)
    if suite.ann:
        from conaclip_edge.benchmarks.suite.ann import run_ann

        return run_ann(bundle, suite, out)
    from conaclip_edge.benchmarks.suite.run import run_benchmark

    return run_benchmark(bundle, suite, out)


def benchmark(bundle: Path, suite: BenchmarkConfig | None = None, out: Path | None = None) -> BenchmarkReport:
    """Measure latency, memory, size and recall of a bundle's files on this machine and write a report.

    Args:
        bundle: folder with manifest.json; `comparison.json` beside it gives the rows of the equal-budget comparison.
        suite: what is measured; None takes the demo's suite.
        out: folder of the report; None takes `report` beside the bundle.

    Raises:
        UserError: no bundle, a file of it that was changed, none of the suite's targets in it, or data, student or
            teacher that cannot be found.
    """
    check_bundle(bundle)
    folder = out or default_report(bundle)
    check_out(folder, REPORT)
    return _report(bundle, suite or BenchmarkConfig(), folder, None, None, None)


def check_bundle(bundle: Path) -> None:
    """Check that a folder is a bundle whose files are those that were exported.

    Raises:
        UserError: it is none, or a file was changed or is missing.
    """
    if not (bundle / "manifest.json").is_file():
        raise UserError(f"no bundle at {bundle}. Make one: conaclip-edge export --target all")
    manifest = read_manifest(bundle)
    check_members(bundle, manifest.model_dump(), [bundle / file.path for file in manifest.files])


def merge_and_check(
    paths: Sequence[Path], out: Path | None, baseline: Path | None
) -> tuple[BenchmarkReport, list[str]]:
    """Merge reports, and compare the result with an earlier one.

    Args:
        paths: files report.json of the same student; the first gives the answer.
        out: folder for the merged report; None writes none.
        baseline: an earlier report.json.

    Returns:
        The merged report, and what is worse than in the baseline.

    Raises:
        UserError: no report, or reports of another schema, another student or other data.
    """
    if out:
        check_out(out, REPORT)
    merged = merge_reports(paths)
    worse = check_regression(merged, read_report(baseline)) if baseline else []
    if out:
        write_report(merged, out)
    return merged, worse


def require_no_regression(worse: Sequence[str], baseline: Path | None) -> None:
    """Fail the gate if something got worse.

    Raises:
        GateFailed: something did.
    """
    if worse:
        raise GateFailed(f"worse than {baseline}: {'; '.join(worse)}.")


def benchmark_text(report: BenchmarkReport, folder: Path | None) -> str:
    """Return a report's first table for a terminal, after the path of its page where it was written."""
    lines = [f"report: {folder / 'report.html'}"] if folder else []
    return "\n".join([*lines, summary(report)])
