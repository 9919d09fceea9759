"""The shape of report.json: everything that a report shows, checked when it is written and when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from conaclip_edge.benchmarks.schema.ann import Ann
from conaclip_edge.benchmarks.schema.base import Part
from conaclip_edge.config.benchmark import BenchmarkConfig
from conaclip_edge.errors import UserError
from conaclip_edge.system.files import read_json

SCHEMA: Literal["conaclip-edge/report/1"] = "conaclip-edge/report/1"
TEACHER, STUDENT = "teacher-fp32", "student-fp32"  # ids of the rows that relative_recall and ratios are taken to
Tower = Literal["image", "text"]
Way = Literal["t2i", "i2t"]
RecallTable = dict[Way, dict[str, float]]  # {"t2i": {"1": %, "5": %, "10": %}, "i2t": {..}}


class Interval(Part):
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Spread(Part):
    """Median and quartiles over the rounds."""

    median: float
    q25: float
    q75: float


class Environment(Part):
    """A machine and what ran on it.

    Attributes:
        label: how rows name it.
        kind: a phone's figures are never those of a host.
        isa: instruction sets that decide which kernels run.
        cores: that the process may use.
        load: the machine's load average (1 minute) when the benchmark began; None where the system has none.
        versions: of the packages, or of what a phone says of itself.
    """

    label: str
    kind: Literal["host", "phone"]
    cpu: str
    isa: tuple[str, ...] = ()
    cores: int | None = None
    memory_bytes: int | None = None
    os: str
    virtual: bool = False
    load: float | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class Latency(Part):
    """Times of one tower in milliseconds a call.

    Attributes:
        threads: CPU threads.
        batch: pictures or texts a call.
        texts: "captions" at their own lengths or "full context"; None for pictures.
        p50: and the other percentiles; None where a phone's benchmark program gives the mean alone.
        std: standard deviation.
        n: timed calls, one a round.
        warmup: untimed calls before.
        cold_load: loading the file in a fresh process, median; the file is in the page cache.
        first_call: the first call after it.
        iqr: distance of the quartiles.
        noise: IQR over median once the inputs' own differences are taken out.
        noisy: whether that is above the suite's bar.
        per_second: pictures or texts a second.
        quantiles: of the times at 0, 5, .. 100 %.
        ratio_to: row -> time over that row's time in the same round.
    """

    tower: Tower
    threads: int
    batch: int
    texts: Literal["captions", "full context"] | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    mean: float
    std: float | None
    n: int
    warmup: int
    cold_load: float | None = None
    first_call: float | None = None
    iqr: float | None
    noise: float | None
    noisy: bool
    per_second: float
    quantiles: tuple[float, ...] = ()
    ratio_to: dict[str, Spread] = Field(default_factory=dict)

    @property
    def typical(self) -> float:
        """The median, or the mean where that is all there is."""
        return self.mean if self.p50 is None else self.p50


class Sizes(Part):
    """Bytes of the weights as they ship; a tower is None where one file holds both."""

    image: int | None
    text: int | None
    total: int


class Memory(Part):
    """Resident memory in bytes of fresh processes that load a file and run it once, medians.

    Attributes:
        image: peak with the image tower.
        text: peak with the text tower.
        both: peak with both.
        runtime: before anything is loaded: interpreter, numpy and the runtime's own libraries.
    """

    image: int | None
    text: int | None
    both: int
    runtime: int


class Alone(Part):
    """One exported tower with the float32 student's other tower."""

    recall: RecallTable
    relative_recall: dict[Way, Interval]


class Coverage(Part):
    """Where the operations of a file run.

    Attributes:
        accelerated: what the counted operations run in, e.g. "XNNPACK delegate" or "int8 kernels".
        inside: number of operations (or delegate calls) there.
        outside: operations that fall back, by name.
    """

    accelerated: str
    inside: int
    outside: dict[str, int]


