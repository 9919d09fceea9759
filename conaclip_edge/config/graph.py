"""The interaction graph of a recipe: its terms, or the preset that lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from conaclip_edge.config.base import Config, Growing
from conaclip_edge.errors import unknown


class Schedule(Config):
    """How a term's weight changes while the student trains: its own before, `weight` afterwards."""

    weight: float = Field(ge=0, description="that the term ends with")
    first: int = Field(0, ge=0, description="last step at which the term has its own weight")
    last: int | None = Field(None, gt=0, description="first step with the new weight; left out: train.steps")
    shape: Literal["linear", "cosine"] = Field("linear", description="of the way between: a line, or half a cosine")


class Term(Growing):
    """One term of the interaction graph: an edge or learning type, its supervision, weight and temperature."""

    later: ClassVar[frozenset[str]] = frozenset({"teacher_temperature", "rows", "direction", "bias", "schedule"})

    edge: str = Field(description="an edge such as SI-TT, or a learning type, which means both of its edges")
    loss: str = Field(description="a name of the table of losses")
    weight: float = Field(1.0, ge=0, description="factor on the loss")
    temperature: float | None = Field(None, gt=0, description="fixed; left out: the student's learnable logit scale")
    teacher_temperature: Annotated[float, Field(gt=0)] | Literal["own"] | None = Field(
        None,
        description="kl: of the teacher's cosines; own: of its logit_scale or train-teacher; left out: the student's",
    )
    rows: Literal["both", "rows", "columns"] = Field(
        "both",
        description="infonce, kl: rows compares each sample of the edge's first encoder with all of the second, "
        "columns the other way round, both takes half of each",
    )
    direction: Literal["forward", "reverse"] = Field(
        "forward", description="kl: forward is KL(teacher || student), reverse is KL(student || teacher)"
    )
    bias: float = Field(-10.0, description="sigmoid: added to the logits, most of which are of no pair")
    schedule: Schedule | None = Field(None, description="a change of the weight while the student trains")


class GraphConfig(Config):
    """The interaction graph: a preset, or the list of its terms."""

    preset: str | None = Field("conaclip", description="a name of the table of graph presets; terms take its place")
    terms: tuple[Term, ...] = Field((), description="the graph, term by term")
    queue: int = Field(0, ge=0, description="past teacher embeddings kept as extra negatives of teacher-student terms")


PRESETS: dict[str, tuple[Term, ...]] = {
    "infonce": (Term(edge="inter-ss", loss="infonce"),),
    # a term of every learning type, chosen by hand: what the study was compared with
    "all-types": (
        Term(edge="inter-ss", loss="infonce"),
        Term(edge="intra-ts", loss="infonce", temperature=0.05),
        Term(edge="intra-ts", loss="fd", weight=5.0),
        Term(edge="inter-ts", loss="kl", temperature=0.05),
        Term(edge="inter-ts", loss="sym-kl", temperature=0.05, weight=0.5),
        Term(edge="inter-ss", loss="kl", temperature=0.05),
        Term(edge="intra-ss", loss="sd", weight=5.0),
    ),
    # what distill/studies/demo.yaml found best on val: its final graph with all temperatures times 0.4
    "conaclip": (
        Term(edge="inter-ss", loss="infonce"),
        Term(edge="intra-ts", loss="infonce", temperature=0.02),
        Term(edge="intra-ts", loss="fd", weight=5.0),
        Term(edge="intra-ts", loss="kl", temperature=0.02),
        Term(edge="inter-ss", loss="kl", temperature=0.02),
    ),
    # What others train with, as far as two teacher towers and a student's express it; docs/concepts/graph.md has the
    # sources, and what each leaves out.
    "motis": (Term(edge="intra-ts", loss="infonce", temperature=0.05, rows="rows"),),
    "tinyclip": (Term(edge="inter-ss", loss="kl", temperature=0.02),),
    "clip-kd": (
        Term(edge="inter-ss", loss="infonce"),
        Term(edge="inter-ss", loss="kl", teacher_temperature="own"),
        Term(edge="inter-ts", loss="infonce", temperature=1 / 2.659, weight=0.5, rows="rows"),
        Term(edge="intra-ts", loss="fd", weight=2000 / 512),
    ),
    "open-clip": (
        Term(edge="inter-ss", loss="infonce"),
        Term(edge="inter-ss", loss="kl", teacher_temperature="own"),
    ),
    "mobileclip": (Term(edge="inter-ss", loss="kl", teacher_temperature="own"),),
    "dime-fm": (
        Term(edge="inter-ts", loss="kl", temperature=0.01, weight=0.7, rows="rows"),
        Term(edge="intra-ts", loss="kl", temperature=0.03, weight=0.6, rows="rows"),
    ),
    "conaclip-tbps": (
        Term(edge="inter-ss", loss="infonce", temperature=0.02),
        Term(edge="inter-ss", loss="sd"),
        Term(edge="inter-ts", loss="infonce", temperature=0.5),
        Term(edge="inter-ts", loss="sym-kl", temperature=0.5),
        Term(edge="intra-ts", loss="infonce", temperature=0.5, rows="rows"),
        Term(edge="intra-ts", loss="sd"),
        Term(edge="intra-ts", loss="sym-sd"),
        Term(edge="intra-ss", loss="sd"),
    ),
}


OWN_GRAPH = "recipe"  # in a list of graphs: the one that the recipe itself has


def named_graphs(names: Sequence[str], own: GraphConfig, where: str = "") -> dict[str, GraphConfig]:
    """Return the graphs of a comparison by their names: presets, or "recipe" for the recipe's own.

    Args:
        names: in the order of the comparison.
        own: the recipe's graph, whose queue all of them have.
        where: the option that the names were given to.

    Raises:
        UserError: a name that is neither a preset nor "recipe".
    """
    for name in names:
        if name not in (*PRESETS, OWN_GRAPH):
            raise unknown("graph preset", name, (*PRESETS, OWN_GRAPH), where)
    return {name: own if name == OWN_GRAPH else GraphConfig(preset=name, queue=own.queue) for name in names}
