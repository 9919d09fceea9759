"""What a term is worth: as in plain loops, and at points where its value is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from conaclip_edge.config.graph import GraphConfig, Term
from conaclip_edge.distill.embeddings import LEARNING_TYPES, Embeddings
from conaclip_edge.distill.graph import compute, expand, uses_teacher
from conaclip_edge.distill.supervisions import EDGES
from tests.helpers.graph.batches import as_arrays, batch
from tests.helpers.graph.terms import BATCHES, SENSIBLE, TEMPERATURE, graph, queue, values
from tests.oracles import losses as oracle


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize(("edge", "loss"), SENSIBLE)
def test_a_term_equals_the_loops(edge: str, loss: str, kind: str) -> None:
    made, arrays = BATCHES[kind], as_arrays(BATCHES[kind])
    found = values(graph((edge, loss)), made)
    spelled = (edge,) if loss.startswith("sym") else LEARNING_TYPES.get(edge, (edge,))
    wanted = {f"{one}/{loss}": oracle.term(arrays, one, loss, TEMPERATURE) for one in spelled}
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)


# presets of peers have formulas of their own: test_peers.py
@pytest.mark.parametrize("preset", ["infonce", "all-types", "conaclip"])
def test_a_whole_preset_equals_the_loops(preset: str) -> None:
    terms = expand(GraphConfig(preset=preset))
    made = replace(BATCHES["pairs and unpaired"], queue=queue())
    found = sum(term.weight * values(terms, made)[f"{term.edge}/{term.loss}"] for term in terms)
    spelled = [(term.edge, term.loss, term.weight, term.temperature or 0.1) for term in terms]
    assert found == pytest.approx(oracle.graph(as_arrays(made), spelled), rel=1e-6)  # temperatures pass as float32


def test_a_loss_that_no_row_of_the_table_has_is_never_computed_as_another() -> None:
    with pytest.raises(KeyError, match="unheard-of"):
        compute((Term(edge="SI-TI", loss="unheard-of", temperature=0.1),), BATCHES["pairs"], torch.tensor(10.0))


@pytest.mark.parametrize(("edge", "loss"), SENSIBLE)
def test_the_terms_that_use_the_teacher_are_those_that_change_with_it(edge: str, loss: str) -> None:
    terms = graph((edge, loss))
    made, other = batch(4), batch(4, seed=1)
    assert uses_teacher(terms) == (values(terms, made) != values(terms, replace(made, ti=other.ti, tt=other.tt)))


def perfect(made: Embeddings) -> Embeddings:
    return replace(made, si=made.ti.detach().clone().requires_grad_(), st=made.tt.detach().clone().requires_grad_())


ZERO_AT_THE_TEACHER = [
    *((edge, loss) for edge in EDGES for loss in ("sd", "kl")),
    ("intra-ts", "fd"),
    ("inter-ts", "sym-kl"),
    ("inter-ts", "sym-sd"),
]


@pytest.mark.parametrize(("edge", "loss"), ZERO_AT_THE_TEACHER)
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(edge: str, loss: str) -> None:
    made = perfect(batch(4, unpaired_pictures=2, unpaired_texts=3, seed=4))
    loss_value = torch.stack(list(compute(graph((edge, loss)), made, torch.tensor(10.0)).values())).sum()
    assert loss_value.item() == pytest.approx(0, abs=1e-14)
    for gradient in torch.autograd.grad(loss_value, [made.si, made.st], allow_unused=True):
        assert gradient is None or gradient.abs().max() < 1e-7


@pytest.mark.parametrize("edge", ["SI-TI", "ST-TT", "SI-TT", "ST-TI", "SI-ST"])
def test_infonce_knows_its_value_for_orthogonal_pairs(edge: str) -> None:
    n = 5
    vectors = torch.eye(n, dtype=torch.float64)
    made = batch(n, si=vectors, ti=vectors, st=vectors, tt=vectors)
    wanted = math.log(1 + (n - 1) * math.exp(-1 / TEMPERATURE))
    assert values(graph((edge, "infonce")), made)[f"{edge}/infonce"] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("edge", "loss"), SENSIBLE)
def test_the_order_of_a_batch_does_not_count(edge: str, loss: str) -> None:
    made = BATCHES["pairs and unpaired"]
    pairs, pictures, texts = made.pairs, len(made.si), len(made.st)
    random = np.random.default_rng(0)
    swap = random.permutation(pairs)
    row = torch.from_numpy(np.concatenate([swap, pairs + random.permutation(pictures - pairs)]))
    column = torch.from_numpy(np.concatenate([swap, pairs + random.permutation(texts - pairs)]))
    turned = replace(
        made,
        **{name: getattr(made, name)[row] for name in ("si", "ti", "picture_ids")},
        **{name: getattr(made, name)[column] for name in ("st", "tt", "text_ids", "caption_to_image")},
    )
    terms = graph((edge, loss))
    assert values(terms, turned) == pytest.approx(values(terms, made), rel=1e-10)


def test_a_term_without_a_fixed_temperature_follows_the_learnable_scale() -> None:
    terms = expand(GraphConfig(terms=(Term(edge="SI-ST", loss="infonce"),)))
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    made = batch(4)
    (value,) = compute(terms, made, scale).values()
    assert value.item() == pytest.approx(oracle.term(as_arrays(made), "SI-ST", "infonce", 1 / 5.0), rel=1e-9)
    (gradient,) = torch.autograd.grad(value, [scale])
    assert gradient.abs() > 1e-4


@pytest.mark.parametrize("edge", ["SI-TT", "ST-TI", "SI-ST"])
def test_unpaired_rows_are_no_positives_and_no_anchors(edge: str) -> None:
    flags = BATCHES["pairs and unpaired"].belonging.positives(edge[1], edge[4], slice(None))
    assert flags[:3, :3].tolist() == torch.eye(3, dtype=torch.bool).tolist()
    assert flags.sum() == 3
    alone = batch(0, unpaired_pictures=3, unpaired_texts=3)
    (value,) = compute(graph((edge, "infonce")), alone, torch.tensor(10.0)).values()
    assert value.item() == 0


def test_unpaired_rows_learn_from_their_own_teacher() -> None:
    made = batch(0, unpaired_pictures=4, unpaired_texts=3)
    for edge in ("SI-TI", "ST-TT"):
        (value,) = compute(graph((edge, "infonce")), made, torch.tensor(10.0)).values()
        assert value.item() == pytest.approx(oracle.term(as_arrays(made), edge, "infonce", TEMPERATURE), rel=1e-9)
        assert value.item() > 0.1
