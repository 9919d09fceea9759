"""README's table is that of the committed report, and the results' pages show what the committed results say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conaclip_edge.benchmarks.schema.report import read_report
from conaclip_edge.config.graph import GraphConfig
from conaclip_edge.distill.graph import expand
from conaclip_edge.study.cells import graph_of
from tests.tools.first_table import first_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DISTILLATION = (ROOT / "docs" / "results" / "distillation.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["openmoji", "demo", "demo-same-pairs"])
def test_the_recall_table_is_that_of_the_committed_results(name: str) -> None:
    results = json.loads((ROOT / "distill" / "results" / f"{name}.json").read_text("utf-8"))
    for graph, row in results["rows"].items():
        cells = [" / ".join(f"{value:.1f}" for value in row["recall"][way].values()) for way in ("t2i", "i2t")]
        mean = f"{row['mean']:.1f}" + (f" ± {row['spread']:.1f}" if row["spread"] is not None else "")
        line = f"| student, `{graph}` | {cells[0]} | {cells[1]} | {mean} |"
        assert line in DISTILLATION


def test_the_table_of_the_folds_is_that_of_the_committed_result() -> None:
    found = json.loads((ROOT / "distill" / "results" / "folds.json").read_text("utf-8"))
    for row in found["folds"]:
        teacher, student = row["teacher"]["mean_recall"], row["student"]["mean"]
        kept, pictures = 100 * student / teacher, row["dataset"]["pictures"]
        assert f"| {row['fold']} | {pictures} | {teacher:.1f} | {student:.1f} | {kept:.0f} % |" in DISTILLATION
    joined = found["joined"]
    assert joined["pictures"] == sum(row["dataset"]["pictures"] for row in found["folds"])
    kept, (low, high) = 100 * joined["student"] / joined["teacher"], joined["interval_95"]
    assert f"**{kept:.0f} %**, 95 % interval {100 * low:.0f} to {100 * high:.0f} %" in DISTILLATION


def test_the_table_of_the_study_is_that_of_the_committed_result() -> None:
    found = json.loads((ROOT / "distill" / "results" / "study.json").read_text("utf-8"))
    rows = [*found["cells"].values(), *(one["row"] for one in found["sweeps"]["temperature"] if one["factor"] == 0.4)]
    rows += [row[split] for row in found["test"].values() for split in ("val", "test")]
    for row in rows:
        low, high = row["interval_95"]
        assert (
            f"{row['mean']:.1f} ± {row['spread']:.1f} ({row['difference']:+.1f} [{low:+.1f}, {high:+.1f}])"
            in DISTILLATION
        )


def test_the_table_of_the_int8_steps_is_that_of_the_committed_result() -> None:
    found = json.loads((ROOT / "distill" / "results" / "int8-steps.json").read_text("utf-8"))
    assert len(found["rows"]) == 7
    for name, row in found["rows"].items():
        low, high = row["interval_95"]
        more = "" if name == "both" else f"{row['both_finds_more']:+.1f} [{low:+.1f}, {high:+.1f}]"
        assert f"| {row['mean']:.1f} ± {row['spread']:.1f} | {more} |" in DISTILLATION, name


def test_the_default_graph_is_the_study_s_best_on_val() -> None:
    found = json.loads((ROOT / "distill" / "results" / "study.json").read_text("utf-8"))
    swept = [one for axis in found["sweeps"].items() for one in ({"axis": axis[0], **row} for row in axis[1])]
    best = max(swept, key=lambda one: one["row"]["mean"])
    factors = {"temperature": 1.0, "weight": 1.0, best["axis"]: best["factor"]}
    graph = graph_of(found["final"]["cells"], **factors)
    shipped, wanted = expand(GraphConfig(preset="conaclip")), expand(graph)
    assert [(term.edge, term.loss) for term in shipped] == [(term.edge, term.loss) for term in wanted]
    for term, other in zip(shipped, wanted, strict=True):
        assert (term.weight, term.temperature) == pytest.approx((other.weight, other.temperature))


def test_the_table_of_the_readme_is_that_of_the_committed_report() -> None:
    assert first_table(read_report(ROOT / "benchmarks" / "results" / "demo.json")) in README


def test_the_readme_is_one_screen() -> None:
    assert len(README.splitlines()) < 80
