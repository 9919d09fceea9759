"""The fully-connected knowledge interaction graph as data, and how it turns embeddings into loss terms.

Four encoders: student image SI, student text ST, teacher image TI, teacher text TT. An edge joins a student encoder
with any other or with itself; a learning type names both mirrored edges of a kind. A graph is a list of terms
(edge, loss, weight, temperature); see ConaCLIP, arXiv 2305.17652.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from conaclip_edge.config.graph import EDGES, LOSSES, GraphConfig, Term
from conaclip_edge.distill.losses import feature_distance, infonce, kl, similarity_distance, symmetric_kl
from conaclip_edge.errors import UserError, unknown

LEARNING_TYPES = {
    "intra-ts": ("SI-TI", "ST-TT"),
    "inter-ts": ("SI-TT", "ST-TI"),
    "intra-ss": ("SI-SI", "ST-ST"),
    "inter-ss": ("SI-ST",),
}
_SELF_EDGES = LEARNING_TYPES["intra-ss"]
_SYMMETRIC = {"sym-sd", "sym-kl"}
# Where a row is a picture on one edge and its text on the mirrored one, only pairs have both.
_ROW_ALIGNED = {"intra-ts", "intra-ss"}

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


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors of one batch; the first `pairs` pictures and texts belong together row by row.

    Attributes:
        si, ti: student and teacher pictures [P, d].
        st, tt: student and teacher texts [C, d].
        picture_ids: [P]; equal ids are the same picture.
        text_ids: [C]; equal ids are the same text.
        caption_to_image: [C]; the picture id that a text describes, -1 for an unpaired text.
        pairs: number of leading rows that are pairs.
        queue: past teacher rows by role ("TI", "TT") as (embeddings [q, d], own ids [q], picture ids [q]).
    """

    si: Tensor
    ti: Tensor
    st: Tensor
    tt: Tensor
    picture_ids: Tensor
    text_ids: Tensor
    caption_to_image: Tensor
    pairs: int
    queue: dict[str, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    def role(self, name: str) -> Tensor:
        """Return the embeddings of an encoder by its name in the graph; the teacher's never get a gradient."""
        table: dict[str, Tensor] = {"SI": self.si, "TI": self.ti.detach(), "ST": self.st, "TT": self.tt.detach()}
        return table[name]

    def positives(self, edge: str) -> Tensor:
        """Tell which row and column of an edge's matrix belong together: bool [rows, columns]."""
        rows, columns = (name[1] for name in edge.split("-"))
        if rows == columns:
            ids = self.picture_ids if rows == "I" else self.text_ids
            return ids[:, None] == ids[None, :]
        same = (self.picture_ids[:, None] == self.caption_to_image[None, :]).float()
        # a text that several pictures of the batch have belongs to all of them
        same = same @ (self.text_ids[:, None] == self.text_ids[None, :]).float() > 0
        return same if rows == "I" else same.T


def expand(graph: GraphConfig) -> tuple[Term, ...]:
    """Return the terms of a graph with learning types spelled out as edges; senseless combinations are errors.

    A symmetric loss stays on its learning type, since it joins both edges.
    """
    if graph.terms:
        terms = graph.terms
    elif graph.preset in PRESETS:
        terms = PRESETS[graph.preset]
    else:
        raise unknown("graph preset", str(graph.preset), PRESETS)
    spelled: list[Term] = []
    for term in terms:
        _check(term)
        edges = LEARNING_TYPES.get(term.edge, (term.edge,)) if term.loss not in _SYMMETRIC else (term.edge,)
        spelled += [term.model_copy(update={"edge": edge}) for edge in edges]
    names = [f"{term.edge}/{term.loss}" for term in spelled]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"the graph has {', '.join(double)} twice. Give each edge and loss one term with one weight.")
    return tuple(spelled)


def losses_for(edge: str) -> tuple[str, ...]:
    """Return the supervisions that make sense on an edge or learning type."""
    if edge in _SELF_EDGES or edge == "intra-ss":
        # an encoder is its own positive there, so InfoNCE and FD have nothing to teach
        return ("sd", "kl", "sym-sd", "sym-kl") if edge == "intra-ss" else ("sd", "kl")
    if edge in ("intra-ts", "inter-ts"):
        return LOSSES
    return ("infonce", "fd", "sd", "kl")


