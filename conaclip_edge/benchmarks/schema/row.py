"""One row of a report: a model, a target and a precision, as measured on one machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from conaclip_edge.benchmarks.schema.spread import Interval, Spread
from conaclip_edge.bundle.card.accelerators import Accelerator
from conaclip_edge.runtime.tower import Executed
from conaclip_edge.system.result import Extended, Result

Tower = Literal["image", "text"]
Direction = Literal["t2i", "i2t"]
DIRECTIONS: tuple[Direction, ...] = ("t2i", "i2t")
RecallTable = dict[Direction, dict[str, float]]  # {"t2i": {"1": %, "5": %, "10": %}, "i2t": {..}}


class Latency(Result):
    """Times of one tower in milliseconds per call.

    Attributes:
        threads: CPU threads.
        batch: pictures or texts per call.
        texts: "captions" at their own lengths or "full context"; None for pictures.
        p50: and the other percentiles; None where a phone's benchmark program gives the mean alone.
        std: standard deviation.
        n: timed calls, one per round.
        warmup: untimed calls before.
        cold_load: loading the file in a fresh process, median; the file is in the page cache.
        first_call: the first call after it.
        iqr: distance of the quartiles.
        noise: IQR over median once the inputs' own differences are taken out.
        noisy: whether that is above the suite's limit.
        per_second: pictures or texts per second.
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


class Sizes(Extended):
    """Bytes of the weights as they ship; a tower is None where one file holds both.

    Attributes:
        deflated: tower -> bytes as an app store delivers the file, in a zip archive (deflate, level 9); of files alone,
            and an older report has none.
    """

    later = ("deflated",)

    image: int | None
    text: int | None
    total: int
    deflated: dict[Tower, int] = Field(default_factory=dict)


class Memory(Result):
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


class TowerAlone(Result):
    """Recall of one exported tower with the float32 student's other tower."""

    recall: RecallTable
    relative_recall: dict[Direction, Interval]


class Coverage(Result):
    """Where the operations of a file run.

    Attributes:
        accelerated: what the counted operations run in, e.g. "XNNPACK delegate" or "int8 kernels".
        inside: number of operations (or delegate calls) there.
        outside: operations that fall back, by name.
    """

    accelerated: str
    inside: int
    outside: dict[str, int]


class EqualBudget(Result):
    """How one of the students of an equal-budget comparison, or its teacher, was trained.

    Attributes:
        split: that its recall was measured on.
        pictures: of that split.
        seeds: number of trainings; None for the teacher.
        spread: standard deviation of the mean recall between seeds, in points.
        seconds: of each training.
    """

    split: str
    pictures: int | None = None
    seeds: int | None = None
    spread: float | None = None
    seconds: tuple[float, ...] | None = None


class Instructions(Result):
    """Instructions of one call: counted, not timed.

    Attributes:
        median: of the counts.
        low: the least of them.
        high: the largest.
        n: number of counts, each a difference of two runs.
        start: of loading the file and the first call together.
        ids: of the text that was counted; None for a picture.
    """

    median: float
    low: float
    high: float
    n: int
    start: int
    ids: int | None


class OnDevice(Result):
    """One exported tower run on a device's kernels.

    Cosines and recall are None where only instructions were counted, or the host does not run the file.

    Attributes:
        golden: least cosine to the golden vectors; None of a plain export, which has none.
        golden_passed: whether that is what `verify` asks for.
        to_student: mean cosine to the float32 student over the held-out inputs.
        to_host: mean cosine to the host's run of the same file over them.
        to_host_least: the least of these.
        pictures: of the split that recall was measured on, the first ones.
        captions: of these pictures.
        recall: with the other tower of the same target as the host runs it.
        mean_recall: of it.
        host_mean_recall: the same pictures and captions with both towers run by the host.
        instructions: None where they cannot be counted.
        runtime_bytes: peak memory of the process before the file was loaded; under emulation with the emulator.
        peak_bytes: after it ran.
    """

    golden: float | None
    golden_passed: bool | None
    to_student: float | None
    to_host: float | None
    to_host_least: float | None
    pictures: int
    captions: int
    recall: RecallTable | None
    mean_recall: float | None
    host_mean_recall: float | None
    instructions: Instructions | None
    runtime_bytes: int
    peak_bytes: int


class ReportRow(Extended):
    """One model, target and precision on one machine.

    Attributes:
        id: unique in the report; ratios and charts name rows by it.
        label: for people.
        group: "files" what the bundle ships, "comparison" what it is compared with, "training" rows of the
            equal-budget comparison, which have recall alone.
        host: label of the environment.
        format: suffix of the files; "" for a model that is no exported file.
        weights: "random" rows have the shape of a known model and no recall.
        device: whose kernels ran the files, where that is not the host: "arm64 (emulated Cortex-A76)".
        executed: by the platform's own runtime, by its executor on another platform, by the reference interpreter,
            under emulation, or not at all; `notes` say why.
        relative_recall: "student" or "teacher" -> direction -> share of that model's mean recall that is left.
        alone: tower -> that tower with the float32 student's other one.
        latency_ms: at batch 1, one thread, texts at their own lengths.
        more_latency: all other conditions.
        peak_rss_bytes: tower or "both" -> peak of a fresh process.
        stages: "picture" or "query" -> stage -> median milliseconds, in order.
        accelerators: tower -> what accelerators of phones would take of its file, as the bundle records it.
        on_device: what a device's kernels gave, of rows with a device; these have neither times nor other recall.
        equal_budget: of training rows.
        mean_interval: 95 % interval of the mean recall; an older report has none.
    """

    later = ("mean_interval", "device", "on_device", "accelerators")

    id: str
    label: str
    group: Literal["files", "comparison", "training"]
    host: str
    device: str | None = None
    model: str
    target: Literal["onnx", "executorch", "coreml", "coreai", "torch", "web"]
    precision: Literal["int8", "fp16", "fp32"]
    format: str
    weights: Literal["trained", "random"]
    executed: Executed | Literal["emulated", "no"]
    size_bytes: Sizes | None
    recall: RecallTable | None
    recall_interval: dict[Direction, dict[str, tuple[float, float]]] | None = None
    mean_recall: float | None = None
    mean_interval: tuple[float, float] | None = None
    relative_recall: dict[Literal["student", "teacher"], dict[Direction, Interval]] = Field(default_factory=dict)
    alone: dict[Tower, TowerAlone] = Field(default_factory=dict)
    latency_ms: dict[Tower, Latency] = Field(default_factory=dict)
    more_latency: tuple[Latency, ...] = ()
    peak_rss_bytes: Memory | None = None
    stages: dict[Literal["picture", "query"], dict[str, float]] = Field(default_factory=dict)
    coverage: dict[Tower, Coverage] = Field(default_factory=dict)
    accelerators: dict[Tower, tuple[Accelerator, ...]] = Field(default_factory=dict)
    on_device: dict[Tower, OnDevice] = Field(default_factory=dict)
    equal_budget: EqualBudget | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _reference_has_no_speed(self) -> ReportRow:
        if self.executed != "native" and (self.latency_ms or self.more_latency or self.peak_rss_bytes or self.stages):
            raise ValueError(f"row {self.id} was not run by its platform, so it has no latency, memory or stages")
        return self
