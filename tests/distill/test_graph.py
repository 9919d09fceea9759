"""The interaction graph: which terms there are, what they are worth, where their gradients go."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from conaclip_edge.config.graph import GraphConfig, Schedule, Term
from conaclip_edge.distill.embeddings import LEARNING_TYPES, Embeddings
from conaclip_edge.distill.graph import at_step, compute, expand, uses_teacher
from conaclip_edge.distill.supervisions import EDGES, SUPERVISIONS
from conaclip_edge.errors import UserError
from tests.helpers.batches import as_arrays, batch, unit
from tests.oracles import losses as oracle

TEMPERATURE = 0.2
EVERY_ENCODER = {"SI", "ST", "TI", "TT"}
# what makes sense where: a pair of an encoder with itself has nothing to find and no distance
SENSE = {
    **{
        key: {"infonce", "sigmoid", "fd", "sd", "kl"}
        for key in ("SI-TI", "ST-TT", "SI-TT", "ST-TI", "SI-ST", "inter-ss")
    },
    **{key: {"sd", "kl"} for key in ("SI-SI", "ST-ST")},
    "intra-ss": {"sd", "kl", "sym-sd", "sym-kl"},
    **{key: set(SUPERVISIONS) for key in ("intra-ts", "inter-ts")},
}
SENSIBLE = [(edge, loss) for edge in EDGES for loss in SUPERVISIONS if loss in SENSE[edge]]
SENSELESS = [(edge, loss) for edge in EDGES for loss in SUPERVISIONS if loss not in SENSE[edge]]
BATCHES = {
    "pairs": batch(5),
    "pairs and unpaired": batch(3, unpaired_pictures=2, unpaired_texts=1, seed=1),
    "twice the same picture": batch(
        4, seed=2, picture_ids=torch.tensor([7, 8, 7, 9]), caption_to_image=torch.tensor([7, 8, 7, 9])
    ),
    "equal texts": batch(4, unpaired_texts=1, seed=3, text_ids=torch.tensor([1, 2, 2, 3, 1])),
}


def graph(*terms: tuple[str, str]) -> tuple[Term, ...]:
    return expand(GraphConfig(terms=tuple(Term(edge=edge, loss=loss, temperature=TEMPERATURE) for edge, loss in terms)))


def values(terms: tuple[Term, ...], made: Embeddings, scale: float = 10.0) -> dict[str, float]:
    return {name: value.item() for name, value in compute(terms, made, torch.tensor(scale)).items()}


def test_all_pairs_of_edge_and_loss_are_covered() -> None:
    assert set(SENSE) == set(EDGES)
    assert len(SENSIBLE) + len(SENSELESS) == len(EDGES) * len(SUPERVISIONS)


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


@pytest.mark.parametrize(("edge", "loss"), SENSELESS)
def test_a_senseless_term_is_refused_with_the_sensible_ones(edge: str, loss: str) -> None:
    with pytest.raises(UserError) as error:
        graph((edge, loss))
    assert f"loss '{loss}' makes no sense on edge '{edge}'" in str(error.value)
    assert set(str(error.value).split("Known for it: ")[1].rstrip(".").split(", ")) == SENSE[edge]


@pytest.mark.parametrize(
    ("edge", "loss", "nearest"),
    [("SI_TI", "sd", "SI-TI"), ("intra-st", "sd", "intra-ts"), ("SI-TI", "info", "infonce")],
)
def test_an_unknown_name_is_refused_with_the_nearest(edge: str, loss: str, nearest: str) -> None:
    with pytest.raises(UserError, match=rf"unknown (edge|loss) .* in the graph\. Did you mean '{nearest}'\? Known: "):
        graph((edge, loss))


def test_a_loss_that_no_row_of_the_table_has_is_never_computed_as_another() -> None:
    with pytest.raises(KeyError, match="huber"):
        compute((Term(edge="SI-TI", loss="huber", temperature=0.1),), BATCHES["pairs"], torch.tensor(10.0))


@pytest.mark.parametrize(("edge", "loss"), SENSIBLE)
def test_what_the_table_says_of_pairs_holds(edge: str, loss: str) -> None:
    """Without a single pair a loss that needs them gives nothing to learn, and every other one does."""
    made = batch(0, unpaired_pictures=4, unpaired_texts=4, seed=5)
    if made.si.grad is not None:
        made.si.grad = None
    found = torch.stack(list(compute(graph((edge, loss)), made, torch.tensor(10.0)).values())).sum()
    gradients = torch.autograd.grad(found, [made.si, made.st], allow_unused=True) if found.requires_grad else ()
    learns = any(one is not None and bool(torch.nan_to_num(one).abs().sum() > 0) for one in gradients)
    assert learns != SUPERVISIONS[loss].learns_from_pairs_alone(edge)


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown graph preset 'conclip'.* Did you mean 'conaclip'\?"):
        expand(GraphConfig(preset="conclip"))


@pytest.mark.parametrize("loss", ["kl", "sym-kl"])
def test_a_divergence_needs_a_fixed_temperature(loss: str) -> None:
    with pytest.raises(UserError, match="needs a fixed temperature"):
        expand(GraphConfig(terms=(Term(edge="inter-ts", loss=loss),)))


@pytest.mark.parametrize(
    ("shape", "wanted"), [("linear", [4, 4, 4, 3, 2, 1, 0, 0]), ("cosine", [4, 4, 4, 3.4142, 2, 0.5858, 0, 0])]
)
def test_a_scheduled_weight_goes_from_its_own_to_the_new_one(
    shape: Literal["linear", "cosine"], wanted: list[float]
) -> None:
    change = Schedule(weight=0, first=2, last=6, shape=shape)
    terms = expand(GraphConfig(terms=(Term(edge="SI-TI", loss="fd", weight=4, schedule=change),)))
    assert [at_step(terms, step, 20)[0].weight for step in range(8)] == pytest.approx(wanted, abs=1e-4)


def test_a_schedule_without_a_last_step_ends_with_the_training() -> None:
    terms = expand(GraphConfig(terms=(Term(edge="SI-TI", loss="fd", schedule=Schedule(weight=3)),)))
    assert [at_step(terms, step, 4)[0].weight for step in (0, 2, 4, 9)] == [1, 2, 3, 3]


def test_a_term_that_stands_twice_is_refused() -> None:
    with pytest.raises(UserError, match="SI-TI/sd twice"):
        graph(("intra-ts", "sd"), ("SI-TI", "sd"))


def test_all_types_has_every_learning_type_and_the_baselines_one_term_each() -> None:
    kinds = {name: kind for kind, edges in LEARNING_TYPES.items() for name in (kind, *edges)}
    assert {kinds[term.edge] for term in expand(GraphConfig(preset="all-types"))} == set(LEARNING_TYPES)
    assert [(term.edge, term.loss) for term in expand(GraphConfig(preset="infonce"))] == [("SI-ST", "infonce")]
    assert [(term.edge, term.loss) for term in expand(GraphConfig(preset="motis"))] == [
        ("SI-TI", "infonce"),
        ("ST-TT", "infonce"),
    ]


def test_terms_replace_the_preset() -> None:
    graph_config = GraphConfig(preset="conaclip", terms=(Term(edge="SI-TI", loss="fd"),))
    assert [(term.edge, term.loss) for term in expand(graph_config)] == [("SI-TI", "fd")]


@pytest.mark.parametrize(("edge", "loss"), SENSIBLE)
def test_the_terms_that_use_the_teacher_are_those_that_change_with_it(edge: str, loss: str) -> None:
    terms = graph((edge, loss))
    made, other = batch(4), batch(4, seed=1)
    assert uses_teacher(terms) == (values(terms, made) != values(terms, replace(made, ti=other.ti, tt=other.tt)))


@pytest.mark.parametrize(("edge", "loss"), SENSIBLE)
def test_the_teacher_gets_no_gradient(edge: str, loss: str) -> None:
    made = replace(batch(4), queue=queue())
    loss_value = torch.stack(list(compute(graph((edge, loss)), made, torch.tensor(10.0)).values())).sum()
    assert torch.autograd.grad(loss_value, [made.ti, made.tt], allow_unused=True) == (None, None)


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


@pytest.mark.parametrize(
    ("edge", "loss"), [pair for pair in SENSIBLE if pair[0] not in LEARNING_TYPES or "sym" in pair[1]]
)
def test_every_student_end_of_a_term_gets_a_gradient(edge: str, loss: str) -> None:
    made = batch(4, seed=5)
    (value,) = compute(graph((edge, loss)), made, torch.tensor(10.0)).values()
    ends = {"SI", "ST"} if edge in LEARNING_TYPES else set(edge.split("-"))
    for name in ("SI", "ST"):
        (gradient,) = torch.autograd.grad(value, [made.role(name)], retain_graph=True, allow_unused=True)
        if name in ends:
            assert gradient is not None
            assert gradient.abs().sum() > 1e-6
        else:
            assert gradient is None


@pytest.mark.parametrize(("edge", "loss"), [pair for pair in SENSIBLE if "sym" in pair[1]])
def test_both_mirrored_edges_of_a_symmetric_term_get_a_gradient(edge: str, loss: str) -> None:
    made = batch(3, seed=6)
    (value,) = compute(graph((edge, loss)), made, torch.tensor(10.0)).values()
    step = 1e-6
    for name in ("si", "st"):
        (gradient,) = torch.autograd.grad(value, [getattr(made, name)], retain_graph=True)
        moved = getattr(made, name).detach().clone()
        moved[0, 0] += step
        (after,) = values(graph((edge, loss)), replace(made, **{name: moved})).values()
        assert (after - value.item()) / step == pytest.approx(gradient[0, 0].item(), rel=1e-3, abs=1e-6)


def test_a_term_without_a_fixed_temperature_follows_the_learnable_scale() -> None:
    terms = expand(GraphConfig(terms=(Term(edge="SI-ST", loss="infonce"),)))
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    made = batch(4)
    (value,) = compute(terms, made, scale).values()
    assert value.item() == pytest.approx(oracle.term(as_arrays(made), "SI-ST", "infonce", 1 / 5.0), rel=1e-9)
    (gradient,) = torch.autograd.grad(value, [scale])
    assert gradient.abs() > 1e-4


def twins() -> Embeddings:
    """Pairs 0 and 1 are one picture with one text, 2 is another; every encoder tells exactly that."""
    vectors = torch.eye(3, dtype=torch.float64)[[0, 0, 1]]
    parts = {name: vectors.clone().requires_grad_() for name in ("si", "ti", "st", "tt")}
    ids = torch.tensor([5, 5, 6])
    return batch(3, **parts, picture_ids=ids, text_ids=ids, caption_to_image=ids)


@pytest.mark.parametrize("edge", ["SI-TI", "ST-TT", "SI-TT", "ST-TI", "SI-ST"])
def test_a_duplicate_is_never_pushed_away(edge: str) -> None:
    made = twins()
    (value,) = compute(graph((edge, "infonce")), made, torch.tensor(10.0)).values()
    student = made.role(edge[:2])
    (gradient,) = torch.autograd.grad(value, [student])
    # the only pull left is away from pair 2, whose direction is the second axis; none along the twins' own axis splits
    assert torch.allclose(gradient[0], gradient[1])
    assert gradient[0, 0] < 0  # towards the twins
    assert gradient[0, 1] > 0  # away from the other


@pytest.mark.parametrize("edge", ["ST-TT", "SI-TT", "ST-TI", "SI-ST"])
def test_equal_texts_of_two_pictures_are_never_negatives(edge: str) -> None:
    """With all scores equal, an entry is pulled towards its right answers and pushed from wrong ones alone."""
    random = np.random.default_rng(0)
    made = batch(3, text_ids=torch.tensor([1, 1, 2]), si=unit(random, 3).requires_grad_(), seed=7)
    same = torch.zeros(3, 6, dtype=torch.float64, requires_grad=True)
    made = replace(made, st=same) if edge.startswith("ST") else replace(made, si=same)
    (value,) = compute(graph((edge, "infonce")), made, torch.tensor(10.0)).values()
    (gradient,) = torch.autograd.grad(value, [same])
    target = made.role(edge[3:])
    # at equal scores the gradient of row i is a weighted sum of targets: its weight for a twin must be that for its own
    weights = torch.linalg.lstsq(target.T, gradient.T).solution.T
    assert weights[0, 0].item() == pytest.approx(weights[0, 1].item(), abs=1e-9)
    assert weights[0, 0] < 0 < weights[0, 2]


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


def queue() -> dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Pictures 100 (in every batch), 7 and 8; text 1000 of picture 100, one like it of picture 8, an unpaired one."""
    random = np.random.default_rng(9)
    return {
        "TI": (unit(random, 3), torch.tensor([100, 7, 8]), torch.tensor([100, 7, 8])),
        "TT": (unit(random, 3), torch.tensor([1000, 1001, 77]), torch.tensor([100, 8, -1])),
    }


