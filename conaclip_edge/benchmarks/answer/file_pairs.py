"""The rows of a report by the files they are of: the same pair may have run on this machine, a device and a phone."""

from __future__ import annotations

from dataclasses import dataclass

from conaclip_edge.benchmarks.schema.report import BenchmarkReport
from conaclip_edge.benchmarks.schema.row import ReportRow
from conaclip_edge.models.certainty import WIDEST

_BROWSER_FILES = "onnx-int8"  # what `web` puts into a site, and a browser's row is of


@dataclass(frozen=True)
class FilePair:
    """A picture and a text tower of one target, precision and format.

    Attributes:
        rows: of these files, wherever they ran; the first is the one with recall, where any has it.
    """

    rows: tuple[ReportRow, ...]

    @property
    def row(self) -> ReportRow:
        """The row that says what the files are: their recall and sizes."""
        return self.rows[0]

    @property
    def plain(self) -> bool:
        """Whether they are a plain export, which is not in the bundle."""
        return self.row.group == "comparison"

    @property
    def bytes(self) -> int | None:
        """Size of both."""
        return self.row.size_bytes.total if self.row.size_bytes else None

    @property
    def missed_golden(self) -> bool:
        """Whether a device gave other embeddings than the golden vectors allow."""
        return any(tower.golden_passed is False for row in self.rows for tower in row.on_device.values())


def file_pairs(report: BenchmarkReport) -> list[FilePair]:
    """Return the pairs of files that a report has rows of, in its order: the bundle's and the plain exports'."""
    found: dict[str, list[ReportRow]] = {}
    for row in report.rows:
        if row.group != "training" and row.format:
            found.setdefault(_files(row), []).append(row)
    return [FilePair(tuple(sorted(rows, key=lambda row: row.recall is None))) for rows in found.values()]


def recall_left(row: ReportRow, least: float) -> bool | None:
    """Return whether a row keeps enough recall, known well enough; None where it was not measured.

    Args:
        row: of a bundle, or a plain export: the rule is the same.
        least: relative recall to the float32 student that the upper end of the 95 % interval must reach, in both
            directions: with few pairs a rank or two flips either way in any file.
    """
    found = row.relative_recall.get("student", {}).values()
    if not found:
        return None
    return (
        min(interval.high for interval in found) >= least
        and max(100 * (interval.high - interval.low) for interval in found) <= WIDEST
    )


def _files(row: ReportRow) -> str:
    """Return the id that the row of the same files has in a report of one machine."""
    if row.target == "web":
        return _BROWSER_FILES
    name = row.id.partition("@")[0]  # a merged report adds the machine
    return name.removesuffix(f"-{row.device.split()[0]}") if row.device else name
