"""A report as text: report.md, and what the terminal shows."""

from __future__ import annotations

from conaclip_edge.benchmarks.answer.file_pairs import recall_left
from conaclip_edge.benchmarks.answer.platforms import COMMON_RULES, RULES, decided
from conaclip_edge.benchmarks.report.answer_text import answer, answer_lines, float_model
from conaclip_edge.benchmarks.report.numbers import ABSENT, TO, megabytes, milliseconds, percent, share
from conaclip_edge.benchmarks.report.tables.agreement_table import TITLE as AGREEMENT
from conaclip_edge.benchmarks.report.tables.agreement_table import agreement_table
from conaclip_edge.benchmarks.report.tables.ann_tables import ann_answer, ann_table
from conaclip_edge.benchmarks.report.tables.device_table import (
    device_answer,
    device_lines,
    device_rows,
    device_table,
    without_devices,
)
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Direction, RecallTable, ReportRow, Tower
from conaclip_edge.benchmarks.schema.spread import Interval
from conaclip_edge.bundle.card.accelerators import accelerator_table


def render_markdown(report: BenchmarkReport) -> str:
    """Render a report as Markdown."""
    parts = [f"# {report.model.name}: which of its files to ship", answer(report)]
    if device_rows(report):
        parts += ["## Instructions on a device's kernels", device_answer(report), device_table(report)]
    if without_devices(report).rows:
        parts += ["## Rows", rows_table(report)]
    if report.ann:
        parts += ["## The index's graph", *([ann_answer(report.ann)] if report.rows else []), ann_table(report.ann)]
    if has_relative_recall(report):
        parts += ["## Relative recall", f"{relative_recall_title(report)}.", relative_recall_table(report)]
    if agreement := agreement_table(report):
        parts += [f"## {AGREEMENT}", agreement]
    if covered := accelerators_table(report):
        parts += ["## Accelerators of phones", covered]
    if has_training(report):
        parts += ["## Training: the same budget, other graphs", training_table(report)]
    parts += [
        "## How the files are chosen",
        rules_text(),
        "## Where",
        *(environment_line(one) for one in (report.environment, *report.other_environments)),
    ]
    if report.dataset:
        data = report.dataset
        parts.append(
            f"Data: {data.name}, split {data.split}, {data.pictures} pictures, {data.captions} captions "
            f"(`{data.fingerprint[:16]}`). {data.licence}".rstrip()
        )
    return "\n\n".join(parts) + "\n"


