"""The interaction graph of a recipe: its terms, or the preset that lists them."""

from __future__ import annotations

from pydantic import Field

from conaclip_edge.config.base import Config
from conaclip_edge.errors import unknown


class Term(Config):
    """One term of the interaction graph: an edge or learning type, its supervision, weight and temperature."""

    edge: str = Field(description="an edge such as SI-TT, or a learning type, which means both of its edges")
    loss: str = Field(description="a name of the table of losses")
    weight: float = Field(1.0, ge=0, description="factor on the loss")
    temperature: float | None = Field(None, gt=0, description="fixed; left out: the student's learnable logit scale")


class GraphConfig(Config):
    """The interaction graph: a preset, or the list of its terms."""

    preset: str | None = Field("conaclip", description="a name of the table of graph presets; terms take its place")
    terms: tuple[Term, ...] = Field((), description="the graph, term by term")
    queue: int = Field(0, ge=0, description="past teacher embeddings kept as extra negatives of teacher-student terms")


PRESETS: dict[str, tuple[Term, ...]] = {
    "infonce": (Term(edge="inter-ss", loss="infonce"),),
    "motis": (Term(edge="intra-ts", loss="infonce", temperature=0.05),),
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
}


def check_preset(name: str, where: str = "") -> None:
    """Refuse the name of a graph preset that there is not; `where` is the option that it was given to."""
    if name not in PRESETS:
        raise unknown("graph preset", name, PRESETS, where)