class Row(Part):
    """One model x target x precision on one machine.

    Attributes:
        id: unique in the report; ratios and figures name rows by it.
        label: for people.
        group: "files" what the bundle ships, "comparison" what it is held against, "training" rows of the
            equal-budget comparison, which hold recall alone.
        host: label of the environment.
        format: suffix of the files; "" for a model that is no exported file.
        weights: "random" rows have the shape of a known model and no recall.
        executed: by the platform's own runtime, by the reference interpreter, or not at all; `notes` say why.
        relative_recall: "student" or "teacher" -> direction -> share of its mean recall that is left.
        alone: tower -> that tower with the float32 student's other one.
        latency_ms: at batch 1, one thread, texts at their own lengths.
        more_latency: all other conditions.
        peak_rss_bytes: tower or "both" -> peak of a fresh process.
        stages: "picture" or "query" -> stage -> median milliseconds, in order.
        equal_budget: training rows: what comparison.json says beside the recall.
    """

    id: str
    label: str
    group: Literal["files", "comparison", "training"]
    host: str
    model: str
    target: Literal["onnx", "executorch", "coreml", "torch", "web"]
    precision: Literal["int8", "fp16", "fp32"]
    format: str
    weights: Literal["trained", "random"]
    executed: Literal["native", "reference", "no"]
    size_bytes: Sizes | None
    recall: RecallTable | None
    recall_interval: dict[Way, dict[str, tuple[float, float]]] | None = None
    mean_recall: float | None = None
    relative_recall: dict[Literal["student", "teacher"], dict[Way, Interval]] = Field(default_factory=dict)
    alone: dict[Tower, Alone] = Field(default_factory=dict)
    latency_ms: dict[Tower, Latency] = Field(default_factory=dict)
    more_latency: tuple[Latency, ...] = ()
    peak_rss_bytes: Memory | None = None
    stages: dict[Literal["picture", "query"], dict[str, float]] = Field(default_factory=dict)
    coverage: dict[Tower, Coverage] = Field(default_factory=dict)
    equal_budget: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _reference_has_no_speed(self) -> Row:
        if self.executed != "native" and (self.latency_ms or self.more_latency or self.peak_rss_bytes or self.stages):
            raise ValueError(f"row {self.id} was not run by its platform, so it has no latency, memory or stages")
        return self


class Dataset(Part):
    """The pairs that recall was measured on.

    Attributes:
        lengths: ids of the captions (special tokens included) at 0, 5, .. 100 %.
        left_out: broken pictures, as "key: reason".
    """

    name: str
    split: str
    pictures: int
    captions: int
    fingerprint: str
    licence: str
    lengths: tuple[float, ...]
    left_out: tuple[str, ...] = ()


class Found(Part):
    """A picture at its place in a result list."""

    key: str
    caption: str
    score: float
    right: bool


class Query(Part):
    """A text and what teacher and student found for it.

    Attributes:
        kind: "example" and "failure" are captions of the split, "typed" has no right picture.
        key: the right picture.
        rank: "teacher" or "student" -> place of the right picture, from 1.
        top: the same -> the first five.
    """

    text: str
    kind: Literal["example", "failure", "typed"]
    key: str | None
    rank: dict[Literal["teacher", "student"], int]
    top: dict[Literal["teacher", "student"], tuple[Found, ...]]


class Model(Part):
    """The student whose bundle was measured; `digest` is that of the bundle's manifest."""

    name: str
    embedding_space: str
    digest: str
    bundle: str
    embed_dim: int
    image_size: int
    context: int
    parameters: dict[str, int]


class Report(Part):
    """Content of report.json.

    Attributes:
        created: UTC, ISO 8601.
        suite: the settings that were used.
        dataset: None where speed alone was measured, as on a phone.
        ship: the row that the report recommends, None if none keeps enough recall.
        gallery_row: the row whose results the gallery shows as the student's.
        pictures: key -> data URI of the gallery's thumbnails.
        ann: of a suite that measures the index's graph.
    """

    schema_: Literal["conaclip-edge/report/1"] = Field(alias="schema")
    created: str
    model: Model
    suite: BenchmarkConfig
    environment: Environment
    other_environments: tuple[Environment, ...] = ()
    dataset: Dataset | None
    ship: str | None
    rows: tuple[Row, ...]
    gallery_row: str | None = None
    gallery: tuple[Query, ...] = ()
    pictures: dict[str, str] = Field(default_factory=dict)
    ann: Ann | None = None

    @model_validator(mode="after")
    def _rows_fit(self) -> Report:
        ids = [row.id for row in self.rows]
        twice = {name for name in ids if ids.count(name) > 1}
        if twice:
            raise ValueError(f"row ids are not unique: {', '.join(sorted(twice))}")
        if self.ship is not None and self.ship not in ids:
            raise ValueError(f"ship names no row: {self.ship}")
        hosts = {self.environment.label, *(other.label for other in self.other_environments)}
        lost = {row.host for row in self.rows} - hosts
        if lost:
            raise ValueError(f"rows of an unknown environment: {', '.join(sorted(lost))}")
        return self

    def name(self, row: Row) -> str:
        """Return a row's label, with its machine where that is not the report's own."""
        return row.label if row.host == self.environment.label else f"{row.label}, {row.host}"

    def row(self, name: str) -> Row:
        """Return the row with an id."""
        return next(row for row in self.rows if row.id == name)


def parse_report(values: object, where: str) -> Report:
    """Check plain values; the error names the file and the first thing that is wrong."""
    try:
        return Report.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise UserError(f"{where}: '{place}': {first['msg']}. A report of schema {SCHEMA} is needed.") from None


def read_report(path: Path) -> Report:
    """Read and check a report.json."""
    if not path.exists():
        raise UserError(f"no report at {path}. Make one: conaclip-edge benchmark")
    return parse_report(read_json(path, "report"), str(path))


def plain(report: Report) -> dict[str, Any]:
    """Return a report as the values that are written to report.json."""
    return report.model_dump(mode="json", by_alias=True)
