"""Which terms a graph has: presets, names, what is refused, and weights that change."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest

from conaclip_edge.config.graph import GraphConfig, Schedule, Term
from conaclip_edge.distill.embeddings import LEARNING_TYPES
from conaclip_edge.distill.graph import at_step, expand
from conaclip_edge.distill.supervisions import EDGES, SUPERVISIONS
from conaclip_edge.errors import UserError
from tests.helpers.graph.terms import PLACES, SENSELESS, graph


@pytest.mark.parametrize(("edge", "loss"), SENSELESS)
def test_a_senseless_term_is_refused_with_the_sensible_ones(edge: str, loss: str) -> None:
    with pytest.raises(UserError) as error:
        graph((edge, loss))
    assert f"loss '{loss}' makes no sense on edge '{edge}'" in str(error.value)
    assert set(str(error.value).split("Known for it: ")[1].rstrip(".").split(", ")) == {
        name for name, places in PLACES.items() if edge in places
    }


@pytest.mark.parametrize(
    ("edge", "loss", "nearest"),
    [("SI_TI", "sd", "SI-TI"), ("intra-st", "sd", "intra-ts"), ("SI-TI", "info", "infonce")],
)
def test_an_unknown_name_is_refused_with_the_nearest(edge: str, loss: str, nearest: str) -> None:
    with pytest.raises(UserError, match=rf"unknown (edge|loss) .* in the graph\. Did you mean '{nearest}'\? Known: "):
        graph((edge, loss))


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


def test_learning_types_cover_every_pair_with_a_student_once() -> None:
    edges = [edge for spelled in LEARNING_TYPES.values() for edge in spelled]
    pairs = {frozenset(edge.split("-")) for edge in edges}
    students = itertools.combinations_with_replacement(["SI", "ST", "TI", "TT"], 2)
    assert pairs == {frozenset(pair) for pair in students if set(pair) & {"SI", "ST"}}
    assert len(edges) == len(pairs)


def test_all_pairs_of_edge_and_loss_are_covered() -> None:
    assert set(PLACES) == set(SUPERVISIONS)
    assert set().union(*PLACES.values()) == set(EDGES)
