"""Which files to take for which platform: the rules, and the choice that they give for a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conaclip_edge.benchmarks.answer.choice_facts import choice_of, no_choice
from conaclip_edge.benchmarks.answer.file_pairs import FilePair, file_pairs, recall_left
from conaclip_edge.benchmarks.answer.places import (
    COUNTED,
    Place,
    browsers,
    devices,
    phones,
    this_machine,
    work,
)
from conaclip_edge.benchmarks.answer.recall_verdict import recall_verdict
from conaclip_edge.benchmarks.schema.choice import Basis, Choice, Platform, Work
from conaclip_edge.benchmarks.schema.report import BenchmarkReport

RULES: dict[Platform, str] = {
    "iPhone": (
        "the fastest pair on an iPhone that was timed; else Core ML, of several precisions the smallest; else, of "
        "ExecuTorch and ONNX, what takes the fewest instructions on arm64"
    ),
    "Android": (
        "of ExecuTorch and ONNX the fastest pair on an Android phone that was timed; else what takes the fewest "
        "instructions on arm64, which phones have; a time of another processor decides nothing"
    ),
    "Browser": "the ONNX int8 files, which are those that conaclip-edge web puts into a page",
    "Server": (
        "the fastest pair on the machine of the report, as times of interleaved rounds say; else what takes the fewest "
        "instructions on x86-64"
    ),
}
COMMON_RULES = (
    "Only files of the bundle are chosen, and none that is known to keep too little recall or that misses the golden "
    "vectors. A picture and a query count together: pictures are encoded once each, and there are thousands; a query "
    "is one call, and takes a small part of a picture's. A plain export is no choice, but it is named wherever one "
    "that keeps the recall takes less; its queries are padded to the context."
)


@dataclass(frozen=True)
class _Step:
    """One way to choose, tried after those before it.

    Attributes:
        basis: what it is called.
        targets: whose files it is for.
        places: where a cost decides; none for the one format that a platform takes.
    """

    basis: Basis
    targets: tuple[str, ...]
    places: Callable[[BenchmarkReport], list[Place]] | None = None


_BOTH = ("executorch", "onnx")
_STEPS: dict[Platform, tuple[_Step, ...]] = {
    "iPhone": (
        _Step("timed", ("coreml", *_BOTH), lambda report: phones(report, "iPhone")),
        _Step("format", ("coreml",)),
        _Step("counted", _BOTH, lambda report: devices(report, "arm64")),
    ),
    "Android": (
        _Step("timed", _BOTH, lambda report: phones(report, "Android")),
        _Step("counted", _BOTH, lambda report: devices(report, "arm64")),
    ),
    "Browser": (_Step("format", ("onnx", "web")),),
    "Server": (
        _Step("timed", ("coreml", *_BOTH), this_machine),
        _Step("counted", _BOTH, lambda report: devices(report, "x86-64")),
    ),
}


def decided(report: BenchmarkReport) -> BenchmarkReport:
    """Return the report with what it says of each platform, in place of what it said before."""
    choices = decide(report)
    server = next((one.row for one in choices if one.platform == "Server" and one.basis == "timed"), None)
    return report.model_copy(update={"platforms": choices, "ship": server})


def decide(report: BenchmarkReport) -> tuple[Choice, ...]:
    """Choose the files for each platform; nothing where no file was measured or recall tells nothing.

    Args:
        report: of one machine, or merged.
    """
    pairs = file_pairs(report)
    if not any(not pair.plain for pair in pairs) or recall_verdict(report) in ("too few", "at chance"):
        return ()
    return tuple(_choose(report, platform, pairs) for platform in _STEPS)


def _choose(report: BenchmarkReport, platform: Platform, pairs: Sequence[FilePair]) -> Choice:
    own = [pair for pair in pairs if not pair.plain and _runs_on(platform, pair)]
    fit = [
        pair
        for pair in own
        if recall_left(pair.row, report.suite.min_relative_recall) is not False and not pair.missed_golden
    ]
    for step in _STEPS[platform]:
        candidates = [pair for pair in fit if pair.row.target in step.targets]
        if step.places is None and candidates:
            pair = min(candidates, key=lambda one: one.bytes or 0)
            place = _known_place(report, platform, pair)
            return choice_of(report, platform, step.basis, pair, pairs, place, _instead(platform, fit))
        for place in step.places(report) if step.places else ():
            if costs := {pair.row.id: found for pair in candidates if (found := work(pair, place))}:
                pair = min((one for one in candidates if one.row.id in costs), key=lambda one: _sum(costs[one.row.id]))
                beside = _cheaper_query(report, pair, candidates, costs)
                return choice_of(report, platform, step.basis, pair, pairs, place, beside)
    fit = [pair for pair in fit if pair.row.format != "ort"] or fit  # of the same nodes as its .onnx
    if len(fit) == 1:
        return choice_of(report, platform, "only", fit[0], pairs, _known_place(report, platform, fit[0]))
    return no_choice(report, platform, own, fit, pairs)


def _runs_on(platform: Platform, pair: FilePair) -> bool:
    row = pair.row
    if platform == "Browser":
        return (row.target, row.precision, row.format) == ("onnx", "int8", "onnx") or row.target == "web"
    targets = {target for step in _STEPS[platform] for target in step.targets}
    apple = row.target == "coreml" or "coreml" in row.id  # ExecuTorch files with the Core ML delegate
    if apple and platform != "iPhone":
        return platform == "Server" and bool(row.latency_ms)
    return row.target in targets


def _known_place(report: BenchmarkReport, platform: Platform, pair: FilePair) -> Place | None:
    """Return where what a pair costs is known, though it did not decide: a browser, or a Mac for Core ML."""
    found = browsers(report) if platform == "Browser" else []
    if platform == "iPhone" and pair.row.target == "coreml":
        found = this_machine(report)
    return next((place for place in found if work(pair, place)), None)


def _sum(cost: Work) -> float:
    return cost.picture + cost.query


def _cheaper_query(
    report: BenchmarkReport, chosen: FilePair, candidates: Sequence[FilePair], costs: dict[str, Work]
) -> str:
    """Name the pair that surely takes less for a query alone; "" where none does."""
    own = costs[chosen.row.id]
    within = COUNTED if own.unit == "instructions" else report.suite.rounds.precision
    others = [one for one in candidates if one.row.id in costs and one.row.id != chosen.row.id]
    best = min(others, key=lambda one: costs[one.row.id].query, default=None)
    if best is None or costs[best.row.id].query >= own.query * (1 - within):
        return ""
    timed = [report.row(costs[one.row.id].row).latency_ms.get("text") for one in (chosen, best)]
    return "" if any(one and one.noisy for one in timed) else f"For queries alone {best.row.label} takes less."


def _instead(platform: Platform, fit: Sequence[FilePair]) -> str:
    """Name what an app can take that has ExecuTorch for another purpose."""
    label = next((one.row.label for one in fit if one.row.target == "executorch"), "")
    return f"An app that has ExecuTorch already can take {label}." if platform == "iPhone" and label else ""
