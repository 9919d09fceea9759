"""What the speed suite finds: one figure an axis with its bar, and the table of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from conaclip_edge.benchmarks.figures import ABSENT, TO
from conaclip_edge.benchmarks.part import Part
from conaclip_edge.benchmarks.schema import Environment, Spread
from conaclip_edge.config import SpeedConfig
from conaclip_edge.config_values import parse
from conaclip_edge.files import read_json

SCHEMA: Literal["conaclip-edge/speed/1"] = "conaclip-edge/speed/1"


class Finding(Part):
    """One figure.

    Attributes:
        axis: what is compared, as the suite names it.
        what: the figure in words: what over what, or what it counts.
        unit: "" for a ratio.
        value: the median; processor time where times are compared.
        wall: the same by wall clock, where times are compared.
        n: rounds, or whatever was counted.
        bar: what it must reach; None where nothing is asked.
        most: whether the bar is the largest value allowed (else the least).
        note: what the reader has to know beside it.
    """

    axis: str
    what: str
    unit: str = ""
    value: Spread
    wall: Spread | None = None
    n: int
    bar: float | None = None
    most: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached by the median; None without one."""
        if self.bar is None:
            return None
        return self.value.median <= self.bar if self.most else self.value.median >= self.bar


class SpeedReport(Part):
    """speed.json: the findings with the machine and the suite that gave them."""

    schema_: Literal["conaclip-edge/speed/1"] = Field(SCHEMA, alias="schema")
    created: str
    environment: Environment
    suite: SpeedConfig
    models: dict[str, str]
    findings: tuple[Finding, ...]


def exactly(value: float) -> Spread:
    """Return a spread for a figure that is counted, not timed."""
    return Spread(median=value, q25=value, q75=value)


def table(findings: Sequence[Finding]) -> str:
    """Render findings as a Markdown table."""
    lines = ["| axis | figure | measured | wall | bar | n |", "|---|---|---|---|---|---|"]
    for one in findings:
        bar = ABSENT if one.bar is None else f"{'≤' if one.most else '≥'} {_number(one.bar)}{_unit(one)}"
        reached = {None: "", True: " ✓", False: " **missed**"}[one.met]
        wall = _spread(one.wall, one) if one.wall else ABSENT
        note = f" ({one.note})" if one.note else ""
        lines.append(
            f"| {one.axis} | {one.what}{note} | {_spread(one.value, one)} | {wall} | {bar}{reached} | {one.n} |"
        )
    return "\n".join(lines)


def page(report: SpeedReport) -> str:
    """Render a report's table with the machine that gave it."""
    one = report.environment
    machine = f"{one.cpu}, {one.cores} cores ({', '.join(one.isa)}), {one.os}, load {one.load} when it began"
    versions = ", ".join(f"{name} {one.versions.get(name, '?')}" for name in ("onnxruntime", "executorch", "torch"))
    return (
        f"{table(report.findings)}\n\nMeasured on {machine}; {versions}; one thread. Ratios of processor time, median "
        "[quartiles] over interleaved rounds, beside them those of wall time; a ratio below 1 is faster."
    )


def speed_text(report: SpeedReport) -> str:
    """Return the text of speed.json."""
    content = report.model_dump(mode="json", by_alias=True)
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_speed(path: Path) -> SpeedReport:
    """Read a speed.json."""
    return parse(SpeedReport, read_json(path, "speed report"), str(path))


def _unit(one: Finding) -> str:
    return f" {one.unit}" if one.unit else ""


def _number(value: float) -> str:
    if 0.99 <= value < 1:
        return f"{value:.5f}"  # a cosine: its distance from 1 is what counts
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _spread(value: Spread, one: Finding) -> str:
    middle = f"{_number(value.median)}{_unit(one)}"
    if value.q25 == value.q75:
        return middle
    return f"{middle} [{_number(value.q25)}{TO}{_number(value.q75)}]"
