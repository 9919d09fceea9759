"""A choice with all that is known of it, what is not, and the command that measures that."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from conaclip_edge.benchmarks.answer.file_pairs import FilePair, recall_left
from conaclip_edge.benchmarks.answer.places import Place, plain_exports, work
from conaclip_edge.benchmarks.report_folder import default_report
from conaclip_edge.benchmarks.schema.choice import Basis, Choice, Platform
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import ReportRow, Tower
from conaclip_edge.bundle.card.accelerators import Accelerator

_WHY: dict[tuple[Platform, Basis], str] = {
    ("iPhone", "format"): "Core ML is Apple's own format: it alone reaches all processors of an iPhone.",
    ("Browser", "format"): "conaclip-edge web puts these files into a page, where onnxruntime-web runs them.",
}
_EXPORT: dict[Platform, str] = {"iPhone": "coreml", "Android": "executorch", "Browser": "onnx", "Server": "onnx"}
_ACCELERATORS: dict[Platform, tuple[str, ...]] = {
    "iPhone": ("Core ML NeuralNetwork", "Core ML MLProgram"),
    "Android": ("NNAPI", "QNN", "Vulkan"),
    "Browser": (),
    "Server": (),
}


def choice_of(
    report: BenchmarkReport,
    platform: Platform,
    basis: Basis,
    pair: FilePair,
    pairs: Sequence[FilePair],
    place: Place | None,
    others: str = "",
) -> Choice:
    """Put together what a report knows of the files that are chosen for a platform.

    Args:
        report: the report.
        platform: where the app runs.
        basis: what decided.
        pair: the files.
        pairs: all of the report, with plain exports.
        place: where their cost is known.
        others: a sentence on other files that fit.
    """
    row, sizes = pair.row, pair.row.size_bytes
    ran = (one.on_device["image"] for one in pair.rows if "image" in one.on_device)
    there = next((one for one in ran if one.mean_recall is not None), None)
    here = row.peak_rss_bytes if platform in ("Android", "Server") else None
    here_pictures = report.dataset.pictures if report.dataset and row.recall else None
    return Choice(
        platform=platform,
        basis=basis,
        row=row.id,
        label=row.label,
        files=_files(row),
        why=" ".join(part for part in (_reason(basis, platform, place), others) if part),
        mean_recall=row.mean_recall if row.recall or there is None else there.mean_recall,
        mean_interval=row.mean_interval,
        pictures=here_pictures if row.recall or there is None else there.pictures,
        relative_recall=row.relative_recall.get("student", {}),
        size_bytes=sizes.total if sizes else None,
        deflated_bytes=sum(sizes.deflated.values()) if sizes and len(sizes.deflated) == 2 else None,
        work=work(pair, place) if place else None,
        memory_bytes=max(0, here.both - here.runtime) if here else None,
        accelerators=_accelerators(platform, row),
        plain=plain_exports(report, pair, place, pairs) if place else (),
        unmeasured=_unmeasured(report, platform, basis, pair, place),
        next=_next(report, platform, basis, place),
    )


def no_choice(
    report: BenchmarkReport,
    platform: Platform,
    own: Sequence[FilePair],
    fit: Sequence[FilePair],
    pairs: Sequence[FilePair],
) -> Choice:
    """Say why nothing is chosen for a platform.

    Args:
        report: the report.
        platform: where the app would run.
        own: files of the bundle that run there.
        fit: of these, the ones that keep their recall; several are fit, and nothing tells which is the best.
        pairs: all of the report, with plain exports.
    """
    if fit:
        return Choice(
            platform=platform,
            basis="undecided",
            label=" or ".join(pair.row.label for pair in fit),
            why="Nothing that was counted or timed tells which of them takes the least there.",
            unmeasured=_unmeasured(report, platform, "undecided", fit[0], None),
            next=_next(report, platform, "undecided", None),
        )
    if not own:
        return Choice(
            platform=platform,
            basis="nothing",
            why="The bundle has no files for it.",
            next=f"conaclip-edge export --target {_EXPORT[platform]} --out {_quoted(report.model.bundle)}",
        )
    least = report.suite.min_relative_recall
    plain = [pair.row.label for pair in pairs if pair.plain and recall_left(pair.row, least)]
    kept = f" Plain exports do: {', '.join(plain)}." if plain else ""
    missed = " or misses the golden vectors" if any(pair.missed_golden for pair in own) else ""
    return Choice(
        platform=platform,
        basis="nothing",
        why=f"Each of the bundle's files for it loses too much recall{missed}.{kept}",
    )


def _reason(basis: Basis, platform: Platform, place: Place | None) -> str:
    where = place.label if place else ""
    if (platform, basis) in _WHY:
        beside = {"iPhone": f"Timed on {where}, which is no iPhone.", "Browser": f"Timed in a browser on {where}."}
        return f"{_WHY[platform, basis]} {beside[platform]}" if where else _WHY[platform, basis]
    if basis == "timed":
        return f"The fastest of the bundle's files on {where}, for a picture and a query together."
    if basis == "counted":
        return f"The fewest instructions of the bundle's files on {where}, for a picture and a query together."
    return "The bundle has no other files for it that keep their recall."


def _unmeasured(
    report: BenchmarkReport, platform: Platform, basis: Basis, pair: FilePair, place: Place | None
) -> tuple[str, ...]:
    found = []
    if platform == "iPhone":
        if basis != "timed":
            found.append("speed and memory on an iPhone, and which of its processors run the files")
        if pair.row.executed == "reference":
            found.append("recall by Core ML itself: an interpreter of the same program ran the files")
        if pair.row.executed == "executor":
            found.append("recall on an iPhone: the executor of Apple's package ran the files")
    if platform == "Android":
        if basis != "timed":
            found.append("milliseconds, memory and battery on an Android phone")
        if basis in ("undecided", "only"):
            found.append("instructions on arm64")
        if _accelerators(platform, pair.row):
            found.append("accelerators: what they would take is read from tables, no phone ran them")
    if platform == "Browser":
        found.append("memory, and other browsers and machines" if place else "speed and memory in a browser")
    if platform == "Server":
        found.append(
            f"other processors than {place.label}, and several calls at once" if basis == "timed" and place else "speed"
        )
    if recall_left(pair.row, report.suite.min_relative_recall) is None:
        how = "its folder is named by --set student=FOLDER" if pair.row.recall else "a report of a host has it"
        found.append(f"how much of the float32 model's recall is left ({how})")
    return tuple(found)


def _next(report: BenchmarkReport, platform: Platform, basis: Basis, place: Place | None) -> str:
    bundle = Path(report.model.bundle)
    run, into = f"conaclip-edge benchmark {_quoted(bundle)}", _quoted(default_report(bundle) / "report.json")
    if platform == "iPhone":
        return "" if basis == "timed" else f"{run} --device ios"
    if platform == "Android":
        device = "arm64" if basis in ("undecided", "only") else "android"
        return "" if basis == "timed" else f"{run} --device {device} --into {into}"
    if platform == "Browser":
        return "" if place else f"conaclip-edge web {_quoted(bundle)} INDEX --measure {into}"
    return "" if basis == "timed" else run


def _accelerators(platform: Platform, row: ReportRow) -> dict[Tower, tuple[Accelerator, ...]]:
    wanted = _ACCELERATORS[platform]
    found = {
        tower: tuple(one for one in ones if one.name in wanted and one.taken is not None)
        for tower, ones in row.accelerators.items()
    }
    return {tower: ones for tower, ones in found.items() if ones}


def _files(row: ReportRow) -> str:
    """Return where the files of a row lie in the bundle."""
    return f"{'onnx' if row.target == 'web' else row.target}/*.{row.precision}.{row.format}"


def _quoted(path: Path | str) -> str:
    return shlex.quote(str(path))
