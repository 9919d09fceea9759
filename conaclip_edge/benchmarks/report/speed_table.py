"""What the speed suite finds: one figure an axis with its bar, and the table of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from conaclip_edge.benchmarks.report.numbers import ABSENT, TO
from conaclip_edge.benchmarks.schema.report import Spread
from conaclip_edge.benchmarks.schema.speed import Finding, SpeedReport


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
