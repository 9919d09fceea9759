"""What the commands `compare` and `study` find: the shapes of comparison.json and study.json."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from conaclip_edge.benchmarks.schema.environment import Environment
from conaclip_edge.config.graph import GraphConfig
from conaclip_edge.config.study import StudyConfig
from conaclip_edge.evaluation.evaluate import EvaluatedSplit
from conaclip_edge.models.certainty import Certainty
from conaclip_edge.system.result import Extended, Result

SCHEMA: Literal["conaclip-edge/study/1"] = "conaclip-edge/study/1"


class ModelRecall(Extended):
    """Recall on one split, in percent.

    Attributes:
        mean: of the six recalls; of several seeds, their mean.
        spread: standard deviation of `mean` over the seeds; None for a single model.
        recall: direction ("t2i", "i2t") -> k -> recall@k, the mean over the seeds.
        certainty: what stands beside the mean; of several seeds, that of their mean. An older report has none.
    """

    later: ClassVar[tuple[str, ...]] = ("certainty",)

    mean: float
    spread: float | None = None
    recall: dict[str, dict[str, float]]
    certainty: Certainty | None = None


class SeedsRecall(ModelRecall):
    """Recall of the students of one graph.

    Attributes:
        mean_recall: mean of the six recalls, one per seed.
        val_mean_recall: the same on val.
        seconds: of the training, one per seed.
        parameters: of one student: "all", its parts, and "started_from_pretrained".
        difference: of `mean` to the first graph's, in points; the first graph and an older report have none.
        interval_95: of the difference: paired bootstrap over pictures and seeds.
    """

    later: ClassVar[tuple[str, ...]] = ("certainty", "difference", "interval_95")

    mean_recall: tuple[float, ...]
    val_mean_recall: tuple[float, ...]
    seconds: tuple[float, ...]
    parameters: dict[str, int]
    difference: float | None = None
    interval_95: tuple[float, float] | None = None


class ComparisonMachine(Result):
    """Where a comparison ran; `versions` goes by package."""

    system: str
    machine: str
    cores: int | None
    threads_a_run: int
    versions: dict[str, str]


class ComparisonReport(Result):
    """Several graphs at equal budget: the same recipe, data and seeds.

    Attributes:
        split: that recall is of.
        n: pictures of the split.
        seeds: of initial weights and batches.
        dataset: what recall was measured on.
        recipe: that all runs share, as it was written then.
        environment: where the runs were.
        rows: name of the graph -> its students; the demo puts "teacher" before them.
    """

    split: str
    n: int
    seeds: tuple[int, ...]
    dataset: EvaluatedSplit
    recipe: dict[str, JsonValue]
    environment: ComparisonMachine
    rows: dict[str, SeedsRecall | ModelRecall]


class GraphStatistics(ModelRecall):
    """Recall of the students of one graph, and how far it is from the baseline's on the same queries.

    Attributes:
        mean_recall: mean of the six recalls, one per seed.
        difference: of `mean` to the baseline's, in points.
        interval_95: of the difference: paired bootstrap over pictures and seeds.
        seconds: of the training, one per seed.
    """

    mean_recall: tuple[float, ...]
    difference: float
    interval_95: tuple[float, float]
    seconds: tuple[float, ...]


class PathStep(Result):
    """One cell that was added to the graph so far.

    Attributes:
        cell: that was added.
        kept: whether it stays.
        gain: of the mean recall on val over the best graph so far, in points.
        graph: all cells of the graph that was trained.
        row: its statistics on val.
    """

    cell: str
    kept: bool
    gain: float
    graph: tuple[str, ...]
    row: GraphStatistics


class FinalGraph(Result):
    """What the path ends with: the cells that stay, the graph they make with the baseline, its statistics on val."""

    cells: tuple[str, ...]
    graph: GraphConfig
    row: GraphStatistics


class SweepStep(Result):
    """The final graph with its temperatures or weights times a factor, on val."""

    factor: float
    row: GraphStatistics


class Sweeps(Result):
    """Factors on the final graph's fixed temperatures and on its added weights, in rising order."""

    temperature: tuple[SweepStep, ...]
    weight: tuple[SweepStep, ...]


class StudentSize(Result):
    """A student that the final graph trained, on val; "recipe" is the student of all other runs."""

    name: str
    parameters: int
    row: GraphStatistics


class GraphOnTest(Result):
    """A graph of the table on test; its differences are to the baseline on the same split."""

    val: GraphStatistics
    test: GraphStatistics


class SplitSize(Result):
    """Usable pictures of a split and their captions."""

    pictures: int
    captions: int


class StudyData(Result):
    """The data set of a study."""

    name: str
    fingerprint: str
    train: SplitSize
    val: SplitSize
    test: SplitSize


class StudyTeacher(Extended):
    """The teacher of all runs; `mean_recall` goes by split."""

    later = ("mean_recall",)

    name: str
    fingerprint: str
    mean_recall: dict[str, float] = Field(default_factory=dict)


class RunCounts(Result):
    """Runs of a study, and how many of them the last call did."""

    all: int
    done_now: int


class AddedWith(Result):
    """Weight and fixed temperature that a supervision is added with; None: the student's logit scale, or none."""

    weight: float
    temperature: float | None


class StudyMachine(Environment):
    """The machine that a study ran on."""

    threads_a_run: int = 1


class StudyReport(Result):
    """The content of study.json.

    Attributes:
        schema_: of this file; its key is "schema".
        name: of the study.
        rule: how the path chooses.
        seconds: of the last call.
        run_seconds: of training, all runs together.
        runs: how many there were.
        dataset: all runs' data.
        teacher: all runs' teacher.
        added_with: supervision -> weight and temperature.
        config: the study.
        baseline: statistics on val of inter-modal student-student InfoNCE alone.
        cells: "learning type/supervision" -> statistics on val of the baseline with it.
        candidates: cells that help for certain, best first.
        path: the steps from the baseline to the final graph.
        final: the graph that the path ends with.
        sweeps: of the final graph.
        sizes: of students that the final graph trained.
        test: baseline, final, motis and conaclip, trained once more and looked at on test.
        created: when, as ISO 8601 in UTC.
        environment: where.
    """

    schema_: Literal["conaclip-edge/study/1"] = Field(SCHEMA, alias="schema")
    name: str
    rule: str
    seconds: float
    run_seconds: float
    runs: RunCounts
    dataset: StudyData
    teacher: StudyTeacher
    added_with: dict[str, AddedWith]
    config: StudyConfig
    baseline: GraphStatistics
    cells: dict[str, GraphStatistics]
    candidates: tuple[str, ...]
    path: tuple[PathStep, ...]
    final: FinalGraph
    sweeps: Sweeps
    sizes: tuple[StudentSize, ...]
    test: dict[str, GraphOnTest]
    created: str
    environment: StudyMachine