@pytest.mark.parametrize("edge", ["SI-TI", "ST-TT", "SI-TT", "ST-TI"])
def test_queued_negatives_count_but_for_an_entry_s_own(edge: str) -> None:
    plain = batch(3, unpaired_pictures=1, unpaired_texts=1, seed=8)
    made = replace(plain, queue=queue())
    terms = graph((edge, "infonce"))
    found = values(terms, made)[f"{edge}/infonce"]
    assert found == pytest.approx(oracle.term(as_arrays(made), edge, "infonce", TEMPERATURE), rel=1e-9)
    assert found > values(terms, plain)[f"{edge}/infonce"]


@pytest.mark.parametrize("edge", ["SI-TI", "ST-TT", "SI-TT", "ST-TI"])
def test_a_queue_of_own_positives_changes_nothing(edge: str) -> None:
    plain = batch(2, seed=8)
    # texts 0 and 1 both belong to picture 100 or are equal to what does, so both pictures' entries are masked
    plain = replace(
        plain,
        picture_ids=torch.tensor([100, 100]),
        caption_to_image=torch.tensor([100, 100]),
        text_ids=torch.tensor([1, 1]),
    )
    vectors = unit(np.random.default_rng(1), 2)
    own = {
        "TI": (vectors, *[torch.tensor([100, 100])] * 2),
        "TT": (vectors, torch.tensor([1, 1]), torch.tensor([100, 100])),
    }
    terms = graph((edge, "infonce"))
    assert values(terms, replace(plain, queue=own)) == pytest.approx(values(terms, plain), rel=1e-12)


