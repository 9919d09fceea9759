"""What a report may advise: "Ship" only where recall can be told and a phone was timed, else what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conaclip_edge.benchmarks.report.baselines import baselines, kept_plain_rows
from conaclip_edge.benchmarks.report.numbers import milliseconds, percent, share
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import ReportRow, Tower
from conaclip_edge.benchmarks.schema.row_ids import STUDENT, TEACHER
from conaclip_edge.models.certainty import LEAST_PICTURES, Certainty, certainty

Headline = Literal[
    "Ship",
    "Fastest here:",
    "Fastest here for a query, not for a picture:",
    "Fastest here for a picture, not for a query:",
    "Not the fastest here:",
    "Too few pictures to tell",
    "The model is at chance",
    "Nothing to ship yet",
]
# the towers for which a plain export that keeps the recall is faster than the row that is named
_BEATEN: dict[tuple[Tower, ...], Headline] = {
    (): "Fastest here:",
    ("image",): "Fastest here for a query, not for a picture:",
    ("text",): "Fastest here for a picture, not for a query:",
    ("image", "text"): "Not the fastest here:",
}


@dataclass(frozen=True)
class Advice:
    """What a report says first.

    Attributes:
        headline: "Ship" and those that end with a colon stand before the name of the row; the others stand alone.
        known: a sentence or two on what was found; "" where a row is named.
        next: what to do.
    """

    headline: Headline
    known: str
    next: str


def advice(report: BenchmarkReport) -> Advice:
    """Say what a report with recall may advise.

    Args:
        report: with a data set; its `ship` names the row that keeps enough recall and is the fastest.
    """
    assert report.dataset is not None
    if report.ship:
        row = report.row(report.ship)
        if _timed_on_a_phone(report, row):
            return Advice("Ship", "", "")
        beaten = tuple(one.tower for one in baselines(report, row) if one.verdict == "faster")
        return Advice(
            _BEATEN[beaten],
            "",
            "No phone was timed, so what is the fastest on yours is not known: measure it there before you ship "
            f"(conaclip-edge benchmark {report.model.bundle} --device android, or ios).",
        )
    measured = next((row for row in report.rows if row.id == STUDENT and row.recall), None)
    measured = measured or next((row for row in report.rows if row.group == "files" and row.recall), None)
    beside = beside_recall(report, measured) if measured else None
    pictures = report.dataset.pictures
    if (beside and beside.too_few) or pictures < LEAST_PICTURES:
        chance = f", where chance alone gives {percent(beside.chance)}" if beside else ""
        judged = ": at chance" if beside and beside.at_chance else ""
        found = (
            f" Mean recall of {measured.label}: {_recall(measured, beside)}{chance}{judged}."
            if measured and beside
            else ""
        )
        return Advice(
            "Too few pictures to tell",
            f"{pictures} held-out pictures are too few to tell what recall is left, or a good model from a poor one."
            f"{found} Size, latency and memory below are known.",
            f"Measure on more captioned pictures that the student has not seen ({LEAST_PICTURES} at least, some "
            "hundred are better): conaclip-edge benchmark --data FOLDER, or give val and test more of yours.",
        )
    if measured and beside and beside.at_chance:
        return Advice(
            "The model is at chance",
            f"Mean recall of {measured.label}: {_recall(measured, beside)}; a random order gives "
            f"{percent(beside.chance)}. No export can keep what is not there.",
            "Train longer or on more pictures, and look at the teacher's own recall: conaclip-edge evaluate TEACHER "
            "--data FOLDER."
            if any(row.id == TEACHER for row in report.rows)
            else "Look whether the captions are in a language that the model reads, and belong to their pictures.",
        )
    if not any(row.id == STUDENT for row in report.rows):
        return Advice(
            "Nothing to ship yet",
            "The float32 model is not among the rows, so no relative recall was measured.",
            f"Name its folder: conaclip-edge benchmark {report.model.bundle} --data FOLDER --set student=FOLDER",
        )
    return Advice(
        "Nothing to ship yet",
        "No natively run int8 row of the bundle reaches a relative recall of "
        f"{share(report.suite.min_relative_recall)} in both directions (the share of the float32 student's recall that "
        f"is left), not even with its interval.{_plain(report)}",
        "The table shows how far each is.",
    )


def _plain(report: BenchmarkReport) -> str:
    """Say which plain export keeps the recall, where no file of the bundle does."""
    kept = kept_plain_rows(report)
    if not kept:
        return ""
    image, text = (milliseconds(kept[0].latency_ms[tower].typical) for tower in ("image", "text"))
    return f" A plain export does: {kept[0].label}, {image} per picture and {text} per query."


def without_recall(report: BenchmarkReport) -> str:
    """Say why a report has no recall, and how to get it."""
    if report.environment.kind == "phone":
        return (
            "Recall was not measured here. Merge this report with one of a host, which has it: "
            "conaclip-edge report host/report.json report.json"
        )
    return (
        "Recall was not measured: the data have no captions. Name captioned pictures that the student has not seen: "
        f"conaclip-edge benchmark {report.model.bundle} --data FOLDER"
    )


def beside_recall(report: BenchmarkReport, row: ReportRow) -> Certainty | None:
    """Return what stands beside a row's mean recall; None for a row without one, or an older report without it."""
    if report.dataset is None or report.dataset.chance is None or row.mean_interval is None:
        return None
    teacher = next((one.mean_recall for one in report.rows if one.id == TEACHER), None)
    return certainty(report.dataset.pictures, report.dataset.chance, row.mean_interval, teacher)


def _recall(row: ReportRow, beside: Certainty) -> str:
    low, high = beside.interval_95
    return f"{percent(row.mean_recall or 0.0)} [{low:.1f} to {high:.1f}]"


def _timed_on_a_phone(report: BenchmarkReport, row: ReportRow) -> bool:
    """Return whether a phone's own row of the same target and precision was timed."""
    phones = {one.label for one in (report.environment, *report.other_environments) if one.kind == "phone"}
    return any(
        one.host in phones and (one.target, one.precision) == (row.target, row.precision) and one.latency_ms
        for one in report.rows
    )
