"""The table of supervisions: all that knows a loss by its name reads it, and a row is enough to add one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conaclip_edge.config.graph import GraphConfig, Term
from conaclip_edge.distill.embeddings import LEARNING_TYPES
from conaclip_edge.distill.graph import compute, expand, uses_teacher
from conaclip_edge.distill.supervisions import SUPERVISIONS, Supervision, losses_for
from conaclip_edge.errors import UserError
from conaclip_edge.study.cells import all_cells, graph_of
from tests.helpers.graph.batches import as_arrays, batch
from tests.oracles import losses as oracle

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "graph.md"


def largest_error(student: Tensor, target: Tensor) -> Tensor:
    return (student - target).abs().max()


def test_every_supervision_has_loops_to_compare_with() -> None:
    assert set(oracle.TERMS) == set(SUPERVISIONS)


def test_a_row_adds_a_loss_to_graphs_studies_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Supervision(
        "Worst",
        lambda edge: largest_error(edge.similarities, edge.teacher_similarities),
        ("intra-ts", "inter-ss"),
        needs_teacher=True,
        weight=3.0,
    )
    monkeypatch.setitem(SUPERVISIONS, "worst", row)
    made = batch(4)
    terms = expand(GraphConfig(terms=(Term(edge="intra-ts", loss="worst"),)))
    found = compute(terms, made, torch.tensor(10.0))
    assert set(found) == {"SI-TI/worst", "ST-TT/worst"}
    arrays = as_arrays(made)
    student, target = oracle.cosines(arrays.si, arrays.ti), oracle.cosines(arrays.ti, arrays.ti)
    wanted = max(abs(x - y) for s, t in zip(student, target, strict=True) for x, y in zip(s, t, strict=True))
    assert found["SI-TI/worst"].item() == pytest.approx(wanted, rel=1e-12)
    assert uses_teacher(expand(GraphConfig(terms=(Term(edge="SI-ST", loss="worst"),))))
    assert {"intra-ts/worst", "inter-ss/worst"} < set(all_cells())
    assert graph_of(("inter-ss/worst",)).terms[1] == Term(edge="inter-ss", loss="worst", weight=3.0)
    with pytest.raises(UserError, match="loss 'worst' makes no sense on edge 'SI-TT'"):
        expand(GraphConfig(terms=(Term(edge="SI-TT", loss="worst"),)))


def test_the_graph_s_page_lists_what_makes_sense_where() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text("utf-8"), re.M)
    found = {kind: (tuple(edges.split(", ")), tuple(losses.split(", "))) for kind, edges, losses in rows}
    assert {kind: found[kind] for kind in LEARNING_TYPES} == {
        kind: (edges, losses_for(kind)) for kind, edges in LEARNING_TYPES.items()
    }