@pytest.mark.parametrize(
    ("edge", "loss"), [pair for pair in SENSIBLE if pair[1] != "infonce" or pair[0] in ("SI-ST", "inter-ss")]
)
def test_a_queue_leaves_all_other_terms_alone(edge: str, loss: str) -> None:
    plain = batch(3, seed=8)
    terms = graph((edge, loss))
    assert values(terms, replace(plain, queue=queue())) == values(terms, plain)


def test_masked_queue_entries_do_not_ruin_the_learnable_scale() -> None:
    terms = expand(GraphConfig(terms=(Term(edge="intra-ts", loss="infonce"), Term(edge="inter-ts", loss="infonce"))))
    scale = torch.tensor(10.0, dtype=torch.float64, requires_grad=True)
    loss = torch.stack(list(compute(terms, replace(batch(3), queue=queue()), scale).values())).sum()
    (gradient,) = torch.autograd.grad(loss, [scale])
    assert torch.isfinite(gradient)


def test_learning_types_cover_every_pair_with_a_student_once() -> None:
    edges = [edge for spelled in LEARNING_TYPES.values() for edge in spelled]
    pairs = {frozenset(edge.split("-")) for edge in edges}
    students = itertools.combinations_with_replacement(sorted(EVERY_ENCODER), 2)
    assert pairs == {frozenset(pair) for pair in students if set(pair) & {"SI", "ST"}}
    assert len(edges) == len(pairs)


