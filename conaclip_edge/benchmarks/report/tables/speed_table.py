"""A speed report as text: the table of its findings, and the machine that gave them."""

from __future__ import annotations

from collections.abc import Sequence

from conaclip_edge.benchmarks.report.numbers import ABSENT, TO
from conaclip_edge.benchmarks.schema.speed import Finding, SpeedReport
from conaclip_edge.benchmarks.schema.spread import Spread


def findings_table(findings: Sequence[Finding]) -> str:
    """Render findings as a Markdown table."""
    lines = ["| axis | figure | measured | wall | bar | n |", "|---|---|---|---|---|---|"]
    for finding in findings:
        bar = ABSENT
        if finding.bar is not None:
            bar = f"{'≤' if finding.most else '≥'} {_number(finding.bar)}{_unit(finding)}"
        reached = {None: "", True: " ✓", False: " **missed**"}[finding.met]
        wall = _spread(finding.wall, finding) if finding.wall else ABSENT
        note = f" ({finding.note})" if finding.note else ""
        value = _spread(finding.value, finding)
        lines.append(f"| {finding.axis} | {finding.what}{note} | {value} | {wall} | {bar}{reached} | {finding.n} |")
    return "\n".join(lines)


def speed_section(report: SpeedReport) -> str:
    """Render a report's table with the machine that gave it."""
    machine = report.environment
    shown = f"{machine.cpu}, {machine.cores} cores ({', '.join(machine.isa)}), {machine.os}"
    names = ("onnxruntime", "executorch", "torch")
    versions = ", ".join(f"{name} {machine.versions.get(name, '?')}" for name in names)
    return (
        f"{findings_table(report.findings)}\n\nMeasured on {shown}, load {machine.load} when it began; {versions}; "
        "one thread. Ratios of processor time, median [quartiles] over interleaved rounds, beside them those of wall "
        "time; a ratio below 1 is faster."
    )


def _unit(finding: Finding) -> str:
    return f" {finding.unit}" if finding.unit else ""


def _number(value: float) -> str:
    if 0.99 <= value < 1:
        return f"{value:.5f}"  # a cosine: its distance from 1 is what counts
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _spread(value: Spread, finding: Finding) -> str:
    middle = f"{_number(value.median)}{_unit(finding)}"
    if value.q25 == value.q75:
        return middle
    return f"{middle} [{_number(value.q25)}{TO}{_number(value.q75)}]"