def rows_table(report: BenchmarkReport) -> str:
    """Tabulate every row that was benchmarked."""
    lines = [
        "| row | run | size | text to picture R@1 / 5 / 10 | picture to text R@1 / 5 / 10 | picture | query | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    chosen = decided(report).chosen
    for row in without_devices(report).rows:
        if row.group == "training":
            continue
        label = report.name(row)
        cells = [
            f"**{label}**" if row.id in chosen else label,
            "not run" if row.executed == "no" else row.executed,
            _size(row),
            _recall(row.recall, "t2i"),
            _recall(row.recall, "i2t"),
            _time(row, "image"),
            _time(row, "text"),
            megabytes(row.peak_rss_bytes.both) if row.peak_rss_bytes else ABSENT,
        ]
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    notes = [f"- {note}: {', '.join(names)}" for note, names in noted(report).items()]
    lines += [
        "",
        *([recall_line(report), ""] if report.dataset and report.dataset.chance is not None else []),
        _LEGEND,
        *([lost] if (lost := lossy_line(report)) else []),
        *(["", *notes] if notes else []),
    ]
    return "\n".join(lines)


def noted(report: BenchmarkReport) -> dict[str, list[str]]:
    """Return the notes of a report's rows: note -> names of the rows that have it."""
    found: dict[str, list[str]] = {}
    for row in report.rows:
        for note in row.notes if row.group != "training" else ():
            found.setdefault(note, []).append(report.name(row))
    return found


def lossy_line(report: BenchmarkReport) -> str:
    """Name the files whose recall was measured and is too low, which are shown and never chosen; "" without any."""
    least = report.suite.min_relative_recall
    lossy = [
        f"{report.name(row)}, {' and '.join(share(one.value) for one in row.relative_recall['student'].values())}"
        for row in report.rows
        if row.format and recall_left(row, least) is False
    ]
    return f"Never chosen, as their relative recall is below {share(least)}: {'; '.join(lossy)}." if lossy else ""


def rules_text() -> str:
    """Say in Markdown how the files of each platform are chosen."""
    return "\n".join([f"{COMMON_RULES}\n", *(f"- **{platform}**: {rule}." for platform, rule in RULES.items())])


def summary(report: BenchmarkReport) -> str:
    """Format for a terminal what was measured, and last what a report says first."""
    if report.ann and not report.rows:
        return ann_table(report.ann)
    named = without_devices(report)
    lines = [*_summary_lines(named, decided(report).chosen)] if named.rows else []
    return "\n".join([*lines, *device_lines(report), *answer_lines(report)])


def _summary_lines(report: BenchmarkReport, chosen: frozenset[str]) -> list[str]:
    """Tabulate the rows for a terminal; > marks those that are chosen for a platform."""
    names = [report.name(row) for row in report.rows if row.group != "training"]
    width = max(map(len, names), default=0) + 2
    lines = [
        f"{'':{width}}{'t2i R@1/5/10':>20}{'i2t R@1/5/10':>20}{'picture':>11}{'query':>11}{'size':>10}{'memory':>9}"
    ]
    for row in report.rows:
        if row.group == "training":
            continue
        memory = megabytes(row.peak_rss_bytes.both) if row.peak_rss_bytes else ABSENT
        ways = "".join(f"{_recall(row.recall, direction):>20}" for direction in ("t2i", "i2t"))
        mark = "> " if row.id in chosen else "  "
        lines.append(
            f"{mark + report.name(row):{width}}{ways}{_time(row, 'image'):>11}{_time(row, 'text'):>11}"
            f"{_size(row):>10}{memory:>9}"
        )
    return lines


def recall_line(report: BenchmarkReport) -> str:
    """Say what the recalls of a report are seen beside: number of pictures, chance, teacher, intervals of the mean."""
    data = report.dataset
    if data is None:
        return ""
    line = f"Recall over {data.pictures} pictures and {data.captions} captions"
    if data.chance is None:
        return f"{line}."
    means = [
        f"{report.name(row)} {percent(row.mean_recall)} [{row.mean_interval[0]:.1f} to {row.mean_interval[1]:.1f}]"
        for row in report.rows
        if row.mean_recall is not None and row.mean_interval is not None
    ]
    return f"{line}; chance: {percent(data.chance)} in the mean of the six. Mean recall [95 %]: {'; '.join(means)}."


_LEGEND = """\
Recall in percent. Latency: median of one call at batch 1 on one thread, texts at their own lengths; ~ marks times
that spread more than the suite allows. Memory: peak of a fresh Python process with both towers. native: run by the
platform's own runtime; executor: by its code on another platform; reference: by an interpreter of the same program. The
last two say nothing about speed."""


def relative_recall_title(report: BenchmarkReport) -> str:
    """Say what relative recall is."""
    return (
        f"Relative recall (the share of the {float_model(report)}'s, or the teacher's, recall that is left), with 95 % "
        "intervals"
    )


def has_relative_recall(report: BenchmarkReport) -> bool:
    """Return whether any row has a relative recall."""
    return any(row.relative_recall for row in report.rows)


def has_training(report: BenchmarkReport) -> bool:
    """Return whether the report has rows of an equal-budget comparison."""
    return any(row.group == "training" for row in report.rows)


def relative_recall_table(report: BenchmarkReport) -> str:
    """Tabulate the relative recall of each row, and of each exported tower with the student's other one."""
    sides = [
        f"{side}, {way}" for side in (float_model(report), "teacher") for way in ("text to picture", "picture to text")
    ]
    lines = [f"| row | exported | {' | '.join(sides)} |", "|---|---|---|---|---|---|"]
    for row in report.rows:
        if not row.relative_recall:
            continue
        found = [row.relative_recall.get(side, {}) for side in ("student", "teacher")]
        cells = [_interval(side.get(direction)) for side in found for direction in ("t2i", "i2t")]
        lines.append(f"| {report.name(row)} | {'both' if row.format else 'nothing'} | {' | '.join(cells)} |")
        for tower, alone in row.alone.items():
            cells = [_interval(alone.relative_recall.get(direction)) for direction in ("t2i", "i2t")]
            name = {"image": "picture", "text": "text"}[tower]
            lines.append(f"| {report.name(row)} | {name} tower | {' | '.join(cells)} | {ABSENT} | {ABSENT} |")
    return "\n".join(lines)


def training_table(report: BenchmarkReport) -> str:
    """Tabulate the teacher and the students that were trained at equal budget."""
    lines = [
        "| model | text to picture R@1 / 5 / 10 | picture to text R@1 / 5 / 10 | mean | seeds |",
        "|---|---|---|---|---|",
    ]
    for row in report.rows:
        if row.group == "training":
            budget = row.equal_budget
            spread = f" ± {budget.spread:.1f}" if budget and budget.spread is not None else ""
            lines.append(
                f"| {row.label} | {_recall(row.recall, 't2i')} | {_recall(row.recall, 'i2t')} "
                f"| {row.mean_recall:.1f}{spread} | {budget.seeds if budget and budget.seeds else ABSENT} |"
            )
    return "\n".join(lines)


def accelerators_table(report: BenchmarkReport) -> str:
    """Tabulate what accelerators of phones would take of each file; "" where no row says."""
    covered = {
        f"{report.name(row)}, {tower} tower": found
        for row in without_devices(report).rows
        for tower, found in row.accelerators.items()
    }
    return accelerator_table(covered) if covered else ""


def environment_line(found: Environment) -> str:
    """Describe a machine or phone in a sentence."""
    parts = [found.os, f"{found.cores} cores" if found.cores else "", ", ".join(found.isa)]
    load = f"load {found.load} at the start" if found.load is not None else ""
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    kind = "Phone" if found.kind == "phone" else "Machine"
    return f"{kind}: {found.cpu}; {'; '.join(part for part in (*parts, load, versions) if part)}."


def _interval(found: Interval | None) -> str:
    return f"{share(found.value)} [{100 * found.low:.1f}{TO}{100 * found.high:.1f}]" if found else ABSENT


def _recall(found: RecallTable | None, direction: Direction) -> str:
    return " / ".join(f"{value:.1f}" for value in found[direction].values()) if found else ABSENT


def _time(row: ReportRow, tower: Tower) -> str:
    found = row.latency_ms.get(tower)
    if found is None:
        return ABSENT
    value = milliseconds(found.p50) if found.p50 is not None else f"mean {milliseconds(found.mean)}"
    return value + (" ~" if found.noisy else "")


def _size(row: ReportRow) -> str:
    return megabytes(row.size_bytes.total) if row.size_bytes else ABSENT


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
