"""The index's graph in a report: a sentence, a table, a chart."""

from __future__ import annotations

from markupsafe import Markup

from conaclip_edge.benchmarks.report import svg_charts as charts
from conaclip_edge.benchmarks.report.numbers import count, megabytes, milliseconds, share, times
from conaclip_edge.benchmarks.schema.ann import AnnReport, AnnRow


def ann_answer(ann: AnnReport) -> str:
    """Return a sentence: which storage was chosen, and what the largest graph of it does."""
    if ann.choice is None:
        return f"No storage finds enough of the {ann.k} nearest vectors at every size."
    row = max((row for row in ann.rows if row.precision == ann.choice), key=lambda row: row.vectors)
    return (
        f"The index stores its vectors in **{row.precision}**: among {count(row.vectors)} synthetic vectors it finds "
        f"{share(row.recall)} of the {ann.k} nearest, 95 % of the queries within {milliseconds(row.p95)} (one thread; "
        f"{milliseconds(row.p95_cpu)} of the processor), with {megabytes(row.resident_bytes)} in memory, "
        f"{times(row.resident_bytes / row.raw_bytes)} the vectors alone; {count(ann.added)} more are added in "
        f"{row.add_s:.2f} s."
    )


def ann_table(ann: AnnReport) -> str:
    """Tabulate every graph that was measured."""
    lines = [
        "| vectors | storage | recall@10 | by the graph alone | query p50 | p95 | in memory | over raw | file | build "
        f"| {count(ann.added)} more | write |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(ann.rows, key=lambda row: (row.vectors, row.raw_bytes)):
        cells = [
            count(row.vectors),
            f"**{row.precision}**" if row.precision == ann.choice else row.precision,
            share(row.recall),
            share(row.graph_recall),
            f"{milliseconds(row.p50)} ({milliseconds(row.p50_cpu)})",
            f"{milliseconds(row.p95)} ({milliseconds(row.p95_cpu)})",
            megabytes(row.resident_bytes),
            times(row.resident_bytes / row.raw_bytes),
            megabytes(row.file_bytes),
            f"{row.build_s:.1f} s ({row.build_cpu_s:.1f} s)",
            f"{row.add_s:.2f} s ({row.add_cpu_s:.2f} s)",
            f"{row.write_s:.2f} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", ann_legend(ann)])


def ann_legend(ann: AnnReport) -> str:
    """Return what the numbers of the table are."""
    return (
        f"Vectors: {ann.data}. {count(ann.queries)} queries each, against exact search in float32. recall@10 is that "
        "of a search: the graph's candidates ranked by exact cosines. Times are those of the graph on one thread; in "
        "brackets those that the processor worked, which others' work on the machine does not stretch as much. Memory "
        "is what the process grew by while the file was mapped and all queries were asked; raw is the vectors alone in "
        "their storage. Adding is in memory; a search sees new pictures before they are in the graph. HNSW of usearch: "
        f"{ann.connectivity} links, expansion {ann.expansion_add} to build and {ann.expansion_search} to search."
    )


def ann_chart(ann: AnnReport) -> Markup | None:
    """Plot recall against the time of a query, one mark per graph; None where there is but one."""
    points = [charts.Point(row.id, _name(row), _style(row, ann), row.p50, 100 * row.recall) for row in ann.rows]
    if len(points) < 2:
        return None
    points.sort(key=lambda point: point.style == "ship")
    shown = "; ".join(f"{point.label} {milliseconds(point.latency)} and {point.recall:.1f} %" for point in points)
    return charts.pareto(points, f"recall@{ann.k} against the time of a query: {shown}", "a query", f"recall@{ann.k}")


def _name(row: AnnRow) -> str:
    thousands = row.vectors // 1000
    return f"{row.precision}, {thousands // 1000}M" if thousands >= 1000 else f"{row.precision}, {thousands}k"


def _style(row: AnnRow, ann: AnnReport) -> str:
    return "ship" if row.precision == ann.choice else {"f16": "files", "f32": "student", "i8": "plain"}[row.precision]
