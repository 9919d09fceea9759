"""report.json: everything that a report shows, checked when it is written and when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from conaclip_edge.benchmarks.schema.agreement import Agreement
from conaclip_edge.benchmarks.schema.ann import AnnReport
from conaclip_edge.benchmarks.schema.choice import Choice
from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.benchmarks.schema.gallery import GalleryQuery
from conaclip_edge.benchmarks.schema.parse import parse_json
from conaclip_edge.benchmarks.schema.row import ReportRow
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import read_json
from conaclip_edge.system.result import Extended, Result

SCHEMA: Literal["conaclip-edge/report/2"] = "conaclip-edge/report/2"


class Dataset(Extended):
    """The pairs that recall was measured on.

    Attributes:
        lengths: ids of the captions (special tokens included) at 0, 5, .. 100 %.
        left_out: broken pictures, as "key: reason".
        chance: mean recall of a random order, in percent; an older report has none.
    """

    later = ("chance",)

    name: str
    split: str
    pictures: int
    captions: int
    fingerprint: str
    licence: str
    lengths: tuple[float, ...]
    left_out: tuple[str, ...] = ()
    chance: float | None = None


class MeasuredBundle(Result):
    """The bundle that was measured, and its student.

    Attributes:
        name: of the student.
        digest: of the bundle's manifest.
        bundle: the folder, relative to the working folder where it is inside.
        context: ids of a text at most.
        parameters: part of the student -> number of parameters.
    """

    name: str
    embedding_space: str
    digest: str
    bundle: str
    embed_dim: int
    image_size: int
    context: int
    parameters: dict[str, int]


class BenchmarkReport(Extended):
    """Content of report.json.

    Attributes:
        created: UTC, ISO 8601.
        suite: the settings that were used.
        dataset: None where speed alone was measured, as on a phone.
        platforms: which files to take for iPhone, Android, browser and server, and what is known of them, as
            `conaclip_edge.benchmarks.answer.platforms` chooses; nothing where recall tells nothing, or in an older
            report.
        ship: id of the row that is chosen for a server by its time on this machine; None where there is none.
        gallery_row: the row whose results the gallery shows as the student's.
        pictures: key -> data URI of the gallery's thumbnails.
        agreement: of every two rows of the student and its files; an older report has none.
        ann: of a suite that measures the index's HNSW graph.
    """

    later = ("platforms", "agreement")

    schema_: Literal["conaclip-edge/report/2"] = Field(SCHEMA, alias="schema")
    created: str
    model: MeasuredBundle
    suite: BenchmarkConfig
    environment: Environment
    other_environments: tuple[Environment, ...] = ()
    dataset: Dataset | None = None
    platforms: tuple[Choice, ...] = ()
    ship: str | None = None
    rows: tuple[ReportRow, ...] = ()
    agreement: tuple[Agreement, ...] = ()
    gallery_row: str | None = None
    gallery: tuple[GalleryQuery, ...] = ()
    pictures: dict[str, str] = Field(default_factory=dict)
    ann: AnnReport | None = None

    @model_validator(mode="after")
    def _rows_fit(self) -> BenchmarkReport:
        ids = [row.id for row in self.rows]
        twice = {name for name in ids if ids.count(name) > 1}
        if twice:
            raise ValueError(f"row ids are not unique: {', '.join(sorted(twice))}")
        if self.ship is not None and self.ship not in ids:
            raise ValueError(f"ship names no row: {self.ship}")
        hosts = {self.environment.label, *(other.label for other in self.other_environments)}
        absent = {choice.row for choice in self.platforms if choice.row} - set(ids)
        if absent:
            raise ValueError(f"platforms names no row: {', '.join(sorted(absent))}")
        unknown = {row for each in self.agreement for row in each.rows} - set(ids)
        if unknown:
            raise ValueError(f"agreement names no row: {', '.join(sorted(unknown))}")
        lost = {row.host for row in self.rows} - hosts
        if lost:
            raise ValueError(f"rows of an unknown environment: {', '.join(sorted(lost))}")
        return self

    @property
    def chosen(self) -> frozenset[str]:
        """Ids of the rows that are chosen for any platform."""
        return frozenset(choice.row for choice in self.platforms if choice.row)

    def name(self, row: ReportRow) -> str:
        """Return a row's label, with its machine where that is not the report's own."""
        return row.label if row.host == self.environment.label else f"{row.label}, {row.host}"

    def row(self, name: str) -> ReportRow:
        """Return the row with an id."""
        return next(row for row in self.rows if row.id == name)


def parse_report(values: object, where: str) -> BenchmarkReport:
    """Check the content of a report.json.

    Args:
        values: the content.
        where: names the file in the error.

    Raises:
        UserError: it is of another schema, or rows, environments and the recommended row do not belong together.
    """
    return parse_json(BenchmarkReport, values, where, f"A report of schema {SCHEMA} is needed.")


def read_report(path: Path) -> BenchmarkReport:
    """Read and check a report.json.

    Raises:
        UserError: there is none, or it is no report of today's schema.
    """
    if not path.exists():
        raise UserError(f"no report at {path}. Make one: conaclip-edge benchmark")
    return parse_report(read_json(path, "report"), str(path))


def checked(report: BenchmarkReport, where: str) -> BenchmarkReport:
    """Check a report that was put together from others; errors as of `parse_report`."""
    return parse_report(report.model_dump(by_alias=True), where)
