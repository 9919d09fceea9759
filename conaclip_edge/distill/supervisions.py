"""The table of supervisions: all that the rest of the project knows of a loss stands in its row here.

The checks of a recipe, the graph, its presets, the cells of a study and their page read this table. A new loss is one
file in `conaclip_edge/distill/losses/` and one row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from conaclip_edge.distill.embeddings import LEARNING_TYPES, TYPE_OF, Edge
from conaclip_edge.distill.losses.feature_distance import feature_distance
from conaclip_edge.distill.losses.infonce import partners_found
from conaclip_edge.distill.losses.kl import Logits, kl, symmetric_kl
from conaclip_edge.distill.losses.sigmoid import sigmoid
from conaclip_edge.distill.losses.similarity_distance import similarity_distance

# where two different encoders meet: an encoder is its own positive, so there InfoNCE and FD have nothing to teach
TWO_ENCODERS = ("intra-ts", "inter-ts", "inter-ss")
EVERYWHERE = tuple(LEARNING_TYPES)
MIRRORED = ("intra-ts", "inter-ts", "intra-ss")  # the learning types of two edges
ACROSS = ("inter-ts", "inter-ss")  # a picture at one end and a text at the other


@dataclass(frozen=True)
class Supervision:
    """One way to compare the two ends of an edge.

    Attributes:
        title: its name for people.
        loss: from an edge to a scalar.
        learning_types: on which it makes sense.
        needs_pairs: learning types on which only captioned pictures teach it anything.
        needs_teacher: whether the teacher's similarities are its target, so that it needs the teacher on every edge.
        needs_fixed_temperature: whether it needs one; a learnable scale would let the student flatten both sides.
        symmetric: whether it joins the two edges of a learning type, each the target of the other.
        weight: that a study adds it with.
        temperature: the same; None where it uses none.
        reads: keys of a term that it reads beside edge, weight and temperature.
    """

    title: str
    loss: Callable[[Edge], Tensor]
    learning_types: tuple[str, ...]
    needs_pairs: tuple[str, ...] = ()
    needs_teacher: bool = False
    needs_fixed_temperature: bool = False
    symmetric: bool = False
    weight: float = 1.0
    temperature: float | None = None
    reads: tuple[str, ...] = ()

    def looks_at_teacher(self, edge: str) -> bool:
        """Tell whether it reads a teacher's embedding on an edge or learning type."""
        return self.needs_teacher or TYPE_OF.get(edge, edge).endswith("-ts")

    def learns_from_pairs_alone(self, edge: str) -> bool:
        """Tell whether unpaired pictures and texts teach it nothing on an edge or learning type."""
        return TYPE_OF.get(edge, edge) in self.needs_pairs


def _student_and_teachers(edge: Edge) -> tuple[Logits, Logits]:
    """Return the logits of a divergence: the one that learns and its target; the other way round in reverse."""
    student, teachers = [edge.logits], edge.teacher_logits
    return (teachers, student) if edge.reverse else (student, teachers)


SUPERVISIONS: dict[str, Supervision] = {
    "infonce": Supervision(
        "InfoNCE",
        lambda edge: edge.over_ways(
            lambda one: partners_found(one.logits, one.positives, one.queue_logits, one.answered)
        ),
        TWO_ENCODERS,
        needs_pairs=ACROSS,
        temperature=0.05,
        reads=("rows",),
    ),
    "sigmoid": Supervision(
        "Sigmoid",
        lambda edge: sigmoid(edge.logits + edge.bias, edge.positives, edge.answered_columns, edge.answered),
        TWO_ENCODERS,
        needs_pairs=ACROSS,
        temperature=0.1,
        reads=("bias",),
    ),
    "fd": Supervision(
        "FD", lambda edge: feature_distance(*edge.partners), TWO_ENCODERS, needs_pairs=ACROSS, weight=5.0
    ),
    "sd": Supervision(
        "SD",
        lambda edge: similarity_distance(edge.similarities, edge.teacher_similarities),
        EVERYWHERE,
        needs_teacher=True,
        weight=5.0,
    ),
    "kl": Supervision(
        "KL-Div",
        lambda edge: edge.over_ways(lambda one: kl(*_student_and_teachers(one))),
        EVERYWHERE,
        needs_teacher=True,
        needs_fixed_temperature=True,
        temperature=0.05,
        reads=("rows", "teacher_temperature", "direction"),
    ),
    "sym-sd": Supervision(
        "Sym-SD",
        lambda edge: similarity_distance(*edge.mirrored),
        MIRRORED,
        needs_pairs=("intra-ts", "intra-ss"),
        symmetric=True,
        weight=5.0,
    ),
    "sym-kl": Supervision(
        "Sym-KL-Div",
        lambda edge: edge.over_ways(lambda one: symmetric_kl(*(one.scale * cosines for cosines in one.mirrored))),
        MIRRORED,
        needs_pairs=("intra-ts", "intra-ss"),
        needs_fixed_temperature=True,
        symmetric=True,
        weight=0.5,
        temperature=0.05,
    ),
}

EDGES = (*TYPE_OF, *LEARNING_TYPES)


def losses_for(edge: str) -> tuple[str, ...]:
    """Return the names of the supervisions that make sense on an edge or learning type.

    A symmetric one makes sense on a learning type alone, since it joins both edges.
    """
    return tuple(
        name
        for name, one in SUPERVISIONS.items()
        if (edge if one.symmetric else TYPE_OF.get(edge, edge)) in one.learning_types
    )
