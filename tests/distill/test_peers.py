"""Presets of other methods equal their own formulas; the keys of a term that they need do what they say."""

from __future__ import annotations

import pytest
import torch

from conaclip_edge.config.graph import PRESETS, GraphConfig, Term
from conaclip_edge.distill.graph import compute, expand
from conaclip_edge.errors import UserError
from tests.helpers.graph.batches import as_arrays, batch
from tests.oracles.peers import PEERS, both, cosines, cross_entropy, divergence, times

OWN = {"infonce", "all-types", "conaclip"}
SCALE = 14.0


def value(*terms: Term, seed: int = 7) -> float:
    found = compute(expand(GraphConfig(terms=terms)), batch(5, seed=seed), torch.tensor(SCALE, dtype=torch.float64))
    return sum(one.item() for one in found.values())


def test_every_preset_of_a_peer_has_a_formula() -> None:
    assert PEERS.keys() == PRESETS.keys() - OWN


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_s_preset_equals_its_formula(name: str) -> None:
    terms, made = expand(GraphConfig(preset=name)), batch(5, seed=7)
    found = compute(terms, made, torch.tensor(SCALE, dtype=torch.float64))
    total = sum(term.weight * found[f"{term.edge}/{term.loss}"].item() for term in terms)
    assert total == pytest.approx(PEERS[name](as_arrays(made), SCALE), rel=1e-9)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_s_preset_teaches_both_towers(name: str) -> None:
    made, terms = batch(5, seed=8), expand(GraphConfig(preset=name))
    loss = torch.stack(list(compute(terms, made, torch.tensor(SCALE, dtype=torch.float64)).values())).sum()
    gradients = torch.autograd.grad(loss, [made.si, made.st])
    assert all(float(one.abs().sum()) > 0 for one in gradients)


def test_rows_and_columns_are_the_halves_of_both() -> None:
    arrays = as_arrays(batch(5, seed=7))
    matrix = times(cosines(arrays.si, arrays.st), SCALE)
    rows, columns, whole = (
        value(Term(edge="inter-ss", loss="infonce", rows=one)) for one in ("rows", "columns", "both")
    )
    assert rows == pytest.approx(cross_entropy(matrix), rel=1e-9)
    assert (rows + columns) / 2 == pytest.approx(whole, rel=1e-12)
    assert abs(rows - columns) > 1e-3


def test_a_divergence_in_reverse_weighs_by_the_student() -> None:
    arrays = as_arrays(batch(5, seed=7))
    student, teacher = times(cosines(arrays.si, arrays.st), 20), times(cosines(arrays.ti, arrays.tt), 50)
    term = Term(edge="inter-ss", loss="kl", temperature=0.05, teacher_temperature=0.02)
    assert value(term) == pytest.approx(both(divergence, student, teacher), rel=1e-9)
    back = term.model_copy(update={"direction": "reverse"})
    assert value(back) == pytest.approx(both(divergence, teacher, student), rel=1e-9)


def test_a_teacher_s_own_temperature_is_that_of_the_batch() -> None:
    made = batch(5, seed=7, teacher_temperature=0.07)
    scale, terms = torch.tensor(SCALE, dtype=torch.float64), expand(GraphConfig(preset="mobileclip"))
    arrays = as_arrays(made)
    student, teacher = times(cosines(arrays.si, arrays.st), SCALE), times(cosines(arrays.ti, arrays.tt), 1 / 0.07)
    (found,) = compute(terms, made, scale).values()
    assert found.item() == pytest.approx(both(divergence, student, teacher), rel=1e-9)


def test_a_key_that_a_loss_does_not_read_is_refused_with_those_that_do() -> None:
    wrong = Term(edge="intra-ts", loss="fd", rows="rows")
    with pytest.raises(UserError, match=r"^loss 'fd' on edge 'intra-ts' does not read rows\. These do: infonce, kl\.$"):
        expand(GraphConfig(terms=(wrong,)))


def test_a_term_without_the_later_keys_is_written_as_before() -> None:
    assert Term(edge="SI-ST", loss="kl", temperature=0.1).model_dump() == {
        "edge": "SI-ST",
        "loss": "kl",
        "weight": 1.0,
        "temperature": 0.1,
    }
