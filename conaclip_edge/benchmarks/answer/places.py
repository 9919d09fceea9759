"""Where files were run, and what a picture and a query cost there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from conaclip_edge.benchmarks.answer.file_pairs import FilePair, recall_left
from conaclip_edge.benchmarks.schema.choice import PlainExport, Verdict, Work
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import ReportRow, Tower

COUNTED = 0.01  # share by which counts of the same file may differ
# two standard errors of a median, in distances of the quartiles over the root of n, of values that are near to normal
_ERRORS = 2 * 1.2533 / 1.349
TOWERS: tuple[Tower, ...] = ("image", "text")


@dataclass(frozen=True)
class Place:
    """A phone, a machine, a browser on a machine, or an emulated device.

    Attributes:
        kind: devices count instructions, all others time calls.
        label: of the environment or the device.
    """

    kind: Literal["phone", "machine", "browser", "device"]
    label: str

    def has(self, row: ReportRow) -> bool:
        """Return whether a row's towers were both measured here."""
        if self.kind == "device":
            return row.device == self.label and all(tower in row.on_device for tower in TOWERS)
        browser = row.target == "web"
        return row.host == self.label and set(row.latency_ms) == set(TOWERS) and browser == (self.kind == "browser")


def phones(report: BenchmarkReport, system: Literal["Android", "iPhone"]) -> list[Place]:
    """Return the phones of one system."""
    found = (one for one in (report.environment, *report.other_environments) if one.kind == "phone")
    return [Place("phone", one.label) for one in found if _system(one) == system]


def devices(report: BenchmarkReport, processor: Literal["arm64", "x86-64"]) -> list[Place]:
    """Return the devices with a processor's kernels."""
    labels = dict.fromkeys(row.device for row in report.rows if row.device)
    return [Place("device", label) for label in labels if label and label.split()[0] == processor]


def this_machine(report: BenchmarkReport) -> list[Place]:
    """Return the machine that the report is of; none where that is a phone."""
    return [Place("machine", report.environment.label)] if report.environment.kind == "host" else []


def browsers(report: BenchmarkReport) -> list[Place]:
    """Return the machines whose browser ran the files."""
    return [Place("browser", label) for label in dict.fromkeys(row.host for row in report.rows if row.target == "web")]


def work(pair: FilePair, place: Place) -> Work | None:
    """Return what a picture and a query cost in a place; None where both were not measured there."""
    for row in pair.rows:
        if not place.has(row):
            continue
        costs = [_cost(row, tower, place) for tower in TOWERS]
        picture, query = costs
        if picture is not None and query is not None:
            unit: Literal["ms", "instructions"] = "instructions" if place.kind == "device" else "ms"
            return Work(row=row.id, unit=unit, where=place.label, picture=picture, query=query)
    return None


def plain_exports(
    report: BenchmarkReport, pair: FilePair, place: Place, pairs: Sequence[FilePair]
) -> tuple[PlainExport, ...]:
    """Return, for each tower, the cheapest plain export that keeps the recall and was measured in the same place.

    Times are compared by the ratio of the same rounds, counts by their medians.
    """
    own = work(pair, place)
    if own is None:
        return ()
    row = report.row(own.row)
    kept = [one for one in pairs if one.plain and recall_left(one.row, report.suite.min_relative_recall)]
    found = []
    for tower in TOWERS:
        ratios = {plain.id: ratio for one in kept for plain, ratio in _ratios(report, row, tower, one, place)}
        if ratios:
            name = max(ratios, key=lambda one: ratios[one][0])
            ratio, within = ratios[name]
            found.append(PlainExport(tower=tower, row=name, ratio=ratio, takes=_verdict(ratio, within)))
    return tuple(found)


def _ratios(
    report: BenchmarkReport, row: ReportRow, tower: Tower, plain: FilePair, place: Place
) -> list[tuple[ReportRow, tuple[float, float]]]:
    """Return the rows of a plain export in a place: cost over theirs, and how near to 1 says nothing."""
    found = []
    for other in plain.rows:
        if not place.has(other):
            continue
        if place.kind == "device":
            own, cost = _cost(row, tower, place), _cost(other, tower, place)
            if own and cost:
                found.append((other, (own / cost, COUNTED)))
        elif ratio := row.latency_ms[tower].ratio_to.get(other.id):
            error = _ERRORS * (ratio.q75 - ratio.q25) / math.sqrt(row.latency_ms[tower].n)
            found.append((other, (ratio.median, max(report.suite.rounds.precision, error))))
    return found


def _cost(row: ReportRow, tower: Tower, place: Place) -> float | None:
    if place.kind != "device":
        return row.latency_ms[tower].typical
    counted = row.on_device[tower].instructions
    return counted.median if counted else None


def _verdict(ratio: float, within: float) -> Verdict:
    if abs(ratio - 1) <= within:
        return "as much"
    return "more" if ratio > 1 else "less"


def _system(phone: Environment) -> Literal["Android", "iPhone"]:
    return "Android" if phone.os.startswith("Android") else "iPhone"
