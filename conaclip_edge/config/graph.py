"""The interaction graph of a recipe: its terms, or the preset that lists them."""

from __future__ import annotations

from pydantic import Field

from conaclip_edge.config.base import Config


class Term(Config):
    """One term of the interaction graph: an edge or learning type, its supervision, weight and temperature."""

    edge: str
    loss: str
    weight: float = Field(1.0, ge=0)
    temperature: float | None = Field(None, gt=0, description="fixed; left out: the student's learnable logit scale")


class GraphConfig(Config):
    """The interaction graph: a preset, or the list of its terms."""

    preset: str | None = "conaclip"
    terms: tuple[Term, ...] = ()
    queue: int = Field(0, ge=0, description="past teacher embeddings kept as extra negatives of teacher-student terms")
