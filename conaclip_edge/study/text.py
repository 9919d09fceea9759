"""A study's result as text for a terminal."""

from __future__ import annotations

from pathlib import Path

from conaclip_edge.study.report import GraphStatistics, StudyReport


def study_table(report: StudyReport, out: Path) -> str:
    """Format the table, the path, the sweeps, the sizes and the test of a study.

    Args:
        report: of the study.
        out: folder of its page.
    """
    data = report.dataset
    sizes = f"{data.train.pictures} train, {data.val.pictures} val, {data.test.pictures} test"
    lines = [
        f"{data.name}: {sizes} pictures; {report.config.seeds} seeds; {report.runs.all} runs, "
        f"{report.run_seconds / 60:.0f} min of training",
        "mean of the six recalls on val, standard deviation over the seeds, difference to the baseline [95 %]",
        *_beside(report, "val", report.baseline),
        _line("baseline", report.baseline),
        *(_line(f"+ {cell}", statistics) for cell, statistics in report.cells.items()),
    ]
    if report.path:
        lines.append("path (added one after the other; stays if the mean rises)")
        lines += [_line(f"+ {step.cell} {'kept' if step.kept else 'left out'}", step.row) for step in report.path]
    lines += [_line(f"temperature x {step.factor:g}", step.row) for step in report.sweeps.temperature]
    lines += [_line(f"weight x {step.factor:g}", step.row) for step in report.sweeps.weight]
    lines += [_line(f"{size.name}, {size.parameters:,} p.", size.row) for size in report.sizes]
    lines.append("on test")
    lines += _beside(report, "test", report.test["baseline"].test) if "baseline" in report.test else []
    lines += [_line(name, graph.test) for name, graph in report.test.items()]
    cells = " + ".join(report.final.cells) or "nothing"
    return "\n".join([*lines, f"final graph: baseline + {cells}. Page: {out / 'study.html'}"])


def _beside(report: StudyReport, split: str, baseline: GraphStatistics) -> list[str]:
    """Say what recall on a split is seen beside: chance, the teacher, and how little the pictures may tell."""
    found = baseline.certainty
    if found is None:
        return []
    low, high = found.interval_95
    teacher = report.teacher.mean_recall.get(split)
    parts = [f"{split}: {found.pictures} pictures, chance {found.chance:.1f} %"]
    parts += [f"teacher {teacher:.1f} %"] if teacher is not None else []
    parts.append(f"the baseline's own interval [{low:.1f} to {high:.1f}]")
    parts += [verdict] if (verdict := found.verdict()) else []
    return [", ".join(parts)]


def _line(name: str, statistics: GraphStatistics) -> str:
    spread = "" if statistics.spread is None else f" +- {statistics.spread:.1f}"
    mean = f"{statistics.mean:.1f}{spread}"
    low, high = statistics.interval_95
    interval = f"{statistics.difference:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"  {name:32}{mean:>16}{interval:>24}"