SHARED = {
    "pairs": batch(4, seed=6),
    "pairs and unpaired": batch(4, unpaired_pictures=2, unpaired_texts=6, seed=7),
    "twice the same picture": batch(
        4, seed=8, picture_ids=torch.tensor([7, 8, 7, 9]), caption_to_image=torch.tensor([7, 8, 7, 9])
    ),
    "equal texts": batch(4, unpaired_texts=2, seed=9, text_ids=torch.tensor([1, 2, 2, 3, 1, 5])),
    "no pair": batch(0, unpaired_pictures=4, unpaired_texts=2, seed=10),
}


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize(("edge", "loss"), SENSIBLE)
def test_the_mean_of_two_processes_rows_is_the_whole_batch_s(edge: str, loss: str, kind: str) -> None:
    """Value and gradients; each computes its rows against all columns."""
    whole = replace(SHARED[kind], queue=queue())
    terms = graph((edge, loss))

    def computed(made: Embeddings) -> list[torch.Tensor]:
        scale = torch.tensor(10.0, dtype=torch.float64, requires_grad=True)
        values = torch.stack(list(compute(terms, made, scale).values()))
        if not values.requires_grad:
            return [values]
        inputs = [made.si, made.st]
        gradients = torch.autograd.grad(torch.nan_to_num(values).sum(), inputs, allow_unused=True)
        return [values, *(torch.zeros(1) if one is None else one for one in gradients)]

    parts = [computed(replace(whole, process=process, processes=2)) for process in range(2)]
    for wanted, one, other in zip(computed(whole), *parts, strict=True):
        assert torch.allclose((one + other) / 2, wanted, rtol=1e-9, atol=1e-12, equal_nan=True)
