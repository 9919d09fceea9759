"""The section of a report on how alike the files of a student embed the same inputs."""

from __future__ import annotations

from dataclasses import dataclass

from conaclip_edge.benchmarks.report.numbers import ABSENT, cosine
from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import Tower

TITLE = "The same student in every format"
LEGEND = (
    "Mean cosine of two rows' embeddings of the same inputs, one by one; the least is in report.json. 1 is the same "
    "direction. Files of one precision differ by their rounding, and by the order of their runtimes' sums. The Core ML "
    "rows off a Mac are by this project's interpreter, the Core AI rows by Apple's executor: both hold the same int8 "
    "values of the same weights, so that a low cosine between the two would be a fault of the interpreter."
)
_TOWERS: dict[Tower, str] = {"image": "Pictures", "text": "Captions"}


@dataclass(frozen=True)
class Matrix:
    """The cosines of a tower.

    Attributes:
        title: what was embedded, and how many.
        heads: labels of the columns.
        lines: label of a row, and for each column the place in `agreement`; None on the diagonal and above.
    """

    title: str
    heads: tuple[str, ...]
    lines: tuple[tuple[str, tuple[int | None, ...]], ...]


def matrices(report: BenchmarkReport) -> list[Matrix]:
    """Return a matrix for each tower that was compared; the last row has no column, the first no line."""
    found = []
    for tower, title in _TOWERS.items():
        places = {each.rows: place for place, each in enumerate(report.agreement) if each.tower == tower}
        if not places:
            continue
        ids = list(dict.fromkeys(row for pair in places for row in pair))
        labels = {row.id: report.name(row) for row in report.rows}
        lines = tuple((labels[row], tuple(places.get((column, row)) for column in ids[:-1])) for row in ids[1:])
        count = report.agreement[next(iter(places.values()))].n
        found.append(Matrix(f"{title}, {count}", tuple(labels[row] for row in ids[:-1]), lines))
    return found


def agreement_table(report: BenchmarkReport) -> str:
    """Tabulate the cosines in Markdown, a table for each tower; "" where nothing was compared."""
    parts = []
    for matrix in matrices(report):
        heads = [matrix.title, *matrix.heads]
        lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        for label, places in matrix.lines:
            cells = [ABSENT if place is None else cosine(report.agreement[place].mean) for place in places]
            lines.append(f"| {' | '.join([label, *cells])} |")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, LEGEND]) if parts else ""
