"""The fully-connected knowledge interaction graph as data, and how it turns embeddings into loss terms.

Four encoders: student image SI, student text ST, teacher image TI, teacher text TT. An edge joins a student encoder
with any other or with itself; a learning type names both mirrored edges of a kind. A graph is a list of terms
(edge, loss, weight, temperature); see ConaCLIP, arXiv 2305.17652.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from conaclip_edge.config.graph import PRESETS, GraphConfig, Term
from conaclip_edge.distill.embeddings import LEARNING_TYPES, Edge, Embeddings
from conaclip_edge.distill.supervisions import EDGES, SUPERVISIONS, losses_for
from conaclip_edge.errors import UserError, unknown


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
        symmetric = SUPERVISIONS[term.loss].symmetric
        edges = (term.edge,) if symmetric else LEARNING_TYPES.get(term.edge, (term.edge,))
        spelled += [term.model_copy(update={"edge": edge}) for edge in edges]
    names = [f"{term.edge}/{term.loss}" for term in spelled]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"the graph has {', '.join(double)} twice. Give each edge and loss one term with one weight.")
    return tuple(spelled)


def _check(term: Term) -> None:
    if term.edge not in EDGES:
        raise unknown("edge", term.edge, EDGES, where="the graph")
    if term.loss not in SUPERVISIONS:
        raise unknown("loss", term.loss, SUPERVISIONS, where="the graph")
    if term.loss not in losses_for(term.edge):
        raise UserError(
            f"loss '{term.loss}' makes no sense on edge '{term.edge}'. "
            f"Known for it: {', '.join(losses_for(term.edge))}."
        )
    row = SUPERVISIONS[term.loss]
    for key in sorted(Term.later - {"schedule", *row.reads}):
        if getattr(term, key) != Term.model_fields[key].default:
            readers = ", ".join(name for name, one in SUPERVISIONS.items() if key in one.reads)
            raise UserError(f"loss '{term.loss}' on edge '{term.edge}' does not read {key}. These do: {readers}.")
    if row.needs_fixed_temperature and term.temperature is None and term.teacher_temperature is None:
        fix = "temperature: 0.05" + (", or a teacher_temperature" if "teacher_temperature" in row.reads else "")
        raise UserError(f"loss '{term.loss}' on edge '{term.edge}' needs a fixed temperature, e.g. {fix}.")


def uses_teacher(terms: Sequence[Term]) -> bool:
    """Tell whether any term looks at the teacher; such terms also learn from pictures and texts without a partner."""
    return any(SUPERVISIONS[term.loss].looks_at_teacher(term.edge) for term in terms)


def without_pairs(terms: Sequence[Term], why: str) -> tuple[Term, ...]:
    """Return the terms that learn from pictures and texts without a partner.

    Args:
        terms: from `expand`.
        why: there are no pairs, for the error.

    Raises:
        UserError: none does.
    """
    kept = tuple(term for term in terms if not SUPERVISIONS[term.loss].learns_from_pairs_alone(term.edge))
    if not uses_teacher(kept):
        names = ", ".join(f"{term.edge}/{term.loss}" for term in terms)
        raise UserError(
            f"{why}, and every term of the graph learns from captioned pictures alone ({names}). Add pairs, or take "
            "terms that look at the teacher, e.g. graph.preset=conaclip."
        )
    return kept


def at_step(terms: Sequence[Term], step: int, steps: int) -> tuple[Term, ...]:
    """Return the terms with the weights that they have at a step.

    Args:
        terms: from `expand`.
        step: from 0.
        steps: at which a schedule without a last step ends.
    """
    return tuple(term.model_copy(update={"weight": _weight(term, step, steps)}) for term in terms)


def _weight(term: Term, step: int, steps: int) -> float:
    change = term.schedule
    if change is None:
        return term.weight
    last = change.last or steps
    done = min(1.0, max(0.0, (step - change.first) / max(1, last - change.first)))
    share = done if change.shape == "linear" else (1 - math.cos(math.pi * done)) / 2
    return term.weight + share * (change.weight - term.weight)


def compute(terms: Sequence[Term], batch: Embeddings, logit_scale: Tensor) -> dict[str, Tensor]:
    """Compute every term of an expanded graph, unweighted, by its name "edge/loss"; of several processes, its share.

    Args:
        terms: from `expand`.
        batch: embeddings; gradients reach `si` and `st` alone.
        logit_scale: the student's learnable 1 / temperature, for terms without a fixed one.
    """
    return {f"{term.edge}/{term.loss}": _term(term, batch, logit_scale) for term in terms}


def _term(term: Term, batch: Embeddings, logit_scale: Tensor) -> Tensor:
    scale = _scale(term.temperature, logit_scale, batch.si.dtype)
    own = term.teacher_temperature == "own"
    of_teacher = batch.teacher_temperature if term.teacher_temperature == "own" else term.teacher_temperature
    teacher_scale = _scale(of_teacher, scale, batch.si.dtype)
    edge = Edge(term.edge, batch, scale, teacher_scale, term.rows, term.direction == "reverse", term.bias, own)
    return SUPERVISIONS[term.loss].loss(edge)


def _scale(temperature: float | None, otherwise: Tensor, dtype: torch.dtype) -> Tensor:
    return otherwise if temperature is None else torch.tensor(1 / temperature, dtype=dtype)


def gradient_norms(
    terms: Sequence[Term], values: dict[str, Tensor], batch: Embeddings, mean: Callable[[Tensor], Tensor]
) -> dict[str, float]:
    """Return the norm of each weighted term's gradient at the student's embeddings: who pulls how hard.

    Args:
        terms: of the graph.
        values: of the terms, from `compute`.
        batch: its embeddings.
        mean: over the processes that share the batch.
    """
    norms = {}
    for term in terms:
        name = f"{term.edge}/{term.loss}"
        gradients = torch.autograd.grad(
            term.weight * values[name], [batch.si, batch.st], retain_graph=True, allow_unused=True
        )
        whole = [mean(one) for one in gradients if one is not None]
        norms[name] = math.sqrt(sum(float(one.square().sum()) for one in whole))
    return norms


def check_finite(losses: dict[str, float], step: int) -> None:
    """Stop at the first loss that is no number, naming step and term."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise UserError(
                f"loss {name} became {value} at step {step}. Lower train.lr or raise that term's temperature; the last "
                "saved step is kept, go on with --resume."
            )