def _check(term: Term) -> None:
    if term.edge not in EDGES:
        raise unknown("edge", term.edge, EDGES, where="the graph")
    if term.loss not in LOSSES:
        raise unknown("loss", term.loss, LOSSES, where="the graph")
    if term.loss not in losses_for(term.edge):
        raise UserError(
            f"loss '{term.loss}' makes no sense on edge '{term.edge}'. "
            f"Known for it: {', '.join(losses_for(term.edge))}."
        )
    if term.loss in ("kl", "sym-kl") and term.temperature is None:
        # with the learnable scale the student would lower the loss by flattening both distributions
        raise UserError(f"loss '{term.loss}' on edge '{term.edge}' needs a fixed temperature, e.g. temperature: 0.05.")


def uses_teacher(terms: Sequence[Term]) -> bool:
    """Tell whether any term looks at the teacher; such terms also learn from pictures and texts without a partner."""
    alone = {("SI-ST", "infonce"), ("SI-ST", "fd"), ("intra-ss", "sym-sd"), ("intra-ss", "sym-kl")}
    return any((term.edge, term.loss) not in alone for term in terms)


def compute(terms: Sequence[Term], batch: Embeddings, logit_scale: Tensor) -> dict[str, Tensor]:
    """Compute every term of an expanded graph, unweighted, by its name "edge/loss".

    Args:
        terms: from `expand`.
        batch: embeddings; gradients reach `si` and `st` alone.
        logit_scale: the student's learnable 1 / temperature, for terms without a fixed one.
    """
    return {f"{term.edge}/{term.loss}": _term(term, batch, logit_scale) for term in terms}


def _term(term: Term, batch: Embeddings, logit_scale: Tensor) -> Tensor:
    scale = logit_scale if term.temperature is None else torch.tensor(1 / term.temperature, dtype=batch.si.dtype)
    if term.loss in _SYMMETRIC:
        one, other = _mirrored(term.edge, batch)
        return similarity_distance(one, other) if term.loss == "sym-sd" else symmetric_kl(scale * one, scale * other)
    rows, columns = (batch.role(name) for name in term.edge.split("-"))
    if term.loss == "infonce":
        return infonce(
            scale * rows @ columns.T, batch.positives(term.edge), _queue_logits(term.edge, batch, scale * rows)
        )
    if term.loss == "fd":
        return _feature_distance(term.edge, rows, columns, batch.pairs)
    teacher_rows, teacher_columns = (batch.role("T" + name[1]) for name in term.edge.split("-"))
    student, target = rows @ columns.T, teacher_rows @ teacher_columns.T
    return similarity_distance(student, target) if term.loss == "sd" else kl(scale * student, scale * target)


def _mirrored(learning_type: str, batch: Embeddings) -> tuple[Tensor, Tensor]:
    """Return the matrices of the two mirrored edges, laid so that equal entries mean equal pairs."""
    one, other = (
        batch.role(edge.split("-")[0]) @ batch.role(edge.split("-")[1]).T for edge in LEARNING_TYPES[learning_type]
    )
    if learning_type in _ROW_ALIGNED:
        return one[: batch.pairs, : batch.pairs], other[: batch.pairs, : batch.pairs]
    return one, other.T  # both with pictures in the rows


def _feature_distance(edge: str, rows: Tensor, columns: Tensor, pairs: int) -> Tensor:
    if edge in LEARNING_TYPES["intra-ts"]:
        return feature_distance(rows, columns)
    return feature_distance(rows[:pairs], columns[:pairs])


def _queue_logits(edge: str, batch: Embeddings, rows: Tensor) -> Tensor | None:
    """Return the logits [rows, q] with queued teacher embeddings; an entry's own positives are masked out."""
    role = edge.split("-")[1]
    if role not in batch.queue:
        return None
    embeddings, ids, pictures = batch.queue[role]
    if edge in LEARNING_TYPES["intra-ts"]:
        own = (batch.picture_ids if role == "TI" else batch.text_ids)[:, None] == ids[None, :]
    elif edge == "SI-TT":
        equal_text = (batch.text_ids[:, None] == ids[None, :]).float()
        own = (batch.picture_ids[:, None] == pictures[None, :]) | (batch.positives(edge).float() @ equal_text > 0)
    else:
        own = batch.caption_to_image[:, None] == pictures[None, :]
    return (rows @ embeddings.T).masked_fill(own, -torch.inf)
