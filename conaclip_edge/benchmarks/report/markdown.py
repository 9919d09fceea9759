"""A report as text: report.md, and the table on the terminal."""

from __future__ import annotations

from conaclip_edge.benchmarks.report.advice import advice, without_recall
from conaclip_edge.benchmarks.report.ann_tables import ann_answer, ann_table
from conaclip_edge.benchmarks.report.baselines import beside_plain
from conaclip_edge.benchmarks.report.device_table import (
    device_answer,
    device_lines,
    device_rows,
    device_table,
    without_devices,
)
from conaclip_edge.benchmarks.report.numbers import ABSENT, TO, megabytes, milliseconds, percent, share, times
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Direction, Latency, RecallTable, ReportRow, Tower
from conaclip_edge.benchmarks.schema.row_ids import TEACHER
from conaclip_edge.benchmarks.schema.spread import Interval
from conaclip_edge.bundle.card.accelerators import accelerator_table


def render_markdown(report: BenchmarkReport) -> str:
    """Render a report as Markdown."""
    parts = [f"# {report.model.name}: what its exported files can do", answer(report)]
    if without_devices(report).rows:
        parts += ["## Rows", rows_table(report)]
    if device_rows(report):
        parts += ["## On a device's kernels", device_table(report)]
    if report.ann:
        parts += ["## The index's graph", *([ann_answer(report.ann)] if report.rows else []), ann_table(report.ann)]
    if has_relative_recall(report):
        parts += ["## Relative recall", f"{RELATIVE_RECALL}.", relative_recall_table(report)]
    if covered := accelerators_table(report):
        parts += ["## Accelerators of phones", covered]
    if has_training(report):
        parts += ["## Training: the same budget, other graphs", training_table(report)]
    parts += ["## Where", *(environment_line(one) for one in (report.environment, *report.other_environments))]
    if report.dataset:
        data = report.dataset
        parts.append(
            f"Data: {data.name}, split {data.split}, {data.pictures} pictures, {data.captions} captions "
            f"(`{data.fingerprint[:16]}`). {data.licence}".rstrip()
        )
    return "\n\n".join(parts) + "\n"


_DIRECTIONS: dict[Direction, str] = {"t2i": "from text to picture", "i2t": "from picture to text"}


def answer(report: BenchmarkReport) -> str:
    """Return a paragraph that says what to ship."""
    if report.ann and not report.rows:
        return ann_answer(report.ann)
    if report.rows and not without_devices(report).rows:
        return device_answer(report)
    if not report.dataset:
        return f"Speed on {report.environment.label}. {without_recall(report)}"
    found = advice(report)
    if not report.ship:
        return f"{found.headline}: {found.known[0].lower()}{found.known[1:]} {found.next}"
    row = report.row(report.ship)
    assert row.recall is not None
    data, among = report.dataset, percent(row.recall["t2i"]["10"])
    text = f"{found.headline} **{row.label}**: the right picture is among the first ten for {among} of"
    text += f" {data.captions} captions over {data.pictures} held-out pictures"
    if "student" in row.relative_recall:
        least = report.suite.min_relative_recall
        parts = []
        for direction, interval in row.relative_recall["student"].items():
            short = f" (below {share(least)}, which the interval reaches)" if interval.value < least else ""
            parts.append(f"{_interval(interval)} {_DIRECTIONS[direction]}{short}")
        text += (
            f"; its relative recall (the share of the float32 student's recall that is left) is {' and '.join(parts)}"
        )
    if "teacher" in row.relative_recall:
        interval = row.relative_recall["teacher"]["t2i"]
        text += f", {_interval(interval)} of the teacher's {_DIRECTIONS['t2i']}"
    after = (beside_plain(report, row), _teacher_comparison(report, row), found.next)
    return (
        f"{text}. A picture takes {_time(row, 'image')}, a query {_time(row, 'text')} (one thread of {row.host}); both "
        f"files together are {_size(row)}. {' '.join(part for part in after if part)}"
    )


def rows_table(report: BenchmarkReport) -> str:
    """Tabulate every row that was benchmarked."""
    lines = [
        "| row | run | size | text to picture R@1 / 5 / 10 | picture to text R@1 / 5 / 10 | picture | query | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in without_devices(report).rows:
        if row.group == "training":
            continue
        label = report.name(row)
        cells = [
            f"**{label}**" if row.id == report.ship else label,
            "not run" if row.executed == "no" else row.executed,
            _size(row),
            _recall(row.recall, "t2i"),
            _recall(row.recall, "i2t"),
            _time(row, "image"),
            _time(row, "text"),
            megabytes(row.peak_rss_bytes.both) if row.peak_rss_bytes else ABSENT,
        ]
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    notes = [f"- {report.name(row)}: {note}" for row in report.rows if row.group != "training" for note in row.notes]
    lines += [
        "",
        *([recall_line(report), ""] if report.dataset and report.dataset.chance is not None else []),
        _LEGEND,
        *(["", *notes] if notes else []),
    ]
    return "\n".join(lines)


def summary_table(report: BenchmarkReport) -> str:
    """Format the first table of a report for a terminal."""
    if report.ann and not report.rows:
        return ann_table(report.ann)
    devices, report = device_lines(report), without_devices(report)
    if devices and not report.rows:
        return "\n".join(devices)
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
        mark = "> " if row.id == report.ship else "  "
        lines.append(
            f"{mark + report.name(row):{width}}{ways}{_time(row, 'image'):>11}{_time(row, 'text'):>11}"
            f"{_size(row):>10}{memory:>9}"
        )
    if report.ship:
        bar = share(report.suite.min_relative_recall)
        lines.append(f"> is the fastest native int8 row of the bundle whose relative recall may be {bar}")
    if report.dataset and report.rows:
        lines += [recall_line(report), answer(report).replace("**", "")]
    return "\n".join([*lines, *devices])


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
platform's own runtime; reference: by an interpreter of the same program, which says nothing about speed."""

RELATIVE_RECALL = (
    "Relative recall (the share of the student's, or the teacher's, recall that is left), with 95 % intervals"
)


def has_relative_recall(report: BenchmarkReport) -> bool:
    """Return whether any row has a relative recall."""
    return any(row.relative_recall for row in report.rows)


def has_training(report: BenchmarkReport) -> bool:
    """Return whether the report has rows of an equal-budget comparison."""
    return any(row.group == "training" for row in report.rows)


def relative_recall_table(report: BenchmarkReport) -> str:
    """Tabulate the relative recall of each row, and of each exported tower with the student's other one."""
    lines = [
        "| row | exported | student, text to picture | student, picture to text | teacher, text to picture "
        "| teacher, picture to text |",
        "|---|---|---|---|---|---|",
    ]
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


def _teacher_comparison(report: BenchmarkReport, row: ReportRow) -> str:
    """Compare a row with the teacher, where both were timed in the same rounds."""
    image, text = (_ratio(row.latency_ms.get(tower)) for tower in ("image", "text"))
    teacher = next((other for other in report.rows if other.id == TEACHER), None)
    if image is None or text is None or teacher is None or not teacher.size_bytes or not row.size_bytes:
        return ""
    smaller = teacher.size_bytes.total / row.size_bytes.total
    return (
        f"The teacher takes {times(1 / image)} as long for a picture and {times(1 / text)} for a query, and is "
        f"{times(smaller)} as large."
    )


def _ratio(found: Latency | None) -> float | None:
    return found.ratio_to[TEACHER].median if found and TEACHER in found.ratio_to else None


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
