"""training.json: what a student was trained on, how, and how well it did on val."""

from __future__ import annotations

from typing import Literal

from conaclip_edge.config.distill import DistillConfig
from conaclip_edge.config.graph import Term
from conaclip_edge.system.result import Result


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


class TeacherRecord(Result):
    """The teacher of a training; `parameters` has "all" and "token_table"."""

    name: str
    fingerprint: str
    parameters: dict[str, int]


class ValRecall(Result):
    """Recall on val in percent: direction -> k -> recall, the median rank of each direction, the mean of all six.

    `of` says what pictures are to find: captions, or of data without captions the teacher's embedding of themselves.
    """

    of: Literal["captions", "teacher pictures"] = "captions"
    recall: dict[str, dict[str, float]]
    median_rank: dict[str, float]
    mean_recall: float


class TrainingRecord(Result):
    """The content of training.json.

    Attributes:
        recipe: of the run.
        graph: its terms, edge by edge.
        data: what it learned from.
        teacher: whom it learned from.
        parameters: of the student: "all", its parts, and "started_from_pretrained".
        seconds: of the training alone.
        versions: package -> version.
        val: of the finished student.
    """

    recipe: DistillConfig
    graph: tuple[Term, ...]
    data: TrainedOn
    teacher: TeacherRecord
    parameters: dict[str, int]
    seconds: float
    versions: dict[str, str]
    val: ValRecall
