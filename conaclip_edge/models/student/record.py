"""training.json: what a student was trained on, how, and how well it did on val."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.graph import Term
from conaclip_edge.models.certainty import Certainty
from conaclip_edge.models.teacher.record import SplitRecall
from conaclip_edge.system.result import Extended, Result


class TrainedOn(Result):
    """The data of a training.

    Attributes:
        name: of the data set.
        fingerprint: of its content.
        licence: of its pictures.
        train_pictures: number of pictures in the train split.
        labelled_pictures: number of them whose captions were paired.
        left_out: "key: reason" of each picture that could not be used.
    """

    name: str
    fingerprint: str
    licence: str
    train_pictures: int
    labelled_pictures: int
    left_out: tuple[str, ...]


class TeacherRecord(Extended):
    """The teacher of a training.

    Attributes:
        name: of the model.
        fingerprint: of its weights.
        parameters: "all" and "token_table".
        recall: split ("val", "test") -> its recall on the usable pictures of the split; empty without captions.
    """

    later = ("recall",)

    name: str
    fingerprint: str
    parameters: dict[str, int]
    recall: dict[str, SplitRecall] = Field(default_factory=dict)


class ValRecall(Extended):
    """Recall on val in percent: direction -> k -> recall, the median rank of each direction, the mean of all six.

    `of` says what pictures are to find: captions, or of data without captions the teacher's embedding of themselves.
    `certainty` is what stands beside the mean; a record of an older version has none.
    """

    later = ("certainty",)

    of: Literal["captions", "teacher pictures"] = "captions"
    recall: dict[str, dict[str, float]]
    median_rank: dict[str, float]
    mean_recall: float
    certainty: Certainty | None = None


class TrainingRecord(Extended):
    """The content of training.json.

    Attributes:
        recipe: of the run.
        graph: its terms, edge by edge.
        data: what it learned from.
        teacher: whom it learned from.
        parameters: of the student: "all", its parts, and "started_from_pretrained".
        seconds: of the training alone.
        versions: package -> version.
        val: of the finished student in float32.
        val_int8: of the same with its image tower on the int8 grids that it was trained on.
    """

    later = ("val_int8",)

    recipe: DistillConfig
    graph: tuple[Term, ...]
    data: TrainedOn
    teacher: TeacherRecord
    parameters: dict[str, int]
    seconds: float
    versions: dict[str, str]
    val: ValRecall
    val_int8: ValRecall | None = None
