"""A teacher's training.json: what its head or last layers were trained on, how, and how well it does."""

from __future__ import annotations

from conaclip_edge.config.distill import TeacherConfig
from conaclip_edge.models.certainty import Certainty
from conaclip_edge.system.result import Extended, Result


class TeacherData(Result):
    """The data set of a training: its name, the fingerprint of its content, the licence of its pictures."""

    name: str
    fingerprint: str
    licence: str


class SplitRecall(Extended):
    """Recall on a split.

    Attributes:
        recall: direction ("t2i", "i2t") -> k -> recall@k in percent.
        mean_recall: of the six.
        n: ranked pictures.
        certainty: what stands beside the mean; a record of an older version has none.
    """

    later = ("certainty",)

    recall: dict[str, dict[str, float]]
    mean_recall: float
    n: int
    certainty: Certainty | None = None


class TeacherTraining(Result):
    """The content of the training.json of a teacher joined of two towers.

    Attributes:
        recipe: of the training.
        data: what it learned from.
        val: its recall; None where the data set has no such split.
        test: the same.
    """

    recipe: TeacherConfig
    data: TeacherData
    val: SplitRecall | None
    test: SplitRecall | None


class TeacherFit(TeacherTraining):
    """The content of the training.json of a dual encoder that was fitted to the data.

    Attributes:
        trained_parameters: number of those that learned.
        before: split -> its recall before.
    """

    trained_parameters: int
    before: dict[str, SplitRecall]
